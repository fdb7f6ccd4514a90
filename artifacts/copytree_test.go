package artifacts

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func put(t *testing.T, mode os.FileMode, content string, elem ...string) string {
	path := filepath.Join(elem...)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

func TestCopyTree(t *testing.T) {
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "deep", "dst")
	put(t, 0o644, "a", src, "a")
	put(t, 0o755, "run", src, "sub", "run")
	put(t, 0o444, "ro", src, "locked", "file")
	put(t, 0o644, "no", src, ".git", "config")
	put(t, 0o644, "no", src, "sub", ".git")
	require.NoError(t, os.Chmod(filepath.Join(src, "locked"), 0o555))
	t.Cleanup(func() { os.Chmod(filepath.Join(src, "locked"), 0o755) })
	outside := put(t, 0o644, "secret", t.TempDir(), "outside")
	for link, target := range map[string]string{
		"in": "sub/run", "sub/up": "../a", "dangling": "none", "dir": "sub",
		"abs": outside, "esc": "../../../../../etc/passwd", "via": "esc",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(src, link)))
	}
	require.NoError(t, syscall.Mkfifo(filepath.Join(src, "pipe"), 0o644))

	skipped, err := CopyTree(context.Background(), src, dst)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{
		"abs: leads outside, to " + outside, "esc: leads outside, to ../../../../../etc/passwd",
		"via: leads outside, to esc", "pipe: is a named pipe",
	}, skipped)

	got := map[string]string{}
	require.NoError(t, filepath.WalkDir(dst, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		rel, _ := filepath.Rel(dst, path)
		if d.IsDir() {
			return nil
		}
		got[rel] = info.Mode().String()
		return nil
	}))
	assert.Equal(t, map[string]string{
		"a": "-rw-r--r--", "sub/run": "-rwxr-xr-x", "locked/file": "-r--r--r--",
		"in": "Lrwxrwxrwx", "sub/up": "Lrwxrwxrwx", "dangling": "Lrwxrwxrwx", "dir": "Lrwxrwxrwx",
	}, got)
	b, err := os.ReadFile(filepath.Join(dst, "sub", "up"))
	require.NoError(t, err)
	assert.Equal(t, "a", string(b))
}

func TestCopyTreeWantsAnEmptyDestination(t *testing.T) {
	dst := t.TempDir()
	put(t, 0o644, "stale", dst, "stale")
	_, err := CopyTree(context.Background(), t.TempDir(), dst)
	require.ErrorIs(t, err, fs.ErrExist)
}

func TestCopyTreeStops(t *testing.T) {
	src := t.TempDir()
	put(t, 0o644, "a", src, "a")
	why := errors.New("told to")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	_, err := CopyTree(ctx, src, filepath.Join(t.TempDir(), "d"))
	require.ErrorIs(t, err, why)
}

func TestCopyTreeIntoItself(t *testing.T) {
	src := t.TempDir()
	put(t, 0o644, "a", src, "a")
	put(t, 0o644, "run", src, "workspace", "runs", "old")
	put(t, 0o644, "data", src, "workspace", "data")
	dst := filepath.Join(src, "copy")

	_, err := CopyTree(context.Background(), src, dst, filepath.Join(src, "workspace", "runs"), filepath.Join(src, "none"))
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(dst, "a"))
	assert.FileExists(t, filepath.Join(dst, "workspace", "data"))
	assert.NoDirExists(t, filepath.Join(dst, "workspace", "runs"))
	assert.NoDirExists(t, filepath.Join(dst, "copy"))
}

func TestCopyTreeStaysInTheGroupOfItsPlace(t *testing.T) {
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "shared")
	put(t, 0o644, "a", src, "sub", "deep", "a")
	require.NoError(t, os.Mkdir(dst, 0o775))
	require.NoError(t, os.Chmod(dst, 0o775|fs.ModeSetgid))
	_, err := CopyTree(t.Context(), src, dst)
	require.NoError(t, err)
	for _, dir := range []string{"sub", "sub/deep"} {
		info, err := os.Stat(filepath.Join(dst, dir))
		require.NoError(t, err)
		assert.NotZero(t, info.Mode()&fs.ModeSetgid, "%s: %s", dir, info.Mode())
	}
}

// asAnyUser calls do on a thread to which files are closed that are for their
// owner only, also when the test runs as root.
func asAnyUser(t *testing.T, do func()) {
	if os.Getuid() != 0 {
		do()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		assert.NoError(t, unix.Setfsuid(12345))
		do()
	}()
	<-done
}

func TestVacatePutsAsideWhatCannotBeRemoved(t *testing.T) {
	parent := t.TempDir()
	require.NoError(t, os.Chmod(parent, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(parent), 0o755))
	work := filepath.Join(parent, "work")
	for _, left := range []string{"work.left", "work.left-2"} {
		put(t, 0o644, left, work, "private", "file")
		require.NoError(t, os.Chmod(work, 0o777))
		require.NoError(t, os.Chmod(filepath.Join(work, "private"), 0o500))
		t.Cleanup(func() { os.Chmod(filepath.Join(parent, left, "private"), 0o700) })
		asAnyUser(t, func() { assert.NoError(t, Vacate(work)) })
		assert.NoDirExists(t, work)
		b, err := os.ReadFile(filepath.Join(parent, left, "private", "file"))
		require.NoError(t, err)
		assert.Equal(t, left, string(b))
	}
	put(t, 0o644, "", work, "open", "file")
	require.NoError(t, Vacate(work))
	assert.NoDirExists(t, work)
	assert.NoDirExists(t, work+".left-3", "what can be removed is")
	require.NoError(t, Vacate(work), "nothing there")
}
