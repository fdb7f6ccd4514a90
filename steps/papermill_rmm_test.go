package steps

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/steps/inject"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

const rmmGiB = 1 << 30

func rmmShare(t *testing.T, text string) *units.Share {
	t.Helper()
	var s units.Share
	require.NoError(t, s.UnmarshalText([]byte(text)))
	return &s
}

// rmmFake is papermill on one notebook in whose kernel a stand-in for rmm is found.
func rmmFake(t *testing.T, set func(*Papermill), cells ...nbtest.Cell) *Papermill {
	t.Helper()
	fake, err := filepath.Abs("inject/tests/fake")
	require.NoError(t, err)
	s := millStep(millWrite(t, "nb", nbtest.New(cells...)))
	s.PapermillOptions.Env = []string{"PYTHONPATH=" + fake}
	s.RMM.Mode, s.RMM.Allocators = "pool", []string{"cupy"}
	if set != nil {
		set(s)
	}
	return s
}

const rmmOwnPool = "rmm.reinitialize(pool_allocator=True, devices=[0, 1])"

func TestPapermillRMMApplied(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	rec, facts := millRun(t, e, t.Context(), rmmFake(t, func(s *Papermill) { s.RMM.MemoryLimit = rmmShare(t, "4GiB") },
		nbtest.Code("import rmm, cupy"), nbtest.Code("cupy.cuda.allocator(1000)"), nbtest.Code(rmmOwnPool), nbtest.Code("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import rmm'], check=True)"),
	))
	require.Nil(t, rec.Failure)
	r := facts.Notebooks[0].RMM
	require.NotNil(t, r)
	limit := uint64(4 * rmmGiB)
	assert.Equal(t, record.RMMPolicy{Mode: "pool", LimitBytes: &limit, Allocators: []string{"cupy"}}, r.Policy)
	assert.EqualValues(t, 1000, r.PeakBytes)
	assert.EqualValues(t, 1, r.Allocations)
	assert.Equal(t, 1, r.Overrides)
	assert.Empty(t, r.Error)
	require.Len(t, r.Processes, 2, "the kernel and its child")
	var kernel record.RMMProcess
	for _, p := range r.Processes {
		if len(p.Overrides) > 0 {
			kernel = p
		}
	}
	assert.Contains(t, strings.Join(kernel.Argv, " "), "ipykernel")
	assert.Equal(t, "applied", kernel.State)
	assert.Equal(t, []int{0}, kernel.Devices)
	assert.Equal(t, "statistics(limiting(pool(cuda)))", kernel.Resource)
	assert.Equal(t, []string{"cupy"}, kernel.Allocators)
	assert.Equal(t, limit, *kernel.InitialPoolBytes)
	assert.Equal(t, limit, *kernel.MaximumPoolBytes)
	assert.Equal(t, []record.RMMOverride{{Call: "reinitialize", Asked: `{"pool_allocator": true, "devices": [0, 1]}`, Applied: `{"pool_allocator": true, "devices": [0]}`}}, kernel.Overrides)
}

func TestPapermillRMMLimit(t *testing.T) {
	t.Parallel()
	rec, facts := millRun(t, NewTestEnv(t), t.Context(), rmmFake(t, func(s *Papermill) { s.RMM.MemoryLimit = rmmShare(t, "1GiB") },
		nbtest.Code("import rmm, cupy\n"+rmmOwnPool), nbtest.Code("cupy.cuda.allocator(3 << 30)"),
	))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.OutOfMemory, rec.Failure.Kind, rec.Failure.Message)
	assert.Contains(t, rec.Failure.Message, "cell 2 raised MemoryError: std::bad_alloc")
	assert.Equal(t, "applied", facts.Notebooks[0].RMM.Processes[0].State)
	assert.Empty(t, facts.Notebooks[0].RMM.Error)
}

// TestPapermillRMMFails: a policy that did not hold fails a notebook that does not
// mind, and does not hide what failed in one that does.
func TestPapermillRMMFails(t *testing.T) {
	blind := func(s *Papermill) { s.PapermillOptions.Env = append(s.PapermillOptions.Env, "FAKE_GPUS=0") }
	auto := func(s *Papermill) {
		s.RMM.Mode, s.GPU, s.PapermillOptions.Env = "auto", GPURequired, []string{"PYTHONPATH=" + rmmCuPyOnly(t)}
	}
	for name, c := range map[string]struct {
		set     func(*Papermill)
		cells   []nbtest.Cell
		kind    record.Kind
		message string
		note    string
	}{
		"no GPU, caught":       {blind, []nbtest.Cell{nbtest.Code("try:\n    import rmm\nexcept Exception:\n    pass")}, record.NoGPU, "could not be applied in process", ""},
		"no GPU, raised":       {blind, []nbtest.Cell{nbtest.Code("import rmm")}, record.NoGPU, "cudaErrorNoDevice", ""},
		"no GPU, other error":  {blind, []nbtest.Cell{nbtest.Code("try:\n    import rmm\nexcept Exception:\n    pass"), nbtest.Code("1/0")}, record.NotebookFailed, "cell 2 raised ZeroDivisionError", "cudaErrorNoDevice"},
		"no hook":              {nil, []nbtest.Cell{nbtest.Code("import os\nfor k in list(os.environ): k.startswith('STEP_RUNNER_RMM') and os.environ.pop(k)\nimport subprocess, sys"), nbtest.Code("import sys\nsys.meta_path[:] = [f for f in sys.meta_path if 'step_runner' not in type(f).__module__]"), nbtest.Code("import rmm")}, record.MissingTool, "did not load step-runner's sitecustomize", ""},
		"forged receipt":       {nil, []nbtest.Cell{nbtest.Code("import os\nopen(os.path.join(os.path.dirname(os.environ['STEP_RUNNER_RMM_POLICY']), 'rmm-1-1.json'), 'w').write('{')")}, record.GPUBroken, "receipt rmm-1-1.json", ""},
		"ended while imported": {nil, []nbtest.Cell{nbtest.Code("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import sys, os; sys.modules[\"rmm._cuda.gpu\"] = type(\"x\", (), {\"getDeviceCount\": lambda: os._exit(0), \"getDevice\": None}); import rmm'])")}, record.GPUBroken, "while it imported rmm", ""},
		"rmm missing":          {func(s *Papermill) { s.PapermillOptions.Env = []string{"PYTHONPATH=" + rmmCuPyOnly(t)} }, []nbtest.Cell{nbtest.Code("import cupy")}, record.MissingTool, "rmm is not installed", ""},
		"rmm missing, auto":    {auto, []nbtest.Cell{nbtest.Code("import cupy")}, "", "", "rmm is not installed"},
		"no rmm":               {nil, []nbtest.Cell{nbtest.Code("s = '''\nimport rmm\n'''")}, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := NewTestEnv(t)
			e.GPU = rmmProber(80 * rmmGiB)
			rec, facts := millRun(t, e, t.Context(), rmmFake(t, c.set, c.cells...))
			assert.Contains(t, strings.Join(rec.Notes, "\n"), c.note)
			require.NotNil(t, facts.Notebooks[0].RMM)
			if c.kind == "" {
				require.Nil(t, rec.Failure)
				return
			}
			require.NotNil(t, rec.Failure)
			assert.Equal(t, c.kind, rec.Failure.Kind, rec.Failure.Message)
			assert.Contains(t, rec.Failure.Message, c.message)
			assert.Equal(t, c.kind, facts.Notebooks[0].Kind)
			assert.NotEmpty(t, facts.Notebooks[0].RMM.Error)
		})
	}
}

// rmmCuPyOnly is a directory with the fake cupy and without rmm.
func rmmCuPyOnly(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	fake, err := filepath.Abs("inject/tests/fake/cupy")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(fake, filepath.Join(dir, "cupy")))
	return dir
}

// TestPapermillRMMOff: the notebook is left alone, also when this step-runner is
// itself run by a notebook that is not.
func TestPapermillRMMOff(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*Papermill){
		"off":                func(s *Papermill) { s.RMM.Mode = "off" },
		"auto without a GPU": func(s *Papermill) { s.RMM.Mode = "auto" },
	} {
		e := NewTestEnv(t, inject.PolicyVar+"=/outer/policy.json")
		rec, facts := millRun(t, e, t.Context(), rmmFake(t, func(s *Papermill) { s.PapermillOptions.Env, s.Lite.Subsample = nil, new(bool); set(s) }, nbtest.Code(
			"import os, sys\nassert 'PYTHONPATH' not in os.environ and 'STEP_RUNNER_RMM_POLICY' not in os.environ\nassert not [m for m in sys.modules if 'step_runner' in m]",
		)))
		require.Nil(t, rec.Failure, name)
		assert.Nil(t, facts.Notebooks[0].RMM)
		assert.Equal(t, name != "off", strings.Contains(strings.Join(rec.Notes, "\n"), "--rmm auto leaves the notebooks' memory alone: not looked at"))
	}
}

// rmmProber finds GPUs with so much free memory each.
type rmmProber uint64

func (p rmmProber) Probe(context.Context) (record.GPUFacts, error) {
	if p == 0 {
		return record.GPUFacts{GPUs: []record.GPU{}}, record.Failf(record.NoDriver, "no driver library")
	}
	total := uint64(80 * rmmGiB)
	free := uint64(p)
	device := record.CUDADevice{UUID: "GPU-1", MemoryTotalBytes: total, MemoryFreeBytes: free}
	broken := record.CUDADevice{Ordinal: 1, UUID: "GPU-2", Error: "no memory could be allocated"}
	return record.GPUFacts{GPUs: []record.GPU{{UUID: "GPU-1", MemoryTotalBytes: &total, MemoryFreeBytes: &free}}, CUDADevices: []record.CUDADevice{device, broken}}, nil
}

func TestPapermillRMMPolicy(t *testing.T) {
	ptr := func(n uint64) *uint64 { return &n }
	for name, c := range map[string]struct {
		free   uint64
		policy string
		rmm    PapermillRMM
		want   *inject.Policy
		kind   record.Kind
	}{
		"off":                     {80, GPURequired, PapermillRMM{Mode: "off"}, nil, ""},
		"auto":                    {80, GPURequired, PapermillRMM{Mode: "auto"}, &inject.Policy{Mode: "pool"}, ""},
		"auto without a GPU":      {0, GPUOptional, PapermillRMM{Mode: "auto"}, nil, ""},
		"pool without a GPU":      {0, GPUOptional, PapermillRMM{Mode: "pool"}, nil, record.NoGPU},
		"pool, nobody looked":     {80, GPUOff, PapermillRMM{Mode: "pool"}, &inject.Policy{Mode: "pool"}, ""},
		"percent":                 {40, GPURequired, PapermillRMM{Mode: "async", InitialPool: rmmShare(t, "25%"), MemoryLimit: rmmShare(t, "50%")}, &inject.Policy{Mode: "async", InitialPoolBytes: ptr(10 * rmmGiB), LimitBytes: ptr(20 * rmmGiB)}, ""},
		"percent, nobody looked":  {40, GPUOff, PapermillRMM{Mode: "pool", MaximumPool: rmmShare(t, "25%")}, nil, record.BadInput},
		"bytes and the allocator": {40, GPURequired, PapermillRMM{Mode: "pool", MaximumPool: rmmShare(t, "1KiB"), Allocators: []string{"torch"}}, &inject.Policy{Mode: "pool", MaximumPoolBytes: ptr(1024), Allocators: []string{"torch"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewTestEnv(t)
			e.GPU = rmmProber(c.free * rmmGiB)
			var facts record.GPUFacts
			var got *inject.Policy
			_, err := Execute(t.Context(), e.Env, &rmmStep{func(j *Job) error {
				needs := GPUNeeds{GPU: c.policy, MinMemory: new(units.Bytes)}
				if err := needs.check(t.Context(), j, &facts); err != nil {
					return err
				}
				var err error
				got, err = c.rmm.policy(j, &facts, c.policy != GPUOff)
				return err
			}})
			if c.kind != "" {
				require.Error(t, err)
				assert.Equal(t, c.kind, record.AsFailure(err).Kind, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

// rmmStep is a step that is only a function.
type rmmStep struct{ run func(*Job) error }

func (*rmmStep) ID() record.ID                         { return record.Papermill }
func (*rmmStep) Facts() any                            { return &record.PapermillFacts{} }
func (s *rmmStep) Run(_ context.Context, j *Job) error { return s.run(j) }

func TestPapermillRMMRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		rmm     PapermillRMM
		message string
	}{
		"limit without a mode":   {PapermillRMM{Mode: "off", MemoryLimit: rmmShare(t, "1GiB")}, "--gpu-memory-limit has no effect with --rmm off"},
		"pool without a pool":    {PapermillRMM{Mode: "cuda", InitialPool: rmmShare(t, "1GiB")}, "--rmm-initial-pool has no effect with --rmm cuda"},
		"maximum without a pool": {PapermillRMM{Mode: "async", MaximumPool: rmmShare(t, "50%")}, "--rmm-maximum-pool has no effect with --rmm async"},
		"nothing":                {PapermillRMM{Mode: "pool", MemoryLimit: rmmShare(t, "0")}, "--gpu-memory-limit 0"},
		"first above largest":    {PapermillRMM{Mode: "pool", InitialPool: rmmShare(t, "60%"), MaximumPool: rmmShare(t, "50%")}, "is more than --rmm-maximum-pool 50%"},
		"first above limit":      {PapermillRMM{Mode: "auto", InitialPool: rmmShare(t, "2GiB"), MemoryLimit: rmmShare(t, "1GiB")}, "is more than --gpu-memory-limit 1 GiB"},
		"allocator":              {PapermillRMM{Mode: "pool", Allocators: []string{"jax"}}, "--rmm-allocators jax"},
	} {
		t.Run(name, func(t *testing.T) {
			s := millStep(millWrite(t, "nb", nbtest.New(nbtest.Code("1"))))
			s.RMM = c.rmm
			rec, _ := millRun(t, NewTestEnv(t), t.Context(), s)
			require.NotNil(t, rec.Failure)
			assert.Equal(t, record.Usage, rec.Failure.Kind)
			assert.Contains(t, rec.Failure.Message, c.message)
			assert.Empty(t, rec.Children)
		})
	}
	for _, fine := range []PapermillRMM{
		{}, {Mode: "off", Allocators: []string{"cupy"}},
		{Mode: "pool", InitialPool: rmmShare(t, "0"), MaximumPool: rmmShare(t, "1GiB"), MemoryLimit: rmmShare(t, "50%"), Allocators: []string{"cupy", "torch"}},
	} {
		assert.NoError(t, fine.check())
	}
}
