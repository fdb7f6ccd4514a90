// Package artifacts is what a run leaves on disk: the workspace and its layout,
// locks, atomic files, digests, collection and publication.
package artifacts

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Variant is lite or original.
type Variant string

// The two variants of the workflow.
const (
	Lite     Variant = "lite"
	Original Variant = "original"
)

// FileName puts the seed's suffix before the extension of an artifact's name:
// base_lite.ext in the lite variant, base.ext in the original one.
func (v Variant) FileName(base, ext string) string {
	if v == Lite {
		return base + "_lite" + ext
	}
	return base + ext
}

// SummaryName is the summary's file name, the seed's.
func (v Variant) SummaryName() string {
	if v == Lite {
		return "STEP_SUMMARY_LITE.md"
	}
	return "STEP_SUMMARY.md"
}

// Workspace is the directory that all steps of all runs share.
//
//	runs/<id>/    one run; see Run
//	clones/       repositories by origin and commit, never changed once there
//	venvs/        virtual environments by a hash of what went in
//	cache/        download caches of pip, uv and Poetry, and of datasets
//	datasets/     datasets by name, each put there as a whole
//	locks/        advisory locks on the shared things above
//	artifacts/    those of the last finished run
//	STEP_SUMMARY_LITE.md, STEP_SUMMARY.md
type Workspace struct{ Dir string }

// OpenWorkspace makes dir if it is not there, and checks that it can be written.
func OpenWorkspace(dir string) (*Workspace, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, record.Failf(record.BadWorkspace, "workspace %s: %w", dir, err)
	}
	w := &Workspace{Dir: abs}
	for _, d := range []string{"runs", "clones", "venvs", "cache", "locks"} {
		if err := os.MkdirAll(w.Path(d), 0o775); err != nil {
			return nil, workspaceFailure(abs, err)
		}
	}
	probe, err := os.CreateTemp(w.Path("locks"), ".probe-*")
	if err != nil {
		return nil, workspaceFailure(abs, err)
	}
	probe.Close()
	return w, os.Remove(probe.Name())
}

func workspaceFailure(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return record.Failf(record.DiskFull, "workspace %s: %w", dir, err)
	}
	return record.Failf(record.BadWorkspace, "workspace %s cannot be written by uid %d: %w", dir, os.Getuid(), err)
}

// Path joins elem below the workspace.
func (w *Workspace) Path(elem ...string) string {
	return filepath.Join(append([]string{w.Dir}, elem...)...)
}

// Lock takes the workspace's lock called name and waits for it. It is an
// advisory file lock: the system frees it when its holder dies.
func (w *Workspace) Lock(name string) (unlock func(), err error) {
	return lockFile(w.Path("locks", name), true)
}

// TryLock is Lock that does not wait: ok is false when somebody has the lock.
func (w *Workspace) TryLock(name string) (unlock func(), ok bool, err error) {
	unlock, err = lockFile(w.Path("locks", name), false)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, nil
	}
	return unlock, err == nil, err
}

// LockContext is Lock that gives up when ctx ends. A lock that is free it takes
// all the same: what is left to do after a signal may need it.
func (w *Workspace) LockContext(ctx context.Context, name string) (unlock func(), err error) {
	unlock, err = lockFile(w.Path("locks", name), false)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return unlock, err
	}
	type result struct {
		unlock func()
		err    error
	}
	got := make(chan result, 1)
	go func() {
		unlock, err := w.Lock(name)
		got <- result{unlock, err}
	}()
	select {
	case r := <-got:
		return r.unlock, r.err
	case <-ctx.Done():
		// flock cannot be interrupted from here: whoever gets it late gives it back.
		go func() {
			if r := <-got; r.err == nil {
				r.unlock()
			}
		}()
		return nil, fmt.Errorf("lock %s: %w", name, context.Cause(ctx))
	}
}

var runID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// NewRunID makes an id that sorts by time and is unique.
func NewRunID(now time.Time) string {
	b := make([]byte, 3)
	rand.Read(b)
	return now.UTC().Format("20060102-150405-") + hex.EncodeToString(b)
}

// Run is one run's directory: records/, artifacts/, logs/, and work/ for what
// its steps need only while they run.
type Run struct {
	ID  string
	Dir string
	W   *Workspace
}

// OpenRun makes the run's directories if they are not there. An id from outside
// must be one path element.
func (w *Workspace) OpenRun(id string) (*Run, error) {
	if !runID.MatchString(id) {
		return nil, record.Failf(record.Usage, "run %q: an id has 1 to 63 letters, digits, '.', '_' and '-', and starts with a letter or digit", id)
	}
	r := &Run{ID: id, Dir: w.Path("runs", id), W: w}
	for _, d := range []string{"records", "artifacts", "logs", "work", "locks"} {
		if err := os.MkdirAll(r.Path(d), 0o775); err != nil {
			return nil, workspaceFailure(w.Dir, err)
		}
	}
	return r, nil
}

// FindRun opens a run that is there already.
func (w *Workspace) FindRun(id string) (*Run, error) {
	if runID.MatchString(id) {
		if _, err := os.Stat(w.Path("runs", id)); err == nil {
			return w.OpenRun(id)
		}
	}
	return nil, record.Failf(record.BadInput, "workspace %s has no run %q", w.Dir, id).WithHint("the runs are the directories in %s", w.Path("runs"))
}

// Path joins elem below the run directory.
func (r *Run) Path(elem ...string) string {
	return filepath.Join(append([]string{r.Dir}, elem...)...)
}

// Rel is path relative to the run directory when it is in there, else absolute.
func (r *Run) Rel(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(r.Dir, abs); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return abs
}

// Abs is the inverse of Rel.
func (r *Run) Abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return r.Path(path)
}

// LockStep takes the lock that says that a live process runs the step; a Busy
// failure when another one does.
func (r *Run) LockStep(id record.ID) (unlock func(), err error) {
	unlock, err = lockFile(r.stepLock(id), false)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, record.Failf(record.Busy, "run %s: step %s is running in another process", r.ID, id)
	}
	return unlock, err
}

func (r *Run) stepLock(id record.ID) string { return r.Path("locks", id.String()) }

// Write stores rec in the run, atomically.
func (r *Run) Write(rec *record.Record) error {
	return WriteAtomic(r.Path("records", rec.File()), 0o664, func(w io.Writer) error { return record.Encode(w, rec) })
}

// Read returns the record of a step, or nil when it has none. A record that says
// running although no process holds the step's lock reads as interrupted.
func (r *Run) Read(id record.ID) (*record.Record, error) {
	rec, err := record.ReadFile(r.Path("records", id.File()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if rec.ID != id || rec.Run != r.ID {
		return nil, record.Failf(record.BadInput, "record %s is of step %s of run %s", id.File(), rec.ID, rec.Run)
	}
	if rec.Status == record.StatusRunning && !r.alive(id) {
		f := r.killed(rec)
		code := record.ExitCode(f)
		rec.Status, rec.Failure, rec.ExitCode = record.StatusInterrupted, f, &code
	}
	return rec, nil
}

func (r *Run) alive(id record.ID) bool {
	unlock, err := lockFile(r.stepLock(id), false)
	if err != nil {
		return errors.Is(err, unix.EWOULDBLOCK)
	}
	unlock()
	return false
}

func lockFile(path string, wait bool) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o664)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}
