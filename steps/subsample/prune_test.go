package subsample

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/steps/steptest"
)

// keep puts something into the cache that was used so many hours ago.
func keep(t *testing.T, ws *artifacts.Workspace, name string, hours int, bytes int) {
	dir := ws.Path("cache", "subsample", name)
	require.NoError(t, os.MkdirAll(dir, 0o775))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data"), make([]byte, bytes), 0o664))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{}"), 0o664))
	used := time.Now().Add(-time.Duration(hours) * time.Hour)
	require.NoError(t, os.Chtimes(filepath.Join(dir, "manifest.json"), used, used))
}

func TestCachedPrunes(t *testing.T) {
	ws, err := artifacts.OpenWorkspace(t.TempDir())
	require.NoError(t, err)
	for i := 1; i <= keptMost+3; i++ {
		keep(t, ws, fmt.Sprintf("old%02d", i), i, 1000)
	}
	// Somebody copies the oldest one, and writes one; another one was killed.
	for _, key := range []string{fmt.Sprintf("old%02d", keptMost+3), "busy"} {
		unlock, err := ws.Lock(lockName(key))
		require.NoError(t, err)
		defer unlock()
	}
	keep(t, ws, ".busy.1", 0, 10)
	keep(t, ws, ".killed.1", 0, 10)

	c, _ := cutter(t)
	var notes []string
	c.Note = func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	in, out := pbmc(t), filepath.Join(t.TempDir(), "out.h5ad")
	o := Options{MaxCells: 100, MaxGenes: 50}
	_, err = c.Cached(t.Context(), ws, in, out, o, nil)
	require.NoError(t, err)

	dir := ws.Path("cache", "subsample")
	left := entries(t, dir)
	assert.Len(t, left, 1+keptMost+1, "busy one's part, %d of which one is new, the oldest that is in use", keptMost)
	assert.Contains(t, left, ".busy.1")
	assert.Contains(t, left, fmt.Sprintf("old%02d", keptMost+3))
	assert.Contains(t, left, fmt.Sprintf("old%02d", keptMost-1))
	assert.NotContains(t, left, fmt.Sprintf("old%02d", keptMost))
	require.Len(t, notes, 1)
	assert.Contains(t, notes[0], "cache/subsample: 3 that were not used")

	// What is used is not the oldest any more.
	names, err := keptByUse(dir)
	require.NoError(t, err)
	key := names[0]
	long := time.Now().Add(-1000 * time.Hour)
	require.NoError(t, os.Chtimes(filepath.Join(dir, key, "manifest.json"), long, long))
	_, err = c.Cached(t.Context(), ws, in, out, o, nil)
	require.NoError(t, err)
	names, err = keptByUse(dir)
	require.NoError(t, err)
	assert.Equal(t, key, names[0])
}

// TestCachedMakesRoom has a disk that is full of what is kept.
func TestCachedMakesRoom(t *testing.T) {
	disk, ok := steptest.SmallDisk(t, 12<<20)
	if !ok {
		return
	}
	ws, err := artifacts.OpenWorkspace(disk)
	require.NoError(t, err)
	keep(t, ws, "old", 1, 11<<20)
	c, cuts := cutter(t)
	c.Note = t.Logf
	in, out := pbmc(t), filepath.Join(disk, "out.h5ad")
	_, err = c.Cached(t.Context(), ws, in, out, Options{MaxCells: 600, MaxGenes: 700}, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 2, cuts.Load())
	assert.NoDirExists(t, ws.Path("cache", "subsample", "old"))
	assert.FileExists(t, out)
	assert.Len(t, entries(t, ws.Path("cache", "subsample")), 1)
}
