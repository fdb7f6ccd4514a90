// Package steps holds one file per command: its flags, its help and its work.
// env.go and job.go are the frame that all of them run in.
package steps

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/gpu"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/redact"
)

// Env is everything that a step may touch outside its own run. Nothing is global.
type Env struct {
	Stdout io.Writer
	// Console is stderr through redaction; log lines and children's output go here.
	Console *Console
	Log     *slog.Logger
	Secrets *redact.Set
	Runner  child.Runner
	// GPU is who is asked for GPUs; nil asks the driver of this machine.
	GPU gpu.Prober
	Now func() time.Time
	// Argv and Environ are this process's own.
	Argv    []string
	Environ []string
	// Version is step-runner's.
	Version string
	// EnvUsed are the names of the variables that set a flag.
	EnvUsed []string
	Variant artifacts.Variant
	// Workspace is nil when none was given, which only commands outside the
	// workflow allow; Run is nil then too.
	Workspace *artifacts.Workspace
	Run       *artifacts.Run
	// Results are the files that small results of the step go to; see results.go.
	Results []string
}

// Step is a command that leaves a record.
type Step interface {
	// ID is the step's number and name.
	ID() record.ID
	// Facts returns the step's empty facts, of the type that record knows for it.
	// Run fills them in; they are recorded also when it fails.
	Facts() any
	// Run does the work. Its error, if it is no *record.Failure, is classed by record.AsFailure.
	Run(ctx context.Context, j *Job) error
}

// Getenv returns the value of a variable of this process, "" when it is not set.
func (e *Env) Getenv(name string) string {
	for i := len(e.Environ) - 1; i >= 0; i-- {
		if v, ok := cutName(e.Environ[i], name); ok {
			return v
		}
	}
	return ""
}

func cutName(kv, name string) (string, bool) {
	if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
		return kv[len(name)+1:], true
	}
	return "", false
}
