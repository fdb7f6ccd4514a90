package gittest_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/steps/gittest"
)

func serve(t *testing.T) *gittest.Server {
	s, err := gittest.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func clone(t *testing.T, url, password string) (string, error) {
	dir := t.TempDir()
	o := &git.CloneOptions{URL: url}
	if password != "" {
		o.Auth = &githttp.BasicAuth{Username: "anyone", Password: password}
	}
	_, err := git.PlainCloneContext(context.Background(), dir, false, o)
	return dir, err
}

func TestServesWhatWasCommitted(t *testing.T) {
	s := serve(t)
	r, err := s.NewRepo("r.git")
	require.NoError(t, err)
	src := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(src, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(src, "sub", "run"), []byte("#!/bin/sh\n"), 0o755))
	require.NoError(t, os.Symlink("sub/run", filepath.Join(src, "link")))
	_, err = r.CommitDir("main", src)
	require.NoError(t, err)

	dir, err := clone(t, r.URL, "")
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(dir, "sub", "run"))
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&0o100)
	target, err := os.Readlink(filepath.Join(dir, "link"))
	require.NoError(t, err)
	assert.Equal(t, "sub/run", target)
}

func TestCommitsAreReproducible(t *testing.T) {
	var hashes []string
	for range 2 {
		s := serve(t)
		r, err := s.NewRepo("r.git")
		require.NoError(t, err)
		_, err = r.Commit("main", gittest.Files{"a": "1", "d/b": "2"})
		require.NoError(t, err)
		h, err := r.Commit("main", gittest.Files{"a": "3"})
		require.NoError(t, err)
		hashes = append(hashes, h)
	}
	assert.Equal(t, hashes[0], hashes[1])
	assert.True(t, plumbing.IsHash(hashes[0]))
}

func TestToken(t *testing.T) {
	s := serve(t)
	r, err := s.NewRepo("r.git")
	require.NoError(t, err)
	_, err = r.Commit("main", gittest.Files{"a": "1"})
	require.NoError(t, err)
	r.RequireToken("s3cret")

	_, err = clone(t, r.URL, "")
	require.ErrorContains(t, err, "authentication required")
	_, err = clone(t, r.URL, "wrong")
	require.ErrorContains(t, err, "authentication required")
	_, err = clone(t, r.URL, "s3cret")
	require.NoError(t, err)
	assert.Equal(t, "/r.git/info/refs", s.Requests()[0].Path)

	req, err := http.NewRequest("GET", r.URL+"/info/refs?service=git-upload-pack", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer s3cret")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	res.Body.Close()
	assert.Equal(t, 200, res.StatusCode)
}

func TestFaults(t *testing.T) {
	s, other := serve(t), serve(t)
	r, err := s.NewRepo("r.git")
	require.NoError(t, err)
	_, err = r.Commit("main", gittest.Files{"a": string(bytes.Repeat([]byte("abc"), 9999))})
	require.NoError(t, err)

	for name, tc := range map[string]struct {
		match string
		fault gittest.Fault
		want  string
	}{
		"status":   {gittest.Refs, gittest.Status(503, "down", "Retry-After", "1"), "503"},
		"drop":     {gittest.Pack, gittest.DropAfter(60), "EOF"},
		"redirect": {gittest.Refs, gittest.Redirect(other.URL), "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			s.Inject(tc.match, 1, tc.fault)
			_, err := clone(t, r.URL, "")
			require.ErrorContains(t, err, tc.want)
			_, err = clone(t, r.URL, "")
			require.NoError(t, err, "the fault was for one request")
		})
	}
}
