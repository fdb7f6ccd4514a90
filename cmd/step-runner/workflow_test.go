package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps"
	"github.com/step-runner/step-runner/steps/gittest"
	"github.com/step-runner/step-runner/steps/leak"
	"github.com/step-runner/step-runner/steps/steptest"
)

// site is what a whole run needs: two repositories over HTTP, the second only for
// a token, and one workspace for all runs, so that each finds what others left.
type site struct {
	server           *gittest.Server
	notebooks, tests *gittest.Repo
	tokenFile        string
	workspace        string
	path             string
}

const (
	siteToken = "ghp_0123456789abcdefABCDEF+/"
	goodTests = `import pathlib, pytest

@pytest.mark.single_cell
def test_page_is_there():
    assert "42" in next(pathlib.Path("input").glob("*.html")).read_text()
`
	testsProject = "[project]\nname = \"t\"\nversion = \"1\"\n[tool.pytest.ini_options]\nmarkers = [\"single_cell\"]\n"
)

// cells is a notebook of code cells, as JSON.
func cells(t *testing.T, sources ...string) string {
	t.Helper()
	var list []map[string]any
	for i, source := range sources {
		list = append(list, map[string]any{"cell_type": "code", "id": "c" + string(rune('a'+i)), "metadata": map[string]any{}, "source": source, "outputs": []any{}, "execution_count": nil})
	}
	b, err := json.Marshal(map[string]any{"nbformat": 4, "nbformat_minor": 5, "cells": list, "metadata": map[string]any{
		"kernelspec": map[string]any{"name": "python3", "display_name": "Python 3", "language": "python"}}})
	require.NoError(t, err)
	return string(b)
}

func newSite(t *testing.T) *site {
	t.Helper()
	srv, err := gittest.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { srv.Close() })
	s := &site{server: srv, workspace: filepath.Join(t.TempDir(), "ws"), tokenFile: filepath.Join(t.TempDir(), "token"), path: filepath.Dir(steptest.Python(t)) + ":" + os.Getenv("PATH")}
	require.NoError(t, os.WriteFile(s.tokenFile, []byte(siteToken+"\n"), 0o600))
	s.notebooks, err = srv.NewRepo("notebooks.git")
	require.NoError(t, err)
	s.tests, err = srv.NewRepo("tests.git")
	require.NoError(t, err)
	s.tests.RequireToken(siteToken)
	s.commit(t, "main", cells(t, "a = 40", "print(a + 2)"), gittest.Files{"test_a.py": goodTests})
	t.Cleanup(func() {
		n, err := leak.Search(s.workspace, siteToken)
		assert.NoError(t, err)
		assert.NotZero(t, n)
	})
	return s
}

// commit puts a notebook and tests on a branch of their repositories.
func (s *site) commit(t *testing.T, branch, notebook string, tests gittest.Files) {
	t.Helper()
	_, err := s.notebooks.Commit(branch, gittest.Files{"notebooks/nb.ipynb": notebook})
	require.NoError(t, err)
	files := gittest.Files{"pyproject.toml": testsProject}
	for name, text := range tests {
		files[name] = text
	}
	_, err = s.tests.Commit(branch, files)
	require.NoError(t, err)
}

// command is step-runner itself in a process of its own, running branch as run id.
func (s *site) command(id, branch string, extra ...string) *exec.Cmd {
	args := append([]string{
		"run", "--workspace", s.workspace, "--run", id, "--gpu", "off", "--notebook-filename", "nb.ipynb",
		"--clone-url", s.notebooks.URL, "--clone-revision", branch, "--clone-retries", "1",
		"--clone-tests-url", s.tests.URL, "--clone-tests-revision", branch, "--clone-tests-token-file", s.tokenFile,
		"--pytest-install", "none", "--papermill-grace", "2s", "--setup-min-free", "1MiB",
	}, extra...)
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), "PATH="+s.path)
	return c
}

// end waits for the command and returns its exit code and what it said.
func end(t *testing.T, c *exec.Cmd) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String()
}

func (s *site) run(t *testing.T, id string) *artifacts.Run {
	t.Helper()
	w, err := artifacts.OpenWorkspace(s.workspace)
	require.NoError(t, err)
	r, err := w.FindRun(id)
	require.NoError(t, err)
	return r
}

// outcome is what must be true of a run when it has ended.
type outcome struct {
	exit int
	// step is the one that failed, of class kind; none when kind is "".
	step record.ID
	kind record.Kind
}

// check compares the exit code, the records, the summary and the artifacts with want.
func (s *site) check(t *testing.T, id string, want outcome, code int, said string) {
	t.Helper()
	if !assert.Equal(t, want.exit, code, said) {
		return
	}
	r := s.run(t, id)
	v := r.Judge()
	assert.Empty(t, v.Unreadable)
	steps := slices.DeleteFunc(slices.Clone(v.Records), func(rec *record.Record) bool { return rec.ID == record.FetchData })
	require.Len(t, steps, 8, "each step has a record")
	summary, err := os.ReadFile(r.Path("artifacts", "STEP_SUMMARY_LITE.md"))
	require.NoError(t, err)
	if want.kind == "" {
		assert.Equal(t, record.Passed, v.Word)
		assert.Contains(t, string(summary), record.CompletedMessage)
	} else {
		require.NotNil(t, v.First, said)
		assert.Equal(t, want.step, v.First.ID)
		assert.Equal(t, want.kind, v.First.Failure.Kind)
		assert.NotEmpty(t, v.First.Failure.Hint)
		assert.Equal(t, want.exit, *v.First.ExitCode)
		assert.Contains(t, string(summary), string(want.kind))
		assert.NotContains(t, string(summary), record.CompletedMessage)
	}
	assert.FileExists(t, r.Path("artifacts", "manifest.json"))
}

// TestWorkflow runs all eight steps on real tools, once for each fault.
func TestWorkflow(t *testing.T) {
	s := newSite(t)
	fail := gittest.Files{"test_a.py": "import pytest\n@pytest.mark.single_cell\ndef test_b():\n    assert 1 == 2\n"}
	good := gittest.Files{"test_a.py": goodTests}
	daemon := "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\nprint(42)"
	for _, tc := range []struct {
		name     string
		notebook string
		tests    gittest.Files
		flags    []string
		want     outcome
		also     func(t *testing.T, r *artifacts.Run)
	}{
		{name: "everything is good", notebook: cells(t, "print(42)"), tests: good},
		{name: "cell 3 raises", notebook: cells(t, "1", "2", "1/0", "4"), tests: good, want: outcome{42, record.Papermill, record.NotebookFailed},
			also: func(t *testing.T, r *artifacts.Run) {
				rec, err := r.Read(record.Papermill)
				require.NoError(t, err)
				f := rec.Facts.(*record.PapermillFacts)
				assert.Equal(t, record.Cells{Total: 4, Run: 2, Failed: 1, Skipped: 1}, f.Cells)
				assert.Equal(t, "ZeroDivisionError", f.Error.Name)
				assert.Equal(t, 3, f.Error.Cell)
				assert.FileExists(t, r.Path("artifacts", "output_analysis_lite.html"), "a failed notebook has a page")
				rec, err = r.Read(record.Pytest)
				require.NoError(t, err)
				assert.Equal(t, record.StatusSkipped, rec.Status)
			}},
		{name: "exit in the middle", notebook: cells(t, "1", "import sys; sys.exit(0)", "3"), tests: good, want: outcome{43, record.Papermill, record.EarlyExit}},
		{name: "kernel killed", notebook: cells(t, "1", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "3"), tests: good, want: outcome{44, record.Papermill, record.KernelDied}},
		{name: "kernel out of memory", tests: good, want: outcome{45, record.Papermill, record.OutOfMemory},
			notebook: cells(t, "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); b = bytearray(2**32)")},
		{name: "missing module", notebook: cells(t, "import no_such_module_of_ours"), tests: good, want: outcome{46, record.Papermill, record.MissingModule}},
		{name: "shutdown cell with 10 MB of outputs", tests: good,
			notebook: cells(t, "print(42); print('x' * 10_000_000)", "import IPython\nIPython.Application.instance().kernel.do_shutdown(True)")},
		{name: "notebook missing", notebook: cells(t, "1"), tests: good, flags: []string{"--notebook-filename", "other.ipynb"}, want: outcome{40, record.Papermill, record.NotebookMissing}},
		{name: "notebook not JSON", notebook: "{", tests: good, want: outcome{41, record.Papermill, record.NotebookInvalid}},
		{name: "cell hangs", notebook: cells(t, "import time; time.sleep(600)"), tests: good, flags: []string{"--papermill-timeout", "8s"}, want: outcome{124, record.Papermill, record.TimedOut}},
		{name: "child ignores TERM", tests: good, flags: []string{"--papermill-no-output-timeout", "8s"}, want: outcome{124, record.Papermill, record.TimedOut},
			notebook: cells(t, "import os, signal, time\nos.kill(os.getppid(), 0)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(600)")},
		{name: "daemon left behind", notebook: cells(t, daemon), tests: good,
			also: func(t *testing.T, r *artifacts.Run) {
				rec, err := r.Read(record.Papermill)
				require.NoError(t, err)
				require.Len(t, rec.Children[len(rec.Children)-1].Strays, 1, "%+v", rec.Children)
			}},
		{name: "tests fail", notebook: cells(t, "print(42)"), tests: fail, want: outcome{60, record.Pytest, record.TestsFailed}},
		{name: "teardown errors", notebook: cells(t, "print(42)"), want: outcome{60, record.Pytest, record.TestsFailed},
			tests: gittest.Files{"test_a.py": "import pytest\n@pytest.fixture\ndef f():\n    yield\n    raise OSError('teardown')\n@pytest.mark.single_cell\ndef test_b(f):\n    pass\n"}},
		{name: "no test matches", notebook: cells(t, "print(42)"), tests: gittest.Files{"test_a.py": "def test_b():\n    pass\n"}, want: outcome{61, record.Pytest, record.NoTests}},
		{name: "pytest crashes", notebook: cells(t, "print(42)"), want: outcome{62, record.Pytest, record.TestsCrashed},
			tests: gittest.Files{"test_a.py": "import os, pytest\n@pytest.mark.single_cell\ndef test_b():\n    os._exit(0)\n"}},
		{name: "pyproject unreadable", notebook: cells(t, "print(42)"), tests: gittest.Files{"test_a.py": goodTests, "pyproject.toml": "[project"}, flags: []string{"--pytest-install", "auto"}, want: outcome{64, record.Pytest, record.TestEnvFailed}},
		{name: "wrong token", notebook: cells(t, "print(42)"), tests: good, flags: []string{"--clone-tests-token-file", wrongToken(t)}, want: outcome{31, record.CloneTests, record.CloneAuth}},
		{name: "no such repository", notebook: cells(t, "1"), tests: good, flags: []string{"--clone-url", s.server.URL + "/none.git"}, want: outcome{32, record.Clone, record.RepoNotFound}},
		{name: "no such revision", notebook: cells(t, "1"), tests: good, flags: []string{"--clone-revision", "nope"}, want: outcome{33, record.Clone, record.RevisionNotFound}},
	} {
		id := strings.ReplaceAll(tc.name, " ", "-")
		s.commit(t, id, tc.notebook, tc.tests)
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			code, said := end(t, s.command(id, id, tc.flags...))
			s.check(t, id, tc.want, code, said)
			if tc.also != nil {
				tc.also(t, s.run(t, id))
			}
		})
	}
}

func wrongToken(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte("ghp_this-is-another-token"), 0o600))
	return path
}

// TestWorkflowDrop breaks the connection in the middle of a pack: once, which a
// retry mends, and for good.
func TestWorkflowDrop(t *testing.T) {
	s := newSite(t)
	s.server.Inject(gittest.Pack, 1, gittest.DropAfter(150))
	code, said := end(t, s.command("once", "main"))
	s.check(t, "once", outcome{}, code, said)
	s.commit(t, "other", cells(t, "print(42.0)"), gittest.Files{"test_a.py": goodTests})
	s.server.Inject(gittest.Pack, 9, gittest.DropAfter(150))
	code, said = end(t, s.command("always", "other"))
	s.check(t, "always", outcome{30, record.Clone, record.CloneFailed}, code, said)
}

// TestWorkflowSignals stops a run in each step that does its work in a child or
// over the network, and goes on with it.
func TestWorkflowSignals(t *testing.T) {
	s := newSite(t)
	gate := filepath.Join(t.TempDir(), "gate")
	wait := "import os, time\nopen(" + quote(gate) + " + '.reached', 'w').close()\nwhile not os.path.exists(" + quote(gate) + "): time.sleep(0.05)\n"
	s.commit(t, "notebook", cells(t, wait, "print(42)"), gittest.Files{"test_a.py": goodTests})
	s.commit(t, "pytest", cells(t, "print(42)"), gittest.Files{"conftest.py": wait, "test_a.py": goodTests})
	for _, tc := range []struct {
		name, branch string
		sig          syscall.Signal
		want         outcome
	}{
		{"TERM in step 3", "notebook", syscall.SIGTERM, outcome{143, record.Papermill, record.Signaled}},
		{"INT in step 6", "pytest", syscall.SIGINT, outcome{130, record.Pytest, record.Signaled}},
		{"KILL in step 3", "notebook", syscall.SIGKILL, outcome{137, record.Papermill, record.Killed}},
		{"KILL in step 6", "pytest", syscall.SIGKILL, outcome{137, record.Pytest, record.Killed}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id := strings.ReplaceAll(tc.name, " ", "-")
			os.Remove(gate)
			os.Remove(gate + ".reached")
			var said bytes.Buffer
			c := s.command(id, tc.branch)
			c.Stderr = &said
			require.NoError(t, c.Start())
			waitFor(t, gate+".reached", &said)
			require.NoError(t, c.Process.Signal(tc.sig))
			require.Error(t, c.Wait())
			if tc.sig == syscall.SIGKILL {
				s.interrupted(t, id)
				v := s.run(t, id).Judge()
				require.NotNil(t, v.First)
				assert.Equal(t, tc.want.step, v.First.ID)
				assert.Equal(t, record.StatusInterrupted, v.First.Status)
				assert.Equal(t, tc.want.exit, *v.First.ExitCode)
			} else {
				s.check(t, id, tc.want, c.ProcessState.ExitCode(), said.String())
			}
			require.NoError(t, os.WriteFile(gate, nil, 0o600))
			before := s.started(t, id, record.Clone)
			code, again := end(t, s.command(id, tc.branch, "--resume", id))
			s.check(t, id, outcome{}, code, again)
			assert.Equal(t, before, s.started(t, id, record.Clone), "a step that succeeded is not run again")
		})
	}
}

// TestWorkflowKilledAnywhere kills a run as soon as each step's record says that
// it runs, and goes on with it.
func TestWorkflowKilledAnywhere(t *testing.T) {
	s := newSite(t)
	for _, id := range record.Workflow {
		t.Run(id.String(), func(t *testing.T) {
			run := "killed-" + id.String()
			c := s.command(run, "main")
			require.NoError(t, c.Start())
			path := filepath.Join(s.workspace, "runs", run, "records", id.File())
			waitFor(t, path, &bytes.Buffer{})
			require.NoError(t, c.Process.Kill())
			// Collect and summary may have ended before the signal came.
			if err := c.Wait(); err != nil || id.Step < 7 {
				require.Error(t, err)
				s.interrupted(t, run)
			}
			if id.Step < 7 {
				assert.NotEqual(t, record.Passed, s.run(t, run).Judge().Word)
			}
			code, said := end(t, s.command(run, "main", "--resume", run))
			s.check(t, run, outcome{}, code, said)
		})
	}
}

// interrupted waits until the killed run reads so: a child that it was about to
// start holds its locks until it has been replaced by its program or killed too.
func (s *site) interrupted(t *testing.T, run string) {
	t.Helper()
	require.Eventually(t, func() bool {
		rec, err := s.run(t, run).Read((&steps.Run{}).ID())
		return assert.NoError(t, err) && rec.Status == record.StatusInterrupted
	}, time.Minute, 10*time.Millisecond)
}

// TestWorkflowResumeKeeps: a passed run that is resumed stays passed and keeps its
// steps, also when the command line no longer says what was cloned; what was
// changed since is made anew.
func TestWorkflowResumeKeeps(t *testing.T) {
	s := newSite(t)
	code, said := end(t, s.command("r", "main"))
	s.check(t, "r", outcome{}, code, said)
	before := s.started(t, "r", record.Pytest)

	c := exec.Command(os.Args[0], "run", "--workspace", s.workspace, "--resume", "r", "--gpu", "off", "--setup-min-free", "1MiB")
	c.Env = append(os.Environ(), "PATH="+s.path)
	code, said = end(t, c)
	s.check(t, "r", outcome{}, code, said)
	assert.Equal(t, before, s.started(t, "r", record.Pytest))

	notebook := s.run(t, "r").Path("artifacts", "output_analysis_lite.ipynb")
	require.NoError(t, os.WriteFile(notebook, []byte("{}"), 0o600))
	cloned := s.started(t, "r", record.Clone)
	code, said = end(t, s.command("r", "main", "--resume", "r"))
	s.check(t, "r", outcome{}, code, said)
	assert.NotEqual(t, before, s.started(t, "r", record.Pytest))
	assert.Equal(t, cloned, s.started(t, "r", record.Clone))
}

// TestWorkflowTwoAtOnce runs two runs in one workspace at the same time, and tries
// to run one of them twice.
func TestWorkflowTwoAtOnce(t *testing.T) {
	s := newSite(t)
	gate := filepath.Join(t.TempDir(), "gate")
	wait := "import os, time\nopen(" + quote(gate) + " + '.reached', 'w').close()\nwhile not os.path.exists(" + quote(gate) + "): time.sleep(0.05)\n"
	s.commit(t, "slow", cells(t, wait, "print(42)"), gittest.Files{"test_a.py": goodTests})
	var said bytes.Buffer
	a := s.command("a", "slow")
	a.Stderr = &said
	require.NoError(t, a.Start())
	waitFor(t, gate+".reached", &said)
	code, text := end(t, s.command("a", "slow"))
	assert.Equal(t, 15, code, text)
	code, text = end(t, s.command("b", "main"))
	s.check(t, "b", outcome{}, code, text)
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	require.NoError(t, a.Wait(), said.String())
	s.check(t, "a", outcome{}, 0, said.String())
}

// TestWorkflowStale lets a run fail among the outputs of one that passed: under the
// same id, and published by another.
func TestWorkflowStale(t *testing.T) {
	s := newSite(t)
	code, said := end(t, s.command("good", "main"))
	s.check(t, "good", outcome{}, code, said)
	s.commit(t, "bad", "{", gittest.Files{"test_a.py": goodTests})
	for _, id := range []string{"good", "another"} {
		code, said = end(t, s.command(id, "bad"))
		s.check(t, id, outcome{41, record.Papermill, record.NotebookInvalid}, code, said)
		for _, name := range []string{"output_analysis_lite.ipynb", "output_analysis_lite.html", "pytest_results_lite.xml"} {
			assert.NoFileExists(t, filepath.Join(s.workspace, "artifacts", name))
		}
	}
}

// TestWorkflowFullDisk runs on a file system that the notebook fills.
func TestWorkflowFullDisk(t *testing.T) {
	dir, ok := steptest.SmallDisk(t, 24<<20)
	if !ok {
		return
	}
	s := newSite(t)
	s.workspace = filepath.Join(dir, "ws")
	s.commit(t, "fill", cells(t, "open('big', 'wb').write(bytes(2**26))"), gittest.Files{"test_a.py": goodTests})
	code, said := end(t, s.command("full", "fill"))
	s.check(t, "full", outcome{13, record.Papermill, record.DiskFull}, code, said)
}

func (s *site) started(t *testing.T, id string, step record.ID) time.Time {
	t.Helper()
	rec, err := s.run(t, id).Read(step)
	require.NoError(t, err)
	require.NotNil(t, rec)
	return rec.Started
}

func quote(s string) string { return `"` + s + `"` }

// waitFor waits until path is there; a run that never comes so far is a failure.
func waitFor(t *testing.T, path string, said *bytes.Buffer) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s never came:\n%s", path, said.String())
		}
	}
}
