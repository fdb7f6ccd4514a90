package steps

import (
	"context"

	"github.com/step-runner/step-runner/artifacts/record"
)

// GPUCheck says which GPUs this container can use.
type GPUCheck struct {
	facts record.GPUFacts
}

// ID is outside the workflow.
func (*GPUCheck) ID() record.ID { return record.ID{Step: 0, Name: "gpu-check"} }

// Facts returns what Run fills in.
func (s *GPUCheck) Facts() any { return &s.facts }

// Run is not written yet.
func (s *GPUCheck) Run(ctx context.Context, j *Job) error {
	return record.Failf(record.NotRun, "gpucheck is not written yet")
}
