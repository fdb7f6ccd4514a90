//go:build e2e

package e2e

import (
	"encoding/json"
	"strconv"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
)

// small makes the run one of notebooks that take a moment, where the demo's takes minutes
// of a small cluster.
func (c *cluster) small(run *v1.PipelineRun) {
	setParam(run, "notebook-repo-url", c.url("small-notebooks"))
	setParam(run, "test-repo-url", c.url("small-tests"))
	if run.Spec.PipelineRef.Name != "gpu-notebook-matrix-workflow" {
		setParam(run, "notebook-filename", "01_primes.ipynb")
	}
}

func smallNotebooks() files {
	return files{
		"notebooks/01_primes.ipynb":  notebook("n = sum(all(n % d for d in range(2, n)) for n in range(2, 100))", "print('01_primes:', n)"),
		"notebooks/02_words.ipynb":   notebook("words = 'one page for each notebook'.split()", "print('02_words:', len(words))"),
		"notebooks/03_squares.ipynb": notebook("print('03_squares:', sum(n * n for n in range(10)))"),
	}
}

// smallTests are the demo's, with tests for every page that there is in place of those
// for the demo's notebook.
func smallTests(demo files) files {
	all := demo.with(files{
		"tests/conftest.py": `from pathlib import Path

from notebook_report import Page

PAGES = [Page.read(path) for path in sorted((Path(__file__).parent.parent / "input").glob("*.html"))]
LABELS = ["01_primes", "02_words", "03_squares"]


def pytest_generate_tests(metafunc) -> None:
    if "label" in metafunc.fixturenames:
        shown = [(label, page) for page in PAGES for label in LABELS if f"{label}:" in page.output]
        assert len(shown) == len(PAGES) > 0
        metafunc.parametrize("label,page", shown, ids=[label for label, _ in shown])
`,
		"tests/test_pages.py": `import pytest

pytestmark = pytest.mark.single_cell

WANT = {"01_primes": 25, "02_words": 5, "03_squares": 285}


def test_number(label, page) -> None:
    assert page.tracebacks == []
    assert page.number(label) == WANT[label]
`,
	})
	delete(all, "tests/test_preprocessing.py")
	return all
}

// notebook is one with these cells.
func notebook(cells ...string) string {
	type cell struct {
		Type     string         `json:"cell_type"`
		ID       string         `json:"id"`
		Metadata map[string]any `json:"metadata"`
		Outputs  []any          `json:"outputs"`
		Count    *int           `json:"execution_count"`
		Source   string         `json:"source"`
	}
	all := []cell{}
	for i, source := range cells {
		all = append(all, cell{"code", "cell-" + strconv.Itoa(i), map[string]any{}, []any{}, nil, source})
	}
	text, err := json.Marshal(map[string]any{
		"nbformat": 4, "nbformat_minor": 5, "cells": all,
		"metadata": map[string]any{"kernelspec": map[string]string{"name": "python3", "display_name": "Python 3", "language": "python"}},
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}
