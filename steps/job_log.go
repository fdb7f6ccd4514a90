package steps

import (
	"errors"
	"io"
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
	if l.log != nil {
		if _, err := l.log.Write(b); l.err == nil {
			l.err = err
		}
	}
	_, _ = l.console.Write(b)
	return len(b), nil
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
