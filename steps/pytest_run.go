package steps

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/junit"
	"github.com/step-runner/step-runner/steps/pyenv"
)

// pytestRun is one run of the tests.
type pytestRun struct {
	*Job
	opts  *Pytest
	facts *record.PytestFacts
	// dir is the copy that is tested; site what its environment adds to its path.
	dir, site string
	project   *pyenv.Project
	venv      *pyenv.Venv
	// The reports in the run's artifacts.
	coverage, results, html string
	tail                    *child.Tail
	report                  *junit.Report
	counts                  junit.Counts
	// reportErr is why there is no report.
	reportErr error
	receipt   *pytestReceipt
}

// pytestReceipt is what pytest_receipt.py writes when the session has ended.
type pytestReceipt struct {
	Status   int `json:"status"`
	Selected int `json:"selected"`
	Ended    int `json:"ended"`
}

func (t *pytestRun) work(elem ...string) string {
	return t.Env.Run.Path(append([]string{"work", "pytest"}, elem...)...)
}

// open makes the copy, and clears the reports' places: what an attempt that was
// killed has left must not be read as this one's.
func (t *pytestRun) open(ctx context.Context) error {
	t.coverage = t.opts.pytestOutput(t.Job, "--coverage-xml", t.opts.CoverageXML, "coverage", ".xml")
	t.results = t.opts.pytestOutput(t.Job, "--result-xml", t.opts.ResultXML, "pytest_results", ".xml")
	t.html = t.opts.pytestOutput(t.Job, "--report-html", t.opts.ReportHTML, "pytest_report", ".html")
	if t.coverage == t.results {
		return record.Failf(record.Usage, "%s is the name of two reports", filepath.Base(t.results))
	}
	for _, path := range []string{t.coverage, t.results, t.html} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	if err := artifacts.Vacate(t.work()); err != nil {
		return err
	}
	src, err := t.source()
	if err != nil {
		return err
	}
	t.dir, t.site = t.work("tests"), t.work("site")
	skipped, err := artifacts.CopyTree(ctx, src, t.dir, t.ours(src)...)
	if err != nil {
		return err
	}
	for _, text := range skipped {
		t.Note("left out of the copy of the tests: %s", text)
	}
	t.project, err = pyenv.LoadProject(t.dir, record.TestEnvFailed)
	return err
}

// source is the directory of the tests: --dir, or the clone of step 5 with what
// was staged in it.
func (t *pytestRun) source() (string, error) {
	if t.opts.Dir != "" {
		dir, err := filepath.Abs(t.opts.Dir)
		if err != nil {
			return "", err
		}
		if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
			return "", record.Failf(record.BadInput, "--dir %s: it is no directory", t.opts.Dir)
		}
		return dir, nil
	}
	rec, err := t.Need(record.CloneTests)
	if err != nil {
		return "", record.AsFailure(err).WithHint("run `step-runner clone --tests`, or give --dir")
	}
	clone := rec.Facts.(*record.CloneFacts)
	for _, name := range clone.Staged {
		if err := t.Input(filepath.Join(clone.Dir, name)); err != nil {
			return "", err
		}
	}
	return clone.Dir, nil
}

// ours are step-runner's own directories when the tests' directory holds the workspace.
func (t *pytestRun) ours(src string) []string {
	rel, err := filepath.Rel(src, t.Workspace.Dir)
	if err != nil || !filepath.IsLocal(rel) {
		return nil
	}
	if rel != "." {
		return []string{t.Workspace.Dir}
	}
	var dirs []string
	for _, d := range []string{"runs", "clones", "venvs", "cache", "locks"} {
		dirs = append(dirs, t.Workspace.Path(d))
	}
	return dirs
}

// pytest runs pytest.
func (t *pytestRun) pytest(ctx context.Context) (child.Result, error) {
	env, err := t.variables()
	if err != nil {
		return child.Result{}, err
	}
	t.tail = child.NewTail(t.Out)
	return t.Child(ctx, child.Spec{
		Argv: t.argv(), Dir: t.dir, Env: env, Out: t.tail,
		Limits: child.Limits{NoOutputTimeout: t.opts.NoOutputTimeout, Grace: t.opts.Grace},
	})
}

// argv is pytest's command line. The xunit1 family keeps properties and files of
// tests, which xunit2 drops. The cache stays on, since projects give flags that
// need it, but not in the project.
func (t *pytestRun) argv() []string {
	argv := []string{
		t.venv.Python, "-m", "pytest", "-p", "step_runner_receipt", "-o", "cache_dir=" + t.work("cache"),
		"-o", "junit_family=xunit1", "--junitxml=" + t.results,
	}
	if t.has("pytest-cov") {
		argv = append(argv, t.targets()...)
		argv = append(argv, "--cov-report=xml:"+t.coverage)
	}
	if t.has("pytest-html") {
		argv = append(argv, "--html="+t.html, "--self-contained-html")
	}
	if t.opts.Workers != "" && t.has("pytest-xdist") {
		argv = append(argv, "-n", t.opts.Workers)
	}
	if t.opts.Markers != "" {
		argv = append(argv, "-m", t.opts.Markers)
	}
	return append(argv, t.opts.Arg...)
}

func (t *pytestRun) has(plugin string) bool {
	_, ok := t.venv.Versions[plugin]
	return ok
}

func (t *pytestRun) targets() []string {
	var argv []string
	for _, target := range t.opts.Cov {
		argv = append(argv, "--cov="+target)
	}
	switch {
	case len(argv) > 0:
		return argv
	case t.project.CoverageSource():
		return []string{"--cov"}
	}
	return []string{"--cov=."}
}

// read reads what pytest has left, and records it, also when it failed.
func (t *pytestRun) read() error {
	for _, path := range []string{t.coverage, t.results, t.html} {
		if fi, err := os.Lstat(path); err == nil && fi.Mode().IsRegular() {
			if err := errors.Join(t.Mask(path), t.Output(path)); err != nil {
				return err
			}
		}
	}
	rep, err := junit.ReadFile(t.results)
	if err != nil {
		t.reportErr = err
	} else {
		t.report, t.counts = &rep, rep.Counts()
		t.count()
	}
	if text, err := os.ReadFile(t.work("receipt.json")); err == nil {
		var r pytestReceipt
		if json.Unmarshal(text, &r) == nil {
			t.receipt = &r
		}
	}
	t.readCoverage()
	return nil
}

func (t *pytestRun) readCoverage() {
	percent, err := junit.Coverage(t.coverage)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if t.has("pytest-cov") && t.report != nil {
			t.Note("pytest-cov wrote no coverage report")
		}
	case err != nil:
		t.Note("coverage is unknown: %s: %v", filepath.Base(t.coverage), err)
	default:
		t.facts.Coverage = percent
	}
}
