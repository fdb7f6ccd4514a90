package steps

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// resultsDir makes e write every result, and returns the directory.
func resultsDir(t *testing.T, e *TestEnv) string {
	dir := t.TempDir()
	for _, name := range ResultNames() {
		e.Results = append(e.Results, filepath.Join(dir, name))
	}
	return dir
}

// resultFiles are the files in dir with their content.
func resultFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	got := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		got[f.Name()] = string(b)
	}
	return got
}

func TestResultsOfEachStep(t *testing.T) {
	coverage := 87.5
	const sum = `"digest":"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"` // of "foo"
	for name, c := range map[string]struct {
		step  jobStep
		files []string
		err   error
		want  map[string]string
	}{
		"clone": {step: jobStep{id: record.Clone, facts: &record.CloneFacts{URL: "https://example.org/r", Commit: "c0ffee", Backup: "/w/old"}},
			want: map[string]string{"status": "succeeded", "exit-code": "0", "failure-kind": "none", "run": "test", "clone-status": "succeeded",
				"commit-sha": "c0ffee", "backup-path": "/w/old", "CHAINS-GIT_URL": "https://example.org/r", "CHAINS-GIT_COMMIT": "c0ffee"}},
		"papermill": {step: jobStep{id: record.Papermill, facts: &record.PapermillFacts{}}, files: []string{"artifacts/output_analysis_lite.ipynb"},
			err: record.Failf(record.NotebookFailed, "cell 3"),
			want: map[string]string{"status": "failed", "exit-code": "42", "failure-kind": "notebook-failed", "run": "test", "notebook-status": "failed",
				"notebook-ARTIFACT_OUTPUTS": `{` + sum + `,"uri":"file://RUN/artifacts/output_analysis_lite.ipynb"}`}},
		"nbconvert": {step: jobStep{id: record.Nbconvert, facts: &record.NbconvertFacts{}}, files: []string{"artifacts/output_analysis_lite.html"},
			want: map[string]string{"status": "succeeded", "exit-code": "0", "failure-kind": "none", "run": "test", "conversion-status": "succeeded", "html-size": "3",
				"output-html-path":      "runs/test/artifacts/output_analysis_lite.html",
				"html-ARTIFACT_OUTPUTS": `{` + sum + `,"uri":"file://RUN/artifacts/output_analysis_lite.html"}`}},
		"pytest": {step: jobStep{id: record.Pytest, facts: &record.PytestFacts{Tests: 16, Coverage: &coverage}},
			files: []string{"artifacts/coverage_lite.xml", "artifacts/pytest_results_lite.xml", "artifacts/pytest_report_lite.html"},
			want: map[string]string{"status": "succeeded", "exit-code": "0", "failure-kind": "none", "run": "test", "test-status": "succeeded", "test-count": "16",
				"coverage-percentage": "87.50", "coverage-xml-path": "runs/test/artifacts/coverage_lite.xml", "pytest-xml-path": "runs/test/artifacts/pytest_results_lite.xml",
				"report-html-path":       "runs/test/artifacts/pytest_report_lite.html",
				"tests-ARTIFACT_OUTPUTS": `{` + sum + `,"uri":"file://RUN/artifacts/pytest_results_lite.xml"}`}},
		"pytest without anything": {step: jobStep{id: record.Pytest, facts: &record.PytestFacts{}}, err: record.Failf(record.TimedOut, "too long"),
			want: map[string]string{"status": "timed-out", "exit-code": "124", "failure-kind": "timed-out", "run": "test", "test-status": "timed-out", "test-count": "0",
				"coverage-percentage": "", "coverage-xml-path": "", "pytest-xml-path": "", "report-html-path": ""}},
		"collect": {step: jobStep{id: record.Collect, facts: &record.CollectFacts{Count: 7}}, files: []string{"artifacts/manifest.json"},
			want: map[string]string{"status": "succeeded", "exit-code": "0", "failure-kind": "none", "run": "test", "artifact-count": "7",
				"manifest-ARTIFACT_OUTPUTS": `{` + sum + `,"uri":"file://RUN/artifacts/manifest.json"}`}},
		"summary": {step: jobStep{id: record.Summary, facts: &record.VerdictFacts{Verdict: record.RunFailed}}, files: []string{"artifacts/STEP_SUMMARY_LITE.md"},
			err: record.Failf(record.TestsFailed, "2 tests"),
			want: map[string]string{"status": "failed", "exit-code": "60", "failure-kind": "tests-failed", "run": "test", "verdict": "failed",
				"summary-path":             "runs/test/artifacts/STEP_SUMMARY_LITE.md",
				"summary-ARTIFACT_OUTPUTS": `{` + sum + `,"uri":"file://RUN/artifacts/STEP_SUMMARY_LITE.md"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewTestEnv(t)
			dir := resultsDir(t, e)
			c.step.run = func(_ context.Context, j *Job) error {
				for _, f := range c.files {
					require.NoError(t, os.WriteFile(j.Env.Run.Path(f), []byte("foo"), 0o644))
					require.NoError(t, j.Output(j.Env.Run.Path(f)))
				}
				return c.err
			}
			_, _ = Execute(t.Context(), e.Env, c.step)
			for k, v := range c.want {
				c.want[k] = strings.ReplaceAll(v, "RUN", e.Run.Dir)
			}
			// What Tekton is to be given at most, also where paths are long.
			assert.Equal(t, c.want, resultFiles(t, dir))
		})
	}
}

// TestResultsOfAKilledStep looks at what is there while a step runs: that is what
// Tekton reads when the container is killed.
func TestResultsOfAKilledStep(t *testing.T) {
	e := NewTestEnv(t)
	dir := resultsDir(t, e)
	during := map[string]string{}
	_, err := Execute(t.Context(), e.Env, jobPytest(func(context.Context, *Job) error {
		during = resultFiles(t, dir)
		return nil
	}))
	require.NoError(t, err)
	assert.Equal(t, "interrupted", during["test-status"])
	assert.Equal(t, "interrupted", during["status"])
	assert.Equal(t, "killed", during["failure-kind"])
	assert.Equal(t, "137", during["exit-code"])
	assert.Equal(t, "succeeded", resultFiles(t, dir)["test-status"])
}

func TestResultsOfAStepThatIsBusyElsewhere(t *testing.T) {
	e := NewTestEnv(t)
	unlock, err := e.Run.LockStep(record.Pytest)
	require.NoError(t, err)
	defer unlock()
	dir := resultsDir(t, e)
	_, err = Execute(t.Context(), e.Env, jobPytest(nil))
	require.Error(t, err)
	assert.Equal(t, "busy", resultFiles(t, dir)["failure-kind"])
}

// TestResultsThatAreTooLong: half of one would be a lie, and Tekton's room is small.
func TestResultsThatAreTooLong(t *testing.T) {
	e := NewTestEnv(t)
	dir := resultsDir(t, e)
	_, err := Execute(t.Context(), e.Env, jobStep{id: record.Clone, facts: &record.CloneFacts{
		Backup: strings.Repeat("x", resultLimit+1), URL: strings.Repeat("y", resultLimit), Commit: strings.Repeat("z", resultLimit)}})
	require.NoError(t, err, "results decide nothing")
	got, total := resultFiles(t, dir), 0
	for _, text := range got {
		total += len(text)
	}
	assert.LessOrEqual(t, total, resultsLimit)
	assert.NotContains(t, got, "backup-path")
	assert.Len(t, got["commit-sha"], resultLimit)
	assert.Contains(t, e.Err.String(), "backup-path")
}

func TestResultsAreRedactedAndDecideNothing(t *testing.T) {
	e := NewTestEnv(t)
	e.Secrets.Add(jobToken)
	dir := resultsDir(t, e)
	e.Results = append(e.Results, filepath.Join(dir, "missing", "verdict"))
	_, err := Execute(t.Context(), e.Env, jobStep{id: record.Clone, facts: &record.CloneFacts{Backup: "/" + jobToken}})
	require.NoError(t, err)
	assert.NotContains(t, resultFiles(t, dir)["backup-path"], jobToken)

	e.Results = []string{filepath.Join(dir, "missing", "status")}
	_, err = Execute(t.Context(), e.Env, jobPytest(nil))
	require.NoError(t, err)
	assert.Contains(t, e.Err.String(), "result not written")
}

// TestResultsOfRun: the steps inside a run have no results of their own.
func TestResultsOfRun(t *testing.T) {
	e := NewTestEnv(t)
	dir := resultsDir(t, e)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	_, err := Execute(ctx, e.Env, &Run{})
	require.Error(t, err)
	got := resultFiles(t, dir)
	assert.Equal(t, "incomplete", got["verdict"])
	assert.NotContains(t, got, "clone-status")
	assert.NotContains(t, got, "summary-path")
}

func TestResultNamesAreChecked(t *testing.T) {
	require.NoError(t, CheckResults([]string{"/tekton/steps/step-x/results/verdict"}))
	assert.Equal(t, record.Usage, record.AsFailure(CheckResults([]string{"/x/verdicts"})).Kind)
}
