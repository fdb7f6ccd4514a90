package steps

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/gittest"
)

// clonePage puts a page and the record of step 4 that made it into the run.
func clonePage(t *testing.T, e *TestEnv, names ...string) {
	t.Helper()
	f := &record.NbconvertFacts{}
	for _, name := range names {
		require.NoError(t, os.WriteFile(e.Env.Run.Path("artifacts", name), []byte("<html>"+name), 0o664))
		f.Pages = append(f.Pages, record.Page{Input: "x.ipynb", Output: "artifacts/" + name})
	}
	now, code := e.Now().UTC(), 0
	require.NoError(t, e.Env.Run.Write(&record.Record{
		Schema: record.Schema, ID: record.Nbconvert, Run: e.Env.Run.ID, Variant: "lite", Status: record.StatusSucceeded,
		Started: now, Ended: &now, ExitCode: &code, Runner: "test", Argv: []string{}, Outputs: []record.File{}, Facts: f,
	}))
}

func cloneTests(t *testing.T) (*Clone, string) {
	t.Helper()
	r, _ := cloneRepo(t, cloneServer(t), "tests.git", gittest.Files{"input/stale.html": "stale", "test_a.py": "", "out@": "/etc/passwd"})
	s := cloneStep(r.URL)
	s.Tests = true
	return s, r.URL
}

func TestCloneStagesThePagesOfStepFour(t *testing.T) {
	e := NewTestEnv(t)
	clonePage(t, e, "output_analysis_lite.html", "result_b.html")
	s, _ := cloneTests(t)
	rec, f, err := cloneRun(t, e, s)
	require.NoError(t, err)
	assert.Equal(t, e.Env.Run.Path("work", "clone-5"), f.Dir)
	assert.Equal(t, []string{"input/output_analysis_lite.html", "input/result_b.html"}, f.Staged)
	assert.Equal(t, "<html>output_analysis_lite.html", cloneRead(t, f.Dir, "input", "output_analysis_lite.html"))
	assert.NoFileExists(t, filepath.Join(f.Dir, "input", "stale.html"), "the directory is emptied first")
	assert.FileExists(t, filepath.Join(f.Dir, "test_a.py"))
	assert.NoDirExists(t, filepath.Join(f.Dir, ".git"))
	assert.Contains(t, strings.Join(rec.Notes, " "), "out: leads outside")

	require.Len(t, rec.Inputs, 2)
	require.Len(t, rec.Outputs, 2)
	assert.Equal(t, "artifacts/output_analysis_lite.html", rec.Inputs[0].Path)
	assert.Equal(t, "work/clone-5/input/output_analysis_lite.html", rec.Outputs[0].Path)
	assert.Equal(t, rec.Inputs[0].SHA256, rec.Outputs[0].SHA256)

	shared, err := filepath.Glob(e.Workspace.Path("clones", "*", f.Commit, "input", "*"))
	require.NoError(t, err)
	require.Len(t, shared, 1)
	assert.Equal(t, "stale.html", filepath.Base(shared[0]), "the shared clone is as it was")
}

func TestCloneTestsWithoutStepFour(t *testing.T) {
	e := NewTestEnv(t)
	s, _ := cloneTests(t)
	_, f, err := cloneRun(t, e, s)
	require.NoError(t, err)
	assert.Empty(t, f.Staged)
	assert.Contains(t, f.Dir, e.Workspace.Path("clones"))
}

func TestCloneStage(t *testing.T) {
	e := NewTestEnv(t)
	clonePage(t, e, "ignored.html")
	require.NoError(t, os.WriteFile(e.Env.Run.Path("artifacts", "a=b.html"), []byte("A"), 0o664))
	require.NoError(t, os.WriteFile(e.Env.Run.Path("artifacts", "c.html"), []byte("C"), 0o664))
	s, _ := cloneTests(t)
	s.Stage = []string{"artifacts/a=b.html=deep/er", "artifacts/c.html=deep/er"}
	_, f, err := cloneRun(t, e, s)
	require.NoError(t, err)
	assert.Equal(t, []string{"deep/er/a=b.html", "deep/er/c.html"}, f.Staged)
	assert.Equal(t, "A", cloneRead(t, f.Dir, "deep", "er", "a=b.html"))
	assert.FileExists(t, filepath.Join(f.Dir, "input", "stale.html"))

	require.NoError(t, os.Symlink("/etc/passwd", e.Env.Run.Path("artifacts", "evil.html")))
	s.Stage = []string{"artifacts/evil.html=input"}
	rec, _, err := cloneRun(t, e, s)
	require.Error(t, err)
	assert.Equal(t, record.BadInput, rec.Failure.Kind)

	s.Stage = []string{"artifacts/c.html=input", "artifacts/../artifacts/c.html=input/"}
	rec, _, err = cloneRun(t, e, s)
	require.Error(t, err)
	assert.Equal(t, record.BadInput, rec.Failure.Kind, "one file must not replace another in silence")
}

func TestCloneStillGood(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *testing.T, s *Clone, f *record.CloneFacts)
		staged bool
		want   bool
	}{
		"nothing changed":         {func(*testing.T, *Clone, *record.CloneFacts) {}, false, true},
		"staged, nothing changed": {func(*testing.T, *Clone, *record.CloneFacts) {}, true, true},
		"clone gone":              {func(t *testing.T, s *Clone, f *record.CloneFacts) { require.NoError(t, os.RemoveAll(f.Dir)) }, false, false},
		"copy gone":               {func(t *testing.T, s *Clone, f *record.CloneFacts) { require.NoError(t, os.RemoveAll(f.Dir)) }, true, false},
		"clone changed":           {func(t *testing.T, s *Clone, f *record.CloneFacts) { cloneSpoil(t, f.Dir) }, false, false},
		"copy changed":            {func(t *testing.T, s *Clone, f *record.CloneFacts) { cloneSpoil(t, f.Dir) }, true, false},
		"another revision wanted": {func(t *testing.T, s *Clone, f *record.CloneFacts) { s.Revision = "other" }, false, false},
		"another URL wanted":      {func(t *testing.T, s *Clone, f *record.CloneFacts) { s.URL += "x" }, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewTestEnv(t)
			r, _ := cloneRepo(t, cloneServer(t), "tests.git", gittest.Files{"test_a.py": "", "sub/run*": "#!"})
			s := cloneStep(r.URL)
			s.Tests = true
			if tc.staged {
				clonePage(t, e, "a.html")
			}
			rec, f, err := cloneRun(t, e, s)
			require.NoError(t, err)
			tc.change(t, s, f)
			assert.Equal(t, tc.want, s.StillGood(&Job{Env: e.Env, Rec: &record.Record{}, Out: e.Err}, rec))
		})
	}
}

func cloneSpoil(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "test_a.py"), []byte("x"), 0o664))
}

func TestCloneTwoRunsAtOnce(t *testing.T) {
	srv := cloneServer(t)
	r, _ := cloneRepo(t, srv, "nb.git", gittest.Files{"a": strings.Repeat("abc", 10_000)})
	e := NewTestEnv(t)
	facts := make([]*record.CloneFacts, 3)
	var wg sync.WaitGroup
	for i := range facts {
		run, err := e.Workspace.OpenRun("run" + string(rune('a'+i)))
		require.NoError(t, err)
		env := *e.Env
		env.Run = run
		wg.Go(func() {
			_, f, err := cloneRun(t, &TestEnv{Env: &env}, cloneStep(r.URL))
			assert.NoError(t, err)
			facts[i] = f
		})
	}
	wg.Wait()
	fresh := 0
	for _, f := range facts {
		assert.Equal(t, facts[0].Dir, f.Dir)
		assert.Empty(t, f.Backup)
		if !f.Reused {
			fresh++
		}
	}
	assert.Equal(t, 1, fresh)
}
