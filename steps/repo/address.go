// Package repo brings a git repository at one revision into a directory: it
// resolves the revision at the server, fetches, checks out and verifies beside
// the directory, and swaps the result in.
package repo

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Address says where a repository is. It never holds credentials.
type Address struct{ u *url.URL }

// Credentials are the user name and password of HTTP basic authentication. A
// token is a password.
type Credentials struct{ User, Password string }

// scpLike is git's short form for ssh, user@host:path.
var scpLike = regexp.MustCompile(`^([^/@]+@)?[^/:]+:`)

// ParseAddress takes a repository's http, https or file URL apart. Credentials in
// it are returned on their own; nil when it has none. Its errors do not repeat
// the URL, which may hold a token.
func ParseAddress(text string) (Address, *Credentials, error) {
	if err := checkScheme(text); err != nil {
		return Address{}, nil, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return Address{}, nil, record.Failf(record.BadInput, "the repository's URL cannot be parsed")
	}
	cred := credentialsOf(u)
	u.User = nil
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	if port := u.Port(); (u.Scheme == "http" && port == "80") || (u.Scheme == "https" && port == "443") {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	switch {
	case u.RawQuery != "" || u.Fragment != "":
		return Address{}, nil, record.Failf(record.BadInput, "the repository's URL has a query or a fragment: git URLs have none")
	case u.Scheme == "file" && u.Host != "" && u.Host != "localhost":
		return Address{}, nil, record.Failf(record.BadInput, "the repository's URL file://%s… names a host: a file URL has three slashes, file:///path", u.Host)
	case u.Scheme != "file" && u.Hostname() == "":
		return Address{}, nil, record.Failf(record.BadInput, "the repository's URL has no host")
	case u.Path == "":
		return Address{}, nil, record.Failf(record.BadInput, "the repository's URL has no path")
	}
	return Address{u}, cred, nil
}

func checkScheme(text string) error {
	scheme, _, ok := strings.Cut(text, "://")
	switch scheme = strings.ToLower(scheme); {
	case !ok && scpLike.MatchString(text), ok && (scheme == "ssh" || scheme == "git+ssh"):
		return record.Failf(record.BadInput, "the repository's URL is one of ssh, which is not supported").WithHint("use https://HOST/PATH, and --token-file for a private repository")
	case !ok:
		return record.Failf(record.BadInput, "the repository's URL has no scheme").WithHint("use https://HOST/PATH, or file:///ABSOLUTE/PATH for a local repository")
	case scheme != "http" && scheme != "https" && scheme != "file":
		return record.Failf(record.BadInput, "the repository's URL has the scheme %q: http, https and file are supported", scheme)
	}
	return nil
}

func credentialsOf(u *url.URL) *Credentials {
	if u.User == nil || u.User.String() == "" {
		return nil
	}
	password, _ := u.User.Password()
	return &Credentials{User: u.User.Username(), Password: password}
}

// Secrets are the parts of c that must not be shown: the password, or the user
// when there is none, since some servers take a token there.
func (c *Credentials) Secrets() []string {
	switch {
	case c == nil:
		return nil
	case c.Password == "" || c.Password == "x-oauth-basic":
		return []string{c.User}
	}
	return []string{c.Password}
}

// String is the URL.
func (a Address) String() string {
	if a.u == nil {
		return ""
	}
	return a.u.String()
}

// Host is the host with its port when that is not the scheme's own.
func (a Address) Host() string { return a.u.Host }

// IsFile says whether the repository is on this machine.
func (a Address) IsFile() bool { return a.u.Scheme == "file" }

// MayCarryToken says whether a token is safe on the way: over TLS, or to this
// machine itself.
func (a Address) MayCarryToken() bool {
	return a.u.Scheme == "https" || (a.u.Scheme == "http" && isLoopback(a.u.Hostname()))
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// covers says whether u has the scheme, host and port of a.
func (a Address) covers(u *url.URL) bool {
	return strings.EqualFold(u.Scheme, a.u.Scheme) && strings.EqualFold(u.Hostname(), a.u.Hostname()) && port(u) == port(a.u)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case strings.EqualFold(u.Scheme, "https"):
		return "443"
	}
	return "80"
}

// key is equal for addresses of one repository: servers take PATH and PATH.git for the same.
func (a Address) key() string { return strings.TrimSuffix(a.String(), ".git") }

// Slug is a file name for the repository: its own name, for people, and a hash of
// its address.
func (a Address) Slug() string {
	name := strings.TrimSuffix(path.Base(a.u.Path), ".git")
	name = unsafeInName.ReplaceAllString(name, "_")
	if name = strings.TrimLeft(name, "."); name == "" {
		name = "repository"
	}
	sum := sha256.Sum256([]byte(a.key()))
	return name[:min(len(name), 64)] + "-" + hex.EncodeToString(sum[:6])
}

var unsafeInName = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// endpoint is the address in go-git's terms.
func (a Address) endpoint() *transport.Endpoint {
	host := a.u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	number, _ := strconv.Atoi(a.u.Port())
	return &transport.Endpoint{Protocol: a.u.Scheme, Host: host, Port: number, Path: a.u.EscapedPath()}
}

// filePath is the directory that a file URL names.
func (a Address) filePath() string { return filepath.FromSlash(a.u.Path) }

// relative resolves the URL of a submodule, which may be relative to that of the
// repository that holds it.
func (a Address) relative(text string) (Address, *Credentials, error) {
	if !strings.HasPrefix(text, "./") && !strings.HasPrefix(text, "../") {
		sub, cred, err := ParseAddress(text)
		if err == nil && sub.u.Scheme == "file" && a.u.Scheme != "file" {
			err = record.Failf(record.BadInput, "a repository from a server names a submodule on this machine, %s", sub)
		}
		return sub, cred, err
	}
	u := *a.u
	u.RawPath, u.Path = "", path.Join(u.Path, text)
	return ParseAddress(u.String())
}
