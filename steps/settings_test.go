package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

func TestSettingsOfAStep(t *testing.T) {
	s := &Papermill{Notebooks: Notebooks{Dir: "notebooks", Paths: []string{"a.ipynb", "b.ipynb"}}, GPUNeeds: GPUNeeds{GPU: GPUOff}}
	s.Parameter, s.Limits.Timeout, s.AllowEarlyExit, s.RMM.Mode, s.RMM.Allocators = []string{"n=1"}, time.Hour, true, "off", []string{"cupy"}
	no := false
	s.Lite.Subsample, s.Lite.MaxCells = &no, 50000
	assert.Equal(t, map[string]string{
		"notebook": `["a.ipynb","b.ipynb"]`, "parameter": "n=1", "allow-early-exit": "true", "subsample": "false",
		"notebook-filename": "", "max-genes": "0", "method": "", // Kong would have filled them in.
	}, stepSettings(s))
	assert.Empty(t, stepSettings(skipped{s, nil}), "it asks for nothing")
	assert.NotContains(t, stepSettings(&FetchData{Dataset: []string{"a=https://host/a?sig=x"}}), "dataset", "its facts have it")
	assert.NotContains(t, stepSettings(&Clone{CloneOptions: CloneOptions{TokenFile: "/x", Retries: 1}}), "token-file")
}

// TestResumeAsksOtherwise: a success is kept only for what it was a success of.
func TestResumeAsksOtherwise(t *testing.T) {
	e := NewTestEnv(t)
	path := millWrite(t, "nb", nbtest.New(nbtest.Code("n = 1", "parameters")))
	first := millStep(path)
	first.Parameter = []string{"n=5"}
	rec, _ := millRun(t, e, t.Context(), first)
	require.Nil(t, rec.Failure)
	j := &Job{Env: e.Env, Rec: &record.Record{}}
	again := func(change func(*Papermill)) *Papermill {
		s := millStep(path)
		s.Parameter = []string{"n=5"}
		change(s)
		return s
	}
	assert.True(t, stillGood(j, again(func(*Papermill) {})))
	assert.True(t, stillGood(j, again(func(s *Papermill) { s.Parameter = nil })), "who resumes need not say everything again")
	assert.True(t, stillGood(j, again(func(s *Papermill) { s.ExecutionTimeout = time.Minute })))
	assert.False(t, stillGood(j, again(func(s *Papermill) { s.Parameter = []string{"n=7"} })))
	assert.False(t, stillGood(j, again(func(s *Papermill) { s.AllowEarlyExit = true })))

	require.NoError(t, os.WriteFile(path, nbtest.New(nbtest.Code("n = 2", "parameters")), 0o600))
	assert.False(t, stillGood(j, again(func(*Papermill) {})), "the notebook was edited")
	require.NoError(t, os.Rename(path, filepath.Join(t.TempDir(), "elsewhere")))
	assert.True(t, stillGood(j, again(func(*Papermill) {})), "it was in another container")
	assert.Contains(t, strings.Join(j.Rec.Notes, "\n"), "step 3-papermill is kept as it was asked for, with --parameter=n=5")
}

// TestResumeAfterASecretChanged: records hold no secret, so nobody can say that it is the same.
func TestResumeAfterASecretChanged(t *testing.T) {
	e := NewTestEnv(t)
	path := millWrite(t, "nb", nbtest.New(nbtest.Code("n = 1", "parameters")))
	for _, change := range []func(s *Papermill, secret string){
		func(s *Papermill, secret string) { s.Parameter = []string{"n=https://host/x?key=" + secret} },
		func(s *Papermill, secret string) { s.PapermillOptions.Env = []string{"API_KEY=" + secret} },
	} {
		first, second := millStep(path), millStep(path)
		change(first, "a")
		change(second, "b")
		rec, _ := millRun(t, e, t.Context(), first)
		require.Nil(t, rec.Failure)
		assert.False(t, stillGood(&Job{Env: e.Env, Rec: &record.Record{}}, second), "%v", rec.Settings)
	}
}
