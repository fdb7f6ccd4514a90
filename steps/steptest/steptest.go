// Package steptest is what tests of steps share. It imports no package of
// steps, so that their inner tests can use it too.
package steptest

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Root is the directory of the module.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the working directory")
		}
	}
}

// Python is the interpreter that has papermill, nbconvert, pytest, Poetry and uv.
func Python(t testing.TB) string {
	t.Helper()
	python := filepath.Join(Root(t), ".cache", "tools", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("%v: run `make tools`", err)
	}
	return python
}

// Buffer collects what several goroutines write.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// Close does nothing: a Buffer can stand in for a console.
func (b *Buffer) Close() error { return nil }

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
