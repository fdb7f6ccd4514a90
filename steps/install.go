package steps

import (
	"context"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Install copies this program into a directory.
type Install struct {
	facts record.InstallFacts
}

// ID is outside the workflow.
func (*Install) ID() record.ID { return record.ID{Step: 0, Name: "install"} }

// Facts returns what Run fills in.
func (s *Install) Facts() any { return &s.facts }

// Run is not written yet.
func (s *Install) Run(ctx context.Context, j *Job) error {
	return record.Failf(record.NotRun, "install is not written yet")
}
