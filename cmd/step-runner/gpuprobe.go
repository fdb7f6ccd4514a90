package main

import "github.com/step-runner/step-runner/gpu"

// gpuProbeCmd is what a probe child runs (steps.GPUProbeCommand): nothing else
// may happen in a process that loads the driver's libraries.
type gpuProbeCmd struct {
	Library string `arg:"" enum:"nvml,cuda,watch"`
	// Args are those of watch: the interval, and UUIDs.
	Args []string `arg:"" optional:"" name:"arg"`
}

func (c gpuProbeCmd) run(p *process) error {
	if c.Library == gpu.WatchDevices {
		return gpu.ServeWatch(c.Args, p.stdout)
	}
	return gpu.Serve(c.Library, p.stdout)
}
