package steps

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/step-runner/step-runner/artifacts/record"
)

// stepLog is the console and the step's log. It takes whatever comes: a console
// that went away or a full disk must not stop a child. The log comes first.
type stepLog struct {
	console io.Writer

	mu   sync.Mutex
	file *os.File
	log  io.WriteCloser
	err  error
}

func (l *stepLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(b)
	_, _ = l.console.Write(b)
	return len(b), nil
}

// quiet is the step's log without the console.
type quiet struct{ *stepLog }

func (q quiet) Write(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.keep(b)
	return len(b), nil
}

// keep writes to the log, if it is open. The lock is held.
func (l *stepLog) keep(b []byte) {
	if l.log == nil {
		return
	}
	if _, err := l.log.Write(b); l.err == nil {
		l.err = err
	}
}

// env is e for one step: what the step logs is in the step's log too, whatever
// the console is asked to show. A step that it runs in turn has no results to write.
func (l *stepLog) env(e *Env) *Env {
	own := *e
	own.Results = nil
	own.Log = slog.New(slog.NewMultiHandler(e.Log.Handler(), slog.NewTextHandler(quiet{l}, nil)))
	return &own
}

// logFailure ends the log with why the step failed; the console is told by others.
func (j *Job) logFailure(err error) {
	if f := record.AsFailure(err); f != nil {
		fmt.Fprintf(quiet{j.log}, "step-runner: %s: %s\nstep-runner: hint: %s\n", f.Kind, f.Message, f.Hint)
	}
}

// openLog begins a new log. That of the attempt before stays beside it.
func (j *Job) openLog() error {
	name := filepath.Join("logs", logName(j.Rec.ID))
	path := j.Env.Run.Path(name)
	if err := os.Rename(path, path+".previous"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	j.log.mu.Lock()
	defer j.log.mu.Unlock()
	j.log.file, j.log.log = f, j.Secrets.Writer(f)
	j.Rec.Log = name
	return nil
}

// closeLog writes the last of the log, and notes when some of it is lost.
func (j *Job) closeLog() {
	l := j.log
	l.mu.Lock()
	if l.log != nil {
		l.err = errors.Join(l.err, l.log.Close(), l.file.Close())
		l.log = nil
	}
	err := l.err
	l.mu.Unlock()
	if err != nil {
		j.Note("%s is incomplete: %v", j.Rec.Log, err)
	}
}

// logName is the step's log file; the seed's names where it has one.
func logName(id record.ID) string {
	switch id {
	case record.Papermill:
		return "papermill.log"
	case record.Nbconvert:
		return "jupyter_nbconvert.log"
	case record.Pytest:
		return "pytest_output.log"
	}
	return id.String() + ".log"
}
