// Package fetchtest is an HTTP server of files for tests, with the faults that
// real ones have.
package fetchtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// Server serves files with ranges and ETags.
type Server struct {
	*httptest.Server
	mu       sync.Mutex
	files    map[string][]byte
	handlers map[string]http.HandlerFunc
	requests []*http.Request
}

// New starts a server; whoever asks for it closes it.
func New() *Server {
	s := &Server{files: map[string][]byte{}, handlers: map[string]http.HandlerFunc{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Put makes data the content at path, and returns its URL.
func (s *Server) Put(path string, data []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = data
	return s.URL + path
}

// Handle makes h answer for path, and returns the URL. It may call File.
func (s *Server) Handle(path string, h http.HandlerFunc) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[path] = h
	return s.URL + path
}

// Requests are those that have come for path.
func (s *Server) Requests(path string) []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*http.Request
	for _, r := range s.requests {
		if r.URL.Path == path {
			found = append(found, r)
		}
	}
	return found
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	h, handled := s.handlers[r.URL.Path]
	s.mu.Unlock()
	if handled {
		h(w, r)
		return
	}
	s.File(w, r)
}

// File answers with the file at the request's path.
func (s *Server) File(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	data, ok := s.files[r.URL.Path]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf("%q", Sum(data)[:16]))
	http.ServeContent(w, r, r.URL.Path, time.Time{}, bytes.NewReader(data))
}

// Throttle makes each connection's answer no faster than the given rate.
func Throttle(h http.HandlerFunc, bytesPerSecond int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { h(&slow{w, bytesPerSecond}, r) }
}

type slow struct {
	http.ResponseWriter
	rate int
}

func (s *slow) Write(b []byte) (int, error) {
	const step = 16 << 10
	written := 0
	for len(b) > 0 {
		n, err := s.ResponseWriter.Write(b[:min(step, len(b))])
		if written += n; err != nil {
			return written, err
		}
		b = b[n:]
		time.Sleep(time.Duration(n) * time.Second / time.Duration(s.rate))
	}
	return written, nil
}

// Cut sends at most n bytes of each answer's body, then breaks the connection off.
func Cut(h http.HandlerFunc, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &cut{w, n}
		h(c, r)
		if c.left <= 0 {
			panic(http.ErrAbortHandler)
		}
	}
}

type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, http.ErrHandlerTimeout
	}
	n, err := c.ResponseWriter.Write(b[:min(c.left, len(b))])
	if f, ok := c.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	c.left -= n
	if err == nil && c.left <= 0 {
		err = http.ErrHandlerTimeout
	}
	return n, err
}

// WithoutRanges is h for a server that knows no ranges.
func WithoutRanges(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		h(w, r)
	}
}

// Stall sends at most n bytes of the body, then nothing until the client is gone.
func Stall(h http.HandlerFunc, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &cut{w, n}
		h(c, r)
		if c.left <= 0 {
			<-r.Context().Done()
		}
	}
}

// Random are n bytes that compress badly, the same for each seed.
func Random(n int, seed uint64) []byte {
	r, b := rand.New(rand.NewPCG(seed, 0)), make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// Sum is the sha256 of data in hexadecimal.
func Sum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Span is the range that a request asks for, "" when it asks for none.
func Span(r *http.Request) string { return strings.TrimPrefix(r.Header.Get("Range"), "bytes=") }
