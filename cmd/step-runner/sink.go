package main

import (
	"errors"
	"io"
	"syscall"

	"github.com/step-runner/step-runner/artifacts/record"
)

// sink writes to w as long as that works. It reports success always: a console
// or a reader that has gone away must not change what a step does.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(b []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
	}
	return len(b), nil
}

// lost is why something could not be written. A reader that has read enough, as
// in `step-runner schema | head`, is no reason.
func (s *sink) lost() error {
	if s.err == nil || errors.Is(s.err, syscall.EPIPE) {
		return nil
	}
	return record.Failf(record.AsFailure(s.err).Kind, "stdout: %w", s.err)
}
