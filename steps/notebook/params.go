package notebook

import (
	"regexp"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// CheckParameters refuses parameters that would have no effect. papermill puts
// them in at the top of a notebook that has no cell for them, where the
// notebook's own assignments override them, and only warns of a name that the
// notebook does not know.
func (n *Notebook) CheckParameters(names []string) error {
	if len(names) == 0 {
		return nil
	}
	if _, ok := n.parametersCell(); !ok {
		return record.Failf(record.PatchMismatch, "parameter %s: the notebook has no cell tagged %s", names[0], tagParameters).
			WithHint("tag the cell that assigns the defaults with %q, or do not give parameters", tagParameters)
	}
	for _, name := range names {
		if !n.mentions(name) {
			return record.Failf(record.PatchMismatch, "parameter %s: no cell of the notebook uses this name", name)
		}
	}
	return nil
}

func (n *Notebook) parametersCell() (Cell, bool) {
	i := slices.IndexFunc(n.Cells, func(c Cell) bool { return c.tagged(tagParameters) })
	if i < 0 {
		return Cell{}, false
	}
	return n.Cells[i], true
}

// mentions says whether a code cell has name as a word. Code from elsewhere may
// use any name.
func (n *Notebook) mentions(name string) bool {
	word := regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b|\bimport \*|%run\b`)
	return slices.ContainsFunc(n.Cells, func(c Cell) bool { return c.Number > 0 && word.MatchString(c.Source) })
}

// Assigns says whether the cell for parameters assigns name.
func (n *Notebook) Assigns(name string) bool {
	c, ok := n.parametersCell()
	return ok && slices.ContainsFunc(strings.Split(c.Source, "\n"), func(line string) bool {
		rest, ok := strings.CutPrefix(line, name)
		return ok && assigned.MatchString(rest)
	})
}

var assigned = regexp.MustCompile(`^\s*(?::[^=]*)?=[^=]`)
