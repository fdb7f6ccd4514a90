package redact

import (
	"io"
	"sync"
)

// chunk bounds how much a writer looks at, and may hold, at a time.
const chunk = 64 << 10

type writer struct {
	set *Set
	w   io.Writer

	mu sync.Mutex
	// held is what may be the beginning of a secret; its first covered bytes belong
	// to one whose mask has been written already.
	held    []byte
	covered int
	out     []byte
}

func (w *writer) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for done := 0; done < len(b); {
		n := min(chunk, len(b)-done)
		if err := w.write(b[done:done+n], false); err != nil {
			return done, err
		}
		done += n
	}
	return len(b), nil
}

func (w *writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(nil, true)
}

func (w *writer) write(b []byte, last bool) error {
	text := b
	if len(w.held) > 0 {
		w.held = append(w.held, b...)
		text = w.held
	}
	m := w.set.all.cut.Load()
	if m == nil {
		return w.pass(text)
	}
	out, kept, covered := m.redact(w.out[:0], text, w.covered, last)
	w.held, w.covered, w.out = append(w.held[:0], kept...), covered, out
	return w.pass(out)
}

func (w *writer) pass(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := w.w.Write(b)
	return err
}
