package repo

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
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/gittest"
)

const testToken = "ghp_+/=tést0123456789"

func TestGetTriesAgainWhatIsWorthIt(t *testing.T) {
	for name, tc := range map[string]struct {
		match string
		fault gittest.Fault
	}{
		"503 for the refs":     {gittest.Refs, gittest.Status(503, "down")},
		"503 for the pack":     {gittest.Pack, gittest.Status(503, "down")},
		"429 with its time":    {gittest.Refs, gittest.Status(429, "slow down", "Retry-After", "0")},
		"refs break off":       {gittest.Refs, gittest.DropAfter(100)},
		"no answer":            {gittest.Refs, gittest.DropAfter(0)},
		"pack breaks off":      {gittest.Pack, gittest.DropAfter(200)},
		"no pack":              {gittest.Pack, gittest.DropAfter(0)},
		"pack stops":           {gittest.Pack, gittest.StallAfter(200)},
		"pack ends early":      {gittest.Pack, cleanEnd(200)},
		"pack is damaged":      {gittest.Pack, damaged},
		"the server is silent": {gittest.Refs, func(w http.ResponseWriter, r *http.Request, next http.Handler) { <-r.Context().Done() }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.o.Stall = 300 * time.Millisecond
			w.srv.Inject(tc.match, 2, tc.fault)
			res := w.mustGet()
			assert.Equal(t, 3, res.Attempts)
			assert.Equal(t, "tip", read(t, res.Dir, "a"))
			assert.Equal(t, 2, strings.Count(w.log.String(), "a try failed"), w.log.String())
			assert.NoError(t, Check(context.Background(), w.o, res.Dir, w.tip))
			packs, err := os.ReadDir(filepath.Join(res.Dir, ".git", "objects", "pack"))
			require.NoError(t, err)
			assert.Len(t, packs, 2, "one pack and its index, nothing of the broken ones")

			w.o = w.options()
			w.o.Stall = 300 * time.Millisecond
			w.srv.Inject(tc.match, -1, tc.fault)
			res, f := w.fails(record.CloneFailed)
			assert.Equal(t, 3, res.Attempts)
			assert.Contains(t, f.Message, "tried 3 times")
			assert.Contains(t, f.Message, w.repo.URL)
			assert.Empty(t, leftovers(t, filepath.Join(w.o.Shared, w.o.Address.Slug())))
		})
	}
}

// cleanEnd ends the answer after n bytes as if that were all.
func cleanEnd(n int) gittest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&edited{ResponseWriter: w, edit: func(b []byte) []byte {
			b = b[:min(n, len(b))]
			n -= len(b)
			return b
		}}, r)
	}
}

// damaged turns one byte in the middle of the pack around.
func damaged(w http.ResponseWriter, r *http.Request, next http.Handler) {
	at := 300
	next.ServeHTTP(&edited{ResponseWriter: w, edit: func(b []byte) []byte {
		if at >= 0 && at < len(b) {
			b[at] ^= 0xff
		}
		at -= len(b)
		return b
	}}, r)
}

type edited struct {
	http.ResponseWriter
	edit func([]byte) []byte
}

func (e *edited) Write(b []byte) (int, error) {
	if _, err := e.ResponseWriter.Write(e.edit(append([]byte{}, b...))); err != nil {
		return 0, err
	}
	return len(b), nil
}

func TestGetRefusals(t *testing.T) {
	html := gittest.Status(200, "<html>sign in</html>", "Content-Type", "text/html")
	for name, tc := range map[string]struct {
		fault   gittest.Fault
		cred    *Credentials
		kind    record.Kind
		message string
		hint    string
	}{
		"401, no token":    {gittest.Status(401, ""), nil, record.RepoNotFound, "wants a token", "--token-file"},
		"401, with token":  {gittest.Status(401, "Bad credentials"), &Credentials{"x", "t"}, record.CloneAuth, "refuses the token (401): Bad credentials", "expired"},
		"403":              {gittest.Status(403, "Write access\nto repository not granted.\x1b[31m"), &Credentials{"x", "t"}, record.CloneAuth, "(403): Write access to repository not granted. [31m", "contents: read"},
		"404":              {gittest.Status(404, "Not Found"), nil, record.RepoNotFound, "no such repository", "--token-file"},
		"410":              {gittest.Status(410, "Gone"), nil, record.RepoNotFound, "no such repository", ""},
		"a login page":     {html, nil, record.CloneFailed, "Content-Type \"text/html\"", "login page"},
		"400":              {gittest.Status(400, "what?"), nil, record.CloneFailed, "400", ""},
		"501":              {gittest.Status(501, ""), nil, record.CloneFailed, "501", ""},
		"asks for an hour": {gittest.Status(429, "", "Retry-After", "3600"), nil, record.CloneFailed, "asks to wait 1h", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.o.Credentials = tc.cred
			w.srv.Inject(gittest.Refs, -1, tc.fault)
			res, f := w.fails(tc.kind)
			assert.Contains(t, f.Message, tc.message)
			assert.Contains(t, f.Message, w.repo.URL)
			assert.Contains(t, f.Hint, tc.hint)
			assert.Equal(t, 1, res.Attempts)
			assert.Len(t, w.srv.Requests(), 1, "it is not tried again")
			assert.NotContains(t, w.log.String()+f.Message, "\x1b")
		})
	}
}

func TestGetMissingRepository(t *testing.T) {
	w := newWorld(t)
	w.o.Address = address(t, w.srv.URL+"/none.git")
	w.fails(record.RepoNotFound)
}

func TestGetNoServer(t *testing.T) {
	w := newWorld(t)
	w.srv.Close()
	res, f := w.fails(record.CloneFailed)
	assert.Contains(t, f.Message, "connection refused")
	assert.Equal(t, 3, res.Attempts)
}

func TestGetWithToken(t *testing.T) {
	w := newWorld(t)
	w.repo.RequireToken(testToken)
	w.fails(record.RepoNotFound)
	w.o.Credentials = &Credentials{"x-access-token", "wrong"}
	w.fails(record.CloneAuth)
	w.o.Credentials.Password = testToken
	res := w.mustGet()
	assert.Equal(t, "tip", read(t, res.Dir, "a"))
	noToken(t, filepath.Dir(w.o.Shared), testToken)
	assert.NotContains(t, w.log.String(), testToken)
}

// noToken searches every file below dir for the token in the forms it could be in.
func noToken(t *testing.T, dir, token string) {
	t.Helper()
	forms := []string{token, url.QueryEscape(token), url.PathEscape(token)}
	for _, prefix := range []string{"", "x", "xy", "x-access-token:", "token:"} {
		text := base64.StdEncoding.EncodeToString([]byte(prefix + token))
		forms = append(forms, strings.TrimRight(text, "=")[len(text)/3:])
	}
	n := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		n++
		text := read(t, path)
		for _, form := range forms {
			assert.NotContains(t, text, form, path)
		}
		return nil
	}))
	require.NotZero(t, n)
}

func TestGetTokenDoesNotFollowARedirect(t *testing.T) {
	w := newWorld(t)
	other := serve(t)
	moved, err := other.NewRepo("r.git")
	require.NoError(t, err)
	_, err = moved.Commit("main", gittest.Files{"a": "moved"})
	require.NoError(t, err)
	w.o.Credentials = &Credentials{"x", testToken}
	w.srv.Inject(gittest.Refs, -1, gittest.Redirect(other.URL))

	assert.Equal(t, "moved", read(t, w.mustGet().Dir, "a"))
	require.NotEmpty(t, w.srv.Requests()[0].Authorization, "its own server gets it")
	for _, r := range other.Requests() {
		assert.Empty(t, r.Authorization, r.Path)
	}
	assert.NotEmpty(t, other.Requests())
	assert.Contains(t, w.log.String(), "redirected to another host")

	moved.RequireToken(testToken)
	w.o = w.options()
	w.o.Credentials = &Credentials{"x", testToken}
	_, f := w.fails(record.RepoNotFound)
	assert.Contains(t, f.Message, "redirected to "+strings.TrimPrefix(other.URL, "http://"))
	for _, r := range other.Requests() {
		assert.Empty(t, r.Authorization, r.Path)
	}
}

func TestGetFollowsARedirectOnItsOwnHost(t *testing.T) {
	w := newWorld(t)
	w.repo.RequireToken(testToken)
	w.o.Credentials = &Credentials{"x", testToken}
	w.o.Address = address(t, w.srv.URL+"/renamed/r.git")
	w.srv.Inject("/renamed/", -1, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		http.Redirect(rw, r, strings.Replace(r.URL.RequestURI(), "/renamed", "", 1), http.StatusMovedPermanently)
	})
	assert.Equal(t, "tip", read(t, w.mustGet().Dir, "a"))
}

func TestGetThroughAProxy(t *testing.T) {
	w := newWorld(t)
	// A proxy that knows only this server: whatever host is asked for, it answers.
	w.o.Address = address(t, "http://git.invalid/r.git")
	proxy, err := url.Parse(w.srv.URL)
	require.NoError(t, err)
	w.o.Proxy = func(*url.URL) (*url.URL, error) { return proxy, nil }
	assert.Equal(t, "tip", read(t, w.mustGet().Dir, "a"))
}

func TestGetOverTLS(t *testing.T) {
	w := newWorld(t)
	srv, ca := tlsServer(t, w.srv)
	w.o.Address = address(t, srv+"/r.git")
	res, f := w.fails(record.CloneFailed)
	assert.Contains(t, f.Message, "certificate")
	assert.Contains(t, f.Hint, "--ca-file")
	assert.Equal(t, 1, res.Attempts, "a certificate does not get better")

	w.o.CAFile = ca
	assert.Equal(t, "tip", read(t, w.mustGet().Dir, "a"))

	w.o.CAFile = filepath.Join(t.TempDir(), "none")
	w.fails(record.BadInput)
	require.NoError(t, os.WriteFile(w.o.CAFile, []byte("not PEM"), 0o600))
	w.fails(record.BadInput)
}

// TestGetOverTLSWithADirectory: the volume of an optional ConfigMap, whose files are
// links into a directory beside them.
func TestGetOverTLSWithADirectory(t *testing.T) {
	w := newWorld(t)
	srv, ca := tlsServer(t, w.srv)
	w.o.Address = address(t, srv+"/r.git")
	w.o.CAFile = t.TempDir()
	_, f := w.fails(record.CloneFailed)
	assert.Contains(t, f.Message, "certificate", "an empty directory adds none")

	require.NoError(t, os.Mkdir(filepath.Join(w.o.CAFile, "..data"), 0o700))
	require.NoError(t, os.Rename(ca, filepath.Join(w.o.CAFile, "..data", "ca.crt")))
	require.NoError(t, os.Symlink("..data/ca.crt", filepath.Join(w.o.CAFile, "ca.crt")))
	assert.Equal(t, "tip", read(t, w.mustGet().Dir, "a"))

	require.NoError(t, os.WriteFile(filepath.Join(w.o.CAFile, "b.crt"), []byte("not PEM"), 0o600))
	w.fails(record.BadInput)
}
