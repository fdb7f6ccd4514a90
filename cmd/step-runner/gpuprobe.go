package main

import "github.com/step-runner/step-runner/gpu"

// gpuProbeCmd is what a probe child runs (steps.GPUProbeCommand): nothing else
// may happen in a process that loads the driver's libraries.
type gpuProbeCmd struct {
	Library string `arg:"" enum:"nvml,cuda"`
}

func (c gpuProbeCmd) run(p *process) error { return gpu.Serve(c.Library, p.stdout) }
