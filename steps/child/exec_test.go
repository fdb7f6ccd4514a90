package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/steptest"
)

// Under -race a program sleeps for a second before it ends.
const norace = "GORACE=atexit_sleep_ms=0"

// role is a child that plays a role of main_test.go, and what it prints.
func role(mode string, args ...string) (Spec, *steptest.Buffer) {
	out := &steptest.Buffer{}
	return Spec{Argv: append([]string{exe()}, args...), Env: []string{modeVar + "=" + mode, "PATH=" + os.Getenv("PATH"), norace}, Out: out,
		Limits: Limits{Timeout: time.Minute, Grace: 20 * time.Second}}, out
}

func run(t *testing.T, s Spec) Result {
	t.Helper()
	res, err := Exec{}.Run(t.Context(), s)
	require.NoError(t, err)
	return res
}

func failure(t *testing.T, err error) *record.Failure {
	t.Helper()
	var f *record.Failure
	require.ErrorAs(t, err, &f)
	return f
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 30*time.Second, time.Millisecond, what)
}

// cancelWhen ends the child by cause as soon as it has printed text.
func cancelWhen(t *testing.T, out *steptest.Buffer, text string, cause error) context.Context {
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for ctx.Err() == nil && !strings.Contains(out.String(), text) {
			time.Sleep(time.Millisecond)
		}
		cancel(cause)
	}()
	return ctx
}

func TestExitCodeIsNoError(t *testing.T) {
	t.Parallel()
	for _, code := range []int{0, 1, 137} {
		s, _ := role("exit", fmt.Sprint(code))
		res := run(t, s)
		assert.Equal(t, code, res.ExitCode)
		assert.Empty(t, res.Signal)
		assert.Positive(t, res.Duration)
		assert.Positive(t, res.MaxRSSBytes)
		assert.Empty(t, res.Strays)
	}
}

func TestCrash(t *testing.T) {
	t.Parallel()
	res := run(t, Spec{Argv: []string{"/bin/sh", "-c", "kill -SEGV $$"}})
	assert.Equal(t, -1, res.ExitCode)
	assert.Equal(t, "SIGSEGV", res.Signal)
}

func TestOutputKeepsItsOrder(t *testing.T) {
	t.Parallel()
	s, out := role("both", "50")
	run(t, s)
	var want strings.Builder
	for i := range 50 {
		fmt.Fprint(&want, "o", i, " e", i, " ")
	}
	assert.Equal(t, want.String(), out.String())
}

func TestStdoutAlone(t *testing.T) {
	t.Parallel()
	s, out := role("both", "2")
	stdout := &steptest.Buffer{}
	s.Stdout = stdout
	run(t, s)
	assert.Equal(t, "o0 o1 ", stdout.String())
	assert.Equal(t, "e0 e1 ", out.String())
}

func TestWhatAChildSees(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{
		"stdin": "0 <nil>",
		"group": "true true",
		// Not a terminal at which a password prompt could wait for ever.
		"tty": "open /dev/tty: no such device or address",
	} {
		s, out := role(mode)
		run(t, s)
		assert.Equal(t, want, out.String(), mode)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	s, out := role("environ")
	s.Env = append(s.Env, "TWICE=first", MarkVar+"=outer", "TWICE=last")
	run(t, s)
	lines := strings.Split(out.String(), "\n")
	assert.Contains(t, lines, "TWICE=last")
	assert.NotContains(t, lines, "TWICE=first")
	assert.Regexp(t, `(?m)^STEP_RUNNER_CHILD=outer:\w{20,}$`, out.String())
	assert.NotContains(t, out.String(), "HOME=", "our own environment is not inherited")
}

func TestLookUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	script("tool", "#!/bin/sh\necho it is I\n", 0o755)
	script("plain", "#!/bin/sh\n", 0o644)
	script("moved", "#!/no/such/python\n", 0o755)
	script("text", "neither script nor program", 0o755)

	for _, name := range []string{"tool", "./tool"} {
		out := &steptest.Buffer{}
		run(t, Spec{Argv: []string{name}, Dir: dir, Env: []string{"PATH=relative:" + dir}, Out: out})
		assert.Equal(t, "it is I\n", out.String(), name)
	}
	for name, message := range map[string]string{
		"papermill":       "papermill is not in PATH (" + dir + ")",
		"plain":           "plain is not in PATH",
		"./plain":         "./plain is not there, or not executable",
		"/no/such/python": "/no/such/python is not there, or not executable",
		"moved":           "moved is there, but the interpreter or loader that it names is not",
		"text":            "text cannot be executed",
	} {
		res, err := Exec{}.Run(t.Context(), Spec{Argv: []string{name}, Dir: dir, Env: []string{"PATH=" + dir}})
		f := failure(t, err)
		assert.Equal(t, record.MissingTool, f.Kind, name)
		assert.Contains(t, f.Message, message)
		assert.Equal(t, -1, res.ExitCode)
	}
	_, err := Exec{}.Run(t.Context(), Spec{Argv: []string{"tool"}, Dir: dir + "/gone", Env: []string{"PATH=" + dir}})
	assert.Equal(t, record.BadInput, failure(t, err).Kind)
}

func TestSignalsAreForwarded(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			t.Parallel()
			s, out := role("report")
			cause := record.BySignal(sig)
			res, err := Exec{}.Run(cancelWhen(t, out, "ready", cause), s)
			assert.Same(t, cause, err)
			assert.Equal(t, 7, res.ExitCode)
			assert.Contains(t, out.String(), "got "+unix.SignalName(sig))
		})
	}
}

func TestEndOfContextIsTERM(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{record.Failf(record.TimedOut, "the run took too long"), errors.New("changed my mind")} {
		s, out := role("report")
		_, err := Exec{}.Run(cancelWhen(t, out, "ready", cause), s)
		assert.Equal(t, cause.Error(), failure(t, err).Message)
		assert.Contains(t, out.String(), "got SIGTERM")
	}
}

func TestEndedContextStartsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(record.BySignal(syscall.SIGINT))
	s, out := role("print", "hello")
	_, err := Exec{}.Run(ctx, s)
	assert.Equal(t, record.Signaled, failure(t, err).Kind)
	assert.Empty(t, out.String())
}

func TestKillAfterGrace(t *testing.T) {
	t.Parallel()
	s, out := role("ignore")
	s.Grace = time.Millisecond
	res, err := Exec{}.Run(cancelWhen(t, out, "ready", record.BySignal(syscall.SIGTERM)), s)
	assert.Equal(t, record.Signaled, failure(t, err).Kind)
	assert.Equal(t, "SIGKILL", res.Signal)
	assert.Equal(t, -1, res.ExitCode)
}

func TestStoppedChildIsEnded(t *testing.T) {
	t.Parallel()
	s, out := role("stopped")
	res, err := Exec{}.Run(cancelWhen(t, out, "ready", record.BySignal(syscall.SIGTERM)), s)
	require.Error(t, err)
	assert.Equal(t, "SIGTERM", res.Signal, "KILL was not needed")
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	s, _ := role("block")
	s.Timeout = 50 * time.Millisecond
	res, err := Exec{}.Run(t.Context(), s)
	f := failure(t, err)
	assert.Equal(t, record.TimedOut, f.Kind)
	assert.Contains(t, f.Message, "took longer than --timeout 50ms")
	assert.Equal(t, 124, record.ExitCode(err))
	assert.Equal(t, "SIGTERM", res.Signal)
}

func TestNoOutputTimeout(t *testing.T) {
	t.Parallel()
	s, out := role("block")
	s.NoOutputTimeout = 300 * time.Millisecond
	_, err := Exec{}.Run(t.Context(), s)
	f := failure(t, err)
	assert.Equal(t, record.TimedOut, f.Kind)
	assert.Contains(t, f.Message, "printed nothing for --no-output-timeout 300ms")
	assert.Contains(t, f.Hint, "--no-output-timeout")
	assert.Contains(t, out.String(), "pid")
}

func TestOutputKeepsAChildAlive(t *testing.T) {
	t.Parallel()
	s, out := role("tick", "60") // Three seconds, which is more than the limit.
	s.NoOutputTimeout = 2 * time.Second
	run(t, s)
	assert.Len(t, out.String(), 60)
}

// slow blocks its first Write until it is told to go on.
type slow struct {
	steptest.Buffer
	reached, goOn chan struct{}
}

func (w *slow) Write(b []byte) (int, error) {
	w.reached <- struct{}{}
	<-w.goOn
	return w.Buffer.Write(b)
}

func TestASlowConsoleIsNotASilentChild(t *testing.T) {
	t.Parallel()
	o := &output{}
	w := &slow{reached: make(chan struct{}), goOn: make(chan struct{})}
	go o.write(w, []byte("x"))
	<-w.reached
	assert.Zero(t, o.quiet(), "last output was in 1970, but we are writing")
	close(w.goOn)
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestABrokenLogDoesNotBlockTheChild(t *testing.T) {
	t.Parallel()
	s, _ := role("flood", "4")
	s.Out = broken{}
	res, err := Exec{}.Run(t.Context(), s)
	assert.Zero(t, res.ExitCode, "the child got no SIGPIPE")
	assert.Equal(t, record.DiskFull, failure(t, err).Kind)
}

// counter keeps nothing.
type counter struct{ bytes int }

func (c *counter) Write(b []byte) (int, error) { c.bytes += len(b); return len(b), nil }

func TestFloodWithoutNewline(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, _ := role("flood", "100")
	c := &counter{}
	s.Out = c
	run(t, s)
	runtime.ReadMemStats(&after)
	assert.Equal(t, 100<<20, c.bytes)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20), "memory does not grow with the output")
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	out := &steptest.Buffer{}
	run(t, Spec{Argv: []string{"/bin/pwd"}, Dir: dir, Out: out})
	assert.Equal(t, dir+"\n", out.String())
}

func BenchmarkRun(b *testing.B) {
	for b.Loop() {
		if _, err := (Exec{}).Run(b.Context(), Spec{Argv: []string{"/bin/true"}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOutput(b *testing.B) {
	s, _ := role("flood", "100")
	s.Out = &counter{}
	b.SetBytes(100 << 20)
	for b.Loop() {
		if _, err := (Exec{}).Run(b.Context(), s); err != nil {
			b.Fatal(err)
		}
	}
}
