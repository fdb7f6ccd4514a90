package record

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAsFailure(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		kind Kind
		code int
	}{
		{"a failure", Failf(NoTests, "no tests"), NoTests, 61},
		{"a wrapped failure", fmt.Errorf("step: %w", Failf(NoTests, "no tests")), NoTests, 61},
		{"no space", &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, DiskFull, 13},
		{"over quota", syscall.EDQUOT, DiskFull, 13},
		{"read-only", &os.PathError{Op: "open", Path: "x", Err: syscall.EROFS}, BadWorkspace, 12},
		{"no permission", os.ErrPermission, BadWorkspace, 12},
		{"deadline", context.DeadlineExceeded, TimedOut, 124},
		{"TERM", BySignal(syscall.SIGTERM), Signaled, 143},
		{"INT within a context", fmt.Errorf("x: %w", BySignal(syscall.SIGINT)), Signaled, 130},
		{"anything else", errors.New("oops"), Internal, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.kind, AsFailure(tc.err).Kind)
			assert.Equal(t, tc.code, ExitCode(tc.err))
		})
	}
	assert.Nil(t, AsFailure(nil))
	assert.Zero(t, ExitCode(nil))
}

func TestFailureKeepsItsCause(t *testing.T) {
	f := Failf(BadInput, "file x: %w", io.ErrUnexpectedEOF)
	assert.ErrorIs(t, f, io.ErrUnexpectedEOF)
	assert.Equal(t, "file x: unexpected EOF", f.Error())
	assert.Equal(t, classOf(BadInput).Hint, f.Hint)
	assert.Equal(t, "try 3", f.WithHint("try %d", 3).Hint)
}

func TestWithinKeepsClassHintAndSignal(t *testing.T) {
	f := BySignal(syscall.SIGTERM).WithHint("wait")
	in := f.Within("the run failed: step %d", 3)
	assert.Equal(t, "the run failed: step 3: stopped by signal 15 (terminated)", in.Message)
	assert.Equal(t, "wait", in.Hint)
	assert.Equal(t, 143, ExitCode(in))
	assert.ErrorIs(t, in, f)
	assert.Equal(t, "stopped by signal 15 (terminated)", f.Message, "the original is left alone")
}
