package child

import (
	"context"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Exec runs real processes.
type Exec struct{}

// Run is not written yet.
func (Exec) Run(context.Context, Spec) (Result, error) {
	return Result{}, record.Failf(record.Internal, "child.Exec is not written yet")
}
