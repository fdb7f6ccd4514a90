package steps

import (
	"context"
	"encoding/base64"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/gittest"
)

// cloneNoToken searches every file of the workspace, and what went to stdout and
// stderr, for the token: raw, percent-encoded, and in base64 at each alignment.
func cloneNoToken(t *testing.T, e *TestEnv, token string) {
	t.Helper()
	forms := []string{token, url.QueryEscape(token), url.PathEscape(token)}
	for _, before := range []string{"", "x", "xy", "x-access-token:", "user:"} {
		text := base64.StdEncoding.EncodeToString([]byte(before + token))
		forms = append(forms, strings.TrimRight(text, "=")[(len(before)*8+5)/6:len(text)-4])
	}
	texts := map[string]string{"stdout": e.Out.String(), "stderr": e.Err.String()}
	require.NoError(t, filepath.WalkDir(e.Workspace.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			texts[path] = cloneRead(t, path)
		}
		return err
	}))
	for name, text := range texts {
		for _, form := range forms {
			assert.NotContains(t, text, form, name)
		}
	}
}

func clonePrivate(t *testing.T) (*gittest.Server, *gittest.Repo) {
	t.Helper()
	srv := cloneServer(t)
	r, _ := cloneRepo(t, srv, "private.git", gittest.Files{"a": "1"})
	r.RequireToken(cloneToken)
	return srv, r
}

func TestCloneTokenSources(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(cloneToken+"\n"), 0o600))
	srv, r := clonePrivate(t)
	host := "GITHUB_SERVER_URL=" + srv.URL
	withUser := strings.Replace(r.URL, "://", "://user:"+url.PathEscape(cloneToken)+"@", 1)
	for name, tc := range map[string]struct {
		environ []string
		change  func(s *Clone)
		ok      bool
	}{
		"file":                         {nil, func(s *Clone) { s.TokenFile = file }, true},
		"own variable":                 {[]string{"STEP_RUNNER_CLONE_TOKEN=" + cloneToken}, nil, true},
		"variable of the other clone":  {[]string{"STEP_RUNNER_CLONE_TESTS_TOKEN=" + cloneToken}, nil, false},
		"tests":                        {[]string{"STEP_RUNNER_CLONE_TESTS_TOKEN=" + cloneToken}, func(s *Clone) { s.Tests = true }, true},
		"tests, the other variable":    {[]string{"STEP_RUNNER_CLONE_TOKEN=" + cloneToken}, func(s *Clone) { s.Tests = true }, false},
		"file before variable":         {[]string{"STEP_RUNNER_CLONE_TOKEN=wrong"}, func(s *Clone) { s.TokenFile = file }, true},
		"GITHUB_TOKEN, its own server": {[]string{"GITHUB_TOKEN=" + cloneToken, host}, nil, true},
		"GH_TOKEN, its own server":     {[]string{"GH_TOKEN=" + cloneToken, host}, nil, true},
		"GIT_TOKEN, its own server":    {[]string{"GIT_TOKEN=" + cloneToken, host}, nil, true},
		"GITHUB_TOKEN, another server": {[]string{"GITHUB_TOKEN=" + cloneToken}, nil, false},
		"GITHUB_TOKEN, github.com in the path": {[]string{"GITHUB_TOKEN=" + cloneToken}, func(s *Clone) {
			s.URL = srv.URL + "/github.com/private.git"
		}, false},
		"in the URL": {nil, func(s *Clone) { s.URL = withUser }, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewTestEnv(t, tc.environ...)
			s := cloneStep(r.URL)
			if tc.change != nil {
				tc.change(s)
			}
			before := len(srv.Requests())
			rec, f, err := cloneRun(t, e, s)
			if tc.ok {
				require.NoError(t, err)
				assert.NotContains(t, cloneRead(t, f.Dir, ".git", "config"), "@")
			} else {
				require.Error(t, err)
				assert.Equal(t, record.RepoNotFound, rec.Failure.Kind)
				for _, req := range srv.Requests()[before:] {
					assert.Empty(t, req.Authorization)
				}
			}
			cloneNoToken(t, e, cloneToken)
		})
	}
}

func TestCloneTokenNeverInPlainText(t *testing.T) {
	e := NewTestEnv(t, "STEP_RUNNER_CLONE_TOKEN="+cloneToken)
	rec, _, err := cloneRun(t, e, cloneStep("http://git.example.com/o/r.git"))
	require.Error(t, err)
	assert.Equal(t, record.BadInput, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Message, "plain http")
	assert.Contains(t, rec.Failure.Hint, "https")

	e = NewTestEnv(t)
	rec, _, err = cloneRun(t, e, cloneStep("http://user:"+url.PathEscape(cloneToken)+"@git.example.com/o/r.git"))
	require.Error(t, err)
	assert.Equal(t, record.BadInput, rec.Failure.Kind)
	cloneNoToken(t, e, cloneToken)
}

func TestCloneTokenNotOverARedirect(t *testing.T) {
	srv, r := clonePrivate(t)
	evil := cloneServer(t)
	cloneRepo(t, evil, "private.git", gittest.Files{"a": "evil"})
	srv.Inject(gittest.Refs, -1, gittest.Redirect(evil.URL))
	e := NewTestEnv(t, "STEP_RUNNER_CLONE_TOKEN="+cloneToken)
	_, f, err := cloneRun(t, e, cloneStep(r.URL))
	require.NoError(t, err)
	assert.Equal(t, r.URL, f.URL)
	require.NotEmpty(t, evil.Requests())
	for _, req := range evil.Requests() {
		assert.Empty(t, req.Authorization)
	}
	cloneNoToken(t, e, cloneToken)
}

// TestCloneServerEchoesToken is a server that says the token back in its refusal.
func TestCloneServerEchoesToken(t *testing.T) {
	srv, r := clonePrivate(t)
	srv.Inject(gittest.Refs, -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		_, password, _ := r.BasicAuth()
		gittest.Status(403, "no access with "+password+" and "+r.Header.Get("Authorization"))(w, r, next)
	})
	e := NewTestEnv(t, "STEP_RUNNER_CLONE_TOKEN="+cloneToken)
	rec, _, err := cloneRun(t, e, cloneStep(r.URL))
	require.Error(t, err)
	assert.Equal(t, record.CloneAuth, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Message, "***")
	cloneNoToken(t, e, cloneToken)
}

func TestCloneBadTokens(t *testing.T) {
	srv := cloneServer(t)
	r, _ := cloneRepo(t, srv, "nb.git", gittest.Files{"a": "1"})
	for name, text := range map[string]string{"empty": " \n", "two lines": "tok1\ntok2", "header injection": "a\r\nX: y", "not ASCII": "tökén"} {
		t.Run(name, func(t *testing.T) {
			s := cloneStep(r.URL)
			s.TokenFile = filepath.Join(t.TempDir(), "token")
			require.NoError(t, os.WriteFile(s.TokenFile, []byte(text), 0o600))
			rec, _, err := cloneRun(t, NewTestEnv(t), s)
			require.Error(t, err)
			assert.Equal(t, record.BadInput, rec.Failure.Kind)
			assert.Contains(t, rec.Failure.Message, s.TokenFile)
		})
	}
}

func TestCloneTokenIsNotForChildren(t *testing.T) {
	srv, r := clonePrivate(t)
	_ = srv
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(cloneToken), 0o600))
	e := NewTestEnv(t, "OTHER="+cloneToken, "KEPT=1")
	s := cloneStep(r.URL)
	s.TokenFile = file
	_, _, err := cloneRun(t, e, s)
	require.NoError(t, err)
	env := strings.Join((&Job{Env: e.Env}).ChildEnv(), "\n")
	assert.Contains(t, env, "KEPT=1")
	assert.NotContains(t, env, cloneToken)
}

func TestCloneProxyFromTheEnvironment(t *testing.T) {
	srv := cloneServer(t)
	cloneRepo(t, srv, "r.git", gittest.Files{"a": "1"})
	// Whatever host it is asked for, this server answers, as a proxy would.
	e := NewTestEnv(t, "http_proxy="+srv.URL)
	_, _, err := cloneRun(t, e, cloneStep("http://git.invalid/r.git"))
	require.NoError(t, err)

	s := cloneStep("http://git.invalid/r.git")
	s.Proxy = srv.URL
	_, _, err = cloneRun(t, NewTestEnv(t), s)
	require.NoError(t, err)

	e = NewTestEnv(t, "HTTP_PROXY="+srv.URL, "NO_PROXY=git.invalid")
	s = cloneStep("http://git.invalid/r.git")
	s.Retries = 0
	_, err = Execute(context.Background(), e.Env, s)
	require.Error(t, err)
}
