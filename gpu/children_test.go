//go:build cgo

package gpu

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

const fakeUUID = "GPU-01020304-0506-0708-090a-0b0c0d0e0f10"

// driver builds a directory with the fake libraries and returns the variable that
// lets a child find them.
func driver(t testing.TB, libraries ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, l := range libraries {
		built := build(t, l)
		require.NoError(t, os.Symlink(built, filepath.Join(dir, sonames[l])))
	}
	return "LD_LIBRARY_PATH=" + dir
}

var sonames = map[string]string{"nvml": "libnvidia-ml.so.1", "nvml-without-init": "libnvidia-ml.so.1", "cuda": "libcuda.so.1", "nvml-as-cuda": "libcuda.so.1"}

var built struct {
	sync.Mutex
	dir   string
	files map[string]string
}

// build compiles a fake library once for all tests.
func build(t testing.TB, library string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "fake-driver-*")
		require.NoError(t, err)
		built.dir, built.files = dir, map[string]string{}
		atExit = append(atExit, func() { os.RemoveAll(dir) })
	}
	if built.files[library] != "" {
		return built.files[library]
	}
	file := filepath.Join(built.dir, library+".so")
	args := []string{"-shared", "-fPIC", "-o", file}
	switch library {
	case "nvml", "nvml-as-cuda":
		args = append(args, "testdata/fakenvml.c")
	case "nvml-without-init":
		args = append(args, "-DWITHOUT_INIT", "testdata/fakenvml.c")
	case "cuda":
		args = append(args, "testdata/fakecuda.c")
	}
	out, err := exec.Command("cc", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	built.files[library] = file
	return file
}

func TestProbeWithoutDriver(t *testing.T) {
	facts, err := children(t).Probe(context.Background())
	f := requireKind(t, record.NoDriver, err)
	assert.Contains(t, f.Message, "libnvidia-ml.so.1")
	assert.NotNil(t, facts.GPUs)
	assert.Empty(t, facts.GPUs)
}

func TestProbeOfADriver(t *testing.T) {
	facts, err := children(t, driver(t, "nvml", "cuda")).Probe(context.Background())
	require.NoError(t, err)
	assert.Equal(t, "550.54.15", facts.Driver)
	assert.Equal(t, "12.4", facts.CUDA)
	assert.Equal(t, NVML, facts.Source)
	// What this library lacks is unknown; calling it would have ended the child.
	assert.Equal(t, []record.GPU{{
		Index: 0, Name: "Fake GPU", UUID: fakeUUID, MemoryTotalBytes: ptr[uint64](16 << 30), MemoryFreeBytes: ptr[uint64](15 << 30),
	}}, facts.GPUs)
	assert.Equal(t, []record.CUDADevice{{
		Name: "Fake GPU", UUID: fakeUUID, ComputeCapability: "9.0", MemoryTotalBytes: 16 << 30, MemoryFreeBytes: 14 << 30,
	}}, facts.CUDADevices)
	assert.Positive(t, facts.NVMLSeconds)
	assert.Positive(t, facts.CUDASeconds)
	assert.Empty(t, Findings(facts))
	assert.Nil(t, facts.VisibleDevices)
}

// What becomes of the probe's process is a finding, never the end of ours.
func TestProbeSurvivesTheDriver(t *testing.T) {
	for name, c := range map[string]struct {
		libraries []string
		environ   string
		kind      record.Kind
		message   string
	}{
		"symbol missing":        {[]string{"nvml-without-init"}, "", record.GPUBroken, "exit code 127"},
		"crash":                 {[]string{"nvml"}, "FAKE_NVML_SEGV=1", record.GPUBroken, "SIGSEGV"},
		"killed":                {[]string{"nvml"}, "FAKE_NVML_KILL=1", record.GPUBroken, "signal killed"},
		"hang":                  {[]string{"nvml"}, "FAKE_NVML_HANG=1", record.GPUBroken, "did not answer"},
		"version mismatch":      {[]string{"nvml"}, "FAKE_NVML_INIT=18", record.GPUBroken, "version mismatch"},
		"driver not loaded":     {[]string{"nvml"}, "FAKE_NVML_INIT=9", record.NoDriver, "NVML return 9"},
		"no permission":         {[]string{"nvml"}, "FAKE_NVML_INIT=4", record.GPUPermission, "NVML return 4"},
		"unknown error":         {[]string{"nvml"}, "FAKE_NVML_INIT=999", record.GPUBroken, "Unknown Error"},
		"no device":             {[]string{"nvml"}, "FAKE_NVML_COUNT=0", record.NoGPU, "shows no GPU"},
		"no libcuda":            {[]string{"nvml"}, "", record.NoDriver, "libcuda.so.1"},
		"not a CUDA library":    {[]string{"nvml", "nvml-as-cuda"}, "", record.GPUBroken, "cuInit"},
		"fabric manager":        {[]string{"nvml", "cuda"}, "FAKE_CUDA_INIT=802", record.GPUBroken, "fabric manager"},
		"libcuda is other":      {[]string{"nvml", "cuda"}, "FAKE_CUDA_INIT=803", record.GPUBroken, "different driver versions"},
		"toolkit's stub":        {[]string{"nvml", "cuda"}, "FAKE_CUDA_INIT=34", record.NoDriver, "stub"},
		"CUDA counts none":      {[]string{"nvml", "cuda"}, "FAKE_CUDA_COUNT=0", record.NoGPU, "no device"},
		"device busy":           {[]string{"nvml", "cuda"}, "FAKE_CUDA_CONTEXT=46", record.GPUPermission, "compute mode"},
		"device full":           {[]string{"nvml", "cuda"}, "FAKE_CUDA_ALLOC=2", record.GPUInsufficient, "no free memory"},
		"memory forgets":        {[]string{"nvml", "cuda"}, "FAKE_CUDA_FORGETS=1", record.GPUBroken, "reads as something else"},
		"result without a name": {[]string{"nvml", "cuda"}, "FAKE_CUDA_INIT=77", record.GPUBroken, "error 77"},
		"empty":                 {[]string{"nvml", "cuda"}, "CUDA_VISIBLE_DEVICES=", record.NoGPU, "it is empty"},
		"all":                   {[]string{"nvml", "cuda"}, "CUDA_VISIBLE_DEVICES=all", record.NoGPU, `"all" is a value for NVIDIA_VISIBLE_DEVICES`},
		"driver too old":        {[]string{"nvml", "cuda"}, "CUDA_VERSION=13.0.1", record.GPUInsufficient, "this image is for CUDA 13.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			environ := []string{driver(t, c.libraries...), c.environ}
			if c.message == "it is empty" || name == "all" {
				environ = append(environ, "FAKE_CUDA_INIT=100") // As the real one.
			}
			p := children(t, environ...)
			if name == "hang" {
				p.Exec = runs(environ, 2*time.Second)
			}
			facts, err := p.Probe(context.Background())
			f := requireKind(t, c.kind, err)
			assert.Contains(t, f.Message, c.message)
			if len(c.libraries) > 1 {
				assert.Len(t, facts.GPUs, 1, "what NVML knows is not lost")
			}
		})
	}
}

// One device of two that does not work does not hide the other.
func TestProbeOneDeviceOfTwo(t *testing.T) {
	facts, err := children(t, driver(t, "nvml", "cuda"), "FAKE_NVML_COUNT=2", "FAKE_CUDA_COUNT=2").Probe(context.Background())
	require.NoError(t, err)
	require.Len(t, facts.CUDADevices, 2)
	facts.CUDADevices[1].Error = "CUDA device 1: no context"
	assert.Len(t, Usable(facts), 1)
	assert.Contains(t, Findings(facts), "CUDA device 1: no context")
}

func TestProbeIsToldToStop(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	why := record.Failf(record.TimedOut, "the run took too long") // Not the driver.
	p := children(t, driver(t, "nvml"), "FAKE_NVML_HANG=1")
	exec := p.Exec
	p.Exec = func(ctx context.Context, argv []string) (Ended, error) {
		cancel(why)
		return exec(ctx, argv)
	}
	_, err := p.Probe(ctx)
	assert.Same(t, why, err)
}
