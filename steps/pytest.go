package steps

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/redact"
)

// Pytest runs the tests in an environment of their own.
type Pytest struct {
	Dir             string   `help:"Directory of the tests' project. Default: the clone of step 5." placeholder:"DIR"`
	Markers         string   `default:"single_cell" help:"Run the tests that this marker expression selects, all when it is empty." placeholder:"EXPR"`
	Cov             []string `name:"cov" help:"What coverage measures, a directory or a package. Default: what the project's coverage configuration names, else all of it." placeholder:"TARGET"`
	Env             []string `name:"env" sep:"none" help:"Variable of the tests. May be repeated." placeholder:"NAME=VALUE"`
	EnvFrom         []string `name:"env-from" help:"Variable of step-runner that the tests need: it must be set, and its value is kept out of logs." placeholder:"NAME"`
	Groups          []string `help:"Dependency groups to install, beside those that are installed by themselves." placeholder:"GROUP"`
	Extras          []string `help:"Extras of the project to install." placeholder:"EXTRA"`
	Install         string   `enum:"auto,poetry,uv,pip,none" default:"auto" help:"What builds the environment. With auto Poetry for a Poetry project, else uv, else pip; with none the tests run in the interpreter as it is." placeholder:"auto|poetry|uv|pip|none"`
	Python          string   `help:"Interpreter that the environment is built on. Default: the one that setup found." placeholder:"FILE"`
	Workers         string   `help:"Processes that run tests, a number or auto, by pytest-xdist." placeholder:"N"`
	Arg             []string `name:"arg" sep:"none" help:"Further argument of pytest. May be repeated." placeholder:"ARG"`
	AllowAllSkipped bool     `help:"It is no failure when every test is skipped."`
	CoverageXML     string   `name:"coverage-xml" seed:"OUTPUT_PYTEST_COVERAGE_XML" help:"File name of the coverage report, in the run's artifacts." placeholder:"FILE"`
	ResultXML       string   `name:"result-xml" seed:"OUTPUT_PYTEST_RESULT_XML" help:"File name of the JUnit report, in the run's artifacts." placeholder:"FILE"`
	ReportHTML      string   `name:"report-html" seed:"OUTPUT_PYTEST_REPORT_HTML" help:"File name of the HTML report, in the run's artifacts." placeholder:"FILE"`
	child.Limits    `embed:""`

	facts record.PytestFacts
}

// Help is the long help.
func (*Pytest) Help() string {
	return `Runs the tests of the test repository in a fresh copy of it, with the staged pages in
input/, in a virtual environment that lies in the workspace's venvs/. The image's own
environment is left as it is.

The environment holds what the project asks for: by Poetry if it is a Poetry project
(if Poetry is missing or broken, one is installed beside), else by uv, else by pip,
from pyproject.toml (PEP 621, dependency groups, Poetry's tables) or requirements
files, at the versions of its lock file. Each installer that could not be used is in
the record with its reason. Packages that are installed in place point into the copy
that is tested. pytest, pytest-cov and pytest-html are added where the project has
not got them, and never change a version that is there; without a plugin its report
is missing, which is noted, and the tests run all the same. The environment is built
once and used by all runs as long as nothing that went into it changes.

pytest's exit code decides, and its reports must agree: that a test failed and pytest
says 0, or the reverse, or that tests were selected and did not run, is a failure of
its own. A variable of step-runner's reaches the tests unless it holds a token.

Exit status: 0 when tests ran and none failed. 45 memory ran out, 60 tests failed or
errored, 61 no test was collected, 62 pytest ended abnormally, 63 every test was
skipped, 64 the environment could not be built, 65 the exit code and the reports
contradict each other, 124 a time limit, 128+n signal n.`
}

// ID is step 6.
func (*Pytest) ID() record.ID { return record.Pytest }

// Facts returns what Run fills in.
func (s *Pytest) Facts() any { return &s.facts }

// StillGood says that the tests need not run again: not of a directory, of which
// nobody can say that it is what it was.
func (s *Pytest) StillGood(*Job, *record.Record) bool { return s.Dir == "" }

var (
	pytestVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	pytestWorkers  = regexp.MustCompile(`^(|auto|logical|[1-9][0-9]{0,3})$`)
)

// Validate refuses what cannot be meant, and a secret on the command line, where
// every process of the machine can read it.
func (s *Pytest) Validate() error {
	for _, kv := range s.Env {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || !pytestVariable.MatchString(name) {
			return record.Failf(record.Usage, "--env %s: it has the form NAME=VALUE", name)
		}
		if redact.NamesSecret(name) {
			return record.Failf(record.Usage, "--env %s: a secret does not belong on a command line", name).
				WithHint("set %s for step-runner and give --env-from %s", name, name)
		}
	}
	for _, name := range s.EnvFrom {
		if !pytestVariable.MatchString(name) {
			return record.Failf(record.Usage, "--env-from %s: it is no name of a variable", name)
		}
	}
	if !pytestWorkers.MatchString(s.Workers) {
		return record.Failf(record.Usage, "--workers %s: it is a number or auto", s.Workers)
	}
	return s.validateNames()
}

// validateNames refuses names of reports that are no file names: what they name
// is removed before the tests run.
func (s *Pytest) validateNames() error {
	for _, r := range [][3]string{{"--coverage-xml", s.CoverageXML, ".xml"}, {"--result-xml", s.ResultXML, ".xml"}, {"--report-html", s.ReportHTML, ".html"}} {
		name := filepath.Base(r[1])
		if r[1] != "" && (filepath.Ext(name) != r[2] || name == r[2]) {
			return record.Failf(record.Usage, "%s %s: give a file name that ends in %s", r[0], r[1], r[2])
		}
	}
	return nil
}

// Run builds the environment, runs pytest in a copy of the repository, and judges
// what pytest says and leaves.
func (s *Pytest) Run(ctx context.Context, j *Job) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout, record.Failf(record.TimedOut, "the tests, with their environment, took longer than --timeout %s", s.Timeout))
		defer cancel()
	}
	t := &pytestRun{Job: j, opts: s, facts: &s.facts}
	if err := t.open(ctx); err != nil {
		return err
	}
	if err := t.environment(ctx); err != nil {
		return err
	}
	defer t.venv.Close()
	res, err := t.pytest(ctx)
	if err := t.read(); err != nil {
		return err
	}
	return t.verdict(res, err)
}

// pytestOutput is the path of one of the reports in the run's artifacts.
func (s *Pytest) pytestOutput(j *Job, flag, value, base, ext string) string {
	name := j.Variant.FileName(base, ext)
	if value != "" {
		name = j.artifactName(flag, value)
	}
	return j.Env.Run.Path("artifacts", filepath.Base(name))
}
