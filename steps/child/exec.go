package child

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
)

// killWait is how long a process may take to die of KILL. One that hangs in the
// kernel, in a driver or a dead NFS mount, does not die at all.
const killWait = 10 * time.Second

// Exec runs real processes. Each child leads a session of its own: it has its
// own group, and no terminal that it could stop at to ask for a password.
type Exec struct{}

// Run implements Runner.
func (Exec) Run(ctx context.Context, s Spec) (Result, error) {
	res := Result{ExitCode: -1, OOMKills: -1}
	if ctx.Err() != nil {
		return res, record.AsFailure(context.Cause(ctx))
	}
	// The system ends the child when the thread that started it ends, not only when
	// the process does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	kills := oomKills()
	p, err := start(s)
	if err != nil {
		return res, err
	}
	failure := p.watch(ctx, s.Limits)
	res.Strays = p.sweep()
	p.finish(&res)
	res.OOMKills = since(kills)
	if failure == nil {
		failure = p.outputFailure()
	}
	if failure != nil {
		return res, failure
	}
	return res, nil
}

// process is a running child.
type process struct {
	cmd     *exec.Cmd
	pid     int
	id      string
	name    string
	leaf    bool
	out     *output
	started time.Time
	// exited is closed when the child has ended. It stays a zombie until finish, so
	// that its id, and with it the id of its group, cannot be given to another.
	exited chan struct{}
}

func start(s Spec) (*process, error) {
	path, err := look(s)
	if err != nil {
		return nil, err
	}
	out, err := newOutput(s)
	if err != nil {
		return nil, record.AsFailure(err)
	}
	p := &process{id: rand.Text(), name: s.Name(), leaf: s.Leaf, out: out, exited: make(chan struct{})}
	p.cmd = &exec.Cmd{
		Path: path, Args: s.Argv, Dir: s.Dir, Env: marked(s.Env, p.id),
		Stdout: out.stdout, Stderr: out.stderr,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if err := family.start(p); err != nil {
		out.end()
		return nil, startFailure(s, err)
	}
	out.run()
	go p.wait()
	return p, nil
}

func (p *process) wait() {
	for {
		if err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			break
		}
	}
	close(p.exited)
}

// watch waits until the child has ended of itself, and returns nil; or ends it
// for the reason that it returns.
func (p *process) watch(ctx context.Context, l Limits) *record.Failure {
	timeout, quiet := timer(l.Timeout), timer(l.NoOutputTimeout)
	defer timeout.Stop()
	defer quiet.Stop()
	for {
		var f *record.Failure
		select {
		case <-p.exited:
			return nil
		case <-ctx.Done():
			f = record.AsFailure(context.Cause(ctx))
		case <-timeout.C:
			f = record.Failf(record.TimedOut, "%s took longer than --timeout %s", p.name, l.Timeout)
		case <-quiet.C:
			if left := l.NoOutputTimeout - p.out.quiet(); left > 0 {
				quiet.Reset(left)
				continue
			}
			f = record.Failf(record.TimedOut, "%s printed nothing for --no-output-timeout %s", p.name, l.NoOutputTimeout).
				WithHint("raise --no-output-timeout, or find what hangs in the step's log")
		}
		if p.hasExited() {
			return nil // It was quicker than we.
		}
		p.stop(f, l.Grace)
		return f
	}
}

// timer never fires when d is no limit.
func timer(d time.Duration) *time.Timer {
	if d <= 0 {
		t := time.NewTimer(time.Hour)
		t.Stop()
		return t
	}
	return time.NewTimer(d)
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// stop passes on the signal that stopped us, else sends TERM, to the child's
// group, and KILL after the grace.
func (p *process) stop(f *record.Failure, grace time.Duration) {
	sig := f.Signal()
	if sig == 0 {
		sig = syscall.SIGTERM
	}
	p.signalGroup(sig)
	// A stopped process would see the signal only when it is continued.
	p.signalGroup(syscall.SIGCONT)
	if !p.exitsWithin(grace) {
		p.signalGroup(syscall.SIGKILL)
		p.exitsWithin(killWait)
	}
}

func (p *process) signalGroup(sig syscall.Signal) { _ = syscall.Kill(-p.pid, sig) }

func (p *process) exitsWithin(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.exited:
		return true
	case <-t.C:
		return false
	}
}

// finish takes the child's end from the system and waits for its last output.
func (p *process) finish(res *Result) {
	if p.hasExited() {
		p.signalGroup(syscall.SIGKILL) // What forked while it was swept.
		_ = p.cmd.Wait()
		describe(p.cmd.ProcessState, res)
	} else {
		go func() { _ = p.cmd.Wait() }()
	}
	family.leave(p)
	p.out.end()
	res.Duration = time.Since(p.started)
}

func describe(st *os.ProcessState, res *Result) {
	if st == nil {
		return
	}
	res.ExitCode = st.ExitCode()
	if ws := st.Sys().(syscall.WaitStatus); ws.Signaled() {
		res.Signal = unix.SignalName(ws.Signal())
	}
	// The system counts in units of 1024 bytes.
	res.MaxRSSBytes = st.SysUsage().(*syscall.Rusage).Maxrss << 10
}

func (p *process) outputFailure() *record.Failure {
	if err := p.out.err(); err != nil {
		return record.AsFailure(fmt.Errorf("output of %s: %w", p.name, err))
	}
	return nil
}

func startFailure(s Spec, err error) *record.Failure {
	name := s.Argv[0]
	switch {
	case errors.Is(err, os.ErrNotExist):
		return record.Failf(record.MissingTool, "%s is there, but the interpreter or loader that it names is not: %w", name, err)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		return record.Failf(record.MissingTool, "%s cannot be executed: %w", name, err)
	case errors.Is(err, syscall.ENOMEM):
		return record.Failf(record.OutOfMemory, "%s could not be started: %w", name, err)
	case errors.Is(err, syscall.EAGAIN):
		return record.Failf(record.Internal, "%s could not be started: %w", name, err).
			WithHint("too many processes: raise the limit of processes of the container or the user")
	}
	return record.Failf(record.Internal, "%s could not be started: %w", name, err)
}
