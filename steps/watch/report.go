package watch

import (
	"cmp"
	"slices"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Ending is what is known of a notebook when it has ended.
type Ending struct {
	Name string
	// At is when papermill had ended and all that it left behind was gone.
	At    time.Time
	Cells []Cell
	// Left are the processes that were left behind and had CUDA open, with their names.
	Left map[int]string
	// After says that the last sample was taken after At.
	After bool
}

// Cell is when a cell ran. Ended is zero when it did not end.
type Cell struct {
	Number       int
	Source       string
	Begun, Ended time.Time
}

// End ends the notebook and says what was seen.
func (c *Collector) End(e Ending) *record.Watch {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.now
	c.now = nil
	if s == nil {
		return nil
	}
	c.mark(e.Name, "ended", e.At)
	w := &record.Watch{Samples: s.hosts, GPUSamples: s.gpus, GPUError: c.gpuErr, XIDsWatched: c.xids, CellsTimed: len(e.Cells)}
	to := e.At.UnixMilli()
	if p := s.host.peak(s.from, to); p != nil {
		w.HostPeakBytes = *p
	}
	w.CgroupPeakBytes = s.cgroup.peak(s.from, to)
	for _, d := range c.devices {
		seen := s.device(d.UUID)
		g := record.WatchedGPU{
			Index: d.Index, UUID: d.UUID, Name: d.Name, TotalBytes: d.TotalBytes, BeforeBytes: seen.before, PeakBytes: seen.used.peak(s.from, to),
			UtilizationPercent: seen.util.value(), Watts: seen.watts.value(), ClockMHz: seen.clock.value(), Lost: seen.lost,
		}
		if seen.watts.n > 0 {
			g.PeakWatts = &seen.watts.most
		}
		if e.After && c.gpuErr == "" {
			g.AfterBytes = seen.last
		}
		w.Devices = append(w.Devices, g)
	}
	w.Cells = s.cells(e)
	w.XIDs = s.reports()
	w.Leaked = s.leaks(e.Left)
	w.Timeline = s.timeline(to)
	return w
}

func (s *Session) reports() (list []record.XIDReport) {
	for x, n := range s.xids {
		class, meaning := classify(x.Code)
		list = append(list, record.XIDReport{UUID: x.UUID, Code: x.Code, Class: class, Meaning: meaning, Count: n})
	}
	slices.SortFunc(list, func(a, b record.XIDReport) int {
		return cmp.Or(cmp.Compare(a.UUID, b.UUID), cmp.Compare(a.Code, b.Code))
	})
	return list[:min(len(list), mostXIDs)]
}

// mostXIDs bounds the kinds of XIDs in a record.
const mostXIDs = 32

// leaks says what the processes left behind had held. The driver may number
// processes as the host does: then none of them is found, and their memory is
// unknown.
func (s *Session) leaks(left map[int]string) (list []record.GPULeak) {
	for pid, name := range left {
		l := record.GPULeak{PID: pid, Name: name}
		for _, d := range s.devices {
			if held := d.held[uint32(pid)]; held != nil {
				l.Bytes = sum(l.Bytes, *held)
			}
		}
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b record.GPULeak) int { return a.PID - b.PID })
	return list[:min(len(list), mostLeaks)]
}

const mostLeaks = 20

func sum(p *uint64, n uint64) *uint64 {
	if p != nil {
		n += *p
	}
	return &n
}

// mostCells is how many cells are kept by each of the orders: by time, by the peak
// on the GPU and by that of the host.
const mostCells = 10

// cells says what was seen while each of the cells that matter most ran.
func (s *Session) cells(e Ending) []record.CellUse {
	var all []record.CellUse
	for _, c := range e.Cells {
		all = append(all, s.cell(c, e.At))
	}
	var kept []int
	keep := func(more func(a, b record.CellUse) int) {
		order := make([]int, len(all))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return more(all[b], all[a]) })
		kept = append(kept, order[:min(len(order), mostCells)]...)
	}
	keep(func(a, b record.CellUse) int { return cmp.Compare(a.Seconds, b.Seconds) })
	keep(func(a, b record.CellUse) int { return compare(a.GPUPeakBytes, b.GPUPeakBytes) })
	keep(func(a, b record.CellUse) int { return compare(a.HostPeakBytes, b.HostPeakBytes) })
	slices.Sort(kept)
	var list []record.CellUse
	for _, i := range slices.Compact(kept) {
		list = append(list, all[i])
	}
	return list
}

// compare takes what is unknown for the least.
func compare(a, b *uint64) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Compare(*a, *b)
}

func (s *Session) cell(c Cell, end time.Time) record.CellUse {
	if c.Ended.IsZero() {
		c.Ended = end
	}
	from, to := c.Begun.UnixMilli(), c.Ended.UnixMilli()
	use := record.CellUse{Number: c.Number, Source: c.Source, Seconds: max(0, c.Ended.Sub(c.Begun).Seconds()), HostPeakBytes: s.host.peak(from, to)}
	var busy mean
	for _, d := range s.devices {
		if p := d.used.peak(from, to); compare(p, use.GPUPeakBytes) > 0 {
			use.GPUPeakBytes = p
		}
		if m := d.use.mean(from, to); m != nil {
			busy.add(*m)
		}
	}
	use.UtilizationPercent = busy.value()
	return use
}

// parts is how finely a record tells of a notebook's course.
const parts = 60

func (s *Session) timeline(to int64) *record.Timeline {
	most := 0
	for _, d := range s.devices {
		most = max(most, len(d.used.within(s.from, to)))
	}
	hosts := len(s.host.within(s.from, to))
	if most == 0 && hosts == 0 || to <= s.from {
		return nil
	}
	t := &record.Timeline{Seconds: float64(to-s.from) / 1000}
	if hosts > 0 {
		t.HostBytes = s.course(min(hosts, parts), to, &s.host)
	}
	if most > 0 {
		var used []*series
		for _, d := range s.devices {
			used = append(used, &d.used)
		}
		t.GPUBytes = s.course(min(most, parts), to, used...)
	}
	return t
}

// course is the peak over the series in each of n parts of the time; a part in
// which nothing was seen has that of the part before.
func (s *Session) course(n int, to int64, all ...*series) []uint64 {
	list := make([]uint64, n)
	for i := range list {
		a, b := s.from+(to-s.from)*int64(i)/int64(n), s.from+(to-s.from)*int64(i+1)/int64(n)
		var most *uint64
		for _, one := range all {
			if p := one.peak(a, b); compare(p, most) > 0 {
				most = p
			}
		}
		switch {
		case most != nil:
			list[i] = *most
		case i > 0:
			list[i] = list[i-1]
		}
	}
	return list
}
