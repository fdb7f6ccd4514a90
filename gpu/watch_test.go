package gpu

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// received is a Receiver that keeps everything.
type received struct {
	mu      sync.Mutex
	devices []Watched
	xids    bool
	samples []Sample
	// enough is called with the number of samples after each.
	enough func(n int)
}

func (r *received) Watching(devices []Watched, xids bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.devices, r.xids = devices, xids
}

func (r *received) Sample(s Sample) {
	r.mu.Lock()
	r.samples = append(r.samples, s)
	n := len(r.samples)
	r.mu.Unlock()
	if r.enough != nil {
		r.enough(n)
	}
}

func TestServeWatchWantsAnInterval(t *testing.T) {
	for _, args := range [][]string{nil, {""}, {"0"}, {"-1s"}, {"GPU-a", "1s"}} {
		_ = requireKind(t, record.Usage, ServeWatch(args, &strings.Builder{}))
	}
}

// What a child prints may come in any pieces, and may be nonsense.
func TestWatchLines(t *testing.T) {
	const whole = `{"watched":[{"index":0,"uuid":"GPU-a"}],"watches_xids":true}` + "\n" +
		`{"sample":{"t":7,"gpus":[{"uuid":"GPU-a","used_bytes":5,"processes":[]}]}}` + "\n" + `{"sample":{"t":8,"gpus":[{"uuid":"GPU-a"}]}}` + "\n"
	for _, size := range []int{1, 7, len(whole)} {
		got := &received{}
		r := &lineReader{to: got}
		for rest := whole; rest != ""; rest = rest[min(size, len(rest)):] {
			n, err := r.Write([]byte(rest[:min(size, len(rest))]))
			require.NoError(t, err)
			require.Positive(t, n)
		}
		require.Nil(t, r.failure)
		assert.Equal(t, []Watched{{UUID: "GPU-a"}}, got.devices)
		assert.True(t, got.xids)
		require.Len(t, got.samples, 2)
		assert.Equal(t, ptr[uint64](5), got.samples[0].Readings[0].UsedBytes)
		assert.NotNil(t, got.samples[0].Readings[0].Processes, "asked, and there is none")
		assert.Nil(t, got.samples[1].Readings[0].Processes, "not asked")
	}
	for _, nonsense := range []string{"x\n", "{\n", strings.Repeat("a", longestLine+1)} {
		r := &lineReader{to: &received{}}
		n, err := r.Write([]byte(nonsense))
		require.NoError(t, err)
		assert.Equal(t, len(nonsense), n)
		require.NotNil(t, r.failure)
		assert.Equal(t, record.GPUBroken, r.failure.Kind)
		_, _ = r.Write([]byte(whole))
		assert.Empty(t, r.rest)
	}
}

func FuzzWatchLines(f *testing.F) {
	f.Add([]byte(`{"sample":{"t":7,"gpus":[{"uuid":"a","processes":[{"pid":1}]}]}}` + "\n"))
	f.Add([]byte(`{"failure":{"kind":"no-gpu"}}` + "\n{}\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &lineReader{to: &received{}}
		n, err := r.Write(b)
		if err != nil || n != len(b) {
			t.Fatal(n, err)
		}
	})
}

func TestWatchWithoutDriver(t *testing.T) {
	got := &received{}
	err := children(t).Watch(context.Background(), time.Millisecond, nil, got)
	_ = requireKind(t, record.NoDriver, err)
	assert.Empty(t, got.samples)
}
