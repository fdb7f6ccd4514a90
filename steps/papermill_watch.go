package steps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/gpu"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/notebook"
	"github.com/step-runner/step-runner/steps/watch"
)

// watchMost is the bound of the samples of a run in bytes: about seven hours at ten
// samples a second of one device. Longer runs are thinned.
const watchMost = 64 << 20

// millWatch samples GPUs and memory while notebooks run. A nil one samples nothing.
// It can fail nothing but itself.
type millWatch struct {
	*watch.Collector
	job   *Job
	every time.Duration
	log   *watch.Log
	file  *os.File
	// gpus says that the GPUs are watched too.
	gpus   bool
	cancel context.CancelFunc
	done   sync.WaitGroup

	// mu is about usage.
	mu    sync.Mutex
	usage *child.Usage
}

// watchCheck refuses an interval that could not be kept.
func watchCheck(every time.Duration) error {
	if every < 0 || every > 0 && every < 10*time.Millisecond {
		return record.Failf(record.Usage, "--gpu-sample-interval %s: give 10ms or more, or 0 for no samples", every)
	}
	return nil
}

// startWatch begins to sample. The watch on the GPUs lives in a child: the driver's
// library can only end that.
func (m *mill) startWatch(ctx context.Context, g *record.GPUFacts) error {
	if m.opts.GPUSampleInterval == 0 {
		return nil
	}
	path := m.Env.Run.Path("logs", artifacts.WatchFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o775); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	log := watch.NewLog(file, watchMost)
	w := &millWatch{Collector: watch.NewCollector(log), job: m.Job, every: m.opts.GPUSampleInterval, log: log, file: file, usage: child.NewUsage()}
	w.Limit(w.usage.Limit())
	ctx, w.cancel = context.WithCancel(ctx)
	w.done.Go(func() { w.hosts(ctx) })
	if err := w.watchGPUs(ctx, g); err != nil {
		w.NoGPU(err.Error())
	}
	m.watch = w
	return nil
}

// hosts looks at the host's memory until ctx ends.
func (w *millWatch) hosts(ctx context.Context) {
	t := time.NewTicker(w.every)
	defer t.Stop()
	for {
		w.mu.Lock()
		used := w.usage.Look()
		w.mu.Unlock()
		w.Host(time.Now(), watch.Host(used))
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// watchGPUs starts the watch on the GPUs. The error is why there is none.
func (w *millWatch) watchGPUs(ctx context.Context, g *record.GPUFacts) error {
	if g.GPUError != "" {
		return errors.New(g.GPUError)
	}
	var uuids []string
	for _, d := range gpu.Usable(*g) {
		uuids = append(uuids, d.UUID)
	}
	if len(uuids) == 0 {
		return errors.New("no GPU is usable")
	}
	watcher, ok := w.job.Env.GPU.(gpu.Watcher)
	if w.job.Env.GPU == nil {
		children, err := w.job.gpuChildren(watchSilence)
		if err != nil {
			return err
		}
		watcher, ok = children, true
	}
	if !ok {
		return errors.New("who was asked for GPUs cannot watch them")
	}
	w.gpus, w.usage.GPU = true, true
	w.done.Go(func() {
		if err := watcher.Watch(ctx, w.every, uuids, w); err != nil {
			w.NoGPU(w.job.Secrets.String(err.Error()))
			w.job.Note("the GPUs are not watched any more: %v", err)
		}
	})
	return nil
}

// watchSilence is how long the watching child may print nothing.
const watchSilence = time.Minute

// firstSample is how long a notebook waits for the first sample, which says what is
// in use before it.
const firstSample = 5 * time.Second

// begin takes the samples from now on for those of a notebook.
func (w *millWatch) begin(ctx context.Context, name string) {
	if w == nil {
		return
	}
	if w.gpus {
		select {
		case <-w.Sampled():
		case <-ctx.Done():
		case <-time.After(firstSample):
		}
	}
	w.Begin(name, time.Now())
}

// freeing is how long the driver may take to free what ended processes held.
const freeing = 3 * time.Second

// end says what the notebook did. strays are the processes that it left behind.
func (w *millWatch) end(ctx context.Context, name string, ended time.Time, strays []string, cells []notebook.TimedCell) *record.Watch {
	if w == nil {
		return nil
	}
	e := watch.Ending{Name: name, At: ended, Left: w.left(strays)}
	if w.gpus {
		for until := ended.Add(freeing); !w.Freed(ended) && time.Now().Before(until) && ctx.Err() == nil; {
			time.Sleep(20 * time.Millisecond)
		}
		e.After = w.SampledSince(ended)
	}
	for _, c := range cells {
		e.Cells = append(e.Cells, watch.Cell{Number: c.Number, Source: w.job.Secrets.String(c.Source), Begun: c.Begun, Ended: c.Ended})
	}
	rec := w.End(e)
	if rec == nil {
		return nil
	}
	rec.File, rec.IntervalSeconds = w.job.Env.Run.Rel(w.file.Name()), w.every.Seconds()
	w.mu.Lock()
	rec.CgroupLimitBytes = w.usage.Limit()
	w.mu.Unlock()
	return rec
}

// left are those of the strays ("pid name") that have had CUDA open.
func (w *millWatch) left(strays []string) map[int]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	holders := w.usage.Holders()
	left := map[int]string{}
	for _, s := range strays {
		number, name, _ := strings.Cut(s, " ")
		if pid, err := strconv.Atoi(number); err == nil && holders[pid] != "" {
			left[pid] = w.job.Secrets.String(name)
		}
	}
	return left
}

// Close ends the watch.
func (w *millWatch) Close() {
	if w == nil {
		return
	}
	w.cancel()
	w.done.Wait()
	if err := errors.Join(w.log.Err(), w.file.Close()); err != nil {
		w.job.Note("the samples in %s are not complete: %v", w.job.Env.Run.Rel(w.file.Name()), err)
	}
}

// watched takes what was seen into the record, and notes what a reader should know.
func (m *mill) watched(ctx context.Context, r *milled, v *notebook.Verdict) *record.Watch {
	w := m.watch.end(ctx, r.Rel, r.ended, r.strays, v.Timed)
	if w == nil {
		return nil
	}
	for _, l := range w.Leaked {
		held := "GPU memory: how much is not known"
		if l.Bytes != nil {
			held = units.Bytes(*l.Bytes).String() + " of GPU memory"
		}
		m.Note("notebook %s left process %d (%s) behind, which held %s; it was ended", r.Rel, l.PID, l.Name, held)
	}
	for _, d := range w.Devices {
		if more := notReturned(d); more > 0 {
			m.Note("notebook %s: %s more of GPU %d (%s) are in use than before it, though none of its processes is left: another program or the driver holds them",
				r.Rel, units.Bytes(more), d.Index, d.UUID)
		}
	}
	for _, x := range w.XIDs {
		m.Note("while notebook %s ran, the driver reported %s", r.Rel, xidText(w, x))
	}
	return w
}

// smallChange is how much more may be in use after a notebook and not be worth a note.
const smallChange = 64 << 20

// notReturned is what is in use of a device after a notebook more than before it.
func notReturned(d record.WatchedGPU) uint64 {
	if d.BeforeBytes == nil || d.AfterBytes == nil || *d.AfterBytes <= *d.BeforeBytes+smallChange {
		return 0
	}
	return *d.AfterBytes - *d.BeforeBytes
}

// xidText names an XID and its device to a person.
func xidText(w *record.Watch, x record.XIDReport) string {
	text := fmt.Sprintf("XID %d", x.Code)
	if x.Meaning != "" {
		text += " (" + x.Meaning + ")"
	}
	if i := slices.IndexFunc(w.Devices, func(d record.WatchedGPU) bool { return d.UUID == x.UUID }); i >= 0 {
		text += fmt.Sprintf(" of GPU %d (%s)", w.Devices[i].Index, x.UUID)
	}
	if x.Count > 1 {
		text += fmt.Sprintf(", %d times", x.Count)
	}
	return text
}

// watchStream runs the watching child. It is none of the step's children in the
// record: it does not work for the notebook, and is killed when it is not wanted any
// more, having nothing to lose.
func (j *Job) watchStream(ctx context.Context, argv []string, limit time.Duration, w io.Writer) (gpu.Ended, error) {
	voice := child.NewTail(io.Discard)
	env := append(j.ChildEnv(), child.StepVar+"="+j.mark())
	res, err := j.Runner.Run(ctx, child.Spec{Argv: argv, Env: env, Stdout: w, Out: voice, Leaf: true, Limits: child.Limits{NoOutputTimeout: limit}})
	return gpu.Ended{ExitCode: res.ExitCode, Signal: res.Signal, Stderr: []byte(voice.String())}, err
}
