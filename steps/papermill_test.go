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
	"github.com/step-runner/step-runner/steps/notebook"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

// These tests run real papermill on tiny notebooks.

// millWrite writes a notebook and returns its path.
func millWrite(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".ipynb")
	require.NoError(t, os.WriteFile(path, data, 0o664))
	return path
}

// millStep is the step on notebooks, with the defaults of the command line.
func millStep(paths ...string) *Papermill {
	s := &Papermill{Notebooks: Notebooks{Paths: paths}}
	s.StartTimeout, s.Limits.Grace = time.Minute, 2*time.Second
	s.Lite.MaxCells, s.Lite.MaxGenes = 50000, 10000
	return s
}

// millRun executes the step and reads its record back, which must say the same
// as the error.
func millRun(t *testing.T, e *TestEnv, ctx context.Context, s *Papermill) (*record.Record, *record.PapermillFacts) {
	t.Helper()
	_, err := Execute(ctx, e.Env, s)
	rec, rerr := e.Run.Read(record.Papermill)
	require.NoError(t, rerr)
	require.NotNil(t, rec)
	require.NotNil(t, rec.ExitCode)
	assert.Equal(t, record.ExitCode(err), *rec.ExitCode)
	assert.Equal(t, err == nil, rec.Status == record.StatusSucceeded)
	if t.Failed() {
		t.Log(e.Err.String())
	}
	return rec, rec.Facts.(*record.PapermillFacts)
}

func millOutput(t *testing.T, e *TestEnv, name string) *notebook.Notebook {
	t.Helper()
	data, err := os.ReadFile(e.Run.Path("artifacts", name))
	require.NoError(t, err)
	n, err := notebook.Parse(data)
	require.NoError(t, err)
	return n
}

// millFaults are notebooks that fail, and what must be said of them.
var millFaults = map[string]struct {
	cells  []nbtest.Cell
	set    func(*Papermill)
	kind   record.Kind
	code   int
	status record.Status
	// message is part of the failure's.
	message string
	cells3  record.Cells
	err     record.CellError
}{
	"raises in cell 3": {
		cells: []nbtest.Cell{nbtest.Text("# A"), nbtest.Code("a = 1"), nbtest.Code("b = 2"), nbtest.Code("# divide\na / 0"), nbtest.Code("print('never')")},
		kind:  record.NotebookFailed, code: 42, status: record.StatusFailed, message: "cell 3 raised ZeroDivisionError: division by zero",
		cells3: record.Cells{Total: 4, Run: 2, Failed: 1, Skipped: 1},
		err:    record.CellError{Name: "ZeroDivisionError", Value: "division by zero", Cell: 3, Source: "# divide\na / 0"},
	},
	"sys.exit(0) in the middle": {
		cells: []nbtest.Cell{nbtest.Code("import sys"), nbtest.Code("sys.exit(0)"), nbtest.Code("print('never')")},
		kind:  record.EarlyExit, code: 43, status: record.StatusFailed, message: "1 later cells have not run",
		cells3: record.Cells{Total: 3, Run: 1, Failed: 1, Skipped: 1},
		err:    record.CellError{Name: "SystemExit", Value: "0", Cell: 2, Source: "sys.exit(0)"},
	},
	"os._exit(0) in the middle": {
		cells: []nbtest.Cell{nbtest.Code("import os"), nbtest.Code("os._exit(0)"), nbtest.Code("print('never')")},
		kind:  record.EarlyExit, code: 43, status: record.StatusFailed, message: "the kernel ended itself in cell 2",
		cells3: record.Cells{Total: 3, Run: 1, Failed: 1, Skipped: 1},
		err:    record.CellError{Name: "DeadKernelError", Value: "the kernel ended itself", Cell: 2, Source: "os._exit(0)"},
	},
	"kernel killed": {
		cells: []nbtest.Cell{nbtest.Code("import os, signal"), nbtest.Code("os.kill(os.getpid(), signal.SIGKILL)"), nbtest.Code("print('never')")},
		kind:  record.KernelDied, code: 44, status: record.StatusFailed, message: "the kernel was killed by signal 9 (killed) in cell 2",
		cells3: record.Cells{Total: 3, Run: 1, Failed: 1, Skipped: 1},
		err:    record.CellError{Name: "DeadKernelError", Value: "the kernel was killed by signal 9 (killed)", Cell: 2, Source: "os.kill(os.getpid(), signal.SIGKILL)"},
	},
	"kernel killed in the last cell": {
		cells: []nbtest.Cell{nbtest.Code("import os, signal"), nbtest.Code("print('work'); os.kill(os.getpid(), signal.SIGSEGV)")},
		kind:  record.KernelDied, code: 44, status: record.StatusFailed, message: "signal 11 (segmentation fault) in cell 2",
		cells3: record.Cells{Total: 2, Run: 1, Failed: 1},
		err:    record.CellError{Name: "DeadKernelError", Value: "the kernel was killed by signal 11 (segmentation fault)", Cell: 2, Source: "print('work'); os.kill(os.getpid(), signal.SIGSEGV)"},
	},
	"out of memory": {
		cells: []nbtest.Cell{nbtest.Code("import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))"), nbtest.Code("x = bytearray(1 << 32)")},
		kind:  record.OutOfMemory, code: 45, status: record.StatusFailed, message: "cell 2 raised MemoryError",
		cells3: record.Cells{Total: 2, Run: 1, Failed: 1},
		err:    record.CellError{Name: "MemoryError", Cell: 2, Source: "x = bytearray(1 << 32)"},
	},
	"missing module": {
		cells: []nbtest.Cell{nbtest.Code("import rapids_that_are_not_there.sub"), nbtest.Code("print('never')")},
		kind:  record.MissingModule, code: 46, status: record.StatusFailed, message: "there is no module rapids_that_are_not_there",
		cells3: record.Cells{Total: 2, Failed: 1, Skipped: 1},
		err:    record.CellError{Name: "ModuleNotFoundError", Value: "No module named 'rapids_that_are_not_there'", Cell: 1, Source: "import rapids_that_are_not_there.sub"},
	},
	"KeyboardInterrupt": {
		cells: []nbtest.Cell{nbtest.Code("import os, signal, time"), nbtest.Code("os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)"), nbtest.Code("print('never')")},
		kind:  record.CellInterrupted, code: 47, status: record.StatusFailed, message: "cell 2 raised KeyboardInterrupt",
		cells3: record.Cells{Total: 3, Run: 1, Failed: 1, Skipped: 1},
		err:    record.CellError{Name: "KeyboardInterrupt", Cell: 2, Source: "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)"},
	},
	// What an interrupt outside a cell's code does to older kernels: papermill alone
	// waits for the reply for ever.
	"interrupted kernel loses its reply": {
		cells: []nbtest.Cell{nbtest.Code("send = get_ipython().kernel.session.send\n" +
			"def lose(stream, kind, *args, **named):\n    return {'content': {'status': 'ok'}} if kind == 'execute_reply' else send(stream, kind, *args, **named)"),
			nbtest.Code("get_ipython().kernel.session.send = lose"), nbtest.Code("print('never')")},
		kind: record.CellInterrupted, code: 47, status: record.StatusFailed, message: "cell 2 raised KeyboardInterrupt: the kernel was interrupted and has lost its reply",
		cells3: record.Cells{Total: 3, Run: 1, Failed: 1, Skipped: 1},
		err:    record.CellError{Name: "KeyboardInterrupt", Value: "the kernel was interrupted and has lost its reply", Cell: 2, Source: "get_ipython().kernel.session.send = lose"},
	},
	"cell hangs": {
		cells: []nbtest.Cell{nbtest.Code("import time"), nbtest.Code("time.sleep(600)"), nbtest.Code("print('never')")},
		set:   func(s *Papermill) { s.ExecutionTimeout = time.Second },
		kind:  record.TimedOut, code: 124, status: record.StatusTimedOut, message: "cell 2 did not end within its time limit (time.sleep(600))",
		cells3: record.Cells{Total: 3, Run: 1, Failed: 1, Skipped: 1},
		err:    record.CellError{Name: "CellTimeoutError", Cell: 2, Source: "time.sleep(600)"},
	},
	"notebook hangs": {
		cells: []nbtest.Cell{nbtest.Code("import time"), nbtest.Code("time.sleep(600)"), nbtest.Code("print('never')")},
		set:   func(s *Papermill) { s.Limits.Timeout = 6 * time.Second },
		kind:  record.TimedOut, code: 124, status: record.StatusTimedOut, message: "longer than --timeout 6s, in cell 2 (time.sleep(600))",
		cells3: record.Cells{Total: 3, Run: 1, Failed: 1, Skipped: 1},
		err:    record.CellError{Name: "timed-out", Cell: 2, Source: "time.sleep(600)"},
	},
	"no such kernel": {
		cells: []nbtest.Cell{nbtest.Code("1")},
		set:   func(s *Papermill) { s.Kernel = "rapids-25.04" },
		kind:  record.MissingTool, code: 11, status: record.StatusFailed, message: "No such kernel named rapids-25.04",
		cells3: record.Cells{Total: 1, Skipped: 1},
	},
	"parameter without a cell": {
		cells: []nbtest.Cell{nbtest.Code("n = 1")},
		set:   func(s *Papermill) { s.Parameter = []string{"n=2"} },
		kind:  record.PatchMismatch, code: 49, status: record.StatusFailed, message: "parameter n: the notebook has no cell tagged parameters",
	},
	"parameter of another name": {
		cells: []nbtest.Cell{nbtest.Code("n_cells = 1", "parameters")},
		set:   func(s *Papermill) { s.ParametersYAML = []string{"n_cels: 2"} },
		kind:  record.PatchMismatch, code: 49, status: record.StatusFailed, message: "parameter n_cels: no cell of the notebook uses this name",
	},
	"other error than the allowed one": {
		cells: []nbtest.Cell{nbtest.Code("1/0", "may-fail"), nbtest.Code("x = 2")},
		set:   func(s *Papermill) { s.AllowError = []string{"ValueError@may-fail"} },
		kind:  record.NotebookFailed, code: 42, status: record.StatusFailed, message: "cell 1 raised ZeroDivisionError",
		cells3: record.Cells{Total: 2, Run: 1, Failed: 1},
		err:    record.CellError{Name: "ZeroDivisionError", Value: "division by zero", Cell: 1, Source: "1/0"},
	},
}

func TestPapermillFaults(t *testing.T) {
	for name, c := range millFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := NewTestEnv(t)
			s := millStep(millWrite(t, "nb", nbtest.New(c.cells...)))
			if c.set != nil {
				c.set(s)
			}
			rec, facts := millRun(t, e, t.Context(), s)
			require.NotNil(t, rec.Failure)
			assert.Equal(t, c.kind, rec.Failure.Kind, rec.Failure.Message)
			assert.Equal(t, c.code, *rec.ExitCode)
			assert.Equal(t, c.status, rec.Status)
			assert.Contains(t, rec.Failure.Message, "notebook nb.ipynb: ")
			assert.Contains(t, rec.Failure.Message, c.message)
			assert.NotEmpty(t, rec.Failure.Hint)
			assert.Equal(t, c.cells3, facts.Cells)
			require.Len(t, facts.Notebooks, 1)
			assert.Equal(t, c.kind, facts.Notebooks[0].Kind)
			if c.err.Name == "" {
				assert.Nil(t, facts.Error)
				return
			}
			require.NotNil(t, facts.Error)
			if c.kind == record.TimedOut {
				c.err.Value = facts.Error.Value
			}
			assert.Equal(t, c.err, *facts.Error)
			require.Len(t, rec.Outputs, 1, "the executed notebook is there also after a failure")
			assert.Equal(t, "artifacts/output_analysis_lite.ipynb", rec.Outputs[0].Path)
		})
	}
}

func TestPapermillSucceeds(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t, "FOO=outer", "GITHUB_TOKEN=0123456789abcdef0123")
	e.Secrets.Add("0123456789abcdef0123")
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "notebooks"), 0o775))
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".git"), 0o775))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data.txt"), []byte("data"), 0o664))
	// A module by the name of one that papermill imports must not come in its way.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notebooks", "nbformat.py"), []byte("raise SystemExit('shadowed')"), 0o664))
	path := filepath.Join(dir, "notebooks", "a b{x}.ipynb")
	source := nbtest.WithoutKernel(
		nbtest.Code("n = 1\nsubsample = False\nlabel = ''", "parameters"),
		nbtest.Code("import os\nassert (n, subsample, label) == (2, True, 'x, y'), (n, subsample, label)"),
		nbtest.Code("assert open('../data.txt').read() == 'data'\nopen('../made.txt', 'w').write('made')"),
		nbtest.Code("assert os.environ['FOO'] == 'inner=1' and os.environ['STEP_RUNNER_VARIANT'] == 'lite'\nassert 'GITHUB_TOKEN' not in os.environ"),
		nbtest.Code("print('patched')"),
		nbtest.Code("1/0", "may-fail"),
		nbtest.Code("import IPython\nIPython.Application.instance().kernel.do_shutdown(True)"),
	)
	require.NoError(t, os.WriteFile(path, source, 0o664))
	patches := filepath.Join(t.TempDir(), "patches.yaml")
	require.NoError(t, os.WriteFile(patches, []byte("- notebook: a b{x}\n  match: patched\n  replace: \"really patched\"\n"), 0o664))

	s := millStep(path)
	s.Parameter, s.ParametersYAML = []string{"a b{x}:n=2", "label=x, y"}, []string{"n: 3"}
	s.PapermillOptions.Env = []string{"FOO=inner=1"}
	s.Patches, s.Output = patches, "/elsewhere/mine.ipynb"
	s.AllowError = []string{"ZeroDivisionError@may-fail"}
	rec, facts := millRun(t, e, t.Context(), s)
	require.Nil(t, rec.Failure)
	assert.Equal(t, record.Cells{Total: 7, Run: 6, Skipped: 1}, facts.Cells)
	nb := facts.Notebooks[0]
	assert.Equal(t, path, nb.Input)
	assert.Equal(t, "artifacts/mine.ipynb", nb.Output)
	assert.Equal(t, []string{
		`patch 1: replaced "patched" by "really patched" in cell 5`,
		"the notebook names no kernel: python3 is used",
		"cell 7 shuts the kernel down: tagged skip-execution",
		"cell 6 may raise ZeroDivisionError: tagged raises-exception",
		"lite variant: parameter subsample is True",
	}, nb.Prepared)
	require.Len(t, nb.AllowedErrors, 1)
	assert.Equal(t, 6, nb.AllowedErrors[0].Cell)
	assert.Positive(t, nb.Seconds)
	assert.Len(t, nb.Slowest, 5)

	unchanged, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, source, unchanged, "the notebook itself stays as it is")
	assert.NoFileExists(t, filepath.Join(dir, "made.txt"), "what a notebook makes is in the copy")
	assert.Contains(t, e.Err.String(), "really patched", "output is live on the console")
	log, err := os.ReadFile(e.Run.Path("logs", "papermill.log"))
	require.NoError(t, err)
	assert.Contains(t, string(log), "really patched")
	assert.Len(t, rec.Inputs, 2, "the patches and the notebook")
}

func TestPapermillShutdownCellWithMuchOutput(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	rec, facts := millRun(t, e, t.Context(), millStep(millWrite(t, "nb", nbtest.New(
		nbtest.Code("for _ in range(100):\n    print('x' * 100_000)"),
		nbtest.Code("print('y' * 1_000_000)"),
		nbtest.Code("import IPython\nIPython.Application.instance().kernel.do_shutdown(True)"),
	))))
	require.Nil(t, rec.Failure)
	assert.Equal(t, record.Cells{Total: 3, Run: 2, Skipped: 1}, facts.Cells)
	assert.Greater(t, rec.Outputs[0].Bytes, int64(11_000_000))
}

// TestPapermillMixedShutdown: work in the cell that shuts the kernel down must be
// done, so it is not skipped; whether papermill notices the kernel's end is a race.
func TestPapermillMixedShutdown(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	rec, facts := millRun(t, e, t.Context(), millStep(millWrite(t, "nb", nbtest.New(
		nbtest.Code("x = 1"), nbtest.Code("y = x\nget_ipython().kernel.do_shutdown(True)"),
	))))
	require.Nil(t, rec.Failure)
	assert.Equal(t, record.Cells{Total: 2, Run: 2}, facts.Cells)
	assert.Empty(t, facts.Notebooks[0].Prepared)
}

// TestPapermillSeveral: one that fails does not hide the others.
func TestPapermillSeveral(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o775))
		require.NoError(t, os.WriteFile(path, data, 0o664))
		return path
	}
	broken := write("broken.ipynb", []byte("{"))
	first := write("first.ipynb", nbtest.New(nbtest.Code("open('step', 'w').write('1')")))
	again := write("sub/first.ipynb", nbtest.New(nbtest.Code("1/0")))
	// The notebooks of one directory share their copy, as a chain of them needs.
	second := write("second.ipynb", nbtest.New(nbtest.Code("assert open('step').read() == '1'")))
	pointer := write("pointer.ipynb", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"))
	require.NoError(t, os.WriteFile(e.Run.Path("artifacts", "result_broken_lite.ipynb"), []byte("stale"), 0o664))

	rec, facts := millRun(t, e, t.Context(), millStep(broken, first, again, filepath.Join(dir, "missing.ipynb"), second, pointer))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.NotebookInvalid, rec.Failure.Kind)
	assert.Equal(t, 41, *rec.ExitCode)
	assert.Contains(t, rec.Failure.Message, "notebook broken.ipynb: is not JSON")
	var kinds []record.Kind
	var outputs []string
	for _, nb := range facts.Notebooks {
		kinds = append(kinds, nb.Kind)
	}
	for _, f := range rec.Outputs {
		outputs = append(outputs, f.Path)
	}
	assert.Equal(t, []record.Kind{record.NotebookInvalid, "", record.NotebookFailed, record.NotebookMissing, "", record.NotebookInvalid}, kinds)
	assert.Equal(t, []string{"artifacts/result_first_lite.ipynb", "artifacts/result_first_2_lite.ipynb", "artifacts/result_second_lite.ipynb"}, outputs)
	assert.Equal(t, record.Cells{Total: 3, Run: 2, Failed: 1}, facts.Cells)
	assert.Nil(t, facts.Error, "the first failure has no cell")
	assert.NoFileExists(t, e.Run.Path("artifacts", "result_broken_lite.ipynb"))
}

func TestPapermillNotebookMissing(t *testing.T) {
	e := NewTestEnv(t)
	present := millWrite(t, "present", nbtest.New(nbtest.Code("1")))
	rec, _ := millRun(t, e, t.Context(), millStep(filepath.Join(filepath.Dir(present), "absent.ipynb")))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.NotebookMissing, rec.Failure.Kind)
	assert.Equal(t, 40, *rec.ExitCode)
	assert.Contains(t, rec.Failure.Message, "absent.ipynb is not in")
	assert.Contains(t, rec.Failure.Hint, "there are present.ipynb")
	assert.Empty(t, rec.Outputs)
}

// millPID waits until the notebook has written a process id into a file of its
// directory, and returns it.
func millPID(t *testing.T, e *TestEnv, name string) int {
	t.Helper()
	var pid int
	require.Eventually(t, func() bool {
		found, _ := filepath.Glob(e.Run.Path("work", "papermill", "tree-*", name))
		if len(found) == 0 {
			return false
		}
		b, err := os.ReadFile(found[0])
		if err != nil || !strings.HasSuffix(string(b), "\n") {
			return false
		}
		for _, c := range strings.TrimSpace(string(b)) {
			pid = pid*10 + int(c-'0')
		}
		return true
	}, time.Minute, 20*time.Millisecond)
	return pid
}

func millGone(t *testing.T, pid int) {
	t.Helper()
	require.NotZero(t, pid)
	assert.Equal(t, syscall.ESRCH, syscall.Kill(pid, 0), "process %d is left", pid)
}

const millWritePID = "\nopen('pid', 'w').write(f'{p.pid}\\n')"

// TestPapermillDaemon: a worker that a notebook leaves behind, in a session of its
// own as Dask's nannies are, and deaf to TERM, is ended and named.
func TestPapermillDaemon(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	rec, _ := millRun(t, e, t.Context(), millStep(millWrite(t, "nb", nbtest.New(nbtest.Code(
		"import subprocess\np = subprocess.Popen(['sh', '-c', \"trap '' TERM; while :; do sleep 1; done\"], start_new_session=True)"+millWritePID,
	)))))
	require.Nil(t, rec.Failure, "what the notebook did is done")
	millGone(t, millPID(t, e, "pid"))
	require.Len(t, rec.Children, 1)
	assert.NotEmpty(t, rec.Children[0].Strays)
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "left behind")
}

// TestPapermillStopped: TERM to step-runner in the middle of a cell whose child
// ignores TERM.
func TestPapermillStopped(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	pid := make(chan int, 1)
	go func() {
		pid <- millPID(t, e, "pid")
		cancel(record.BySignal(syscall.SIGTERM))
	}()
	path := millWrite(t, "nb", nbtest.New(nbtest.Code("print('first')"), nbtest.Code(
		"import subprocess\np = subprocess.Popen(['sh', '-c', \"trap '' TERM; while :; do sleep 1; done\"])"+millWritePID+"\np.wait()",
	), nbtest.Code("print('never')")))
	second := filepath.Join(filepath.Dir(path), "second.ipynb")
	require.NoError(t, os.WriteFile(second, nbtest.New(nbtest.Code("1")), 0o664))
	rec, facts := millRun(t, e, ctx, millStep(path, second))
	millGone(t, <-pid)
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.Signaled, rec.Failure.Kind)
	assert.Equal(t, record.StatusInterrupted, rec.Status)
	assert.Equal(t, 143, *rec.ExitCode)
	assert.Contains(t, rec.Failure.Message, "in cell 2 (import subprocess)")
	require.Len(t, facts.Notebooks, 2)
	assert.Equal(t, record.Cells{Total: 3, Run: 1, Failed: 1, Skipped: 1}, facts.Notebooks[0].Cells)
	assert.Equal(t, record.Signaled, facts.Notebooks[1].Kind)
	require.Len(t, rec.Outputs, 1)
	millOutput(t, e, "result_nb_lite.ipynb")
}

func TestPapermillTimeoutOfAll(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	a := millWrite(t, "a", nbtest.New(nbtest.Code("import time\ntime.sleep(600)")))
	b := millWrite(t, "b", nbtest.New(nbtest.Code("1")))
	s := millStep(a, b)
	s.Limits.Timeout = 5 * time.Second
	rec, facts := millRun(t, e, t.Context(), s)
	assert.Equal(t, record.TimedOut, rec.Failure.Kind)
	assert.Equal(t, record.TimedOut, facts.Notebooks[1].Kind, "the time is for all notebooks")
	assert.Len(t, rec.Children, 1)
}

func TestPapermillWithoutPapermill(t *testing.T) {
	e := NewTestEnv(t)
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "python3"), []byte("#!/bin/sh\nexec /usr/bin/env -i "+millBarePython(t, e)+" -S \"$@\"\n"), 0o755))
	e.Environ = append(e.Environ, "PATH="+bin+":/usr/bin:/bin")
	rec, _ := millRun(t, e, t.Context(), millStep(millWrite(t, "nb", nbtest.New(nbtest.Code("1")))))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.MissingTool, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Message, "papermill cannot be imported: No module named 'papermill'")
}

// millBarePython is an interpreter; with -S it has no packages.
func millBarePython(t *testing.T, e *TestEnv) string {
	t.Helper()
	path, err := lookPath(e.Getenv("PATH"), "python3")
	require.NoError(t, err)
	return path
}

// TestPapermillRefuses has flags that are wrong before anything is run.
func TestPapermillRefuses(t *testing.T) {
	secret := "0123456789abcdef0123"
	yaml := func(text string) string {
		path := filepath.Join(t.TempDir(), "x.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o664))
		return path
	}
	for name, c := range map[string]struct {
		set     func(*Papermill)
		kind    record.Kind
		message string
	}{
		"parameter":            {func(s *Papermill) { s.Parameter = []string{"n"} }, record.Usage, "give NAME=VALUE"},
		"parameter name":       {func(s *Papermill) { s.Parameter = []string{"a b=1"} }, record.Usage, "give NAME=VALUE"},
		"other notebook":       {func(s *Papermill) { s.Parameter = []string{"other:n=1"} }, record.Usage, "other is none of the notebooks"},
		"env of other":         {func(s *Papermill) { s.PapermillOptions.Env = []string{"other.ipynb:A=1"} }, record.Usage, "is none of the notebooks"},
		"secret":               {func(s *Papermill) { s.Parameter = []string{"n=x" + secret} }, record.BadInput, "holds a token"},
		"secret in env":        {func(s *Papermill) { s.PapermillOptions.Env = []string{"T=" + secret} }, record.BadInput, "holds a token"},
		"secret in YAML":       {func(s *Papermill) { s.ParametersYAML = []string{"n: " + secret} }, record.BadInput, "holds a token"},
		"secret in a file":     {func(s *Papermill) { s.ParametersFile = []string{yaml("n: " + secret)} }, record.BadInput, "holds a token"},
		"no YAML":              {func(s *Papermill) { s.ParametersYAML = []string{"[1"} }, record.BadInput, "no YAML mapping"},
		"a list":               {func(s *Papermill) { s.ParametersYAML = []string{"[1]"} }, record.BadInput, "no YAML mapping"},
		"no file":              {func(s *Papermill) { s.ParametersFile = []string{"/none.yaml"} }, record.BadInput, "no such file"},
		"allow":                {func(s *Papermill) { s.AllowError = []string{"ValueError"} }, record.Usage, "give NAME@CELL_TAG"},
		"no patches":           {func(s *Papermill) { s.Patches = "/none.yaml" }, record.BadInput, "no such file"},
		"unknown key":          {func(s *Papermill) { s.Patches = yaml("- {match: a, with: b}") }, record.BadInput, "with"},
		"empty match":          {func(s *Papermill) { s.Patches = yaml("- {replace: b}") }, record.BadInput, "patch 1: match is empty"},
		"patch of no notebook": {func(s *Papermill) { s.Patches = yaml("- {notebook: gone.ipynb, match: a, replace: b}") }, record.PatchMismatch, "there is no notebook gone.ipynb"},
		"patch does not match": {func(s *Papermill) { s.Patches = yaml("- {match: a, replace: b}") }, record.PatchMismatch, "occurs 0 times"},
		"output":               {func(s *Papermill) { s.Output = "out.html" }, record.Usage, "--output out.html"},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewTestEnv(t)
			e.Secrets.Add(secret)
			s := millStep(millWrite(t, "nb", nbtest.New(nbtest.Code("n = 1", "parameters"))))
			c.set(s)
			rec, _ := millRun(t, e, t.Context(), s)
			require.NotNil(t, rec.Failure)
			assert.Equal(t, c.kind, rec.Failure.Kind, rec.Failure.Message)
			assert.Contains(t, rec.Failure.Message, c.message)
			assert.Empty(t, rec.Children, "nothing was run")
			assert.NotContains(t, rec.Failure.Message, secret)
		})
	}
}

// TestPapermillInClone: paths are those of the clone of step 2, and stay inside.
func TestPapermillInClone(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	clone := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(clone, "notebooks"), 0o775))
	require.NoError(t, os.WriteFile(filepath.Join(clone, "notebooks", "nb.ipynb"), nbtest.New(nbtest.Code("import os\nprint(os.getcwd())\nopen('made', 'w').close()")), 0o444))
	outside := millWrite(t, "outside", nbtest.New(nbtest.Code("1")))
	require.NoError(t, os.Symlink(outside, filepath.Join(clone, "notebooks", "link.ipynb")))
	now, code := time.Now(), 0
	require.NoError(t, e.Run.Write(&record.Record{
		Schema: record.Schema, ID: record.Clone, Run: e.Run.ID, Variant: "lite", Status: record.StatusSucceeded,
		Started: now, Ended: &now, ExitCode: &code, Facts: &record.CloneFacts{Dir: clone},
	}))

	s := millStep()
	s.Notebooks = Notebooks{Dir: "notebooks", Filename: "nb.ipynb"}
	rec, facts := millRun(t, e, t.Context(), s)
	require.Nil(t, rec.Failure)
	assert.Equal(t, filepath.Join(clone, "notebooks", "nb.ipynb"), facts.Notebooks[0].Input)
	assert.NoFileExists(t, filepath.Join(clone, "notebooks", "made"))
	made, err := filepath.Glob(e.Run.Path("work", "papermill", "tree-*", "notebooks", "made"))
	require.NoError(t, err)
	assert.Len(t, made, 1)

	for path, kind := range map[string]record.Kind{"notebooks/link.ipynb": record.BadInput, "../x.ipynb": record.BadInput, "notebooks/none.ipynb": record.NotebookMissing, "notebooks": record.NotebookInvalid} {
		rec, _ := millRun(t, e, t.Context(), millStep(path))
		require.NotNil(t, rec.Failure, path)
		assert.Equal(t, kind, rec.Failure.Kind, rec.Failure.Message)
	}
}

// TestPapermillStoppedBetween: a signal between two notebooks is the step's failure.
func TestPapermillStoppedBetween(t *testing.T) {
	e := NewTestEnv(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	real := e.Runner
	e.Runner = millFake(func(s child.Spec) (child.Result, error) {
		defer cancel(record.BySignal(syscall.SIGINT))
		return real.Run(context.WithoutCancel(ctx), s)
	})
	first, second := millWrite(t, "a", nbtest.New(nbtest.Code("1"))), millWrite(t, "b", nbtest.New(nbtest.Code("1")))
	rec, facts := millRun(t, e, ctx, millStep(first, second))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, 130, *rec.ExitCode)
	assert.Equal(t, "notebook b.ipynb: not begun: stopped by signal 2 (interrupt)", rec.Failure.Message)
	assert.Empty(t, facts.Notebooks[0].Kind)
	assert.Equal(t, record.Signaled, facts.Notebooks[1].Kind)
}

// TestPapermillInWorkspace: the workspace is not copied into itself.
func TestPapermillInWorkspace(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	repo := e.Workspace.Path("..")
	require.NoError(t, os.Mkdir(filepath.Join(repo, ".git"), 0o775))
	for _, path := range []string{filepath.Join(repo, "nb.ipynb"), e.Workspace.Path("cache", "nb.ipynb")} {
		require.NoError(t, os.WriteFile(path, nbtest.New(nbtest.Code("import os\nprint(sorted(os.listdir('workspace')))")), 0o664))
	}
	rec, _ := millRun(t, e, t.Context(), millStep(filepath.Join(repo, "nb.ipynb"), e.Workspace.Path("cache", "nb.ipynb")))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.BadInput, rec.Failure.Kind, "the first is fine")
	assert.Contains(t, rec.Failure.Message, "notebook workspace/cache/nb.ipynb: it is in a directory of the workspace")
	assert.NotContains(t, e.Err.String(), "'runs'")
}

// millFake stands in for papermill where a fault cannot be had from the real one.
type millFake func(child.Spec) (child.Result, error)

func (f millFake) Run(_ context.Context, s child.Spec) (child.Result, error) { return f(s) }

func TestPapermillExitZeroIsNotEnough(t *testing.T) {
	e := NewTestEnv(t)
	e.Runner = millFake(func(child.Spec) (child.Result, error) { return child.Result{}, nil })
	rec, _ := millRun(t, e, t.Context(), millStep(millWrite(t, "nb", nbtest.New(nbtest.Code("1")))))
	require.NotNil(t, rec.Failure, "a false green")
	assert.Equal(t, record.CellsUnrun, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Message, "has written no notebook")
}
