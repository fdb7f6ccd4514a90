//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
)

// TestPodLost: what a lost node takes along Tekton starts anew, and the run may still pass.
// The summary tells of it all the same. Nothing of the first attempt is believed.
func TestPodLost(t *testing.T) {
	t.Parallel()
	run := startRed(t, "green, with a note", []string{
		"import pathlib, time\nfirst = pathlib.Path('/workspace/shared-storage/first')\nprint('The answer: 41' if not first.exists() else 'The answer: 42')",
		"if not first.exists():\n    first.touch()\n    time.sleep(900)",
	}, nil)
	run.waitForCell("2")
	run.deletePod("papermill", "--force", "--grace-period=0")
	run.wait()
	require.True(t, run.green(), run.row.seen)
	v := run.volume()
	run.checkOutputs(v)
	run.checkSummary(v, "STEP_SUMMARY_LITE.md", "PASSED", "- Step 3 (papermill): `an earlier attempt, begun ")
	run.checkSecrecy()
}

// TestSummaryPodLost: the verdict is derived anew, so a good run stays one.
func TestSummaryPodLost(t *testing.T) {
	t.Parallel()
	run := startRed(t, "green", []string{"print('The answer: 42')"}, nil)
	run.waitUntil("the pod of final-summary", func() bool { return run.podOf("final-summary") != "" })
	run.deletePod("final-summary")
	run.wait()
	require.True(t, run.green(), run.row.seen)
	v := run.volume()
	run.checkPublished(v, "artifacts/output_analysis_lite.html", "artifacts/pytest_results_lite.xml", "STEP_SUMMARY_LITE.md")
	run.checkSummary(v, "STEP_SUMMARY_LITE.md", "PASSED")
	run.checkResults(v)
}

// TestRedNameAgain: a PipelineRun that has the name of an earlier one must not pass by what
// that has left. Nothing of the earlier one is touched.
func TestRedNameAgain(t *testing.T) {
	t.Parallel()
	name := func(run *v1.PipelineRun) { run.GenerateName, run.Name = "", "name-again" }
	first := startRed(t, "green, then red", []string{"print('The answer: 42')"}, name)
	first.wait()
	require.True(t, first.green(), first.row.seen)
	before := first.volume()
	_, err := shared.kubectl(t.Context(), nil, "delete", "pipelinerun", first.Name)
	require.NoError(t, err)

	run, err := shared.example("lite")
	require.NoError(t, err)
	name(run)
	run.Spec.Params, run.Spec.Workspaces = first.Spec.Params, first.Spec.Workspaces
	require.NoError(t, shared.create(t.Context(), run))
	first.PipelineRun = run
	first.wait()
	assert.False(t, first.green())
	assert.Equal(t, "bad-input", first.result("failure-kind"))
	assert.Equal(t, "incomplete", first.result("verdict"))
	assert.Contains(t, first.logs(t.Context(), "-1"), "run name-again of this workspace is not ours: it belongs to")
	after := first.volume()
	for path, data := range before {
		assert.Equal(t, digest(data), digest(after[path]), path)
	}
	first.checked("%d files of the first are as they were", len(before))
}
