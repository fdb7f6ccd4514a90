//go:build gpu

package gpu

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// These tests run whole notebooks on the GPU. They take step-runner and a Python that
// has papermill, ipykernel and CuPy from the environment.

// notebookRun runs a notebook with this step-runner and returns its record.
func notebookRun(t testing.TB, cells []string, flags ...string) (*record.Record, *record.Notebook) {
	t.Helper()
	binary := os.Getenv("STEP_RUNNER_TEST_BINARY")
	if binary == "" {
		t.Skip("STEP_RUNNER_TEST_BINARY names no step-runner")
	}
	dir := t.TempDir()
	type cell struct {
		ID       string         `json:"id"`
		Type     string         `json:"cell_type"`
		Source   string         `json:"source"`
		Metadata map[string]any `json:"metadata"`
		Outputs  []any          `json:"outputs"`
		Count    *int           `json:"execution_count"`
	}
	var list []cell
	for i, source := range cells {
		list = append(list, cell{ID: string(rune('a' + i)), Type: "code", Source: source, Metadata: map[string]any{}, Outputs: []any{}})
	}
	text, err := json.Marshal(map[string]any{"nbformat": 4, "nbformat_minor": 5, "cells": list, "metadata": map[string]any{
		"kernelspec": map[string]any{"name": "python3", "display_name": "Python 3", "language": "python"},
	}})
	require.NoError(t, err)
	notebook := filepath.Join(dir, "nb.ipynb")
	require.NoError(t, os.WriteFile(notebook, text, 0o600))
	argv := append([]string{"papermill", "--workspace", filepath.Join(dir, "ws"), "--run", "r", "--gpu-min-memory", "0"}, flags...)
	cmd := exec.Command(binary, append(argv, notebook)...)
	var voice bytes.Buffer
	cmd.Stdout, cmd.Stderr = &voice, &voice
	_ = cmd.Run()
	rec, err := record.ReadFile(filepath.Join(dir, "ws", "runs", "r", "records", record.Papermill.File()))
	require.NoError(t, err, voice.String())
	facts := rec.Facts.(*record.PapermillFacts)
	require.Len(t, facts.Notebooks, 1, voice.String())
	samples, _ := os.ReadFile(filepath.Join(dir, "ws", "runs", "r", "logs", "gpu.ndjson"))
	t.Logf("%d bytes of samples; %s", len(samples), asJSON(facts.Notebooks[0].Watch))
	if rec.Failure != nil {
		t.Logf("%s: %s\nhint: %s", rec.Failure.Kind, rec.Failure.Message, rec.Failure.Hint)
	}
	return rec, &facts.Notebooks[0]
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

const importCuPy = "import cupy, time\ncupy.zeros(1).sum()\ncupy.cuda.Device().synchronize()"

// The peak of a cell is what it allocated, and comes back.
func TestGPUWatchPeakOfACell(t *testing.T) {
	rec, nb := notebookRun(t, []string{
		importCuPy,
		"time.sleep(1)",
		"x = cupy.zeros(2 << 30, dtype=cupy.uint8)\ncupy.cuda.Device().synchronize()\ntime.sleep(1)",
		"del x\ncupy.get_default_memory_pool().free_all_blocks()\ntime.sleep(1)",
	})
	require.Nil(t, rec.Failure)
	w := nb.Watch
	require.NotNil(t, w)
	require.Empty(t, w.GPUError)
	require.Len(t, w.Cells, 4)
	before, held, after := w.Cells[1].GPUPeakBytes, w.Cells[2].GPUPeakBytes, w.Cells[3].GPUPeakBytes
	require.NotNil(t, before)
	require.NotNil(t, held)
	require.NotNil(t, after)
	assert.InDelta(t, 2<<30, float64(*held-*before), 64<<20)
	require.NotEmpty(t, w.Devices)
	d := w.Devices[0]
	require.NotNil(t, d.BeforeBytes)
	require.NotNil(t, d.AfterBytes)
	assert.InDelta(t, float64(*d.BeforeBytes), float64(*d.AfterBytes), 64<<20, "it came back")
	assert.Empty(t, w.Leaked)
	assert.NotEmpty(t, w.Timeline.GPUBytes)
	t.Logf("before %d, held %d, after %d; XIDs watched: %v", *before, *held, *after, w.XIDsWatched)
}

// A process that outlives the notebook with GPU memory is found and ended.
func TestGPUWatchLeakedProcess(t *testing.T) {
	rec, nb := notebookRun(t, []string{
		"import subprocess, sys, time",
		"p = subprocess.Popen([sys.executable, '-c', 'import cupy, time; x = cupy.zeros(1 << 30, dtype=cupy.uint8); cupy.cuda.Device().synchronize(); print(\"held\", flush=True); time.sleep(600)'], stdout=subprocess.PIPE, start_new_session=True)\np.stdout.readline()",
		"time.sleep(3)\nprint(p.pid)",
	})
	require.Nil(t, rec.Failure)
	require.Len(t, nb.Watch.Leaked, 1)
	leak := nb.Watch.Leaked[0]
	assert.Contains(t, leak.Name, "python")
	if leak.Bytes == nil {
		t.Log("the driver numbers processes as the host does: what the process held is unknown")
	} else {
		assert.GreaterOrEqual(t, *leak.Bytes, uint64(1<<30))
		assert.Less(t, *leak.Bytes, uint64(3<<30))
	}
	assert.True(t, slices.ContainsFunc(rec.Notes, func(n string) bool { return strings.Contains(n, "behind, which held") }), rec.Notes)
	d := nb.Watch.Devices[0]
	require.NotNil(t, d.AfterBytes)
	assert.InDelta(t, float64(*d.BeforeBytes), float64(*d.AfterBytes), 64<<20, "it was ended")
}

// Out of memory: the hint has the cell and the figures.
func TestGPUWatchOutOfMemory(t *testing.T) {
	rec, _ := notebookRun(t, []string{importCuPy, "x = cupy.zeros(1 << 30, dtype=cupy.uint8)\ntime.sleep(1)\ny = cupy.zeros(1 << 40, dtype=cupy.uint8)"}, "--variant", "original")
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.OutOfMemory, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Hint, "most in cell 2")
	assert.Contains(t, rec.Failure.Hint, "1 TiB more were asked for")
	assert.Contains(t, rec.Failure.Hint, "--variant lite")

	rec, _ = notebookRun(t, []string{"import rmm, cupy, time", "x = cupy.zeros(3 << 30, dtype=cupy.uint8)"}, "--rmm", "cuda", "--gpu-memory-limit", "1GiB")
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.OutOfMemory, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Hint, "the limit is 1 GiB")
	assert.Contains(t, rec.Failure.Hint, "raise --gpu-memory-limit")
}

// An illegal address is the program's error: the class stays, the hint names the XID
// where the driver tells of XIDs.
func TestGPUWatchApplicationXID(t *testing.T) {
	rec, nb := notebookRun(t, []string{importCuPy, "k = cupy.RawKernel('extern \"C\" __global__ void f(int *p) { p[0] = 1; }', 'f')\nk((1,), (1,), (cupy.uint64(16),))\ncupy.cuda.Device().synchronize()", "time.sleep(1)"})
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.NotebookFailed, rec.Failure.Kind)
	if nb.Watch.XIDsWatched {
		t.Logf("XIDs: %+v", nb.Watch.XIDs)
	}
}

// What a notebook loses by being watched, and what the watching child costs. It only
// logs: times are for people.
func TestGPUWatchCost(t *testing.T) {
	work := "a = cupy.random.rand(4096, 4096)\nfor _ in range(300):\n    b = a @ a\ncupy.cuda.Device().synchronize()"
	seconds := map[string][]float64{}
	for range 3 {
		for _, every := range []string{"0", "100ms", "10ms"} {
			rec, nb := notebookRun(t, []string{importCuPy, work, work}, "--gpu-sample-interval", every)
			require.Nil(t, rec.Failure)
			seconds[every] = append(seconds[every], nb.Seconds)
		}
	}
	t.Logf("seconds of the notebook by interval: %v", seconds)

	self, err := os.Executable()
	require.NoError(t, err)
	for _, every := range []string{"100ms", "10ms"} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		cmd := exec.CommandContext(ctx, self, "gpu-probe", WatchDevices, every)
		start := time.Now()
		_ = cmd.Run()
		cancel()
		used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
		t.Logf("watching child at %s: %.2f %% of a core over %s, %d MiB", every, 100*cpu.Seconds()/time.Since(start).Seconds(), time.Since(start).Round(time.Second), used.Maxrss>>10)
	}
}
