//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
)

// TestMatrix: three notebooks at once, merged into one summary.
func TestMatrix(t *testing.T) {
	t.Parallel()
	names := []string{"01_scRNA_analysis_preprocessing.ipynb", "02_primes.ipynb", "03_words.ipynb"}
	run := start(t, "matrix", "green", func(run *v1.PipelineRun) {
		setParam(run, "notebook-repo-url", shared.url("matrix-notebooks"))
		setParam(run, "test-repo-url", shared.url("matrix-tests"))
		setParam(run, "notebook-filenames", names...)
	})
	run.wait()
	run.checkPassed("lite", "_lite", "matrix-notebooks")

	assert.Len(t, run.taskRuns("notebooks"), len(names))
	v := run.volume()
	for _, name := range names {
		base := "artifacts/result_" + strings.TrimSuffix(name, ".ipynb") + "_lite"
		assert.NotEmpty(t, v[base+".ipynb"], name)
		assert.NotEmpty(t, v[base+".html"], name)
		assert.Contains(t, string(v["STEP_SUMMARY_LITE.md"]), name)
	}
	run.checked("3 notebooks and 3 pages in one summary")
}

// matrixNotebooks are small ones beside the demo's.
func matrixNotebooks() files {
	return files{
		"notebooks/02_primes.ipynb": notebook("print('Primes below 100:', sum(all(n % d for d in range(2, n)) for n in range(2, 100)))"),
		"notebooks/03_words.ipynb":  notebook("words = 'one page for each notebook'.split()", "print('Words counted:', len(words))"),
	}
}

// matrixTests read all pages where the demo's tests expect one.
var matrixTests = files{
	"tests/conftest.py": `from pathlib import Path

import pytest
from notebook_report import Page

INPUT = Path(__file__).parent.parent / "input"


@pytest.fixture(scope="session")
def pages() -> dict[str, Page]:
    return {path.name: Page.read(path) for path in INPUT.glob("*.html")}


@pytest.fixture(scope="session")
def page(pages: dict[str, Page]) -> Page:
    """That of the demo's own notebook."""
    return next(page for name, page in pages.items() if "01_scRNA" in name)
`,
	"tests/test_matrix.py": `import pytest

pytestmark = pytest.mark.single_cell


def test_each_notebook_has_its_page(pages) -> None:
    assert len(pages) == 3
    assert sum("Primes below 100: 25" in page.output for page in pages.values()) == 1
    assert sum("Words counted: 5" in page.output for page in pages.values()) == 1
`,
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
		all = append(all, cell{"code", "cell-" + string(rune('a'+i)), map[string]any{}, []any{}, nil, source})
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
