package subsample

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/steptest"
)

// benchData makes data of that many cells, once; the largest one takes minutes.
func benchData(b *testing.B, cells int) string {
	path := filepath.Join(steptest.Root(b), ".cache", "bench", "subsample-"+strconv.Itoa(cells)+".h5ad")
	require.NoError(b, os.MkdirAll(filepath.Dir(path), 0o755))
	benchScript(b, "make", path, strconv.Itoa(cells))
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

// benchCut returns the wall time of Cut, with both digests, and the program's memory.
func benchCut(b *testing.B, in string, o Options) (time.Duration, int64) {
	c, _ := cutter(b)
	memory := int64(0)
	run := c.Run
	c.Run = func(ctx context.Context, s child.Spec) (child.Result, error) {
		res, err := run(ctx, s)
		memory = max(memory, res.MaxRSSBytes)
		return res, err
	}
	began := time.Now()
	_, err := c.Cut(b.Context(), in, filepath.Join(b.TempDir(), "out.h5ad"), o, nil)
	require.NoError(b, err)
	return time.Since(began), memory
}

// BenchmarkCut compares with upstream's way, on 150,000 cells with 150 million
// values: full read, random index.
func BenchmarkCut(b *testing.B) {
	in := benchData(b, 150_000)
	for b.Loop() {
		theirs := benchScript(b, "upstream", in, "50000", "10000", filepath.Join(b.TempDir(), "out.h5ad"))
		wall, memory := benchCut(b, in, Options{MaxCells: 50_000, MaxGenes: 10_000})
		b.ReportMetric(wall.Seconds(), "s/cut")
		b.ReportMetric(theirs.Duration.Seconds(), "s/upstream")
		b.ReportMetric(wall.Seconds()/theirs.Duration.Seconds(), "wall-ratio")
		b.ReportMetric(float64(memory)/1e6, "MB/cut")
		b.ReportMetric(float64(theirs.MaxRSSBytes)/1e6, "MB/upstream")
		b.ReportMetric(float64(memory)/float64(theirs.MaxRSSBytes), "memory-ratio")
	}
}

// BenchmarkCutGrowth cuts the same number of cells out of more and more.
func BenchmarkCutGrowth(b *testing.B) {
	for _, cells := range []int{37_500, 75_000, 150_000} {
		for _, method := range []string{"uniform", "blocks"} {
			b.Run(method+"/"+strconv.Itoa(cells), func(b *testing.B) {
				in := benchData(b, cells)
				for b.Loop() {
					wall, memory := benchCut(b, in, Options{MaxCells: 6_000, MaxGenes: 10_000, Method: method})
					b.ReportMetric(wall.Seconds(), "s/cut")
					b.ReportMetric(float64(memory)/1e6, "MB/cut")
				}
			})
		}
	}
}
