package steps

import (
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/step-runner/step-runner/steps/notebook"
)

// millProgress passes papermill's output on, and tells from it which cell runs
// since when. A cell that prints papermill's words can only mislead this display.
type millProgress struct {
	out      io.Writer
	job      *Job
	notebook string
	plan     []*notebook.Cell
	total    int
	stop     chan struct{}
	stopped  sync.WaitGroup

	mu sync.Mutex
	// line is the beginning of the current line, no more than is needed.
	line  []byte
	done  int
	head  string
	since time.Time
}

// tick is how often the elapsed time of a cell is told.
const tick = time.Second

func newMillProgress(j *Job, name string, plan []*notebook.Cell) *millProgress {
	p := &millProgress{out: j.Out, job: j, notebook: name, plan: plan, stop: make(chan struct{})}
	for _, c := range plan {
		if c != nil && c.Runs() {
			p.total++
		}
	}
	p.stopped.Go(p.clock)
	return p
}

// Close ends the display.
func (p *millProgress) Close() {
	close(p.stop)
	p.stopped.Wait()
}

func (p *millProgress) clock() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.show()
		}
	}
}

func (p *millProgress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head != "" {
		p.job.Console.Progress("%s: cells %d/%d, %s, %s", p.notebook, p.done, p.total, time.Since(p.since).Round(time.Second), p.head)
	}
}

// Write implements io.Writer.
func (p *millProgress) Write(b []byte) (int, error) {
	n, err := p.out.Write(b)
	for _, chunk := range strings.SplitAfter(string(b), "\n") {
		p.take(chunk)
	}
	return n, err
}

const longestMark = 80

var executing = regexp.MustCompile(`^Executing Cell (\d+)-+$`)

func (p *millProgress) take(chunk string) {
	text, ended := strings.CutSuffix(chunk, "\n")
	p.line = append(p.line, text[:min(len(text), longestMark-len(p.line))]...)
	if !ended {
		return
	}
	m := executing.FindSubmatch(p.line)
	p.line = p.line[:0]
	if m == nil {
		return
	}
	if at, err := strconv.Atoi(string(m[1])); err == nil {
		p.begin(at - 1)
	}
}

// begin notes that the cell at a place of the plan has begun.
func (p *millProgress) begin(at int) {
	if at < 0 || at >= len(p.plan) || p.plan[at] == nil || !p.plan[at].Runs() {
		return
	}
	p.mu.Lock()
	p.done = 0
	for _, c := range p.plan[:at] {
		if c != nil && c.Runs() {
			p.done++
		}
	}
	p.head, _, _ = strings.Cut(p.plan[at].Head(), "\n")
	p.since = time.Now()
	p.mu.Unlock()
	p.show()
}
