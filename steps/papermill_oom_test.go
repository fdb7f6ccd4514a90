package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
	"github.com/step-runner/step-runner/steps/steptest"
)

const (
	millInCgroup = "STEP_RUNNER_TEST_IN_CGROUP"
	millMemory   = "536870912"
)

// TestPapermillOOMKill lets the system kill a kernel for lack of memory: the test
// runs itself once more in a memory cgroup of its own.
func TestPapermillOOMKill(t *testing.T) {
	if os.Getenv(millInCgroup) != "" {
		millOOMKilled(t)
		return
	}
	t.Parallel()
	group := millCgroup(t)
	out := &steptest.Buffer{}
	res, err := child.Exec{}.Run(t.Context(), child.Spec{
		Argv:   []string{"sh", "-c", `echo $$ > "$1"/cgroup.procs && shift && exec "$@"`, "sh", group, os.Args[0], "-test.v", "-test.run=^TestPapermillOOMKill$"},
		Env:    append(os.Environ(), millInCgroup+"=1"),
		Out:    out,
		Limits: child.Limits{Timeout: 2 * time.Minute},
	})
	require.NoError(t, err, out)
	assert.Zero(t, res.ExitCode, out)
}

func millOOMKilled(t *testing.T) {
	e := NewTestEnv(t)
	rec, facts := millRun(t, e, t.Context(), millStep(millWrite(t, "nb", nbtest.New(
		nbtest.Code("a = 1"), nbtest.Code("x = b'x' * (1 << 31)"), nbtest.Code("print('never')"),
	))))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.OutOfMemory, rec.Failure.Kind)
	assert.Equal(t, 45, *rec.ExitCode)
	assert.Contains(t, rec.Failure.Message, "the kernel was killed by signal 9 (killed) in cell 2: the system killed 1 processes for lack of memory")
	require.NotNil(t, facts.Error)
	assert.Equal(t, 2, facts.Error.Cell)
	assert.Equal(t, record.Cells{Total: 3, Run: 1, Failed: 1, Skipped: 1}, facts.Cells)
}

// millCgroup makes a memory cgroup, which takes root and a cgroup file system
// that may be written.
func millCgroup(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(millOwnCgroup(t), "step-runner-test-"+filepath.Base(t.TempDir()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip("no memory cgroup can be made here: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, os.Remove(dir)) })
	limited := false
	for _, file := range []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max"} {
		limited = os.WriteFile(filepath.Join(dir, file), []byte(millMemory), 0o600) == nil || limited
	}
	_ = os.WriteFile(filepath.Join(dir, "memory.swap.max"), []byte("0"), 0o600) // Where there is swap.
	if !limited {
		t.Skip("the memory cgroup cannot be limited")
	}
	return dir
}

func millOwnCgroup(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(t, err)
	unified := ""
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if f[1] == "memory" {
			return filepath.Join("/sys/fs/cgroup/memory", f[2])
		}
		if f[1] == "" {
			// A group with processes may have no groups below it: ours goes beside.
			unified = filepath.Join("/sys/fs/cgroup", filepath.Dir(f[2]))
		}
	}
	return unified
}
