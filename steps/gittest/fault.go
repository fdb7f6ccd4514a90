package gittest

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// Fault answers a request in git's stead; next is git.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

type injected struct {
	match string
	// times is how many requests it is still for; below zero, all.
	times int
	fault Fault
}

// The parts of a path by which a fault can be kept to one kind of request.
const (
	// Refs is the list of refs.
	Refs = "/info/refs"
	// Pack is the download.
	Pack = "/git-upload-pack"
)

// Inject puts fault in force for the next times requests whose path contains
// match, for all when times is below zero. A fault replaces the check of tokens.
func (s *Server) Inject(match string, times int, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &injected{match, times, fault})
}

// ClearFaults makes the server behave again.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Status answers with code, body, and header given as name and value in turn.
func Status(code int, body string, header ...string) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// Redirect sends the client to the same path below base, another server's URL.
func Redirect(base string) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		http.Redirect(w, r, strings.TrimSuffix(base, "/")+r.URL.RequestURI(), http.StatusMovedPermanently)
	}
}

// DropAfter cuts the connection after n bytes of the answer.
func DropAfter(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&limited{ResponseWriter: w, left: n, over: func() { panic(http.ErrAbortHandler) }}, r)
	}
}

// StallAfter sends n bytes of the answer, and then nothing until the client goes away.
func StallAfter(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&limited{ResponseWriter: w, left: n, over: func() {
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}}, r)
	}
}

// Slow waits before each piece of the answer.
func Slow(wait time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(slow{w, wait}, r)
	}
}

// limited lets left bytes through and then calls over, which does not return.
type limited struct {
	http.ResponseWriter
	left int
	over func()
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	if _, err := l.ResponseWriter.Write(b[:n]); err != nil {
		return 0, err
	}
	if n < len(b) {
		// What the client was promised must reach it before the end does.
		http.NewResponseController(l.ResponseWriter).Flush()
		l.over()
	}
	return n, nil
}

type slow struct {
	http.ResponseWriter
	wait time.Duration
}

func (s slow) Write(b []byte) (int, error) {
	time.Sleep(s.wait)
	n, err := s.ResponseWriter.Write(b)
	http.NewResponseController(s.ResponseWriter).Flush()
	return n, err
}
