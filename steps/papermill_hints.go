package steps

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/steps/watch"
)

// hinted makes a notebook's failure more exact by what was seen while it ran. A
// failure of the GPU becomes one of that class; else the class stays. own says that
// a cell made it, not the policy, which has hints of its own.
func (m *mill) hinted(f *record.Failure, own bool, nb *record.Notebook) *record.Failure {
	if f == nil {
		return nil
	}
	if w := nb.Watch; w != nil && slices.Contains([]record.Kind{record.NotebookFailed, record.KernelDied, record.TimedOut}, f.Kind) {
		f = xidFailure(f, w)
	}
	if f.Kind == record.OutOfMemory && own {
		if hint := m.memoryHint(nb); hint != "" {
			g := *f
			return g.WithHint("%s", hint)
		}
	}
	return f
}

// xidFailure is f with what the driver reported meanwhile. A device that is broken
// is the cause of what a cell makes of it.
func xidFailure(f *record.Failure, w *record.Watch) *record.Failure {
	for _, d := range w.Devices {
		if d.Lost != "" {
			return brokenGPU(f, fmt.Sprintf("GPU %d (%s) stopped answering: %s", d.Index, d.UUID, d.Lost), d.UUID)
		}
	}
	for _, x := range w.XIDs {
		if x.Class == watch.Fatal {
			return brokenGPU(f, "the driver reported "+xidText(w, x), x.UUID)
		}
	}
	for _, x := range w.XIDs {
		if x.Class == watch.Application {
			g := *f
			return g.WithHint("%s; meanwhile the driver reported %s: such errors come from a program, mostly this notebook or a library of its, and leave the GPU usable", f.Hint, xidText(w, x))
		}
	}
	return f
}

func brokenGPU(f *record.Failure, what, uuid string) *record.Failure {
	return record.Failf(record.GPUBroken, "%w; meanwhile %s", f, what).
		WithHint("have the node drained and %s reset; the notebook need not be at fault: run it again on another node", uuid)
}

var (
	// gpuWords are in the messages of libraries that ran out of GPU memory.
	gpuWords = regexp.MustCompile(`(?i)\brmm\b|cuda|cupy|\bgpu\b`)
	// What RMM, CuPy and PyTorch say of a request that did not fit.
	exceededWords = regexp.MustCompile(`Exceeded memory limit (\d+); Allocated bytes (\d+); Requested bytes (\d+)`)
	requestWords  = regexp.MustCompile(`(?i)(?:out of memory allocating|requested bytes|failed to allocate) ([\d,]+)`)
)

// memoryHint says how much memory was used, by which cell, and what would fit, as
// far as there are figures; "" when there are none.
func (m *mill) memoryHint(nb *record.Notebook) string {
	message := ""
	if nb.Error != nil {
		message = nb.Error.Name + ": " + nb.Error.Value
	}
	used, try := m.hostMemory(nb)
	if gpuWords.MatchString(message) || nb.Error != nil && nb.Error.Name == "OutOfMemoryError" {
		used, try = m.gpuMemory(nb, message)
	}
	if len(used) == 0 {
		return ""
	}
	if m.Variant != artifacts.Lite {
		try = append(try, "use --variant lite")
	}
	if len(try) == 0 {
		try = []string{"let the notebook hold less at a time"}
	}
	return strings.Join(used, "; ") + ". Try: " + strings.Join(try, ", or ")
}

// gpuMemory tells of the device that was fullest. A larger limit is only named
// where so much was free before the notebook.
func (m *mill) gpuMemory(nb *record.Notebook, message string) (used, try []string) {
	need, asked := asked(message)
	if asked != "" {
		used = append(used, asked)
	}
	free := uint64(0)
	if d := fullest(nb.Watch); d != nil {
		used = append(used, inUse(d)+inCell(nb, func(c record.CellUse) *uint64 { return c.GPUPeakBytes }))
		if d.BeforeBytes != nil && d.TotalBytes != nil && *d.BeforeBytes < *d.TotalBytes {
			free = *d.TotalBytes - *d.BeforeBytes
		}
		if d.BeforeBytes != nil && *d.BeforeBytes > 1<<30 {
			used = append(used, fmt.Sprintf("%s of that before the notebook began", units.Bytes(*d.BeforeBytes)))
			try = append(try, "free the GPU of other programs")
		}
	}
	if nb.RMM != nil && nb.RMM.PeakBytes > 0 {
		used = append(used, fmt.Sprintf("RMM: up to %s in one process", units.Bytes(nb.RMM.PeakBytes)))
	}
	return used, append(try, widen(nb.RMM, need, free)...)
}

// asked is what the message says of the request that did not fit; need is 0 where
// it does not say how much would have been enough.
func asked(message string) (need uint64, text string) {
	if e := exceededWords.FindStringSubmatch(message); e != nil {
		need = number(e[2]) + number(e[3])
		return need, fmt.Sprintf("at least %s are needed and the limit is %s", units.Bytes(need), units.Bytes(number(e[1])))
	}
	if e := requestWords.FindStringSubmatch(message); e != nil {
		return 0, fmt.Sprintf("%s more were asked for", units.Bytes(number(strings.ReplaceAll(e[1], ",", ""))))
	}
	return 0, ""
}

func inUse(d *record.WatchedGPU) string {
	text := fmt.Sprintf("GPU %d: up to %s", d.Index, units.Bytes(*d.PeakBytes))
	if d.TotalBytes != nil {
		text += " of " + units.Bytes(*d.TotalBytes).String()
	}
	return text + " in use"
}

// widen is how the notebook could have more memory.
func widen(rmm *record.RMM, need, free uint64) (try []string) {
	switch {
	case rmm != nil && rmm.Policy.LimitBytes != nil:
		if limit := *rmm.Policy.LimitBytes; free > limit && free > need {
			try = append(try, fmt.Sprintf("raise --gpu-memory-limit: %s were free before the notebook began", units.Bytes(free)))
		}
		return try
	case rmm == nil || rmm.Policy.Mode != "managed":
		try = append(try, "use --rmm managed, which may go beyond the GPU's memory if the notebook allocates through RMM")
	}
	return append(try, "use a GPU with more memory")
}

func number(digits string) uint64 {
	n, _ := strconv.ParseUint(digits, 10, 64)
	return n
}

func fullest(w *record.Watch) (most *record.WatchedGPU) {
	if w == nil {
		return nil
	}
	for i, d := range w.Devices {
		if d.PeakBytes != nil && (most == nil || *d.PeakBytes > *most.PeakBytes) {
			most = &w.Devices[i]
		}
	}
	return most
}

// inCell names the cell with the highest peak.
func inCell(nb *record.Notebook, peak func(record.CellUse) *uint64) string {
	cell, most := 0, uint64(0)
	for _, c := range nb.Watch.Cells {
		if p := peak(c); p != nil && *p > most {
			cell, most = c.Number, *p
		}
	}
	if cell == 0 {
		return ""
	}
	return fmt.Sprintf(", most in cell %d", cell)
}

// hostMemory tells of the container, where its limit is known, and of the processes.
func (m *mill) hostMemory(nb *record.Notebook) (used, try []string) {
	w := nb.Watch
	if w == nil || w.HostPeakBytes == 0 {
		return nil, nil
	}
	in := inCell(nb, func(c record.CellUse) *uint64 { return c.HostPeakBytes })
	used = append(used, fmt.Sprintf("host memory: the notebook's processes held up to %s by samples%s", units.Bytes(w.HostPeakBytes), in))
	if w.CgroupPeakBytes != nil && w.CgroupLimitBytes != nil {
		used = append(used, fmt.Sprintf("the container up to %s of its limit of %s", units.Bytes(*w.CgroupPeakBytes), units.Bytes(*w.CgroupLimitBytes)))
		try = append(try, fmt.Sprintf("raise the container's memory limit above %s", units.Bytes(*w.CgroupLimitBytes)))
	}
	return used, try
}
