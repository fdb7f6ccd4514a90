// Package nbtest makes notebooks for tests.
package nbtest

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Cell is a cell of a notebook to be made.
type Cell struct {
	Type   string
	Source string
	Tags   []string
}

// Code is a code cell.
func Code(source string, tags ...string) Cell { return Cell{"code", source, tags} }

// Text is a Markdown cell.
func Text(source string) Cell { return Cell{"markdown", source, nil} }

// New makes a notebook of the kernel python3, laid out as Jupyter does.
func New(cells ...Cell) []byte {
	return make4(map[string]any{"kernelspec": map[string]any{"display_name": "Python 3", "language": "python", "name": "python3"}}, cells)
}

// WithoutKernel makes a notebook that names no kernel.
func WithoutKernel(cells ...Cell) []byte { return make4(map[string]any{}, cells) }

func make4(metadata map[string]any, cells []Cell) []byte {
	list := []map[string]any{}
	for i, c := range cells {
		meta := map[string]any{}
		if c.Tags != nil {
			meta["tags"] = c.Tags
		}
		m := map[string]any{"id": fmt.Sprintf("cell-%d", i), "cell_type": c.Type, "metadata": meta, "source": strings.SplitAfter(c.Source, "\n")}
		if c.Type == "code" {
			m["execution_count"], m["outputs"] = nil, []any{}
		}
		list = append(list, m)
	}
	b, err := json.MarshalIndent(map[string]any{"cells": list, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, "", " ")
	if err != nil {
		panic(err)
	}
	return append(b, '\n')
}
