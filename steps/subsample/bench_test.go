package subsample

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/steptest"
)

// benchData makes data of that many cells, once; that of BenchmarkCut takes minutes.
func benchData(b *testing.B, cells int) string {
	dir := filepath.Join(steptest.Root(b), ".cache", "bench")
	require.NoError(b, os.MkdirAll(dir, 0o755))
	path := filepath.Join(dir, "cells-"+strconv.Itoa(cells)+".h5ad")
	if cells > 150_000 {
		benchScript(b, "repeat", path, strconv.Itoa(cells), benchData(b, 150_000))
	} else {
		benchScript(b, "make", path, strconv.Itoa(cells))
	}
	return path
}

func benchScript(b *testing.B, args ...string) child.Result {
	out := &steptest.Buffer{}
	argv := append([]string{steptest.Python(b), "-B", "-W", "ignore", "tests/bench.py"}, args...)
	res, err := child.Exec{}.Run(b.Context(), child.Spec{Argv: argv, Env: os.Environ(), Out: out})
	require.NoError(b, err)
	require.Zero(b, res.ExitCode, out.String())
	return res
}

// cost is what something took, with all its processes.
type cost struct {
	wall, cpu, megabytes float64
}

// benchCost measures what run does, which returns the memory of its largest process.
func benchCost(b *testing.B, run func() int64) cost {
	cpu := func() (sum float64) {
		for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
			var u unix.Rusage
			require.NoError(b, unix.Getrusage(who, &u))
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
		}
		return sum
	}
	before, began := cpu(), time.Now()
	memory := run()
	return cost{time.Since(began).Seconds(), cpu() - before, float64(memory) / 1e6}
}

// benchCut measures Cut, with both digests.
func benchCut(b *testing.B, in string, o Options) cost {
	c, _ := cutter(b)
	return benchCost(b, func() (memory int64) {
		run := c.Run
		c.Run = func(ctx context.Context, s child.Spec) (child.Result, error) {
			res, err := run(ctx, s)
			memory = max(memory, res.MaxRSSBytes)
			return res, err
		}
		_, err := c.Cut(b.Context(), in, filepath.Join(b.TempDir(), "out.h5ad"), o, nil)
		require.NoError(b, err)
		return memory
	})
}

// report gives the median of the rounds for each name, and the range of the ratios.
func report(b *testing.B, values map[string][]float64) {
	for name, v := range values {
		slices.Sort(v)
		b.ReportMetric(v[len(v)/2], name)
		if strings.HasSuffix(name, "ratio") {
			b.Logf("%s in %d rounds: %.3f to %.3f", name, len(v), v[0], v[len(v)-1])
		}
	}
}

// BenchmarkCut compares with upstream's way, on 150,000 cells with 150 million
// values: full read, random index. The two take turns.
func BenchmarkCut(b *testing.B) {
	in := benchData(b, 150_000)
	values := map[string][]float64{}
	for b.Loop() {
		theirs := benchCost(b, func() int64 {
			return benchScript(b, "upstream", in, "50000", "10000", filepath.Join(b.TempDir(), "out.h5ad")).MaxRSSBytes
		})
		ours := benchCut(b, in, Options{MaxCells: 50_000, MaxGenes: 10_000})
		for name, v := range map[string]float64{
			"s/cut": ours.wall, "s/upstream": theirs.wall, "wall-ratio": ours.wall / theirs.wall,
			"cpu-s/cut": ours.cpu, "cpu-s/upstream": theirs.cpu, "cpu-ratio": ours.cpu / theirs.cpu,
			"MB/cut": ours.megabytes, "MB/upstream": theirs.megabytes, "memory-ratio": ours.megabytes / theirs.megabytes,
		} {
			values[name] = append(values[name], v)
		}
	}
	report(b, values)
}

// BenchmarkCutGrowth cuts the same number of cells out of more and more; with
// BENCH_LARGE=1 out of twice and four times as many as BenchmarkCut, which takes
// 2.2 GB of disk.
func BenchmarkCutGrowth(b *testing.B) {
	sizes := []int{37_500, 75_000, 150_000}
	if os.Getenv("BENCH_LARGE") == "1" {
		sizes = []int{150_000, 300_000, 600_000}
	}
	for _, cells := range sizes {
		for _, method := range []string{"uniform", "blocks"} {
			b.Run(method+"/"+strconv.Itoa(cells), func(b *testing.B) {
				in := benchData(b, cells)
				values := map[string][]float64{}
				for b.Loop() {
					c := benchCut(b, in, Options{MaxCells: 6_000, MaxGenes: 10_000, Method: method})
					for name, v := range map[string]float64{"s/cut": c.wall, "cpu-s/cut": c.cpu, "MB/cut": c.megabytes} {
						values[name] = append(values[name], v)
					}
				}
				report(b, values)
			})
		}
	}
}
