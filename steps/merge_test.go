package steps

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// mergePart is a run in which papermill has run one notebook, of a commit.
func mergePart(t *testing.T, e *TestEnv, id, notebook, commit string, failure error) *artifacts.Run {
	t.Helper()
	env := *e.Env
	run, err := e.Workspace.OpenRun(id)
	require.NoError(t, err)
	env.Run = run
	mergeClone(t, &env, commit)
	facts := &record.PapermillFacts{Notebooks: []record.Notebook{}}
	_, err = Execute(t.Context(), &env, jobStep{record.Papermill, facts, func(_ context.Context, j *Job) error {
		out := j.Env.Run.Path("artifacts", "output_analysis_lite.ipynb")
		require.NoError(t, os.WriteFile(out, []byte(notebook), 0o644))
		fmt.Fprintln(j.Out, "running", notebook)
		addNotebook(facts, record.Notebook{Input: notebook, Output: "artifacts/output_analysis_lite.ipynb", Cells: record.Cells{Total: 3, Run: 2, Failed: 1}, Seconds: 2})
		require.NoError(t, j.Output(out))
		return failure
	}})
	require.Equal(t, failure == nil, err == nil)
	return run
}

func mergeClone(t *testing.T, e *Env, commit string) {
	t.Helper()
	_, err := Execute(t.Context(), e, jobStep{id: record.Clone, facts: &record.CloneFacts{Commit: commit}})
	require.NoError(t, err)
}

func TestMergeTakesEveryNotebook(t *testing.T) {
	e := NewTestEnv(t)
	mergeClone(t, e.Env, "c1")
	mergePart(t, e, "one", "notebooks/a.ipynb", "c1", nil)
	mergePart(t, e, "two", "other/a.ipynb", "c1", record.Failf(record.OutOfMemory, "cell 3"))
	mergePart(t, e, "three", "notebooks/b.ipynb", "c1", record.Failf(record.EarlyExit, "cell 1"))
	rec, err := Execute(t.Context(), e.Env, &Merge{Runs: []string{"one", "two", "three"}})
	assert.Equal(t, record.OutOfMemory, record.AsFailure(err).Kind, "that of the first that failed")
	assert.Contains(t, err.Error(), "run two")
	facts := rec.Facts.(*record.PapermillFacts)
	assert.Equal(t, record.Cells{Total: 9, Run: 6, Failed: 3}, facts.Cells)
	assert.InDelta(t, 6, facts.Seconds, 0)
	var outputs []string
	for i, f := range rec.Outputs {
		outputs = append(outputs, f.Path)
		assert.Equal(t, f.Path, facts.Notebooks[i].Output)
		text, err := os.ReadFile(e.Run.Path(f.Path))
		require.NoError(t, err)
		assert.Equal(t, facts.Notebooks[i].Input, string(text))
	}
	assert.Equal(t, []string{"artifacts/result_a_lite.ipynb", "artifacts/result_a_2_lite.ipynb", "artifacts/result_b_lite.ipynb"}, outputs)

	log, err := os.ReadFile(e.Run.Path(rec.Log))
	require.NoError(t, err)
	assert.Contains(t, string(log), "run one:\nrunning notebooks/a.ipynb\n")
	assert.Contains(t, string(log), "run three:\nrunning notebooks/b.ipynb\n")

	rec, err = Execute(t.Context(), e.Env, &Merge{Runs: []string{"one"}})
	require.NoError(t, err)
	assert.Equal(t, record.StatusSucceeded, rec.Status)
	assert.NoFileExists(t, e.Run.Path("artifacts", "result_b_lite.ipynb"), "outputs of an earlier attempt go")
}

// TestMergeMissesOne: a notebook that is not on the list must not be taken for one that passed.
func TestMergeMissesOne(t *testing.T) {
	e := NewTestEnv(t)
	mergeClone(t, e.Env, "c1")
	mergePart(t, e, "one", "a.ipynb", "c1", nil)
	mergePart(t, e, "two", "b.ipynb", "c1", record.Failf(record.NotebookFailed, "cell 3"))
	for _, n := range []int{2, 3} {
		rec, err := Execute(t.Context(), e.Env, &Merge{Runs: []string{"one"}, Expect: n})
		assert.Equal(t, record.Incomplete, record.AsFailure(err).Kind)
		assert.Equal(t, record.StatusFailed, rec.Status)
		assert.Len(t, rec.Facts.(*record.PapermillFacts).Notebooks, 1, "what is there is merged")
	}
	rec, err := Execute(t.Context(), e.Env, &Merge{Runs: []string{"one", "two"}, Expect: 3})
	assert.Equal(t, record.NotebookFailed, record.AsFailure(err).Kind, "the class of what is known to have failed")
	assert.Contains(t, rec.Notes[len(rec.Notes)-1], "there should be the notebooks of 3 runs, but 2 are given: one, two")
	_, err = Execute(t.Context(), e.Env, &Merge{Runs: []string{"one"}, Expect: 1})
	require.NoError(t, err)
	_, err = Execute(t.Context(), e.Env, &Merge{Runs: []string{"one", "one"}, Expect: 1})
	assert.Equal(t, record.Incomplete, record.AsFailure(err).Kind, "twice the same is not two")
}

// TestMergeTakesOneThatWasKilled: its container could not even finish its record.
func TestMergeTakesOneThatWasKilled(t *testing.T) {
	e := NewTestEnv(t)
	mergeClone(t, e.Env, "c1")
	mergePart(t, e, "one", "a.ipynb", "c1", nil)
	run := mergePart(t, e, "two", "b.ipynb", "c1", nil)
	rec, err := run.Read(record.Papermill)
	require.NoError(t, err)
	rec.Status, rec.Ended, rec.ExitCode = record.StatusRunning, nil, nil
	require.NoError(t, run.Write(rec))
	rec, err = Execute(t.Context(), e.Env, &Merge{Runs: []string{"one", "two"}, Expect: 2})
	assert.Equal(t, record.Killed, record.AsFailure(err).Kind)
	assert.Contains(t, err.Error(), "run two: papermill was killed")
	assert.NotEqual(t, record.StatusSucceeded, rec.Status)
}

func TestMergeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, e *TestEnv)
		kind  record.Kind
	}{
		"no such run": {func(*testing.T, *TestEnv) {}, record.BadInput},
		"without a record": {func(t *testing.T, e *TestEnv) {
			_, err := e.Workspace.OpenRun("part")
			require.NoError(t, err)
		}, record.NotRun},
		"of another commit": {func(t *testing.T, e *TestEnv) { mergePart(t, e, "part", "a.ipynb", "c2", nil) }, record.BadInput},
		"of another variant": {func(t *testing.T, e *TestEnv) {
			e.Variant = artifacts.Original
			mergePart(t, e, "part", "a.ipynb", "c1", nil)
			e.Variant = artifacts.Lite
		}, record.BadInput},
		"changed since": {func(t *testing.T, e *TestEnv) {
			run := mergePart(t, e, "part", "a.ipynb", "c1", nil)
			require.NoError(t, os.WriteFile(run.Path("artifacts", "output_analysis_lite.ipynb"), []byte("x"), 0o644))
		}, record.ArtifactInvalid},
		"killed": {func(t *testing.T, e *TestEnv) {
			run := mergePart(t, e, "part", "a.ipynb", "c1", nil)
			rec, err := run.Read(record.Papermill)
			require.NoError(t, err)
			rec.Status, rec.ExitCode = record.StatusRunning, nil
			require.NoError(t, run.Write(rec))
		}, record.Killed},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewTestEnv(t)
			mergeClone(t, e.Env, "c1")
			c.spoil(t, e)
			_, err := Execute(t.Context(), e.Env, &Merge{Runs: []string{"part"}})
			assert.Equal(t, c.kind, record.AsFailure(err).Kind, "%v", err)
		})
	}
	e := NewTestEnv(t)
	_, err := Execute(t.Context(), e.Env, &Merge{})
	assert.Equal(t, record.Usage, record.AsFailure(err).Kind)
	_, err = Execute(t.Context(), e.Env, &Merge{Runs: []string{filepath.Join("..", "x")}})
	assert.Equal(t, record.BadInput, record.AsFailure(err).Kind)
}
