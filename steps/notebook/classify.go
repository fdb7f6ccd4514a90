package notebook

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/step-runner/step-runner/artifacts/record"
)

// ended is why the notebook did not come to its end, nil when it did as far as
// papermill and the cells say. What papermill wrote last is the least
// trustworthy: after a kernel's death it calls every cell completed, and after
// a timeout it shows the KeyboardInterrupt of its own making.
func (j *judge) ended() *record.Failure {
	if f := j.Stopped; f != nil {
		return j.stopped(f)
	}
	if j.Outcome.MissingTool {
		return record.Failf(record.MissingTool, "papermill cannot be imported: %s", j.Outcome.Message)
	}
	if i := slices.IndexFunc(j.raised, func(r raised) bool { return r.ended }); i >= 0 {
		return j.raisedFailure(j.raised[i])
	}
	switch j.exception() {
	case "DeadKernelError":
		if f := j.deadKernel(); f != nil {
			return f
		}
	case "CellTimeoutError":
		return j.cellTimeout()
	}
	if len(j.raised) > 0 {
		return j.raisedFailure(j.raised[0])
	}
	if !j.exitExplained() {
		return j.papermillFailure()
	}
	return nil
}

// exception is the name of the exception that ended papermill, without its module.
func (j *judge) exception() string {
	name := j.Outcome.Error
	return name[strings.LastIndex(name, ".")+1:]
}

// stopped is our own stop, with the cell that it met.
func (j *judge) stopped(f *record.Failure) *record.Failure {
	at := j.running()
	number, source := j.name(at)
	if at < 0 || number == 0 {
		return f
	}
	j.v.Error = &record.CellError{Name: string(f.Kind), Value: f.Message, Cell: number, Source: source}
	g := *f
	g.Message = fmt.Sprintf("%s, in cell %d (%s)", f.Message, number, firstLine(source))
	return &g
}

// firstLine is the first line that is not blank, for a message; the last one where
// that is a rule, as in the tracebacks that papermill and nbclient raise themselves.
func firstLine(text string) string {
	text = strings.TrimSpace(text)
	line, _, _ := strings.Cut(text, "\n")
	if strings.Trim(line, "- ") == "" {
		line = text[strings.LastIndex(text, "\n")+1:]
	}
	return cut(strings.TrimSpace(line), 200)
}

var noModule = regexp.MustCompile(`No module named '?([\w.]+)'?`)

// raisedFailure classes an error that a cell raised.
func (j *judge) raisedFailure(r raised) *record.Failure {
	e := r.CellError
	j.v.Error = &e
	where := fmt.Sprintf("cell %d", e.Cell)
	if e.Cell == 0 {
		where = "the cell with the parameters"
	}
	what := fmt.Sprintf("%s raised %s", where, e.Name)
	if e.Value != "" {
		what += ": " + firstLine(e.Value)
	}
	module := noModule.FindStringSubmatch(e.Value)
	switch {
	case e.Name == "SystemExit":
		return record.Failf(record.EarlyExit, "%s ended the notebook by SystemExit %q, %s", where, e.Value, j.unrunText(r.at+1))
	case e.Name == "KeyboardInterrupt":
		return record.Failf(record.CellInterrupted, "%s", what)
	case isMemoryError(e):
		return record.Failf(record.OutOfMemory, "%s", what)
	case isDiskFull(e.Value):
		return record.Failf(record.DiskFull, "%s", what)
	case e.Name == "ModuleNotFoundError" && module != nil:
		return record.Failf(record.MissingModule, "%s: there is no module %s", where, module[1]).
			WithHint("install %s in the image, or correct the import", module[1])
	case j.OOMKills > 0:
		return record.Failf(record.OutOfMemory, "%s, and %s", what, j.oomText())
	}
	return record.Failf(record.NotebookFailed, "%s", what)
}

func (j *judge) unrunText(from int) string {
	n := 0
	for i := from; i < len(j.plan); i++ {
		if j.runs(i) && !j.done(i) {
			n++
		}
	}
	return fmt.Sprintf("%d later cells have not run", n)
}

func (j *judge) oomText() string {
	return fmt.Sprintf("the system killed %d processes for lack of memory", j.OOMKills)
}

var (
	memoryNames = []string{"MemoryError", "_ArrayMemoryError", "ArrayMemoryError", "OutOfMemoryError", "ResourceExhaustedError"}
	memoryWords = []string{
		"std::bad_alloc", "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUDA out of memory", "CUDA error: out of memory",
		"RESOURCE_EXHAUSTED: Out of memory", "Errno 12] Cannot allocate memory",
	}
)

// isMemoryError says whether an error means that host or GPU memory ran out, in
// the words of Python, NumPy, RMM, CuPy, PyTorch, JAX or TensorFlow.
func isMemoryError(e record.CellError) bool {
	return slices.Contains(memoryNames, e.Name) ||
		slices.ContainsFunc(memoryWords, func(w string) bool { return strings.Contains(e.Value, w) })
}

// isDiskFull says whether a message has the system's words for no space or no quota.
func isDiskFull(message string) bool {
	return strings.Contains(message, "No space left on device") || strings.Contains(message, "Disk quota exceeded")
}

// deadKernel classes a kernel's death; nil when it ended by itself, with success,
// and all work was done or may be left.
func (j *judge) deadKernel() *record.Failure {
	exit := j.Outcome.KernelExit
	at := -1
	if j.Outcome.UnansweredCell != nil {
		at = *j.Outcome.UnansweredCell
	}
	where := "after the last cell"
	if number, _ := j.name(at); number > 0 {
		where = fmt.Sprintf("in cell %d", number)
	} else if at >= 0 {
		where = "in the cell with the parameters"
	}
	if exit != nil && *exit == 0 {
		return j.kernelExited(at, where)
	}
	how := "died"
	if exit != nil && *exit < 0 {
		how = "was killed by " + signalText(*exit)
	} else if exit != nil {
		how = fmt.Sprintf("ended with exit code %d", *exit)
	}
	j.errorAt(at, "DeadKernelError", "the kernel "+how)
	if j.OOMKills > 0 {
		return record.Failf(record.OutOfMemory, "the kernel %s %s: %s", how, where, j.oomText())
	}
	f := record.Failf(record.KernelDied, "the kernel %s %s", how, where)
	if exit != nil && *exit == -int(syscall.SIGKILL) {
		f.WithHint("SIGKILL often means that memory ran out: raise the memory limit or use --variant lite; else find who killed it")
	}
	return f
}

func signalText(exit int) string {
	sig := syscall.Signal(-exit)
	return fmt.Sprintf("signal %d (%s)", int(sig), sig)
}

// kernelExited judges a kernel that ended by itself and called it a success.
func (j *judge) kernelExited(at int, where string) *record.Failure {
	if asked := j.Outcome.AskedExitCell; asked != nil {
		at = *asked
		if number, _ := j.name(at); number > 0 {
			where = fmt.Sprintf("in cell %d", number)
		}
	}
	if j.firstUnrun(0) < 0 || j.AllowEarlyExit {
		j.exited = max(at, 0)
		j.v.Notes = append(j.v.Notes, "the kernel ended itself "+where)
		return nil
	}
	j.errorAt(at, "DeadKernelError", "the kernel ended itself")
	return record.Failf(record.EarlyExit, "the kernel ended itself %s, %s", where, j.unrunText(at+1))
}

// errorAt makes an error of papermill's own that of the cell.
func (j *judge) errorAt(at int, name, value string) {
	number, source := j.name(at)
	j.v.Error = &record.CellError{Name: name, Value: value, Cell: number, Source: source}
}

func (j *judge) cellTimeout() *record.Failure {
	at := j.running()
	j.errorAt(at, "CellTimeoutError", cut(j.Outcome.Message, 500))
	return record.Failf(record.TimedOut, "cell %d did not end within its time limit (%s)", j.v.Error.Cell, firstLine(j.v.Error.Source)).
		WithHint("raise --execution-timeout, or find what hangs in the cell")
}

// exitExplained says whether papermill's end is that of a success: exit code 0,
// or papermill's complaint about errors all of which are allowed.
func (j *judge) exitExplained() bool {
	switch j.exception() {
	case "":
		return j.ExitCode == 0 && j.Signal == ""
	case "PapermillExecutionError":
		return len(j.v.Allowed) > 0
	case "DeadKernelError":
		return true // deadKernel has judged it.
	}
	return false
}

// papermillFailure classes an end of papermill that no cell explains.
func (j *judge) papermillFailure() *record.Failure {
	message := cut(strings.TrimSpace(j.Outcome.Message), 500)
	switch name := j.exception(); {
	case j.Signal != "" && j.OOMKills > 0:
		return record.Failf(record.OutOfMemory, "papermill was ended by %s: %s", j.Signal, j.oomText())
	case j.Signal != "":
		return record.Failf(record.Killed, "papermill was ended by %s, which step-runner did not send", j.Signal)
	case name == "NoSuchKernel":
		return record.Failf(record.MissingTool, "kernel of the notebook: %s", message).
			WithHint("install it, or give --kernel python3; `jupyter kernelspec list` shows what there is")
	case isDiskFull(message):
		return record.Failf(record.DiskFull, "papermill: %s", message)
	case name == "RuntimeError" && strings.Contains(message, "Kernel didn't respond"):
		return record.Failf(record.TimedOut, "the kernel did not start in time: %s", message).WithHint("raise --start-timeout")
	case name == "RuntimeError" && strings.Contains(message, "Kernel died before"):
		return record.Failf(record.KernelDied, "the kernel died while it started: %s", message)
	case name == "KeyboardInterrupt":
		return record.Failf(record.CellInterrupted, "papermill was interrupted, in cell %d", j.runningNumber())
	case name == "NotJSONError", name == "ValidationError", name == "NotebookValidationError":
		return record.Failf(record.NotebookInvalid, "papermill cannot read the notebook: %s", message)
	case name == "PapermillExecutionError":
		return record.Failf(record.NotebookFailed, "a cell raised an error that the executed notebook does not show: %s", message[strings.LastIndex(message, "\n")+1:])
	case name != "":
		return record.Failf(record.Internal, "papermill failed by %s: %s", name, message)
	}
	return record.Failf(record.Internal, "papermill ended with exit code %d and said not why", j.ExitCode)
}

func (j *judge) runningNumber() int {
	number, _ := j.name(j.running())
	return number
}

// unproven is a failure when the output notebook does not prove that each cell
// that had to run has run.
func (j *judge) unproven(x *Executed, aligned, silent bool) *record.Failure {
	switch {
	case x == nil:
		return record.Failf(record.CellsUnrun, "papermill reports success but has written no notebook")
	case !aligned:
		return record.Failf(record.CellsUnrun, "papermill's output is not the notebook that it was given")
	case silent:
		return record.Failf(record.Internal, "papermill reports success, but its launcher has left no word")
	}
	to := len(j.plan)
	if j.exited >= 0 {
		to = j.exited
	}
	if i := j.firstUnrun(0); i >= 0 && i < to {
		number, source := j.name(i)
		return record.Failf(record.CellsUnrun, "papermill reports success but cell %d has not run to its end (%s)", number, firstLine(source))
	}
	if !slices.ContainsFunc(j.plan, func(c *Cell) bool { return c != nil && c.Runs() }) {
		return record.Failf(record.CellsUnrun, "every cell is tagged %s: nothing has run", tagSkip)
	}
	return nil
}
