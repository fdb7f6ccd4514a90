package steps

import (
	"context"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Clone fetches a repository at a revision.
type Clone struct {
	CloneOptions `embed:""`
	// Tests makes it step 5.
	Tests bool `help:"This is the test repository: step 5 of the workflow."`

	facts record.CloneFacts
}

// CloneOptions are the flags that `run` has too, as --clone-… and --clone-tests-….
type CloneOptions struct{}

// ID is step 2, or 5 with --tests.
func (s *Clone) ID() record.ID {
	if s.Tests {
		return record.CloneTests
	}
	return record.Clone
}

// Facts returns what Run fills in.
func (s *Clone) Facts() any { return &s.facts }

// Run is not written yet.
func (s *Clone) Run(ctx context.Context, j *Job) error {
	return record.Failf(record.NotRun, "clone is not written yet")
}
