package steps

import (
	"context"
	"errors"
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

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

const (
	collectNotebook = `{"cells":[{"cell_type":"code","execution_count":1,"metadata":{},"outputs":[],"source":["1"]}],"metadata":{}}`
	collectPage     = "<!DOCTYPE html>\n<html><body>page</body></html>\n"
	collectCoverage = `<?xml version="1.0" ?><coverage line-rate="1"/>`
	collectJUnit    = `<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite/></testsuites>`
)

// collectOutputs are what the steps of a lite run write.
func collectOutputs() map[record.ID]map[string]string {
	return map[record.ID]map[string]string{
		record.Papermill: {"output_analysis_lite.ipynb": collectNotebook},
		record.Nbconvert: {"output_analysis_lite.html": collectPage},
		record.Pytest:    {"coverage_lite.xml": collectCoverage, "pytest_results_lite.xml": collectJUnit, "pytest_report_lite.html": collectPage},
	}
}

var collectFacts = map[string]func() any{
	"setup": func() any { return &record.SetupFacts{} }, "clone": func() any { return &record.CloneFacts{} }, "papermill": func() any { return &record.PapermillFacts{} },
	"nbconvert": func() any { return &record.NbconvertFacts{} }, "pytest": func() any { return &record.PytestFacts{} },
}

// collectVersions are the facts of a pytest that had these packages.
func collectVersions(t testing.TB, e *Env, versions map[string]string) {
	t.Helper()
	rec, err := e.Run.Read(record.Pytest)
	require.NoError(t, err)
	rec.Facts = &record.PytestFacts{Env: record.TestEnv{Versions: versions}}
	require.NoError(t, e.Run.Write(rec))
}

// collectStep is a step that writes files into the run's artifacts and fails with err.
type collectStep struct {
	id    record.ID
	files map[string]string
	err   error
}

func (s collectStep) ID() record.ID { return s.id }
func (s collectStep) Facts() any    { return collectFacts[s.id.Name]() }
func (s collectStep) Run(_ context.Context, j *Job) error {
	if _, err := j.Out.Write([]byte("log of " + s.id.String() + "\n")); err != nil {
		return err
	}
	for name, text := range s.files {
		path := j.Env.Run.Path("artifacts", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644), j.Output(path)); err != nil {
			return err
		}
	}
	return s.err
}

// collectRun executes steps 1 to 6 so that they write outputs.
func collectRun(t testing.TB, e *Env, outputs map[record.ID]map[string]string) {
	t.Helper()
	for _, id := range record.Workflow[:6] {
		_, err := Execute(t.Context(), e, collectStep{id: id, files: outputs[id]})
		require.NoError(t, err)
	}
}

func collectExec(t testing.TB, e *Env, s *Collect) (*record.Record, *record.CollectFacts, error) {
	t.Helper()
	rec, err := Execute(t.Context(), e, s)
	return rec, rec.Facts.(*record.CollectFacts), err
}

// collectPublished is what lies in the workspace's artifacts.
func collectPublished(t testing.TB, e *Env) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(e.Workspace.Path("artifacts"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(e.Workspace.Path("artifacts"), path)
		files[rel] = string(b)
		return err
	}))
	return files
}

func collectManifest(t testing.TB, e *Env) map[string]artifacts.ManifestFile {
	t.Helper()
	root, err := os.OpenRoot(e.Workspace.Path("artifacts"))
	require.NoError(t, err)
	defer root.Close()
	m, err := artifacts.ReadManifest(root)
	require.NoError(t, err)
	assert.Equal(t, e.Run.ID, m.Run)
	assert.Equal(t, e.Variant, m.Variant)
	files := map[string]artifacts.ManifestFile{}
	for _, f := range m.Files {
		files[f.Path] = f
	}
	return files
}

func assertSumsCheck(t testing.TB, dir string) {
	t.Helper()
	c := exec.Command("sha256sum", "--strict", "-c", artifacts.SumsName)
	c.Dir = dir
	out, err := c.CombinedOutput()
	assert.NoError(t, err, string(out))
}

func assertFailure(t testing.TB, err error, kind record.Kind, parts ...string) {
	t.Helper()
	require.Error(t, err)
	f := record.AsFailure(err)
	assert.Equal(t, kind, f.Kind, f.Message)
	for _, part := range parts {
		assert.Contains(t, f.Message, part)
	}
}

func TestCollectAll(t *testing.T) {
	e := NewTestEnv(t)
	collectRun(t, e.Env, collectOutputs())
	rec, facts, err := collectExec(t, e.Env, &Collect{})
	require.NoError(t, err)
	assert.Equal(t, &record.CollectFacts{Count: 8, Bytes: facts.Bytes, Published: true}, facts)

	files := collectPublished(t, e.Env)
	assert.Equal(t, collectNotebook, files["output_analysis_lite.ipynb"])
	assert.Equal(t, "log of 3-papermill\n", files["papermill.log"])
	assert.Len(t, files, 10)
	assert.Len(t, rec.Inputs, 5)
	assert.Len(t, rec.Outputs, 5, "three logs and two lists")
	manifest := collectManifest(t, e.Env)
	assert.Len(t, manifest, 8)
	assert.Equal(t, "6-pytest", manifest["coverage_lite.xml"].Step)
	assert.Equal(t, "4-nbconvert", manifest["jupyter_nbconvert.log"].Step)
	assert.Equal(t, "application/xml", manifest["coverage_lite.xml"].MediaType)
	for _, f := range manifest {
		assert.Empty(t, f.Problem)
	}
	assertSumsCheck(t, e.Workspace.Path("artifacts"))
	assertSumsCheck(t, e.Run.Path("artifacts"))
	assert.Empty(t, rec.Notes)
}

func TestCollectOriginal(t *testing.T) {
	e := NewTestEnv(t)
	e.Variant = artifacts.Original
	outputs := map[record.ID]map[string]string{}
	for id, files := range collectOutputs() {
		outputs[id] = map[string]string{}
		for name, text := range files {
			outputs[id][strings.Replace(name, "_lite", "", 1)] = text
		}
	}
	collectRun(t, e.Env, outputs)
	_, _, err := collectExec(t, e.Env, &Collect{})
	require.NoError(t, err)
	assert.Contains(t, collectPublished(t, e.Env), "coverage.xml")
}

func TestCollectAgainGivesTheSame(t *testing.T) {
	e := NewTestEnv(t)
	collectRun(t, e.Env, collectOutputs())
	_, _, err := collectExec(t, e.Env, &Collect{})
	require.NoError(t, err)
	first := collectPublished(t, e.Env)
	require.NoError(t, os.WriteFile(e.Run.Path("artifacts", e.Variant.SummaryName()), []byte("of an earlier summary"), 0o600))
	rec, _, err := collectExec(t, e.Env, &Collect{})
	require.NoError(t, err)
	assert.Equal(t, first, collectPublished(t, e.Env))
	assert.Empty(t, rec.Notes)
}

func TestCollectMissing(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(t *testing.T, e *TestEnv, outputs map[record.ID]map[string]string)
		missing []string
	}{
		"a step recorded none": {func(t *testing.T, e *TestEnv, o map[record.ID]map[string]string) {
			delete(o[record.Pytest], "coverage_lite.xml")
		},
			[]string{"coverage_lite.xml: step 6 (pytest) has recorded none"}},
		"two steps": {func(t *testing.T, e *TestEnv, o map[record.ID]map[string]string) {
			delete(o, record.Nbconvert)
			delete(o, record.Papermill)
		}, []string{"output_analysis_lite.ipynb: step 3 (papermill) has recorded none", "output_analysis_lite.html: step 4 (nbconvert) has recorded none"}},
	} {
		t.Run(name, func(t *testing.T) {
			e, outputs := NewTestEnv(t), collectOutputs()
			tc.change(t, e, outputs)
			collectRun(t, e.Env, outputs)
			_, facts, err := collectExec(t, e.Env, &Collect{})
			assertFailure(t, err, record.ArtifactMissing, tc.missing...)
			assert.Equal(t, tc.missing, facts.Missing)
			assert.True(t, facts.Published)
			files := collectPublished(t, e.Env)
			for _, o := range outputs {
				for name, text := range o {
					assert.Equal(t, text, files[name], "everything else is published")
				}
			}
			assertSumsCheck(t, e.Workspace.Path("artifacts"))
		})
	}
}

func TestCollectExcusesCoverageWithoutItsPlugin(t *testing.T) {
	e, outputs := NewTestEnv(t), collectOutputs()
	delete(outputs[record.Pytest], "coverage_lite.xml")
	collectRun(t, e.Env, outputs)
	collectVersions(t, e.Env, map[string]string{"pytest": "9.2", "pytest-cov": "7.1"})
	_, _, err := collectExec(t, e.Env, &Collect{})
	assertFailure(t, err, record.ArtifactMissing, "coverage_lite.xml: step 6 (pytest) has recorded none")

	collectVersions(t, e.Env, map[string]string{"pytest": "9.2"})
	rec, _, err := collectExec(t, e.Env, &Collect{})
	require.NoError(t, err)
	assert.Equal(t, []string{"there is no coverage report: step 6 (pytest) had to do without pytest-cov"}, rec.Notes)

	_, _, err = collectExec(t, e.Env, &Collect{Require: []string{"coverage_lite.xml"}})
	assertFailure(t, err, record.ArtifactMissing, "coverage_lite.xml: no file")
}

func TestCollectSaysWhatTheRecordSays(t *testing.T) {
	e := NewTestEnv(t)
	outputs := collectOutputs()
	for _, id := range record.Workflow[:6] {
		s := collectStep{id: id, files: outputs[id]}
		switch id {
		case record.Papermill:
			s.files, s.err = nil, record.Failf(record.NotebookMissing, "no notebook")
		case record.Pytest:
			continue
		}
		_, _ = Execute(t.Context(), e.Env, s)
	}
	require.NoError(t, os.WriteFile(e.Run.Path("records", record.Nbconvert.File()), []byte("{"), 0o600))
	_, facts, err := collectExec(t, e.Env, &Collect{})
	assertFailure(t, err, record.ArtifactMissing)
	assert.Equal(t, []string{
		"output_analysis_lite.ipynb: step 3 (papermill) has status failed",
		"output_analysis_lite.html: step 4 (nbconvert) has no record that can be read",
		"coverage_lite.xml: step 6 (pytest) has no record",
		"pytest_results_lite.xml: step 6 (pytest) has no record",
	}, facts.Missing)
}

func TestCollectOfAFailedStepPublishesWhatItWrote(t *testing.T) {
	e := NewTestEnv(t)
	_, err := Execute(t.Context(), e.Env, collectStep{record.Papermill, collectOutputs()[record.Papermill], record.Failf(record.NotebookFailed, "cell 3")})
	require.Error(t, err)
	_, facts, err := collectExec(t, e.Env, &Collect{})
	assertFailure(t, err, record.ArtifactMissing)
	assert.Len(t, facts.Missing, 3, "the notebook is there")
	assert.Equal(t, collectNotebook, collectPublished(t, e.Env)["output_analysis_lite.ipynb"])
}

// TestCollectTrustsNoFileThatNobodyRecorded: a partial notebook of a killed
// papermill, or anything else that lies about, passes for nothing.
func TestCollectTrustsNoFileThatNobodyRecorded(t *testing.T) {
	e, outputs := NewTestEnv(t), collectOutputs()
	delete(outputs, record.Papermill)
	collectRun(t, e.Env, outputs)
	require.NoError(t, os.WriteFile(e.Run.Path("artifacts", "output_analysis_lite.ipynb"), []byte(collectNotebook), 0o600))
	require.NoError(t, os.WriteFile(e.Run.Path("artifacts", "core.123"), []byte("x"), 0o600))
	rec, facts, err := collectExec(t, e.Env, &Collect{})
	assertFailure(t, err, record.ArtifactMissing, "output_analysis_lite.ipynb: step 3 (papermill) has recorded none")
	assert.Equal(t, "no step has recorded it", collectManifest(t, e.Env)["output_analysis_lite.ipynb"].Problem)
	assert.Equal(t, []string{"core.123"}, facts.LeftOut)
	assert.NotContains(t, collectPublished(t, e.Env), "core.123")
	assert.Contains(t, rec.Notes[0], "core.123")
}

func TestCollectInvalid(t *testing.T) {
	for name, tc := range map[string]struct {
		step                record.ID
		file, text, problem string
	}{
		"a notebook that is no JSON":  {record.Papermill, "output_analysis_lite.ipynb", "{", "not a notebook: unexpected EOF"},
		"a notebook that did not run": {record.Papermill, "output_analysis_lite.ipynb", `{"cells":[{"cell_type":"code","execution_count":null}]}`, "the notebook was not run"},
		"a page cut off":              {record.Nbconvert, "output_analysis_lite.html", collectPage[:30], "the page is cut off"},
		"XML cut off":                 {record.Pytest, "pytest_results_lite.xml", collectJUnit[:60], "not well-formed XML"},
		"a page as coverage":          {record.Pytest, "coverage_lite.xml", "<html></html>", "its root element is <html>, not <coverage>"},
		"an empty report":             {record.Pytest, "pytest_report_lite.html", "", "not a page"},
	} {
		t.Run(name, func(t *testing.T) {
			e, outputs := NewTestEnv(t), collectOutputs()
			outputs[tc.step][tc.file] = tc.text
			collectRun(t, e.Env, outputs)
			_, facts, err := collectExec(t, e.Env, &Collect{})
			assertFailure(t, err, record.ArtifactInvalid, tc.file+": "+tc.problem)
			assert.Empty(t, facts.Missing, "it is there, only wrong")
			assert.Equal(t, tc.text, collectPublished(t, e.Env)[tc.file], "it is published as it is")
			assert.Contains(t, collectManifest(t, e.Env)[tc.file].Problem, tc.problem)
		})
	}
}

func TestCollectChangedAfterItsStep(t *testing.T) {
	e := NewTestEnv(t)
	collectRun(t, e.Env, collectOutputs())
	require.NoError(t, os.WriteFile(e.Run.Path("artifacts", "pytest_results_lite.xml"), []byte(collectJUnit+"\n"), 0o600))
	require.NoError(t, os.Remove(e.Run.Path("artifacts", "pytest_report_lite.html")))
	_, facts, err := collectExec(t, e.Env, &Collect{})
	assertFailure(t, err, record.ArtifactInvalid, "pytest_results_lite.xml: it has changed since step 6 (pytest) wrote it", "; also: missing artifacts: pytest_report_lite.html: step 6 (pytest) has written it, but it is gone")
	assert.Len(t, facts.Invalid, 1)
	assert.Len(t, facts.Missing, 1)
}

func TestCollectOtherNames(t *testing.T) {
	e := NewTestEnv(t)
	collectRun(t, e.Env, map[record.ID]map[string]string{
		record.Papermill: {"result_a.ipynb": collectNotebook, "sub/result_b.ipynb": collectNotebook},
		record.Nbconvert: {"result_a.html": collectPage},
		record.Pytest:    {"c.xml": collectCoverage, "junit.xml": collectJUnit},
	})
	_, facts, err := collectExec(t, e.Env, &Collect{})
	require.NoError(t, err)
	assert.Equal(t, 8, facts.Count)
	assert.Contains(t, collectPublished(t, e.Env), "sub/result_b.ipynb")
	assertSumsCheck(t, e.Workspace.Path("artifacts"))
}

// TestCollectOtherNamesOfTheWrongForm: an XML that is no JUnit report does not
// stand for the test results.
func TestCollectOtherNamesOfTheWrongForm(t *testing.T) {
	e, outputs := NewTestEnv(t), collectOutputs()
	outputs[record.Pytest] = map[string]string{"c.xml": collectCoverage, "other.xml": "<other/>"}
	collectRun(t, e.Env, outputs)
	_, _, err := collectExec(t, e.Env, &Collect{})
	assertFailure(t, err, record.ArtifactMissing, "pytest_results_lite.xml: step 6 (pytest) has recorded none")
}

func TestCollectGlobs(t *testing.T) {
	e, outputs := NewTestEnv(t), collectOutputs()
	delete(outputs[record.Pytest], "coverage_lite.xml")
	collectRun(t, e.Env, outputs)
	require.NoError(t, os.MkdirAll(e.Run.Path("artifacts", "plots"), 0o755))
	require.NoError(t, os.WriteFile(e.Run.Path("artifacts", "plots", "umap.png"), []byte("png"), 0o600))
	_, _, err := collectExec(t, e.Env, &Collect{Require: []string{"*.ipynb", "plots/*.png"}})
	require.NoError(t, err, "coverage is not asked for")
	assert.Equal(t, "png", collectPublished(t, e.Env)["plots/umap.png"])

	_, _, err = collectExec(t, e.Env, &Collect{Require: []string{"plots/*.svg"}, Optional: []string{"plots/*"}})
	assertFailure(t, err, record.ArtifactMissing, "plots/*.svg: no file in the run's artifacts matches")
	assert.Equal(t, "png", collectPublished(t, e.Env)["plots/umap.png"])

	_, _, err = collectExec(t, e.Env, &Collect{Optional: []string{"plots/["}})
	assertFailure(t, err, record.Usage, `glob "plots/["`)
}

func TestCollectRefusesLinks(t *testing.T) {
	e := NewTestEnv(t)
	collectRun(t, e.Env, collectOutputs())
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "f"), []byte(collectJUnit), 0o600))
	dir := e.Run.Path("artifacts")
	require.NoError(t, os.Symlink(outside, dir+"/linked"))
	require.NoError(t, os.Remove(dir+"/pytest_results_lite.xml"))
	require.NoError(t, os.Symlink(filepath.Join(outside, "f"), dir+"/pytest_results_lite.xml"))
	require.NoError(t, os.Remove(e.Run.Path("logs", "papermill.log")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "f"), e.Run.Path("logs", "papermill.log")))
	rec, facts, err := collectExec(t, e.Env, &Collect{Optional: []string{"*", "*/*"}})
	assertFailure(t, err, record.ArtifactMissing, "pytest_results_lite.xml: step 6 (pytest) has written it, but it is gone")
	assert.Equal(t, []string{"logs/papermill.log", "artifacts/linked", "artifacts/pytest_results_lite.xml"}, facts.Refused)
	assert.Len(t, rec.Notes, 3)
	for name, text := range collectPublished(t, e.Env) {
		assert.NotEqual(t, collectJUnit, text, name)
	}
	assert.NotContains(t, collectPublished(t, e.Env), "papermill.log")
}

func TestCollectRefusesALinkInPlaceOfTheDirectory(t *testing.T) {
	e := NewTestEnv(t)
	require.NoError(t, os.Remove(e.Run.Path("artifacts")))
	require.NoError(t, os.Symlink(t.TempDir(), e.Run.Path("artifacts")))
	_, _, err := collectExec(t, e.Env, &Collect{})
	assertFailure(t, err, record.BadWorkspace, e.Run.Path("artifacts"))
}

func TestCollectPublishesNoSecret(t *testing.T) {
	e, outputs := NewTestEnv(t), collectOutputs()
	outputs[record.Nbconvert]["output_analysis_lite.html"] = "<!DOCTYPE html><html>token: ghp_0123456789abcdefghij</html>"
	collectRun(t, e.Env, outputs)
	require.NoError(t, os.WriteFile(e.Run.Path("logs", "pytest_output.log"), []byte("Z2hwXzAxMjM0NTY3ODlhYmNkZWZnaGlq"), 0o600))
	e.Secrets.Add("ghp_0123456789abcdefghij")
	_, facts, err := collectExec(t, e.Env, &Collect{})
	assertFailure(t, err, record.SecretLeaked, "output_analysis_lite.html", "pytest_output.log")
	assert.Equal(t, []string{"output_analysis_lite.html", "pytest_output.log"}, facts.Leaked)
	assert.Empty(t, facts.Missing, "it is there, it may only not be published")
	files := collectPublished(t, e.Env)
	assert.Len(t, files, 8)
	assert.Contains(t, files, "output_analysis_lite.ipynb", "the rest is published")
	assert.NotContains(t, collectManifest(t, e.Env), "output_analysis_lite.html")
	assert.NoFileExists(t, e.Run.Path("artifacts", "pytest_output.log"), "the log is not copied")
	assertSumsCheck(t, e.Workspace.Path("artifacts"))
	for name, text := range files {
		assert.False(t, e.Secrets.Contains([]byte(text)), name)
	}
}

func TestCollectKeepsAForeignDirectory(t *testing.T) {
	e := NewTestEnv(t)
	require.NoError(t, os.MkdirAll(e.Workspace.Path("artifacts"), 0o755))
	require.NoError(t, os.WriteFile(e.Workspace.Path("artifacts", "theirs"), []byte("x"), 0o600))
	e.Now = func() time.Time { return time.Date(2026, 11, 23, 10, 11, 12, 0, time.UTC) }
	collectRun(t, e.Env, collectOutputs())
	rec, _, err := collectExec(t, e.Env, &Collect{})
	require.NoError(t, err)
	assert.FileExists(t, e.Workspace.Path("artifacts.before-20261123-101112", "theirs"))
	require.Len(t, rec.Notes, 1)
	assert.Contains(t, rec.Notes[0], "artifacts.before-20261123-101112")
}

func TestCollectOfARunWithNothingLeavesNothingStale(t *testing.T) {
	e := NewTestEnv(t)
	collectRun(t, e.Env, collectOutputs())
	_, _, err := collectExec(t, e.Env, &Collect{})
	require.NoError(t, err)
	e.Env.Run, err = e.Workspace.OpenRun("later")
	require.NoError(t, err)
	_, facts, err := collectExec(t, e.Env, &Collect{})
	assertFailure(t, err, record.ArtifactMissing)
	assert.Len(t, facts.Missing, 4)
	assert.Empty(t, collectManifest(t, e.Env))
	assert.Len(t, collectPublished(t, e.Env), 2, "only the lists")
}

func TestCollectTwoRunsAtOnce(t *testing.T) {
	e := NewTestEnv(t)
	var wg sync.WaitGroup
	for _, id := range []string{"one", "two", "three"} {
		wg.Go(func() {
			env := *e.Env
			r, err := e.Workspace.OpenRun(id)
			if !assert.NoError(t, err) {
				return
			}
			env.Run = r
			outputs := collectOutputs()
			outputs[record.Pytest]["pytest_report_lite.html"] = "<!DOCTYPE html><html>" + id + "</html>"
			for _, step := range record.Workflow[:6] {
				_, err := Execute(t.Context(), &env, collectStep{id: step, files: outputs[step]})
				assert.NoError(t, err)
			}
			_, err = Execute(t.Context(), &env, &Collect{})
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	root, err := os.OpenRoot(e.Workspace.Path("artifacts"))
	require.NoError(t, err)
	defer root.Close()
	m, err := artifacts.ReadManifest(root)
	require.NoError(t, err)
	assert.Contains(t, collectPublished(t, e.Env)["pytest_report_lite.html"], m.Run)
	assertSumsCheck(t, e.Workspace.Path("artifacts"))
}

// collectTmpfs moves the environment into a small file system of its own.
func collectTmpfs(t *testing.T, e *TestEnv, options string) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("a tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	var err error
	e.Workspace, err = artifacts.OpenWorkspace(dir)
	require.NoError(t, err)
	e.Env.Run, err = e.Workspace.OpenRun("test")
	require.NoError(t, err)
}

func TestCollectOnAFullVolume(t *testing.T) {
	e, outputs := NewTestEnv(t), collectOutputs()
	collectTmpfs(t, e, "size=1m")
	collectRun(t, e.Env, outputs)
	_, _, err := collectExec(t, e.Env, &Collect{})
	require.NoError(t, err)
	before := collectPublished(t, e.Env)

	e.Env.Run, err = e.Workspace.OpenRun("big")
	require.NoError(t, err)
	outputs[record.Pytest]["pytest_report_lite.html"] = "<!DOCTYPE html><html>" + strings.Repeat("x", 500<<10) + "</html>"
	outputs[record.Papermill]["output_analysis_lite.ipynb"] = "{"
	collectRun(t, e.Env, outputs)
	_, facts, err := collectExec(t, e.Env, &Collect{})
	assertFailure(t, err, record.DiskFull, e.Workspace.Path("artifacts")+" was not replaced", e.Run.Path("artifacts"), "; also: artifacts that are not what they should be: output_analysis_lite.ipynb: not a notebook")
	assert.False(t, facts.Published)
	assert.Equal(t, before, collectPublished(t, e.Env), "those of the run before")
	assertSumsCheck(t, e.Run.Path("artifacts"))
	entries, err := filepath.Glob(e.Workspace.Path(".artifacts-*"))
	require.NoError(t, err)
	assert.Empty(t, entries, "what could not be published takes no space")
}

func TestCollectThatCannotPublish(t *testing.T) {
	e := NewTestEnv(t)
	require.NoError(t, os.Mkdir(e.Workspace.Path("artifacts"), 0o755))
	if err := unix.Mount("tmpfs", e.Workspace.Path("artifacts"), "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Skipf("a tmpfs cannot be mounted here: %v", err)
	}
	defer unix.Unmount(e.Workspace.Path("artifacts"), unix.MNT_DETACH)
	collectRun(t, e.Env, collectOutputs())
	_, facts, err := collectExec(t, e.Env, &Collect{})
	assertFailure(t, err, record.PublishFailed, "mount point", e.Run.Path("artifacts"))
	assert.False(t, facts.Published)
	assert.Equal(t, 8, facts.Count, "all the rest is done")
	assertSumsCheck(t, e.Run.Path("artifacts"))
}

func TestCollectStopped(t *testing.T) {
	e := NewTestEnv(t)
	collectRun(t, e.Env, collectOutputs())
	_, _, err := collectExec(t, e.Env, &Collect{})
	require.NoError(t, err)
	before := collectPublished(t, e.Env)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(record.BySignal(syscall.SIGTERM))
	rec, err := Execute(ctx, e.Env, &Collect{})
	assert.Equal(t, 143, record.ExitCode(err))
	assert.Equal(t, record.StatusInterrupted, rec.Status)
	assert.Equal(t, before, collectPublished(t, e.Env))
}

func TestRunOutlivesItsEnd(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	late, done := outlive(ctx, time.Hour)
	defer done()
	cancel(record.BySignal(syscall.SIGTERM))
	assert.NoError(t, late.Err(), "collect and summary still have time")

	late, done2 := outlive(ctx, time.Millisecond)
	defer done2()
	<-late.Done()
	assertFailure(t, context.Cause(late), record.TimedOut)
}
