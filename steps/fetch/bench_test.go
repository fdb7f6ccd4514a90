package fetch

import (
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/steps/fetch/fetchtest"
)

// BenchmarkGet fetches 32 MiB from a server that gives each connection 8 MiB/s, as
// many do, by Get and by curl in turns. The metric curl-share is Get's time as a
// share of curl's.
func BenchmarkGet(b *testing.B) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		b.Skip("no curl to compare with")
	}
	srv := fetchtest.New()
	defer srv.Close()
	data := fetchtest.Random(32<<20, 1)
	srv.Put("/a.bin", data)
	u := srv.Handle("/a.bin", fetchtest.Throttle(srv.File, 8<<20))
	s, err := ParseSource("a", u+"#sha256="+fetchtest.Sum(data))
	require.NoError(b, err)
	b.SetBytes(int64(len(data)))
	var ours, theirs time.Duration
	for b.Loop() {
		c := &Client{Stall: time.Minute, Log: slog.New(slog.DiscardHandler)}
		c.Use(&http.Transport{})
		start := time.Now()
		_, err := c.Get(b.Context(), s, Options{
			Dir: b.TempDir(), Connections: 8, Chunk: 4 << 20, Progress: func(_, _ int64) {}, Note: func(string, ...any) {},
		})
		ours += time.Since(start)
		require.NoError(b, err)
		c.Close()

		b.StopTimer()
		start = time.Now()
		require.NoError(b, exec.Command(curl, "-sSf", "-o", filepath.Join(b.TempDir(), "a"), srv.URL+"/a.bin").Run())
		theirs += time.Since(start)
		b.StartTimer()
	}
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "curl-share")
}
