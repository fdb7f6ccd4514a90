package main

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
)

func TestSearchFindsTheTokenInEveryForm(t *testing.T) {
	token := newToken()
	for name, text := range map[string]string{
		"plain":          "x" + token + "y",
		"query":          "?t=" + url.QueryEscape(token),
		"path":           url.PathEscape(token),
		"base64":         base64.StdEncoding.EncodeToString([]byte(token)),
		"basic auth":     base64.StdEncoding.EncodeToString([]byte("git:" + token)),
		"of another":     base64.StdEncoding.EncodeToString([]byte("token:" + token)),
		"url alphabet":   base64.RawURLEncoding.EncodeToString([]byte("ab" + token)),
		"inside a text":  base64.StdEncoding.EncodeToString([]byte("a" + token + "b")),
		"inside another": base64.URLEncoding.EncodeToString([]byte("abc" + token + "b")),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), []byte("nothing"), 0o644))
			n, err := search(dir, forms(token))
			require.NoError(t, err)
			require.Equal(t, 1, n)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "b"), []byte(text), 0o644))
			_, err = search(dir, forms(token))
			require.ErrorContains(t, err, filepath.Join(dir, "b"))
		})
	}
}

func TestCheckSums(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	_, err := checkSums(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	write("SHA256SUMS", "")
	_, err = checkSums(dir)
	require.ErrorContains(t, err, "empty")

	write("a", "one")
	f, err := artifacts.Digest(filepath.Join(dir, "a"))
	require.NoError(t, err)
	write("SHA256SUMS", fmt.Sprintf("%s  a\n", f.SHA256))
	n, err := checkSums(dir)
	require.NoError(t, err)
	require.Equal(t, 1, n)

	write("a", "two")
	_, err = checkSums(dir)
	require.ErrorContains(t, err, "a does not match")
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	d := demo{workspace: t.TempDir(), token: newToken()}
	err := d.check(os.Stderr)
	for _, name := range published {
		require.ErrorContains(t, err, name)
	}
}
