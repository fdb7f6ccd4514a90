//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
)

// TestRedData: the server has no such data. The notebook, which would have run without,
// does not, and the summary has the download's class.
func TestRedData(t *testing.T) {
	t.Parallel()
	run := startRed(t, "red, fetch-not-found", []string{"print('The answer: 42')"}, func(run *v1.PipelineRun) {
		setParam(run, "dataset-urls", shared.dataURL()+".gone")
		setParam(run, "dataset-names", "census")
	})
	run.wait()
	run.checkRed(red{
		step: "0-fetch-data", title: "fetch-data", status: "failed", kind: "fetch-not-found", code: 37,
		says: []string{"dataset census from " + shared.dataURL() + ".gone"},
	})
	records := run.records(run.volume())
	assert.NotContains(t, records, "3-papermill", "a notebook must not run on other data than it was to have")
	run.checked("the notebook did not run")
}
