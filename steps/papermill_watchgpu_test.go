package steps

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/gpu"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

func millPtr[T any](v T) *T { return &v }

// watchedGPU is a machine with one GPU, whose watch says what the test tells it to.
type watchedGPU struct {
	// sample is called for each sample.
	sample func(n int, s *gpu.Sample)
	// after is the number of samples after which the watch dies.
	after int
}

func (g *watchedGPU) Probe(context.Context) (record.GPUFacts, error) {
	return record.GPUFacts{GPUs: []record.GPU{{Name: "fake", UUID: "GPU-fake"}}}, nil
}

func (g *watchedGPU) Watch(ctx context.Context, every time.Duration, uuids []string, to gpu.Receiver) error {
	to.Watching([]gpu.Watched{{UUID: uuids[0], TotalBytes: millPtr[uint64](80 << 30)}}, true)
	for n := 1; ctx.Err() == nil; n++ {
		s := gpu.Sample{UnixMilli: time.Now().UnixMilli(), Readings: []gpu.Reading{{UUID: uuids[0], UsedBytes: millPtr[uint64](1 << 30)}}}
		if g.sample != nil {
			g.sample(n, &s)
		}
		to.Sample(s)
		if n == g.after {
			return record.Failf(record.GPUBroken, "the nvml probe died in the driver's library (exit code 127): no output")
		}
		time.Sleep(every)
	}
	return nil
}

func millWatchedRun(t *testing.T, g *watchedGPU, cells ...nbtest.Cell) (*record.Record, *record.Watch) {
	t.Helper()
	e := NewTestEnv(t)
	e.GPU = g
	s := millStep(millWrite(t, "nb", nbtest.New(cells...)))
	s.GPUSampleInterval = 20 * time.Millisecond
	s.GPUNeeds = GPUNeeds{GPU: GPURequired, MinMemory: new(units.Bytes)}
	rec, facts := millRun(t, e, t.Context(), s)
	require.NotNil(t, facts.Notebooks[0].Watch)
	return rec, facts.Notebooks[0].Watch
}

// A driver that dies in the middle costs the rest of the samples, and nothing else.
func TestPapermillWatchOutlivesTheDriver(t *testing.T) {
	t.Parallel()
	rec, w := millWatchedRun(t, &watchedGPU{after: 3}, nbtest.Code("a = 1"))
	require.Nil(t, rec.Failure)
	assert.Contains(t, w.GPUError, "exit code 127")
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "the GPUs are not watched any more")
	assert.Equal(t, millPtr[uint64](1<<30), w.Devices[0].BeforeBytes)
	assert.Nil(t, w.Devices[0].AfterBytes)
}

// A GPU that breaks is the failure; an application's XID is a hint; neither turns a
// notebook red that has succeeded.
func TestPapermillWatchXIDs(t *testing.T) {
	t.Parallel()
	reports := func(code uint64) *watchedGPU {
		return &watchedGPU{sample: func(n int, s *gpu.Sample) {
			if n >= 5 {
				s.XIDs = []gpu.XID{{UUID: "GPU-fake", Code: code}}
			}
		}}
	}
	rec, w := millWatchedRun(t, reports(79), nbtest.Code("import time; time.sleep(1)\nraise RuntimeError('CUDA error: unknown error')"))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.GPUBroken, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Message, "RuntimeError")
	assert.Contains(t, rec.Failure.Message, "XID 79 (the GPU has fallen off the bus) of GPU 0 (GPU-fake)")
	assert.Contains(t, rec.Failure.Hint, "drained")
	assert.Len(t, w.XIDs, 1)

	rec, _ = millWatchedRun(t, reports(31), nbtest.Code("import time; time.sleep(1)\nraise RuntimeError('illegal address')"))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.NotebookFailed, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Hint, "XID 31")

	rec, _ = millWatchedRun(t, reports(79), nbtest.Code("import time; time.sleep(1)"))
	require.Nil(t, rec.Failure)
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "XID 79")
}

// Memory that does not come back is noted, and nobody is accused without proof.
func TestPapermillWatchMemoryThatStays(t *testing.T) {
	t.Parallel()
	begun := filepath.Join(t.TempDir(), "begun")
	rec, w := millWatchedRun(t, &watchedGPU{sample: func(_ int, s *gpu.Sample) {
		if _, err := os.Stat(begun); err == nil {
			s.Readings[0].UsedBytes = millPtr[uint64](3 << 30)
		}
	}}, nbtest.Code(fmt.Sprintf("open(%q, 'w').close()", begun)))
	require.Nil(t, rec.Failure)
	assert.Equal(t, millPtr[uint64](3<<30), w.Devices[0].AfterBytes)
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "2 GiB more of GPU 0 (GPU-fake) are in use than before it")
	assert.Empty(t, w.Leaked)
}

// The hint says only what follows from figures.
func TestPapermillMemoryHint(t *testing.T) {
	gib := func(n uint64) *uint64 { return millPtr(n << 30) }
	w := func(before, peak uint64) *record.Watch {
		return &record.Watch{
			Devices: []record.WatchedGPU{{Index: 1, UUID: "GPU-b", TotalBytes: gib(80), BeforeBytes: gib(before), PeakBytes: gib(peak)}},
			Cells:   []record.CellUse{{Number: 4, GPUPeakBytes: gib(peak)}, {Number: 5, GPUPeakBytes: gib(1)}},
		}
	}
	const exceeded = "std::bad_alloc: out_of_memory: RMM failure at:x: Exceeded memory limit 1073741824; Allocated bytes 134217728; Requested bytes 3221225472"
	for name, c := range map[string]struct {
		variant artifacts.Variant
		nb      record.Notebook
		has     []string
		hasNot  []string
	}{
		"limit": {artifacts.Original, record.Notebook{
			Error: &record.CellError{Name: "MemoryError", Value: exceeded}, Watch: w(0, 2), RMM: &record.RMM{Policy: record.RMMPolicy{Mode: "pool", LimitBytes: gib(1)}, PeakBytes: 128 << 20},
		}, []string{"at least 3.12 GiB are needed and the limit is 1 GiB", "GPU 1: up to 2 GiB of 80 GiB in use, most in cell 4", "raise --gpu-memory-limit: 80 GiB were free", "--variant lite"}, []string{"managed"}},
		"limit on a full GPU": {artifacts.Lite, record.Notebook{
			Error: &record.CellError{Name: "MemoryError", Value: exceeded}, Watch: w(78, 80), RMM: &record.RMM{Policy: record.RMMPolicy{Mode: "pool", LimitBytes: gib(1)}},
		}, []string{"78 GiB of that before the notebook began", "free the GPU of other programs"}, []string{"raise", "lite"}},
		"CuPy": {artifacts.Lite, record.Notebook{
			Error: &record.CellError{Name: "OutOfMemoryError", Value: "Out of memory allocating 3,221,225,472 bytes (allocated so far: 0 bytes)."}, Watch: w(0, 79),
		}, []string{"3 GiB more were asked for", "--rmm managed", "more memory"}, []string{"raise", "lite", "RMM:"}},
		"managed already": {artifacts.Lite, record.Notebook{
			Error: &record.CellError{Name: "MemoryError", Value: "std::bad_alloc: CUDA error"}, Watch: w(0, 79), RMM: &record.RMM{Policy: record.RMMPolicy{Mode: "managed"}, PeakBytes: 90 << 30},
		}, []string{"RMM: up to 90 GiB in one process"}, []string{"--rmm managed"}},
		"host": {artifacts.Original, record.Notebook{
			Error: &record.CellError{Name: "DeadKernelError", Value: "the kernel was killed"},
			Watch: &record.Watch{HostPeakBytes: 30 << 30, CgroupPeakBytes: gib(32), CgroupLimitBytes: gib(32), Cells: []record.CellUse{{Number: 2, HostPeakBytes: gib(30)}}},
		}, []string{"30 GiB by samples, most in cell 2", "the container up to 32 GiB of its limit of 32 GiB", "raise the container's memory limit", "--variant lite"}, []string{"GPU"}},
		"no figures": {artifacts.Original, record.Notebook{Error: &record.CellError{Name: "MemoryError"}}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := &mill{Job: &Job{Env: &Env{Variant: c.variant}}}
			hint := m.memoryHint(&c.nb)
			assert.Equal(t, c.has == nil, hint == "")
			for _, text := range c.has {
				assert.Contains(t, hint, text)
			}
			for _, text := range c.hasNot {
				assert.NotContains(t, hint, text)
			}
		})
	}
}
