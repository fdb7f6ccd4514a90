package watch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/gpu"
)

func ptr[T any](v T) *T { return &v }

var start = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

func at(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }

func collector() (*Collector, *bytes.Buffer) {
	var b bytes.Buffer
	c := NewCollector(NewLog(&b, 1<<20))
	c.Watching([]gpu.Watched{{Index: 0, UUID: "GPU-a", Name: "A", TotalBytes: ptr[uint64](100)}, {Index: 1, UUID: "GPU-b"}}, true)
	return c, &b
}

// sees gives a sample of two devices at a second.
func sees(c *Collector, s float64, a, b uint64, util uint32, more ...func(*gpu.Sample)) {
	sample := gpu.Sample{UnixMilli: at(s).UnixMilli(), Readings: []gpu.Reading{
		{UUID: "GPU-a", UsedBytes: &a, UtilizationPercent: &util, PowerMilliwatts: ptr(1000 * util), ClockMHz: ptr[uint32](1000)}, {UUID: "GPU-b", UsedBytes: &b},
	}}
	for _, f := range more {
		f(&sample)
	}
	c.Sample(sample)
}

func TestCells(t *testing.T) {
	c, _ := collector()
	sees(c, -1, 5, 7, 0)
	<-c.Sampled()
	c.Begin("nb", at(0))
	for i := range 10 { // Two cells of 5 s.
		sees(c, float64(i), uint64(10*i), 7, uint32(10*i))
		c.Host(at(float64(i)), Host{RSSBytes: uint64(1000 - i), CgroupBytes: ptr(uint64(i))})
	}
	w := c.End(Ending{Name: "nb", At: at(10), Cells: []Cell{
		{Number: 1, Source: "a", Begun: at(0), Ended: at(4.5)}, {Number: 2, Source: "b", Begun: at(4.5), Ended: at(4.8)}, {Number: 3, Source: "c", Begun: at(5)},
	}, After: true})
	assert.Equal(t, []record.CellUse{
		{Number: 1, Source: "a", Seconds: 4.5, GPUPeakBytes: ptr[uint64](40), HostPeakBytes: ptr[uint64](1000), UtilizationPercent: ptr(20.0)},
		{Number: 2, Source: "b", Seconds: 0.3}, // Nothing was seen of it: unknown, not zero.
		{Number: 3, Source: "c", Seconds: 5, GPUPeakBytes: ptr[uint64](90), HostPeakBytes: ptr[uint64](995), UtilizationPercent: ptr(70.0)},
	}, w.Cells)
	assert.Equal(t, record.WatchedGPU{
		Index: 0, UUID: "GPU-a", Name: "A", TotalBytes: ptr[uint64](100), BeforeBytes: ptr[uint64](5), PeakBytes: ptr[uint64](90), AfterBytes: ptr[uint64](90),
		UtilizationPercent: ptr(45.0), Watts: ptr(45.0), PeakWatts: ptr(90.0), ClockMHz: ptr(1000.0),
	}, w.Devices[0])
	assert.Nil(t, w.Devices[1].UtilizationPercent, "unknown, not zero")
	assert.Equal(t, uint64(1000), w.HostPeakBytes)
	assert.Equal(t, ptr[uint64](9), w.CgroupPeakBytes)
	assert.Equal(t, 10, w.Samples)
	assert.Equal(t, 10, w.GPUSamples)
	assert.True(t, w.XIDsWatched)
	require.NotNil(t, w.Timeline)
	assert.Equal(t, []uint64{10, 20, 30, 40, 50, 60, 70, 80, 90, 90}, w.Timeline.GPUBytes)
	assert.Nil(t, c.End(Ending{At: at(11)}), "nothing has begun")
}

// Of many cells those that matter are kept, in their order.
func TestCellsAreBounded(t *testing.T) {
	c, _ := collector()
	c.Begin("nb", at(0))
	var cells []Cell
	for i := range 500 {
		s := float64(i)
		used, took := uint64(1), 0.5
		if i == 7 {
			took = 0.9
		}
		if i == 450 {
			used = 99
		}
		sees(c, s, used, 0, 1)
		cells = append(cells, Cell{Number: i + 1, Begun: at(s), Ended: at(s + took)})
	}
	w := c.End(Ending{At: at(500), Cells: cells})
	assert.Equal(t, 500, w.CellsTimed)
	assert.LessOrEqual(t, len(w.Cells), 3*mostCells)
	var numbers []int
	for _, cell := range w.Cells {
		numbers = append(numbers, cell.Number)
	}
	assert.IsIncreasing(t, numbers)
	assert.Contains(t, numbers, 8)
	assert.Contains(t, numbers, 451)
	assert.Len(t, w.Timeline.GPUBytes, parts)
	assert.Nil(t, w.Devices[0].AfterBytes, "no sample is from after the end")
}

func TestXIDs(t *testing.T) {
	c, b := collector()
	reported := func(code uint64) func(*gpu.Sample) {
		return func(s *gpu.Sample) { s.XIDs = append(s.XIDs, gpu.XID{UUID: "GPU-a", Code: code}) }
	}
	sees(c, -1, 0, 0, 0, reported(79)) // Before the notebook: not its.
	c.Begin("nb", at(0))
	sees(c, 1, 0, 0, 0, reported(79), reported(31))
	sees(c, 2, 0, 0, 0, reported(31), reported(999))
	w := c.End(Ending{At: at(3)})
	require.Len(t, w.XIDs, 3)
	assert.Equal(t, record.XIDReport{UUID: "GPU-a", Code: 31, Class: Application, Meaning: xids[31].meaning, Count: 2}, w.XIDs[0])
	assert.Equal(t, Fatal, w.XIDs[1].Class)
	assert.Equal(t, 1, w.XIDs[1].Count)
	assert.Equal(t, record.XIDReport{UUID: "GPU-a", Code: 999, Class: Other, Count: 1}, w.XIDs[2])
	assert.Equal(t, 4, strings.Count(b.String(), `"xid":31`)+strings.Count(b.String(), `"xid":79`))
	for _, code := range []uint64{13, 31, 43, 45, 68, 109} {
		class, meaning := classify(code)
		assert.Equal(t, Application, class)
		assert.NotEmpty(t, meaning)
	}
}

func TestLeaks(t *testing.T) {
	holds := func(pid uint32, bytes *uint64) func(*gpu.Sample) {
		return func(s *gpu.Sample) {
			for i := range s.Readings {
				s.Readings[i].Processes = append(s.Readings[i].Processes, record.GPUProcess{PID: pid, UsedBytes: bytes})
			}
		}
	}
	c, _ := collector()
	c.Begin("nb", at(0))
	sees(c, 1, 50, 50, 0, holds(7, ptr[uint64](10)), holds(8, ptr[uint64](11)), holds(9, nil))
	sees(c, 2, 50, 50, 0, holds(7, ptr[uint64](20)))
	w := c.End(Ending{At: at(3), Left: map[int]string{7: "python", 9: "dask", 70: "elsewhere"}})
	assert.Equal(t, []record.GPULeak{{PID: 7, Name: "python", Bytes: ptr[uint64](40)}, {PID: 9, Name: "dask"}, {PID: 70, Name: "elsewhere"}}, w.Leaked)
}

func TestFreed(t *testing.T) {
	c, _ := collector()
	sees(c, -1, 10, 10, 0)
	c.Begin("nb", at(0))
	sees(c, 1, 10+2*freed, 10, 0)
	assert.False(t, c.Freed(at(2)), "no sample since")
	sees(c, 3, 10+2*freed, 10, 0)
	assert.False(t, c.Freed(at(2)))
	sees(c, 4, 10+freed, 10, 0)
	assert.True(t, c.Freed(at(2)))
	assert.True(t, c.SampledSince(at(3.9)))
	assert.False(t, c.SampledSince(at(4)))
	c.NoGPU("the driver has died")
	assert.True(t, c.Freed(at(9)), "nobody can tell any more")
	w := c.End(Ending{At: at(9), After: true})
	assert.Equal(t, "the driver has died", w.GPUError)
	assert.Nil(t, w.Devices[0].AfterBytes)
	assert.NotNil(t, w.Devices[0].PeakBytes, "what was seen is kept")
}

// A series stays bounded; peaks keep their height and time, means stay true.
func TestSeriesIsBounded(t *testing.T) {
	peaks, thin := &series{}, &series{thinned: true}
	const n = 5*mostPoints + 3
	for i := range n {
		v := uint64(i % 10)
		if i == 77_777 {
			v = 1000
		}
		peaks.add(int64(i), v)
		thin.add(int64(i), uint64(i%2*100))
	}
	assert.Less(t, len(peaks.points), mostPoints)
	assert.Less(t, len(thin.points), mostPoints)
	assert.Equal(t, ptr[uint64](1000), peaks.peak(0, n))
	assert.Equal(t, ptr[uint64](1000), peaks.peak(77_777, 77_777))
	assert.Equal(t, ptr[uint64](9), peaks.peak(0, 77_776))
	assert.Equal(t, ptr[uint64](9), peaks.peak(77_778, n))
	assert.Nil(t, peaks.peak(n+1, n+2))
	assert.Nil(t, peaks.peak(5, 2))
	assert.Equal(t, 8, thin.stride)
}

func TestLogIsBounded(t *testing.T) {
	var b bytes.Buffer
	const most = 20_000
	l := NewLog(&b, most)
	type line struct {
		N int `json:"n"`
	}
	for i := range 100_000 {
		l.sample(line{i})
	}
	require.NoError(t, l.Err())
	assert.LessOrEqual(t, b.Len(), most)
	assert.Greater(t, b.Len(), most/2)
	var ns []int
	for text := range strings.Lines(b.String()) {
		var got line
		require.NoError(t, json.Unmarshal([]byte(text), &got))
		ns = append(ns, got.N)
	}
	assert.Equal(t, []int{0, 1, 2, 3}, ns[:4], "early ones are all there")
	assert.Greater(t, ns[len(ns)-1], 50_000, "late ones are there")
}

type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(b), nil
}

func TestLogOnAFullDisk(t *testing.T) {
	l := NewLog(&full{left: 100}, 1<<20)
	for i := range 100 {
		l.sample(fmt.Sprint("line ", i))
	}
	assert.ErrorContains(t, l.Err(), "no space left")
}

func BenchmarkCollector(b *testing.B) {
	c, _ := collector()
	c.log = NewLog(&bytes.Buffer{}, 1<<20)
	c.Begin("nb", at(0))
	for i := range b.N {
		sees(c, float64(i), 1, 2, 3)
	}
}
