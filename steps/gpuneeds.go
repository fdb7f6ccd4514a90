package steps

import (
	"bytes"
	"context"
	"io"
	"os"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/gpu"
	"github.com/step-runner/step-runner/steps/child"
)

// The policies of --gpu.
const (
	GPURequired = "required"
	GPUOptional = "optional"
	GPUOff      = "off"
)

// GPUNeeds says what a run asks of the GPUs. Setup and papermill both check it,
// each in its own container: a check in one says nothing of the other's device.
type GPUNeeds struct {
	GPU                  string        `effort:"" name:"gpu" shared:"" enum:"required,optional,off" default:"required" placeholder:"POLICY" help:"What a missing or unfit GPU means: required fails the step, optional is noted and the step goes on, off does not look."`
	MinCount             int           `effort:"" name:"gpu-min-count" shared:"" default:"1" placeholder:"N" help:"GPUs that a CUDA program must be able to use."`
	MinMemory            *units.Bytes  `effort:"" name:"gpu-min-memory" shared:"" placeholder:"SIZE" help:"Free memory that each of them must have. Default: 4GiB in the lite variant, 8GiB in the original one."`
	MinComputeCapability string        `effort:"" name:"gpu-min-compute-capability" shared:"" placeholder:"X.Y" help:"Least compute capability of each of them."`
	MinDriver            string        `effort:"" name:"gpu-min-driver" shared:"" placeholder:"VERSION" help:"Least version of the driver."`
	Timeout              time.Duration `name:"gpu-timeout" shared:"" default:"1m" placeholder:"DURATION" help:"A driver that does not answer within this time is broken. Without persistence mode the first answer can take many seconds."`
}

// check looks at the GPUs by the policy and fills in facts. It is an error only
// where a GPU is required.
func (n *GPUNeeds) check(ctx context.Context, j *Job, facts *record.GPUFacts) error {
	facts.GPUs = []record.GPU{}
	if n.GPU == GPUOff || n.GPU == "" {
		facts.GPUError = "not looked at: --gpu off"
		return nil
	}
	err := j.checkGPU(ctx, facts, n.requirements(j.Variant), n.Timeout)
	if err == nil || n.GPU == GPURequired || ctx.Err() != nil {
		return err
	}
	facts.GPUError = err.Error()
	j.Note("no usable GPU, which --gpu optional allows: %v", err)
	return nil
}

func (n *GPUNeeds) requirements(v artifacts.Variant) gpu.Requirements {
	return gpu.Requirements{MinCount: n.MinCount, MinMemory: minMemory(n.MinMemory, v), MinComputeCapability: n.MinComputeCapability, MinDriver: n.MinDriver}
}

// minMemory is what the variant's data need when nothing else is asked for.
func minMemory(asked *units.Bytes, v artifacts.Variant) uint64 {
	switch {
	case asked != nil:
		return uint64(*asked)
	case v == artifacts.Lite:
		return 4 << 30
	}
	return 8 << 30
}

// checkGPU probes the GPUs, notes what a reader should know about them, and
// says whether they meet r.
func (j *Job) checkGPU(ctx context.Context, facts *record.GPUFacts, r gpu.Requirements, limit time.Duration) error {
	prober := j.Env.GPU
	if prober == nil {
		p, err := j.gpuChildren(limit)
		if err != nil {
			return err
		}
		prober = p
	}
	found, err := prober.Probe(ctx)
	*facts = found
	if err != nil {
		return err
	}
	for _, text := range gpu.Findings(found) {
		j.Note("%s", text)
	}
	notes, err := r.Check(found)
	for _, text := range notes {
		j.Note("%s", text)
	}
	return err
}

// gpuChildren is the prober that asks the driver's libraries in children: this
// program again, in the environment that the notebook's kernel gets.
func (j *Job) gpuChildren(limit time.Duration) (*gpu.Children, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	exec := func(ctx context.Context, argv []string) (gpu.Ended, error) {
		var out, voice bytes.Buffer
		res, err := j.Child(ctx, child.Spec{Argv: argv, Stdout: &out, Out: &voice, Limits: child.Limits{Timeout: limit, Grace: time.Second}})
		if res.ExitCode != 0 {
			_, _ = j.Out.Write(voice.Bytes())
		}
		return gpu.Ended{ExitCode: res.ExitCode, Signal: res.Signal, Stdout: out.Bytes(), Stderr: voice.Bytes()}, err
	}
	stream := func(ctx context.Context, argv []string, w io.Writer) (gpu.Ended, error) {
		return j.watchStream(ctx, argv, limit, w)
	}
	return &gpu.Children{Self: []string{self, GPUProbeCommand}, Exec: exec, Stream: stream, Getenv: j.Getenv, Environ: j.Environ}, nil
}

// GPUProbeCommand is the hidden command whose process asks one library and prints
// the answer; its argument is the library.
const GPUProbeCommand = "gpu-probe"
