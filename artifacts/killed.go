package artifacts

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
)

// WatchFile holds the samples of GPUs and memory while step 3 runs, in a run's logs/:
// lines of JSON, of which the first to have it says the limit of the container.
const WatchFile = "gpu.ndjson"

// watched is what is read of a line of WatchFile.
type watched struct {
	UnixMilli int64   `json:"t"`
	Limit     *uint64 `json:"cgroup_limit_bytes"`
	Host      struct {
		CgroupBytes *uint64 `json:"cgroup_bytes"`
	} `json:"host"`
}

// killed is the failure of a step that has left its record running. Where the kernel
// ends a whole container for want of memory, as Kubernetes has it by default, nobody
// in there is left to say so; but what was in use a moment before is known of step 3.
func (r *Run) killed(rec *record.Record) *record.Failure {
	f := record.Failf(record.Killed, "%s was killed before it could write its result", rec.Name)
	if rec.ID != record.Papermill {
		return f
	}
	used, limit := r.lastMemory(rec.Started)
	if limit == 0 || used < limit-limit/10 {
		return f
	}
	return record.Failf(record.OutOfMemory, "%w; a moment before, its container held %s of the %s that it may use", f, units.Bytes(used), units.Bytes(limit)).
		WithHint("raise the container's memory limit above %s, or use --variant lite; logs/%s has the course of it", units.Bytes(limit), WatchFile)
}

const (
	// watchTail bytes hold the samples of some seconds.
	watchTail = 64 << 10
	// watchRecent is how long before the last sample memory counts: what is killed first
	// may not be the last to go.
	watchRecent = 2 * time.Second
)

// lastMemory is what the container held at most in the last samples, and its limit; 0
// is unknown. Samples from before since are those of an earlier attempt.
func (r *Run) lastMemory(since time.Time) (used, limit uint64) {
	f, err := os.Open(r.Path("logs", WatchFile))
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	for _, w := range watchLines(io.LimitReader(f, 4<<10)) {
		if w.Limit != nil {
			limit = *w.Limit
			break
		}
	}
	if end, err := f.Seek(0, io.SeekEnd); err != nil || end == 0 {
		return 0, 0
	} else if _, err := f.Seek(max(0, end-watchTail), io.SeekStart); err != nil {
		return 0, 0
	}
	lines := watchLines(f)
	last := int64(0)
	for _, w := range lines {
		last = max(last, w.UnixMilli)
	}
	for _, w := range lines {
		recent := w.UnixMilli >= last-watchRecent.Milliseconds() && w.UnixMilli >= since.UnixMilli()
		if recent && w.Host.CgroupBytes != nil {
			used = max(used, *w.Host.CgroupBytes)
		}
	}
	return used, limit
}

// watchLines are the lines that are whole: the first and the last may be cut.
func watchLines(rd io.Reader) (lines []watched) {
	sc := bufio.NewScanner(rd)
	sc.Buffer(nil, watchTail)
	for sc.Scan() {
		var w watched
		if json.Unmarshal(sc.Bytes(), &w) == nil {
			lines = append(lines, w)
		}
	}
	return lines
}
