package notebook

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/sjson"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
	"github.com/step-runner/step-runner/steps/steptest"
)

// papermill runs a notebook with the real tools, by the launcher.
func papermill(t *testing.T, n *Notebook, args ...string) (output []byte, e Ending) {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(path("launcher.py"), Launcher, 0o600))
	require.NoError(t, os.WriteFile(path("in.ipynb"), n.Bytes(), 0o600))
	console := &steptest.Buffer{}
	res, err := child.Exec{}.Run(context.Background(), child.Spec{
		Argv: append([]string{steptest.Python(t), path("launcher.py"), path("outcome.json"), path("in.ipynb"), path("out.ipynb"), "--log-output", "--no-progress-bar"}, args...),
		Dir:  dir, Env: append(os.Environ(), "HOME="+dir), Out: console,
	})
	require.NoError(t, err)
	e = Ending{ExitCode: res.ExitCode, Signal: res.Signal}
	e.Outcome, err = ReadOutcome(path("outcome.json"))
	require.NoError(t, err, console)
	output, err = os.ReadFile(path("out.ipynb"))
	require.NoError(t, err, console)
	return output, e
}

// with is a copy of the ending, changed.
func (e Ending) with(change func(*Ending)) Ending {
	if e.Outcome != nil {
		o := *e.Outcome
		e.Outcome = &o
	}
	change(&e)
	return e
}

// TestJudge takes what real papermill leaves of a good notebook, and spoils it in
// every way: no part of the proof may be missing.
func TestJudge(t *testing.T) {
	n, _ := prepare(t, nbtest.New(
		nbtest.Text("# Title"), nbtest.Code("n = 1", "parameters"), nbtest.Code("  "), nbtest.Code("print(n)"),
		nbtest.Code("import time\ntime.sleep(0.2)"), nbtest.Code(shutdownSource),
	), Preparation{})
	// papermill runs 0 text, 1 parameters, 2 those injected, 3 empty, 4 print, 5 sleep, 6 shutdown.
	const injectedAt, printAt, sleepAt = 2, 4, 5
	good, ending := papermill(t, n, "--parameters", "n", "2")
	judged := func(out []byte, e Ending) Verdict {
		x, err := ParseExecuted(out)
		if err != nil {
			x = nil
		}
		return Judge(n, true, x, e, Rules{})
	}

	v := judged(good, ending)
	require.Nil(t, v.Failure)
	assert.Equal(t, record.Cells{Total: 4, Run: 3, Skipped: 1}, v.Cells)
	assert.Nil(t, v.Error)
	assert.Empty(t, v.Allowed)
	assert.Equal(t, "import time\ntime.sleep(0.2)", v.Slowest[0].Source)
	assert.Equal(t, 4, v.Slowest[0].Number)
	assert.GreaterOrEqual(t, v.Slowest[0].Seconds, 0.2)
	assert.Greater(t, v.Seconds, v.Slowest[0].Seconds)

	at := func(cell int, path string) string { return fmt.Sprintf("cells.%d.%s", cell, path) }
	set := func(path string, value any) []byte {
		out, err := sjson.SetBytes(good, path, value)
		require.NoError(t, err)
		return out
	}
	del := func(path string) []byte {
		out, err := sjson.DeleteBytes(good, path)
		require.NoError(t, err)
		return out
	}
	failure := map[string]any{"output_type": "error", "ename": "E", "evalue": "v", "traceback": []string{}}
	dead := func(o Outcome) Ending {
		o.Error = "nbclient.exceptions.DeadKernelError"
		return Ending{ExitCode: 138, Outcome: &o}
	}
	printed, zero, segv, killed := printAt, 0, -11, -9
	pm := func(cell int, field string) string { return at(cell, "metadata.papermill."+field) }
	for name, c := range map[string]struct {
		out  []byte
		e    Ending
		kind record.Kind
	}{
		"no output":              {nil, ending, record.CellsUnrun},
		"half an output":         {good[:len(good)/2], ending, record.CellsUnrun},
		"the input":              {n.Bytes(), ending, record.CellsUnrun},
		"a cell too many":        {set("cells.-1", map[string]any{"cell_type": "markdown", "source": "more"}), ending, record.CellsUnrun},
		"a cell is gone":         {del("cells.4"), ending, record.CellsUnrun},
		"another source":         {set(at(printAt, "source"), "print(m)"), ending, record.CellsUnrun},
		"another type":           {set(at(printAt, "cell_type"), "raw"), ending, record.CellsUnrun},
		"not started":            {set(pm(printAt, "start_time"), nil), ending, record.CellsUnrun},
		"pending":                {set(pm(printAt, "status"), "pending"), ending, record.CellsUnrun},
		"running":                {set(pm(sleepAt, "status"), "running"), ending, record.CellsUnrun},
		"nothing of papermill":   {del(at(sleepAt, "metadata.papermill")), ending, record.CellsUnrun},
		"not counted":            {set(at(printAt, "execution_count"), nil), ending, record.CellsUnrun},
		"parameters not started": {set(pm(injectedAt, "start_time"), nil), ending, record.CellsUnrun},
		"unanswered":             {good, ending.with(func(e *Ending) { e.Outcome.UnansweredCell = &printed }), record.CellsUnrun},
		"exception":              {set(pm(printAt, "exception"), true), ending, record.NotebookFailed},
		"error shown":            {set(at(printAt, "outputs.0"), failure), ending, record.NotebookFailed},
		"error not shown":        {good, ending.with(func(e *Ending) { e.Outcome.Error, e.ExitCode = "papermill.exceptions.PapermillExecutionError", 1 }), record.NotebookFailed},
		"exit code":              {good, ending.with(func(e *Ending) { e.ExitCode = 3 }), record.Internal},
		"an exception":           {good, ending.with(func(e *Ending) { e.Outcome.Error, e.ExitCode = "builtins.ValueError", 1 }), record.Internal},
		"exception, exit code 0": {good, ending.with(func(e *Ending) { e.Outcome.Error = "builtins.ValueError" }), record.Internal},
		"no outcome":             {good, ending.with(func(e *Ending) { e.Outcome = nil }), record.Internal},
		"signal":                 {good, Ending{ExitCode: -1, Signal: "SIGKILL"}, record.Killed},
		"signal and OOM":         {good, Ending{ExitCode: -1, Signal: "SIGKILL", OOMKills: 1}, record.OutOfMemory},
		"no papermill at all":    {nil, Ending{ExitCode: 1, Outcome: &Outcome{Error: "builtins.ModuleNotFoundError", MissingTool: true}}, record.MissingTool},
		"kernel died after all":  {good, dead(Outcome{}), record.KernelDied},
		"kernel crashed":         {good, dead(Outcome{KernelExit: &segv, UnansweredCell: &printed}), record.KernelDied},
		"kernel ended in a cell": {good, dead(Outcome{KernelExit: &zero, UnansweredCell: &printed}), record.EarlyExit},
		"kernel killed, OOM":     {good, dead(Outcome{KernelExit: &killed, UnansweredCell: &printed}).with(func(e *Ending) { e.OOMKills = 2 }), record.OutOfMemory},
		"cell timeout":           {good, Ending{ExitCode: 1, Outcome: &Outcome{Error: "nbclient.exceptions.CellTimeoutError", UnansweredCell: &printed}}, record.TimedOut},
		"stopped by a limit":     {good, ending.with(func(e *Ending) { e.Stopped = record.Failf(record.TimedOut, "too long") }), record.TimedOut},
		"stopped by a signal":    {good, ending.with(func(e *Ending) { e.Stopped = record.BySignal(syscall.SIGTERM) }), record.Signaled},
		"no such kernel":         {nil, Ending{ExitCode: 1, Outcome: &Outcome{Error: "jupyter_client.kernelspec.NoSuchKernel"}}, record.MissingTool},
		"disk full":              {nil, Ending{ExitCode: 1, Outcome: &Outcome{Error: "builtins.OSError", Message: "[Errno 28] No space left on device"}}, record.DiskFull},
	} {
		t.Run(name, func(t *testing.T) {
			v := judged(c.out, c.e)
			require.NotNil(t, v.Failure, "a false green")
			assert.Equal(t, c.kind, v.Failure.Kind, v.Failure.Message)
			assert.Equal(t, v.Cells.Total, v.Cells.Run+v.Cells.Failed+v.Cells.Skipped)
		})
	}

	t.Run("a kernel that ended itself after the last cell", func(t *testing.T) {
		v := judged(good, dead(Outcome{KernelExit: &zero}))
		assert.Nil(t, v.Failure)
		assert.Equal(t, []string{"the kernel ended itself after the last cell"}, v.Notes)
	})
	t.Run("the running cell and the signal", func(t *testing.T) {
		v := judged(set(pm(sleepAt, "status"), "running"), Ending{ExitCode: -1, Signal: "SIGTERM", Stopped: record.BySignal(syscall.SIGTERM)})
		assert.Equal(t, 143, record.ExitCode(v.Failure))
		assert.Contains(t, v.Failure.Message, "in cell 4 (import time)")
		assert.Equal(t, record.Cells{Total: 4, Run: 2, Failed: 1, Skipped: 1}, v.Cells)
	})
}

func TestJudgeAllowedErrors(t *testing.T) {
	zero := AllowedError{"ZeroDivisionError", "may-fail"}
	n, _ := prepare(t, nbtest.New(nbtest.Code("1/0", "may-fail"), nbtest.Code("1/0", "raises-exception"), nbtest.Code("2")), Preparation{Allowed: []AllowedError{zero}})
	out, ending := papermill(t, n)
	x, err := ParseExecuted(out)
	require.NoError(t, err)
	assert.Equal(t, 1, ending.ExitCode, "papermill itself calls it a failure")

	v := Judge(n, false, x, ending, Rules{Allowed: []AllowedError{zero}})
	require.Nil(t, v.Failure)
	assert.Equal(t, record.Cells{Total: 3, Run: 3}, v.Cells)
	assert.Equal(t, []record.CellError{
		{Name: "ZeroDivisionError", Value: "division by zero", Cell: 1, Source: "1/0"},
		{Name: "ZeroDivisionError", Value: "division by zero", Cell: 2, Source: "1/0"},
	}, v.Allowed)

	for _, rules := range []Rules{{}, {Allowed: []AllowedError{{"ValueError", "may-fail"}}}, {Allowed: []AllowedError{{"ZeroDivisionError", "other"}}}} {
		v := Judge(n, false, x, ending, rules)
		require.NotNil(t, v.Failure, "a false green")
		assert.Equal(t, record.NotebookFailed, v.Failure.Kind)
		assert.Equal(t, 1, v.Error.Cell)
		assert.Equal(t, record.Cells{Total: 3, Run: 2, Failed: 1}, v.Cells)
	}
}

func TestRaisedIsClassed(t *testing.T) {
	for _, c := range []struct {
		name, value string
		kind        record.Kind
		message     string
	}{
		{"ValueError", "bad\nworse", record.NotebookFailed, "cell 1 raised ValueError: bad"},
		{"ValueError", "\n \x1b[31mred\x1b[0m\n", record.NotebookFailed, "cell 1 raised ValueError: red"},
		{"AssertionError", "", record.NotebookFailed, "cell 1 raised AssertionError"},
		{"ModuleNotFoundError", "No module named 'cudf'", record.MissingModule, "cell 1: there is no module cudf"},
		{"ModuleNotFoundError", "No module named 'a.b'; 'a' is not a package", record.MissingModule, "cell 1: there is no module a.b"},
		{"ImportError", "cannot import name 'x' from 'y'", record.NotebookFailed, "cell 1 raised ImportError: cannot import name 'x' from 'y'"},
		{"KeyboardInterrupt", "", record.CellInterrupted, "cell 1 raised KeyboardInterrupt"},
		{"SystemExit", "0", record.EarlyExit, `cell 1 ended the notebook by SystemExit "0", 1 later cells have not run`},
		{"SystemExit", "no data", record.EarlyExit, `cell 1 ended the notebook by SystemExit "no data", 1 later cells have not run`},
		{"MemoryError", "std::bad_alloc: out_of_memory: RMM failure at:x: Exceeded memory limit", record.OutOfMemory, "cell 1 raised MemoryError: std::bad_alloc: out_of_memory: RMM failure at:x: Exceeded memory limit"},
		{"OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", record.OutOfMemory, ""},
		{"_ArrayMemoryError", "Unable to allocate 8 TiB", record.OutOfMemory, ""},
		{"CUDARuntimeError", "cudaErrorMemoryAllocation: out of memory", record.OutOfMemory, ""},
		{"XlaRuntimeError", "RESOURCE_EXHAUSTED: Out of memory while trying to allocate", record.OutOfMemory, ""},
		{"OSError", "[Errno 12] Cannot allocate memory", record.OutOfMemory, ""},
	} {
		n, err := Parse(nbtest.New(nbtest.Code("a"), nbtest.Code("b")))
		require.NoError(t, err)
		x := &Executed{cells: []executedCell{
			{Cell: n.Cells[0], status: "failed", started: true, counted: true, exception: true, errors: []record.CellError{cellError(c.name, c.value)}},
			{Cell: n.Cells[1], status: "pending"},
		}}
		v := Judge(n, false, x, Ending{ExitCode: 1, Outcome: &Outcome{Error: "papermill.exceptions.PapermillExecutionError"}}, Rules{})
		require.NotNil(t, v.Failure)
		assert.Equal(t, c.kind, v.Failure.Kind, c.name)
		if c.message != "" {
			assert.Equal(t, c.message, v.Failure.Message)
		}
		assert.Equal(t, &record.CellError{Name: c.name, Value: plain(c.value), Cell: 1, Source: "a"}, v.Error)
		assert.Equal(t, record.Cells{Total: 2, Failed: 1, Skipped: 1}, v.Cells)

		v = Judge(n, false, x, Ending{ExitCode: 1, OOMKills: 1, Outcome: &Outcome{Error: "papermill.exceptions.PapermillExecutionError"}}, Rules{})
		if c.kind == record.NotebookFailed {
			assert.Equal(t, record.OutOfMemory, v.Failure.Kind, "a worker was killed for lack of memory")
		}
	}
}

func TestEarlyExit(t *testing.T) {
	n, err := Parse(nbtest.New(nbtest.Code("a"), nbtest.Code("b"), nbtest.Code("c")))
	require.NoError(t, err)
	ran := func(i int) executedCell {
		return executedCell{Cell: n.Cells[i], status: "completed", started: true, counted: true}
	}
	exit := func(i int, value string) executedCell {
		return executedCell{Cell: n.Cells[i], status: "failed", started: true, counted: true, exception: true, errors: []record.CellError{{Name: "SystemExit", Value: value}}}
	}
	pending := func(i int) executedCell { return executedCell{Cell: n.Cells[i], status: "pending"} }
	for name, c := range map[string]struct {
		cells []executedCell
		code  int
		allow bool
		kind  record.Kind
		run   int
	}{
		"in the middle":         {[]executedCell{ran(0), exit(1, "0"), pending(2)}, 0, false, record.EarlyExit, 1},
		"allowed":               {[]executedCell{ran(0), exit(1, "0"), pending(2)}, 0, true, "", 2},
		"allowed, None":         {[]executedCell{ran(0), exit(1, "None"), pending(2)}, 1, true, "", 2},
		"not with an error":     {[]executedCell{ran(0), exit(1, "1"), pending(2)}, 1, true, record.EarlyExit, 1},
		"not when unrun before": {[]executedCell{pending(0), exit(1, "0"), pending(2)}, 0, true, record.CellsUnrun, 1},
		"in the last":           {[]executedCell{ran(0), ran(1), exit(2, "")}, 0, false, "", 3},
		"in the last, in error": {[]executedCell{ran(0), ran(1), exit(2, "1")}, 1, false, record.EarlyExit, 2},
	} {
		t.Run(name, func(t *testing.T) {
			o := &Outcome{}
			if c.code != 0 {
				o.Error = "papermill.exceptions.PapermillExecutionError"
			}
			v := Judge(n, false, &Executed{cells: c.cells}, Ending{ExitCode: c.code, Outcome: o}, Rules{AllowEarlyExit: c.allow})
			kind := record.Kind("")
			if v.Failure != nil {
				kind = v.Failure.Kind
			}
			assert.Equal(t, c.kind, kind)
			assert.Equal(t, c.run, v.Cells.Run)
			if c.kind == "" {
				require.Len(t, v.Allowed, 1)
				assert.Equal(t, "SystemExit", v.Allowed[0].Name)
			}
		})
	}
}

func TestAnErrorThatIsNotShown(t *testing.T) {
	n, err := Parse(nbtest.New(nbtest.Code("a")))
	require.NoError(t, err)
	x := &Executed{cells: []executedCell{{Cell: n.Cells[0], status: "failed", started: true, counted: true, exception: true}}}
	e := Ending{ExitCode: 1, Outcome: &Outcome{Error: "papermill.exceptions.PapermillExecutionError", ErrorReplies: []ErrorReply{{0, "KeyboardInterrupt", ""}}}}
	assert.Equal(t, record.CellInterrupted, Judge(n, false, x, e, Rules{}).Failure.Kind)
	e.Outcome.ErrorReplies = nil
	assert.Equal(t, record.NotebookFailed, Judge(n, false, x, e, Rules{}).Failure.Kind)
}

// TestPlan has the places of papermill's own cells.
func TestPlan(t *testing.T) {
	numbers := func(cells []nbtest.Cell, parameters bool) (got []int) {
		n, err := Parse(nbtest.New(cells...))
		require.NoError(t, err)
		for _, c := range n.Plan(parameters) {
			if c == nil {
				got = append(got, -1)
			} else {
				got = append(got, c.Number)
			}
		}
		return got
	}
	marker := nbtest.Cell{Type: "markdown", Source: "error", Tags: []string{tagErrorMarker}}
	params, injected := nbtest.Code("p", tagParameters), nbtest.Code("q", tagInjected)
	assert.Equal(t, []int{1, 2}, numbers([]nbtest.Cell{params, nbtest.Code("x")}, false))
	assert.Equal(t, []int{0, 1, -1, 2}, numbers([]nbtest.Cell{nbtest.Text("t"), params, nbtest.Code("x")}, true))
	assert.Equal(t, []int{1, 2, 3}, numbers([]nbtest.Cell{marker, params, injected, marker, nbtest.Code("x")}, true))
	assert.Equal(t, []int{-1, 1}, numbers([]nbtest.Cell{nbtest.Code("x")}, true))
}

// FuzzJudge: whatever lies where the output should be, nothing panics, and it is
// no proof unless it is the notebook.
func FuzzJudge(f *testing.F) {
	n, err := Parse(nbtest.New(nbtest.Code("a"), nbtest.Code("b")))
	require.NoError(f, err)
	f.Add(n.Bytes())
	f.Add([]byte(`{"nbformat":4,"metadata":{"papermill":{}},"cells":[{"cell_type":"code","source":"a"},{"cell_type":"code","source":"b","outputs":[{"output_type":"error"}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := ParseExecuted(data)
		if err != nil {
			x = nil
		}
		v := Judge(n, false, x, Ending{Outcome: &Outcome{}}, Rules{})
		if v.Failure == nil {
			require.Len(t, x.cells, 2)
			require.Equal(t, record.Cells{Total: 2, Run: 2}, v.Cells)
		}
	})
}

func TestFirstLine(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "\n one \ntwo": "one", "---": "---",
		"\n-----\nException encountered at \"In [1]\":\n-----\n1/0\n\nZeroDivisionError: division by zero\n": "ZeroDivisionError: division by zero",
	} {
		assert.Equal(t, want, firstLine(text))
	}
}
