package steps

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

const cloneToken = "ghp_a+b/c=d%e~0123456789"

func TestCloneRecord(t *testing.T) {
	srv := cloneServer(t)
	r, h := cloneRepo(t, srv, "nb.git", gittest.Files{"notebooks/a.ipynb": "{}"})
	e := NewTestEnv(t)
	s := cloneStep(r.URL)
	s.Revision, s.Require = "main", []string{"notebooks"}
	rec, f, err := cloneRun(t, e, s)
	require.NoError(t, err)
	assert.Equal(t, record.StatusSucceeded, rec.Status)
	assert.Equal(t, record.Clone, rec.ID)
	assert.Equal(t, record.CloneFacts{
		URL: r.URL, Revision: "main", Commit: h, CommitterDate: f.CommitterDate, Attempts: 1,
		Dir: e.Workspace.Path("clones", filepath.Base(filepath.Dir(f.Dir)), h),
	}, *f)
	assert.Equal(t, "2023-11-14 22:15:20 +0000 UTC", f.CommitterDate.String())
	assert.Equal(t, "{}", cloneRead(t, f.Dir, "notebooks", "a.ipynb"))

	_, f, err = cloneRun(t, e, cloneStep(r.URL))
	require.NoError(t, err)
	assert.True(t, f.Reused)
}

func TestCloneFailures(t *testing.T) {
	srv := cloneServer(t)
	good, h := cloneRepo(t, srv, "nb.git", gittest.Files{"notebooks/a.ipynb": "{}", "README.md": ""})
	private, _ := cloneRepo(t, srv, "private.git", gittest.Files{"a": ""})
	private.RequireToken(cloneToken)
	wrong := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(wrong, []byte("wrong-token\n"), 0o600))
	for name, tc := range map[string]struct {
		change        func(s *Clone)
		kind          record.Kind
		exit          int
		message, hint string
	}{
		"no url":             {func(s *Clone) { s.URL = "" }, record.Usage, 2, "no repository", "STEP_RUNNER_CLONE_URL"},
		"ssh":                {func(s *Clone) { s.URL = "git@github.com:o/r.git" }, record.BadInput, 10, "ssh", "https://"},
		"wrong token":        {func(s *Clone) { s.URL, s.TokenFile = private.URL, wrong }, record.CloneAuth, 31, "refuses the token (401)", "contents: read"},
		"no token":           {func(s *Clone) { s.URL = private.URL }, record.RepoNotFound, 32, "wants a token", "--token-file"},
		"no such repository": {func(s *Clone) { s.URL = srv.URL + "/none.git" }, record.RepoNotFound, 32, "no such repository", "URL"},
		"no such revision":   {func(s *Clone) { s.Revision = "mian" }, record.RevisionNotFound, 33, `"mian"`, "main"},
		"no such commit":     {func(s *Clone) { s.Revision = strings.Repeat("1", 40) }, record.RevisionNotFound, 33, "no commit 1111", "pushed"},
		"no server":          {func(s *Clone) { s.URL = "http://127.0.0.1:1/r.git" }, record.CloneFailed, 30, "connection refused", "network"},
		"required path":      {func(s *Clone) { s.Require = []string{"README.md", "notebook"} }, record.CloneIncomplete, 34, h + " has no notebook", "README.md, notebooks"},
		"required escape":    {func(s *Clone) { s.Require = []string{"../.."} }, record.CloneIncomplete, 34, "required path ../..", ""},
		"dir outside":        {func(s *Clone) { s.Dir = "../x" }, record.BadInput, 10, "not inside", ""},
		"dir absolute":       {func(s *Clone) { s.Dir = "/tmp/x" }, record.BadInput, 10, "not inside", ""},
		"dir is everything":  {func(s *Clone) { s.Dir = "." }, record.BadInput, 10, "not inside", ""},
		"dir of our own":     {func(s *Clone) { s.Dir = "runs/../runs/test" }, record.BadInput, 10, "own directory", ""},
		"stage form":         {func(s *Clone) { s.Stage = []string{"x"} }, record.Usage, 2, "FILE=DIR", ""},
		"stage missing":      {func(s *Clone) { s.Stage = []string{"artifacts/x.html=input"} }, record.ArtifactMissing, 70, "artifacts/x.html", "step"},
		"stage from outside": {func(s *Clone) { s.Stage = []string{"../../x=input"} }, record.BadInput, 10, "inside the run", ""},
		"stage to outside":   {func(s *Clone) { s.Stage = []string{"a=../x"} }, record.BadInput, 10, "inside the clone", ""},
		"stage to all":       {func(s *Clone) { s.Stage = []string{"a=."} }, record.BadInput, 10, "inside the clone", ""},
		"token file":         {func(s *Clone) { s.TokenFile = "/no/such/file" }, record.BadInput, 10, "--token-file", ""},
		"ca file":            {func(s *Clone) { s.CAFile = "/no/such/file" }, record.BadInput, 10, "--ca-file", ""},
		"proxy":              {func(s *Clone) { s.Proxy = "::" }, record.BadInput, 10, "--proxy", ""},
		"negative":           {func(s *Clone) { s.Depth = -1 }, record.Usage, 2, "negative", ""},
		"timeout":            {func(s *Clone) { s.Timeout = time.Nanosecond }, record.TimedOut, 124, "--timeout", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewTestEnv(t)
			s := cloneStep(good.URL)
			tc.change(s)
			rec, f, err := cloneRun(t, e, s)
			require.Error(t, err)
			assert.Equal(t, tc.kind, rec.Failure.Kind, rec.Failure.Message)
			assert.Equal(t, tc.exit, *rec.ExitCode)
			assert.Contains(t, rec.Failure.Message, tc.message)
			assert.Contains(t, rec.Failure.Hint, tc.hint)
			assert.Empty(t, f.Staged)
			stored, err := e.Env.Run.Read(record.Clone)
			require.NoError(t, err)
			assert.Equal(t, rec.Status, stored.Status)
		})
	}
}

func TestCloneConnectionDropped(t *testing.T) {
	srv := cloneServer(t)
	r, _ := cloneRepo(t, srv, "nb.git", gittest.Files{"a": strings.Repeat("abcdefgh", 1000)})
	e := NewTestEnv(t)
	srv.Inject(gittest.Pack, 1, gittest.DropAfter(150))
	_, f, err := cloneRun(t, e, cloneStep(r.URL))
	require.NoError(t, err)
	assert.Equal(t, 2, f.Attempts)
	assert.Contains(t, cloneRead(t, e.Env.Run.Path("logs", "2-clone.log")), "a try failed")

	e = NewTestEnv(t)
	srv.Inject(gittest.Pack, -1, gittest.DropAfter(150))
	rec, f, err := cloneRun(t, e, cloneStep(r.URL))
	require.Error(t, err)
	assert.Equal(t, record.CloneFailed, rec.Failure.Kind)
	assert.Equal(t, 30, *rec.ExitCode)
	assert.Equal(t, 3, f.Attempts)
}

func TestCloneSignal(t *testing.T) {
	srv := cloneServer(t)
	r, _ := cloneRepo(t, srv, "nb.git", gittest.Files{"a": strings.Repeat("abcdefgh", 1000)})
	stalled := make(chan struct{})
	srv.Inject(gittest.Pack, -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		close(stalled)
		gittest.StallAfter(150)(w, r, next)
	})
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		<-stalled
		cancel(record.BySignal(syscall.SIGTERM))
	}()
	e := NewTestEnv(t)
	rec, err := Execute(ctx, e.Env, cloneStep(r.URL))
	require.Error(t, err)
	assert.Equal(t, record.StatusInterrupted, rec.Status)
	assert.Equal(t, 143, *rec.ExitCode)
	clones, err := filepath.Glob(e.Workspace.Path("clones", "*", "*"))
	require.NoError(t, err)
	assert.Empty(t, clones)
	tmp, err := filepath.Glob(e.Workspace.Path("clones", "*", ".*"))
	require.NoError(t, err)
	assert.Empty(t, tmp)
}

func TestCloneDir(t *testing.T) {
	srv := cloneServer(t)
	r, _ := cloneRepo(t, srv, "nb.git", gittest.Files{"a": "1"})
	e := NewTestEnv(t)
	dir := e.Workspace.Path("deep", "source")
	require.NoError(t, os.MkdirAll(dir, 0o775))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o664))
	s := cloneStep(r.URL)
	s.Dir = "deep/source/"
	rec, f, err := cloneRun(t, e, s)
	require.NoError(t, err)
	assert.Equal(t, dir, f.Dir)
	assert.Equal(t, "x", cloneRead(t, f.Backup, "mine"))
	assert.Contains(t, strings.Join(rec.Notes, " "), f.Backup)

	require.NoError(t, os.Symlink(t.TempDir(), e.Workspace.Path("out")))
	s = cloneStep(r.URL)
	s.Dir = "out/source"
	rec, _, err = cloneRun(t, e, s)
	require.Error(t, err)
	assert.Equal(t, record.BadInput, rec.Failure.Kind, "a symlink must not lead out of the workspace")
}

func TestCloneLFS(t *testing.T) {
	srv := cloneServer(t)
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("ab", 32) + "\nsize 9\n"
	r, _ := cloneRepo(t, srv, "nb.git", gittest.Files{"nb/a.ipynb": pointer, "nb/b.ipynb": "{}"})
	e := NewTestEnv(t)
	s := cloneStep(r.URL)
	s.Require = []string{"nb"}
	rec, f, err := cloneRun(t, e, s)
	require.NoError(t, err)
	assert.Equal(t, []string{"nb/a.ipynb"}, f.LFSPointers)
	assert.Contains(t, strings.Join(rec.Notes, " "), "nb/a.ipynb")

	s = cloneStep(r.URL)
	s.Require = []string{"nb/b.ipynb", "./nb/a.ipynb"}
	rec, _, err = cloneRun(t, e, s)
	require.Error(t, err)
	assert.Equal(t, record.CloneIncomplete, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Message, "pointer")
}
