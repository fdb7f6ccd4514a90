package repo

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/gittest"
)

func TestGetReuses(t *testing.T) {
	w := newWorld(t)
	first := w.mustGet()
	packs, refs := w.requests(gittest.Pack), w.requests(gittest.Refs)

	again := w.mustGet()
	assert.True(t, again.Reused)
	assert.Equal(t, first.Dir, again.Dir)
	assert.Equal(t, first.CommitterDate, again.CommitterDate)
	assert.Equal(t, packs, w.requests(gittest.Pack), "no download")
	assert.Equal(t, refs+1, w.requests(gittest.Refs), "one look at the refs")

	w.o.Revision = w.tip
	assert.True(t, w.mustGet().Reused)
	assert.Equal(t, refs+1, w.requests(gittest.Refs), "a known commit needs no server")
}

func TestGetReplacesWhatWasChanged(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string) error{
		"content":      func(t *testing.T, d string) error { return os.WriteFile(filepath.Join(d, "a"), []byte("TIP"), 0o664) },
		"new file":     func(t *testing.T, d string) error { return os.WriteFile(filepath.Join(d, "d", "new"), nil, 0o664) },
		"ignored file": func(t *testing.T, d string) error { return os.Mkdir(filepath.Join(d, "__pycache__"), 0o775) },
		"file removed": func(t *testing.T, d string) error { return os.Remove(filepath.Join(d, "d", "e", "f")) },
		"mode":         func(t *testing.T, d string) error { return os.Chmod(filepath.Join(d, "d", "run"), 0o664) },
		"file to link": func(t *testing.T, d string) error { return replaceByLink(filepath.Join(d, "a"), "d/e/f") },
		"link target":  func(t *testing.T, d string) error { return replaceByLink(filepath.Join(d, "d", "link"), "/etc/passwd") },
		"dir to link":  func(t *testing.T, d string) error { return replaceByLink(filepath.Join(d, "d"), t.TempDir()) },
		"HEAD": func(t *testing.T, d string) error {
			return os.WriteFile(filepath.Join(d, ".git", "HEAD"), []byte(strings.Repeat("1", 40)+"\n"), 0o664)
		},
		"no objects":  func(t *testing.T, d string) error { return os.RemoveAll(filepath.Join(d, ".git", "objects")) },
		"no git":      func(t *testing.T, d string) error { return os.RemoveAll(filepath.Join(d, ".git")) },
		"not a clone": func(t *testing.T, d string) error { return emptied(d) },
		"a file":      func(t *testing.T, d string) error { os.RemoveAll(d); return os.WriteFile(d, []byte("x"), 0o664) },
		"git is a link": func(t *testing.T, d string) error {
			return moved(filepath.Join(d, ".git"), filepath.Join(t.TempDir(), "git"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			dir := w.mustGet().Dir
			require.NoError(t, change(t, dir))
			res := w.mustGet()
			assert.False(t, res.Reused)
			assert.Equal(t, dir, res.Dir)
			assert.NoError(t, Check(context.Background(), w.o, dir, w.tip))
			require.NotEmpty(t, res.Backup)
			_, err := os.Lstat(res.Backup)
			assert.NoError(t, err, "what was there is in the backup")
			assert.Empty(t, leftovers(t, filepath.Dir(dir), w.tip, filepath.Base(res.Backup)))
		})
	}
}

func replaceByLink(path, target string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

func emptied(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o775)
}

func moved(path, to string) error {
	if err := os.Rename(path, to); err != nil {
		return err
	}
	return os.Symlink(to, path)
}

func TestGetKeepsAFewBackups(t *testing.T) {
	w := newWorld(t)
	w.o.Dir = filepath.Join(t.TempDir(), "source")
	w.o.MaxBackups = 2
	require.NoError(t, os.Mkdir(w.o.Dir+".backup-mine", 0o775))
	var backups []string
	for i := range 4 {
		require.NoError(t, os.MkdirAll(w.o.Dir, 0o775))
		require.NoError(t, os.WriteFile(filepath.Join(w.o.Dir, "mine"), []byte{byte('0' + i)}, 0o664))
		backups = append(backups, filepath.Base(w.mustGet().Backup))
	}
	assert.Empty(t, leftovers(t, filepath.Dir(w.o.Dir), "source", "source.backup-mine", backups[2], backups[3]))
	assert.Equal(t, "3", read(t, filepath.Dir(w.o.Dir), backups[3], "mine"))

	w.o.Clean = true
	require.NoError(t, os.WriteFile(filepath.Join(w.o.Dir, "mine"), nil, 0o664))
	assert.Empty(t, w.mustGet().Backup)
	assert.NoFileExists(t, filepath.Join(w.o.Dir, "mine"))
	assert.Empty(t, leftovers(t, filepath.Dir(w.o.Dir), "source", "source.backup-mine", backups[2], backups[3]))
}

func TestGetAnotherRepositoryOrCommitInDir(t *testing.T) {
	w := newWorld(t)
	w.o.Dir = filepath.Join(t.TempDir(), "source")
	w.mustGet()
	w.o.Revision = w.first
	res := w.mustGet()
	assert.NotEmpty(t, res.Backup)
	assert.Equal(t, "first", read(t, w.o.Dir, "a"))

	other, err := w.srv.NewRepo("other.git")
	require.NoError(t, err)
	_, err = other.Commit("main", gittest.Files{"a": "other"})
	require.NoError(t, err)
	w.o.Address, w.o.Revision = address(t, other.URL), ""
	res = w.mustGet()
	assert.NotEmpty(t, res.Backup)
	assert.Equal(t, "other", read(t, w.o.Dir, "a"))
}

// TestGetFailureLeavesWhatWasThere is the seed's worst defect: its roll-back went
// into the failed clone.
func TestGetFailureLeavesWhatWasThere(t *testing.T) {
	w := newWorld(t)
	w.o.Dir = filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.Mkdir(w.o.Dir, 0o775))
	require.NoError(t, os.WriteFile(filepath.Join(w.o.Dir, "mine"), []byte("work of days"), 0o664))
	w.srv.Inject(gittest.Pack, -1, gittest.DropAfter(100))
	w.o.Clean = true
	w.fails(record.CloneFailed)
	assert.Equal(t, "work of days", read(t, w.o.Dir, "mine"))
	assert.Empty(t, leftovers(t, filepath.Dir(w.o.Dir), "source"))
}

// go-git's directories are for their owner. In a volume whose group is not the
// process's own, only the setgid bit keeps what comes into them in that group.
func TestShareWithGroup(t *testing.T) {
	clone := filepath.Join(t.TempDir(), "clone")
	dir := filepath.Join(clone, ".git")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "refs"), 0o755))
	for path, mode := range map[string]os.FileMode{clone: 0o775, dir: 0o755, filepath.Join(dir, "refs"): 0o700} {
		require.NoError(t, os.Chmod(path, mode|os.ModeSetgid))
	}
	require.NoError(t, shareWithGroup(dir))
	for path, want := range map[string]os.FileMode{dir: 0o775, filepath.Join(dir, "refs"): 0o770} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, want|os.ModeSetgid|os.ModeDir, info.Mode(), path)
	}
}
