package steps

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

func convertRun(t *testing.T, e *TestEnv, ctx context.Context, s *Nbconvert) (*record.Record, *record.NbconvertFacts) {
	t.Helper()
	s.Grace = 2 * time.Second
	_, err := Execute(ctx, e.Env, s)
	rec, rerr := e.Run.Read(record.Nbconvert)
	require.NoError(t, rerr)
	require.NotNil(t, rec)
	assert.Equal(t, record.ExitCode(err), *rec.ExitCode)
	return rec, rec.Facts.(*record.NbconvertFacts)
}

func convertPage(t *testing.T, e *TestEnv, name string) string {
	t.Helper()
	b, err := os.ReadFile(e.Run.Path("artifacts", name))
	require.NoError(t, err)
	return string(b)
}

// convertLoads finds what a browser would fetch for a page.
var convertLoads = regexp.MustCompile(`(?i)<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=\s*["']?(?:https?:)?//|@import|url\(["']?https?:`)

var convertImages = regexp.MustCompile(`<img[^>]*src="data:image/png;base64,`)

// TestNbconvert renders what step 3 has left of a notebook that failed.
func TestNbconvert(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	dir := t.TempDir()
	var picture bytes.Buffer
	require.NoError(t, png.Encode(&picture, image.NewGray(image.Rect(0, 0, 2, 2))))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "logo.png"), picture.Bytes(), 0o664))
	path := filepath.Join(dir, "nb.ipynb")
	require.NoError(t, os.WriteFile(path, nbtest.New(
		nbtest.Text("# Title\n![](logo.png) ![](made.png) and $x^2$"),
		nbtest.Code("import shutil\nshutil.copy('logo.png', 'made.png')\nprint('<b>the output</b>')"),
		nbtest.Code("from IPython.display import HTML, Javascript, display\ndisplay(HTML('<table><tr><td>cell</td></tr></table><script>evil()</script>'))\ndisplay(Javascript('evil()'))\ndisplay(HTML('<p>the end of a page</body></html>'))"),
		nbtest.Code("raise ValueError('the reason')"),
		nbtest.Code("print('never run')"),
	), 0o664))
	rec, _ := millRun(t, e, t.Context(), millStep(path))
	require.Equal(t, record.NotebookFailed, rec.Failure.Kind)

	rec, facts := convertRun(t, e, t.Context(), &Nbconvert{})
	require.Nil(t, rec.Failure)
	assert.Equal(t, []record.Page{{Input: "artifacts/output_analysis_lite.ipynb", Output: "artifacts/output_analysis_lite.html"}}, facts.Pages)
	require.Len(t, rec.Inputs, 1)
	require.Len(t, rec.Outputs, 1)
	assert.Equal(t, "artifacts/output_analysis_lite.html", rec.Outputs[0].Path)
	page := convertPage(t, e, "output_analysis_lite.html")
	assert.True(t, strings.HasSuffix(strings.TrimSpace(page), "</html>"))
	for _, want := range []string{"Title", "&lt;b&gt;the output&lt;/b&gt;", "<td>cell</td>", "the end of a page", "the reason", "never run", "<title>output_analysis_lite</title>"} {
		assert.Contains(t, page, want)
	}
	assert.Len(t, convertImages.FindAllString(page, -1), 2, "the image of the clone, and the one that the notebook made")
	assert.Empty(t, convertLoads.FindAllString(page, -1))
	assert.Contains(t, page, `content="default-src 'none';`)
	notes := strings.Join(rec.Notes, "\n")
	assert.Contains(t, notes, "formulas as their source")
	assert.Contains(t, notes, "does not run the 1 scripts")

	rec, _ = convertRun(t, e, t.Context(), &Nbconvert{NbconvertOptions: NbconvertOptions{Scripts: true, Output: "elsewhere/page.html"}})
	require.Nil(t, rec.Failure)
	page = convertPage(t, e, "page.html")
	assert.Contains(t, page, "script-src 'unsafe-inline'")
	assert.Empty(t, convertLoads.FindAllString(page, -1))
	assert.NoFileExists(t, e.Run.Path("artifacts", "output_analysis_lite.html"), "that of the earlier attempt")

	rec, _ = convertRun(t, e, t.Context(), &Nbconvert{NbconvertOptions: NbconvertOptions{Sanitize: true}})
	require.Nil(t, rec.Failure)
	page = convertPage(t, e, "output_analysis_lite.html")
	assert.NotContains(t, page, "<script>evil")
	assert.Contains(t, page, "<td>cell</td>")

	t.Run("the notebook by the name that step 3 had", func(t *testing.T) {
		rec, facts := convertRun(t, e, t.Context(), &Nbconvert{Notebooks: Notebooks{Paths: []string{path}}})
		require.Nil(t, rec.Failure)
		assert.Equal(t, "artifacts/output_analysis_lite.ipynb", facts.Pages[0].Input)
	})
	t.Run("a wrong extension", func(t *testing.T) {
		rec, _ := convertRun(t, e, t.Context(), &Nbconvert{NbconvertOptions: NbconvertOptions{Output: "page.ipynb"}})
		require.NotNil(t, rec.Failure)
		assert.Equal(t, record.Usage, rec.Failure.Kind)
	})
}

// TestNbconvertGiven renders notebooks without a step 3.
func TestNbconvertGiven(t *testing.T) {
	t.Parallel()
	e := NewTestEnv(t)
	a := millWrite(t, "a [x]*", nbtest.New(nbtest.Code("first")))
	b := millWrite(t, "a [x]*", nbtest.New(nbtest.Code("second")))
	bad := millWrite(t, "bad", []byte("{"))
	rec, facts := convertRun(t, e, t.Context(), &Nbconvert{Notebooks: Notebooks{Paths: []string{a, bad, "/none.ipynb", b}}})
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.NotebookInvalid, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Message, "bad.ipynb: is not JSON")
	assert.Equal(t, []record.Page{{Input: a, Output: "artifacts/result_a [x]*_lite.html"}, {Input: b, Output: "artifacts/result_a [x]*_lite_2.html"}}, facts.Pages)
	assert.Contains(t, convertPage(t, e, "result_a [x]*_lite_2.html"), "second")
}

func TestNbconvertWithoutStep3(t *testing.T) {
	e := NewTestEnv(t)
	rec, _ := convertRun(t, e, t.Context(), &Nbconvert{})
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.NotRun, rec.Failure.Kind)
	assert.Equal(t, record.StatusSkipped, rec.Status)
	assert.Contains(t, rec.Failure.Message, "has no record of step 3 (papermill)")

	require.NoError(t, os.WriteFile(e.Run.Path("artifacts", "output_analysis_lite.ipynb"), nbtest.New(nbtest.Code("stale")), 0o664))
	_, _ = millRun(t, e, t.Context(), millStep("/none.ipynb"))
	rec, _ = convertRun(t, e, t.Context(), &Nbconvert{})
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.NotRun, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Message, "step 3 (papermill) of run test has left no executed notebook")
	assert.Contains(t, rec.Failure.Hint, "none.ipynb is not in /")
}

// TestNbconvertFaults: what nbconvert says is not believed.
func TestNbconvertFaults(t *testing.T) {
	const whole = `<!DOCTYPE html><html><body><div class="jp-Cell jp-CodeCell"></div></body></html>`
	write := func(page string, res child.Result, err error) millFake {
		return func(s child.Spec) (child.Result, error) {
			out := func(flag string) string {
				for i, a := range s.Argv {
					if a == flag {
						return s.Argv[i+1]
					}
				}
				return ""
			}
			if page != "" {
				if werr := os.WriteFile(filepath.Join(out("--output-dir"), out("--output")), []byte(page), 0o664); werr != nil {
					return res, werr
				}
			}
			_, _ = s.Out.Write([]byte("[NbConvertApp] Converting\nTraceback\nthe last "))
			_, _ = s.Out.Write([]byte("line\n\n"))
			return res, err
		}
	}
	for name, c := range map[string]struct {
		run     millFake
		kind    record.Kind
		code    int
		message string
	}{
		"good":          {write(whole, child.Result{}, nil), "", 0, ""},
		"no page":       {write("", child.Result{}, nil), record.ConvertFailed, 50, "has written no page"},
		"half a page":   {write(whole[:60], child.Result{}, nil), record.ConvertFailed, 50, "does not end with </html>"},
		"more after it": {write(whole+"x", child.Result{}, nil), record.ConvertFailed, 50, "does not end with </html>"},
		"a cell less":   {write("<html></html>", child.Result{}, nil), record.ConvertFailed, 50, "it has 0 of 1 code cells"},
		"exit code":     {write(whole, child.Result{ExitCode: 1}, nil), record.ConvertFailed, 50, "exit code 1: the last line"},
		"signal":        {write(whole, child.Result{ExitCode: -1, Signal: "SIGKILL"}, nil), record.ConvertFailed, 50, "ended by SIGKILL"},
		"OOM":           {write(whole, child.Result{ExitCode: -1, Signal: "SIGKILL", OOMKills: 1}, nil), record.OutOfMemory, 45, "lack of memory"},
		"time limit":    {write(whole, child.Result{ExitCode: -1}, record.Failf(record.TimedOut, "too long")), record.TimedOut, 124, "too long"},
		"told to stop":  {write(whole, child.Result{ExitCode: -1}, record.BySignal(syscall.SIGTERM)), record.Signaled, 143, "stopped by signal 15"},
		"error of ours": {write(whole, child.Result{}, errors.New("broken")), record.Internal, 1, "broken"},
		"missing module": {func(s child.Spec) (child.Result, error) {
			_, _ = s.Out.Write([]byte("/usr/bin/python3: No module named nbconvert\n"))
			return child.Result{ExitCode: 1}, nil
		}, record.MissingTool, 11, "no Python module nbconvert"},
		"missing part": {func(s child.Spec) (child.Result, error) {
			_, _ = s.Out.Write([]byte("ModuleNotFoundError: No module named 'tinycss2'"))
			return child.Result{ExitCode: 1}, nil
		}, record.MissingTool, 11, "no Python module tinycss2"},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewTestEnv(t)
			e.Runner = c.run
			require.NoError(t, os.WriteFile(e.Run.Path("artifacts", "output_analysis_lite.html"), []byte("stale"), 0o664))
			rec, facts := convertRun(t, e, t.Context(), &Nbconvert{Notebooks: Notebooks{Paths: []string{millWrite(t, "nb", nbtest.New(nbtest.Code("1")))}}})
			assert.Equal(t, c.code, *rec.ExitCode)
			if c.kind == "" {
				require.Nil(t, rec.Failure)
				assert.Len(t, rec.Outputs, 1)
				return
			}
			require.NotNil(t, rec.Failure)
			assert.Equal(t, c.kind, rec.Failure.Kind)
			assert.Contains(t, rec.Failure.Message, "nb.ipynb: ")
			assert.Contains(t, rec.Failure.Message, c.message)
			assert.Empty(t, rec.Outputs)
			assert.Empty(t, facts.Pages)
			assert.NoFileExists(t, e.Run.Path("artifacts", "output_analysis_lite.html"), "a page that is not whole, or stale, is not there")
		})
	}
}
