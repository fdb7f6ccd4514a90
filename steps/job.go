package steps

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
)

// Job is one execution of one step: its record, its log, and the helpers that
// keep both true.
type Job struct {
	*Env
	Rec *record.Record
	// Out is the console and the step's log, through redaction.
	Out io.Writer
}

// Execute runs step in its frame: it takes the step's lock, writes the record as
// running, runs the step, and replaces the record by the final one. The record
// is returned also on failure; the error is the record's failure.
func Execute(ctx context.Context, e *Env, step Step) (*record.Record, error) {
	id := step.ID()
	rec := newRecord(e, step)
	j := &Job{Env: e, Rec: rec, Out: e.Console}
	if e.Run != nil {
		unlock, err := e.Run.LockStep(id)
		if err != nil {
			return rec, j.finish(err)
		}
		defer unlock()
		if err := j.discardEarlier(); err != nil {
			return rec, j.finish(err)
		}
		if err := e.Run.Write(rec); err != nil {
			return rec, j.finish(err)
		}
		logName := filepath.Join("logs", logName(id))
		f, err := os.Create(e.Run.Path(logName))
		if err != nil {
			return rec, j.store(err)
		}
		defer f.Close()
		rec.Log = logName
		log := e.Secrets.Writer(f)
		defer log.Close()
		j.Out = io.MultiWriter(e.Console, log)
	}
	end := e.Console.Begin(rec)
	err := j.unmet()
	if err == nil {
		err = j.attempt(ctx, step)
	}
	err = j.store(err)
	end()
	return rec, err
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

func newRecord(e *Env, step Step) *record.Record {
	rec := &record.Record{
		Schema: record.Schema, ID: step.ID(), Variant: string(e.Variant), Status: record.StatusRunning,
		Started: e.Now().UTC(), Runner: e.Version, Env: e.EnvUsed, Outputs: []record.File{}, Facts: step.Facts(),
	}
	for _, a := range e.Argv {
		rec.Argv = append(rec.Argv, e.Secrets.String(a))
	}
	if e.Run != nil {
		rec.Run = e.Run.ID
	}
	return rec
}

// discardEarlier removes the outputs of an earlier attempt at this step in this
// run, so that they cannot be taken for those of this one.
func (j *Job) discardEarlier() error {
	old, err := j.Env.Run.Read(j.Rec.ID)
	if err != nil || old == nil {
		return nil // An unreadable record vouches for nothing; it is replaced.
	}
	for _, f := range old.Outputs {
		if filepath.IsLocal(f.Path) {
			if err := os.RemoveAll(j.Env.Run.Path(f.Path)); err != nil {
				return err
			}
		}
	}
	return nil
}

// store finishes the record and writes it.
func (j *Job) store(err error) error {
	err = j.finish(err)
	if werr := j.Env.write(j.Rec); werr != nil && err == nil {
		return j.finish(werr)
	}
	return err
}

func (e *Env) write(rec *record.Record) error {
	if e.Run == nil {
		return nil
	}
	return e.Run.Write(rec)
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

// Child runs a program in the step's name: its output goes to the console and
// the log, and how it ended goes into the record. An empty Env becomes
// ChildEnv(); a nil Out becomes j.Out.
func (j *Job) Child(ctx context.Context, s child.Spec) (child.Result, error) {
	if s.Env == nil {
		s.Env = j.ChildEnv()
	}
	if s.Out == nil {
		s.Out = j.Out
	}
	res, err := j.Runner.Run(ctx, s)
	c := record.Child{ExitCode: res.ExitCode, Signal: res.Signal, Seconds: res.Duration.Seconds(), MaxRSSBytes: res.MaxRSSBytes, Strays: res.Strays}
	for _, a := range s.Argv {
		c.Argv = append(c.Argv, j.Secrets.String(a))
	}
	j.Rec.Children = append(j.Rec.Children, c)
	if len(res.Strays) > 0 {
		j.Note("ended %d processes that %s left behind: %s", len(res.Strays), filepath.Base(s.Argv[0]), strings.Join(res.Strays, ", "))
	}
	return res, err
}

// Note records something that a reader should know although the step goes on.
func (j *Job) Note(format string, args ...any) {
	text := j.Secrets.String(fmt.Sprintf(format, args...))
	j.Rec.Notes = append(j.Rec.Notes, text)
	j.Log.Warn(text)
}

// Output digests a file that the step made and records it.
func (j *Job) Output(path string) error {
	f, err := j.file(path)
	if err == nil {
		j.Rec.Outputs = append(j.Rec.Outputs, f)
	}
	return err
}

// Input digests a file that the step read and records it.
func (j *Job) Input(path string) error {
	f, err := j.file(path)
	if err == nil {
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
		return nil, record.Failf(record.NotRun, "run %s has no record of step %d (%s)", j.Env.Run.ID, id.Step, id.Name)
	case rec.Status != record.StatusSucceeded:
		return nil, record.Failf(record.NotRun, "step %d (%s) of run %s has %s", id.Step, id.Name, j.Env.Run.ID, rec.Status)
	}
	return rec, nil
}

// tokenVars never reach a child.
var tokenVars = []string{"STEP_RUNNER_CLONE_TOKEN", "STEP_RUNNER_CLONE_TESTS_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "GIT_TOKEN"}

// TokenVars are the variables that hold tokens. They never reach a child.
func TokenVars() []string { return slices.Clone(tokenVars) }

// ChildEnv is this process's environment without any variable that is known to
// hold a token or whose value contains one, plus extra.
func (j *Job) ChildEnv(extra ...string) []string {
	env := slices.DeleteFunc(slices.Clone(j.Environ), func(kv string) bool {
		name, value, _ := strings.Cut(kv, "=")
		return slices.Contains(tokenVars, name) || j.Secrets.Contains([]byte(value))
	})
	return append(append(env, j.homeEnv()...), extra...)
}

// homeEnv gives children a writable HOME inside the run when the one they would
// inherit is not, and a name to a user without an entry in passwd: containers run
// as any UID, and PyTorch and getpass fail where a user has no name.
func (j *Job) homeEnv() []string {
	var env []string
	if !named(os.Getuid()) && j.Getenv("USER") == "" && j.Getenv("LOGNAME") == "" {
		env = append(env, "USER=step-runner", "LOGNAME=step-runner")
	}
	if j.Env.Run == nil || writableDir(j.Getenv("HOME")) {
		return env
	}
	home := j.Env.Run.Path("work", "home")
	if err := os.MkdirAll(home, 0o775); err != nil {
		return env
	}
	return append(env, "HOME="+home)
}

func named(uid int) bool {
	_, err := user.LookupId(strconv.Itoa(uid))
	return err == nil
}

func writableDir(dir string) bool {
	if dir == "" {
		return false
	}
	f, err := os.CreateTemp(dir, ".step-runner-*")
	if err != nil {
		return false
	}
	f.Close()
	return os.Remove(f.Name()) == nil
}
