package gpu

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/step-runner/step-runner/artifacts/record"
)

const gib = 1 << 30

// twoGPUs are one that is nearly full and one that is free.
func twoGPUs() record.GPUFacts {
	return record.GPUFacts{Driver: "550.54.15", CUDA: "12.4", GPUs: []record.GPU{
		{Index: 0, Name: "H100", UUID: "GPU-0000", ComputeCapability: "9.0", MemoryTotalBytes: ptr[uint64](80 * gib), MemoryFreeBytes: ptr[uint64](2 * gib),
			Processes: []record.GPUProcess{{PID: 42, UsedBytes: ptr[uint64](77 * gib)}, {PID: 43}}},
		{Index: 1, Name: "T4", UUID: "GPU-1111", ComputeCapability: "7.5", MemoryTotalBytes: ptr[uint64](16 * gib), MemoryFreeBytes: ptr[uint64](15 * gib)},
	}}
}

func TestRequirements(t *testing.T) {
	for _, c := range []struct {
		name string
		r    Requirements
		want []string // parts of the failure; none for success
	}{
		{"nothing asked", Requirements{}, nil},
		{"two", Requirements{MinCount: 2}, nil},
		{"three", Requirements{MinCount: 3}, []string{"2 of the 3 GPUs asked for", "2 can be used"}},
		{"memory on one", Requirements{MinCount: 1, MinMemory: 4 * gib}, nil},
		{"memory on both", Requirements{MinCount: 2, MinMemory: 4 * gib}, []string{"1 of the 2", "GPU 0 H100 (GPU-0000) has 2 GiB free, less than 4 GiB; processes on it: 42 (77 GiB), 43"}},
		{"exactly the memory", Requirements{MinCount: 1, MinMemory: 15 * gib}, nil},
		{"capability of one", Requirements{MinComputeCapability: "8.0"}, nil},
		{"capability of none", Requirements{MinComputeCapability: "10.0"}, []string{"compute capability 9.0, less than 10.0", "7.5, less than 10.0"}},
		{"no single one has both", Requirements{MinComputeCapability: "8.0", MinMemory: 4 * gib}, []string{"0 of the 1"}},
		{"driver", Requirements{MinDriver: "550.54"}, nil},
		{"the very driver", Requirements{MinDriver: "550.54.15"}, nil},
		{"newer driver", Requirements{MinDriver: "550.163.01"}, []string{"the driver is 550.54.15, older than the 550.163.01"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			notes, err := c.r.Check(twoGPUs())
			assert.Empty(t, notes)
			if c.want == nil {
				assert.NoError(t, err)
				return
			}
			f := requireKind(t, record.GPUInsufficient, err)
			for _, part := range c.want {
				assert.Contains(t, f.Message, part)
			}
		})
	}
}

// What is unknown fails nothing, and is named.
func TestRequirementsUnknown(t *testing.T) {
	f := record.GPUFacts{GPUs: []record.GPU{{Name: "GB10", UUID: "GPU-0000"}}}
	notes, err := Requirements{MinCount: 1, MinMemory: gib, MinComputeCapability: "9.0", MinDriver: "1"}.Check(f)
	assert.NoError(t, err)
	assert.Len(t, notes, 3)
	// CUDA may know what NVML does not.
	f.CUDADevices = []record.CUDADevice{{UUID: "GPU-0000", MemoryTotalBytes: 2 * gib, MemoryFreeBytes: gib / 2, ComputeCapability: "12.1"}}
	_, err = Requirements{MinMemory: gib}.Check(f)
	assert.ErrorContains(t, err, "512 MiB free, less than 1 GiB")
	notes, err = Requirements{MinComputeCapability: "12.0"}.Check(f)
	assert.NoError(t, err)
	assert.Empty(t, notes)
}

// Only what CUDA shows and could use counts.
func TestUsable(t *testing.T) {
	f := twoGPUs()
	assert.Len(t, Usable(f), 2)
	f.VisibleDevices = ptr("1")
	assert.Equal(t, f.GPUs[1:], Usable(f))
	f.CUDADevices = []record.CUDADevice{{UUID: "GPU-1111"}, {UUID: "GPU-0000", Error: "no context"}}
	assert.Equal(t, f.GPUs[1:], Usable(f))
	f.CUDADevices = []record.CUDADevice{}
	assert.Empty(t, Usable(f), "CUDA was asked and shows none")
	f.CUDADevices = []record.CUDADevice{{Ordinal: 3, Name: "new", UUID: "GPU-9999"}}
	assert.Equal(t, []record.GPU{{Index: 3, Name: "new", UUID: "GPU-9999"}}, Usable(f), "NVML does not know it")
}

func TestTooOld(t *testing.T) {
	f := record.GPUFacts{Driver: "550", CUDA: "12.4"}
	for _, image := range []string{"", "11.8.0", "12.4.1", "12.8.1", "12"} {
		assert.NoError(t, tooOld(f, image), image)
	}
	assert.NoError(t, tooOld(record.GPUFacts{}, "13.0"), "unknown is not too old")
	_ = requireKind(t, record.GPUInsufficient, tooOld(f, "13.0.1"))
}

func TestLess(t *testing.T) {
	for _, c := range [][2]string{{"9.0", "10.0"}, {"550.54.15", "550.163.01"}, {"550", "550.1"}, {"", "1"}, {"7.5", "8"}} {
		assert.True(t, less(c[0], c[1]), c)
		assert.False(t, less(c[1], c[0]), c)
	}
	assert.False(t, less("12.0", "12"))
	assert.False(t, less("12", "12.0"))
}
