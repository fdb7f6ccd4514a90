package notebook

import (
	"regexp"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Executed is a notebook that papermill has written.
type Executed struct {
	cells []executedCell
	// seconds is papermill's own total, 0 when it was stopped.
	seconds float64
}

// executedCell is a cell with what papermill says of it.
type executedCell struct {
	Cell
	// status is "pending", "running", "completed" or "failed".
	status    string
	started   bool
	exception bool
	counted   bool
	seconds   float64
	// begun and ended are zero where papermill does not say.
	begun, ended time.Time
	errors       []record.CellError
}

// ParseExecuted reads a notebook that papermill has written.
func ParseExecuted(data []byte) (*Executed, error) {
	root, err := parseJSON(data)
	if err != nil {
		return nil, err
	}
	if err := checkFormat(root); err != nil {
		return nil, err
	}
	cells, err := parseCells(root.Get("cells"))
	if err != nil {
		return nil, err
	}
	if !root.Get("metadata.papermill").Exists() {
		return nil, invalid("was not written by papermill")
	}
	x := &Executed{seconds: root.Get("metadata.papermill.duration").Float()}
	for i, v := range root.Get("cells").Array() {
		x.cells = append(x.cells, executed(cells[i], v))
	}
	return x, nil
}

func executed(c Cell, v gjson.Result) executedCell {
	pm := v.Get("metadata.papermill")
	x := executedCell{
		Cell:      c,
		status:    pm.Get("status").String(),
		started:   pm.Get("start_time").Type == gjson.String,
		exception: pm.Get("exception").Bool(),
		counted:   v.Get("execution_count").Type == gjson.Number,
		seconds:   pm.Get("duration").Float(),
		begun:     moment(pm.Get("start_time").String()),
		ended:     moment(pm.Get("end_time").String()),
	}
	for _, o := range v.Get("outputs").Array() {
		if o.Get("output_type").String() == "error" {
			x.errors = append(x.errors, cellError(o.Get("ename").String(), o.Get("evalue").String()))
		}
	}
	return x
}

// moment reads a time of papermill's. Before version 2.6 it had no zone and was UTC.
func moment(text string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	return time.Time{}
}

// longestValue bounds what a record holds of an error's text, in bytes.
const longestValue = 2000

func cellError(name, value string) record.CellError {
	return record.CellError{Name: cut(name, 100), Value: cut(plain(value), longestValue)}
}

var colour = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// plain is text without terminal colours.
func plain(s string) string { return colour.ReplaceAllString(s, "") }

// Plan is the list of cells that papermill runs, in its order: it leaves out the
// error markers of an earlier run, and puts the parameters in, as a nil, unless
// there is an old cell of theirs to replace.
func (n *Notebook) Plan(parameters bool) []*Cell {
	var plan []*Cell
	at, old := 0, false
	for i := range n.Cells {
		c := &n.Cells[i]
		if c.tagged(tagErrorMarker) {
			continue
		}
		plan = append(plan, c)
		old = old || c.tagged(tagInjected)
		if at == 0 && c.tagged(tagParameters) {
			at = len(plan)
		}
	}
	if parameters && !old {
		plan = slices.Insert(plan, at, nil)
	}
	return plan
}

// align returns the execution of each cell of the plan; false when x is the
// execution of another notebook.
func align(plan []*Cell, x *Executed) ([]executedCell, bool) {
	ran := slices.DeleteFunc(slices.Clone(x.cells), func(c executedCell) bool { return c.tagged(tagErrorMarker) })
	if len(ran) != len(plan) {
		return nil, false
	}
	for i, c := range plan {
		injected := c == nil || c.tagged(tagInjected)
		if !injected && ((c.Number > 0) != (ran[i].Number > 0) || c.Source != ran[i].Source) {
			return nil, false
		}
	}
	return ran, true
}
