package steps

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/gittest"
)

func cloneServer(t *testing.T) *gittest.Server {
	t.Helper()
	s, err := gittest.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func cloneRepo(t *testing.T, s *gittest.Server, name string, files gittest.Files) (*gittest.Repo, string) {
	t.Helper()
	r, err := s.NewRepo(name)
	require.NoError(t, err)
	h, err := r.Commit("main", files)
	require.NoError(t, err)
	return r, h
}

// cloneStep is a step with kong's defaults.
func cloneStep(url string) *Clone {
	return &Clone{firstWait: time.Millisecond, CloneOptions: CloneOptions{URL: url, Existing: "backup", MaxBackups: 3, Retries: 2, Depth: 1}}
}

func cloneRun(t *testing.T, e *TestEnv, s *Clone) (*record.Record, *record.CloneFacts, error) {
	t.Helper()
	rec, err := Execute(context.Background(), e.Env, s)
	return rec, rec.Facts.(*record.CloneFacts), err
}

func cloneRead(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	require.NoError(t, err)
	return string(b)
}

func TestCloneDefault(t *testing.T) {
	srv := cloneServer(t)
	r, h := cloneRepo(t, srv, "nb.git", gittest.Files{"notebooks/a.ipynb": "{}", "run.sh*": "#!", "l@": "run.sh"})
	e := NewTestEnv(t)
	rec, f, err := cloneRun(t, e, cloneStep(r.URL))
	require.NoError(t, err)
	assert.Equal(t, h, f.Commit)
	assert.Equal(t, r.URL, f.URL)
	assert.False(t, f.Reused)
	assert.Equal(t, 1, f.Attempts)
	assert.Equal(t, "{}", cloneRead(t, f.Dir, "notebooks", "a.ipynb"))
	assert.Equal(t, record.StatusSucceeded, rec.Status)
	t.Log(f.Dir, f.CommitterDate, e.Err.String())
}
