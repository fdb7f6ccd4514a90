package steps

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

// millUntil is a cell's source that holds a function which waits until a sample of
// the processes' memory lies above a size.
func millUntil(e *TestEnv) string {
	return fmt.Sprintf(`
import json, time
def sampled(above):
    begun = time.time()
    for _ in range(600):
        for line in open(%q).read().split("\n")[:-1]:
            host = json.loads(line).get("host")
            if host and json.loads(line)["t"] > 1000 * begun and host["rss_bytes"] > above:
                return
        time.sleep(0.1)
    raise AssertionError("no such sample")
`, e.Run.Path("logs", "gpu.ndjson"))
}

// Without a GPU the host's memory is sampled, and the cell that held it is named.
func TestPapermillWatchesTheHost(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	s := millStep(millWrite(t, "nb", nbtest.New(
		nbtest.Code(millUntil(e)), nbtest.Code("x = b'x' * (300 << 20)\nsampled(300 << 20)"), nbtest.Code("del x\nsampled(0)"),
	)))
	s.GPUSampleInterval = 20 * time.Millisecond
	rec, facts := millRun(t, e, t.Context(), s)
	require.Nil(t, rec.Failure)
	w := facts.Notebooks[0].Watch
	require.NotNil(t, w)
	assert.Equal(t, "logs/gpu.ndjson", w.File)
	assert.Zero(t, w.GPUSamples)
	assert.Contains(t, w.GPUError, "--gpu off")
	assert.Empty(t, w.Devices)
	assert.Greater(t, w.HostPeakBytes, uint64(300<<20))
	assert.Equal(t, 3, w.CellsTimed)
	require.Len(t, w.Cells, 3)
	cell, after := w.Cells[1], w.Cells[2]
	assert.Equal(t, 2, cell.Number)
	assert.Positive(t, cell.Seconds)
	require.NotNil(t, cell.HostPeakBytes)
	assert.Greater(t, *cell.HostPeakBytes, uint64(300<<20))
	assert.Contains(t, cell.Source, "300 << 20")
	require.NotNil(t, after.HostPeakBytes)
	assert.Nil(t, cell.GPUPeakBytes)
	require.NotNil(t, w.Timeline)
	assert.NotEmpty(t, w.Timeline.HostBytes)
	assert.Len(t, rec.Children, 1, "what watches is none of the notebook's programs")

	f, err := os.Open(e.Run.Path("logs", "gpu.ndjson"))
	require.NoError(t, err)
	defer f.Close()
	hosts, events := 0, []string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var l struct {
			UnixMilli int64 `json:"t"`
			Host      *struct {
				RSSBytes uint64 `json:"rss_bytes"`
			} `json:"host"`
			Event string `json:"event"`
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &l), lines.Text())
		assert.Positive(t, l.UnixMilli)
		if l.Host != nil {
			hosts++
		} else {
			events = append(events, l.Event)
		}
	}
	assert.Greater(t, hosts, 10)
	assert.Equal(t, []string{"begun", "ended"}, events)
}

func TestPapermillWatchOff(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	_, facts := millRun(t, e, t.Context(), millStep(millWrite(t, "nb", nbtest.New(nbtest.Code("a = 1")))))
	assert.Nil(t, facts.Notebooks[0].Watch)
	assert.NoFileExists(t, e.Run.Path("logs", "gpu.ndjson"))
}

func TestPapermillWatchInterval(t *testing.T) {
	for _, every := range []time.Duration{-1, time.Millisecond} {
		require.Error(t, watchCheck(every))
		assert.Equal(t, record.Usage, record.AsFailure(watchCheck(every)).Kind)
	}
	assert.NoError(t, watchCheck(0))
	assert.NoError(t, watchCheck(10*time.Millisecond))
}

// A host that runs out of memory: the hint has the figures and the cell.
func TestPapermillWatchHostMemoryHint(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	s := millStep(millWrite(t, "nb", nbtest.New(
		nbtest.Code(millUntil(e)+"import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))"),
		nbtest.Code("x = b'x' * (300 << 20)\nsampled(300 << 20)\ny = bytearray(1 << 32)"),
	)))
	s.GPUSampleInterval = 20 * time.Millisecond
	rec, _ := millRun(t, e, t.Context(), s)
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.OutOfMemory, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Hint, "host memory: the notebook's processes held up to ")
	assert.Contains(t, rec.Failure.Hint, "most in cell 2")
	assert.False(t, strings.Contains(rec.Failure.Hint, "--variant lite"), "it is lite already")
}
