package watch

import (
	"sync"
	"time"

	"github.com/step-runner/step-runner/gpu"
)

// Host is one look at the host's memory. Nil is unknown.
type Host struct {
	RSSBytes    uint64  `json:"rss_bytes"`
	CgroupBytes *uint64 `json:"cgroup_bytes,omitempty"`
}

// Collector takes samples as they come. It is a gpu.Receiver.
type Collector struct {
	mu      sync.Mutex
	log     *Log
	devices []gpu.Watched
	xids    bool
	gpuErr  string
	// latest is the last sample, sampled is closed with the first one, or with the end
	// of the watch on the GPUs.
	latest  gpu.Sample
	sampled chan struct{}
	once    sync.Once
	// now is the notebook that is run, nil between two.
	now *Session
}

// NewCollector writes each sample to log too.
func NewCollector(log *Log) *Collector { return &Collector{log: log, sampled: make(chan struct{})} }

// Sampled is closed when there is a sample of the GPUs, or will be none.
func (c *Collector) Sampled() <-chan struct{} { return c.sampled }

// NoGPU says that the GPUs are not watched, or not any more, and why.
func (c *Collector) NoGPU(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gpuErr = why
	c.once.Do(func() { close(c.sampled) })
}

// Watching implements gpu.Receiver.
func (c *Collector) Watching(devices []gpu.Watched, xids bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.devices, c.xids = devices, xids
	c.log.write(map[string]any{"watched": devices, "watches_xids": xids})
}

// Sample implements gpu.Receiver.
func (c *Collector) Sample(s gpu.Sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest = s
	c.once.Do(func() { close(c.sampled) })
	if len(s.XIDs) > 0 {
		c.log.write(s)
	} else {
		c.log.sample(s)
	}
	if c.now != nil {
		c.now.add(s)
	}
}

// Limit notes the memory limit of the container, for those who read the log when
// nobody else is left to tell.
func (c *Collector) Limit(bytes *uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if bytes != nil {
		c.log.write(map[string]any{"cgroup_limit_bytes": *bytes})
	}
}

// Host takes a look at the host.
func (c *Collector) Host(at time.Time, h Host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log.sample(struct {
		UnixMilli int64 `json:"t"`
		Host      Host  `json:"host"`
	}{at.UnixMilli(), h})
	if s := c.now; s != nil {
		s.hosts++
		s.host.add(at.UnixMilli(), h.RSSBytes)
		if h.CgroupBytes != nil {
			s.cgroup.add(at.UnixMilli(), *h.CgroupBytes)
		}
	}
}

// Session is one notebook.
type Session struct {
	from         int64
	hosts, gpus  int
	host, cgroup series
	devices      map[string]*device
	xids         map[gpu.XID]int
}

// device is what a session knows of one device.
type device struct {
	before, last *uint64
	used         series
	use          series
	util, watts  mean
	clock        mean
	// held is the last known memory of each process on it.
	held map[uint32]*uint64
	lost string
}

// Begin starts a notebook. What is in use now was so before it.
func (c *Collector) Begin(name string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = &Session{from: at.UnixMilli(), devices: map[string]*device{}, xids: map[gpu.XID]int{}}
	for _, r := range c.latest.Readings {
		c.now.device(r.UUID).before = r.UsedBytes
	}
	c.mark(name, "begun", at)
}

func (c *Collector) mark(name, what string, at time.Time) {
	c.log.write(map[string]any{"t": at.UnixMilli(), "notebook": name, "event": what})
}

func (s *Session) device(uuid string) *device {
	d := s.devices[uuid]
	if d == nil {
		d = &device{use: series{thinned: true}, held: map[uint32]*uint64{}}
		s.devices[uuid] = d
	}
	return d
}

// mostHeld bounds what is remembered of processes that come and go.
const mostHeld = 1000

func (s *Session) add(sample gpu.Sample) {
	if sample.UnixMilli < s.from {
		return
	}
	s.gpus++
	for _, x := range sample.XIDs {
		s.xids[x]++
	}
	for _, r := range sample.Readings {
		d := s.device(r.UUID)
		if d.last = r.UsedBytes; r.UsedBytes != nil {
			d.used.add(sample.UnixMilli, *r.UsedBytes)
		}
		if u := r.UtilizationPercent; u != nil {
			d.util.add(float64(*u))
			d.use.add(sample.UnixMilli, uint64(*u))
		}
		if w := r.PowerMilliwatts; w != nil {
			d.watts.add(float64(*w) / 1000)
		}
		if m := r.ClockMHz; m != nil {
			d.clock.add(float64(*m))
		}
		for _, p := range r.Processes {
			if _, known := d.held[p.PID]; known || len(d.held) < mostHeld {
				d.held[p.PID] = p.UsedBytes
			}
		}
		if r.Lost != "" {
			d.lost = r.Lost
		}
	}
}

// freed is how much more may be in use than before a notebook and still count as
// given back: other small things come and go.
const freed = 64 << 20

// Freed says whether each device has no more in use than before the notebook, as far
// as that is known, by a sample taken after a moment.
func (c *Collector) Freed(since time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil || c.gpuErr != "" {
		return true
	}
	if !c.sampledSince(since) {
		return false
	}
	for _, d := range c.now.devices {
		if d.before != nil && d.last != nil && *d.last > *d.before+freed {
			return false
		}
	}
	return true
}

// SampledSince says whether there is a sample of the GPUs from after a moment.
func (c *Collector) SampledSince(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sampledSince(t)
}

func (c *Collector) sampledSince(t time.Time) bool { return c.latest.UnixMilli > t.UnixMilli() }
