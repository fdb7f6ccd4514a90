package steps

import (
	"context"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Setup checks what the container and the workspace offer, before anything is spent.
type Setup struct {
	facts record.SetupFacts
}

// ID is step 1.
func (*Setup) ID() record.ID { return record.Setup }

// Facts returns what Run fills in.
func (s *Setup) Facts() any { return &s.facts }

// Run is not written yet.
func (s *Setup) Run(ctx context.Context, j *Job) error {
	return record.Failf(record.NotRun, "setup is not written yet")
}
