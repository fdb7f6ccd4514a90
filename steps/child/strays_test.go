package child

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// runRole is step-runner in small: it runs the role in its first argument.
func runRole(args []string) {
	s, _ := role(args[0], args[1:]...)
	s.Out = os.Stdout
	s.Env = append(s.Env, "TEST_STEP="+os.Getenv("TEST_STEP"))
	_, _ = Exec{}.Run(context.Background(), s)
}

// tooMuchRole is step-runner in a container that is too small for its child.
func tooMuchRole([]string) {
	s, _ := role("eat", "500")
	res, _ := Exec{}.Run(context.Background(), s)
	fmt.Printf("signal %s, %d OOM kills", res.Signal, res.OOMKills)
	s, _ = role("exit", "0")
	res, _ = Exec{}.Run(context.Background(), s)
	fmt.Printf("; then exit %d, %d OOM kills", res.ExitCode, res.OOMKills)
}

func gone(pid int) func() bool {
	return func() bool { st, err := stat(pid); return err != nil || dead(st) }
}

func pidIn(t *testing.T, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	pid, err := strconv.Atoi(string(b))
	require.NoError(t, err)
	return pid
}

func TestStraysAreEndedAndNamed(t *testing.T) {
	for _, how := range []string{"willing", "stubborn"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pid")
			s, _ := role("leak", file, how)
			res := run(t, s)
			pid := pidIn(t, file)
			require.Equal(t, []string{fmt.Sprintf("%d %s", pid, comm(t))}, res.Strays)
			require.Zero(t, res.ExitCode)
			_, err := stat(pid)
			require.Error(t, err, "it is reaped")
		})
	}
}

// A stray without any mark can be told only while no other child runs.
func TestStrayWithACleanEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	s, _ := role("leak", file, "willing", "clean")
	res := run(t, s)
	require.Equal(t, []string{fmt.Sprintf("%d %s", pidIn(t, file), comm(t))}, res.Strays)
}

// While another child runs, it may be that one's: it stays until that has ended,
// and must not block us although it holds our child's stdout.
func TestStrayOfNobodyWaitsForTheLast(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	other, out := role("block")
	var long sync.WaitGroup
	var last Result
	long.Go(func() { last, _ = Exec{}.Run(ctx, other) })
	eventually(t, "another child runs", func() bool { return strings.Contains(out.String(), "pid") })

	file := filepath.Join(t.TempDir(), "pid")
	s, _ := role("leak", file, "willing", "clean")
	res := run(t, s)
	require.Empty(t, res.Strays)
	pid := pidIn(t, file)
	require.False(t, gone(pid)())
	cancel(record.BySignal(syscall.SIGTERM))
	long.Wait()
	require.Equal(t, []string{fmt.Sprintf("%d %s", pid, comm(t))}, last.Strays)
}

func TestProcessThatLeavesByItselfIsNoStray(t *testing.T) {
	t.Parallel()
	s, _ := role("linger")
	require.Empty(t, run(t, s).Strays)
}

func TestStraysOfAnInterruptedChild(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	s, out := role("stay", file, "stubborn")
	res, err := Exec{}.Run(cancelWhen(t, out, "leaked", record.BySignal(syscall.SIGTERM)), s)
	require.Equal(t, record.Signaled, failure(t, err).Kind)
	require.Len(t, res.Strays, 1)
	require.True(t, gone(pidIn(t, file))())
}

// Neither those that run beside it, nor what they have left, nor what others in
// this process have started.
func TestOnlyOwnStraysAreEnded(t *testing.T) {
	foreign := exec.Command("sleep", "1000")
	require.NoError(t, foreign.Start())
	dir := t.TempDir()

	ctx, cancel := context.WithCancelCause(t.Context())
	var long sync.WaitGroup
	s, out := role("stay", filepath.Join(dir, "long"), "willing")
	long.Go(func() {
		res, err := Exec{}.Run(ctx, s)
		assert.Error(t, err)
		assert.Len(t, res.Strays, 1)
	})
	eventually(t, "the long child has a daemon", func() bool { return strings.Contains(out.String(), "leaked") })

	var short sync.WaitGroup
	for i := range 4 {
		short.Go(func() {
			file := filepath.Join(dir, fmt.Sprint(i))
			s, _ := role("leak", file, "willing")
			res, err := Exec{}.Run(t.Context(), s)
			assert.NoError(t, err)
			assert.Equal(t, []string{fmt.Sprintf("%d %s", pidIn(t, file), comm(t))}, res.Strays)
		})
	}
	short.Wait()
	require.False(t, gone(pidIn(t, filepath.Join(dir, "long")))(), "the daemon of the long child lives")
	require.False(t, gone(foreign.Process.Pid)())
	cancel(record.BySignal(syscall.SIGTERM))
	long.Wait()

	require.NoError(t, foreign.Process.Kill())
	require.ErrorContains(t, foreign.Wait(), "killed", "nobody else has reaped it")
}

func TestKilledRunnerTakesItsChildAlong(t *testing.T) {
	t.Parallel()
	s, out := role("run", "block")
	runner := exec.Command(s.Argv[0], s.Argv[1:]...)
	runner.Env, runner.Stdout = s.Env, out
	require.NoError(t, runner.Start())
	var pid int
	eventually(t, "the child runs", func() bool { n, _ := fmt.Sscanf(out.String(), "pid %d\n", &pid); return n == 1 })
	require.False(t, gone(pid)())
	require.NoError(t, runner.Process.Kill())
	_ = runner.Wait()
	eventually(t, "the child is gone", gone(pid))
}

// What a killed runner's child has left is found by its mark.
func TestEndMarked(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	s, out := role("run", "stay", file, "stubborn")
	runner := exec.Command(s.Argv[0], s.Argv[1:]...)
	runner.Env, runner.Stdout = append(s.Env, "TEST_STEP="+file), out
	require.NoError(t, runner.Start())
	eventually(t, "there is a daemon", func() bool { return strings.Contains(out.String(), "leaked") })
	require.NoError(t, runner.Process.Kill())
	_ = runner.Wait()

	pid := pidIn(t, file)
	require.False(t, gone(pid)())
	require.Empty(t, EndMarked("TEST_STEP", file+"/other"))
	require.Contains(t, EndMarked("TEST_STEP", file), fmt.Sprintf("%d %s", pid, comm(t)))
	eventually(t, "the daemon is gone", gone(pid))
	require.Empty(t, EndMarked("TEST_STEP", file))
}

func TestOwnMarkIsSpared(t *testing.T) {
	s, out := role("mark-myself", t.TempDir())
	res := run(t, s)
	require.Zero(t, res.ExitCode)
	require.Equal(t, "[]", out.String())
}

func init() {
	// It and its parent bear the mark.
	roles["mark-myself"] = func(args []string) {
		if os.Getenv("TEST_STEP") != "" {
			fmt.Print(EndMarked("TEST_STEP", args[0]))
			return
		}
		c := exec.Command("/bin/sh", "-c", `"$0" "$@"; exit $?`, exe(), args[0])
		c.Env = append(os.Environ(), "TEST_STEP="+args[0])
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if err := c.Run(); err != nil {
			fmt.Print(err)
			os.Exit(1)
		}
	}
}

func comm(t *testing.T) string {
	t.Helper()
	st, err := stat(os.Getpid())
	require.NoError(t, err)
	return st.Comm
}
