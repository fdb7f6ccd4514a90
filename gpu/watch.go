package gpu

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Watched is a device, or a MIG instance, that a watch looks at.
type Watched struct {
	Index      int     `json:"index"`
	UUID       string  `json:"uuid"`
	Name       string  `json:"name,omitempty"`
	TotalBytes *uint64 `json:"total_bytes,omitempty"`
}

// Sample is one look at the devices.
type Sample struct {
	// UnixMilli is when it was taken, by this machine's clock.
	UnixMilli int64     `json:"t"`
	Readings  []Reading `json:"gpus"`
	XIDs      []XID     `json:"xids,omitempty"`
}

// Reading is what a device said. Nil is unknown, never zero.
type Reading struct {
	UUID               string  `json:"uuid"`
	UsedBytes          *uint64 `json:"used_bytes,omitempty"`
	UtilizationPercent *uint32 `json:"utilization_percent,omitempty"`
	PowerMilliwatts    *uint32 `json:"power_mw,omitempty"`
	ClockMHz           *uint32 `json:"sm_mhz,omitempty"`
	// Processes are asked for less often: nil when they were not, or are unknown.
	Processes []record.GPUProcess `json:"processes,omitzero"`
	// Lost is why the device does not answer any more.
	Lost string `json:"lost,omitempty"`
}

// XID is an error that the driver has reported of a device.
type XID struct {
	UUID string `json:"uuid"`
	Code uint64 `json:"xid"`
}

// Watcher looks at the devices of this container again and again.
type Watcher interface {
	// Watch tells what it watches, and whether it learns of XIDs, and then every
	// sample, until ctx ends, which is no error. Without uuids it watches every
	// device. The error is a *record.Failure.
	Watch(ctx context.Context, every time.Duration, uuids []string, to Receiver) error
}

// Receiver takes what a watch sees. Its methods are called one after the other.
type Receiver interface {
	Watching(devices []Watched, xids bool)
	Sample(s Sample)
}

// watchLine is what a watching child prints.
type watchLine struct {
	Watched []Watched       `json:"watched,omitempty"`
	XIDs    bool            `json:"watches_xids,omitempty"`
	Sample  *Sample         `json:"sample,omitempty"`
	Failure *record.Failure `json:"failure,omitempty"`
}

// processesEvery is how often the processes of a device are asked for: that takes
// the driver longer than the rest together.
const processesEvery = 500 * time.Millisecond

// WatchDevices is the word that tells a probe child to watch.
const WatchDevices = "watch"

// ServeWatch watches in this process and prints a line for each sample to w, until
// that fails. The arguments are the interval, and the UUIDs of the devices. Like
// Serve, it is for a process that has nothing else to do.
func ServeWatch(args []string, w io.Writer) error {
	if len(args) == 0 {
		return record.Failf(record.Usage, "watch: no interval is given")
	}
	every, err := time.ParseDuration(args[0])
	if err != nil || every <= 0 {
		return record.Failf(record.Usage, "watch: %q is no interval", args[0])
	}
	encoder := json.NewEncoder(w)
	return serveWatch(every, args[1:], func(l watchLine) error { return encoder.Encode(l) })
}

// Watch implements Watcher with a child that lives as long as the watch. Its death
// is a failure of the watch and of nothing else.
func (c *Children) Watch(ctx context.Context, every time.Duration, uuids []string, to Receiver) error {
	if !Linked {
		return notLinked()
	}
	lines := &lineReader{to: to}
	argv := append(append([]string{}, c.Self...), WatchDevices, every.String())
	ended, err := c.Stream(ctx, append(argv, uuids...), lines)
	switch {
	case lines.failure != nil:
		return lines.failure
	case ctx.Err() != nil:
		return nil //nolint:nilerr // That it was told to end is no error.
	case err != nil:
		return hung(ctx, NVML, err)
	}
	return died(NVML, ended)
}

// longestLine bounds what is kept of a line, in bytes: some hundred devices.
const longestLine = 1 << 20

// lineReader hands a child's lines on as they come.
type lineReader struct {
	to      Receiver
	rest    []byte
	failure *record.Failure
}

func (r *lineReader) Write(b []byte) (int, error) {
	r.rest = append(r.rest, b...)
	for r.failure == nil {
		line, rest, ok := bytes.Cut(r.rest, []byte("\n"))
		if !ok {
			break
		}
		r.take(line)
		r.rest = rest
	}
	if r.failure == nil && len(r.rest) > longestLine {
		r.failure = record.Failf(record.GPUBroken, "the %s watch answered nonsense: a line without end", NVML)
	}
	if r.failure != nil {
		r.rest = nil
	}
	return len(b), nil // The child is never stopped by us: its end is.
}

func (r *lineReader) take(line []byte) {
	var l watchLine
	if err := json.Unmarshal(line, &l); err != nil {
		r.failure = record.Failf(record.GPUBroken, "the %s watch answered nonsense: %w", NVML, err)
		return
	}
	switch {
	case l.Failure != nil:
		r.failure = l.Failure
	case l.Sample != nil:
		r.to.Sample(*l.Sample)
	default:
		r.to.Watching(l.Watched, l.XIDs)
	}
}
