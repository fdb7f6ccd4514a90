package record

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Failure is step-runner's one typed error. It says what failed (Message, which
// names the thing and the cause), its class (Kind) and what to try (Hint). It
// is stored as it is in the step's record.
type Failure struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint"`

	signal syscall.Signal
	cause  error
}

// Failf makes a Failure with the class's own hint. A %w in format is kept as
// its cause.
func Failf(k Kind, format string, args ...any) *Failure {
	err := fmt.Errorf(format, args...)
	return &Failure{Kind: k, Message: err.Error(), Hint: classOf(k).Hint, cause: errors.Unwrap(err)}
}

// WithHint replaces the class's hint by one that fits better.
func (f *Failure) WithHint(format string, args ...any) *Failure {
	f.Hint = fmt.Sprintf(format, args...)
	return f
}

// Within returns a copy of f whose message is put in a context, "the run failed"
// say. Class, hint and signal stay.
func (f *Failure) Within(format string, args ...any) *Failure {
	c := *f
	c.Message = fmt.Sprintf(format, args...) + ": " + f.Message
	c.cause = f
	return &c
}

// BySignal is the failure of a step that was told to stop by sig.
func BySignal(sig syscall.Signal) *Failure {
	f := Failf(Signaled, "stopped by signal %d (%s)", int(sig), sig)
	f.signal = sig
	return f
}

// Signal returns the signal that stopped the step, 0 when none did.
func (f *Failure) Signal() syscall.Signal { return f.signal }

func (f *Failure) Error() string { return f.Message }
func (f *Failure) Unwrap() error { return f.cause }

// AsFailure turns any error into a Failure: itself when it is one, a
// disk-full or bad-workspace class when the system said so, else Internal.
func AsFailure(err error) *Failure {
	var f *Failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Failf(DiskFull, "%w", err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, os.ErrPermission):
		return Failf(BadWorkspace, "%w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return Failf(TimedOut, "%w", err)
	}
	return Failf(Internal, "%w", err)
}

// ExitCode is the ladder from an error to the process's exit code: 0 for nil,
// 128+n for signal n, else the code of the failure's class.
func ExitCode(err error) int {
	f := AsFailure(err)
	switch {
	case f == nil:
		return 0
	case f.Kind == Signaled:
		return classOf(Signaled).Exit + int(f.signal)
	}
	return classOf(f.Kind).Exit
}
