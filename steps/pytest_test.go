package steps

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
)

// These tests run real pytest. Where the environment is not what is tested, they
// run it in the tools' own, which costs no installation.

// pytestProject writes files, by name, into a new directory.
func pytestProject(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

// pytestStep is the step on a directory, in the tools' environment.
func pytestStep(dir string) *Pytest {
	return &Pytest{Dir: dir, Install: "none", Limits: child.Limits{Grace: 2 * time.Second}}
}

// pytestExecute executes the step and reads its record back, which must say the
// same as the error.
func pytestExecute(t *testing.T, ctx context.Context, e *TestEnv, s *Pytest) (*record.Record, *record.PytestFacts) {
	t.Helper()
	_, err := Execute(ctx, e.Env, s)
	rec, rerr := e.Run.Read(record.Pytest)
	require.NoError(t, rerr)
	require.NotNil(t, rec)
	require.NotNil(t, rec.ExitCode)
	assert.Equal(t, record.ExitCode(err), *rec.ExitCode)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(e.Err.String())
		}
	})
	return rec, rec.Facts.(*record.PytestFacts)
}

func pytestOutputs(rec *record.Record) string {
	var names []string
	for _, f := range rec.Outputs {
		names = append(names, strings.TrimPrefix(f.Path, "artifacts/"))
	}
	return strings.Join(names, " ")
}

const (
	pytestAllReports = "coverage_lite.xml pytest_results_lite.xml pytest_report_lite.html"
	pytestNoCoverage = "pytest_results_lite.xml pytest_report_lite.html"
	pytestGreen      = "def test_a(): pass\n"
	pytestRed        = "def test_a(): assert 1 == 2\n"
)

// pytestFaults are test repositories, and what must be said of them.
var pytestFaults = map[string]struct {
	files map[string]string
	set   func(*Pytest)
	kind  record.Kind
	code  int
	// message is part of the failure's, outputs what is recorded.
	message, outputs string
	facts            record.PytestFacts
}{
	"passes": {
		files:   map[string]string{"lib.py": "def one():\n    return 1\n\ndef two():\n    return 2\n", "test_a.py": "import lib\ndef test_a(): assert lib.one() == 1\n"},
		outputs: pytestAllReports, facts: record.PytestFacts{Tests: 1, Passed: 1},
	},
	"fails": {
		files: map[string]string{"test_a.py": pytestRed + "def test_b(): pass\n"},
		kind:  record.TestsFailed, code: 60, message: "of 2 tests 1 failed: test_a::test_a: assert 1 == 2", outputs: pytestAllReports,
		facts: record.PytestFacts{Tests: 2, Passed: 1, Failures: 1, Failed: []record.Testcase{{Name: "test_a", Classname: "test_a", Outcome: "failure", Message: "assert 1 == 2"}}},
	},
	"error in teardown": {
		files: map[string]string{"test_a.py": "import pytest\n@pytest.fixture\ndef f():\n    yield\n    raise RuntimeError('boom')\ndef test_a(f): pass\n"},
		kind:  record.TestsFailed, code: 60, message: "of 1 tests 1 errored", outputs: pytestAllReports,
		facts: record.PytestFacts{Tests: 1, Errors: 1, Failed: []record.Testcase{{Name: "test_a", Classname: "test_a", Outcome: "error", Message: `failed on teardown with "RuntimeError: boom"`}}},
	},
	"failure and error in teardown": {
		files: map[string]string{"test_a.py": "import pytest\n@pytest.fixture\ndef f():\n    yield\n    raise RuntimeError('boom')\ndef test_a(f): assert 0\n"},
		kind:  record.TestsFailed, code: 60, message: "of 1 tests 1 failed and 1 errored", outputs: pytestAllReports,
		facts: record.PytestFacts{Tests: 1, Failures: 1, Errors: 1, Failed: []record.Testcase{
			{Name: "test_a", Classname: "test_a", Outcome: "failure", Message: "assert 0"},
			{Name: "test_a", Classname: "test_a", Outcome: "error", Message: `failed on teardown with "RuntimeError: boom"`},
		}},
	},
	"expected failures": {
		files:   map[string]string{"test_a.py": "import pytest\n@pytest.mark.xfail\ndef test_a(): assert 0\n@pytest.mark.xfail\ndef test_b(): pass\n@pytest.mark.skip\ndef test_c(): pass\n"},
		outputs: pytestAllReports, facts: record.PytestFacts{Tests: 3, Passed: 1, XFailed: 1, Skipped: 1},
	},
	"passes against a strict expectation": {
		files: map[string]string{"test_a.py": "import pytest\n@pytest.mark.xfail(strict=True, reason='known')\ndef test_a(): pass\n"},
		kind:  record.TestsFailed, code: 60, message: "XPASS(strict)", outputs: pytestAllReports,
		facts: record.PytestFacts{Tests: 1, Failures: 1, Failed: []record.Testcase{{Name: "test_a", Classname: "test_a", Outcome: "failure", Message: "[XPASS(strict)] known"}}},
	},
	"a test selected twice": {
		files:   map[string]string{"test_a.py": pytestGreen, "conftest.py": "def pytest_collection_modifyitems(items): items[:] = items * 2\n"},
		outputs: pytestAllReports, facts: record.PytestFacts{Tests: 2, Passed: 2},
	},
	"tests taken out by a plugin": {
		files:   map[string]string{"test_a.py": pytestGreen + "def test_b(): assert 0\n", "conftest.py": "def pytest_collection_modifyitems(items): del items[1]\n"},
		outputs: pytestAllReports, facts: record.PytestFacts{Tests: 1, Passed: 1},
	},
	"no test matches": {
		files: map[string]string{"test_a.py": pytestGreen}, set: func(s *Pytest) { s.Markers = "single_cell" },
		kind: record.NoTests, code: 61, message: `selected by --markers "single_cell"`, outputs: pytestAllReports,
	},
	"no tests": {
		files: map[string]string{"lib.py": ""}, kind: record.NoTests, code: 61, message: "no test was collected", outputs: pytestAllReports,
	},
	"no tests, and pytest is told to call that success": {
		files: map[string]string{"conftest.py": "def pytest_sessionfinish(session): session.exitstatus = 0\n"},
		kind:  record.NoTests, code: 61, outputs: pytestAllReports,
	},
	"only skipped": {
		files: map[string]string{"test_a.py": "import pytest\n@pytest.mark.skip(reason='no GPU')\ndef test_a(): pass\n"},
		kind:  record.TestsSkipped, code: 63, message: "all 1 tests were skipped: no GPU", outputs: pytestAllReports, facts: record.PytestFacts{Tests: 1, Skipped: 1},
	},
	"only skipped, allowed": {
		files: map[string]string{"test_a.py": "import pytest\n@pytest.mark.skip\ndef test_a(): pass\n"}, set: func(s *Pytest) { s.AllowAllSkipped = true },
		outputs: pytestAllReports, facts: record.PytestFacts{Tests: 1, Skipped: 1},
	},
	"module skipped": {
		files: map[string]string{"test_a.py": "import pytest\npytest.importorskip('no_such_module')\n" + pytestGreen},
		kind:  record.TestsSkipped, code: 63, message: "skipped: could not import 'no_such_module': No module named 'no_such_module'", outputs: pytestAllReports, facts: record.PytestFacts{Tests: 1, Skipped: 1},
	},
	"module skipped, allowed": {
		files: map[string]string{"test_a.py": "import pytest\npytest.importorskip('no_such_module')\n"}, set: func(s *Pytest) { s.AllowAllSkipped = true },
		outputs: pytestAllReports, facts: record.PytestFacts{Tests: 1, Skipped: 1},
	},
	"ends itself with 0": {
		files: map[string]string{"test_a.py": "import os\ndef test_a(): os._exit(0)\n"},
		kind:  record.TestsCrashed, code: 62, message: "pytest exited 0 without a report",
	},
	"ends itself with 7": {
		files: map[string]string{"test_a.py": "import os\ndef test_a(): os._exit(7)\n"},
		kind:  record.TestsCrashed, code: 62, message: "pytest exited 7",
	},
	"kills itself": {
		files: map[string]string{"test_a.py": "import os\ndef test_a(): os.kill(os.getpid(), 9)\n"},
		kind:  record.TestsCrashed, code: 62, message: "SIGKILL",
	},
	"crashes in native code": {
		files: map[string]string{"test_a.py": "import ctypes\ndef test_a(): ctypes.string_at(0)\n"},
		kind:  record.TestsCrashed, code: 62, message: "SIGSEGV",
	},
	"exit code changed to 0": {
		files: map[string]string{"test_a.py": pytestRed, "conftest.py": "def pytest_sessionfinish(session): session.exitstatus = 0\n"},
		kind:  record.TestsUntrusted, code: 65, message: "pytest exited 0, but its report has 1 failures", outputs: pytestAllReports,
		facts: record.PytestFacts{Tests: 1, Failures: 1, Failed: []record.Testcase{{Name: "test_a", Classname: "test_a", Outcome: "failure", Message: "assert 1 == 2"}}},
	},
	"exit code and report changed": {
		files: map[string]string{"test_a.py": pytestRed, "conftest.py": `import pytest
def pytest_sessionfinish(session): session.exitstatus = 0
@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    open(config.option.xmlpath, "w").write('<testsuite tests="1" failures="0"><testcase name="test_a"/></testsuite>')
`},
		kind: record.TestsUntrusted, code: 65, message: "its session ended with 1", outputs: pytestAllReports, facts: record.PytestFacts{Tests: 1, Passed: 1},
	},
	"exit code changed to 1": {
		files: map[string]string{"test_a.py": pytestGreen, "conftest.py": "def pytest_sessionfinish(session): session.exitstatus = 1\n"},
		kind:  record.TestsUntrusted, code: 65, message: "its report has no failed test", outputs: pytestAllReports, facts: record.PytestFacts{Tests: 1, Passed: 1},
	},
	"session ended early with 0": {
		files: map[string]string{"test_a.py": pytestGreen + "import pytest\ndef test_b(): pytest.exit('enough', returncode=0)\ndef test_c(): assert 0\n"},
		kind:  record.TestsUntrusted, code: 65, message: "only 1 of the 3 selected tests ran", outputs: pytestNoCoverage, facts: record.PytestFacts{Tests: 1, Passed: 1},
	},
	"tests not run at all": {
		files: map[string]string{"test_a.py": pytestRed, "conftest.py": "def pytest_runtestloop(session): return True\n"},
		kind:  record.NoTests, code: 61, outputs: pytestAllReports,
	},
	"report emptied": {
		files: map[string]string{"test_a.py": pytestGreen, "conftest.py": "def pytest_unconfigure(config): open(config.option.xmlpath, 'w').close()\n"},
		kind:  record.TestsCrashed, code: 62, message: "pytest_results_lite.xml cannot be used: it holds no test suite", outputs: pytestAllReports,
	},
	"report removed": {
		files: map[string]string{"test_a.py": pytestGreen, "conftest.py": "import os\ndef pytest_unconfigure(config): os.remove(config.option.xmlpath)\n"},
		kind:  record.TestsCrashed, code: 62, message: "without a report, though its session came to its end", outputs: "coverage_lite.xml pytest_report_lite.html",
	},
	"report turned off": {
		files: map[string]string{"test_a.py": pytestGreen, "pytest.ini": "[pytest]\naddopts = -p no:junitxml\n"},
		kind:  record.TestsCrashed, code: 62, message: "without a report, though its session came to its end", outputs: "coverage_lite.xml pytest_report_lite.html",
	},
	"coverage too low": {
		files: map[string]string{"lib.py": "def f():\n    return 1\n", "test_a.py": "import lib\n" + pytestGreen, "pytest.ini": "[pytest]\naddopts = --cov-fail-under=99\n"},
		kind:  record.TestsFailed, code: 60, message: "no test failed, but coverage did", outputs: pytestAllReports, facts: record.PytestFacts{Tests: 1, Passed: 1},
	},
	"import error": {
		files: map[string]string{"test_a.py": "import no_such_module\n", "test_b.py": pytestGreen},
		kind:  record.TestsFailed, code: 60, message: "No module named 'no_such_module'", outputs: pytestNoCoverage,
		facts: record.PytestFacts{Tests: 1, Errors: 1, Failed: []record.Testcase{{Name: "test_a", Outcome: "error", Message: "ModuleNotFoundError: No module named 'no_such_module'"}}},
	},
	"conftest broken": {
		files: map[string]string{"test_a.py": pytestGreen, "conftest.py": "import no_such_module\n"},
		kind:  record.TestsCrashed, code: 62, message: "No module named 'no_such_module'",
	},
	"unknown argument": {
		files: map[string]string{"test_a.py": pytestGreen}, set: func(s *Pytest) { s.Arg = []string{"--no-such-flag"} },
		kind: record.TestsCrashed, code: 62, message: "pytest exited 4 (usage): ",
	},
	"internal error": {
		files: map[string]string{"test_a.py": pytestGreen, "conftest.py": "def pytest_runtest_protocol(item): raise ValueError('broken plugin')\n"},
		kind:  record.TestsCrashed, code: 62, message: "pytest exited 3 (internal error): ValueError: broken plugin", outputs: pytestNoCoverage,
	},
	"interrupts itself": {
		files: map[string]string{"test_a.py": pytestGreen + "def test_b(): raise KeyboardInterrupt\n"},
		kind:  record.TestsCrashed, code: 62, message: "pytest exited 2 (interrupted)", outputs: pytestNoCoverage, facts: record.PytestFacts{Tests: 1, Passed: 1},
	},
	"pyproject unreadable": {
		files: map[string]string{"test_a.py": pytestGreen, "pyproject.toml": "[project]\nname = \"x\"\nversion = 1.0.0.0\n"},
		kind:  record.TestEnvFailed, code: 64, message: "pyproject.toml line 3, column",
	},
	"odd characters": {
		files: map[string]string{"test_a.py": "def test_a():\n    print('\\x00\\x1b[31m')\n    raise ValueError('\\x00 \\x1b[31m \\ud800 <&>')\n"},
		kind:  record.TestsFailed, code: 60, message: "ValueError", outputs: pytestAllReports,
		facts: record.PytestFacts{Tests: 1, Failures: 1},
	},
}

func TestPytestFaults(t *testing.T) {
	for name, f := range pytestFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := NewTestEnv(t)
			s := pytestStep(pytestProject(t, f.files))
			if f.set != nil {
				f.set(s)
			}
			rec, facts := pytestExecute(t, t.Context(), e, s)
			assert.Equal(t, f.code, *rec.ExitCode)
			if f.kind == "" {
				assert.Nil(t, rec.Failure)
				assert.Equal(t, record.StatusSucceeded, rec.Status)
			} else if assert.NotNil(t, rec.Failure) {
				assert.Equal(t, f.kind, rec.Failure.Kind)
				assert.Contains(t, rec.Failure.Message, f.message)
				assert.NotEmpty(t, rec.Failure.Hint)
				assert.Equal(t, record.StatusFailed, rec.Status)
			}
			assert.Equal(t, f.outputs, pytestOutputs(rec))
			counts := [6]int{facts.Tests, facts.Passed, facts.Failures, facts.Errors, facts.Skipped, facts.XFailed}
			if f.facts.Tests > 0 {
				w := f.facts
				assert.Equal(t, [6]int{w.Tests, w.Passed, w.Failures, w.Errors, w.Skipped, w.XFailed}, counts)
			}
			for i := range f.facts.Failed {
				require.Greater(t, len(facts.Failed), i)
				got := facts.Failed[i]
				got.Seconds = 0
				assert.Equal(t, f.facts.Failed[i], got)
			}
		})
	}
}

func TestPytestFacts(t *testing.T) {
	e := NewTestEnv(t)
	dir := pytestProject(t, map[string]string{
		"lib.py":    "def one():\n    return 1\n\ndef two():\n    return 2\n",
		"test_a.py": "import lib\ndef test_a():\n    assert lib.one() == 1\n    open('left behind', 'w').close()\n",
	})
	s := pytestStep(dir)
	s.Cov = []string{"lib"}
	rec, facts := pytestExecute(t, t.Context(), e, s)
	require.Nil(t, rec.Failure)
	require.NotNil(t, facts.Coverage)
	assert.InDelta(t, 75, *facts.Coverage, 1e-9)
	assert.Positive(t, facts.Seconds)
	assert.Equal(t, "none", facts.Env.Installer)
	assert.NotEmpty(t, facts.Env.Python)
	assert.NotEmpty(t, facts.Env.Versions["pytest"])
	assert.NoFileExists(t, filepath.Join(dir, "left behind"), "the tests run in a copy")
	page, err := os.ReadFile(e.Run.Path("artifacts", "pytest_report_lite.html"))
	require.NoError(t, err)
	assert.NotContains(t, string(page), `rel="stylesheet"`, "the report is self-contained")
}

func TestPytestNothingToCover(t *testing.T) {
	e := NewTestEnv(t)
	s := pytestStep(pytestProject(t, map[string]string{"empty/__init__.py": "", "test_a.py": "import empty\n" + pytestGreen}))
	s.Cov = []string{"empty"}
	rec, facts := pytestExecute(t, t.Context(), e, s)
	require.Nil(t, rec.Failure)
	assert.Nil(t, facts.Coverage)
}

// An attempt that was killed has recorded no outputs, but left a report.
func TestPytestReportOfAnEarlierAttempt(t *testing.T) {
	e := NewTestEnv(t)
	require.NoError(t, os.WriteFile(e.Run.Path("artifacts", "pytest_results_lite.xml"), []byte(`<testsuite tests="1"><testcase name="a"/></testsuite>`), 0o644))
	rec, facts := pytestExecute(t, t.Context(), e, pytestStep(pytestProject(t, map[string]string{"test_a.py": "import os\ndef test_a(): os._exit(0)\n"})))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.TestsCrashed, rec.Failure.Kind)
	assert.Zero(t, facts.Tests)
	assert.Empty(t, rec.Outputs)
}

func TestPytestManyLongFailures(t *testing.T) {
	e := NewTestEnv(t)
	s := pytestStep(pytestProject(t, map[string]string{"test_a.py": "import pytest\n@pytest.mark.parametrize('n', range(60))\ndef test_a(n):\n    raise ValueError('é' * 100_000)\n"}))
	_, facts := pytestExecute(t, t.Context(), e, s)
	assert.Equal(t, 60, facts.Failures)
	assert.Len(t, facts.Failed, pytestFailures)
	assert.LessOrEqual(t, len(facts.Failed[0].Message), pytestMessage+len("…"))
}

func TestPytestOutputNames(t *testing.T) {
	e := NewTestEnv(t)
	s := pytestStep(pytestProject(t, map[string]string{"test_a.py": pytestGreen}))
	s.CoverageXML, s.ResultXML, s.ReportHTML = "cov.xml", "/shared/artifacts/results.xml", "report.html"
	rec, _ := pytestExecute(t, t.Context(), e, s)
	assert.Equal(t, "cov.xml results.xml report.html", pytestOutputs(rec))
}

func TestPytestTimeout(t *testing.T) {
	e := NewTestEnv(t)
	s := pytestStep(pytestProject(t, map[string]string{"test_a.py": "import time\ndef test_a(): time.sleep(600)\n"}))
	s.Timeout = 5 * time.Second
	rec, _ := pytestExecute(t, t.Context(), e, s)
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.TimedOut, rec.Failure.Kind)
	assert.Equal(t, 124, *rec.ExitCode)
	assert.Equal(t, record.StatusTimedOut, rec.Status)
}

func TestPytestToldToStop(t *testing.T) {
	e := NewTestEnv(t)
	mark := filepath.Join(t.TempDir(), "running")
	s := pytestStep(pytestProject(t, map[string]string{"test_a.py": "import time\ndef test_a():\n    open('" + mark + "', 'w').close()\n    time.sleep(600)\n"}))
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for {
			if _, err := os.Stat(mark); err == nil || ctx.Err() != nil {
				cancel(record.BySignal(syscall.SIGTERM))
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	rec, _ := pytestExecute(t, ctx, e, s)
	assert.Equal(t, 143, *rec.ExitCode)
	assert.Equal(t, record.StatusInterrupted, rec.Status)
}

// pytestOOM runs real children, and says of pytest that the kernel ended it.
type pytestOOM struct{ child.Runner }

func (o pytestOOM) Run(ctx context.Context, s child.Spec) (child.Result, error) {
	res, err := o.Runner.Run(ctx, s)
	if strings.Contains(strings.Join(s.Argv, " "), "-m pytest") {
		res.OOMKills = 1
	}
	return res, err
}

func TestPytestOutOfMemory(t *testing.T) {
	e := NewTestEnv(t)
	e.Runner = pytestOOM{e.Runner}
	rec, _ := pytestExecute(t, t.Context(), e, pytestStep(pytestProject(t, map[string]string{"test_a.py": "import os\ndef test_a(): os.kill(os.getpid(), 9)\n"})))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.OutOfMemory, rec.Failure.Kind)
	assert.Equal(t, 45, *rec.ExitCode)

	e = NewTestEnv(t)
	e.Runner = pytestOOM{e.Runner}
	rec, _ = pytestExecute(t, t.Context(), e, pytestStep(pytestProject(t, map[string]string{"test_a.py": pytestGreen})))
	assert.Nil(t, rec.Failure, "every test passed: some helper of one was killed")
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "for want of memory")
}

func TestPytestVariables(t *testing.T) {
	e := NewTestEnv(t, "CLOUDIA_DB_PASSWORD=correct horse", "GITHUB_TOKEN=ghp_0123456789", "CLOUDIA_DB_HOST=db.example.org")
	dir := pytestProject(t, map[string]string{"test_a.py": `import os
def test_a():
    print(os.environ["CLOUDIA_DB_PASSWORD"])
    assert os.environ["CLOUDIA_DB_PASSWORD"] == "correct" + " horse"
    assert os.environ["CLOUDIA_DB_HOST"] == "db.example.org"
    assert os.environ["CLOUDIA_DB_NAME"] == "a, b = c"
    assert "GITHUB_TOKEN" not in os.environ
    assert os.environ["STEP_RUNNER_VARIANT"] == "lite"
`})
	s := pytestStep(dir)
	s.Env, s.EnvFrom, s.Arg = []string{"CLOUDIA_DB_NAME=a, b = c"}, []string{"CLOUDIA_DB_PASSWORD"}, []string{"-s"}
	rec, _ := pytestExecute(t, t.Context(), e, s)
	assert.Nil(t, rec.Failure)
	log, err := os.ReadFile(e.Run.Path(rec.Log))
	require.NoError(t, err)
	assert.NotContains(t, string(log), "correct horse")
	assert.NotContains(t, e.Err.String(), "correct horse")

	s = pytestStep(dir)
	s.EnvFrom = []string{"CLOUDIA_DB_USER"}
	rec, _ = pytestExecute(t, t.Context(), e, s)
	assert.Equal(t, record.BadInput, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Message, "CLOUDIA_DB_USER")
}

// TestPytestPath: a PYTHONPATH for the tests leaves our plugin where it is.
func TestPytestPath(t *testing.T) {
	lib := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(lib, "theirs.py"), []byte("x = 1\n"), 0o600))
	dir := pytestProject(t, map[string]string{"test_a.py": "import theirs\ndef test_a(): assert theirs.x == 1\n"})
	for name, set := range map[string]func(*Pytest){
		"env":      func(s *Pytest) { s.Env = []string{"PYTHONPATH=" + lib} },
		"env-from": func(s *Pytest) { s.EnvFrom = []string{"PYTHONPATH"} },
	} {
		s := pytestStep(dir)
		set(s)
		rec, _ := pytestExecute(t, t.Context(), NewTestEnv(t, "PYTHONPATH="+lib), s)
		assert.Nil(t, rec.Failure, name)
	}
	s := pytestStep(pytestProject(t, map[string]string{"test_a.py": pytestGreen}))
	s.Env = []string{"PYTHONPATH="}
	rec, _ := pytestExecute(t, t.Context(), NewTestEnv(t), s)
	assert.Nil(t, rec.Failure, "an empty one")
}

func TestPytestValidate(t *testing.T) {
	for _, s := range []Pytest{
		{Env: []string{"A=1", "B"}}, {Env: []string{"1A=x"}}, {Env: []string{"DB_PASSWORD=hunter2"}}, {EnvFrom: []string{"A=1"}}, {Workers: "many"}, {Workers: "0"}, {Workers: "-1"},
	} {
		err := s.Validate()
		require.Error(t, err, "%+v", s)
		assert.Equal(t, record.Usage, record.AsFailure(err).Kind)
		assert.NotContains(t, err.Error(), "hunter2")
	}
	ok := Pytest{Env: []string{"A=", "TOKENIZERS_PARALLELISM=false", "OLDPWD=/"}, EnvFrom: []string{"DB_PASSWORD"}, Workers: "auto"}
	assert.NoError(t, ok.Validate())
}

func TestPytestOfTheClone(t *testing.T) {
	e := NewTestEnv(t)
	rec, _ := pytestExecute(t, t.Context(), e, &Pytest{Install: "none"})
	assert.Equal(t, record.NotRun, rec.Failure.Kind, "there is no clone")

	clone := pytestProject(t, map[string]string{"test_a.py": "def test_a(): assert open('input/page.html').read() == 'hello'\n", "input/page.html": "hello"})
	done := &record.Record{
		Schema: record.Schema, ID: record.CloneTests, Run: e.Run.ID, Variant: "lite", Status: record.StatusSucceeded, Started: time.Now(),
		Outputs: []record.File{}, Facts: &record.CloneFacts{Dir: clone, Staged: []string{"input/page.html"}},
	}
	require.NoError(t, e.Run.Write(done))
	rec, facts := pytestExecute(t, t.Context(), e, &Pytest{Install: "none"})
	assert.Nil(t, rec.Failure)
	assert.Equal(t, 1, facts.Passed)
	require.Len(t, rec.Inputs, 1)
	assert.Equal(t, filepath.Join(clone, "input/page.html"), rec.Inputs[0].Path)
}

func TestPytestWithoutPlugins(t *testing.T) {
	e := NewTestEnv(t)
	s := pytestStep(pytestProject(t, map[string]string{"test_a.py": pytestGreen}))
	s.Workers = "2" // pytest-xdist is not among the tools.
	rec, facts := pytestExecute(t, t.Context(), e, s)
	assert.Nil(t, rec.Failure)
	assert.Equal(t, 1, facts.Passed)
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "without pytest-xdist")
}
