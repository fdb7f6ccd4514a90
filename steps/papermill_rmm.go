package steps

import (
	"slices"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/steps/inject"
)

// The values of --rmm that are no mode of RMM's.
const (
	rmmOff  = "off"
	rmmAuto = "auto"
)

// PapermillRMM is the memory policy of the notebooks. It is applied inside their
// processes, when they import rmm.
type PapermillRMM struct {
	Mode        string       `name:"rmm" section:"papermill" enum:"off,auto,pool,async,managed,cuda" default:"off" placeholder:"MODE" help:"How the notebooks' GPU memory is managed: off leaves them alone; pool, async, managed and cuda are RMM's resources, and need a GPU; auto is pool where there is a GPU, else off."`
	InitialPool *units.Share `name:"rmm-initial-pool" section:"papermill" placeholder:"SIZE|PERCENT" help:"First size of the pool (pool, async), in bytes or percent of free memory. RMM's own default is half of it."`
	MaximumPool *units.Share `name:"rmm-maximum-pool" section:"papermill" placeholder:"SIZE|PERCENT" help:"Largest size of the pool (pool), also of one that the notebook makes itself."`
	MemoryLimit *units.Share `name:"gpu-memory-limit" section:"papermill" placeholder:"SIZE|PERCENT" help:"Most GPU memory that each process may allocate through RMM. It bounds the pool, too."`
	Allocators  []string     `name:"rmm-allocators" section:"papermill" default:"cupy" placeholder:"cupy,torch" help:"Libraries that are made to allocate through RMM: cupy, torch. Empty for none."`
}

// check refuses flags that could have no effect or contradict each other.
func (o *PapermillRMM) check() error {
	usage := func(format string, args ...any) error { return record.Failf(record.Usage, format, args...) }
	off := o.Mode == "" || o.Mode == rmmOff
	pooled := slices.Contains([]string{rmmAuto, "pool"}, o.Mode)
	for _, f := range []struct {
		flag  string
		share *units.Share
		fits  bool
		zero  bool
	}{
		{"--rmm-initial-pool", o.InitialPool, pooled || o.Mode == "async", true},
		{"--rmm-maximum-pool", o.MaximumPool, pooled, false},
		{"--gpu-memory-limit", o.MemoryLimit, !off, false},
	} {
		switch {
		case f.share == nil:
		case off:
			return usage("%s has no effect with --rmm off: give --rmm pool, say", f.flag)
		case !f.fits:
			return usage("%s has no effect with --rmm %s", f.flag, o.Mode)
		case f.share.Percent == 0 && f.share.Bytes == 0 && !f.zero:
			return usage("%s 0: nothing could be allocated", f.flag)
		}
	}
	if exceeds(o.InitialPool, o.MaximumPool) {
		return usage("--rmm-initial-pool %s is more than --rmm-maximum-pool %s", o.InitialPool, o.MaximumPool)
	}
	if exceeds(o.InitialPool, o.MemoryLimit) {
		return usage("--rmm-initial-pool %s is more than --gpu-memory-limit %s", o.InitialPool, o.MemoryLimit)
	}
	for _, name := range o.Allocators {
		if name != "cupy" && name != "torch" {
			return usage("--rmm-allocators %s: the libraries are cupy and torch", name)
		}
	}
	return nil
}

// exceeds says whether a is more than b, as far as that is known without a GPU.
func exceeds(a, b *units.Share) bool {
	if a == nil || b == nil || (a.Percent > 0) != (b.Percent > 0) {
		return false
	}
	return a.Percent > b.Percent || a.Bytes > b.Bytes
}

// policy is what the notebooks' processes get on these GPUs; nil leaves them alone.
// looked is false where nobody has looked for GPUs: then each process finds out.
func (o *PapermillRMM) policy(j *Job, g *record.GPUFacts, looked bool) (*inject.Policy, error) {
	if o.Mode == "" || o.Mode == rmmOff {
		return nil, nil
	}
	free, usable := rmmFree(g)
	switch {
	case !usable && o.Mode == rmmAuto:
		j.Note("--rmm auto leaves the notebooks' memory alone: %s", rmmWhy(g))
		return nil, nil
	case !usable && looked:
		return nil, record.Failf(record.NoGPU, "--rmm %s needs a GPU: %s", o.Mode, rmmWhy(g))
	case free == 0 && o.hasPercent():
		return nil, record.Failf(record.BadInput, "a size in percent needs to know the free memory of the GPU: %s", rmmWhy(g)).
			WithHint("give sizes in bytes, 4GiB say")
	}
	p := o.sizes(free)
	p.Mode = o.Mode
	if o.Mode == rmmAuto {
		p.Mode = "pool"
	}
	return p, nil
}

func rmmWhy(g *record.GPUFacts) string {
	if g.GPUError != "" {
		return g.GPUError
	}
	return "none is usable, or the driver does not say"
}

func (o *PapermillRMM) hasPercent() bool {
	return slices.ContainsFunc([]*units.Share{o.InitialPool, o.MaximumPool, o.MemoryLimit}, func(s *units.Share) bool { return s != nil && s.Percent > 0 })
}

// sizes are the shares in bytes, with this much memory free.
func (o *PapermillRMM) sizes(free uint64) *inject.Policy {
	of := func(s *units.Share) *uint64 {
		if s == nil {
			return nil
		}
		n := s.Of(free)
		return &n
	}
	return &inject.Policy{InitialPoolBytes: of(o.InitialPool), MaximumPoolBytes: of(o.MaximumPool), LimitBytes: of(o.MemoryLimit), Allocators: slices.Clone(o.Allocators)}
}

// rmmFree says whether there is a usable GPU, and the free memory of the one that
// has least, since the sizes are for each; 0 when that is not known.
func rmmFree(g *record.GPUFacts) (least uint64, usable bool) {
	if g.GPUError != "" {
		return 0, false
	}
	take := func(free uint64, err string) {
		if err == "" && (!usable || free < least) {
			least, usable = free, true
		}
	}
	for _, d := range g.CUDADevices {
		take(d.MemoryFreeBytes, d.Error)
	}
	if g.CUDADevices != nil {
		return least, usable
	}
	for _, d := range g.GPUs { // CUDA could not be asked.
		free := uint64(0)
		if d.MemoryFreeBytes != nil {
			free = *d.MemoryFreeBytes
		}
		take(free, d.Error)
	}
	return least, usable
}
