package notebook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Preparation says how the copy that is run differs from the notebook.
type Preparation struct {
	// Patches are applied in their order.
	Patches []Patch
	// Allowed are errors after which the later cells still run.
	Allowed []AllowedError
	// Kernel is used for a notebook that names none.
	Kernel string
}

// Patch replaces text in the source of code cells.
type Patch struct {
	// Notebook is a path, a file name or its stem; "" means every notebook.
	Notebook string `yaml:"notebook"`
	Match    string `yaml:"match"`
	Replace  string `yaml:"replace"`
	// Count is how often Match must occur, 1 when absent.
	Count *int `yaml:"count"`
}

// Check refuses a patch that says nothing.
func (p Patch) Check() error {
	switch {
	case p.Match == "":
		return record.Failf(record.BadInput, "match is empty")
	case !utf8.ValidString(p.Match + p.Replace):
		return record.Failf(record.BadInput, "it is not UTF-8 text")
	case p.count() < 1:
		return record.Failf(record.BadInput, "count is %d", p.count())
	case p.Match == p.Replace:
		return record.Failf(record.BadInput, "it replaces %q by itself", p.Match)
	}
	return nil
}

func (p Patch) count() int {
	if p.Count == nil {
		return 1
	}
	return *p.Count
}

// Prepare makes the changes and returns the notebook to run, with a word on each
// change. Bytes outside the changes stay as they are.
func (n *Notebook) Prepare(p Preparation) (*Notebook, []string, error) {
	e := &editor{n: n, raw: n.raw}
	for i, patch := range p.Patches {
		if err := e.patch(i+1, patch); err != nil {
			return nil, nil, err
		}
	}
	e.kernel(p.Kernel)
	e.shutdown()
	for _, a := range p.Allowed {
		e.allow(a)
	}
	if e.err != nil {
		return nil, nil, e.err
	}
	out, err := Parse(e.raw)
	if err != nil {
		return nil, nil, err
	}
	for i := range out.Cells {
		out.Cells[i].expectsErrors = n.Cells[i].expectsErrors
	}
	return out, e.notes, nil
}

// editor changes a notebook's bytes step by step.
type editor struct {
	n     *Notebook
	raw   []byte
	notes []string
	err   error
}

func (e *editor) note(format string, args ...any) {
	e.notes = append(e.notes, fmt.Sprintf(format, args...))
}

func (e *editor) setRaw(path, value string) {
	if e.err == nil {
		e.raw, e.err = sjson.SetRawBytes(e.raw, path, []byte(value))
	}
}

// cells are those of the notebook as edited so far.
func (e *editor) cells() []Cell {
	cells, err := parseCells(gjson.GetBytes(e.raw, "cells"))
	if e.err == nil {
		e.err = err
	}
	return cells
}

func (e *editor) patch(number int, p Patch) error {
	found := 0
	var changed []string
	for _, c := range e.cells() {
		n := strings.Count(c.Source, p.Match)
		if c.Number == 0 || n == 0 {
			continue
		}
		found += n
		changed = append(changed, fmt.Sprint(c.Number))
		e.setSource(c.Index, strings.ReplaceAll(c.Source, p.Match, p.Replace))
	}
	if found != p.count() {
		return record.Failf(record.PatchMismatch, "patch %d: %q occurs %d times in the code cells, not %d times", number, p.Match, found, p.count())
	}
	e.note("patch %d: replaced %q by %q in cell %s", number, p.Match, p.Replace, strings.Join(changed, ", "))
	return nil
}

// lineGap is the white space between two lines of a source in its list.
var lineGap = regexp.MustCompile(`^\[(\s*)"(?:[^"\\]|\\.)*"(\s*,\s*)?(?s:.*?)(\s*)\]$`)

// setSource writes a cell's source as the notebook had it: one string, or a list
// of lines with the same indentation.
func (e *editor) setSource(index int, source string) {
	path := fmt.Sprintf("cells.%d.source", index)
	old := gjson.GetBytes(e.raw, path).Raw
	gap := lineGap.FindStringSubmatch(old)
	if gap == nil || source == "" {
		e.setRaw(path, quote(source))
		return
	}
	between := gap[2]
	if between == "" {
		between = "," + gap[1]
	}
	var lines []string
	for _, line := range strings.SplitAfter(source, "\n") {
		if line != "" {
			lines = append(lines, quote(line))
		}
	}
	e.setRaw(path, "["+gap[1]+strings.Join(lines, between)+gap[3]+"]")
}

// quote writes a JSON string as Python does, with < > & as they are.
func quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // A string always encodes.
	return strings.TrimSuffix(b.String(), "\n")
}

// kernel names a kernel in a notebook that has none, and its language: papermill
// refuses the one without, and takes no parameters without the other.
func (e *editor) kernel(name string) {
	language := e.n.Language
	if e.n.Kernel != "" {
		if language == "" && strings.HasPrefix(e.n.Kernel, "python") {
			language = "python"
		}
		if language != "" && gjson.GetBytes(e.raw, "metadata.kernelspec.language").String() == "" {
			e.setRaw("metadata.kernelspec.language", quote(language))
			e.note("the notebook's kernel names no language: %s is used", language)
		}
		return
	}
	if name == "" {
		name = "python3"
	}
	if language == "" {
		language = "python"
	}
	e.setRaw("metadata.kernelspec", fmt.Sprintf(`{"display_name": %[1]s, "language": %[2]s, "name": %[1]s}`, quote(name), quote(language)))
	e.note("the notebook names no kernel: %s is used", name)
}

// shutdown keeps the cells at the notebook's end that do nothing but end the
// kernel from being run: papermill would race with the kernel's end.
func (e *editor) shutdown() {
	if e.n.Language != "" && e.n.Language != "python" {
		return
	}
	for _, c := range slices.Backward(e.cells()) {
		if !c.Runs() {
			continue
		}
		if !isShutdown(c.Source) {
			return
		}
		e.addTag(c, tagSkip)
		e.note("cell %d shuts the kernel down: tagged %s", c.Number, tagSkip)
	}
}

func (e *editor) allow(a AllowedError) {
	for _, c := range e.cells() {
		if c.Number > 0 && c.tagged(a.Tag) && !c.tagged(tagRaises) {
			e.addTag(c, tagRaises)
			e.note("cell %d may raise %s: tagged %s", c.Number, a.Name, tagRaises)
		}
	}
}

func (e *editor) addTag(c Cell, tag string) {
	path := fmt.Sprintf("cells.%d.metadata.tags", c.Index)
	tags := gjson.GetBytes(e.raw, path)
	if !tags.IsArray() {
		e.setRaw(path, "["+quote(tag)+"]")
		return
	}
	e.setRaw(path+".-1", quote(tag))
}
