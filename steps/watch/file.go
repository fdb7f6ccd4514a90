package watch

import (
	"encoding/json"
	"io"
)

// Log writes samples as lines, no more than a number of bytes of them. With each
// half of what is left gone, it goes on with one in four of the samples that it wrote
// before. So each half covers twice the time of the one before: early samples are all
// there, and late ones are not missing.
type Log struct {
	w io.Writer
	// left is what may still be written; below next the stride grows.
	left, next int64
	stride, n  int
	err        error
}

// NewLog writes at most most bytes to w.
func NewLog(w io.Writer, most int64) *Log {
	return &Log{w: w, left: most, next: most / 2, stride: 1}
}

// Err is why nothing is written any more.
func (l *Log) Err() error { return l.err }

// sample writes one of the regular lines, or leaves it out.
func (l *Log) sample(v any) {
	if l.n++; l.n%l.stride == 0 {
		l.write(v)
	}
}

// write writes a line that must not be left out while there is room.
func (l *Log) write(v any) {
	if l.err != nil {
		return
	}
	line, err := json.Marshal(v)
	if err != nil {
		l.err = err
		return
	}
	line = append(line, '\n')
	if int64(len(line)) > l.left {
		return
	}
	if _, l.err = l.w.Write(line); l.err != nil {
		return
	}
	for l.left -= int64(len(line)); l.left < l.next; l.next /= 2 {
		l.stride *= 4
	}
}
