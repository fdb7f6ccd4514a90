//go:build gpu

package gpu

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// These tests need a machine with a working NVIDIA GPU, and fail without one:
// make test-gpu. make bin/gpu.test builds a program that can be carried there.

// onGPU is a prober of this machine whose children have its environment, less
// what chooses devices, and the extra variables.
func onGPU(t testing.TB, extra ...string) *Children {
	t.Helper()
	environ := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "CUDA_VISIBLE_DEVICES=") || strings.HasPrefix(kv, "CUDA_VERSION=")
	})
	environ = append(environ, extra...)
	p := children(t, environ...)
	p.Environ, p.Exec, p.Host = environ, runs(environ, 2*time.Minute), Host{}
	return p
}

func probed(t testing.TB, extra ...string) record.GPUFacts {
	t.Helper()
	facts, err := onGPU(t, extra...).Probe(context.Background())
	require.NoError(t, err)
	require.NotEmpty(t, facts.GPUs)
	return facts
}

// smiSays asks nvidia-smi for fields of every device.
func smiSays(t testing.TB, fields string) [][]string {
	t.Helper()
	out, err := exec.Command("nvidia-smi", "--query-gpu="+fields, "--format=csv,noheader,nounits").Output()
	require.NoError(t, err)
	var rows [][]string
	for line := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimSpace(line), ", "))
	}
	return rows
}

func TestGPUAgainstNvidiaSMI(t *testing.T) {
	facts := probed(t)
	rows := smiSays(t, "index,name,uuid,driver_version,memory.total,compute_cap,compute_mode")
	require.Len(t, facts.GPUs, len(rows))
	for i, g := range facts.GPUs {
		require.NotNil(t, g.MemoryTotalBytes)
		mode := map[string]string{"default": "Default", "exclusive-process": "Exclusive_Process", "prohibited": "Prohibited"}[g.ComputeMode]
		got := []string{strconv.Itoa(g.Index), g.Name, g.UUID, facts.Driver, strconv.FormatUint(*g.MemoryTotalBytes>>20, 10), g.ComputeCapability, mode}
		assert.Equal(t, rows[i], got)
		assert.LessOrEqual(t, *g.MemoryFreeBytes, *g.MemoryTotalBytes)
		t.Logf("%+v", g)
	}
	require.Len(t, facts.CUDADevices, len(rows))
	for _, d := range facts.CUDADevices {
		assert.Empty(t, d.Error)
		assert.True(t, slices.ContainsFunc(facts.GPUs, func(g record.GPU) bool { return g.UUID == d.UUID && g.ComputeCapability == d.ComputeCapability }), "%+v", d)
	}
	assert.Regexp(t, `^\d+\.\d+$`, facts.CUDA)
	t.Logf("CUDA %s; nvml %.1f ms, cuda %.1f ms; findings %q", facts.CUDA, 1e3*facts.NVMLSeconds, 1e3*facts.CUDASeconds, Findings(facts))
}

// The fallback reads from nvidia-smi what NVML says.
func TestGPUBySMI(t *testing.T) {
	bySMI, err := onGPU(t).smi(context.Background())
	require.NoError(t, err)
	byNVML := probed(t)
	require.Len(t, bySMI.GPUs, len(byNVML.GPUs))
	assert.Equal(t, byNVML.Driver, bySMI.Driver)
	for i, g := range bySMI.GPUs {
		want := byNVML.GPUs[i]
		assert.Equal(t, want.UUID, g.UUID)
		assert.Equal(t, want.MemoryTotalBytes, g.MemoryTotalBytes)
		assert.Equal(t, want.ComputeCapability, g.ComputeCapability)
		assert.Equal(t, want.MIGEnabled, g.MIGEnabled)
	}
}

// What CUDA itself makes of CUDA_VISIBLE_DEVICES is what Visible says.
func TestGPUVisibleDevices(t *testing.T) {
	all := probed(t)
	uuid := all.GPUs[0].UUID
	for value, why := range map[string]string{
		"0": "", uuid: "", uuid[:12]: "", "0,99": "no device 99",
		"": "it is empty", "all": "NVIDIA_VISIBLE_DEVICES", "-1": "no device -1", "0,0": "second time",
		"GPU-00000000-0000-0000-0000-000000000000": "this container has 0 = " + uuid,
	} {
		t.Run(value, func(t *testing.T) {
			want, says := Visible(&value, all.GPUs)
			if why == "" {
				assert.Empty(t, says)
			} else {
				assert.Contains(t, says, why)
			}
			facts, err := onGPU(t, "CUDA_VISIBLE_DEVICES="+value).Probe(context.Background())
			assert.Len(t, facts.CUDADevices, len(want))
			for i, d := range facts.CUDADevices {
				assert.Equal(t, want[i].UUID, d.UUID)
			}
			if len(want) > 0 {
				assert.NoError(t, err)
			} else {
				f := requireKind(t, record.NoGPU, err)
				assert.Contains(t, f.Message, why)
				t.Log(f.Message)
			}
		})
	}
}

func TestGPUDriverTooOld(t *testing.T) {
	_, err := onGPU(t, "CUDA_VERSION=99.0.1").Probe(context.Background())
	f := requireKind(t, record.GPUInsufficient, err)
	t.Log(f.Message)
}

// The toolkit's stub in LD_LIBRARY_PATH is a known trap.
func TestGPUStubLibrary(t *testing.T) {
	stubs, _ := filepath.Glob("/usr/local/cuda*/lib64/stubs/libcuda.so")
	if len(stubs) == 0 {
		t.Skip("this machine has no CUDA toolkit")
	}
	dir := t.TempDir()
	require.NoError(t, os.Symlink(stubs[0], filepath.Join(dir, "libcuda.so.1")))
	_, err := onGPU(t, "LD_LIBRARY_PATH="+dir+":"+os.Getenv("LD_LIBRARY_PATH")).Probe(context.Background())
	f := requireKind(t, record.NoDriver, err)
	assert.Contains(t, f.Message, "stub")
}

// Memory that another process holds is not free, and the failure says who holds it.
func TestGPUMemoryHeld(t *testing.T) {
	before := Usable(probed(t))[0]
	const held = 2 << 30
	require.Greater(t, *before.MemoryFreeBytes, uint64(held))
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "gpu-hold", strconv.Itoa(held))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		in.Close()
		assert.NoError(t, cmd.Wait())
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "held\n", line)
	facts := probed(t)
	after := Usable(facts)[0]
	assert.GreaterOrEqual(t, *before.MemoryFreeBytes-*after.MemoryFreeBytes, uint64(held))
	assert.Greater(t, len(after.Processes), len(before.Processes))
	_, err = Requirements{MinCount: 1, MinMemory: *before.MemoryFreeBytes}.Check(facts)
	f := requireKind(t, record.GPUInsufficient, err)
	assert.Contains(t, f.Message, "processes on it: ")
	t.Log(f.Message)
}

func init() { hold = holdMemory }

// holdMemory is another program on the GPU: it holds memory until its input ends.
func holdMemory(bytes string) error {
	runtime.LockOSThread()
	size, err := strconv.ParseUint(bytes, 10, 64)
	if err != nil {
		return err
	}
	lib, err := loadCUDA()
	if err != nil {
		return err
	}
	var context uintptr
	var block uint64
	for _, r := range []cudaResult{lib.init(0), lib.retainContext(&context, 0), lib.setContext(context), lib.alloc(&block, size)} {
		if r != 0 {
			return lib.failure("hold", r)
		}
	}
	fmt.Println("held")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// The NVML probe, its process included, is measured against nvidia-smi in turns.
// It only logs: times are for people.
func TestGPUTiming(t *testing.T) {
	p := onGPU(t)
	probed(t)
	smi, nvml, cuda := []float64{}, []float64{}, []float64{}
	inside := []float64{}
	timed := func(to *[]float64, f func()) {
		start := time.Now()
		f()
		*to = append(*to, 1e3*time.Since(start).Seconds())
	}
	for range 15 {
		timed(&smi, func() { smiSays(t, "name,memory.total") })
		timed(&nvml, func() {
			a, err := p.ask(context.Background(), NVML)
			require.NoError(t, err)
			inside = append(inside, 1e3*a.Facts.NVMLSeconds)
		})
	}
	for range 3 {
		timed(&cuda, func() {
			_, err := p.ask(context.Background(), CUDA)
			require.NoError(t, err)
		})
	}
	for name, ms := range map[string][]float64{"nvidia-smi": smi, "nvml child": nvml, "nvml inside it": inside, "cuda child": cuda} {
		slices.Sort(ms)
		t.Logf("%-15s median %6.1f ms, least %6.1f, most %6.1f", name, ms[len(ms)/2], ms[0], ms[len(ms)-1])
	}
}
