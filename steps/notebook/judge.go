package notebook

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Ending is how papermill ended.
type Ending struct {
	// ExitCode is -1 and Signal its name when a signal ended it.
	ExitCode int
	Signal   string
	// Stopped is our own reason to have ended it: a limit, a signal to us.
	Stopped *record.Failure
	// Outcome is nil when the launcher could not write one.
	Outcome *Outcome
	// OOMKills counts processes that the kernel ended for lack of memory meanwhile.
	OOMKills int
}

// Rules are what the user permits.
type Rules struct {
	Allowed        []AllowedError
	AllowEarlyExit bool
}

// Verdict is what became of a notebook.
type Verdict struct {
	// Failure is nil when every cell that had to run has run.
	Failure *record.Failure
	Cells   record.Cells
	// Error is what ended the notebook, nil when nothing did.
	Error *record.CellError
	// Allowed are errors that did not count, by the notebook or by the rules.
	Allowed []record.CellError
	Slowest []record.Cell
	// Timed are the cells with code that have begun, in their order.
	Timed []TimedCell
	// Seconds is papermill's total, 0 when it is not known.
	Seconds float64
	// Notes are what a reader should know though it is no failure.
	Notes []string

	// finished are the sources of the cells that have run to their end.
	finished []string
}

// TimedCell is when a cell ran. Ended is zero when it has not ended.
type TimedCell struct {
	Number       int
	Source       string
	Begun, Ended time.Time
}

// Imported says whether a cell that ran to its end must have imported module.
func (v *Verdict) Imported(module string) bool {
	return slices.ContainsFunc(v.finished, func(source string) bool { return Imports(source, module) })
}

// Judge says what became of the notebook n, which papermill was given, from all
// that is known: its exit code, what the launcher saw, and what the output
// notebook proves of each cell. x is nil when there is no such notebook.
// Success needs all of them to agree.
func Judge(n *Notebook, parameters bool, x *Executed, e Ending, r Rules) Verdict {
	j := &judge{plan: n.Plan(parameters), Ending: e, Rules: r}
	if j.Outcome == nil {
		j.Outcome = &Outcome{}
	}
	proof := false
	if x != nil {
		j.v.Seconds = x.seconds
		j.ran, proof = align(j.plan, x)
	}
	if !proof {
		j.ran = make([]executedCell, len(j.plan))
	}
	j.read()
	j.v.Failure = j.ended()
	if j.v.Failure == nil {
		j.v.Failure = j.unproven(x, proof, e.Outcome == nil)
	}
	j.count()
	return j.v
}

type judge struct {
	Ending
	Rules
	plan []*Cell
	// ran is the execution of each cell of the plan.
	ran []executedCell
	// exited is the place of the cell that ended the notebook and may do so; -1
	// when none did.
	exited int
	// raised are the errors that count, in the order of their cells.
	raised []raised
	v      Verdict
}

// raised is an error of a cell.
type raised struct {
	at int
	record.CellError
	// ended says that papermill went no further.
	ended bool
}

// read sorts the cells' errors into those that count and those that do not.
func (j *judge) read() {
	j.exited = -1
	for i, c := range j.ran {
		for _, e := range j.errorsOf(i) {
			switch {
			case j.allows(i, e.Name):
				j.v.Allowed = append(j.v.Allowed, e)
			case isCleanExit(e) && (j.AllowEarlyExit || !j.anyUnrun(i+1)):
				j.exited = i
				j.v.Allowed = append(j.v.Allowed, e)
			default:
				j.raised = append(j.raised, raised{i, e, c.status == "failed"})
			}
		}
	}
}

// errorsOf are the errors that a cell shows. A cell that failed without showing
// one, since its output was cleared or lost, has what the kernel replied.
func (j *judge) errorsOf(i int) []record.CellError {
	c := j.ran[i]
	errs := slices.Clone(c.errors)
	if len(errs) == 0 && c.exception {
		errs = []record.CellError{{Name: "CellExecutionError", Value: "the cell failed and shows no error"}}
		for _, reply := range j.Outcome.ErrorReplies {
			if reply.Cell == i {
				errs[0] = cellError(reply.Name, reply.Value)
			}
		}
	}
	for k := range errs {
		errs[k].Cell, errs[k].Source = j.name(i)
	}
	return errs
}

// name is the number and the first lines of a cell, 0 for the parameters.
func (j *judge) name(i int) (number int, source string) {
	if i < 0 || i >= len(j.plan) {
		return 0, ""
	}
	if c := j.plan[i]; c != nil {
		return c.Number, c.Head()
	}
	return 0, Cell{Source: j.ran[i].Source}.Head()
}

// allows says whether an error in a cell does not count: the notebook itself
// expects one there, or the user allows it by name and tag.
func (j *judge) allows(i int, name string) bool {
	c := j.plan[i]
	if c == nil {
		return false
	}
	return c.expectsErrors || slices.ContainsFunc(j.Allowed, func(a AllowedError) bool { return a.Name == name && c.tagged(a.Tag) })
}

// isCleanExit says whether the cell ended the notebook and called it a success.
func isCleanExit(e record.CellError) bool {
	return e.Name == "SystemExit" && slices.Contains([]string{"", "0", "None"}, e.Value)
}

// runs says whether papermill had to run the cell.
func (j *judge) runs(i int) bool { return j.plan[i] == nil || j.plan[i].Runs() }

// done says whether the cell has come to its end, by everything that is said of it.
func (j *judge) done(i int) bool {
	c := j.ran[i]
	unanswered := j.Outcome.UnansweredCell
	return c.status == "completed" && c.started && c.counted && !c.exception && (unanswered == nil || *unanswered != i)
}

func (j *judge) anyUnrun(from int) bool { return j.firstUnrun(from) >= 0 }

// firstUnrun is the place of the first cell from there on that papermill has not
// run to its end, -1 when there is none.
func (j *judge) firstUnrun(from int) int {
	for i := from; i < len(j.plan); i++ {
		if j.runs(i) && !j.done(i) && len(j.ran[i].errors) == 0 {
			return i
		}
	}
	return -1
}

// running is the place of the cell that was being run when papermill ended, -1
// when none can be named.
func (j *judge) running() int {
	if at := j.Outcome.UnansweredCell; at != nil {
		return *at
	}
	return slices.IndexFunc(j.ran, func(c executedCell) bool { return c.status == "running" })
}

// count sums the cells, and finds the slowest.
func (j *judge) count() {
	bad := map[int]bool{}
	for _, r := range j.raised {
		bad[r.at] = true
	}
	if j.v.Failure != nil {
		bad[j.running()] = true
	}
	var timed []record.Cell
	for i, c := range j.plan {
		if c == nil || !c.hasCode() {
			continue
		}
		j.v.Cells.Total++
		switch {
		case bad[i]:
			j.v.Cells.Failed++
		case j.done(i) && c.Runs(), len(j.ran[i].errors) > 0:
			j.v.Cells.Run++
			if len(j.ran[i].errors) == 0 {
				j.v.finished = append(j.v.finished, c.Source)
			}
		default:
			j.v.Cells.Skipped++
		}
		if ran := j.ran[i]; !ran.begun.IsZero() {
			j.v.Timed = append(j.v.Timed, TimedCell{c.Number, c.Head(), ran.begun, ran.ended})
		}
		if s := j.ran[i].seconds; s > 0 {
			timed = append(timed, record.Cell{Number: c.Number, Source: c.Head(), Seconds: s})
		}
	}
	j.v.Slowest = Slowest(timed)
}

// Slowest sorts cells by their time, the longest first, and keeps the first five.
func Slowest(cells []record.Cell) []record.Cell {
	slices.SortStableFunc(cells, func(a, b record.Cell) int { return cmp.Compare(b.Seconds, a.Seconds) })
	return cells[:min(len(cells), 5)]
}

// Head is the beginning of the cell's source, for people.
func (c Cell) Head() string {
	var lines []string
	for _, line := range strings.Split(c.Source, "\n") {
		if line = strings.TrimRight(line, " \t\r"); line != "" && len(lines) < 3 {
			lines = append(lines, line)
		}
	}
	return cut(strings.Join(lines, "\n"), 200)
}

// cut shortens text to n bytes, at a rune's boundary.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
