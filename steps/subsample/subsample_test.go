package subsample

import (
	"archive/zip"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/steptest"
)

// TestPython runs the suite of the cutting program.
func TestPython(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), steptest.Python(t), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), " passed")
}

// cutter runs the real program, and counts how often it cuts.
func cutter(t testing.TB) (Cutter, *atomic.Int32) {
	cuts := &atomic.Int32{}
	return Cutter{
		Python: steptest.Python(t),
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
		Run: func(ctx context.Context, s child.Spec) (child.Result, error) {
			text, err := os.ReadFile(s.Argv[len(s.Argv)-1])
			if err != nil {
				return child.Result{}, err
			}
			var r request
			if err := json.Unmarshal(text, &r); err == nil && r.Mode == "cut" {
				cuts.Add(1)
			}
			s.Env = os.Environ()
			return child.Exec{}.Run(ctx, s)
		},
	}, cuts
}

// pbmc copies the data set that comes with scanpy: 700 cells, 765 genes.
func pbmc(t *testing.T) string {
	found, err := filepath.Glob(filepath.Join(steptest.Root(t), ".cache/tools/lib/python*/site-packages/scanpy/datasets/10x_pbmc68k_reduced.h5ad"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	data, err := os.ReadFile(found[0])
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "in.h5ad")
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
}

func entries(t *testing.T, dir string) (names []string) {
	found, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names
}

func TestCut(t *testing.T) {
	c, _ := cutter(t)
	in := pbmc(t)
	before, err := artifacts.Digest(in)
	require.NoError(t, err)
	list := filepath.Join(t.TempDir(), "genes")
	require.NoError(t, os.WriteFile(list, []byte("# mine\nCD3D\n\n NOPE \n"), 0o600))
	out := filepath.Join(t.TempDir(), "out.h5ad")
	o := Options{MaxCells: 100, MaxGenes: 50, KeepGenes: []string{"@" + list, "LYZ"}}
	named := []Named{{Name: "MS4A1", Why: WhyNotebook}, {Name: "no gene", Why: WhyLiteral}}
	r, err := c.Cut(t.Context(), in, out, o, named)
	require.NoError(t, err)

	assert.Equal(t, record.WayCut, r.Way)
	assert.Equal(t, record.Shape{Cells: 700, Genes: 765}, r.Before)
	assert.Equal(t, record.Shape{Cells: 100, Genes: 50}, r.After)
	assert.Equal(t, []Named{{Name: "NOPE", Why: WhyKeepGenes}}, r.Missing)
	for _, want := range []Named{{Name: "CD3D", Why: WhyKeepGenes}, {Name: "LYZ", Why: WhyKeepGenes}, {Name: "MS4A1", Why: WhyNotebook}} {
		assert.Contains(t, r.Kept, want)
	}
	// The selection is the same on every machine and for ever.
	assert.Equal(t, "fe34a88760fad4b7dbd439ceade38ea855cd9b69179deb3167d9fdc8ec3fe2bc", r.CellsSHA256)
	assert.Equal(t, "0951212075739d36fc4cd52bd812d3554bd2f19b0010966415f3932e6e709869", r.GenesSHA256)
	after, err := artifacts.Digest(in)
	require.NoError(t, err)
	assert.Equal(t, before, after, "the source")
	assert.Equal(t, before.SHA256, r.Source.SHA256)
	written, err := artifacts.Digest(out)
	require.NoError(t, err)
	assert.Equal(t, written.SHA256, r.Output.SHA256)
	assert.Equal(t, []string{"out.h5ad", "out.h5ad.subsample.json"}, entries(t, filepath.Dir(out)))

	text, err := os.ReadFile(ManifestName(out))
	require.NoError(t, err)
	var m Manifest
	require.NoError(t, json.Unmarshal(text, &m))
	again, err := json.Marshal(r)
	require.NoError(t, err)
	manifest, err := json.Marshal(m.Result)
	require.NoError(t, err)
	assert.JSONEq(t, string(again), string(manifest))
	assert.Len(t, m.Cells, 100)
	assert.Len(t, m.Genes, 50)
}

func TestCutSmallEnough(t *testing.T) {
	c, _ := cutter(t)
	in := pbmc(t)
	out := filepath.Join(t.TempDir(), "out.h5ad")
	r, err := c.Cut(t.Context(), in, out, Options{MaxCells: 700, MaxGenes: 765}, nil)
	require.NoError(t, err)
	assert.Equal(t, record.WayWhole, r.Way)
	assert.Equal(t, r.Before, r.After)
	assert.Equal(t, r.Source.SHA256, r.Output.SHA256)
	// Who writes to the copy does not change the source.
	require.NoError(t, os.WriteFile(out, []byte("changed"), 0o600))
	now, err := artifacts.Digest(in)
	require.NoError(t, err)
	assert.Equal(t, r.Source.SHA256, now.SHA256)
}

func TestCutRefuses(t *testing.T) {
	c, _ := cutter(t)
	in := pbmc(t)
	data, err := os.ReadFile(in)
	require.NoError(t, err)
	write := func(data []byte) string {
		path := filepath.Join(t.TempDir(), "in.h5ad")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	small := Options{MaxCells: 10, MaxGenes: 10}
	bare := c
	bare.Python = "/usr/bin/env" // Runs nothing: ends with an exit code and no result.
	for name, tc := range map[string]struct {
		c    Cutter
		in   string
		o    Options
		kind record.Kind
		text string
	}{
		"truncated":    {c, write(data[:len(data)/2]), small, record.BadInput, "truncated"},
		"no HDF5":      {c, write([]byte("<html>404</html>")), small, record.BadInput, "no HDF5"},
		"not there":    {c, filepath.Join(t.TempDir(), "x.h5ad"), small, record.BadInput, "no such file"},
		"no column":    {c, in, Options{MaxCells: 10, MaxGenes: 10, StratifyBy: "donor"}, record.BadInput, "no column 'donor'"},
		"no gene file": {c, in, Options{MaxCells: 10, MaxGenes: 10, KeepGenes: []string{"@/no/such"}}, record.BadInput, "--keep-genes"},
		"limits":       {c, in, Options{MaxCells: 0, MaxGenes: 10}, record.Usage, "--max-cells"},
		"both":         {c, in, Options{MaxCells: 1, MaxGenes: 10, StratifyBy: "phase", Method: "blocks"}, record.Usage, "--stratify-by"},
		"no result":    {bare, in, small, record.Internal, "no result"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			out := filepath.Join(dir, "out.h5ad")
			require.NoError(t, os.WriteFile(out, []byte("earlier"), 0o600))
			_, err := tc.c.Cut(t.Context(), tc.in, out, tc.o, nil)
			require.Error(t, err)
			assert.Equal(t, tc.kind, record.AsFailure(err).Kind, err)
			assert.ErrorContains(t, err, tc.text)
			assert.Equal(t, []string{"out.h5ad"}, entries(t, dir))
			text, err := os.ReadFile(out)
			require.NoError(t, err)
			assert.Equal(t, "earlier", string(text))
		})
	}
	for name, out := range map[string]string{"itself": in, "in it": filepath.Join(filepath.Dir(in), "in.zarr", "x")} {
		t.Run(name, func(t *testing.T) {
			source := in
			if name == "in it" {
				source = filepath.Dir(out)
				require.NoError(t, os.Mkdir(source, 0o755))
			}
			_, err := c.Cut(t.Context(), source, out, small, nil)
			assert.ErrorContains(t, err, "the data itself")
		})
	}
}

// TestCutChanged writes to the source while it is cut.
func TestCutChanged(t *testing.T) {
	c, _ := cutter(t)
	in := pbmc(t)
	run := c.Run
	c.Run = func(ctx context.Context, s child.Spec) (child.Result, error) {
		res, err := run(ctx, s)
		f, ferr := os.OpenFile(in, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, ferr)
		defer f.Close()
		_, ferr = f.WriteString("more")
		require.NoError(t, ferr)
		return res, err
	}
	_, err := c.Cut(t.Context(), in, filepath.Join(t.TempDir(), "out.h5ad"), Options{MaxCells: 10, MaxGenes: 10}, nil)
	assert.ErrorContains(t, err, "changed while it was read")
}

func TestCached(t *testing.T) {
	c, cuts := cutter(t)
	in := pbmc(t)
	ws, err := artifacts.OpenWorkspace(t.TempDir())
	require.NoError(t, err)
	o := Options{MaxCells: 100, MaxGenes: 50}
	outs := make([]string, 3)
	results := make([]Result, 3)
	var wg sync.WaitGroup
	for i := range outs {
		outs[i] = filepath.Join(t.TempDir(), "out.h5ad")
		wg.Go(func() {
			r, err := c.Cached(t.Context(), ws, in, outs[i], o, nil)
			assert.NoError(t, err)
			results[i] = r
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, cuts.Load(), "runs at the same time cut once")
	assert.Equal(t, results[0].Output.SHA256, results[1].Output.SHA256)

	// A notebook that overwrites its data changes nobody else's.
	require.NoError(t, os.WriteFile(outs[0], []byte("mine"), 0o600))
	r, err := c.Cached(t.Context(), ws, in, outs[0], o, nil)
	require.NoError(t, err)
	assert.Equal(t, results[1].Output.SHA256, r.Output.SHA256)
	assert.EqualValues(t, 1, cuts.Load())

	for name, other := range map[string]Options{"seed": {MaxCells: 100, MaxGenes: 50, Seed: 1}, "cells": {MaxCells: 99, MaxGenes: 50}, "genes": {MaxCells: 100, MaxGenes: 50, KeepGenes: []string{"CD3D"}}} {
		before := cuts.Load()
		_, err := c.Cached(t.Context(), ws, in, outs[0], other, nil)
		require.NoError(t, err)
		assert.Equal(t, before+1, cuts.Load(), name)
	}

	// What was damaged in the cache is cut anew.
	kept, err := filepath.Glob(ws.Path("cache", "subsample", "*", "data"))
	require.NoError(t, err)
	require.Len(t, kept, 4)
	for _, path := range kept {
		require.NoError(t, os.WriteFile(path, []byte("bad"), 0o600))
	}
	before := cuts.Load()
	r, err = c.Cached(t.Context(), ws, in, outs[0], o, nil)
	require.NoError(t, err)
	assert.Equal(t, before+1, cuts.Load())
	assert.Equal(t, results[1].CellsSHA256, r.CellsSHA256)
}

func TestCachedSmallEnough(t *testing.T) {
	c, _ := cutter(t)
	ws, err := artifacts.OpenWorkspace(t.TempDir())
	require.NoError(t, err)
	r, err := c.Cached(t.Context(), ws, pbmc(t), filepath.Join(t.TempDir(), "out.h5ad"), Options{MaxCells: 1000, MaxGenes: 1000}, nil)
	require.NoError(t, err)
	assert.Equal(t, record.WayWhole, r.Way)
	assert.NoDirExists(t, ws.Path("cache", "subsample"))
}

func TestCutDiskFull(t *testing.T) {
	for name, size := range map[string]int64{"no room for the program": 16 << 10, "no room for the data": 600 << 10} {
		t.Run(name, func(t *testing.T) {
			disk, ok := steptest.SmallDisk(t, size)
			if !ok {
				return
			}
			c, _ := cutter(t)
			_, err := c.Cut(t.Context(), pbmc(t), filepath.Join(disk, "out.h5ad"), Options{MaxCells: 690, MaxGenes: 700}, nil)
			require.Error(t, err)
			assert.Equal(t, record.DiskFull, record.AsFailure(err).Kind, err)
			assert.Empty(t, entries(t, disk))
		})
	}
}

// TestCutDiskFills has the disk, a real one, full in the middle, with more and more
// room before that: the program is told that it has enough, as when others fill the
// disk after it has looked.
func TestCutDiskFills(t *testing.T) {
	for name, step := range map[string]int{"out.h5ad": 80 << 10, "out.zarr": 400 << 10} {
		t.Run(name, func(t *testing.T) {
			disk, ok := steptest.SmallDisk(t, 2<<20)
			if !ok {
				return
			}
			in := filepath.Join("tests", "data", "anndata", "v0.7.8", "adata.h5ad")
			if name == "out.zarr" {
				in = unzip(t, filepath.Join("tests", "data", "anndata", "v0.7.8", "adata.zarr.zip"))
			}
			before, err := digestPath(in)
			require.NoError(t, err)
			failed := cutUntilRoom(t, in, filepath.Join(disk, name), step)
			assert.Positive(t, failed["by us"])
			assert.Positive(t, failed["by the program"])
			after, err := digestPath(in)
			require.NoError(t, err)
			assert.Equal(t, before, after, "the source")
		})
	}
}

// cutUntilRoom cuts with no room on the disk, then with step bytes more each time
// until they suffice. It returns how often who has found the disk full.
func cutUntilRoom(t *testing.T, in, out string, step int) map[string]int {
	c, _ := cutter(t)
	run := c.Run
	c.Run = func(ctx context.Context, s child.Spec) (child.Result, error) {
		s.Argv = append([]string{s.Argv[0], "-B", "-c", "import runpy, shutil, sys; shutil.disk_usage = lambda _: type('', (), {'free': 1 << 60})" +
			"; del sys.argv[0]; sys.path.insert(0, sys.argv[0]); runpy.run_path(sys.argv[0], run_name='__main__')"}, s.Argv[2:]...)
		return run(ctx, s)
	}
	failed := map[string]int{}
	for room := 0; ; room += step {
		require.NoError(t, os.WriteFile(out, []byte("earlier"), 0o600))
		ballast := filepath.Join(filepath.Dir(out), "ballast")
		require.NoError(t, os.WriteFile(ballast, make([]byte, max(0, int(free(t, out))-room)), 0o600))
		_, err := c.Cut(t.Context(), in, out, Options{MaxCells: 20, MaxGenes: 15}, nil)
		require.NoError(t, os.Remove(ballast))
		if err == nil {
			return failed
		}
		f := record.AsFailure(err)
		require.Equal(t, record.DiskFull, f.Kind, "room for %d: %v", room, err)
		assert.NotEmpty(t, f.Hint)
		assert.Equal(t, []string{filepath.Base(out)}, entries(t, filepath.Dir(out)), "room for %d", room)
		text, err := os.ReadFile(out)
		require.NoError(t, err)
		assert.Equal(t, "earlier", string(text), "room for %d", room)
		if strings.Contains(f.Message, "no space left for what is cut") {
			failed["by the program"]++
		} else {
			failed["by us"]++
		}
	}
}

func free(t *testing.T, path string) int64 {
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(filepath.Dir(path), &fs))
	return int64(fs.Bavail) * fs.Bsize
}

func unzip(t *testing.T, path string) string {
	z, err := zip.OpenReader(path)
	require.NoError(t, err)
	defer z.Close()
	dir := filepath.Join(t.TempDir(), "in.zarr")
	require.NoError(t, os.CopyFS(dir, z))
	return dir
}
