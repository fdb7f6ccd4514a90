package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
)

var when = time.Date(2026, 11, 23, 10, 11, 12, 0, time.UTC)

// tree is every file below dir with its content.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(b)
		return err
	}))
	return files
}

func write(t testing.TB, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// stage puts files and a manifest into a publication and, as collect does, into the run.
func stage(t testing.TB, r *Run, p *Publication, files map[string]string) {
	t.Helper()
	m := &Manifest{Schema: record.Schema, Run: r.ID, Variant: Lite, Files: []ManifestFile{}}
	for name, text := range files {
		m.Files = append(m.Files, ManifestFile{Path: name, SHA256: sha(text)})
	}
	var manifest, sums strings.Builder
	require.NoError(t, m.Encode(&manifest))
	require.NoError(t, m.Sums(&sums, sha(manifest.String())))
	all := map[string]string{ManifestName: manifest.String(), SumsName: sums.String()}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		f, err := p.Create(name)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		write(t, r.Path("artifacts", name), text)
	}
}

func publish(t testing.TB, r *Run, files map[string]string) (notes []string) {
	t.Helper()
	p, err := r.Publish(t.Context())
	require.NoError(t, err)
	defer p.Close()
	stage(t, r, p, files)
	require.NoError(t, p.Commit(when))
	return p.Notes
}

// published is what the workspace's artifacts hold, without the lists.
func published(t testing.TB, w *Workspace) map[string]string {
	t.Helper()
	files := tree(t, w.Path("artifacts"))
	delete(files, ManifestName)
	delete(files, SumsName)
	return files
}

// assertTidy checks that nothing but known names lies in the workspace.
func assertTidy(t testing.TB, w *Workspace) {
	t.Helper()
	entries, err := os.ReadDir(w.Dir)
	require.NoError(t, err)
	for _, e := range entries {
		assert.NotContains(t, e.Name(), staging)
	}
}

func TestPublishReplacesOurs(t *testing.T) {
	w := workspace(t)
	a, b := run(t, w, "a"), run(t, w, "b")
	assert.Empty(t, publish(t, a, map[string]string{"x.xml": "1", "d/y": "2"}))
	assert.Equal(t, map[string]string{"x.xml": "1", "d/y": "2"}, published(t, w))
	assert.Empty(t, publish(t, b, map[string]string{"z": "3"}))
	assert.Equal(t, map[string]string{"z": "3"}, published(t, w), "nothing of the earlier run is left")
	assertTidy(t, w)
}

func TestPublishIntoAnEmptyDirectory(t *testing.T) {
	w := workspace(t)
	require.NoError(t, os.Mkdir(w.Path("artifacts"), 0o755))
	assert.Empty(t, publish(t, run(t, w, "a"), map[string]string{"x": "1"}))
	assert.Equal(t, map[string]string{"x": "1"}, published(t, w))
}

func TestPublishKeepsWhatIsNotOurs(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, w *Workspace, dir string){
		"a directory of the seed": func(t *testing.T, w *Workspace, dir string) { write(t, dir+"/coverage.xml", "theirs") },
		"a manifest of somebody":  func(t *testing.T, w *Workspace, dir string) { write(t, dir+"/manifest.json", "{}") },
		"ours with a file more": func(t *testing.T, w *Workspace, dir string) {
			publish(t, run(t, w, "old"), map[string]string{"x": "1"})
			write(t, dir+"/notes.txt", "mine")
		},
		"a file":          func(t *testing.T, w *Workspace, dir string) { write(t, dir, "file") },
		"a link":          func(t *testing.T, w *Workspace, dir string) { require.NoError(t, os.Symlink(t.TempDir(), dir)) },
		"a dangling link": func(t *testing.T, w *Workspace, dir string) { require.NoError(t, os.Symlink("/nowhere", dir)) },
		"an empty subdirectory": func(t *testing.T, w *Workspace, dir string) {
			require.NoError(t, os.MkdirAll(dir+"/sub", 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := workspace(t)
			dir, kept := w.Path("artifacts"), w.Path("artifacts.before-20261123-101112")
			prepare(t, w, dir)
			before, err := os.Lstat(dir)
			require.NoError(t, err)
			notes := publish(t, run(t, w, "a"), map[string]string{"new": "1"})
			assert.Equal(t, []string{dir + " held files that no run had published: they are now in " + kept}, notes)
			assert.Equal(t, map[string]string{"new": "1"}, published(t, w))
			after, err := os.Lstat(kept)
			require.NoError(t, err)
			assert.True(t, os.SameFile(before, after), "it was moved as it was")
			assertTidy(t, w)
		})
	}
}

func TestPublishKeepsTwiceInOneSecond(t *testing.T) {
	w := workspace(t)
	for i, want := range []string{"artifacts.before-20261123-101112", "artifacts.before-20261123-101112-2", "artifacts.before-20261123-101112-3"} {
		write(t, w.Path("artifacts", "mine"), fmt.Sprint(i))
		publish(t, run(t, w, "a"), nil)
		assert.Equal(t, fmt.Sprint(i), tree(t, w.Path(want))["mine"])
	}
}

func TestPublishWithoutCommitChangesNothing(t *testing.T) {
	w := workspace(t)
	publish(t, run(t, w, "a"), map[string]string{"x": "1"})
	r := run(t, w, "b")
	p, err := r.Publish(t.Context())
	require.NoError(t, err)
	stage(t, r, p, map[string]string{"x": "2"})
	require.NoError(t, p.Close())
	assert.Equal(t, map[string]string{"x": "1"}, published(t, w))
	assertTidy(t, w)
}

// TestPublishAfterACrash: whatever a killed process left is cleaned up, and what
// was not ours is still there.
func TestPublishAfterACrash(t *testing.T) {
	w := workspace(t)
	publish(t, run(t, w, "a"), map[string]string{"x": "1"})
	write(t, w.Path(staging+"killed", "half"), "half")
	write(t, w.Path(staging+"killed.old", ManifestName), "{}")
	write(t, w.Path(staging+"b", "x"), "of an earlier attempt")
	write(t, w.Path("artifacts.before-20250101-000000", "theirs"), "kept")
	publish(t, run(t, w, "b"), map[string]string{"x": "2"})
	assert.Equal(t, map[string]string{"x": "2"}, published(t, w))
	assert.Equal(t, map[string]string{"theirs": "kept"}, tree(t, w.Path("artifacts.before-20250101-000000")))
	assertTidy(t, w)
}

// TestMain lets the test binary be a process that publishes until it is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("PUBLISH_UNTIL_KILLED")
	if dir == "" {
		os.Exit(m.Run())
	}
	for i := 0; ; i++ {
		if err := publishOnce(dir, fmt.Sprint("r", i%3)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

func publishOnce(dir, id string) error {
	w, err := OpenWorkspace(dir)
	if err != nil {
		return err
	}
	r, err := w.OpenRun(id)
	if err != nil {
		return err
	}
	p, err := r.Publish(context.Background())
	if err != nil {
		return err
	}
	m := &Manifest{Schema: record.Schema, Run: id, Files: []ManifestFile{{Path: "x"}}}
	for _, name := range []string{"x", ManifestName} {
		f, ferr := p.Create(name)
		if ferr == nil && name == "x" {
			_, ferr = f.WriteString(id)
		} else if ferr == nil {
			ferr = m.Encode(f)
		}
		err = errors.Join(err, ferr, f.Close())
	}
	return errors.Join(err, p.Commit(when), p.Close())
}

// TestKilledWhilePublishing: at whatever moment it is killed, the artifacts are
// those of one run, whole, and what was not ours is kept.
func TestKilledWhilePublishing(t *testing.T) {
	w := workspace(t)
	self, err := os.Executable()
	require.NoError(t, err)
	write(t, w.Path("artifacts", "theirs"), "kept")
	for i := range 25 {
		c := exec.Command(self)
		c.Env = []string{"PUBLISH_UNTIL_KILLED=" + w.Dir}
		out := &strings.Builder{}
		c.Stdout = out
		require.NoError(t, c.Start())
		time.Sleep(time.Duration(10+3*i) * time.Millisecond)
		require.NoError(t, c.Process.Kill())
		require.ErrorContains(t, c.Wait(), "killed", out.String())

		if files := tree(t, w.Path("artifacts")); files["theirs"] == "" {
			m, err := ReadManifest(root(t, w.Path("artifacts")))
			require.NoError(t, err)
			require.Equal(t, m.Run, files["x"])
			require.Len(t, files, 2)
		}
	}
	require.NoError(t, publishOnce(w.Dir, "last"))
	assert.Equal(t, "last", tree(t, w.Path("artifacts"))["x"])
	kept := 0
	for _, text := range tree(t, w.Dir) {
		if text == "kept" {
			kept++
		}
	}
	assert.Equal(t, 1, kept)
	assertTidy(t, w)
}

func TestPublishOutsideItsDirectory(t *testing.T) {
	r := run(t, workspace(t), "a")
	p, err := r.Publish(t.Context())
	require.NoError(t, err)
	defer p.Close()
	for _, name := range []string{"../x", "/x", "a/../../x"} {
		_, err := p.Create(name)
		assert.Error(t, err, name)
	}
	_, err = p.Create("x")
	require.NoError(t, err)
	_, err = p.Create("x")
	assert.ErrorIs(t, err, os.ErrExist)
}

func TestExchange(t *testing.T) {
	for name, exchange := range map[string]func(a, b string) error{"in one step": exchange, "by renames": exchangeByRenames} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
			write(t, a+"/f", "a")
			write(t, b+"/f", "b")
			require.NoError(t, exchange(a, b))
			assert.Equal(t, map[string]string{"a/f": "b", "b/f": "a"}, tree(t, dir))
		})
	}
}

func TestExchangeByRenamesPutsBack(t *testing.T) {
	dir := t.TempDir()
	b := filepath.Join(dir, "b")
	write(t, b+"/f", "b")
	assert.ErrorIs(t, exchangeByRenames(filepath.Join(dir, "gone"), b), os.ErrNotExist)
	assert.Equal(t, map[string]string{"b/f": "b"}, tree(t, dir))
}

// TestPublishAtOnce: readers see whole publications only, and the last one stays.
func TestPublishAtOnce(t *testing.T) {
	w := workspace(t)
	publish(t, run(t, w, "r0"), map[string]string{"x": "r0", "y": "r0"})
	var runs []*Run
	for i := range 8 {
		runs = append(runs, run(t, w, fmt.Sprint("r", i)))
	}
	stop, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		for {
			select {
			case <-stop:
				return
			default:
			}
			// The directory stays the same one while it is open, be it replaced meanwhile.
			d, err := os.OpenRoot(w.Path("artifacts"))
			if !assert.NoError(t, err, "there are always artifacts") {
				return
			}
			m, err := ReadManifest(d)
			if err == nil {
				if x, err := d.ReadFile("x"); err == nil {
					assert.Equal(t, m.Run, string(x))
				}
			}
			d.Close()
		}
	}()
	var wg sync.WaitGroup
	for _, r := range runs {
		wg.Go(func() {
			for range 5 {
				publish(t, r, map[string]string{"x": r.ID, "y": r.ID})
			}
		})
	}
	wg.Wait()
	close(stop)
	<-read
	files := published(t, w)
	assert.Equal(t, files["x"], files["y"])
	assertTidy(t, w)
}

func TestPublishGivesUpWaiting(t *testing.T) {
	w := workspace(t)
	p, err := run(t, w, "a").Publish(t.Context())
	require.NoError(t, err)
	defer p.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(record.BySignal(syscall.SIGTERM))
	_, err = run(t, w, "b").Publish(ctx)
	assert.Equal(t, 143, record.ExitCode(err))
}

func TestPublishOnAMountPoint(t *testing.T) {
	w := workspace(t)
	require.NoError(t, os.Mkdir(w.Path("artifacts"), 0o755))
	if err := unix.Mount("tmpfs", w.Path("artifacts"), "tmpfs", 0, ""); err != nil {
		t.Skipf("a tmpfs cannot be mounted here: %v", err)
	}
	defer unix.Unmount(w.Path("artifacts"), unix.MNT_DETACH)
	write(t, w.Path("artifacts", "theirs"), "x")
	r := run(t, w, "a")
	p, err := r.Publish(t.Context())
	require.NoError(t, err)
	stage(t, r, p, map[string]string{"x": "1"})
	assert.ErrorContains(t, p.Commit(when), "mount point")
	require.NoError(t, p.Close())
	assert.Equal(t, map[string]string{"theirs": "x"}, tree(t, w.Path("artifacts")))
	assertTidy(t, w)
}

func TestPublishSummary(t *testing.T) {
	w := workspace(t)
	a, b := run(t, w, "a"), run(t, w, "b")
	put := func(r *Run, text string) {
		t.Helper()
		notes, err := r.PublishSummary(t.Context(), Lite.SummaryName(), []byte(text), when)
		require.NoError(t, err)
		assert.Empty(t, notes)
		top, err := os.ReadFile(w.Path(Lite.SummaryName()))
		require.NoError(t, err)
		assert.Equal(t, text, string(top))
	}
	put(a, "a has collected nothing")
	assert.NoDirExists(t, w.Path("artifacts"))

	publish(t, a, map[string]string{"x": "a"})
	put(a, "summary of a")
	assert.Equal(t, map[string]string{"x": "a", Lite.SummaryName(): "summary of a"}, published(t, w))

	publish(t, b, map[string]string{"x": "b", "d/y": "b"})
	assert.Equal(t, map[string]string{"x": "b", "d/y": "b"}, published(t, w), "the summary of a is no longer beside the artifacts of b")
	put(a, "a finishes last")
	assert.Equal(t, map[string]string{"x": "a", Lite.SummaryName(): "a finishes last"}, published(t, w), "artifacts and summary are of one run")
	put(b, "no, b does")
	assert.Equal(t, map[string]string{"x": "b", "d/y": "b", Lite.SummaryName(): "no, b does"}, published(t, w))
	assertTidy(t, w)
}

func TestPublishSummaryAgainChecksTheFiles(t *testing.T) {
	w := workspace(t)
	a, b := run(t, w, "a"), run(t, w, "b")
	publish(t, a, map[string]string{"x": "a"})
	publish(t, b, map[string]string{"x": "b"})
	write(t, a.Path("artifacts", "x"), "changed")
	_, err := a.PublishSummary(t.Context(), Lite.SummaryName(), []byte("s"), when)
	assert.EqualError(t, err, "x has changed since it was collected")
	assert.Equal(t, map[string]string{"x": "b"}, published(t, w))
	require.NoError(t, os.Remove(a.Path("artifacts", "x")))
	require.NoError(t, os.Symlink("/etc/hostname", a.Path("artifacts", "x")))
	_, err = a.PublishSummary(t.Context(), Lite.SummaryName(), []byte("s"), when)
	assert.Error(t, err)
	assert.Equal(t, map[string]string{"x": "b"}, published(t, w))
	assertTidy(t, w)
}

func TestPublishOnAFullVolume(t *testing.T) {
	w, err := OpenWorkspace(tmpfs(t, 0, "size=256k"))
	require.NoError(t, err)
	publish(t, run(t, w, "a"), map[string]string{"x": "old"})
	p, err := run(t, w, "b").Publish(t.Context())
	require.NoError(t, err)
	f, err := p.Create("x")
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 1<<20))
	assert.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, errors.Join(f.Close(), p.Close()))
	assert.Equal(t, map[string]string{"x": "old"}, published(t, w))
	assertTidy(t, w)
}
