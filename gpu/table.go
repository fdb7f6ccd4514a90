package gpu

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
)

// WriteTable shows the devices to a person, one a line, MIG instances below
// their device.
func WriteTable(w io.Writer, f record.GPUFacts) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "driver %s, CUDA %s\n", or(f.Driver, "unknown"), or(f.CUDA, "unknown"))
	fmt.Fprintln(t, "GPU\tNAME\tUUID\tCC\tFREE\tTOTAL\tUTIL\tPROCESSES\tCUDA")
	for _, g := range f.GPUs {
		writeRow(t, strconv.Itoa(g.Index), g, f)
		for _, m := range g.MIG {
			writeRow(t, fmt.Sprintf("%d:%d", g.Index, m.Index), m, f)
		}
	}
	return t.Flush()
}

func writeRow(w io.Writer, index string, g record.GPU, f record.GPUFacts) {
	use := "-"
	if g.UtilizationPercent != nil {
		use = fmt.Sprintf("%d%%", *g.UtilizationPercent)
	}
	processes := "-"
	if len(g.Processes) > 0 {
		processes = strconv.Itoa(len(g.Processes))
	}
	cells := []string{index, or(g.Name, "?"), or(g.UUID, "?"), or(g.ComputeCapability, "-"), size(g.MemoryFreeBytes), size(g.MemoryTotalBytes), use, processes, cudaState(g, f)}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// cudaState says whether a CUDA program can use the device: "ok", "error",
// "hidden" when CUDA does not show it, "-" when that is not known.
func cudaState(g record.GPU, f record.GPUFacts) string {
	switch {
	case g.Error != "":
		return "error"
	case f.CUDADevices == nil, g.MIGEnabled, g.UUID == "":
		return "-"
	}
	for _, d := range f.CUDADevices {
		switch {
		case !sameUUID(d.UUID, g.UUID):
		case d.Error != "":
			return "error"
		default:
			return "ok"
		}
	}
	return "hidden"
}

func size(n *uint64) string {
	if n == nil {
		return "-"
	}
	return units.Bytes(*n).String()
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
