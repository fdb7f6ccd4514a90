package repo

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"https://GitHub.com/o/r.git":            "https://github.com/o/r.git",
		"HTTPS://github.com:443/o/r/":           "https://github.com/o/r",
		"http://127.0.0.1:8080/r.git":           "http://127.0.0.1:8080/r.git",
		"http://h:80/r":                         "http://h/r",
		"https://u:p%40ss@h/r":                  "https://h/r",
		"https://[::1]:8443/a%20b.git":          "https://[::1]:8443/a%20b.git",
		"file:///srv/r.git":                     "file:///srv/r.git",
		"https://ghp_0123456789@github.com/o/r": "https://github.com/o/r",
	} {
		a, _, err := ParseAddress(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, a.String(), in)
	}
}

func TestParseAddressErrors(t *testing.T) {
	for in, want := range map[string]string{
		"git@github.com:o/r.git":       "ssh",
		"ssh://git@github.com/o/r":     "ssh",
		"host:path":                    "ssh",
		"/srv/r.git":                   "no scheme",
		"./r":                          "no scheme",
		"github.com/o/r":               "no scheme",
		"ftp://h/r":                    `"ftp"`,
		"https:///r":                   "no host",
		"https://h":                    "no path",
		"https://h/":                   "no path",
		"https://h/r?private_token=xx": "query",
		"https://h/r#main":             "fragment",
		"file://host/r":                "three slashes",
		"https://u:s3cret@h:port/r":    "cannot be parsed",
	} {
		_, _, err := ParseAddress(in)
		require.Error(t, err, in)
		f := record.AsFailure(err)
		assert.Equal(t, record.BadInput, f.Kind, in)
		assert.Contains(t, f.Message, want, in)
		assert.NotContains(t, f.Message+f.Hint, "s3cret")
		assert.NotContains(t, f.Message+f.Hint, "private_token")
	}
}

func TestCredentialsInURL(t *testing.T) {
	for in, want := range map[string]*Credentials{
		"https://h/r":                    nil,
		"https://@h/r":                   nil,
		"https://u:p%40ss@h/r":           {"u", "p@ss"},
		"https://tok@h/r":                {"tok", ""},
		"https://tok:x-oauth-basic@h/r":  {"tok", "x-oauth-basic"},
		"https://x-access-token:tok@h/r": {"x-access-token", "tok"},
	} {
		_, cred, err := ParseAddress(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, cred, in)
	}
	assert.Equal(t, []string{"p"}, (&Credentials{"u", "p"}).Secrets())
	assert.Equal(t, []string{"tok"}, (&Credentials{"tok", ""}).Secrets())
	assert.Equal(t, []string{"tok"}, (&Credentials{"tok", "x-oauth-basic"}).Secrets())
	assert.Empty(t, (*Credentials)(nil).Secrets())
}

func address(t testing.TB, text string) Address {
	t.Helper()
	a, _, err := ParseAddress(text)
	require.NoError(t, err)
	return a
}

func TestTokenGoesToItsOwnOriginOnly(t *testing.T) {
	a := address(t, "https://git.example.com/o/r")
	for to, want := range map[string]bool{
		"https://git.example.com/other":    true,
		"https://GIT.example.com:443/o/r":  true,
		"http://git.example.com/o/r":       false,
		"https://git.example.com:8443/o/r": false,
		"https://example.com/o/r":          false,
		"https://a.git.example.com/o/r":    false,
		"https://git.example.com.evil/o/r": false,
		"https://evil/git.example.com/":    false,
		"https://git.example.com@evil/o/r": false,
	} {
		u, err := url.Parse(to)
		require.NoError(t, err)
		assert.Equal(t, want, a.covers(u), to)
	}
}

func TestMayCarryToken(t *testing.T) {
	for in, want := range map[string]bool{
		"https://h/r": true, "http://h/r": false, "http://127.0.0.1/r": true, "http://127.9.9.9:1/r": true,
		"http://localhost/r": true, "http://[::1]/r": true, "http://localhost.evil/r": false, "http://10.0.0.1/r": false,
	} {
		assert.Equal(t, want, address(t, in).MayCarryToken(), in)
	}
}

func TestSlug(t *testing.T) {
	a := address(t, "https://h/o/my repo.git").Slug()
	assert.Regexp(t, `^my_repo-[0-9a-f]{12}$`, a)
	assert.Equal(t, a, address(t, "https://h/o/my%20repo/").Slug(), "one repository")
	assert.NotEqual(t, a, address(t, "https://h/p/my repo").Slug(), "another one of the same name")
	assert.Regexp(t, `^repository-`, address(t, "https://h/...git").Slug())
}

func TestRelativeAddress(t *testing.T) {
	a := address(t, "https://h:8443/o/r.git")
	for in, want := range map[string]string{
		"../s.git": "https://h:8443/o/s.git", "./s": "https://h:8443/o/r.git/s", "../../p/s": "https://h:8443/p/s",
		"https://other/s": "https://other/s",
	} {
		got, _, err := a.relative(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, got.String(), in)
	}
	_, _, err := a.relative("file:///etc")
	require.ErrorContains(t, err, "on this machine")
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"https://u:p@h/r.git", "git@h:r", "file:///x", "http://[::1]:80/%2e%2e", "https://h//r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, _, err := ParseAddress(text)
		if err != nil {
			return
		}
		again, cred, err := ParseAddress(a.String())
		require.NoError(t, err)
		require.Nil(t, cred, "an address has no credentials")
		require.Equal(t, a.String(), again.String())
		slug := a.Slug()
		require.False(t, strings.ContainsAny(slug, "/\\\x00") || strings.HasPrefix(slug, "."), slug)
	})
}
