package steps

import (
	"context"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Nbconvert renders executed notebooks to HTML.
type Nbconvert struct {
	Notebooks        `embed:""`
	NbconvertOptions `embed:""`

	facts record.NbconvertFacts
}

// NbconvertOptions are the flags that `run` has too, as --nbconvert-….
type NbconvertOptions struct{}

// ID is step 4.
func (*Nbconvert) ID() record.ID { return record.Nbconvert }

// Facts returns what Run fills in.
func (s *Nbconvert) Facts() any { return &s.facts }

// Run is not written yet.
func (s *Nbconvert) Run(ctx context.Context, j *Job) error {
	return record.Failf(record.NotRun, "nbconvert is not written yet")
}
