//go:build gpu

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// These tests need a GPU and a python3 in PATH that has papermill, CuPy and rmm, and
// fail without: make test-gpu.

const gib = 1 << 30

// onGPU runs step-runner in a process of its own, in a workspace of its own, and
// returns its exit code, the record and what it said.
func onGPU(t *testing.T, args ...string) (int, *record.Record, string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(self, append(args, "--workspace", t.TempDir(), "--json")...)
	c.Dir = "../.."
	c.Env = append(os.Environ(), "STEP_RUNNER_GPU=required")
	var out, said strings.Builder
	c.Stdout, c.Stderr = &out, &said
	_ = c.Run()
	rec, err := record.Decode(strings.NewReader(out.String()))
	require.NoError(t, err, said.String())
	return c.ProcessState.ExitCode(), rec, said.String()
}

func notebookOnGPU(t *testing.T, name string, args ...string) (int, record.Notebook, string) {
	t.Helper()
	code, rec, said := onGPU(t, append([]string{"papermill", filepath.Join("steps/inject/testdata", name), "--variant", "original"}, args...)...)
	facts := rec.Facts.(*record.PapermillFacts)
	require.NotEmpty(t, facts.Notebooks, said)
	nb := facts.Notebooks[0]
	require.NotNil(t, nb.RMM, said)
	t.Logf("exit %d, %s, peak %d bytes, %d allocations", code, resources(nb.RMM), nb.RMM.PeakBytes, nb.RMM.Allocations)
	return code, nb, said
}

func resources(r *record.RMM) string {
	var list []string
	for _, p := range r.Processes {
		list = append(list, p.Resource)
	}
	return strings.Join(list, ", ")
}

func TestGPURMMVerify(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		code   int
		failed string
	}{
		"default":        {nil, 0, ""},
		"torch too":      {[]string{"--rmm", "pool", "--rmm-allocators", "cupy,torch"}, 0, ""},
		"async":          {[]string{"--rmm", "async"}, 0, ""},
		"managed":        {[]string{"--rmm", "managed"}, 0, ""},
		"cuda":           {[]string{"--rmm", "cuda"}, 0, ""},
		"limit too low":  {[]string{"--rmm", "pool", "--gpu-memory-limit", "512MiB"}, 45, "allocation"},
		"a pool too low": {[]string{"--rmm", "pool", "--rmm-maximum-pool", "512MiB"}, 45, "allocation"},
	} {
		t.Run(name, func(t *testing.T) {
			code, rec, said := onGPU(t, append([]string{"rmm", "verify"}, c.args...)...)
			assert.Equal(t, c.code, code, said)
			for _, check := range rec.Facts.(*record.RMMFacts).Checks {
				t.Logf("%-8s %-11s %s", check.Status, check.Name, check.Detail)
				if c.failed == "" {
					assert.NotEqual(t, "failed", check.Status)
				} else if check.Name == c.failed {
					assert.Equal(t, "failed", check.Status)
				}
			}
		})
	}
}

// TestGPURMMModes: what allocates is what the policy has installed.
func TestGPURMMModes(t *testing.T) {
	for mode, resource := range map[string]string{
		"auto": "statistics(pool(cuda))", "pool": "statistics(pool(cuda))", "async": "statistics(cudaasync)",
		"managed": "statistics(managed)", "cuda": "statistics(cuda)",
	} {
		t.Run(mode, func(t *testing.T) {
			code, nb, said := notebookOnGPU(t, "rmm_plain.ipynb", "--rmm", mode)
			require.Zero(t, code, said)
			assert.Equal(t, resource, resources(nb.RMM))
			assert.GreaterOrEqual(t, nb.RMM.PeakBytes, uint64(gib))
			assert.NotZero(t, nb.RMM.Allocations)
		})
	}
}

// TestGPURMMFits: by the driver's own count, with the CUDA context, a notebook that
// makes its own pool stays within 4 GiB when the pool may begin small.
func TestGPURMMFits(t *testing.T) {
	code, nb, said := notebookOnGPU(t, "rmm_pool.ipynb", "--rmm", "pool", "--rmm-initial-pool", "512MiB", "--gpu-memory-limit", "3GiB")
	require.Zero(t, code, said)
	require.NotNil(t, nb.Watch)
	require.Len(t, nb.Watch.Devices, 1)
	peak := *nb.Watch.Devices[0].PeakBytes
	t.Logf("peak by NVML %d bytes", peak)
	assert.LessOrEqual(t, peak, uint64(4*gib))
	assert.Greater(t, peak, nb.RMM.PeakBytes)
}

// TestGPURMMLimit: the notebook's own pool is held within the limit, and an array
// that does not fit is out of memory, with its cell.
func TestGPURMMLimit(t *testing.T) {
	code, nb, said := notebookOnGPU(t, "rmm_pool.ipynb", "--rmm", "pool", "--gpu-memory-limit", "4GiB")
	require.Zero(t, code, said)
	require.Len(t, nb.RMM.Processes, 1)
	p := nb.RMM.Processes[0]
	require.Len(t, p.Overrides, 1)
	assert.Contains(t, p.Overrides[0].Asked, "[0, 1]")
	assert.NotContains(t, p.Overrides[0].Applied, fmt.Sprint(len(p.Devices)))
	assert.EqualValues(t, 4*gib, *p.MaximumPoolBytes)

	code, nb, said = notebookOnGPU(t, "rmm_pool.ipynb", "--rmm", "pool", "--gpu-memory-limit", "4GiB", "--parameter", "gib=6")
	assert.Equal(t, 45, code, said)
	assert.Equal(t, record.OutOfMemory, nb.Kind)
	assert.Contains(t, said, "cell 4")
}
