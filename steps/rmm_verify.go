package steps

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/inject"
)

//go:embed rmm_verify.py
var rmmVerifyPy string

// The checks of verify, in order. The device and the policy are ours; the others
// are made in a Python process like a notebook's.
var rmmChecks = []string{"device", "imports", "policy", "allocation", "product", "statistics", "torch"}

// rmmKinds are the classes of failed checks, by the word that the process gives.
var rmmKinds = map[string]record.Kind{
	"missing": record.MissingTool, "no-gpu": record.NoGPU, "memory": record.OutOfMemory, "wrong": record.GPUBroken,
}

// verify makes each check, prints it, and returns the first failure.
func (s *RMM) verify(ctx context.Context, j *Job, none error) error {
	v := &rmmVerify{RMM: s, Job: j}
	if none != nil {
		return v.skipRest(v.add("device", record.AsFailure(none), none.Error()))
	}
	o := s.Policy
	if o.Mode == rmmOff || o.Mode == rmmAuto {
		o.Mode = "pool"
	}
	p, err := o.policy(j, &s.facts.GPUFacts, true)
	if err != nil {
		return v.skipRest(v.add("device", record.AsFailure(err), err.Error()))
	}
	s.facts.Policy = rmmPolicy(p)
	v.line(record.RMMCheck{Name: "device", Status: "ok", Detail: s.devices()})
	return v.skipRest(v.try(ctx, p))
}

func (s *RMM) devices() string {
	for _, d := range s.facts.CUDADevices {
		if d.Error == "" {
			return fmt.Sprintf("CUDA device %d, %s", d.Ordinal, d.UUID)
		}
	}
	return fmt.Sprintf("%d by %s; CUDA could not be asked from here", len(s.facts.GPUs), s.facts.Source)
}

// rmmVerify is one verification under way.
type rmmVerify struct {
	*RMM
	*Job
}

// add records and prints a check, and returns its failure.
func (v *rmmVerify) add(name string, f *record.Failure, detail string) *record.Failure {
	status := "ok"
	if f != nil {
		status = "failed"
	}
	v.line(record.RMMCheck{Name: name, Status: status, Detail: v.rmmText(detail)})
	return f
}

func (v *rmmVerify) line(c record.RMMCheck) {
	v.facts.Checks = append(v.facts.Checks, c)
	shown := c.Status
	if shown == "failed" {
		shown = "FAILED"
	}
	fmt.Fprintf(v.Stdout, "%-8s %-11s %s\n", shown, c.Name, Printable(c.Detail))
}

// skipRest names the checks that were not made, and returns failure as an error.
func (v *rmmVerify) skipRest(failure *record.Failure) error {
	made := map[string]bool{}
	for _, c := range v.facts.Checks {
		made[c.Name] = true
	}
	for _, name := range rmmChecks {
		if !made[name] {
			v.line(record.RMMCheck{Name: name, Status: "skipped", Detail: "not reached"})
		}
	}
	if failure == nil {
		return nil
	}
	return failure
}

// try runs the process. What it says is weighed against its receipt, and that it
// has said all against the list of checks.
func (v *rmmVerify) try(ctx context.Context, p *inject.Policy) *record.Failure {
	python, err := v.Python()
	if err != nil {
		return v.add("imports", record.AsFailure(err), err.Error())
	}
	dir, err := v.scratch()
	if err != nil {
		return record.AsFailure(err)
	}
	defer os.RemoveAll(dir)
	injected, err := inject.New(dir+"/inject", *p)
	if err != nil {
		return record.AsFailure(err)
	}
	said := &bytes.Buffer{}
	res, err := v.Child(ctx, child.Spec{
		Argv: []string{python, "-c", rmmVerifyPy, fmt.Sprint(uint64(v.Size)), strings.Join(p.Allocators, ",")},
		Env:  injected.Env(v.ChildEnv()), Stdout: said, Limits: v.Limits,
	})
	failure := v.read(said, injected, p)
	switch {
	case err != nil:
		return record.AsFailure(err)
	case failure != nil:
		return failure
	case res.ExitCode != 0:
		return record.Failf(record.GPUBroken, "rmm verify: its Python process ended with %s", ended(res)).WithHint("its own words are above")
	}
	for _, name := range rmmChecks {
		if !v.made(name) {
			return record.Failf(record.GPUBroken, "rmm verify: its Python process ended without a word on %s", name)
		}
	}
	return nil
}

func ended(res child.Result) string {
	if res.Signal != "" {
		return "signal " + res.Signal
	}
	return fmt.Sprintf("exit code %d", res.ExitCode)
}

func (v *rmmVerify) made(name string) bool {
	for _, c := range v.facts.Checks {
		if c.Name == name {
			return true
		}
	}
	return false
}

// scratch is a directory of this verification alone.
func (v *rmmVerify) scratch() (string, error) {
	parent := ""
	if v.Env.Run != nil {
		parent = v.Env.Run.Path("work")
	}
	return os.MkdirTemp(parent, "rmm-verify-*")
}

// read takes over what the process says, with the receipt between its imports and
// the checks that rest on the policy.
func (v *rmmVerify) read(said io.Reader, injected *inject.Dir, p *inject.Policy) (first *record.Failure) {
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		var c struct{ Check, Status, Kind, Detail string }
		// CuPy and rmm may print, too.
		if json.Unmarshal(lines.Bytes(), &c) != nil || c.Check == "" {
			continue
		}
		if c.Status == "skipped" {
			v.line(record.RMMCheck{Name: c.Check, Status: c.Status, Detail: v.rmmText(c.Detail)})
			continue
		}
		var f *record.Failure
		if c.Status != "ok" {
			f = v.failed(c.Check, c.Kind, c.Detail)
		}
		f = v.add(c.Check, f, c.Detail)
		if c.Check == "imports" {
			if r := v.receipt(injected, p, f == nil); f == nil || r != nil && f.Kind == record.GPUBroken {
				f = r
			}
		}
		if first == nil {
			first = f
		}
	}
	return first
}

func (v *rmmVerify) failed(check, kind, detail string) *record.Failure {
	k, known := rmmKinds[kind]
	if !known {
		k = record.GPUBroken
	}
	f := record.Failf(k, "rmm verify: %s: %s", check, v.rmmText(detail))
	if k == record.OutOfMemory {
		f = f.WithHint("lower --size, or raise --gpu-memory-limit or --rmm-maximum-pool; gpu-check shows who holds the GPU's memory")
	}
	return f
}

// receipt checks that the policy was applied in the process, as papermill does.
// imported says that rmm was.
func (v *rmmVerify) receipt(injected *inject.Dir, p *inject.Policy, imported bool) *record.Failure {
	receipts, err := injected.Receipts()
	v.facts.RMM = v.rmmFacts(p, receipts)
	f := rmmFailure(receipts, false)
	switch {
	case f != nil:
	case err != nil:
		f = record.Failf(record.GPUBroken, "rmm verify: the receipt cannot be read: %w", err)
	case len(receipts) == 0 && imported:
		f = record.Failf(record.MissingTool, "rmm verify: rmm was imported and the policy was not applied: Python did not load step-runner's sitecustomize")
	case len(receipts) == 0:
		return nil
	}
	detail := ""
	if f == nil {
		detail = v.facts.RMM.Processes[0].Resource
	} else {
		detail = f.Message
	}
	return v.add("policy", f, detail)
}
