package steps

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/gpu"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/inject"
)

// RMM explains the memory policy that papermill applies, and tries it.
type RMM struct {
	Action       string        `arg:"" optional:"" enum:"show,verify" default:"show" help:"show explains the policy; verify tries it on the GPU."`
	Policy       PapermillRMM  `embed:""`
	Size         units.Bytes   `default:"1GiB" placeholder:"SIZE" help:"What verify allocates in one piece."`
	GPUTimeout   time.Duration `name:"gpu-timeout" shared:"" default:"1m" placeholder:"DURATION" help:"A driver that does not answer within this time is broken. Without persistence mode the first answer can take many seconds."`
	child.Limits `embed:""`

	facts record.RMMFacts
}

// Help is the long help.
func (*RMM) Help() string {
	return `Shows what papermill would do about the notebooks' GPU memory with these flags on this
machine. The flags of the policy, their variables and their keys are papermill's own.

With verify the policy is applied to a Python process as to a notebook's, and tried:
the imports, the policy's receipt, the device, one allocation of --size through CuPy,
a product compared with NumPy's, RMM's statistics, PyTorch. Each check is a line; one
that could not be made is skipped, and says why. With --rmm off, verify takes pool.

Exit status: 0 when all checks are ok, or show has shown; 2 flags that contradict each
other; 10 a size in percent without a GPU that says how much is free; 11 Python, rmm or
CuPy is missing; 20 to 24 the GPU (see gpu-check), 24 also when a check is wrong; 45 the
allocation does not fit; 124 a time limit.`
}

// ID is outside the workflow.
func (*RMM) ID() record.ID { return record.ID{Step: 0, Name: "rmm"} }

// Facts returns what Run fills in.
func (s *RMM) Facts() any { return &s.facts }

// Run looks for GPUs, and shows or verifies.
func (s *RMM) Run(ctx context.Context, j *Job) error {
	s.facts.GPUs = []record.GPU{}
	if err := s.Policy.check(); err != nil {
		return err
	}
	none := j.checkGPU(ctx, &s.facts.GPUFacts, gpu.Requirements{MinCount: 1}, s.GPUTimeout)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if none != nil {
		s.facts.GPUError = none.Error()
	}
	if s.Action == "verify" {
		return s.verify(ctx, j, none)
	}
	p, err := s.Policy.policy(j, &s.facts.GPUFacts, true)
	if record.AsFailure(err) != nil && record.AsFailure(err).Kind != record.NoGPU {
		return err
	}
	if p != nil {
		s.facts.Policy = rmmPolicy(p)
	}
	return s.explain(j.Stdout, p)
}

// explain writes what the policy means, a nil one that papermill would apply none.
func (s *RMM) explain(w io.Writer, p *inject.Policy) error {
	free, usable := rmmFree(&s.facts.GPUFacts)
	device := "none usable: " + s.facts.GPUError
	if usable {
		device = "usable, its free memory is unknown"
		if free > 0 {
			device = fmt.Sprintf("usable, %s free on the one that has least", units.Bytes(free))
		}
	}
	lines := [][2]string{{"asked", "--rmm " + s.Policy.Mode}, {"GPU", device}}
	if p == nil {
		lines = append(lines, [2]string{"policy", s.without(usable)})
	} else {
		lines = append(lines, policyLines(p)...)
	}
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%-14s %s\n", l[0], l[1])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// without is what happens where no policy is applied.
func (s *RMM) without(usable bool) string {
	switch {
	case s.Policy.Mode == rmmOff:
		return "none: the notebooks' memory is left alone, and nothing is put into their processes"
	case s.Policy.Mode == rmmAuto && !usable:
		return "none, since no GPU is usable: the notebooks' memory is left alone, with a note"
	}
	return "cannot be applied without a GPU: papermill would exit with 20 (no-gpu)"
}

var rmmModes = map[string]string{
	"pool":    "one block on each device, divided by RMM: fast for many small arrays",
	"async":   "the driver's own pool, cudaMallocAsync",
	"managed": "memory that may be larger than the GPU's and moves to the host: slow, but fits",
	"cuda":    "cudaMalloc for each array",
}

func policyLines(p *inject.Policy) [][2]string {
	size := func(n *uint64, otherwise string) string {
		if n == nil {
			return otherwise
		}
		return units.Bytes(*n).String()
	}
	lines := [][2]string{{"policy", p.Mode + ": " + rmmModes[p.Mode]}}
	if p.Mode == "pool" {
		cap := "none; nothing bounds what the pool may take"
		if p.LimitBytes != nil {
			cap = "that of the limit"
		}
		lines = append(lines,
			[2]string{"first pool", size(p.InitialPoolBytes, "half of the free memory, or the largest size if that is less")},
			[2]string{"largest pool", size(p.MaximumPoolBytes, cap) + "; also of a pool that a notebook makes itself"})
	}
	if p.Mode == "async" {
		lines = append(lines, [2]string{"first pool", size(p.InitialPoolBytes, "the driver's default")})
	}
	libraries := "none"
	if len(p.Allocators) > 0 {
		libraries = strings.Join(p.Allocators, ", ")
	}
	return append(lines,
		[2]string{"limit", size(p.LimitBytes, "none") + " for each process, of what goes through RMM"},
		[2]string{"through RMM", libraries},
		[2]string{"applied", "in each Python process, when it imports rmm; its own rmm.reinitialize counts within these bounds"})
}
