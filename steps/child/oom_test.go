package child

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/steps/steptest"
)

// The limit is that of the runner's own cgroup, as in a container; the largest
// process in it dies.
func TestOOMKillIsSeen(t *testing.T) {
	s, out := role("eat-too-much")
	argv := append(steptest.LimitMemory(t, 128<<20), s.Argv...)
	c := exec.Command(argv[0], argv[1:]...)
	c.Env, c.Stdout, c.Stderr = s.Env, out, out
	require.NoError(t, c.Run(), out.String())
	assert.Equal(t, "signal SIGKILL, 1 OOM kills; then exit 0, 0 OOM kills", out.String())
}

func TestOOMFiles(t *testing.T) {
	for name, c := range map[string]struct {
		cgroup, mountinfo string
		want              []string
	}{
		"version 2 in a container": {
			"0::/\n",
			"30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n",
			[]string{"/sys/fs/cgroup/memory.events"},
		},
		"version 2 on a host": {
			"0::/user.slice/session-1.scope\n",
			"30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			[]string{"/sys/fs/cgroup/user.slice/session-1.scope/memory.events"},
		},
		"version 1 in a container without a namespace of its own": {
			"7:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
			"30 23 0:26 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n" +
				"31 23 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n",
			[]string{"/sys/fs/cgroup/memory/memory.oom_control"},
		},
		"both, the memory in version 1": {
			"4:memory:/task\n0::/other\n",
			"30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			[]string{"/sys/fs/cgroup/memory/task/memory.oom_control", "/sys/fs/cgroup/unified/other/memory.events"},
		},
		"a path of the host's": {
			"7:memory:/system.slice/docker.service/kubepods/pod1\n",
			"30 23 0:26 /kubepods/pod1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
			[]string{"/sys/fs/cgroup/memory/memory.oom_control"},
		},
		"a group outside of the namespace": {"0::/../other\n", "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n", nil},
		"no cgroups":                       {"", "30 23 0:26 / / rw - ext4 /dev/sda rw\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "1"), 0o700))
			require.NoError(t, os.Symlink("1", filepath.Join(dir, "self")))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "1", "cgroup"), []byte(c.cgroup), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "1", "mountinfo"), []byte(c.mountinfo), 0o600))
			fs, err := procfs.NewFS(dir)
			require.NoError(t, err)
			assert.Equal(t, c.want, oomFiles(fs))
		})
	}
}

func TestOOMCount(t *testing.T) {
	for text, want := range map[string]int{
		"low 0\nhigh 0\nmax 17\noom 3\noom_kill 2\noom_group_kill 1\n": 2,
		"oom_kill_disable 0\nunder_oom 0\noom_kill 5\n":                5,
		"oom_kill_disable 0\nunder_oom 0\n":                            -1,
		"oom_kill many\n":                                              -1,
	} {
		path := filepath.Join(t.TempDir(), "events")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		assert.Equal(t, want, oomCount(path), text)
	}
	assert.Equal(t, -1, oomCount("/no/such/file"))
}
