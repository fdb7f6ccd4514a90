package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/steps/steptest"
)

// rmmTry runs the command with a GPU that has 80 GiB free and the stand-ins of rmm
// and CuPy.
func rmmTry(t *testing.T, s *RMM, environ ...string) (*record.Record, *record.RMMFacts, string) {
	t.Helper()
	fake, err := filepath.Abs("inject/tests/fake")
	require.NoError(t, err)
	e := NewTestEnv(t, append([]string{"PYTHONPATH=" + fake}, environ...)...)
	e.GPU = rmmProber(80 * rmmGiB)
	rec, err := Execute(t.Context(), e.Env, s)
	assert.Equal(t, err == nil, rec.Failure == nil)
	return rec, &s.facts, e.Out.String()
}

func rmmVerifyStep(size uint64) *RMM {
	s := &RMM{Action: "verify", Policy: PapermillRMM{Mode: "off", Allocators: []string{"cupy"}}}
	s.Size = units.Bytes(size)
	return s
}

func rmmStatuses(facts *record.RMMFacts) string {
	var list []string
	for _, c := range facts.Checks {
		list = append(list, c.Name+" "+c.Status)
	}
	return strings.Join(list, ", ")
}

func TestRMMVerify(t *testing.T) {
	t.Parallel()
	rec, facts, out := rmmTry(t, rmmVerifyStep(3*rmmGiB))
	require.Nil(t, rec.Failure)
	assert.Equal(t, "device ok, imports ok, policy ok, allocation ok, product ok, statistics ok, torch skipped", rmmStatuses(facts))
	assert.Equal(t, "pool", facts.Policy.Mode)
	require.Len(t, facts.RMM.Processes, 1)
	assert.EqualValues(t, 3*rmmGiB, facts.RMM.PeakBytes)
	assert.Contains(t, out, "ok       policy      statistics(pool(cuda))\n")
	assert.Contains(t, out, "skipped  torch       --rmm-allocators does not name torch\n")
}

// TestRMMVerifyIsRed: each check can fail, with its class, and no later one hides it.
func TestRMMVerifyIsRed(t *testing.T) {
	t.Parallel()
	limit := func(s *RMM) { s.Policy.MemoryLimit = rmmShare(t, "1GiB") }
	empty, torch := t.TempDir(), t.TempDir()
	fake, err := filepath.Abs("inject/tests/fake")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(torch, "torch.py"), []byte(rmmTorchPy), 0o600))
	for name, c := range map[string]struct {
		set     func(*RMM)
		environ string
		kind    record.Kind
		checks  string
		message string
	}{
		"over the limit":      {limit, "", record.OutOfMemory, "device ok, imports ok, policy ok, allocation failed, product ok, statistics skipped, torch skipped", "Exceeded memory limit 1073741824"},
		"no CuPy":             {nil, "PYTHONPATH=" + empty, record.MissingTool, "device ok, imports failed, policy skipped, allocation skipped, product skipped, statistics skipped, torch skipped", "No module named 'cupy'"},
		"rmm sees no GPU":     {nil, "FAKE_GPUS=0", record.NoGPU, "device ok, imports failed, policy failed, allocation skipped, product skipped, statistics skipped, torch skipped", "cudaErrorNoDevice"},
		"rmm is broken":       {nil, "FAKE_RMM_BROKEN=1", record.NoGPU, "device ok, imports failed, policy failed, allocation skipped, product skipped, statistics skipped, torch skipped", "no attribute 'msg'"},
		"memory is lost":      {nil, "FAKE_CUPY_LOSES=1", record.GPUBroken, "device ok, imports ok, policy ok, allocation failed, product ok, statistics skipped, torch skipped", "read from the ends"},
		"CuPy goes its way":   {nil, "FAKE_CUPY_OWN=1", record.GPUBroken, "device ok, imports ok, policy ok, allocation ok, product ok, statistics failed, torch skipped", "CuPy does not allocate through it"},
		"a wrong product":     {nil, "FAKE_CUPY_WRONG=1", record.GPUBroken, "device ok, imports ok, policy ok, allocation ok, product failed, statistics ok, torch skipped", "differs from NumPy's"},
		"torch is not there":  {func(s *RMM) { s.Policy.Allocators = []string{"cupy", "torch"} }, "", record.MissingTool, "device ok, imports ok, policy ok, allocation ok, product ok, statistics ok, torch failed", "No module named 'torch'"},
		"torch goes its way":  {func(s *RMM) { s.Policy.Allocators = []string{"cupy", "torch"} }, "PYTHONPATH=" + torch + ":" + fake, record.GPUBroken, "device ok, imports ok, policy ok, allocation ok, product ok, statistics ok, torch failed", "not through RMM"},
		"CuPy is left alone":  {func(s *RMM) { s.Policy.Allocators = nil }, "", "", "device ok, imports ok, policy ok, allocation ok, product ok, statistics skipped, torch skipped", ""},
		"contradicting flags": {func(s *RMM) { s.Policy.MemoryLimit = rmmShare(t, "0") }, "", record.Usage, "", "--gpu-memory-limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := rmmVerifyStep(3 * rmmGiB)
			s.Policy.Mode = "pool"
			if c.set != nil {
				c.set(s)
			}
			rec, facts, out := rmmTry(t, s, c.environ)
			assert.Equal(t, c.checks, rmmStatuses(facts))
			if c.kind == "" {
				require.Nil(t, rec.Failure)
				return
			}
			require.NotNil(t, rec.Failure)
			assert.Equal(t, c.kind, rec.Failure.Kind)
			assert.Contains(t, rec.Failure.Message, c.message)
			assert.Equal(t, strings.Count(rmmStatuses(facts), "failed"), strings.Count(out, "FAILED "))
		})
	}
}

// TestRMMVerifyProcess: a Python that is not there, loads nothing of ours, dies or
// says only part is never green.
func TestRMMVerifyProcess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		python string
		kind   record.Kind
	}{
		"missing":          {"", record.MissingTool},
		"silent":           {"exit 0", record.GPUBroken},
		"killed":           {"kill -9 $$", record.GPUBroken},
		"says part":        {`echo '{"check":"imports","status":"ok"}'`, record.MissingTool},
		"no sitecustomize": {`exec "$TOOLS_PYTHON" -S "$@"`, record.MissingTool},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bin := t.TempDir()
			if c.python != "" {
				require.NoError(t, os.WriteFile(filepath.Join(bin, "python3"), []byte("#!/bin/sh\n"+c.python+"\n"), 0o755))
			}
			rec, facts, _ := rmmTry(t, rmmVerifyStep(rmmGiB), "PATH="+bin, "TOOLS_PYTHON="+steptest.Python(t))
			require.NotNil(t, rec.Failure)
			assert.Equal(t, c.kind, rec.Failure.Kind, rec.Failure.Message)
			assert.Len(t, facts.Checks, len(rmmChecks), "each is named")
		})
	}
}

func TestRMMShow(t *testing.T) {
	for name, c := range map[string]struct {
		rmm  PapermillRMM
		free uint64
		want []string
	}{
		"off":                {PapermillRMM{Mode: "off"}, 80, []string{"usable, 80 GiB free", "policy         none: the notebooks' memory is left alone"}},
		"auto without a GPU": {PapermillRMM{Mode: "auto"}, 0, []string{"none usable: no driver library", "policy         none, since no GPU is usable"}},
		"pool without a GPU": {PapermillRMM{Mode: "pool"}, 0, []string{"papermill would exit with 20 (no-gpu)"}},
		"auto":               {PapermillRMM{Mode: "auto", MaximumPool: rmmShare(t, "50%"), MemoryLimit: rmmShare(t, "4GiB")}, 80, []string{"policy         pool: one block", "largest pool   40 GiB", "limit          4 GiB for each process", "through RMM    none"}},
		"async":              {PapermillRMM{Mode: "async", Allocators: []string{"cupy", "torch"}}, 80, []string{"first pool     the driver's default", "limit          none", "through RMM    cupy, torch"}},
		"percent of what":    {PapermillRMM{Mode: "pool", MaximumPool: rmmShare(t, "50%")}, 0, []string{"papermill would exit with 20"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewTestEnv(t)
			e.GPU = rmmProber(c.free * rmmGiB)
			s := &RMM{Action: "show", Policy: c.rmm}
			rec, err := Execute(t.Context(), e.Env, s)
			require.NoError(t, err)
			for _, text := range c.want {
				assert.Contains(t, e.Out.String(), text)
			}
			assert.Equal(t, c.rmm.Mode == "auto" && c.free > 0 || c.rmm.Mode == "async", s.facts.Policy != nil)
			assert.Empty(t, rec.Children)
		})
	}
}

// rmmTorchPy is a torch that has memory of its own.
const rmmTorchPy = `
class cuda:
    class memory:
        change_current_allocator = staticmethod(lambda allocator: None)

def zeros(n, device): pass
`
