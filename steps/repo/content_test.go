package repo

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/gittest"
)

func TestGetFileURL(t *testing.T) {
	w := newWorld(t)
	_, err := w.repo.AnnotatedTag("v1", w.first)
	require.NoError(t, err)
	w.o.Address = address(t, "file://"+filepath.Join(w.srv.Dir, "r.git"))
	for revision, want := range map[string]string{"": "tip", "main": "tip", "v1": "first", w.first: "first", w.first[:8]: "first", w.old: "old"} {
		w.o.Revision = revision
		assert.Equal(t, want, read(t, w.mustGet().Dir, "a"), revision)
	}
	// A clone has a work tree: it can be cloned itself.
	w.o.Revision, w.o.Depth = "main", 0
	w.o.Address = address(t, "file://"+w.mustGet().Dir)
	w.o.Revision = ""
	assert.Equal(t, "tip", read(t, w.mustGet().Dir, "a"))

	w.o.Address = address(t, "file:///no/such/repository")
	_, f := w.fails(record.RepoNotFound)
	assert.Contains(t, f.Message, "/no/such/repository")
	w.o.Address, w.o.Revision = address(t, "file://"+filepath.Join(w.srv.Dir, "r.git")), strings.Repeat("1", 40)
	w.fails(record.RevisionNotFound)
}

func TestGetReportsLFSPointers(t *testing.T) {
	w := newWorld(t)
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("ab", 32) + "\nsize 9\n"
	w.commit("main", gittest.Files{"data/x.h5ad": pointer, "a.ipynb": pointer, "b.ipynb": "{}"})
	want := []string{"a.ipynb", "data/x.h5ad"}
	assert.Equal(t, want, w.mustGet().LFSPointers)
	again := w.mustGet()
	assert.True(t, again.Reused)
	assert.Equal(t, want, again.LFSPointers)
}

func TestGetBigFile(t *testing.T) {
	w := newWorld(t)
	big := strings.Repeat("0123456789abcdef", (streamFrom+streamFrom/2)/16)
	w.commit("main", gittest.Files{"big": big})
	res := w.mustGet()
	assert.True(t, big == read(t, res.Dir, "big"))
	assert.True(t, w.mustGet().Reused)
}

func TestGetHostileNames(t *testing.T) {
	for _, name := range []string{".git/hooks/post-checkout", ".GIT/config", "../evil", "d/../../evil", "d/.git/config"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.commit("main", gittest.Files{name: "evil", "z": ""})
			_, f := w.fails(record.CloneFailed)
			assert.Contains(t, f.Message, "lead out of the clone")
			require.NoError(t, filepath.WalkDir(w.o.Shared, func(path string, d fs.DirEntry, err error) error {
				assert.NotEqual(t, "evil", d.Name())
				return err
			}))
		})
	}
}

func TestGetSymlinksOutsideAreLinksOnly(t *testing.T) {
	w := newWorld(t)
	w.commit("main", gittest.Files{"out@": "/etc", "up@": "../../../..", "z": "z"})
	res := w.mustGet()
	target, err := os.Readlink(filepath.Join(res.Dir, "out"))
	require.NoError(t, err)
	assert.Equal(t, "/etc", target)
	assert.True(t, w.mustGet().Reused, "the check does not follow them")
}

func TestSwapInTwo(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.Mkdir(path("new"), 0o775))
	require.NoError(t, os.Mkdir(path("old"), 0o775))
	require.NoError(t, os.WriteFile(path("old/mine"), nil, 0o664))
	require.Error(t, swapInTwo(path("none"), path("old"), path("backup")))
	assert.FileExists(t, path("old/mine"), "put back")
	require.NoError(t, swapInTwo(path("new"), path("old"), path("backup")))
	assert.NoFileExists(t, path("old/mine"))
	assert.FileExists(t, path("backup/mine"))
}
