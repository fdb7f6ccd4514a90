package repo

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/gittest"
	"github.com/step-runner/step-runner/steps/steptest"
)

// world is a server with a repository, and a workspace to clone it to.
type world struct {
	t    *testing.T
	srv  *gittest.Server
	repo *gittest.Repo
	// first and tip are the commits of main; old is one that no ref leads to any more.
	first, tip, old string
	o               Options
	log             *steptest.Buffer
}

func serve(t *testing.T) *gittest.Server {
	t.Helper()
	srv, err := gittest.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { srv.Close() })
	return srv
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, srv: serve(t), log: &steptest.Buffer{}}
	var err error
	w.repo, err = w.srv.NewRepo("r.git")
	require.NoError(t, err)
	w.first = w.commit("main", gittest.Files{"a": "first"})
	w.tip = w.commit("main", gittest.Files{"a": "tip", "d/run*": "#!/bin/sh\n", "d/link@": "../a", "d/e/f": ""})
	w.old = w.commit("gone", gittest.Files{"a": "old"})
	require.NoError(t, w.repo.DeleteRef("refs/heads/gone"))
	w.o = w.options()
	return w
}

func (w *world) commit(branch string, files gittest.Files) string {
	w.t.Helper()
	h, err := w.repo.Commit(branch, files)
	require.NoError(w.t, err)
	return h
}

// options are those of a new workspace.
func (w *world) options() Options {
	w.t.Helper()
	ws, err := artifacts.OpenWorkspace(w.t.TempDir())
	require.NoError(w.t, err)
	return Options{
		Address: address(w.t, w.repo.URL), Depth: 1, Shared: ws.Path("clones"), MaxBackups: 3, Retries: 2,
		Log: slog.New(slog.NewTextHandler(w.log, nil)), Progress: func(int64) {}, FirstWait: time.Millisecond,
		Lock: func(ctx context.Context, dir string) (func(), error) {
			return ws.LockContext(ctx, "clone-"+filepath.Base(dir))
		},
	}
}

func (w *world) get() (Result, error) { return Get(context.Background(), w.o) }

func (w *world) mustGet() Result {
	w.t.Helper()
	res, err := w.get()
	require.NoError(w.t, err, w.log.String())
	return res
}

// fails gets and checks the class of the failure.
func (w *world) fails(kind record.Kind) (Result, *record.Failure) {
	w.t.Helper()
	res, err := w.get()
	require.Error(w.t, err)
	f := record.AsFailure(err)
	require.Equal(w.t, kind, f.Kind, f.Message)
	return res, f
}

func (w *world) requests(part string) int {
	n := 0
	for _, r := range w.srv.Requests() {
		if strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	require.NoError(t, err)
	return string(b)
}

// leftovers are the names in dir besides those given.
func leftovers(t *testing.T, dir string, known ...string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, k := range known {
		require.Contains(t, names, k)
	}
	return slices.DeleteFunc(names, func(n string) bool { return slices.Contains(known, n) })
}

func TestGetChecksOut(t *testing.T) {
	w := newWorld(t)
	res := w.mustGet()
	assert.Equal(t, w.tip, res.Commit)
	assert.Equal(t, filepath.Join(w.o.Shared, w.o.Address.Slug(), w.tip), res.Dir)
	assert.Equal(t, 1, res.Attempts)
	assert.False(t, res.CommitterDate.IsZero())
	assert.Equal(t, "tip", read(t, res.Dir, "a"))
	assert.Equal(t, "tip", read(t, res.Dir, "d", "link"))
	info, err := os.Stat(filepath.Join(res.Dir, "d", "run"))
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&0o100)
	assert.Empty(t, leftovers(t, filepath.Dir(res.Dir), w.tip))
}

func TestGetRevisions(t *testing.T) {
	for _, server := range []string{"plain", "filter", "any commit", "both"} {
		t.Run(server, func(t *testing.T) {
			w := newWorld(t)
			if server == "filter" || server == "both" {
				require.NoError(t, w.repo.SetConfig("uploadpack", "allowFilter", "true"))
			}
			any := server == "any commit" || server == "both"
			if any {
				require.NoError(t, w.repo.SetConfig("uploadpack", "allowAnySHA1InWant", "true"))
			}
			pull := w.commit("pr", gittest.Files{"a": "pull"})
			require.NoError(t, w.repo.SetRef("refs/pull/7/head", pull))
			require.NoError(t, w.repo.DeleteRef("refs/heads/pr"))
			require.NoError(t, w.repo.Tag("light", w.first))
			_, err := w.repo.AnnotatedTag("v1", w.first)
			require.NoError(t, err)
			side := w.commit("side", gittest.Files{"a": "side before"})
			sideTip := w.commit("side", gittest.Files{"a": "side"})
			for revision, want := range map[string]string{
				"": "tip", "main": "tip", "side": "side", "light": "first", "v1": "first", "refs/pull/7/head": "pull", "pull/7/head": "pull",
				w.tip: "tip", w.first: "first", side: "side before", strings.ToUpper(sideTip): "side",
				w.tip[:7]: "tip", side[:7]: "side before", side[:8]: "side before", pull[:9]: "pull",
			} {
				w.o.Revision = revision
				res := w.mustGet()
				assert.Equal(t, want, read(t, res.Dir, "a"), revision)
				assert.NoError(t, Check(context.Background(), w.o, res.Dir, res.Commit))
				assert.Equal(t, res.Commit, strings.TrimSpace(read(t, res.Dir, ".git", "HEAD")))
			}
			w.o.Revision = w.old
			if any {
				assert.Equal(t, "old", read(t, w.mustGet().Dir, "a"))
			} else {
				w.fails(record.RevisionNotFound)
			}
			for _, none := range []string{strings.Repeat("1", 40), "abcdef1", "no-such"} {
				w.o.Revision = none
				_, f := w.fails(record.RevisionNotFound)
				assert.Contains(t, f.Message, w.repo.URL)
			}
		})
	}
}

func TestGetAnnotatedTagIsOneSmallDownload(t *testing.T) {
	w := newWorld(t)
	w.commit("main", gittest.Files{"a": "later"})
	tag, err := w.repo.AnnotatedTag("v1", w.tip)
	require.NoError(t, err)
	w.o.Revision = "v1"
	res := w.mustGet()
	assert.Equal(t, w.tip, res.Commit)
	assert.Equal(t, 1, w.requests(gittest.Pack))
	assert.Equal(t, w.tip, strings.TrimSpace(read(t, res.Dir, ".git", "shallow")))
	assert.Equal(t, tag, strings.TrimSpace(read(t, res.Dir, ".git", "refs", "tags", "v1")))
}

func TestGetAmbiguousShortCommit(t *testing.T) {
	w := newWorld(t)
	// With 4 digits two of some hundred commits collide soon; these are below the tip.
	seen := map[string]string{}
	var prefix string
	for i := 0; prefix == ""; i++ {
		h := w.commit("many", gittest.Files{"n": strings.Repeat("x", i%50) + time.Unix(int64(i), 0).String()})
		if seen[h[:4]] != "" {
			prefix = h[:4]
		}
		seen[h[:4]] = h
	}
	w.commit("many", gittest.Files{"n": "tip"})
	w.o.Revision = prefix
	_, f := w.fails(record.RevisionNotFound)
	assert.Contains(t, f.Message, "ambiguous")
	assert.Contains(t, f.Message, seen[prefix])
}

func TestGetEmptyRepository(t *testing.T) {
	w := newWorld(t)
	_, err := w.srv.NewRepo("empty.git")
	require.NoError(t, err)
	w.o.Address = address(t, w.srv.URL+"/empty.git")
	_, f := w.fails(record.RevisionNotFound)
	assert.Contains(t, f.Message, "empty")
}

func TestGetDepth(t *testing.T) {
	w := newWorld(t)
	third := w.commit("main", gittest.Files{"a": "third"})
	for depth, shallow := range map[int]string{1: third, 2: w.tip, 0: ""} {
		w.o.Depth = depth
		res := w.mustGet()
		if shallow == "" {
			assert.NoFileExists(t, filepath.Join(res.Dir, ".git", "shallow"))
		} else {
			assert.Equal(t, shallow, strings.TrimSpace(read(t, res.Dir, ".git", "shallow")))
		}
		st := openStorage(filepath.Join(res.Dir, ".git"))
		n := 0
		for _, h := range []string{third, w.tip, w.first} {
			if _, err := commitOf(st, hashOf(h)); err == nil {
				n++
			}
		}
		st.Close()
		assert.Equal(t, map[int]int{1: 1, 2: 2, 0: 3}[depth], n, depth)
		again := w.mustGet()
		assert.True(t, again.Reused, depth)
	}
}

func TestGetTwoAtOnce(t *testing.T) {
	w := newWorld(t)
	w.srv.Inject(gittest.Pack, -1, gittest.Slow(20*time.Millisecond))
	results := make([]Result, 4)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			var err error
			results[i], err = Get(context.Background(), w.o)
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	fresh := 0
	for _, r := range results {
		assert.Equal(t, results[0].Dir, r.Dir)
		assert.Empty(t, r.Backup)
		if !r.Reused {
			fresh++
		}
	}
	assert.Equal(t, 1, fresh)
	assert.Equal(t, 1, w.requests(gittest.Pack), "one download for all")
}

func TestGetGivesUpWaitingForTheLock(t *testing.T) {
	w := newWorld(t)
	unlock, err := w.o.Lock(context.Background(), filepath.Join("x", w.tip))
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithTimeoutCause(context.Background(), 50*time.Millisecond, record.Failf(record.TimedOut, "too long"))
	defer cancel()
	_, err = Get(ctx, w.o)
	assert.Equal(t, record.TimedOut, record.AsFailure(err).Kind)
}

func TestGetStops(t *testing.T) {
	w := newWorld(t)
	w.commit("main", gittest.Files{"big": strings.Repeat("0123456789", 100_000) + w.tip})
	w.srv.Inject(gittest.Pack, -1, gittest.StallAfter(500))
	ctx, cancel := context.WithCancelCause(context.Background())
	w.o.Progress = func(n int64) {
		if w.requests(gittest.Pack) > 0 {
			cancel(record.BySignal(15))
		}
	}
	_, err := Get(ctx, w.o)
	f := record.AsFailure(err)
	assert.Equal(t, record.Signaled, f.Kind, f.Message)
	assert.Equal(t, 143, record.ExitCode(err))
	assert.Empty(t, leftovers(t, filepath.Join(w.o.Shared, w.o.Address.Slug())))
}

func TestGetRemovesWhatAKilledOneLeft(t *testing.T) {
	w := newWorld(t)
	parent := filepath.Join(w.o.Shared, w.o.Address.Slug())
	dead, alive, young := filepath.Join(parent, ".tmp-1"), filepath.Join(parent, ".tmp-2"), filepath.Join(parent, ".tmp-3")
	old := time.Now().Add(-time.Hour)
	for _, d := range []string{dead, alive, young} {
		require.NoError(t, os.MkdirAll(filepath.Join(d, "sub"), 0o775))
	}
	require.NoError(t, os.Chtimes(dead, old, old))
	require.NoError(t, os.Chtimes(alive, old, old))
	lock, err := lockDir(alive)
	require.NoError(t, err)
	defer lock.Close()
	w.mustGet()
	assert.Empty(t, leftovers(t, parent, ".tmp-2", ".tmp-3", w.tip))
}
