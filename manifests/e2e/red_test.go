//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"knative.dev/pkg/apis"
)

// redNotebook is the file that the Pipelines run.
const redNotebook = "notebooks/01_scRNA_analysis_preprocessing.ipynb"

// sleeper is a notebook in which something can happen.
var sleeper = []string{"print('begun')", "import time\nfor _ in range(900):\n    time.sleep(1)"}

// startRed starts the lite Pipeline on a notebook of these cells and on quick tests.
func startRed(t *testing.T, expected string, cells []string, change func(*v1.PipelineRun)) *pipelineRun {
	t.Helper()
	branch := strings.ToLower(t.Name())
	_, err := shared.commit(t.Context(), "red-notebooks", branch, files{redNotebook: notebook(cells...)})
	require.NoError(t, err)
	tests, err := sample("tests-repo")
	require.NoError(t, err)
	_, err = shared.commit(t.Context(), "red-tests", branch, tests.with(files{
		"tests/test_preprocessing.py": "import pytest\n\npytestmark = pytest.mark.single_cell\n\n\n" +
			"def test_page(page) -> None:\n    assert page.tracebacks == []\n\n\n" +
			"def test_answer(page) -> None:\n    assert page.number('The answer') == 42\n",
	}))
	require.NoError(t, err)
	return start(t, "lite", expected, func(run *v1.PipelineRun) {
		setParam(run, "notebook-repo-url", shared.url("red-notebooks"))
		setParam(run, "notebook-revision", branch)
		setParam(run, "test-repo-url", shared.url("red-tests"))
		setParam(run, "test-repo-branch", branch)
		if change != nil {
			change(run)
		}
	})
}

// red is what a run that has not passed must say, everywhere the same.
type red struct {
	// step is the failed step's record, title what people are told that it is.
	step, title string
	// status is the record's; one that was killed with its container still says running.
	status, kind string
	code         int
	// says are further words of the summary, published files of artifacts/ beside it.
	says, published []string
}

func (r *pipelineRun) checkRed(want red) {
	t := r.t
	t.Helper()
	assert.True(t, r.Status.GetCondition(apis.ConditionSucceeded).IsFalse(), "the PipelineRun must be red")
	summary := "STEP_SUMMARY_LITE.md"
	for name, value := range map[string]string{"verdict": "failed", "failure-kind": want.kind, "summary-path": r.summaryPath(summary)} {
		assert.Equal(t, value, r.result(name), "result %s", name)
	}
	r.checked("3 results")

	v := r.volume()
	records := r.records(v)
	rec := records[want.step]
	if rec.Status != "running" {
		assert.Equal(t, want.status, rec.Status, want.step)
		if assert.NotNil(t, rec.Failure, want.step) && assert.NotNil(t, rec.ExitCode, want.step) {
			assert.Equal(t, want.kind, rec.Failure.Kind)
			assert.NotEmpty(t, rec.Failure.Hint)
			assert.Equal(t, want.code, *rec.ExitCode)
		}
	}
	assert.Contains(t, records, "7-collect")
	if last := records["8-summary"]; assert.NotNil(t, last.Failure) && assert.NotNil(t, last.ExitCode) {
		assert.Equal(t, want.kind, last.Failure.Kind)
		assert.Equal(t, want.code, *last.ExitCode, "summary ends as the step that failed")
	}
	r.checked("%d records", len(records))
	r.checkOutputs(v)
	published := []string{summary, "artifacts/" + summary, "artifacts/manifest.json"}
	for _, name := range want.published {
		published = append(published, "artifacts/"+name)
	}
	r.checkPublished(v, published...)
	r.checkSummary(v, summary, append(want.says, "# ❌ FAILED (LITE): "+want.title+", `"+want.kind+"`\n", "- Try: ")...)
	assert.NotContains(t, string(v[summary]), "WORKFLOW COMPLETED")
	r.checkResults(v)
	r.checkSecrecy()
}

func TestRedNotebook(t *testing.T) {
	t.Parallel()
	run := startRed(t, "red, notebook-failed", []string{"print('The answer: 42')", "raise ValueError('on purpose')"}, nil)
	run.wait()
	run.checkRed(red{
		step: "3-papermill", title: "step 3 (papermill)", status: "failed", kind: "notebook-failed", code: 42,
		says:      []string{"cell 2 raised ValueError: on purpose", "Step 6 (pytest)"},
		published: []string{"output_analysis_lite.ipynb", "output_analysis_lite.html", "papermill.log", "jupyter_nbconvert.log"},
	})
	assert.Contains(t, string(run.volume()["artifacts/output_analysis_lite.html"]), "on purpose", "the page has the traceback")
}

func TestRedTests(t *testing.T) {
	t.Parallel()
	run := startRed(t, "red, tests-failed", []string{"print('The answer: 41')"}, nil)
	run.wait()
	run.checkRed(red{
		step: "6-pytest", title: "step 6 (pytest)", status: "failed", kind: "tests-failed", code: 60,
		says: []string{"of 2 tests 1 failed", "test_answer"},
		published: []string{
			"output_analysis_lite.ipynb", "output_analysis_lite.html", "papermill.log", "jupyter_nbconvert.log", "pytest_output.log",
			"pytest_results_lite.xml", "pytest_report_lite.html", "coverage_lite.xml",
		},
	})
	assert.Equal(t, "2", taskResult(run.taskRuns("pytest-execution")[0], "test-count"))
}

// TestRedToken: neither the right token nor the wrong one is anywhere afterwards.
func TestRedToken(t *testing.T) {
	t.Parallel()
	wrong := newToken()
	require.NoError(t, shared.create(t.Context(), shared.secret("wrong-token", map[string]string{"token": wrong})))
	run := startRed(t, "red, clone-auth", sleeper, func(run *v1.PipelineRun) { setParam(run, "token-secret", "wrong-token") })
	run.wait()
	run.checkRed(red{
		step: "2-clone", title: "step 2 (clone)", status: "failed", kind: "clone-auth", code: 31,
		says: []string{"refuses the token (401)", "| 3 | papermill | – not run |"},
	})
	v := run.volume()
	v["the logs of the pods"] = []byte(run.logs(t.Context(), "-1"))
	for name, data := range v {
		assert.NotContains(t, string(data), wrong, name)
		assert.NotContains(t, string(data), base64.StdEncoding.EncodeToString([]byte("x-access-token:"+wrong)), name)
	}
	run.checked("nor the wrong one")
}

func TestRedCancelled(t *testing.T) {
	t.Parallel()
	run := startRed(t, "red, signaled", sleeper, nil)
	run.waitForCell("2")
	_, err := shared.kubectl(t.Context(), nil, "patch", "pipelinerun", run.Name, "--type", "merge", "-p", `{"spec":{"status":"CancelledRunFinally"}}`)
	require.NoError(t, err)
	run.wait()
	run.checkRed(interrupted("| 4 | nbconvert | – not run |"))
	assert.Empty(t, run.taskRuns("jupyter-nbconvert"), "what is cancelled does not go on")
}

// TestRedOutOfMemory: where the kernel ends the whole container, papermill's record still
// says running; the next step tells from its last samples what became of it.
func TestRedOutOfMemory(t *testing.T) {
	t.Parallel()
	hog := []string{"print('begun')", "import time\nheld = []\nwhile True:\n    held.append(bytearray(8 << 20))\n    time.sleep(0.05)"}
	run := startRed(t, "red, out-of-memory", hog, func(run *v1.PipelineRun) { limit(run, "papermill", "papermill", "1Gi") })
	run.wait()
	run.checkRed(red{
		step: "3-papermill", title: "step 3 (papermill)", status: "failed", kind: "out-of-memory", code: 45,
		says: []string{"raise the container's memory limit above 1 GiB"}, published: []string{"output_analysis_lite.ipynb", "papermill.log"},
	})
}

// TestRedPodDeleted: as a node that is drained does it.
func TestRedPodDeleted(t *testing.T) {
	t.Parallel()
	run := startRed(t, "red, signaled", sleeper, nil)
	run.waitForCell("2")
	run.deletePod("papermill")
	run.wait()
	run.checkRed(interrupted("| 4 | nbconvert | ✅ succeeded |", "- Step 6 (pytest): `step 3 (papermill) of run "+run.Name+" was interrupted`"))
	assert.Contains(t, string(run.volume()["artifacts/output_analysis_lite.html"]), "begun")
}

// TestRedMatrix: of a TaskRun that is lost Tekton has no results. Its notebook is missed all
// the same, and those of the others are there.
func TestRedMatrix(t *testing.T) {
	t.Parallel()
	names := []string{"01_lost.ipynb", "02_words.ipynb"}
	_, err := shared.commit(t.Context(), "red-notebooks", "matrix", files{
		"notebooks/" + names[0]: notebook(sleeper...), "notebooks/" + names[1]: notebook("print('02_words:', 6)"),
	})
	require.NoError(t, err)
	run := start(t, "matrix", "red, incomplete", func(run *v1.PipelineRun) {
		shared.small(run)
		setParam(run, "notebook-repo-url", shared.url("red-notebooks"))
		setParam(run, "notebook-revision", "matrix")
		setParam(run, "notebook-filenames", names...)
	})
	taskRun := func(name string) (found v1.TaskRun) {
		for _, tr := range run.taskRuns("notebooks") {
			if slices.ContainsFunc(tr.Spec.Params, func(p v1.Param) bool { return p.Value.StringVal == name }) {
				found = tr
			}
		}
		return found
	}
	run.waitUntil("one notebook's end and the other's cell 2", func() bool {
		lost, other := taskRun(names[0]), taskRun(names[1])
		return other.IsSuccessful() && run.inCell(lost.Status.PodName, "2")
	})
	_, err = shared.kubectl(t.Context(), nil, "patch", "taskrun", taskRun(names[0]).Name, "--type", "merge", "-p", `{"spec":{"status":"TaskRunCancelled"}}`)
	require.NoError(t, err)
	run.wait()
	run.checkRed(red{
		step: "3-papermill", title: "step 3 (papermill)", status: "failed", kind: "incomplete", code: 17,
		says:      []string{"there should be the notebooks of 2 runs, but 1 are given: " + taskRun(names[1]).Name},
		published: []string{"result_02_words_lite.ipynb", "output_analysis_lite.html"},
	})
}

// interrupted is a run whose notebook was told to stop.
func interrupted(says ...string) red {
	return red{
		step: "3-papermill", title: "step 3 (papermill)", status: "interrupted", kind: "signaled", code: 143,
		says:      append(says, "stopped by signal 15 (terminated), in cell 2", "a deleted or evicted pod"),
		published: []string{"output_analysis_lite.ipynb", "papermill.log"},
	}
}

// waitForCell waits until papermill has begun the cell.
func (r *pipelineRun) waitForCell(number string) {
	r.t.Helper()
	r.waitUntil("cell "+number, func() bool { return r.inCell(r.podOf("papermill"), number) })
	// The cell has begun a moment after papermill says so.
	time.Sleep(5 * time.Second)
}

func (r *pipelineRun) inCell(pod, number string) bool {
	if pod == "" {
		return false
	}
	out, err := r.c.kubectl(r.t.Context(), nil, "logs", pod, "--container", "step-papermill")
	return err == nil && strings.Contains(string(out), "Executing Cell "+number+"-")
}

// podOf is the name of the task's pod, "" while it has none.
func (r *pipelineRun) podOf(task string) string {
	for _, tr := range r.taskRuns(task) {
		return tr.Status.PodName
	}
	return ""
}

func (r *pipelineRun) deletePod(task string, flags ...string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	_, err := r.c.kubectl(ctx, nil, append([]string{"delete", "pod", r.podOf(task)}, flags...)...)
	require.NoError(r.t, err)
	r.checked("pod of %s deleted", task)
}
