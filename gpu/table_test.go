package gpu

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

var update = flag.Bool("update", false, "write the goldens anew")

func TestTable(t *testing.T) {
	f := twoGPUs()
	f.GPUs = append(f.GPUs,
		record.GPU{Index: 2, Name: "A100", UUID: "GPU-2222", MIGEnabled: true, MIG: []record.GPU{{Index: 1, Name: "A100 MIG 1g.5gb", UUID: "MIG-a", MemoryFreeBytes: ptr[uint64](5 * gib)}}},
		record.GPU{Index: 3, Error: "GPU 3 cannot be opened"})
	f.GPUs[1].UtilizationPercent = ptr[uint32](0)
	f.CUDADevices = []record.CUDADevice{{UUID: "GPU-0000"}, {UUID: "GPU-1111", Error: "no context"}}
	var b bytes.Buffer
	require.NoError(t, WriteTable(&b, f))
	require.NoError(t, WriteTable(&b, record.GPUFacts{GPUs: []record.GPU{{Name: "H100", UUID: "GPU-0000"}}}))
	const golden = "testdata/table.golden"
	if *update {
		require.NoError(t, os.WriteFile(golden, b.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), b.String())
}

func TestFindings(t *testing.T) {
	assert.Empty(t, Findings(twoGPUs()))
	f := record.GPUFacts{Source: smiSource, VisibleDevices: ptr("0,9"), GPUs: []record.GPU{{
		Name: "A100", UUID: "GPU-0000", ECCUncorrected: ptr[uint64](2), RemapPending: ptr(true), RemapFailed: ptr(true),
		Throttle: []string{powerCap, "hw-thermal"}, ComputeMode: "prohibited",
	}}}
	found := Findings(f)
	assert.Len(t, found, 7)
	for i, part := range []string{"waits for a reset", "should be replaced", "2 uncorrected", "slowed down: hw-thermal", "compute mode is prohibited", "no device 9", "without cgo"} {
		assert.Contains(t, found[i], part)
	}
	f = twoGPUs()
	f.GPUs[0].Throttle = []string{powerCap}
	f.GPUs[0].RemapPending = ptr(false)
	f.CUDADevices = []record.CUDADevice{{UUID: "GPU-0000"}}
	assert.Equal(t, []string{"CUDA shows 1 of the 2 GPUs that are visible"}, Findings(f))
	f.GPUs[0].MIGEnabled = true
	assert.Empty(t, Findings(f), "a program uses one MIG instance only")
}
