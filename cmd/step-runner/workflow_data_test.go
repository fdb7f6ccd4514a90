package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/fetch/fetchtest"
	"github.com/step-runner/step-runner/steps/gittest"
	"github.com/step-runner/step-runner/steps/steptest"
)

// dataServer serves 300 cells × 80 genes as /h5/x.h5ad, and at url a redirect there.
func dataServer(t *testing.T) (srv *fetchtest.Server, url, sha256 string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.h5ad")
	out, err := exec.CommandContext(t.Context(), steptest.Python(t), "-c", `
import sys
import anndata as ad, numpy as np, pandas as pd, scipy.sparse as sp
rng = np.random.default_rng(0)
X = sp.csr_matrix((rng.random((300, 80)) < np.linspace(0.9, 0.01, 80)) * rng.integers(1, 9, (300, 80)).astype("f4"))
ad.AnnData(X, obs=pd.DataFrame(index=[f"c{i}" for i in range(300)]), var=pd.DataFrame(index=[f"G{i}" for i in range(80)])).write_h5ad(sys.argv[1])
`, path).CombinedOutput()
	require.NoError(t, err, string(out))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	srv = fetchtest.New()
	t.Cleanup(srv.Close)
	file := srv.Put("/h5/x.h5ad", data)
	url = srv.Handle("/latest", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, file, http.StatusFound) })
	return srv, url, fetchtest.Sum(data)
}

// readsData is a notebook that demands the shape of each variant of the data in h5/x.h5ad.
func readsData(t *testing.T) string {
	return cells(t, "import anndata\nadata = anndata.read_h5ad('./h5/x.h5ad')",
		"import os\nwant = {'lite': (50, 20), 'original': (300, 80)}[os.environ['STEP_RUNNER_VARIANT']]\nassert adata.shape == want, adata.shape\nprint(42)")
}

var smallData = []string{"--papermill-max-cells", "50", "--papermill-max-genes", "20"}

// TestWorkflowData: a run fetches the data that its notebook reads, and keeps it when
// it goes on.
func TestWorkflowData(t *testing.T) {
	s := newSite(t)
	srv, url, sum := dataServer(t)
	s.commit(t, "data", readsData(t), gittest.Files{"test_a.py": goodTests})
	flags := append([]string{"--fetch-data-dataset", "census=" + url + "#sha256=" + sum + "&file=x.h5ad"}, smallData...)
	code, said := end(t, s.command("lite", "data", flags...))
	s.check(t, "lite", outcome{}, code, said)
	rec, err := s.run(t, "lite").Read(record.FetchData)
	require.NoError(t, err)
	assert.Equal(t, sum, rec.Facts.(*record.FetchFacts).Datasets[0].SHA256)
	summary, err := os.ReadFile(filepath.Join(s.workspace, "STEP_SUMMARY_LITE.md"))
	require.NoError(t, err)
	assert.Contains(t, string(summary), "50 of 300 cells, 20 of 80 genes")
	assert.Contains(t, string(summary), sum[:10])

	// Going on, nothing is fetched or run again, whether the flags name the data or not.
	started, asked := s.started(t, "lite", record.FetchData), len(srv.Requests("/latest"))
	notebook := s.started(t, "lite", record.Papermill)
	for _, more := range [][]string{flags, smallData} {
		code, said = end(t, s.command("lite", "data", append(more, "--resume", "lite")...))
		s.check(t, "lite", outcome{}, code, said)
		assert.Equal(t, started, s.started(t, "lite", record.FetchData))
		assert.Equal(t, notebook, s.started(t, "lite", record.Papermill))
		assert.Len(t, srv.Requests("/latest"), asked)
	}

	// All of it for the original variant, which fetches nothing either.
	code, said = end(t, s.command("original", "data", "--variant", "original"))
	require.Zero(t, code, said)
	assert.Equal(t, record.Passed, s.run(t, "original").Judge().Word)

	// Somebody has changed it: it is put back, and what rests on it runs anew.
	path := filepath.Join(s.workspace, "datasets", "census", "x.h5ad")
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, []byte("other"), 0o600))
	code, said = end(t, s.command("lite", "data", append(flags, "--resume", "lite")...))
	s.check(t, "lite", outcome{}, code, said)
	assert.NotEqual(t, notebook, s.started(t, "lite", record.Papermill))
}

// TestWorkflowDataFails: without its data a run fails by the class of the download,
// and its notebook does not run on something else.
func TestWorkflowDataFails(t *testing.T) {
	s := newSite(t)
	srv, url, _ := dataServer(t)
	s.commit(t, "data", readsData(t), gittest.Files{"test_a.py": goodTests})
	for name, c := range map[string]struct {
		flags []string
		want  outcome
	}{
		"absent":     {[]string{"--fetch-data-dataset", "x=" + srv.URL + "/none.h5ad"}, outcome{37, record.FetchData, record.FetchNotFound}},
		"digest":     {[]string{"--fetch-data-dataset", "x=" + url + "#file=x.h5ad", "--fetch-data-sha256", "x=" + strings.Repeat("0", 64)}, outcome{38, record.FetchData, record.ChecksumMismatch}},
		"names-only": {[]string{"--fetch-data-dataset-names", "x"}, outcome{2, record.FetchData, record.Usage}},
	} {
		t.Run(name, func(t *testing.T) {
			code, said := end(t, s.command(name, "data", c.flags...))
			s.check(t, name, c.want, code, said)
			rec, err := s.run(t, name).Read(record.Papermill)
			require.NoError(t, err)
			assert.Equal(t, record.StatusSkipped, rec.Status)
			assert.Contains(t, rec.Failure.Message, "fetch-data of run "+name+" has failed")
		})
	}
	// Without a clone nobody reads the data.
	code, said := end(t, s.command("no-clone", "none", "--fetch-data-dataset", "x="+srv.URL+"/unread.h5ad"))
	s.check(t, "no-clone", outcome{33, record.Clone, record.RevisionNotFound}, code, said)
	assert.Empty(t, srv.Requests("/unread.h5ad"))
	rec, err := s.run(t, "no-clone").Read(record.FetchData)
	require.NoError(t, err)
	assert.Equal(t, record.StatusSkipped, rec.Status)
}
