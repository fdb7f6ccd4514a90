package steps

import (
	"context"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Collect checks, lists and publishes the files of the run.
type Collect struct {
	facts record.CollectFacts
}

// ID is step 7.
func (*Collect) ID() record.ID { return record.Collect }

// Facts returns what Run fills in.
func (s *Collect) Facts() any { return &s.facts }

// Run is not written yet.
func (s *Collect) Run(ctx context.Context, j *Job) error {
	return record.Failf(record.NotRun, "collect is not written yet")
}
