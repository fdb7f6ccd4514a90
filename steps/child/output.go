package child

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// lastOutput is how long an ended child's pipe may be silent, held open by a
// process that could not be ended, before we let go of it.
const lastOutput = 2 * time.Second

// output copies what a child prints. It knows nothing of lines, so that a child
// which never ends one costs no memory.
type output struct {
	// stdout and stderr are the child's ends.
	stdout, stderr *os.File
	copies         []copying
	done           sync.WaitGroup
	ended          atomic.Bool
	// writing counts the writes that are under way, last is when one ended.
	writing atomic.Int32
	last    atomic.Int64

	mu       sync.Mutex
	firstErr error
}

type copying struct {
	from *os.File
	to   io.Writer
}

func newOutput(s Spec) (*output, error) {
	o := &output{}
	var err error
	if o.stderr, err = o.pipe(s.Out); err != nil {
		return nil, err
	}
	o.stdout = o.stderr
	if s.Stdout != nil {
		if o.stdout, err = o.pipe(s.Stdout); err != nil {
			o.end()
			return nil, err
		}
	}
	return o, nil
}

func (o *output) pipe(to io.Writer) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	if to == nil {
		to = io.Discard
	}
	o.copies = append(o.copies, copying{r, to})
	return w, nil
}

// run starts copying. The child has its ends now; ours would keep the pipes open.
func (o *output) run() {
	o.closeChildEnds()
	o.last.Store(time.Now().UnixNano())
	for _, c := range o.copies {
		o.done.Go(func() { o.copy(c) })
	}
}

func (o *output) closeChildEnds() {
	o.stderr.Close()
	if o.stdout != nil {
		o.stdout.Close()
	}
}

func (o *output) copy(c copying) {
	buf := make([]byte, 32<<10)
	for {
		if o.ended.Load() {
			c.from.SetReadDeadline(time.Now().Add(lastOutput))
		}
		n, err := c.from.Read(buf)
		if n > 0 {
			o.write(c.to, buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// write goes on after an error: a child must not be blocked by our log.
func (o *output) write(to io.Writer, b []byte) {
	o.writing.Add(1)
	_, err := to.Write(b)
	o.last.Store(time.Now().UnixNano())
	o.writing.Add(-1)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.firstErr == nil {
			o.firstErr = err
		}
	}
}

// quiet is for how long the child has printed nothing. While we are writing, it
// is we who are slow.
func (o *output) quiet() time.Duration {
	if o.writing.Load() > 0 {
		return 0
	}
	return time.Since(time.Unix(0, o.last.Load()))
}

// end waits until all that was printed has been copied.
func (o *output) end() {
	o.closeChildEnds()
	o.ended.Store(true)
	for _, c := range o.copies {
		c.from.SetReadDeadline(time.Now().Add(lastOutput))
	}
	o.done.Wait()
	for _, c := range o.copies {
		c.from.Close()
	}
}

func (o *output) err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.firstErr
}
