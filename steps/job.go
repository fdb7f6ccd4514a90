package steps

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// Job is one execution of one step: its record, its log, and the helpers that
// keep both true.
type Job struct {
	*Env
	Rec *record.Record
	// Out is the console and the step's log, through redaction. What cannot be
	// written there fails nothing.
	Out io.Writer

	log     *stepLog
	results []string
	// mu is about the lists of Rec.
	mu sync.Mutex
}

// Execute runs step in its frame: it takes the step's lock, writes the record as
// running, runs the step, and replaces the record by the final one. The record
// is returned also on failure; the error is the record's failure.
func Execute(ctx context.Context, e *Env, step Step) (*record.Record, error) {
	log := &stepLog{console: e.Console}
	j := &Job{Env: log.env(e), Rec: newRecord(e, step), Out: log, log: log, results: e.Results}
	// Whatever ends this process: until there are better ones, these results hold.
	j.writeResults()
	defer j.writeResults()
	if e.Run != nil {
		unlock, err := e.Run.LockStep(j.Rec.ID)
		if err != nil {
			return j.Rec, j.finish(err) // The record belongs to whoever has the lock.
		}
		defer unlock()
	}
	end := e.Console.Begin(j.Rec)
	defer end()
	err := j.begin()
	if err == nil {
		err = j.unmet()
	}
	if err == nil {
		err = j.attempt(ctx, step)
	}
	j.logFailure(err)
	j.closeLog()
	return j.Rec, j.store(err)
}

// attempt runs the step. A panic becomes its failure, so that there is a record,
// and the stack goes through redaction.
func (j *Job) attempt(ctx context.Context, step Step) (err error) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(j.Out, "%s", debug.Stack())
			err = record.Failf(record.Internal, "step-runner itself failed: %v", p)
		}
	}()
	return step.Run(ctx, j)
}

// unmet is a NotRun failure when a step that this one needs has a record in this
// run that is not one of success.
func (j *Job) unmet() error {
	if j.Env.Run == nil {
		return nil
	}
	for _, id := range record.Needs(j.Rec.ID) {
		if rec, err := j.Env.Run.Read(id); err != nil || rec != nil {
			if _, err := j.Need(id); err != nil {
				return err
			}
		}
	}
	return nil
}

func newRecord(e *Env, step Step) *record.Record {
	rec := &record.Record{
		Schema: record.Schema, ID: step.ID(), Variant: string(e.Variant), Status: record.StatusRunning,
		Started: e.Now().UTC(), Runner: e.Version, Env: e.EnvUsed, Outputs: []record.File{}, Facts: step.Facts(),
	}
	for _, a := range e.Argv {
		rec.Argv = append(rec.Argv, e.Secrets.String(a))
	}
	rec.Settings = stepSettings(step)
	for name, text := range rec.Settings {
		rec.Settings[name] = e.Secrets.String(text)
	}
	if e.Run != nil {
		rec.Run = e.Run.ID
	}
	return rec
}

// finish sets the record's end from the step's error and returns it as a Failure.
func (j *Job) finish(err error) error {
	now := j.Now().UTC()
	code := record.ExitCode(err)
	r := j.Rec
	r.Ended, r.ExitCode, r.Status = &now, &code, record.StatusSucceeded
	f := record.AsFailure(err)
	if f == nil {
		r.Failure = nil
		return nil
	}
	told := *f // One failure, such as a signal, may end several steps.
	f = &told
	f.Message, f.Hint = j.Secrets.String(f.Message), j.Secrets.String(f.Hint)
	r.Failure, r.Status = f, record.StatusFailed
	switch f.Kind {
	case record.TimedOut:
		r.Status = record.StatusTimedOut
	case record.Signaled, record.Killed:
		r.Status = record.StatusInterrupted
	case record.NotRun:
		r.Status = record.StatusSkipped
	}
	return f
}

// Note records something that a reader should know although the step goes on.
func (j *Job) Note(format string, args ...any) {
	text := j.Secrets.String(fmt.Sprintf(format, args...))
	j.mu.Lock()
	j.Rec.Notes = append(j.Rec.Notes, text)
	j.mu.Unlock()
	j.Log.Warn(text)
}

// Output digests a file that the step made and records it.
func (j *Job) Output(path string) error {
	f, err := j.file(path)
	if err == nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.Rec.Outputs = append(j.Rec.Outputs, f)
	}
	return err
}

// Mask takes secrets out of a file that a child wrote, and says so: notebooks and
// tests print what they were given, and who collects the file may not know it.
func (j *Job) Mask(path string) error {
	text, err := os.ReadFile(path)
	if err != nil || !j.Secrets.Contains(text) {
		return err
	}
	j.Note("%s showed a secret, which was masked", filepath.Base(path))
	return artifacts.WriteText(path, []byte(j.Secrets.String(string(text))))
}

// Input digests a file that the step read and records it.
func (j *Job) Input(path string) error {
	f, err := j.file(path)
	if err == nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.Rec.Inputs = append(j.Rec.Inputs, f)
	}
	return err
}

func (j *Job) file(path string) (record.File, error) {
	name := path
	if j.Env.Run != nil {
		path = j.Env.Run.Abs(path)
		name = j.Env.Run.Rel(path)
	}
	f, err := artifacts.Digest(path)
	f.Path = name
	return f, err
}

// Need returns the record of an earlier step of this run, or a NotRun failure
// when it has none that succeeded.
func (j *Job) Need(id record.ID) (*record.Record, error) {
	rec, err := j.Env.Run.Read(id)
	switch {
	case err != nil:
		return nil, err
	case rec == nil:
		return nil, record.Failf(record.NotRun, "run %s has no record of %s", j.Env.Run.ID, id.Title())
	case rec.Status != record.StatusSucceeded:
		return nil, record.Failf(record.NotRun, "%s of run %s %s", id.Title(), j.Env.Run.ID, rec.Status.Predicate())
	}
	return rec, nil
}
