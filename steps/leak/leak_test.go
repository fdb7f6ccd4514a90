package leak

import (
	"encoding/base64"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSearchFindsTheTokenInEveryForm(t *testing.T) {
	token := "ghp_+/=Az09-_tüken"
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
			n, err := Search(dir, token)
			require.NoError(t, err)
			require.Equal(t, 1, n)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "b"), []byte(text), 0o644))
			_, err = Search(dir, token)
			require.ErrorContains(t, err, filepath.Join(dir, "b"))
		})
	}
}
