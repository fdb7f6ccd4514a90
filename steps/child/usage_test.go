package child

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A grandchild's memory counts; that of a leaf does not.
func TestUsageCountsDescendants(t *testing.T) {
	const size = 64 << 20
	hold := fmt.Sprintf("import sys,time\nx = b'x' * %d\nprint('held', flush=True)\nsys.stdin.read()", size)
	u := NewUsage()
	before := u.Look()
	cmd := exec.Command("sh", "-c", `python3 -c "$0"; true`, hold)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		in.Close()
		assert.NoError(t, cmd.Wait())
	}()
	line := make([]byte, 5)
	_, err = out.Read(line)
	require.NoError(t, err)
	look := func() uint64 {
		u.next = time.Time{}
		return u.Look().RSSBytes
	}
	assert.GreaterOrEqual(t, look(), before.RSSBytes+size)

	family.mu.Lock()
	family.running[cmd.Process.Pid] = &process{pid: cmd.Process.Pid, leaf: true}
	family.mu.Unlock()
	defer family.leave(&process{pid: cmd.Process.Pid})
	assert.Less(t, look(), before.RSSBytes+size)
	assert.Empty(t, u.Holders())
}

func TestUsageOfACgroup(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	g := memoryGroup{
		usage: write("memory.current", "5000\n"), stat: write("memory.stat", "anon 1\ninactive_file 1200\nactive_file 7\n"),
		most: write("memory.max", "9000\n"), inactive: "inactive_file ",
	}
	assert.Equal(t, uint64(3800), *g.used())
	assert.Equal(t, uint64(9000), *g.limit())
	for _, none := range []string{"max\n", "9223372036854771712\n", "", "x"} {
		write("memory.max", none)
		assert.Nil(t, g.limit(), none)
	}
	write("memory.stat", "inactive_file 6000\n")
	assert.Equal(t, uint64(5000), *g.used(), "counts that do not fit are of different moments")
	require.NoError(t, os.Remove(g.stat))
	assert.Equal(t, uint64(5000), *g.used())
	require.NoError(t, os.Remove(g.usage))
	assert.Nil(t, g.used())
	assert.Nil(t, memoryGroup{}.used())
}

// What a look costs: at ten a second, 1 ms each is 1 % of a core.
func BenchmarkUsageLook(b *testing.B) {
	u := NewUsage()
	u.GPU = true
	cmd := exec.Command("sleep", "60")
	require.NoError(b, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	b.Run("look", func(b *testing.B) {
		for b.Loop() {
			u.Look()
		}
	})
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			u.scan()
		}
	})
}

// A leaf beside a child does not make what the child left without a mark nobody's.
func TestLeafIsNoParent(t *testing.T) {
	r := &relatives{running: map[int]*process{1: {}, 2: {leaf: true}}}
	assert.Equal(t, 1, r.parents())
	r.running[3] = &process{}
	assert.Equal(t, 2, r.parents())
}
