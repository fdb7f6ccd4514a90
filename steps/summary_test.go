package steps

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/summary"
)

// summaryRun executes steps 1 to 7 of a run in which the step with a failure fails.
func summaryRun(t testing.TB, e *Env, failures map[record.ID]error) {
	t.Helper()
	outputs := collectOutputs()
	for _, id := range record.Workflow[:6] {
		_, _ = Execute(t.Context(), e, collectStep{id: id, files: outputs[id], err: failures[id]})
	}
	_, _ = Execute(t.Context(), e, &Collect{})
}

func summaryExec(t testing.TB, e *Env) (*record.Record, string, error) {
	t.Helper()
	rec, err := Execute(t.Context(), e, &Summary{})
	return rec, rec.Facts.(*record.VerdictFacts).Verdict, err
}

// summaryTexts are the three places where the summary lies.
func summaryTexts(t testing.TB, e *Env) map[string]string {
	t.Helper()
	name, texts := e.Variant.SummaryName(), map[string]string{}
	for _, path := range []string{e.Run.Path("artifacts", name), e.Workspace.Path("artifacts", name), e.Workspace.Path(name)} {
		if b, err := os.ReadFile(path); err == nil {
			rel, err := filepath.Rel(e.Workspace.Dir, path)
			require.NoError(t, err)
			texts[rel] = string(b)
		}
	}
	return texts
}

func TestSummaryPassed(t *testing.T) {
	for _, v := range []artifacts.Variant{artifacts.Lite, artifacts.Original} {
		e := NewTestEnv(t)
		e.Variant = v
		outputs := collectOutputs()
		for _, id := range record.Workflow[:6] {
			_, err := Execute(t.Context(), e.Env, collectStep{id: id, files: outputs[id]})
			require.NoError(t, err)
		}
		_, err := Execute(t.Context(), e.Env, &Collect{Require: []string{"*.ipynb"}})
		require.NoError(t, err)
		rec, verdict, err := summaryExec(t, e.Env)
		require.NoError(t, err)
		assert.Equal(t, record.Passed, verdict)
		assert.Equal(t, record.StatusSucceeded, rec.Status)
		require.Len(t, rec.Outputs, 1)
		assert.Equal(t, "artifacts/"+v.SummaryName(), rec.Outputs[0].Path)
		texts := summaryTexts(t, e.Env)
		require.Len(t, texts, 3)
		for path, text := range texts {
			assert.Contains(t, text, summary.Completed(v), path)
			assert.Equal(t, v == artifacts.Lite, strings.Contains(text, "LITE"), path)
		}
		assert.Contains(t, e.Err.String(), "\n"+summary.Completed(v)+"\n")
		assertSumsCheck(t, e.Workspace.Path("artifacts"))
	}
}

func TestSummaryFailed(t *testing.T) {
	e := NewTestEnv(t)
	// The caller may have written `step-runner papermill || true`.
	summaryRun(t, e.Env, map[record.ID]error{record.Papermill: record.Failf(record.NotebookFailed, "nb.ipynb: cell 3 raised ValueError: x").WithHint("look at cell 3")})
	rec, verdict, err := summaryExec(t, e.Env)
	assertFailure(t, err, record.NotebookFailed)
	assert.EqualError(t, err, "the run failed: step 3 (papermill): nb.ipynb: cell 3 raised ValueError: x")
	assert.Equal(t, "look at cell 3", rec.Failure.Hint)
	assert.Equal(t, 42, *rec.ExitCode)
	assert.Equal(t, record.RunFailed, verdict)
	for path, text := range summaryTexts(t, e.Env) {
		assert.True(t, strings.HasPrefix(text, "# ❌ FAILED (LITE): step 3 (papermill), `notebook-failed`\n"), path)
		assert.NotContains(t, text, record.CompletedMessage)
		assert.Contains(t, text, "| 6 | pytest | ⏭️ skipped |")
	}
	assert.NotContains(t, e.Err.String(), record.CompletedMessage)
}

func TestSummaryNamesTheTestsClone(t *testing.T) {
	e := NewTestEnv(t)
	summaryRun(t, e.Env, map[record.ID]error{record.CloneTests: record.Failf(record.CloneAuth, "401")})
	_, _, err := summaryExec(t, e.Env)
	assert.EqualError(t, err, "the run failed: step 5 (clone-tests): 401")
}

func TestSummaryKeepsTheSignalOfARecord(t *testing.T) {
	e := NewTestEnv(t)
	summaryRun(t, e.Env, map[record.ID]error{record.Papermill: record.BySignal(syscall.SIGTERM)})
	rec, _, err := summaryExec(t, e.Env)
	assert.Equal(t, 143, record.ExitCode(err))
	assert.Equal(t, 143, *rec.ExitCode)
}

func TestSummaryIncomplete(t *testing.T) {
	e := NewTestEnv(t)
	_, err := Execute(t.Context(), e.Env, collectStep{id: record.Setup})
	require.NoError(t, err)
	_, _, err = collectExec(t, e.Env, &Collect{})
	require.Error(t, err)
	_, verdict, err := summaryExec(t, e.Env)
	assertFailure(t, err, record.Incomplete, "step 2 (clone) has no record")
	assert.Equal(t, record.RunIncomplete, verdict)
}

func TestSummaryWithoutAnyRecord(t *testing.T) {
	e := NewTestEnv(t)
	_, verdict, err := summaryExec(t, e.Env)
	assertFailure(t, err, record.Incomplete)
	assert.Equal(t, record.RunIncomplete, verdict)
	assert.Len(t, summaryTexts(t, e.Env), 2, "there are no artifacts to lie beside")
}

func TestSummaryInterrupted(t *testing.T) {
	e := NewTestEnv(t)
	summaryRun(t, e.Env, nil)
	rec, err := e.Run.Read(record.Papermill)
	require.NoError(t, err)
	rec.Status, rec.Ended, rec.ExitCode = record.StatusRunning, nil, nil
	require.NoError(t, e.Run.Write(rec))
	_, verdict, err := summaryExec(t, e.Env)
	assertFailure(t, err, record.Killed, "papermill was killed")
	assert.Equal(t, 137, record.ExitCode(err))
	assert.Equal(t, record.RunFailed, verdict)
	assert.Contains(t, summaryTexts(t, e.Env)[e.Variant.SummaryName()], "It was interrupted")
}

func TestSummaryUnreadableRecord(t *testing.T) {
	e := NewTestEnv(t)
	summaryRun(t, e.Env, nil)
	require.NoError(t, os.WriteFile(e.Run.Path("records", record.Papermill.File()), []byte(`{"schema":1,`), 0o600))
	_, verdict, err := summaryExec(t, e.Env)
	assertFailure(t, err, record.BadInput, "the run failed: record 3-papermill.json: unexpected EOF")
	assert.Equal(t, record.RunFailed, verdict)
	assert.Contains(t, summaryTexts(t, e.Env)[e.Variant.SummaryName()], "What step 3 (papermill) did is unknown")
}

// TestSummaryOfAnotherVariant: a lite run is not made an original one by asking.
func TestSummaryOfAnotherVariant(t *testing.T) {
	e := NewTestEnv(t)
	summaryRun(t, e.Env, nil)
	e.Variant = artifacts.Original
	_, verdict, err := summaryExec(t, e.Env)
	assertFailure(t, err, record.Incomplete, "step 1 (setup) ran as lite, but step 8 (summary) as original")
	assert.Equal(t, record.RunIncomplete, verdict)
}

func TestSummaryAfterAStepRanAgain(t *testing.T) {
	e := NewTestEnv(t)
	summaryRun(t, e.Env, nil)
	_, err := Execute(t.Context(), e.Env, collectStep{id: record.Papermill, files: map[string]string{"output_analysis_lite.ipynb": collectNotebook + " "}})
	require.NoError(t, err)
	_, _, err = summaryExec(t, e.Env)
	assertFailure(t, err, record.Incomplete, "step 7 (collect) has read an older artifacts/output_analysis_lite.ipynb than the run holds now")
}

// TestSummaryOfTheRunThatFinishesLast: artifacts and summary are of one run.
func TestSummaryOfTheRunThatFinishesLast(t *testing.T) {
	e := NewTestEnv(t)
	summaryRun(t, e.Env, nil)
	other := *e.Env
	var err error
	other.Run, err = e.Workspace.OpenRun("other")
	require.NoError(t, err)
	summaryRun(t, &other, map[record.ID]error{record.Pytest: record.Failf(record.TestsFailed, "1 failed")})
	_, _, err = summaryExec(t, e.Env)
	require.NoError(t, err)
	collectManifest(t, e.Env)
	assert.Contains(t, collectPublished(t, e.Env)[e.Variant.SummaryName()], "Run `test`")
	_, _, err = summaryExec(t, &other)
	assertFailure(t, err, record.TestsFailed)
	collectManifest(t, &other)
	for path, text := range summaryTexts(t, &other) {
		assert.Contains(t, text, "Run `other`", path)
	}
}

func TestSummaryForGitHub(t *testing.T) {
	file := filepath.Join(t.TempDir(), "summary")
	require.NoError(t, os.WriteFile(file, []byte("earlier\n"), 0o600))
	e := NewTestEnv(t, "GITHUB_STEP_SUMMARY="+file)
	summaryRun(t, e.Env, nil)
	rec, _, err := summaryExec(t, e.Env)
	require.NoError(t, err)
	assert.Empty(t, rec.Notes)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "earlier\n\n"+summaryTexts(t, e.Env)[e.Variant.SummaryName()], string(b))

	require.NoError(t, os.WriteFile(file, make([]byte, summary.Limit-summary.MinLimit), 0o600))
	rec, _, err = summaryExec(t, e.Env)
	require.NoError(t, err)
	assert.Equal(t, []string{"GITHUB_STEP_SUMMARY: " + file + " has no room left"}, rec.Notes)

	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Mkdir(file, 0o755))
	rec, _, err = summaryExec(t, e.Env)
	require.NoError(t, err, "it is no part of the verdict")
	require.Len(t, rec.Notes, 1)
	assert.Contains(t, rec.Notes[0], "is a directory")

	require.NoError(t, os.Remove(file))
	require.NoError(t, syscall.Mkfifo(file, 0o600))
	rec, _, err = summaryExec(t, e.Env)
	require.NoError(t, err)
	assert.Len(t, rec.Notes, 1, "a pipe that nobody reads is not waited for")
}

// TestSummaryThatCannotBePublished: no file may say that the whole workflow is done.
func TestSummaryThatCannotBePublished(t *testing.T) {
	e := NewTestEnv(t)
	summaryRun(t, e.Env, nil)
	require.NoError(t, os.MkdirAll(e.Workspace.Path(e.Variant.SummaryName(), "in the way"), 0o755))
	_, verdict, err := summaryExec(t, e.Env)
	assertFailure(t, err, record.PublishFailed, "the run failed: the summary could not be published")
	assert.Equal(t, record.RunFailed, verdict)
	texts := summaryTexts(t, e.Env)
	require.Len(t, texts, 2)
	for path, text := range texts {
		assert.NotContains(t, text, record.CompletedMessage, path)
		assert.True(t, strings.HasPrefix(text, "# ❌ FAILED (LITE): `publish-failed`\n"), path)
	}
	assert.NotContains(t, e.Err.String(), record.CompletedMessage)
}

func TestSummaryThatCannotBePublishedKeepsTheVerdict(t *testing.T) {
	e := NewTestEnv(t)
	summaryRun(t, e.Env, map[record.ID]error{record.Pytest: record.Failf(record.TestsFailed, "1 failed")})
	require.NoError(t, os.MkdirAll(e.Workspace.Path(e.Variant.SummaryName(), "in the way"), 0o755))
	rec, _, err := summaryExec(t, e.Env)
	assertFailure(t, err, record.TestsFailed)
	require.Len(t, rec.Notes, 1)
	assert.Contains(t, rec.Notes[0], "the summary could not be published")
}

func TestSummaryOnAFullVolume(t *testing.T) {
	e := NewTestEnv(t)
	collectTmpfs(t, e, "size=1m")
	summaryRun(t, e.Env, nil)
	_, _, err := summaryExec(t, e.Env)
	require.NoError(t, err)
	before := summaryTexts(t, e.Env)
	fill, err := os.Create(e.Workspace.Path("fill"))
	require.NoError(t, err)
	defer fill.Close()
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	assert.ErrorIs(t, err, syscall.ENOSPC)
	s := &Summary{}
	j := &Job{Env: e.Env, Rec: newRecord(e.Env, s), Out: e.Err}
	err = s.Run(t.Context(), j)
	assertFailure(t, err, record.DiskFull, "the run failed: the summary could not be published")
	assert.Equal(t, record.RunFailed, s.facts.Verdict)
	assert.Equal(t, before, summaryTexts(t, e.Env), "the old ones are whole")
}

// TestSummaryAfterASignal: with little time left it is written all the same.
func TestSummaryAfterASignal(t *testing.T) {
	e := NewTestEnv(t)
	summaryRun(t, e.Env, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(record.BySignal(syscall.SIGTERM))
	_, err := Execute(ctx, e.Env, &Summary{})
	require.NoError(t, err)
	assert.Len(t, summaryTexts(t, e.Env), 3)
}

func TestSummaryHoldsNoSecret(t *testing.T) {
	e := NewTestEnv(t)
	e.Secrets.Add("ghp_0123456789abcdefghij")
	summaryRun(t, e.Env, nil)
	rec, err := e.Run.Read(record.Papermill)
	require.NoError(t, err)
	rec.Facts = &record.PapermillFacts{Slowest: []record.Cell{{Number: 1, Source: "token = 'ghp_0123456789abcdefghij'"}}}
	rec.Notes = []string{"Z2hwXzAxMjM0NTY3ODlhYmNkZWZnaGlq"}
	require.NoError(t, e.Run.Write(rec))
	_, _, err = summaryExec(t, e.Env)
	require.NoError(t, err)
	for path, text := range summaryTexts(t, e.Env) {
		assert.False(t, e.Secrets.Contains([]byte(text)), path)
		assert.Contains(t, text, "token = '***'", path)
	}
}
