package subsample

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/steps/child"
)

//go:embed python/__main__.py python/step_runner_cut/*.py
var python embed.FS

// request is what the program is told.
type request struct {
	// Mode is "cut" or "versions".
	Mode  string `json:"mode"`
	In    string `json:"in"`
	Out   string `json:"out"`
	Spool string `json:"spool"`

	MaxCells        int     `json:"max_cells"`
	MaxGenes        int     `json:"max_genes"`
	Seed            uint64  `json:"seed"`
	StratifyBy      string  `json:"stratify_by"`
	Method          string  `json:"method"`
	PruneCategories bool    `json:"prune_categories"`
	Named           []Named `json:"named"`
}

// reply is one line that the program prints; one of its members is set.
type reply struct {
	Progress *progress       `json:"progress"`
	Result   *Manifest       `json:"result"`
	Failure  *programFailure `json:"failure"`
}

type progress struct {
	Part string `json:"part"`
	// Done and Total are bytes, of which there are the more the less is compressed.
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

type programFailure struct {
	Kind    record.Kind `json:"kind"`
	Message string      `json:"message"`
	Hint    string      `json:"hint"`
}

// cut runs the program, which writes to w.temp() when there is something to cut.
func (w *work) cut(ctx context.Context) (*Manifest, error) { return w.program(ctx, "cut") }

func (w *work) program(ctx context.Context, mode string) (*Manifest, error) {
	files, err := fs.Sub(python, "python")
	if err != nil {
		return nil, err
	}
	program, asked := filepath.Join(w.dir, "program"), filepath.Join(w.dir, "request.json")
	o := w.o
	text, err := json.Marshal(request{
		Mode: mode, In: w.in, Out: w.temp(), Spool: w.dir,
		MaxCells: o.MaxCells, MaxGenes: o.MaxGenes, Seed: o.Seed, StratifyBy: o.StratifyBy,
		Method: o.Method, PruneCategories: o.PruneCategories, Named: w.named,
	})
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		if err := os.CopyFS(program, files); err != nil {
			return nil, outFailure(w.out, err)
		}
	}
	if err := os.WriteFile(asked, text, 0o600); err != nil {
		return nil, outFailure(w.out, err)
	}
	l := &listener{work: w, began: time.Now()}
	// Without -B it would leave compiled files; the interpreter's own path stays.
	res, err := w.Run(ctx, child.Spec{Argv: []string{w.Python, "-B", program, asked}, Stdout: l, Limits: w.Limits})
	if err != nil {
		return nil, err
	}
	return l.outcome(res)
}

// listener reads the program's lines as they come.
type listener struct {
	*work
	rest    []byte
	began   time.Time
	told    time.Time
	result  *Manifest
	failure *programFailure
	bad     error
}

// Write never fails: the program must not be stopped by what it prints.
func (l *listener) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.rest = rest
		var r reply
		if err := json.Unmarshal(line, &r); err != nil {
			l.bad = errors.Join(l.bad, err)
			continue
		}
		l.result, l.failure = cmp.Or(r.Result, l.result), cmp.Or(r.Failure, l.failure)
		if r.Progress != nil {
			l.tell(*r.Progress)
		}
	}
}

// between two lines about progress.
const between = 5 * time.Second

func (l *listener) tell(p progress) {
	now := time.Now()
	if p.Done <= 0 || now.Sub(cmp.Or(l.told, l.began)) < between {
		return
	}
	l.told = now
	passed := now.Sub(l.began)
	rate := float64(p.Done) / passed.Seconds()
	l.Log.Info("subsample", "part", p.Part, "done", units.Bytes(p.Done), "of", units.Bytes(p.Total), "per_second", units.Bytes(rate),
		"left", time.Duration(float64(max(p.Total-p.Done, 0))/rate*float64(time.Second)).Round(time.Second))
}

// outcome weighs the exit code against what was said.
func (l *listener) outcome(res child.Result) (*Manifest, error) {
	switch {
	case l.failure != nil:
		f := record.Failf(l.failure.Kind, "data %s: %s", l.in, l.failure.Message)
		if l.failure.Hint != "" {
			f.Hint = l.failure.Hint
		}
		return nil, f
	case res.OOMKills > 0 && res.Signal != "":
		return nil, record.Failf(record.OutOfMemory, "data %s: the system ended the cutting program for want of memory", l.in)
	case res.ExitCode != 0 || l.result == nil || l.bad != nil:
		return nil, record.Failf(record.Internal, "data %s: the cutting program ended with exit code %d %s and no result; the step's log has its words", l.in, res.ExitCode, res.Signal)
	}
	return l.result, nil
}

// programDigest names the version of the program: another one may select otherwise.
func programDigest() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(python, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := python.ReadFile(path)
		h.Write(append([]byte(path+"\x00"), text...))
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}
