// Package child runs the programs that do a step's work. It is the only package
// that starts processes.
package child

import (
	"context"
	"io"
	"time"
)

// Limits bound a child. A zero limit is none; with a zero grace KILL follows TERM
// at once.
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
	// Env is the child's whole environment, NAME=VALUE; the last of a name counts.
	// The child also gets MarkVar.
	Env []string
	// Out takes stdout and stderr in the order in which they were written, as
	// soon as they are. Nil discards them.
	Out io.Writer
	// Stdout takes stdout alone when it is set; Out then takes stderr. The two are
	// written by different goroutines.
	Stdout io.Writer
	// Leaf says that the program starts no others: what nobody claims is not its, and
	// Usage does not count it.
	Leaf bool
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
	// OOMKills counts the processes that the kernel killed for want of memory in
	// our cgroup while the child ran, whosever they were; -1 when the cgroup does
	// not tell.
	OOMKills int
}

// MarkVar is the variable by which a child's descendants are known: it holds an
// id of that child, after those of the children that it descends from itself.
const MarkVar = "STEP_RUNNER_CHILD"

// StepVar is the variable that tells which step of which run a process works for,
// so that what a killed step-runner has left running can be found.
const StepVar = "STEP_RUNNER_STEP"

// Runner runs children. Exec is the real one; tests have fakes.
type Runner interface {
	// Run starts the child, waits for it and for everything that it left
	// behind, and says how it ended. A child that ran to an end of its own is
	// no error, whatever its exit code. The error is a *record.Failure: of
	// class missing-tool when the program is not there, timed-out when a limit
	// of Spec ran out, or context.Cause(ctx) when ctx ended, in which case the
	// child got that failure's signal, else TERM; the Result holds all the same
	// what is known.
	Run(ctx context.Context, s Spec) (Result, error)
}
