// Package notebook knows Jupyter notebooks: it reads them, prepares the copy
// that is run without touching other bytes, and judges what has been run.
package notebook

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/step-runner/step-runner/artifacts/record"
)

// The tags that papermill and nbclient act upon.
const (
	tagParameters  = "parameters"
	tagInjected    = "injected-parameters"
	tagErrorMarker = "papermill-error-cell-tag"
	tagSkip        = "skip-execution"
	tagRaises      = "raises-exception"
)

// Notebook is a notebook of format 4 as it lies in its file.
type Notebook struct {
	raw   []byte
	Cells []Cell
	// Kernel and Language are "" when the notebook does not name them.
	Kernel, Language string
}

// Cell is one cell of a Notebook.
type Cell struct {
	// Index is the place among all cells, from 0.
	Index int
	// Number counts code cells from 1; it is 0 for other cells.
	Number int
	Source string
	Tags   []string
	// expectsErrors says that the notebook itself tags it raises-exception, not
	// its preparation.
	expectsErrors bool
}

// Runs says whether the cell has something to run and may be run.
func (c Cell) Runs() bool { return c.hasCode() && !c.tagged(tagSkip) }

// hasCode is nbclient's own condition.
func (c Cell) hasCode() bool { return c.Number > 0 && strings.TrimSpace(c.Source) != "" }

func (c Cell) tagged(tag string) bool { return slices.Contains(c.Tags, tag) }

// Bytes is the notebook's file.
func (n *Notebook) Bytes() []byte { return n.raw }

// Parse reads a notebook. What papermill could not run, or has nothing to run,
// is a NotebookInvalid failure whose message begins with the reason.
func Parse(data []byte) (*Notebook, error) {
	root, err := parseJSON(data)
	if err != nil {
		return nil, err
	}
	if err := checkFormat(root); err != nil {
		return nil, err
	}
	n := &Notebook{
		raw:      data,
		Kernel:   root.Get("metadata.kernelspec.name").String(),
		Language: root.Get("metadata.kernelspec.language").String(),
	}
	if n.Language == "" {
		n.Language = root.Get("metadata.language_info.name").String()
	}
	if n.Cells, err = parseCells(root.Get("cells")); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(n.Cells, Cell.hasCode) {
		return nil, invalid("has no code cell with anything to run")
	}
	return n, nil
}

func invalid(format string, args ...any) *record.Failure {
	return record.Failf(record.NotebookInvalid, format, args...)
}

func parseJSON(data []byte) (gjson.Result, error) {
	none := gjson.Result{}
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return none, invalid("is empty")
	case bytes.HasPrefix(data, []byte("version https://git-lfs.github.com/spec/")):
		return none, invalid("is a Git LFS pointer, not the notebook itself").
			WithHint("run `git lfs pull` where the repository comes from, or fetch it with Git LFS objects")
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return none, invalid("begins with a byte order mark, which papermill cannot read")
	case !utf8.Valid(data):
		return none, invalid("is not UTF-8 text")
	}
	if strict := withoutNaN(data); !json.Valid(strict) {
		return none, syntaxFailure(strict)
	}
	return gjson.ParseBytes(data), nil
}

// syntaxFailure says where data is no JSON.
func syntaxFailure(data []byte) error {
	err := json.Unmarshal(data, new(json.RawMessage))
	var at *json.SyntaxError
	if errors.As(err, &at) {
		return invalid("is not JSON: %w (byte %d of %d)", err, at.Offset, len(data))
	}
	return invalid("is not JSON: %w", err)
}

// pythonNumber finds the numbers that Python writes and reads as JSON though
// they are none, and strings so that these are left alone.
var pythonNumber = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b`)

// withoutNaN replaces NaN and the infinities, which plots leave in notebooks, by
// numbers of the same length.
func withoutNaN(data []byte) []byte {
	if !bytes.Contains(data, []byte("NaN")) && !bytes.Contains(data, []byte("Infinity")) {
		return data
	}
	return pythonNumber.ReplaceAllFunc(data, func(token []byte) []byte {
		if token[0] == '"' {
			return token
		}
		return append([]byte("0"), bytes.Repeat([]byte(" "), len(token)-1)...)
	})
}

func checkFormat(root gjson.Result) error {
	format := root.Get("nbformat")
	switch {
	case !root.IsObject():
		return invalid("is JSON, but no notebook")
	case !format.Exists():
		return invalid("is JSON, but no notebook: it has no nbformat")
	case format.Int() != 4:
		return invalid("has notebook format %s, and only format 4 can be run", format.Raw)
	case !root.Get("cells").IsArray():
		return invalid("has no list of cells")
	}
	return nil
}

func parseCells(list gjson.Result) (cells []Cell, err error) {
	number := 0
	list.ForEach(func(_, v gjson.Result) bool {
		c := Cell{Index: len(cells)}
		if !v.IsObject() {
			err = invalid("has a cell %d that is no object", c.Index+1)
			return false
		}
		if v.Get("cell_type").String() == "code" {
			number++
			c.Number = number
		}
		if c.Source, err = text(v.Get("source")); err != nil {
			return false
		}
		for _, tag := range v.Get("metadata.tags").Array() {
			c.Tags = append(c.Tags, tag.String())
		}
		c.expectsErrors = c.tagged(tagRaises)
		cells = append(cells, c)
		return true
	})
	return cells, err
}

// text is a multi-line string as notebooks hold it: one string, or a list of lines.
func text(v gjson.Result) (string, error) {
	switch {
	case v.Type == gjson.String:
		return v.String(), nil
	case v.IsArray():
		var b strings.Builder
		for _, line := range v.Array() {
			b.WriteString(line.String())
		}
		return b.String(), nil
	case !v.Exists():
		return "", nil
	}
	return "", invalid("has a cell whose source is %s", v.Type)
}
