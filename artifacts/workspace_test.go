package artifacts

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
)

func workspace(t testing.TB) *Workspace {
	t.Helper()
	w, err := OpenWorkspace(filepath.Join(t.TempDir(), "w"))
	require.NoError(t, err)
	return w
}

func run(t testing.TB, w *Workspace, id string) *Run {
	t.Helper()
	r, err := w.OpenRun(id)
	require.NoError(t, err)
	return r
}

// tmpfs mounts an empty file system of its own, which only root may.
func tmpfs(t testing.TB, flags uintptr, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("a tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func kind(err error) record.Kind { return record.AsFailure(err).Kind }

func TestVariantNames(t *testing.T) {
	assert.Equal(t, "coverage_lite.xml", Lite.FileName("coverage", ".xml"))
	assert.Equal(t, "coverage.xml", Original.FileName("coverage", ".xml"))
	assert.Equal(t, "STEP_SUMMARY_LITE.md", Lite.SummaryName())
	assert.Equal(t, "STEP_SUMMARY.md", Original.SummaryName())
}

func TestOpenWorkspace(t *testing.T) {
	w := workspace(t)
	for _, d := range []string{"runs", "clones", "venvs", "cache", "locks"} {
		assert.DirExists(t, w.Path(d))
	}
	left, err := os.ReadDir(w.Path("locks"))
	require.NoError(t, err)
	assert.Empty(t, left, "the probe is removed")
	_, err = OpenWorkspace(w.Dir)
	assert.NoError(t, err, "it may be there already")
}

func TestOpenWorkspaceOnAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := OpenWorkspace(file)
	assert.Equal(t, record.BadWorkspace, kind(err))
	assert.ErrorContains(t, err, file)
}

func TestOpenWorkspaceReadOnly(t *testing.T) {
	dir := tmpfs(t, unix.MS_RDONLY, "")
	_, err := OpenWorkspace(dir)
	assert.Equal(t, record.BadWorkspace, kind(err))
	assert.ErrorIs(t, err, syscall.EROFS)
}

func TestOpenWorkspaceFull(t *testing.T) {
	dir := tmpfs(t, 0, "nr_inodes=3")
	_, err := OpenWorkspace(dir)
	assert.Equal(t, record.DiskFull, kind(err))
	assert.ErrorContains(t, err, dir)
}

func TestOpenRunRefusesIDsThatAreNoName(t *testing.T) {
	w := workspace(t)
	for _, id := range []string{"", ".", "..", "../x", "a/b", "-x", ".x", "a b", "a\n", "ü", strings.Repeat("a", 64)} {
		_, err := w.OpenRun(id)
		assert.Equal(t, record.Usage, kind(err), "%q", id)
	}
	entries, err := os.ReadDir(w.Path("runs"))
	require.NoError(t, err)
	assert.Empty(t, entries)
	for _, id := range []string{"a", "0", "run-1.2_x", strings.Repeat("a", 63)} {
		_, err := w.OpenRun(id)
		assert.NoError(t, err, id)
	}
}

func TestNewRunIDIsAValidID(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 8, 7, 0, time.FixedZone("", 3600))
	a, b := NewRunID(now), NewRunID(now)
	assert.Regexp(t, `^20261123-080807-[0-9a-f]{6}$`, a)
	assert.NotEqual(t, a, b)
	assert.Regexp(t, runID, a)
}

func TestRelAndAbs(t *testing.T) {
	r := run(t, workspace(t), "r")
	inside := r.Path("artifacts", "x")
	assert.Equal(t, "artifacts/x", r.Rel(inside))
	assert.Equal(t, inside, r.Abs("artifacts/x"))
	outside := filepath.Join(r.Dir, "..", "other")
	assert.Equal(t, filepath.Clean(outside), r.Rel(outside))
	assert.Equal(t, "/x", r.Abs("/x"))
	assert.Equal(t, r.Dir+"x", r.Rel(r.Dir+"x"), "a name that only begins like it is outside")
}

func record1(r *Run, id record.ID, s record.Status) *record.Record {
	rec := &record.Record{
		Schema: record.Schema, ID: id, Run: r.ID, Variant: "lite", Status: s, Outputs: []record.File{},
		Started: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Argv: []string{}, Facts: facts(id),
	}
	if s == record.StatusSucceeded {
		zero, ended := 0, rec.Started.Add(time.Minute)
		rec.ExitCode, rec.Ended = &zero, &ended
	}
	return rec
}

func facts(id record.ID) any {
	return map[string]any{
		"setup": &record.SetupFacts{}, "clone": &record.CloneFacts{}, "papermill": &record.PapermillFacts{}, "nbconvert": &record.NbconvertFacts{},
		"pytest": &record.PytestFacts{}, "collect": &record.CollectFacts{}, "summary": &record.VerdictFacts{},
	}[id.Name]
}

func TestRunningWithoutAHolderReadsAsInterrupted(t *testing.T) {
	r := run(t, workspace(t), "r")
	unlock, err := r.LockStep(record.Papermill)
	require.NoError(t, err)
	require.NoError(t, r.Write(record1(r, record.Papermill, record.StatusRunning)))

	rec, err := r.Read(record.Papermill)
	require.NoError(t, err)
	assert.Equal(t, record.StatusRunning, rec.Status)
	_, err = r.LockStep(record.Papermill)
	assert.Equal(t, record.Busy, kind(err))

	unlock()
	rec, err = r.Read(record.Papermill)
	require.NoError(t, err)
	assert.Equal(t, record.StatusInterrupted, rec.Status)
	assert.Equal(t, record.Killed, rec.Failure.Kind)
	assert.Equal(t, 137, *rec.ExitCode)
}

func TestReadRefusesTheRecordOfAnotherStepOrRun(t *testing.T) {
	r := run(t, workspace(t), "r")
	other := run(t, r.W, "other")
	rec, err := r.Read(record.Pytest)
	assert.NoError(t, err)
	assert.Nil(t, rec)
	require.NoError(t, other.Write(record1(other, record.Pytest, record.StatusSucceeded)))
	require.NoError(t, os.Rename(other.Path("records", record.Pytest.File()), r.Path("records", record.Pytest.File())))
	_, err = r.Read(record.Pytest)
	assert.EqualError(t, err, "record 6-pytest.json is of step 6-pytest of run other")
	require.NoError(t, r.Write(record1(r, record.Clone, record.StatusSucceeded)))
	require.NoError(t, os.Rename(r.Path("records", record.Clone.File()), r.Path("records", record.CloneTests.File())))
	_, err = r.Read(record.CloneTests)
	assert.EqualError(t, err, "record 5-clone.json is of step 2-clone of run r")
}

func TestJudge(t *testing.T) {
	r := run(t, workspace(t), "r")
	v := r.Judge()
	assert.Equal(t, record.RunIncomplete, v.Word)
	for _, id := range record.Workflow[:7] {
		require.NoError(t, r.Write(record1(r, id, record.StatusSucceeded)))
	}
	v = r.Judge()
	assert.Equal(t, record.Passed, v.Word)
	assert.Nil(t, v.Failure)
	assert.Len(t, v.Records, 7)

	require.NoError(t, os.WriteFile(r.Path("records", "3-papermill.json"), []byte(`{"schema":1`), 0o600))
	v = r.Judge()
	assert.Equal(t, record.RunFailed, v.Word)
	assert.Equal(t, record.BadInput, v.Failure.Kind)
	assert.Len(t, v.Unreadable, 1)
	assert.Len(t, v.Records, 6)

	failed := record1(r, record.Pytest, record.StatusFailed)
	failed.Failure = record.Failf(record.TestsFailed, "1 of 2 tests failed")
	require.NoError(t, r.Write(failed))
	v = r.Judge()
	assert.Equal(t, record.TestsFailed, v.Failure.Kind, "a step's own failure says more")
	assert.Equal(t, 6, v.First.Step)
	assert.Len(t, v.Unreadable, 1)
}

func TestLockContext(t *testing.T) {
	w := workspace(t)
	unlock, err := w.LockContext(t.Context(), "publish")
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(record.BySignal(syscall.SIGTERM))
	_, err = w.LockContext(ctx, "publish")
	assert.Equal(t, 143, record.ExitCode(err))
	unlock()
	// The one that gave up must not keep the lock that it got late.
	unlock, err = w.LockContext(t.Context(), "publish")
	require.NoError(t, err)
	unlock()
}

func TestWriteAtomic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	write := func(text string, fail error) error {
		return WriteAtomic(path, 0o640, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, fail)
		})
	}
	require.NoError(t, write("old", nil))
	assert.EqualError(t, write("new", errors.New("boom")), "boom")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "old", string(b))
	fi, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), fi.Mode())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing is left over")
}

func TestDigest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(path, []byte("abc"), 0o600))
	var also strings.Builder
	f, err := Digest(path, &also)
	require.NoError(t, err)
	assert.Equal(t, record.File{Bytes: 3, SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}, f)
	assert.Equal(t, "abc", also.String())
	_, err = Digest(filepath.Dir(path))
	assert.Error(t, err)
}
