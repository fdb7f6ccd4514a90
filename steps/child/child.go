// Package child runs the programs that do a step's work. It is the only package
// that starts processes.
package child

import (
	"context"
	"io"
	"time"
)

// Limits bound a child. A zero limit is none.
type Limits struct {
	Timeout         time.Duration `help:"End the step's program after this time, in all." placeholder:"DURATION"`
	NoOutputTimeout time.Duration `help:"End the step's program when it has printed nothing for this time." placeholder:"DURATION"`
	Grace           time.Duration `default:"10s" help:"Time between TERM and KILL." placeholder:"DURATION"`
}

// Spec is one child to run.
type Spec struct {
	// Argv is the program, looked up in PATH of Env, and its arguments.
	Argv []string
	Dir  string
	// Env is the child's whole environment, NAME=VALUE.
	Env []string
	// Out takes stdout and stderr in the order in which they were written.
	Out io.Writer
	// Stdout takes stdout alone when it is set; Out then takes stderr.
	Stdout io.Writer
	Limits
}

// Result is how a child ended.
type Result struct {
	// ExitCode is -1 when a signal ended it.
	ExitCode    int
	Signal      string
	Duration    time.Duration
	MaxRSSBytes int64
	// Strays are descendants that outlived the child and were ended, "pid name".
	Strays []string
}

// Runner runs children. Exec is the real one; tests have fakes.
type Runner interface {
	// Run starts the child, waits for it and for everything that it left
	// behind, and says how it ended. A child that ran to an end of its own is
	// no error, whatever its exit code. The error is a *record.Failure: of
	// class missing-tool when the program is not there, timed-out when a limit
	// of Spec ran out, or context.Cause(ctx) when ctx ended; the Result holds
	// all the same what is known.
	Run(ctx context.Context, s Spec) (Result, error)
}
