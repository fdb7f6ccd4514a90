//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
)

// TestMatrix: three notebooks at once, merged into one summary.
func TestMatrix(t *testing.T) {
	t.Parallel()
	names := []string{"01_primes", "02_words", "03_squares"}
	run := start(t, "matrix", "green", func(run *v1.PipelineRun) {
		shared.small(run)
		setParam(run, "notebook-filenames", names[0]+".ipynb", names[1]+".ipynb", names[2]+".ipynb")
	})
	run.wait()
	run.checkPassed("lite", "_lite", "small-notebooks",
		"artifacts/result_01_primes_lite.ipynb", "artifacts/result_02_words_lite.ipynb", "artifacts/result_03_squares_lite.ipynb",
		"artifacts/result_01_primes_lite.html", "artifacts/result_02_words_lite.html", "artifacts/result_03_squares_lite.html")

	assert.Len(t, run.taskRuns("notebooks"), len(names))
	v := run.volume()
	for _, name := range names {
		assert.Contains(t, string(v["STEP_SUMMARY_LITE.md"]), name)
		assert.Contains(t, string(v["artifacts/pytest_results_lite.xml"]), name, "the tests have seen its page")
	}
	run.checked("3 notebooks, pages and tests in one summary")
}
