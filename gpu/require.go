package gpu

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
)

// Requirements are what a run asks of its GPUs. A zero value asks for nothing.
type Requirements struct {
	MinCount int
	// MinMemory is the free memory in bytes that each of MinCount devices has.
	MinMemory uint64
	// MinComputeCapability is like "7.0", MinDriver like "550.54".
	MinComputeCapability string
	MinDriver            string
}

// Check says whether the devices that a program can use meet the requirements.
// What is unknown cannot fail them; it is named in notes.
func (r Requirements) Check(f record.GPUFacts) (notes []string, err error) {
	if r.MinDriver != "" {
		switch {
		case f.Driver == "":
			notes = append(notes, "the driver's version is unknown, so the one asked for was not checked")
		case less(f.Driver, r.MinDriver):
			return notes, record.Failf(record.GPUInsufficient, "the driver is %s, older than the %s asked for", f.Driver, r.MinDriver).
				WithHint("use a node with a newer driver, or an image for an older CUDA")
		}
	}
	fit, lacks := 0, []string(nil)
	usable := Usable(f)
	for _, g := range usable {
		lack, unknown := r.lack(g)
		if lack == "" {
			fit++
			notes = append(notes, unknown...)
		} else {
			lacks = append(lacks, fmt.Sprintf("%s has %s", Label(g), lack))
		}
	}
	want := max(r.MinCount, 1)
	if fit >= want {
		return notes, nil
	}
	text := fmt.Sprintf("%d of the %d GPUs asked for: %d can be used", fit, want, len(usable))
	if len(lacks) > 0 {
		text += "; " + strings.Join(lacks, "; ")
	}
	return notes, record.Failf(record.GPUInsufficient, "%s", text)
}

// lack names the first thing that g lacks, or what could not be checked.
func (r Requirements) lack(g record.GPU) (lack string, unknown []string) {
	if r.MinComputeCapability != "" {
		switch {
		case g.ComputeCapability == "":
			unknown = append(unknown, fmt.Sprintf("%s: its compute capability is unknown and was not checked", Label(g)))
		case less(g.ComputeCapability, r.MinComputeCapability):
			return fmt.Sprintf("compute capability %s, less than %s", g.ComputeCapability, r.MinComputeCapability), nil
		}
	}
	if r.MinMemory > 0 {
		switch {
		case g.MemoryFreeBytes == nil:
			unknown = append(unknown, fmt.Sprintf("%s: its free memory is unknown and was not checked", Label(g)))
		case *g.MemoryFreeBytes < r.MinMemory:
			return fmt.Sprintf("%s free, less than %s%s", units.Bytes(*g.MemoryFreeBytes), units.Bytes(r.MinMemory), heldBy(g)), nil
		}
	}
	return "", unknown
}

func heldBy(g record.GPU) string {
	if len(g.Processes) == 0 {
		return ""
	}
	var ps []string
	for _, p := range g.Processes {
		text := strconv.FormatUint(uint64(p.PID), 10)
		if p.UsedBytes != nil {
			text += " (" + units.Bytes(*p.UsedBytes).String() + ")"
		}
		ps = append(ps, text)
	}
	return "; processes on it: " + strings.Join(ps, ", ")
}

// Usable are the devices that a program can compute on: those that CUDA shows
// and that worked, or, where CUDA could not be asked, those left visible.
func Usable(f record.GPUFacts) []record.GPU {
	if f.CUDADevices == nil {
		visible, _ := Visible(f.VisibleDevices, f.GPUs)
		return visible
	}
	var usable []record.GPU
	for _, d := range f.CUDADevices {
		if d.Error == "" {
			usable = append(usable, merged(d, computable(f.GPUs)))
		}
	}
	return usable
}

// merged is what NVML knows of a CUDA device. Where NVML does not know, CUDA
// does; its free memory lacks what the probe's own context took.
func merged(d record.CUDADevice, us []record.GPU) record.GPU {
	g := record.GPU{Index: d.Ordinal, Name: d.Name, UUID: d.UUID}
	for _, u := range us {
		if sameUUID(u.UUID, d.UUID) {
			g = u
		}
	}
	if g.MemoryFreeBytes == nil && d.MemoryTotalBytes > 0 {
		g.MemoryFreeBytes, g.MemoryTotalBytes = &d.MemoryFreeBytes, &d.MemoryTotalBytes
	}
	if g.ComputeCapability == "" {
		g.ComputeCapability = d.ComputeCapability
	}
	return g
}

// tooOld compares the driver with the CUDA version that the image says it is
// for. Within a major version newer programs run on older drivers.
func tooOld(f record.GPUFacts, image string) error {
	major, _, _ := strings.Cut(image, ".")
	if image == "" || f.CUDA == "" || !less(f.CUDA, major) {
		return nil
	}
	return record.Failf(record.GPUInsufficient, "the driver %s supports CUDA %s at most, and this image is for CUDA %s", f.Driver, f.CUDA, image).
		WithHint("use a node with a newer driver, an image for CUDA %s, or the cuda-compat package of the image's CUDA", f.CUDA)
}

// less compares versions number by number; what is no number counts as 0.
func less(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		x, y := number(as, i), number(bs, i)
		if x != y {
			return x < y
		}
	}
	return false
}

func number(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(parts[i]))
	return n
}
