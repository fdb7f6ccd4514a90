package steps

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/steptest"
)

const jobToken = "ghp_0123456789abcdef/+"

// jobStep is a step that does what a test says.
type jobStep struct {
	id    record.ID
	facts any
	run   func(ctx context.Context, j *Job) error
}

func (s jobStep) ID() record.ID { return s.id }
func (s jobStep) Facts() any    { return s.facts }
func (s jobStep) Run(ctx context.Context, j *Job) error {
	if s.run == nil {
		return nil
	}
	return s.run(ctx, j)
}

func jobPytest(run func(ctx context.Context, j *Job) error) jobStep {
	return jobStep{record.Pytest, &record.PytestFacts{}, run}
}

// jobOnDisk is the record as it is on disk, not as the run's locks make it read.
func jobOnDisk(t *testing.T, e *TestEnv, id record.ID) *record.Record {
	t.Helper()
	rec, err := record.ReadFile(e.Run.Path("records", id.File()))
	require.NoError(t, err)
	return rec
}

func jobLog(t *testing.T, e *TestEnv, name string) string {
	t.Helper()
	b, err := os.ReadFile(e.Run.Path("logs", name))
	require.NoError(t, err)
	return string(b)
}

func TestJobIsRecordedAsRunningBeforeItRuns(t *testing.T) {
	e := NewTestEnv(t)
	e.EnvUsed = []string{"NOTEBOOK_FILENAME"}
	ran := false
	rec, err := Execute(t.Context(), e.Env, jobPytest(func(context.Context, *Job) error {
		ran = true
		rec := jobOnDisk(t, e, record.Pytest)
		assert.Equal(t, record.StatusRunning, rec.Status)
		assert.Nil(t, rec.Ended)
		assert.Nil(t, rec.ExitCode)
		assert.Equal(t, "logs/pytest_output.log", rec.Log)
		assert.Equal(t, []string{"step-runner"}, rec.Argv)
		assert.Equal(t, []string{"NOTEBOOK_FILENAME"}, rec.Env)
		live, err := e.Run.Read(record.Pytest)
		require.NoError(t, err)
		assert.Equal(t, record.StatusRunning, live.Status)
		return nil
	}))
	require.NoError(t, err)
	require.True(t, ran)
	assert.Equal(t, record.StatusSucceeded, rec.Status)
	onDisk := jobOnDisk(t, e, record.Pytest)
	assert.Equal(t, record.StatusSucceeded, onDisk.Status)
	assert.Equal(t, 0, *onDisk.ExitCode)
	assert.NotNil(t, onDisk.Ended)
	left, err := filepath.Glob(e.Run.Path("records", ".*"))
	require.NoError(t, err)
	assert.Empty(t, left, "no reserve, no temporary file")
}

func TestJobStatuses(t *testing.T) {
	for _, c := range []struct {
		err    error
		status record.Status
		kind   record.Kind
		exit   int
	}{
		{record.Failf(record.TestsFailed, "2 tests"), record.StatusFailed, record.TestsFailed, 60},
		{record.Failf(record.TimedOut, "too long"), record.StatusTimedOut, record.TimedOut, 124},
		{record.BySignal(syscall.SIGTERM), record.StatusInterrupted, record.Signaled, 143},
		{record.Failf(record.Killed, "killed"), record.StatusInterrupted, record.Killed, 137},
		{record.Failf(record.NotRun, "a need"), record.StatusSkipped, record.NotRun, 16},
		{&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, record.StatusFailed, record.DiskFull, 13},
		{errors.New("what is this"), record.StatusFailed, record.Internal, 1},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			e := NewTestEnv(t)
			_, err := Execute(t.Context(), e.Env, jobPytest(func(context.Context, *Job) error { return c.err }))
			require.Error(t, err)
			assert.Equal(t, c.exit, record.ExitCode(err))
			rec := jobOnDisk(t, e, record.Pytest)
			assert.Equal(t, c.status, rec.Status)
			assert.Equal(t, c.kind, rec.Failure.Kind)
			assert.Equal(t, c.exit, *rec.ExitCode)
		})
	}
}

func TestJobTellsOfAnEarlierAttemptThatFailed(t *testing.T) {
	e := NewTestEnv(t)
	fails := func(context.Context, *Job) error { return record.Failf(record.TestsFailed, "1 of 2 failed") }
	_, err := Execute(t.Context(), e.Env, jobPytest(fails))
	require.Error(t, err)
	rec, err := Execute(t.Context(), e.Env, jobPytest(nil))
	require.NoError(t, err)
	require.Len(t, rec.Notes, 1)
	assert.Regexp(t, `^an earlier attempt, begun [0-9: -]{19}, has failed \(tests-failed\): 1 of 2 failed$`, rec.Notes[0])
	rec, err = Execute(t.Context(), e.Env, jobPytest(nil))
	require.NoError(t, err)
	assert.Empty(t, rec.Notes, "success is no news")
}

func TestJobDiscardsTheOutputsOfAnEarlierAttempt(t *testing.T) {
	e := NewTestEnv(t)
	out, outside := e.Run.Path("artifacts", "out.txt"), filepath.Join(t.TempDir(), "mine.txt")
	first := jobPytest(func(_ context.Context, j *Job) error {
		for _, path := range []string{out, outside} {
			require.NoError(t, os.WriteFile(path, []byte("first"), 0o600))
			require.NoError(t, j.Output(path))
		}
		return nil
	})
	_, err := Execute(t.Context(), e.Env, first)
	require.NoError(t, err)
	_, err = Execute(t.Context(), e.Env, jobPytest(func(context.Context, *Job) error {
		assert.NoFileExists(t, out)
		assert.Empty(t, jobOnDisk(t, e, record.Pytest).Outputs)
		return nil
	}))
	require.NoError(t, err)
	assert.FileExists(t, outside, "what lies outside the run is not the run's to remove")

	// An attempt that was killed before it could remove them.
	_, err = Execute(t.Context(), e.Env, first)
	require.NoError(t, err)
	rec := jobOnDisk(t, e, record.Pytest)
	rec.Status = record.StatusRunning
	require.NoError(t, e.Run.Write(rec))
	_, err = Execute(t.Context(), e.Env, jobPytest(nil))
	require.NoError(t, err)
	assert.NoFileExists(t, out)
}

func TestJobKeepsTheLogOfTheAttemptBefore(t *testing.T) {
	e := NewTestEnv(t)
	for _, text := range []string{"first\n", "second\n"} {
		_, err := Execute(t.Context(), e.Env, jobPytest(func(_ context.Context, j *Job) error {
			_, err := io.WriteString(j.Out, text)
			return err
		}))
		require.NoError(t, err)
	}
	assert.Equal(t, "second\n", jobLog(t, e, "pytest_output.log"))
	assert.Equal(t, "first\n", jobLog(t, e, "pytest_output.log.previous"))
}

func TestJobWhoseNeedDidNotSucceedIsSkipped(t *testing.T) {
	e := NewTestEnv(t)
	_, err := Execute(t.Context(), e.Env, jobStep{record.Nbconvert, &record.NbconvertFacts{}, func(context.Context, *Job) error {
		return record.Failf(record.ConvertFailed, "no page")
	}})
	require.Error(t, err)
	_, err = Execute(t.Context(), e.Env, jobPytest(func(context.Context, *Job) error { t.Error("it ran"); return nil }))
	assert.Equal(t, 16, record.ExitCode(err))
	rec := jobOnDisk(t, e, record.Pytest)
	assert.Equal(t, record.StatusSkipped, rec.Status)
	assert.Contains(t, rec.Failure.Message, "step 4 (nbconvert)")
}

func TestJobOfNoRunLeavesNothing(t *testing.T) {
	e := NewTestEnv(t)
	e.Run, e.Workspace = nil, nil
	rec, err := Execute(t.Context(), e.Env, jobStep{record.ID{Name: "gpu-check"}, &record.GPUFacts{}, func(_ context.Context, j *Job) error {
		_, err := io.WriteString(j.Out, "seen\n")
		return err
	}})
	require.NoError(t, err)
	assert.Equal(t, record.StatusSucceeded, rec.Status)
	assert.Contains(t, e.Err.String(), "seen")
}

func TestJobRedactsAllThatItWrites(t *testing.T) {
	e := NewTestEnv(t)
	e.Secrets.Add(jobToken)
	e.Argv = []string{"step-runner", "--url=https://" + jobToken + "@host"}
	facts := &record.PytestFacts{
		Failed: []record.Testcase{{Name: "test", Message: "assert " + jobToken}},
		Env:    record.TestEnv{Versions: map[string]string{"x": jobToken}, Fallbacks: []string{"poetry: " + jobToken}},
	}
	cause := record.Failf(record.TestsFailed, "failed: %s", jobToken).WithHint("look at %s", jobToken)
	_, err := Execute(t.Context(), e.Env, jobStep{record.Pytest, facts, func(ctx context.Context, j *Job) error {
		for _, part := range []string{"tok", "en " + jobToken[:7], jobToken[7:] + "\n"} {
			_, _ = io.WriteString(j.Out, part)
		}
		j.Note("saw %s", jobToken)
		_, err := j.Child(ctx, child.Spec{Argv: []string{"/bin/echo", jobToken}})
		require.NoError(t, err)
		return cause
	}})
	assert.Equal(t, "failed: ***", err.Error())
	assert.Contains(t, cause.Message, jobToken, "the cause may end another step, and is not ours to change")
	log := jobLog(t, e, "pytest_output.log")
	assert.Regexp(t, `^token \*\*\*\n.* msg="saw \*\*\*"\n\*\*\*\nstep-runner: tests-failed: failed: \*\*\*\nstep-runner: hint: look at \*\*\*\n$`, log)
	assert.Contains(t, e.Err.String(), "token ***\n")
	require.NoError(t, filepath.WalkDir(e.Workspace.Dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.False(t, bytes.Contains(b, []byte(jobToken)), path)
		}
		return err
	}))
	assert.Equal(t, []string{"poetry: ***"}, jobOnDisk(t, e, record.Pytest).Facts.(*record.PytestFacts).Env.Fallbacks)
}

// A step that prints nothing has a log all the same when there is something to tell.
func TestJobLogSaysWhatTheStepSaysAndWhyItFailed(t *testing.T) {
	e := NewTestEnv(t)
	e.Log = slog.New(slog.NewTextHandler(e.Console, &slog.HandlerOptions{Level: slog.LevelError}))
	_, err := Execute(t.Context(), e.Env, jobPytest(func(_ context.Context, j *Job) error {
		j.Log.Info("tried", "installer", "poetry")
		j.Note("fell back")
		return record.Failf(record.TestsFailed, "2 tests")
	}))
	require.Error(t, err)
	log := jobLog(t, e, "pytest_output.log")
	assert.Contains(t, log, "msg=tried installer=poetry\n")
	assert.Contains(t, log, `msg="fell back"`)
	assert.Contains(t, log, "step-runner: tests-failed: 2 tests\nstep-runner: hint: ")
	assert.NotContains(t, e.Err.String(), "tried", "the console shows what it was asked for")

	_, err = Execute(t.Context(), e.Env, jobPytest(nil))
	require.NoError(t, err)
	assert.Empty(t, jobLog(t, e, "pytest_output.log"))
}

// broken is a console that went away.
type jobBrokenConsole struct{}

func (jobBrokenConsole) Write([]byte) (int, error) { return 0, syscall.EPIPE }
func (jobBrokenConsole) Close() error              { return nil }

func TestJobOutlivesItsConsole(t *testing.T) {
	e := NewTestEnv(t)
	e.Console = NewConsole(jobBrokenConsole{}, false, false)
	e.Log = slog.New(slog.NewTextHandler(e.Console, nil))
	_, err := Execute(t.Context(), e.Env, jobPytest(func(ctx context.Context, j *Job) error {
		_, err := j.Child(ctx, child.Spec{Argv: []string{"/bin/echo", "all of it"}})
		return err
	}))
	require.NoError(t, err)
	assert.Equal(t, "all of it\n", jobLog(t, e, "pytest_output.log"))
}

func TestJobWhoseLogCannotBeMadeHasFailed(t *testing.T) {
	e := NewTestEnv(t)
	require.NoError(t, os.MkdirAll(e.Run.Path("logs", "pytest_output.log", "x"), 0o700))
	require.NoError(t, os.MkdirAll(e.Run.Path("logs", "pytest_output.log.previous", "x"), 0o700))
	_, err := Execute(t.Context(), e.Env, jobPytest(func(context.Context, *Job) error { t.Error("it ran"); return nil }))
	require.Error(t, err)
	assert.Equal(t, record.StatusFailed, jobOnDisk(t, e, record.Pytest).Status)
}

// jobSmallDisk puts the workspace on a file system of 1 MiB, and fills it on request.
func jobSmallDisk(t *testing.T, e *TestEnv) (fill func()) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	w, err := artifacts.OpenWorkspace(dir)
	require.NoError(t, err)
	e.Workspace = w
	e.Run, err = w.OpenRun("test")
	require.NoError(t, err)
	return func() {
		f, err := os.Create(filepath.Join(dir, "fill"))
		require.NoError(t, err)
		defer f.Close()
		_, err = io.Copy(f, strings.NewReader(strings.Repeat("x", 2<<20)))
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
}

func TestJobTellsThatTheDiskIsFull(t *testing.T) {
	e := NewTestEnv(t)
	fill := jobSmallDisk(t, e)
	_, err := Execute(t.Context(), e.Env, jobPytest(func(_ context.Context, j *Job) error {
		fill()
		_, err := io.WriteString(j.Out, strings.Repeat("lost\n", 10000))
		require.NoError(t, err, "a child must go on")
		return os.WriteFile(j.Env.Run.Path("artifacts", "big"), make([]byte, 1<<20), 0o600)
	}))
	assert.Equal(t, 13, record.ExitCode(err))
	rec := jobOnDisk(t, e, record.Pytest)
	assert.Equal(t, record.StatusFailed, rec.Status)
	assert.Equal(t, record.DiskFull, rec.Failure.Kind)
	require.Len(t, rec.Notes, 1)
	assert.Contains(t, rec.Notes[0], "logs/pytest_output.log is incomplete")
}

// A record that cannot be written must not let the one before it speak.
func TestJobThatCannotBeRecordedIsNoSuccess(t *testing.T) {
	e := NewTestEnv(t)
	fill := jobSmallDisk(t, e)
	_, err := Execute(t.Context(), e.Env, jobPytest(nil))
	require.NoError(t, err)
	fill()
	_, err = Execute(t.Context(), e.Env, jobPytest(func(context.Context, *Job) error { t.Error("it ran"); return nil }))
	assert.Equal(t, 13, record.ExitCode(err))
	rec, err := e.Run.Read(record.Pytest)
	require.NoError(t, err)
	if rec != nil {
		assert.Equal(t, record.DiskFull, rec.Failure.Kind)
	}
}

const jobElsewhere = "JOB_TEST_WORKSPACE"

// TestJobElsewhere is the other process of the tests below.
func TestJobElsewhere(t *testing.T) {
	dir := os.Getenv(jobElsewhere)
	if dir == "" {
		return // It is called by name.
	}
	e := NewTestEnv(t)
	w, err := artifacts.OpenWorkspace(dir)
	require.NoError(t, err)
	e.Workspace = w
	e.Run, err = w.OpenRun("test")
	require.NoError(t, err)
	_, _ = Execute(t.Context(), e.Env, jobPytest(func(ctx context.Context, j *Job) error {
		_, err := j.Child(ctx, child.Spec{Argv: []string{"/bin/sh", "-c", `setsid sh -c 'echo $$ >$0.tmp; mv $0.tmp $0; exec sleep 1000' $0 & wait`, filepath.Join(dir, "ready")}})
		return err
	}))
}

func TestJobOfAKilledProcess(t *testing.T) {
	e := NewTestEnv(t)
	other := exec.Command(os.Args[0], "-test.run=^TestJobElsewhere$")
	other.Env = append(os.Environ(), jobElsewhere+"="+e.Workspace.Dir)
	require.NoError(t, other.Start())
	ready := filepath.Join(e.Workspace.Dir, "ready")
	require.Eventually(t, func() bool { _, err := os.Stat(ready); return err == nil }, 60*time.Second, 10*time.Millisecond)

	_, err := Execute(t.Context(), e.Env, jobPytest(func(context.Context, *Job) error { t.Error("it ran"); return nil }))
	assert.Equal(t, 15, record.ExitCode(err), "busy")
	assert.Equal(t, record.StatusRunning, jobOnDisk(t, e, record.Pytest).Status, "the record is the other's")

	require.NoError(t, other.Process.Kill())
	_ = other.Wait()
	rec, err := e.Run.Read(record.Pytest)
	require.NoError(t, err)
	assert.Equal(t, record.StatusInterrupted, rec.Status)
	assert.Equal(t, record.Killed, rec.Failure.Kind)

	pid, err := os.ReadFile(ready)
	require.NoError(t, err)
	sleeper := strings.TrimSpace(string(pid))
	state := func() string { b, _ := os.ReadFile("/proc/" + sleeper + "/stat"); return string(b) }
	require.Eventually(t, func() bool { return strings.Contains(state(), "(sleep) S") }, 60*time.Second, time.Millisecond, "it survived step-runner and its shell")
	rec, err = Execute(t.Context(), e.Env, jobPytest(func(context.Context, *Job) error {
		assert.NotContains(t, state(), "(sleep) S", "it is gone before the step begins")
		return nil
	}))
	require.NoError(t, err)
	require.Len(t, rec.Notes, 1)
	assert.Contains(t, rec.Notes[0], "ended what an earlier attempt left running: ")
	assert.Contains(t, rec.Notes[0], sleeper+" sleep")
}

// jobRunner is a child that ends as a test says.
type jobRunner struct {
	spec child.Spec
	res  child.Result
	err  error
}

func (r *jobRunner) Run(_ context.Context, s child.Spec) (child.Result, error) {
	r.spec = s
	return r.res, r.err
}

func TestJobRecordsItsChildren(t *testing.T) {
	e := NewTestEnv(t, "GITHUB_TOKEN=abc", "KEPT=1")
	r := &jobRunner{
		res: child.Result{ExitCode: -1, Signal: "SIGKILL", Duration: 1500 * time.Millisecond, MaxRSSBytes: 5, Strays: []string{"7 dask"}, OOMKills: 2},
		err: record.Failf(record.TimedOut, "too long"),
	}
	e.Runner = r
	rec, err := Execute(t.Context(), e.Env, jobPytest(func(ctx context.Context, j *Job) error {
		_, err := j.Child(ctx, child.Spec{Argv: []string{"python", "-m", "pytest"}})
		return err
	}))
	require.Error(t, err)
	assert.Equal(t, []record.Child{{Argv: []string{"python", "-m", "pytest"}, ExitCode: -1, Signal: "SIGKILL", Seconds: 1.5, MaxRSSBytes: 5, Strays: []string{"7 dask"}, OOMKills: 2}}, rec.Children)
	assert.Equal(t, []string{"ended what python -m pytest left behind: 7 dask"}, rec.Notes)
	assert.NotNil(t, r.spec.Out)
	assert.Contains(t, r.spec.Env, "KEPT=1")
	assert.Contains(t, r.spec.Env, "STEP_RUNNER_STEP="+e.Run.Path("6-pytest"))
	assert.NotContains(t, r.spec.Env, "GITHUB_TOKEN=abc")
}

func TestJobChildEnv(t *testing.T) {
	e := NewTestEnv(t, "GH_TOKEN=a", "ACTIONS_RUNTIME_TOKEN=b", "STEP_RUNNER_CLONE_TOKEN=c", "STEP_RUNNER_CLONE_TOKEN_FILE=/run/secret",
		"INNOCENT=https://user:"+jobToken+"@host", "ENCODED=Z2hwXzAxMjM0NTY3ODlhYmNkZWYvKw", "KEPT=old")
	e.Secrets.Add(jobToken)
	j := &Job{Env: e.Env}
	env := j.ChildEnv("KEPT=new")
	var names []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		names = append(names, name)
	}
	assert.Subset(t, []string{"PATH", "HOME", "LANG", "KEPT", "USER", "LOGNAME"}, names)
	assert.Equal(t, "KEPT=new", env[len(env)-1], "the last counts")
}

func TestJobGivesChildrenAHome(t *testing.T) {
	e := NewTestEnv(t)
	e.Environ = []string{"PATH=/bin", "HOME=/nonexistent"}
	out := &steptest.Buffer{}
	_, err := Execute(t.Context(), e.Env, jobPytest(func(ctx context.Context, j *Job) error {
		_, err := j.Child(ctx, child.Spec{Argv: []string{"sh", "-c", "cd && pwd"}, Out: out})
		return err
	}))
	require.NoError(t, err)
	assert.Equal(t, e.Run.Path("work", "home-"+strconv.Itoa(os.Getuid()))+"\n", out.String())
}
