package artifacts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// checkNotebook wants JSON to its end, with evidence that papermill ran it: an
// execution count or a start time at a cell, or, where there is no cell, a start
// time at the notebook.
func checkNotebook(r io.Reader) error {
	n := notebookScan{d: json.NewDecoder(newPythonJSON(r))}
	n.d.UseNumber()
	if err := n.value("", 0); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("not a notebook: %w", err)
	}
	if _, err := n.d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("not a notebook: data after its end")
	}
	switch {
	case !n.hasCells:
		return errors.New("not a notebook: it has no list of cells")
	case !n.executed && (n.cells > 0 || !n.started):
		return errors.New("the notebook was not run: no cell of it has been executed")
	}
	return nil
}

// notebookScan walks through a notebook token by token: its outputs can be far
// larger than what one wants in memory.
type notebookScan struct {
	d        *json.Decoder
	hasCells bool
	cells    int
	// executed says that some cell was begun, started that papermill has begun
	// with the notebook.
	executed, started bool
}

// elsewhere is any place in a notebook that tells nothing.
const elsewhere = "-"

// places lead from a place and a key to the place below; "" is the top, and a
// list's elements have the key "[]".
var places = map[[2]string]string{
	{"", "cells"}:               "cells",
	{"cells", "[]"}:             "cell",
	{"cell", "execution_count"}: "count",
	{"cell", "metadata"}:        "cell metadata",

	{"cell metadata", "papermill"}:   "cell papermill",
	{"cell papermill", "start_time"}: "cell start",

	{"", "metadata"}:            "metadata",
	{"metadata", "papermill"}:   "papermill",
	{"papermill", "start_time"}: "start",
}

func below(at, key string) string {
	if at != elsewhere {
		if to, ok := places[[2]string{at, key}]; ok {
			return to
		}
	}
	return elsewhere
}

// value reads one value that stands at a place.
func (n *notebookScan) value(at string, depth int) error {
	// A stack that a hostile file lets grow cannot be recovered from.
	if depth > 1000 {
		return errors.New("it is nested too deep")
	}
	t, err := n.d.Token()
	if err != nil {
		return err
	}
	n.see(at, t)
	switch t {
	case json.Delim('['):
		at = below(at, "[]")
		for n.d.More() {
			if err := n.value(at, depth+1); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		for n.d.More() {
			key, err := n.d.Token()
			if err != nil {
				return err
			}
			if err := n.value(below(at, key.(string)), depth+1); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = n.d.Token()
	return err
}

func (n *notebookScan) see(at string, t json.Token) {
	switch v := t.(type) {
	case json.Delim:
		n.hasCells = n.hasCells || at == "cells" && v == '['
		if at == "cell" && v == '{' {
			n.cells++
		}
	case json.Number:
		n.executed = n.executed || at == "count"
	case string:
		n.executed = n.executed || at == "cell start" && v != ""
		n.started = n.started || at == "start" && v != ""
	}
}
