package gpu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

const smiOutput = `0, NVIDIA H100 80GB HBM3, GPU-1111, 580.159.04, 81559, 81079, 3, Default, 9.0, Disabled
1, NVIDIA A100-SXM4-40GB, GPU-2222, 580.159.04, [Insufficient Permissions], [Insufficient Permissions], [N/A], Exclusive_Process, 8.0, Enabled
2, GB10, GPU-3333, 580.159.04, [N/A], [N/A], 0, Default, [Unknown Error], [N/A]
`

// fakeSMI is a directory with an nvidia-smi that prints text and exits with code.
func fakeSMI(t *testing.T, text string, code int) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text"), []byte(text), 0o644))
	script := fmt.Sprintf("#!/bin/sh\ncat %s/text\nexit %d\n", dir, code)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte(script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func TestSMI(t *testing.T) {
	fakeSMI(t, smiOutput, 0)
	facts, err := children(t).smi(context.Background())
	require.NoError(t, err)
	assert.Equal(t, record.GPUFacts{Source: "nvidia-smi", Driver: "580.159.04", GPUs: []record.GPU{
		{Index: 0, Name: "NVIDIA H100 80GB HBM3", UUID: "GPU-1111", MemoryTotalBytes: ptr[uint64](81559 << 20), MemoryFreeBytes: ptr[uint64](81079 << 20),
			UtilizationPercent: ptr[uint32](3), ComputeMode: "default", ComputeCapability: "9.0"},
		{Index: 1, Name: "NVIDIA A100-SXM4-40GB", UUID: "GPU-2222", ComputeMode: "exclusive-process", ComputeCapability: "8.0", MIGEnabled: true},
		{Index: 2, Name: "GB10", UUID: "GPU-3333", UtilizationPercent: ptr[uint32](0), ComputeMode: "default"},
	}}, facts)
}

func TestSMIFailures(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		code int
		kind record.Kind
		hint string
	}{
		"no device, newer":   {"No devices were found\n", 6, record.NoGPU, ""},
		"no device, older":   {"No devices were found\n", 0, record.NoGPU, ""},
		"nothing":            {"", 0, record.NoGPU, ""},
		"driver not there":   {"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9, record.NoDriver, ""},
		"library not there":  {"NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.", 12, record.NoDriver, ""},
		"permission":         {"Failed to initialize NVML: Insufficient Permissions", 4, record.GPUPermission, ""},
		"mismatch":           {"Failed to initialize NVML: Driver/library version mismatch", 18, record.GPUBroken, "upgraded"},
		"daemon-reload":      {"Failed to initialize NVML: Unknown Error", 255, record.GPUBroken, "daemon-reload"},
		"nonsense":           {"hello\n", 0, record.GPUBroken, ""},
		"index is no number": {strings.Replace(smiOutput, "0,", "x,", 1), 0, record.GPUBroken, ""},
	} {
		t.Run(name, func(t *testing.T) {
			fakeSMI(t, c.text, c.code)
			facts, err := children(t).smi(context.Background())
			f := requireKind(t, c.kind, err)
			assert.Contains(t, f.Hint, c.hint)
			assert.Empty(t, facts.GPUs)
		})
	}
	t.Setenv("PATH", t.TempDir())
	_, err := children(t).smi(context.Background())
	_ = requireKind(t, record.NoDriver, err)
}

func FuzzParseSMI(f *testing.F) {
	f.Add(smiOutput)
	f.Add("No devices were found")
	f.Fuzz(func(t *testing.T, text string) {
		gpus, _, _ := parseSMI(strings.NewReader(text))
		for _, g := range gpus {
			if g.MemoryTotalBytes != nil {
				require.Zero(t, *g.MemoryTotalBytes%(1<<20))
			}
		}
	})
}
