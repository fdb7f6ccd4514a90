// Package gittest serves git repositories over HTTP by git's own http-backend:
// for tests, which can make it misbehave, and for the demo.
package gittest

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Server serves the bare repositories in Dir on a loopback port.
type Server struct {
	// URL is the server's root, without a final slash.
	URL string
	// Dir holds the repositories.
	Dir string

	http    *http.Server
	backend http.Handler
	mu      sync.Mutex
	tokens  map[string]string
	faults  []*injected
	seen    []Request
}

// Request is one request that the server got.
type Request struct {
	Method string
	// Path has no query.
	Path string
	// Authorization is the header's value, "" when there was none.
	Authorization string
}

// New starts a server on a free loopback port for the repositories in dir. It
// needs a git program in PATH. Close ends it.
func New(dir string) (*Server, error) {
	s, err := NewHandler(dir)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.URL = "http://" + l.Addr().String()
	s.http = &http.Server{Handler: s}
	go s.http.Serve(l)
	return s, nil
}

// NewHandler is New without a port: whoever calls it serves it.
func NewHandler(dir string) (*Server, error) {
	git, err := findGit()
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, tokens: map[string]string{}}
	s.backend = &cgi.Handler{
		Path: git,
		Args: []string{"http-backend"},
		Env: []string{
			"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
			// The repositories may belong to another user than the server's.
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
		Stderr: discard{},
	}
	return s, nil
}

// RequireToken lets in only who has token to what is below the first element name of a path:
// as the password of any user, or as a bearer token.
func (s *Server) RequireToken(name, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[name] = token
}

// discard swallows git's complaints about connections that a fault has cut.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// findGit looks git up in PATH; os/exec is for package child alone.
func findGit() (string, error) {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, "git")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &fs.PathError{Op: "find", Path: "git", Err: errors.New("not in PATH")}
}

// Close ends the server and cuts its connections.
func (s *Server) Close() error { return s.http.Close() }

// Requests returns the requests so far, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// ServeHTTP is one request: noted, checked against the repository's token, and
// answered by git unless a fault is in force.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, fault := s.admit(r)
	switch {
	case fault != nil:
		fault(w, r, s.backend)
	case token != "" && !authorized(r, token):
		w.Header().Set("WWW-Authenticate", `Basic realm="gittest"`)
		http.Error(w, "Invalid username or token.", http.StatusUnauthorized)
	default:
		s.backend.ServeHTTP(w, r)
	}
}

func (s *Server) admit(r *http.Request) (token string, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, Request{r.Method, r.URL.Path, r.Header.Get("Authorization")})
	for _, f := range s.faults {
		if f.times != 0 && strings.Contains(r.URL.Path, f.match) {
			f.times--
			return "", f.fault
		}
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return s.tokens[name], nil
}

func authorized(r *http.Request, token string) bool {
	if _, password, ok := r.BasicAuth(); ok {
		return password == token
	}
	return r.Header.Get("Authorization") == "Bearer "+token
}
