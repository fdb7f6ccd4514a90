package gpu

import (
	"fmt"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

const powerCap = "sw-power-cap"

// Findings are what a reader should know about GPUs that can be used all the same.
func Findings(f record.GPUFacts) []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, g := range f.GPUs {
		for _, text := range gpuFindings(g) {
			add("%s: %s", Label(g), text)
		}
	}
	if visible, why := Visible(f.VisibleDevices, f.GPUs); why != "" {
		add("CUDA_VISIBLE_DEVICES=%s: %s", *f.VisibleDevices, why)
	} else if f.CUDADevices != nil && len(f.CUDADevices) < len(visible) && !slices.ContainsFunc(f.GPUs, inMIG) {
		add("CUDA shows %d of the %d GPUs that are visible", len(f.CUDADevices), len(visible))
	}
	for _, d := range f.CUDADevices {
		if d.Error != "" {
			add("%s", d.Error)
		}
	}
	if len(f.GPUs) > 0 && f.Source == smiSource {
		add("GPUs were asked by nvidia-smi, and CUDA was not tried: this step-runner was built without cgo")
	}
	return found
}

// inMIG excuses a device: a CUDA program uses one MIG instance only.
func inMIG(g record.GPU) bool { return g.MIGEnabled }

func gpuFindings(g record.GPU) (found []string) {
	is := func(p *bool) bool { return p != nil && *p }
	if g.Error != "" {
		found = append(found, g.Error)
	}
	if is(g.RemapPending) {
		found = append(found, "bad memory waits for a reset of the GPU to be put out of use")
	}
	if is(g.RemapFailed) {
		found = append(found, "bad memory could not be put out of use: the GPU should be replaced")
	}
	if g.ECCUncorrected != nil && *g.ECCUncorrected > 0 {
		found = append(found, fmt.Sprintf("%d uncorrected memory errors since the driver was loaded", *g.ECCUncorrected))
	}
	// A GPU at work runs into its power cap; that is no finding.
	if slow := slices.DeleteFunc(slices.Clone(g.Throttle), func(t string) bool { return t == powerCap }); len(slow) > 0 {
		found = append(found, "its clocks are slowed down: "+strings.Join(slow, ", "))
	}
	if g.ComputeMode != "" && g.ComputeMode != "default" {
		found = append(found, "its compute mode is "+g.ComputeMode+", so Dask workers or a second kernel may not be able to use it")
	}
	return found
}
