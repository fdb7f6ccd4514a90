package steps

import (
	"context"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Papermill runs notebooks and says truly how they ended.
type Papermill struct {
	Notebooks        `embed:""`
	PapermillOptions `embed:""`

	facts record.PapermillFacts
}

// PapermillOptions are the flags that `run` has too, as --papermill-….
type PapermillOptions struct{}

// ID is step 3.
func (*Papermill) ID() record.ID { return record.Papermill }

// Facts returns what Run fills in.
func (s *Papermill) Facts() any { return &s.facts }

// Run is not written yet.
func (s *Papermill) Run(ctx context.Context, j *Job) error {
	return record.Failf(record.NotRun, "papermill is not written yet")
}
