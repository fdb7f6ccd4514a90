// Package inject puts step-runner's Python package into the Python processes of a
// notebook: it lies on their PYTHONPATH, applies a memory policy when the program
// imports rmm, and leaves a receipt for each process that did.
package inject

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed python/sitecustomize.py python/step_runner_kernel/*.py
var python embed.FS

// PolicyVar names the policy's file to the package. Without it the package does nothing.
const PolicyVar = "STEP_RUNNER_RMM_POLICY"

// NotApplied is part of the error that `import rmm` raises when the policy could
// not be applied.
const NotApplied = "step-runner: the RMM policy could not be applied"

// The states of a receipt.
const (
	Importing = "importing"
	Applied   = "applied"
	Failed    = "failed"
	// Absent says that rmm is not installed though the policy needs it.
	Absent = "absent"
)

// Policy is what each process gets. A nil size is no wish.
type Policy struct {
	Mode             string   `json:"mode"`
	InitialPoolBytes *uint64  `json:"initial_pool_bytes,omitempty"`
	MaximumPoolBytes *uint64  `json:"maximum_pool_bytes,omitempty"`
	LimitBytes       *uint64  `json:"limit_bytes,omitempty"`
	Allocators       []string `json:"allocators"`
}

// Receipt is what one process says of itself.
type Receipt struct {
	PID              int        `json:"pid"`
	Argv             []string   `json:"argv"`
	BornNS           int64      `json:"born_ns"`
	Policy           Policy     `json:"policy"`
	State            string     `json:"state"`
	RMM              string     `json:"rmm"`
	Devices          []int      `json:"devices"`
	Resource         string     `json:"resource"`
	InitialPoolBytes *uint64    `json:"initial_pool_bytes"`
	MaximumPoolBytes *uint64    `json:"maximum_pool_bytes"`
	Allocators       []string   `json:"allocators"`
	Overrides        []Override `json:"overrides"`
	OverrideCount    int        `json:"override_count"`
	PeakBytes        uint64     `json:"peak_bytes"`
	Allocations      uint64     `json:"allocations"`
	Error            string     `json:"error"`
	NoGPU            bool       `json:"no_gpu"`
}

// Override is a call of the program's own that was let through in part.
type Override struct {
	Call    string          `json:"call"`
	Asked   json.RawMessage `json:"asked"`
	Applied json.RawMessage `json:"applied"`
}

// Dir is the package and the policy in a directory of the run, and the receipts
// that come back.
type Dir struct{ path string }

// New writes the package, if it is not there yet, and the policy into the directory
// path.
func New(path string, p Policy) (*Dir, error) {
	d := &Dir{path: path}
	if err := errors.Join(writePackages(path), os.MkdirAll(filepath.Dir(d.policy()), 0o775)); err != nil {
		return nil, err
	}
	content, err := json.Marshal(struct {
		Receipts string `json:"receipts"`
		Policy
	}{filepath.Dir(d.policy()), p})
	if err != nil {
		return nil, err
	}
	return d, os.WriteFile(d.policy(), content, 0o664)
}

func (d *Dir) policy() string { return filepath.Join(d.path, "rmm", "policy.json") }

func packagesIn(path string) string { return filepath.Join(path, "python") }

// writePackages writes the package below path; both hooks share it.
func writePackages(path string) error {
	if _, err := os.Stat(packagesIn(path)); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o775); err != nil {
		return err
	}
	files, err := fs.Sub(python, "python")
	if err != nil {
		return err
	}
	return os.CopyFS(packagesIn(path), files)
}

// Env is env with what a process needs to find the package and the policy.
func (d *Dir) Env(env []string) []string {
	return append(withPackages(env, packagesIn(d.path)), PolicyVar+"="+d.policy())
}

// withPackages is env with path in front of PYTHONPATH.
func withPackages(env []string, path string) []string {
	for i := len(env) - 1; i >= 0; i-- {
		if own, ok := strings.CutPrefix(env[i], "PYTHONPATH="); ok {
			if own == path || strings.HasPrefix(own, path+string(os.PathListSeparator)) {
				return env[:len(env):len(env)]
			}
			if own != "" {
				path += string(os.PathListSeparator) + own
			}
			break
		}
	}
	return append(env[:len(env):len(env)], "PYTHONPATH="+path)
}

// Bounds of what is read: a notebook writes the receipts and could write anything.
const (
	mostReceipts = 1000
	mostBytes    = 1 << 20
)

// Receipts reads what the processes have left, in the order of their files' names.
// What is no receipt is an error that names the file.
func (d *Dir) Receipts() ([]Receipt, error) {
	return receipts(filepath.Dir(d.policy()), "rmm-*.json", Parse)
}

// receipts parses the files in dir whose names match pattern.
func receipts[R any](dir, pattern string, parse func([]byte) (R, error)) (all []R, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	names, err := fs.Glob(root.FS(), pattern)
	if err != nil {
		return nil, err
	}
	if len(names) > mostReceipts {
		return nil, fmt.Errorf("there are %d receipts, more than %d", len(names), mostReceipts)
	}
	for _, name := range names {
		data, err := readBounded(root, name)
		if err != nil {
			return all, fmt.Errorf("receipt %s: %w", name, err)
		}
		r, err := parse(data)
		if err != nil {
			return all, fmt.Errorf("receipt %s: %w", name, err)
		}
		all = append(all, r)
	}
	return all, nil
}

func readBounded(root *os.Root, name string) ([]byte, error) {
	// Not a FIFO, say, which would keep us waiting.
	if info, err := root.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errors.New("is no file"), err)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if err == nil && len(data) > mostBytes {
		err = fmt.Errorf("is larger than %d bytes", mostBytes)
	}
	return data, err
}

func strict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("has text after its end")
	}
	return nil
}

// Parse reads one receipt strictly.
func Parse(data []byte) (r Receipt, err error) {
	if err := strict(data, &r); err != nil {
		return r, err
	}
	switch r.State {
	case Importing, Applied, Failed, Absent:
		return r, nil
	}
	return r, fmt.Errorf("has an unknown state %q", r.State)
}
