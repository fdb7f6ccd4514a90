package repo

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/gittest"
)

// tlsServer serves what srv does over TLS; ca is the file with its certificate.
func tlsServer(t *testing.T, srv http.Handler) (url, ca string) {
	t.Helper()
	s := httptest.NewTLSServer(srv)
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	return s.URL, ca
}

func gitmodules(entries ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(entries); i += 2 {
		b.WriteString("[submodule \"" + entries[i] + "\"]\n\tpath = " + entries[i] + "\n\turl = " + entries[i+1] + "\n")
	}
	return b.String()
}

func newRepo(t *testing.T, s *gittest.Server, name string, files gittest.Files) (*gittest.Repo, string) {
	t.Helper()
	r, err := s.NewRepo(name)
	require.NoError(t, err)
	h, err := r.Commit("main", files)
	require.NoError(t, err)
	return r, h
}

func TestGetSubmodules(t *testing.T) {
	w := newWorld(t)
	other := serve(t)
	w.repo.RequireToken(testToken)
	w.o.Credentials = &Credentials{"x", testToken}
	inner, innerHash := newRepo(t, w.srv, "inner.git", gittest.Files{"f": "inner"})
	inner.RequireToken(testToken)
	middle, middleHash := newRepo(t, w.srv, "middle.git", gittest.Files{".gitmodules": gitmodules("deep/inner", "../inner.git"), "deep/inner=": innerHash, "m": "middle"})
	middle.RequireToken(testToken)
	far, farHash := newRepo(t, other, "far.git", gittest.Files{"f": "far"})
	_, err := far.Commit("main", gittest.Files{"f": "later"})
	require.NoError(t, err)
	w.commit("main", gittest.Files{".gitmodules": gitmodules("libs/middle", "../middle.git", "far", far.URL), "libs/middle=": middleHash, "far=": farHash, "a": "top"})

	plain := w.mustGet()
	assert.Empty(t, leftovers(t, filepath.Join(plain.Dir, "far")))
	w.o.Submodules = true
	res := w.mustGet()
	assert.NotEqual(t, plain.Dir, res.Dir)
	assert.Equal(t, "inner", read(t, res.Dir, "libs", "middle", "deep", "inner", "f"))
	assert.Equal(t, "far", read(t, res.Dir, "far", "f"))
	for _, r := range other.Requests() {
		assert.Empty(t, r.Authorization, "the token is for the repository's own host")
	}
	noToken(t, filepath.Dir(w.o.Shared), testToken)

	assert.True(t, w.mustGet().Reused)
	require.NoError(t, os.WriteFile(filepath.Join(res.Dir, "libs", "middle", "deep", "inner", "f"), []byte("INNER"), 0o664))
	again := w.mustGet()
	assert.False(t, again.Reused)
	assert.NotEmpty(t, again.Backup)
	require.NoError(t, os.WriteFile(filepath.Join(res.Dir, "far", "new"), nil, 0o664))
	assert.False(t, w.mustGet().Reused)
}

func TestGetSubmoduleFailures(t *testing.T) {
	w := newWorld(t)
	w.o.Submodules = true
	_, h := newRepo(t, w.srv, "s.git", gittest.Files{"f": ""})
	for name, tc := range map[string]struct {
		files   gittest.Files
		kind    record.Kind
		message string
	}{
		"unknown to .gitmodules": {gittest.Files{"s=": h}, record.CloneIncomplete, "submodule s"},
		"no such repository":     {gittest.Files{"s=": h, ".gitmodules": gitmodules("s", "../none.git")}, record.RepoNotFound, "submodule s"},
		"no such commit":         {gittest.Files{"s=": strings.Repeat("1", 40), ".gitmodules": gitmodules("s", "../s.git")}, record.RevisionNotFound, "submodule s"},
		"on this machine":        {gittest.Files{"s=": h, ".gitmodules": gitmodules("s", "file:///etc")}, record.BadInput, "on this machine"},
		"over ssh":               {gittest.Files{"s=": h, ".gitmodules": gitmodules("s", "git@h:s.git")}, record.BadInput, "ssh"},
	} {
		t.Run(name, func(t *testing.T) {
			w.commit("main", tc.files)
			_, f := w.fails(tc.kind)
			assert.Contains(t, f.Message, tc.message)
		})
	}
	for _, bad := range []string{"../evil", "a/../../evil", "/evil"} {
		w.commit("main", gittest.Files{"s=": h, ".gitmodules": strings.Replace(gitmodules("s", "../s.git"), `"s"`, `"`+bad+`"`, 1)})
		_, err := w.get()
		require.Error(t, err, bad)
		assert.NoFileExists(t, filepath.Join(w.o.Shared, w.o.Address.Slug(), "evil"))
	}
}

func TestGetSubmoduleOfItself(t *testing.T) {
	w := newWorld(t)
	w.o.Submodules = true
	require.NoError(t, w.repo.SetConfig("uploadpack", "allowAnySHA1InWant", "true"))
	h := w.tip
	for range deepestSubmodule + 2 {
		h = w.commit("main", gittest.Files{"s=": h, ".gitmodules": gitmodules("s", "../r.git")})
	}
	_, f := w.fails(record.CloneFailed)
	assert.Contains(t, f.Message, "levels")
}
