//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
)

// TestLite fetches the data set that the notebook reads, and cuts it.
func TestLite(t *testing.T) {
	t.Parallel()
	run := start(t, "lite", "green", func(run *v1.PipelineRun) {
		setParam(run, "dataset-urls", shared.dataURL())
		setParam(run, "dataset-names", "census")
		setParam(run, "papermill-args", "--max-cells=500", "--max-genes=600")
	})
	run.wait()
	run.checkPassed("lite", "_lite", "notebooks")

	v := run.volume()
	assert.Equal(t, "succeeded", run.records(v)["0-fetch-data"].Status)
	served, err := shared.inPod(t.Context(), "server", nil, "cat", "/repos/data/"+dataFile)
	require.NoError(t, err)
	fetched, err := shared.inPod(t.Context(), "reader", nil, "cat", "/volume/"+run.sub+"/datasets/census/"+dataFile)
	require.NoError(t, err)
	assert.Equal(t, digest(served), digest(fetched), "the fetched data")
	page := string(v["artifacts/output_analysis_lite.html"])
	assert.Contains(t, page, "Read from: h5/"+dataFile)
	assert.Contains(t, page, "Cells loaded: 500\n")
	assert.Contains(t, string(v["STEP_SUMMARY_LITE.md"]), "500 of 700 cells, 600 of 765 genes")
	run.checked("data fetched by digest, and cut to 500 cells")
}

// TestOriginal is the other variant, as another user of the same group.
func TestOriginal(t *testing.T) {
	t.Parallel()
	run := start(t, "original", "green", func(run *v1.PipelineRun) {
		id := int64(4242)
		run.Spec.TaskRunTemplate.PodTemplate.SecurityContext.RunAsUser = &id
	})
	run.wait()
	run.checkPassed("original", "", "notebooks")
	run.checked("as uid 4242")
}

// checkPassed: everything that a run that has passed must have, and nothing believed that can
// be looked at. suffix is what the variant puts into file names, repo where the notebooks are
// from; notebooks are their published files, the usual ones when there are none.
func (r *pipelineRun) checkPassed(variant, suffix, repo string, notebooks ...string) {
	t := r.t
	t.Helper()
	require.True(t, r.green(), "%s: %s", r.Name, r.row.seen)
	summary := map[string]string{"lite": "STEP_SUMMARY_LITE.md", "original": "STEP_SUMMARY.md"}[variant]
	for name, want := range map[string]string{
		"verdict": "passed", "failure-kind": "none", "summary-path": r.summaryPath(summary), "commit-sha": r.c.commits[repo],
	} {
		assert.Equal(t, want, r.result(name), "result %s", name)
	}
	r.checked("4 results")

	v := r.volume()
	records := r.records(v)
	for _, step := range []string{"1-setup", "2-clone", "3-papermill", "4-nbconvert", "5-clone", "6-pytest", "7-collect", "8-summary"} {
		rec, ok := records[step]
		if assert.True(t, ok, "no record %s", step) {
			assert.Equal(t, "succeeded", rec.Status, step)
			assert.Equal(t, variant, rec.Variant, step)
		}
	}
	r.checked("%d records", len(records))
	r.checkOutputs(v)
	published := []string{
		"artifacts/coverage" + suffix + ".xml", "artifacts/pytest_results" + suffix + ".xml", "artifacts/pytest_report" + suffix + ".html",
		"artifacts/papermill.log", "artifacts/jupyter_nbconvert.log", "artifacts/pytest_output.log", summary,
	}
	if len(notebooks) == 0 {
		notebooks = []string{"artifacts/output_analysis" + suffix + ".ipynb", "artifacts/output_analysis" + suffix + ".html"}
	}
	r.checkPublished(v, append(published, notebooks...)...)
	r.checkSummary(v, summary, "passed")
	r.checkResults(v)
	r.checkSecrecy()
}

// TestRMM: no GPU is here, and the check says just that.
func TestRMM(t *testing.T) {
	t.Parallel()
	run := start(t, "rmm", "red, no-driver", nil)
	run.wait()
	assert.False(t, run.green(), "without a GPU the check must fail")
	assert.Equal(t, "no-driver", run.result("failure-kind"))
	assert.Equal(t, "failed", run.result("status"))
	v := run.volume()
	records := run.records(v)
	require.Len(t, records, 1)
	for name, rec := range records {
		require.NotNil(t, rec.Failure, name)
		assert.Equal(t, "no-driver", rec.Failure.Kind, name)
		assert.Equal(t, 21, *rec.ExitCode, name)
	}
	run.checked("2 results, record with class and exit code")
}
