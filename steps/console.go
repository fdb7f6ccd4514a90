package steps

import (
	"io"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Console is what a person or a CI log sees while a step runs: stderr, through
// redaction.
type Console struct {
	w       io.WriteCloser
	actions bool
	tty     bool
}

// NewConsole writes to w. actions says that w is a GitHub Actions log, tty that
// it is a terminal that may be coloured.
func NewConsole(w io.WriteCloser, actions, tty bool) *Console {
	return &Console{w: w, actions: actions, tty: tty}
}

func (c *Console) Write(b []byte) (int, error) { return c.w.Write(b) }

// Begin announces a step; the returned function announces its end.
func (c *Console) Begin(rec *record.Record) (end func()) { return func() {} }

// Progress tells how far a step has come. It is one line, rewritten on a terminal.
func (c *Console) Progress(format string, args ...any) {}
