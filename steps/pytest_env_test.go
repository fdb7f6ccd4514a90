package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/steptest"
)

// These tests build real environments. They fetch from the package index what an
// earlier one has not left in the shared download caches.

// newPytestEnv is a TestEnv that reaches the index, with the shared caches.
func newPytestEnv(t *testing.T, environ ...string) *TestEnv {
	t.Helper()
	e := NewTestEnv(t, environ...)
	shared := filepath.Join(steptest.Root(t), ".cache", "test-downloads")
	for _, name := range []string{"pip", "uv", "poetry"} {
		require.NoError(t, os.MkdirAll(filepath.Join(shared, name), 0o755))
		require.NoError(t, os.Symlink(filepath.Join(shared, name), e.Workspace.Path("cache", name)))
	}
	// What reaches the index from here: certificates, proxies, a mirror.
	e.Environ = append(os.Environ(), e.Environ...)
	return e
}

// other is e with another run of the same workspace.
func (e *TestEnv) other(t *testing.T, id string) *TestEnv {
	t.Helper()
	run, err := e.Workspace.OpenRun(id)
	require.NoError(t, err)
	env := *e.Env
	env.Run = run
	return &TestEnv{Env: &env, Out: e.Out, Err: e.Err}
}

func pytestSample(t *testing.T) *Pytest {
	t.Helper()
	return &Pytest{
		Dir: filepath.Join(steptest.Root(t), "testdata", "tests-repo"), Install: "auto", Workers: "2",
		Arg: []string{"tests/test_reader.py"}, Limits: child.Limits{Grace: 2 * time.Second},
	}
}

// Two runs at once want the environment of the sample repository: Poetry builds
// it where the index is one that Poetry can read, else uv. A third finds it.
func TestPytestSampleRepositoryByTwoRunsAtOnce(t *testing.T) {
	e := newPytestEnv(t)
	runs := []*TestEnv{e, e.other(t, "second")}
	var g errgroup.Group
	for _, r := range runs {
		g.Go(func() error { _, err := Execute(t.Context(), r.Env, pytestSample(t)); return err })
	}
	require.NoError(t, g.Wait(), e.Err.String())
	var built int
	for _, r := range runs {
		rec, err := r.Run.Read(record.Pytest)
		require.NoError(t, err)
		f := rec.Facts.(*record.PytestFacts)
		assert.Equal(t, 8, f.Passed)
		assert.Equal(t, 8, f.Tests)
		require.NotNil(t, f.Coverage, "the project says what coverage measures")
		assert.Positive(t, *f.Coverage)
		assert.Equal(t, pytestAllReports, pytestOutputs(rec))
		if len(f.Env.Fallbacks) == 0 {
			assert.Equal(t, "poetry", f.Env.Installer)
		} else {
			assert.Equal(t, "uv", f.Env.Installer)
			assert.Contains(t, f.Env.Fallbacks[0], "poetry")
			assert.Contains(t, strings.Join(rec.Notes, "\n"), "poetry")
		}
		for _, name := range []string{"pytest", "pytest-cov", "pytest-html", "pytest-xdist", "coverage"} {
			assert.NotEmpty(t, f.Env.Versions[name], name)
		}
		if !f.Env.Cached {
			built++
		}
	}
	assert.Equal(t, 1, built)

	// One that was killed while it was built is built anew.
	markers, err := filepath.Glob(e.Workspace.Path("venvs", "tests-*", ".complete"))
	require.NoError(t, err)
	require.Len(t, markers, 1)
	require.NoError(t, os.Remove(markers[0]))
	_, f := pytestExecute(t, t.Context(), e.other(t, "third"), pytestSample(t))
	assert.False(t, f.Env.Cached)
	assert.Equal(t, 8, f.Passed)
	_, f = pytestExecute(t, t.Context(), e.other(t, "fourth"), pytestSample(t))
	assert.True(t, f.Env.Cached)
	assert.Equal(t, 8, f.Passed)
}

// With workers a session has no list of tests of its own; the receipt must say
// all the same that one ended early.
func TestPytestWorkersAndFailures(t *testing.T) {
	e := newPytestEnv(t)
	for name, c := range map[string]struct {
		text string
		kind record.Kind
	}{
		"fails":        {"def test_a(): assert 0\ndef test_b(): pass\n", record.TestsFailed},
		"worker dies":  {"import os\ndef test_a(): os._exit(0)\ndef test_b(): pass\n", record.TestsFailed},
		"ends early":   {"import pytest\ndef test_a(): pytest.exit('enough', returncode=0)\ndef test_b(): pass\ndef test_c(): pass\n", record.TestsCrashed},
		"only skipped": {"import pytest\n@pytest.mark.skip\ndef test_a(): pass\n", record.TestsSkipped},
	} {
		dir := pytestProject(t, map[string]string{"test_a.py": c.text})
		rec, _ := pytestExecute(t, t.Context(), e.other(t, strings.ReplaceAll(name, " ", "-")), &Pytest{Dir: dir, Install: "auto", Workers: "2"})
		if assert.NotNil(t, rec.Failure, name) {
			assert.Equal(t, c.kind, rec.Failure.Kind, name)
		}
	}
}

// Without an index no environment can be built, and no test has run.
func TestPytestNoIndex(t *testing.T) {
	e := NewTestEnv(t, "UV_OFFLINE=1", "PIP_NO_INDEX=1", "UV_NO_INDEX=1")
	rec, facts := pytestExecute(t, t.Context(), e, &Pytest{Dir: pytestProject(t, map[string]string{"test_a.py": pytestGreen}), Install: "auto"})
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.TestEnvFailed, rec.Failure.Kind)
	assert.Equal(t, 64, *rec.ExitCode)
	assert.Zero(t, facts.Tests)
	require.NotEmpty(t, facts.Env.Fallbacks)
	assert.Contains(t, facts.Env.Fallbacks[0], "uv: ")
}

func TestPytestPythonThatDoesNotFit(t *testing.T) {
	e := NewTestEnv(t)
	dir := pytestProject(t, map[string]string{"pyproject.toml": "[project]\nname = \"p\"\nversion = \"1\"\nrequires-python = \">=3.99\"\n"})
	rec, _ := pytestExecute(t, t.Context(), e, &Pytest{Dir: dir, Install: "auto"})
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.TestEnvFailed, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Message, "the tests need Python >=3.99")
}
