package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/inject"
	"github.com/step-runner/step-runner/steps/notebook"
)

// mill runs notebooks, one after the other, in copies of their trees.
type mill struct {
	*Job
	opts *PapermillOptions
	set  *papermillSettings
	// policy is nil when the notebooks' GPU memory is left alone.
	policy *inject.Policy
	// subsample says that the notebooks' data is made small, data where some of it
	// is, and placed what was put where a notebook reads it, by its path; of what was
	// put there whole it has no shape.
	subsample bool
	data      []dataFile
	placed    map[string]record.LitePlaced
	python    string
	work      string
	copied    map[string]bool
	// outputs are the executed notebooks' paths, in the order of the notebooks.
	outputs []string
	// watch is nil when nothing is sampled.
	watch *millWatch
}

// notebook prepares, runs and judges one notebook.
func (m *mill) notebook(ctx context.Context, f notebookFile, output string) (record.Notebook, *record.Failure) {
	nb := record.Notebook{Input: m.Env.Run.Rel(f.Path()), Output: m.Env.Run.Rel(output)}
	failure := record.AsFailure(m.try(ctx, f, output, &nb))
	if failure != nil {
		nb.Kind = failure.Kind
		if f.err == nil {
			failure = failure.Within("notebook %s", f.Rel)
		}
	}
	m.redact(&nb)
	return nb, failure
}

func (m *mill) try(ctx context.Context, f notebookFile, output string, nb *record.Notebook) error {
	if f.err != nil {
		return f.err
	}
	if ctx.Err() != nil {
		return record.AsFailure(context.Cause(ctx)).Within("not begun")
	}
	r, err := m.prepare(f, output, nb)
	if err != nil {
		return err
	}
	if err := errors.Join(m.inject(r), m.lite(ctx, r, nb)); err != nil {
		return err
	}
	m.watch.begin(ctx, r.Rel)
	ending, err := m.run(ctx, r)
	if err != nil {
		return err
	}
	return m.judge(ctx, r, ending, nb)
}

// milled is one notebook that is ready to be run.
type milled struct {
	notebookFile
	output string
	// copy is the prepared notebook.
	copy       string
	nb         *notebook.Notebook
	parameters []assignment
	// injected is nil when the notebook's GPU memory is left alone.
	injected *inject.Dir
	// ended is when papermill and all that it left behind, the strays, had ended.
	ended  time.Time
	strays []string
	// readers is nil when the notebook's data is left alone.
	readers *inject.ReadersDir
}

func (r *milled) hasParameters(set *papermillSettings) bool {
	return len(r.parameters) > 0 || len(set.shared) > 0
}

// prepare reads the notebook of the copy and replaces it by the one to run.
func (m *mill) prepare(f notebookFile, output string, rec *record.Notebook) (*milled, error) {
	if err := m.Input(f.Path()); err != nil {
		return nil, err
	}
	r := &milled{notebookFile: f, output: output, copy: filepath.Join(m.millTree(f.Root), f.Rel), parameters: m.set.paramsFor(f)}
	data, err := os.ReadFile(r.copy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, record.Failf(record.BadInput, "it is in a directory of the workspace that is not copied to be run").WithHint("put it elsewhere")
	}
	if err != nil {
		return nil, err
	}
	original, err := notebook.Parse(data)
	if err != nil {
		return nil, err
	}
	r.nb, rec.Prepared, err = original.Prepare(notebook.Preparation{Patches: m.set.patchesFor(f), Allowed: m.set.allowed, Kernel: m.opts.Kernel})
	if err != nil {
		return nil, err
	}
	if m.Variant == artifacts.Lite && r.nb.Assigns("subsample") && !slices.ContainsFunc(r.parameters, func(a assignment) bool { return a.name == "subsample" }) {
		r.parameters = append(r.parameters, assignment{name: "subsample", value: "True"})
		rec.Prepared = append(rec.Prepared, "lite variant: parameter subsample is True")
	}
	var given []string
	for _, a := range r.parameters {
		given = append(given, a.name)
	}
	if err := r.nb.CheckParameters(append(given, m.set.shared...)); err != nil {
		return nil, err
	}
	// Anew: the copy of a file that may not be written may not either.
	return r, errors.Join(os.Remove(r.copy), os.WriteFile(r.copy, r.nb.Bytes(), 0o664))
}

// run runs papermill. The error is for what says nothing of the notebook.
func (m *mill) run(ctx context.Context, r *milled) (notebook.Ending, error) {
	outcome := filepath.Join(m.work, "outcome.json")
	if err := errors.Join(ignoreMissing(os.Remove(outcome)), os.MkdirAll(filepath.Dir(r.output), 0o775)); err != nil {
		return notebook.Ending{}, err
	}
	if err := os.WriteFile(outcome+".reserve", make([]byte, reserved), 0o664); err != nil {
		return notebook.Ending{}, err
	}
	progress := newMillProgress(m.Job, r.Rel, r.nb.Plan(r.hasParameters(m.set)))
	defer progress.Close()
	limits := m.opts.Limits
	limits.Timeout = 0 // It is for all notebooks together, and in ctx.
	res, err := m.Child(ctx, child.Spec{
		Argv: append([]string{m.python, m.launcher(), outcome}, m.arguments(r)...),
		Dir:  m.work, Env: m.env(r), Out: progress, Limits: limits,
	})
	r.ended, r.strays = time.Now(), res.Strays
	e := notebook.Ending{ExitCode: res.ExitCode, Signal: res.Signal, OOMKills: max(0, res.OOMKills), Stopped: record.AsFailure(err)}
	e.Outcome, err = notebook.ReadOutcome(outcome)
	// It may quote what a cell shows.
	return e, errors.Join(err, ignoreMissing(os.Remove(outcome)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// saveEvery is how often papermill saves the notebook during a long cell, in
// seconds: what a kill can cost.
const saveEvery = "10"

// arguments are papermill's. It reads {…} in paths as its own, so they are doubled.
func (m *mill) arguments(r *milled) []string {
	braces := strings.NewReplacer("{", "{{", "}", "}}")
	args := []string{
		braces.Replace(r.copy), braces.Replace(r.output), "--cwd", filepath.Dir(r.copy),
		"--log-output", "--no-progress-bar", "--autosave-cell-every", saveEvery, "--start-timeout", wholeSeconds(m.opts.StartTimeout),
	}
	if m.opts.Kernel != "" {
		args = append(args, "--kernel", m.opts.Kernel)
	}
	if m.opts.ExecutionTimeout > 0 {
		args = append(args, "--execution-timeout", wholeSeconds(m.opts.ExecutionTimeout))
	}
	for _, path := range m.set.files {
		args = append(args, "--parameters_file", path)
	}
	for _, text := range m.set.yaml {
		args = append(args, "--parameters_yaml", text)
	}
	for _, a := range r.parameters {
		args = append(args, "--parameters", a.name, a.value)
	}
	return args
}

// wholeSeconds rounds up: papermill takes no fractions.
func wholeSeconds(d time.Duration) string {
	return fmt.Sprint(int64((d + time.Second - 1) / time.Second))
}

// judge reads the executed notebook and takes the verdict into the record.
func (m *mill) judge(ctx context.Context, r *milled, e notebook.Ending, rec *record.Notebook) error {
	var x *notebook.Executed
	data, err := os.ReadFile(r.output)
	if err == nil {
		if err := errors.Join(m.Mask(r.output), m.Output(r.output)); err != nil {
			return err
		}
		if x, err = notebook.ParseExecuted(data); err != nil {
			m.Note("%s: %v", m.Env.Run.Rel(r.output), err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := ignoreMissing(os.Remove(r.output + ".part")); err != nil {
		return err
	}
	v := notebook.Judge(r.nb, r.hasParameters(m.set), x, e, notebook.Rules{Allowed: m.set.allowed, AllowEarlyExit: m.opts.AllowEarlyExit})
	rec.Cells, rec.Error, rec.AllowedErrors, rec.Slowest, rec.Seconds = v.Cells, v.Error, v.Allowed, v.Slowest, v.Seconds
	if c := m.Rec.Children; rec.Seconds == 0 && len(c) > 0 {
		rec.Seconds = c[len(c)-1].Seconds
	}
	for _, note := range v.Notes {
		m.Note("notebook %s: %s", r.Rel, note)
	}
	own := v.Failure
	if r.injected != nil {
		rec.RMM, v.Failure = m.judgeRMM(r, &v)
	}
	if r.readers != nil {
		v.Failure = m.judgeLite(r, rec.Lite, &v)
	}
	rec.Watch = m.watched(ctx, r, &v)
	if f := m.hinted(v.Failure, v.Failure == own, rec); f != nil {
		return f
	}
	return nil
}

// redact keeps secrets that a notebook shows out of the record.
func (m *mill) redact(nb *record.Notebook) {
	clean := func(e *record.CellError) {
		e.Value, e.Source = m.Secrets.String(e.Value), m.Secrets.String(e.Source)
	}
	if nb.Error != nil {
		clean(nb.Error)
	}
	for i := range nb.AllowedErrors {
		clean(&nb.AllowedErrors[i])
	}
	for i, c := range nb.Slowest {
		nb.Slowest[i].Source = m.Secrets.String(c.Source)
	}
	for i, text := range nb.Prepared {
		nb.Prepared[i] = m.Secrets.String(text)
	}
}

// makeRoom removes what the notebooks wrote beside their outputs: on a full disk
// the steps after this one could not even say why they failed.
func (m *mill) makeRoom() {
	if err := os.RemoveAll(m.work); err != nil {
		m.Note("no room could be made: %v", err)
		return
	}
	m.Note("the disk is full: the notebooks' own files, in %s, were removed to make room for records and summary", m.Env.Run.Rel(m.work))
}
