package steps

import (
	"context"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/gpu"
)

// GPUCheck says which GPUs this container can use.
type GPUCheck struct {
	MinCount             int           `default:"1" placeholder:"N" help:"GPUs that a CUDA program must be able to use."`
	MinMemory            *units.Bytes  `placeholder:"SIZE" help:"Free memory that each of them must have, like 20GiB; 0 asks for none. Default: 4GiB in the lite variant, 8GiB in the original one."`
	MinComputeCapability string        `placeholder:"X.Y" help:"Least compute capability of each of them, like 7.0."`
	MinDriver            string        `placeholder:"VERSION" help:"Least version of the driver, like 550.54."`
	Timeout              time.Duration `default:"1m" placeholder:"DURATION" help:"A driver that does not answer within this time is broken. Without persistence mode the first answer can take many seconds."`

	facts record.GPUFacts
}

// Help is the long help.
func (*GPUCheck) Help() string {
	return `Asks NVML for every device: name, UUID, MIG instances, memory, processes, health.
Then tries CUDA as a program would, in this environment: starts it, makes a context
on every device that CUDA shows, writes memory and reads it back. That nvidia-smi
works proves less: CUDA_VISIBLE_DEVICES=all or a wrong UUID, a fabric manager that
does not run, an exclusive process or a full device all leave it working.

Each library is asked in a process of its own, so that a driver that crashes or
hangs is found and named. What a driver does not support or not permit is unknown,
shown as "-", and fails no requirement.

Exit status: 0 when the GPUs meet the requirements; 20 no GPU, or none that CUDA
sees; 21 no driver in this container; 22 the GPU may not be used; 23 too few, too
small or too old; 24 the GPU or its driver is broken.`
}

// ID is outside the workflow.
func (*GPUCheck) ID() record.ID { return record.ID{Step: 0, Name: "gpu-check"} }

// Facts returns what Run fills in.
func (s *GPUCheck) Facts() any { return &s.facts }

// Run probes, prints the table, and judges.
func (s *GPUCheck) Run(ctx context.Context, j *Job) error {
	s.facts.GPUs = []record.GPU{}
	r := gpu.Requirements{MinCount: s.MinCount, MinMemory: minMemory(s.MinMemory, j.Variant), MinComputeCapability: s.MinComputeCapability, MinDriver: s.MinDriver}
	err := j.checkGPU(ctx, &s.facts, r, s.Timeout)
	if len(s.facts.GPUs) > 0 {
		if werr := gpu.WriteTable(j.Stdout, s.facts); err == nil {
			err = werr
		}
	}
	return err
}
