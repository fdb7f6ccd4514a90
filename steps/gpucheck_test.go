package steps

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
)

// fakeProber answers with what it holds.
type fakeProber struct {
	facts record.GPUFacts
	err   error
}

func (p fakeProber) Probe(context.Context) (record.GPUFacts, error) { return p.facts, p.err }

// h100 is a machine with one H100 that has free bytes free.
func h100(free uint64) fakeProber {
	total, use := uint64(80<<30), uint32(0)
	return fakeProber{facts: record.GPUFacts{Driver: "580.159.04", CUDA: "13.0", Source: "nvml",
		GPUs:        []record.GPU{{Name: "NVIDIA H100 80GB HBM3", UUID: "GPU-1234", MemoryTotalBytes: &total, MemoryFreeBytes: &free, UtilizationPercent: &use, ComputeCapability: "9.0"}},
		CUDADevices: []record.CUDADevice{{Name: "NVIDIA H100 80GB HBM3", UUID: "GPU-1234"}}}}
}

func TestGPUNeedsPolicy(t *testing.T) {
	broken := fakeProber{facts: record.GPUFacts{Driver: "580"}, err: record.Failf(record.GPUBroken, "fabric manager")}
	for name, c := range map[string]struct {
		policy string
		prober fakeProber
		kind   record.Kind
		error  string
		driver string
	}{
		"required, there":     {GPURequired, h100(79 << 30), "", "", "580.159.04"},
		"required, broken":    {GPURequired, broken, record.GPUBroken, "", "580"},
		"required, too small": {GPURequired, h100(1 << 30), record.GPUInsufficient, "", "580.159.04"},
		"optional, there":     {GPUOptional, h100(79 << 30), "", "", "580.159.04"},
		"optional, broken":    {GPUOptional, broken, "", "fabric manager", "580"},
		"optional, too small": {GPUOptional, h100(1 << 30), "", "1 GiB free, less than 4 GiB", "580.159.04"},
		"off, there":          {GPUOff, h100(79 << 30), "", "not looked at", ""},
		"off, broken":         {GPUOff, broken, "", "not looked at", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewTestEnv(t)
			e.GPU = c.prober
			rec, facts := &record.Record{}, &record.GPUFacts{}
			err := (&GPUNeeds{GPU: c.policy}).check(context.Background(), &Job{Env: e.Env, Rec: rec}, facts)
			if c.kind != "" {
				require.Error(t, err)
				assert.Equal(t, c.kind, record.AsFailure(err).Kind)
			} else {
				assert.NoError(t, err)
			}
			assert.Contains(t, facts.GPUError, c.error)
			assert.Equal(t, c.error == "", facts.GPUError == "")
			assert.Equal(t, c.driver, facts.Driver)
			assert.Equal(t, c.policy == GPUOptional && c.error != "", noted(rec, "--gpu optional allows"))
		})
	}
}

func TestMinMemory(t *testing.T) {
	zero, some := units.Bytes(0), units.Bytes(20<<30)
	assert.Equal(t, uint64(4<<30), minMemory(nil, artifacts.Lite))
	assert.Equal(t, uint64(8<<30), minMemory(nil, artifacts.Original))
	assert.Zero(t, minMemory(&zero, artifacts.Original))
	assert.Equal(t, uint64(20<<30), minMemory(&some, artifacts.Lite))
}

func TestGPUCheck(t *testing.T) {
	e := NewTestEnv(t)
	e.GPU = h100(6 << 30)
	rec, err := Execute(context.Background(), e.Env, &GPUCheck{MinCount: 1})
	require.NoError(t, err)
	assert.Equal(t, "GPU-1234", rec.Facts.(*record.GPUFacts).GPUs[0].UUID)
	assert.Contains(t, e.Out.String(), "driver 580.159.04, CUDA 13.0\n")
	assert.Regexp(t, `0 +NVIDIA H100 80GB HBM3 +GPU-1234 +9.0 +6 GiB +80 GiB +0% +- +ok`, e.Out)

	// What does not fit is shown all the same.
	e = NewTestEnv(t)
	e.GPU, e.Variant = h100(6<<30), artifacts.Original
	_, err = Execute(context.Background(), e.Env, &GPUCheck{MinCount: 1})
	assert.Equal(t, record.GPUInsufficient, record.AsFailure(err).Kind)
	assert.Contains(t, e.Out.String(), "GPU-1234")
	assert.NotContains(t, e.Out.String(), "less than", "the voice is on stderr")
}

func TestGPUCheckFindings(t *testing.T) {
	e := NewTestEnv(t)
	p := h100(6 << 30)
	pending := true
	p.facts.GPUs[0].RemapPending = &pending
	e.GPU = p
	rec, err := Execute(context.Background(), e.Env, &GPUCheck{})
	require.NoError(t, err)
	assert.True(t, noted(rec, "waits for a reset"), rec.Notes)
}

func TestGPUCheckToldToStop(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := record.Failf(record.TimedOut, "told to stop")
	cancel(stop)
	e := NewTestEnv(t)
	e.GPU = fakeProber{err: stop}
	_, err := Execute(ctx, e.Env, &Setup{GPUNeeds: GPUNeeds{GPU: GPUOptional}})
	assert.Equal(t, record.TimedOut, record.AsFailure(err).Kind)
}

// What setup saw says nothing of the container that runs the notebook.
func TestPapermillChecksItsOwnGPU(t *testing.T) {
	notebook := filepath.Join(t.TempDir(), "a.ipynb")
	require.NoError(t, os.WriteFile(notebook, []byte(`{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}`), 0o644))
	e := NewTestEnv(t)
	e.GPU = fakeProber{err: record.Failf(record.GPUPermission, "not in this container")}
	step := func(need string) *Papermill {
		s := millStep(notebook)
		s.GPU = need
		return s
	}
	rec, err := Execute(context.Background(), e.Env, step(GPURequired))
	assert.Equal(t, record.GPUPermission, record.AsFailure(err).Kind)
	assert.Empty(t, rec.Children)

	e = NewTestEnv(t)
	e.GPU = h100(1 << 30)
	rec, err = Execute(context.Background(), e.Env, step(GPUOptional))
	assert.Equal(t, record.NotebookInvalid, record.AsFailure(err).Kind, "it has gone on, and found no cell")
	facts := rec.Facts.(*record.PapermillFacts).GPU
	assert.Equal(t, "GPU-1234", facts.GPUs[0].UUID)
	assert.Contains(t, facts.GPUError, "1 GiB free")
}
