package steps

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Console is what a person or a CI log sees while a step runs: stderr, through
// redaction. It is safe for concurrent use.
type Console struct {
	w       io.WriteCloser
	actions bool
	tty     bool
	now     func() time.Time

	mu sync.Mutex
	// midLine is true while the last line has no end yet.
	midLine bool
	// open are the steps that have begun and not ended; `run` holds the others.
	open []*record.Record
	// token resumes the workflow commands that are stopped, "" when none are.
	token string
	// progress is the line that a terminal shows now; told is when a plain one was
	// last written.
	progress string
	told     time.Time
}

// progressEvery is how often a log that is no terminal gets a line of progress.
const progressEvery = 10 * time.Second

// longestProgress in characters; a terminal cuts the line to its own width.
const longestProgress = 200

// NewConsole writes to w. actions says that w is a GitHub Actions log, tty that
// it is a terminal that may be coloured.
func NewConsole(w io.WriteCloser, actions, tty bool) *Console {
	return &Console{w: w, actions: actions, tty: tty && !actions, now: time.Now}
}

// Write writes b as it is: what a child has printed, or a line of the log.
func (c *Console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b) == 0 {
		return 0, nil
	}
	if c.actions && c.token == "" && looksLikeCommand(b) {
		c.stopCommands()
		defer c.resumeCommands()
	}
	c.erase()
	n, err := c.put(b)
	c.draw()
	return n, err
}

// Begin announces a step; the returned function announces its end.
func (c *Console) Begin(rec *record.Record) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	c.progress, c.told = "", time.Time{}
	c.open = append(c.open, rec)
	if hasLine(rec) {
		if c.actions {
			c.line("::group::%s", title(rec))
		} else {
			c.line("%s …", c.paint(bold, title(rec)))
		}
	}
	if rec.Name != runName {
		c.stopCommands()
	}
	return func() { c.end(rec) }
}

func (c *Console) end(rec *record.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	c.progress = ""
	c.resumeCommands()
	c.open = c.open[:len(c.open)-1]
	if hasLine(rec) {
		if c.actions {
			c.line("::endgroup::")
		}
		c.line("%s %s in %s", title(rec), c.paint(colours[rec.Status], string(rec.Status)), round(rec.Duration(c.now())))
	}
	if rec.Failure == nil || rec.Name == runName {
		return
	}
	if c.actions && rec.Status != record.StatusSkipped {
		c.line("::error title=%s::%s", escapeProperty(title(rec)+": "+string(rec.Failure.Kind)), escapeData(Printable(rec.Failure.Message+"\n"+rec.Failure.Hint)))
	}
	if len(c.open) > 0 {
		// The failure of a step that runs alone is told when the program ends.
		c.tell(rec.Failure)
	}
}

func (c *Console) tell(f *record.Failure) {
	for _, text := range []string{f.Message, "try: " + f.Hint} {
		for line := range strings.Lines(Printable(text)) {
			// Indented, it is no workflow command.
			c.line("  | %s", strings.TrimRight(line, "\n"))
		}
	}
}

// Progress tells how far a step has come. It is one line, rewritten on a terminal.
// Elsewhere it is a line of its own every ten seconds at most.
func (c *Console) Progress(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.Join(strings.Fields(Printable(fmt.Sprintf(format, args...))), " ")
	if r := []rune(text); len(r) > longestProgress {
		text = string(r[:longestProgress-1]) + "…"
	}
	if c.tty {
		c.erase()
		c.progress = text
		c.draw()
		return
	}
	// A line in the middle of a child's would spoil both.
	if now := c.now(); !c.midLine && now.Sub(c.told) >= progressEvery {
		c.told = now
		c.line("%s", text)
	}
}

// draw shows the progress under whole lines only. The line does not wrap, and
// the cursor rests at its beginning, so that whatever is written replaces it.
func (c *Console) draw() {
	if c.progress != "" && !c.midLine {
		fmt.Fprintf(c.w, "\x1b[?7l%s\x1b[?7h\r", c.progress)
	}
}

func (c *Console) erase() {
	if c.progress != "" && !c.midLine {
		io.WriteString(c.w, "\x1b[K")
	}
}

func (c *Console) put(b []byte) (int, error) {
	c.midLine = b[len(b)-1] != '\n'
	return c.w.Write(b)
}

// line writes a line of our own. A workflow command is one only at the beginning of a line.
func (c *Console) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...) + "\n"
	if c.midLine {
		text = "\n" + text
	}
	_, _ = c.put([]byte(text))
}

// runName is the command that holds the others; it has no line of its own.
const runName = "run"

// hasLine says whether the step is announced: it may be one of several.
func hasLine(rec *record.Record) bool { return rec.Step > 0 || rec.ID == record.FetchData }

func title(rec *record.Record) string {
	if rec.Step == 0 {
		return rec.Name
	}
	return fmt.Sprintf("%d %s", rec.Step, rec.Name)
}

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

var colours = map[record.Status]string{
	record.StatusSucceeded:   green,
	record.StatusFailed:      red,
	record.StatusTimedOut:    red,
	record.StatusInterrupted: yellow,
	record.StatusSkipped:     yellow,
}

func (c *Console) paint(colour, text string) string {
	if !c.tty {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// round keeps what a reader cares for.
func round(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond)
	case d < time.Minute:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// Printable drops what would move the cursor: a message may quote a notebook.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}
