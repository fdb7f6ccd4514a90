package steps

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/inject"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
	"github.com/step-runner/step-runner/steps/steptest"
)

// liteMake writes 300 cells × 80 genes to each path, in the format of its ending.
// G79, like the other genes of high numbers, is detected in few cells.
func liteMake(t *testing.T, paths ...string) {
	t.Helper()
	const program = `
import os, sys
import anndata as ad, numpy as np, pandas as pd, scipy.sparse as sp
rng = np.random.default_rng(0)
X = sp.csr_matrix((rng.random((300, 80)) < np.linspace(0.9, 0.01, 80)) * rng.integers(1, 9, (300, 80)).astype("f4"))
a = ad.AnnData(X, obs=pd.DataFrame({"donor": pd.Categorical(["a", "b"] * 150)}, index=[f"c{i}" for i in range(300)]), var=pd.DataFrame(index=[f"G{i}" for i in range(80)]))
for path in sys.argv[1:]:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if path.endswith("pandas3.h5ad"):
        ad.settings.allow_write_nullable_strings = True
        a.obs.index, a.var.index = a.obs.index.astype("string"), a.var.index.astype("string")
    if path.endswith(".csv"):
        a.to_df().to_csv(path)
    else:
        (a.write_zarr if path.endswith(".zarr") else a.write_h5ad)(path)
`
	out, err := exec.CommandContext(t.Context(), steptest.Python(t), append([]string{"-c", program}, paths...)...).CombinedOutput()
	require.NoError(t, err, string(out))
}

// liteTree is the digest of each file below dir.
func liteTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := artifacts.Digest(path)
		files[path] = f.SHA256
		return err
	}))
	return files
}

// liteStep is papermill that keeps 50 cells and 20 genes of what the cells read.
func liteStep(t *testing.T, cells ...string) (s *Papermill, dir string) {
	t.Helper()
	var all []nbtest.Cell
	for _, c := range cells {
		all = append(all, nbtest.Code(c))
	}
	path := millWrite(t, "nb", nbtest.New(all...))
	s = millStep(path)
	s.Lite.MaxCells, s.Lite.MaxGenes = 50, 20
	return s, filepath.Dir(path)
}

// liteShape is a cell that demands the shape of each variant.
const liteShape = "import os\nwant = {'lite': (50, 20), 'original': (300, 80)}[os.environ['STEP_RUNNER_VARIANT']]\nassert shape == want, shape\nassert 'G79' in names, names"

var liteStyles = map[string]struct{ file, cell string }{
	"scanpy": {"h5/x.h5ad", "import scanpy as sc\nadata = sc.read('./h5/x.h5ad')\nshape, names = adata.shape, list(adata.var_names)"},
	"lazy": {"h5/x.h5ad", "import anndata as ad, h5py\nfrom anndata.experimental import read_elem_lazy\nf = h5py.File('h5/x.h5ad', 'r')\n" +
		"adata = ad.AnnData(X=read_elem_lazy(f['X'], (25, f['X'].attrs['shape'][1])), obs=ad.io.read_elem(f['obs']), var=ad.io.read_elem(f['var']))\n" +
		"shape, names = adata.X.compute().shape, list(adata.var_names)\nassert adata.X.compute().sum() > 0"},
	"zarr": {"x.zarr", "import zarr\nfrom anndata.io import read_elem\nf = zarr.open('x.zarr')\nshape, names = read_elem(f['X']).shape, list(read_elem(f['var']).index)"},
}

// TestPapermillLiteStyles: notebooks of several ways to read run lite as they are,
// and afterwards, in the same workspace, on all of the data.
func TestPapermillLiteStyles(t *testing.T) {
	for name, c := range liteStyles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dir := liteStep(t, c.cell, "named = ['G79', 'G0', 'G-none']\nother = ['not a gene']", liteShape)
			source := filepath.Join(dir, c.file)
			liteMake(t, source)
			before := liteTree(t, dir)
			e := NewTestEnv(t)
			rec, facts := millRun(t, e, t.Context(), s)
			require.Nil(t, rec.Failure)
			l := facts.Notebooks[0].Lite
			require.NotNil(t, l)
			assert.Equal(t, record.LiteCut, l.Way)
			assert.Equal(t, "50 of 300 cells, 20 of 80 genes", l.Text())
			require.Len(t, l.Placed, 1)
			assert.Equal(t, []record.NamedGene{{Name: "G-none", Why: "notebook"}}, l.Placed[0].Missing)
			assert.Contains(t, strings.Join(rec.Notes, "\n"), "gene G-none, asked for by notebook, is not in")
			assert.FileExists(t, e.Run.Abs(l.Placed[0].Manifest))
			require.NotEmpty(t, l.Reads)
			assert.Equal(t, "placed", l.Reads[0].Way)
			assert.Equal(t, record.Shape{Cells: 300, Genes: 80}, l.Reads[0].Before)
			assert.NotContains(t, strings.Join(rec.Notes, "\n"), "not known to have been read")

			full, err := e.Workspace.OpenRun("full")
			require.NoError(t, err)
			e.Env.Run, e.Variant = full, artifacts.Original
			again := *s
			again.facts = record.PapermillFacts{}
			rec, facts = millRun(t, e, t.Context(), &again)
			require.Nil(t, rec.Failure)
			assert.Nil(t, facts.Notebooks[0].Lite)
			assert.Equal(t, before, liteTree(t, dir), "the data is left alone")
		})
	}
}

// TestPapermillLiteHook: what cannot be placed is cut when it is read.
func TestPapermillLiteHook(t *testing.T) {
	abs := filepath.Join(t.TempDir(), "x.h5ad")
	csv, pandas3, zarr := filepath.Join(filepath.Dir(abs), "x.csv"), filepath.Join(filepath.Dir(abs), "pandas3.h5ad"), filepath.Join(filepath.Dir(abs), "x.zarr")
	liteMake(t, abs, csv, zarr, pandas3)
	const check = "\nassert adata.shape == (50, 20), adata.shape\nassert 'G79' in adata.var_names"
	for name, c := range map[string]struct {
		cell, way string
		before    record.Shape
	}{
		"lazy":           {"import anndata as ad, h5py\nfrom anndata.experimental import read_elem_lazy\nf = h5py.File('" + abs + "')\nadata = ad.AnnData(X=read_elem_lazy(f['X']), var=ad.io.read_elem(f['var']))\nassert adata.X.compute().shape == (50, 20)" + check, record.LiteCut, record.Shape{Cells: 300, Genes: 80}},
		"a part of Zarr": {"import anndata, zarr\nadata = anndata.AnnData(anndata.io.read_elem(zarr.open('" + zarr + "/X')), var=anndata.io.read_elem(zarr.open_group('" + zarr + "/var', mode='r')))" + check, record.LiteCut, record.Shape{Cells: 300, Genes: 80}},
		"small Zarr":     {"import anndata, zarr\nz = zarr.open('" + zarr + "')\nadata = anndata.io.read_elem(z)[:40].copy()\nadata.write_zarr('s.zarr')\nassert anndata.io.read_elem(zarr.open('s.zarr')).shape == (40, 20)", record.LiteCut, record.Shape{Cells: 300, Genes: 80}},
		"absolute":       {"import scanpy as sc\nadata = sc.read('" + abs + "')" + check, record.LiteCut, record.Shape{Cells: 300, Genes: 80}},
		"pandas 3":       {"import scanpy as sc\nadata = sc.read('" + pandas3 + "')" + check, record.LiteCut, record.Shape{Cells: 300, Genes: 80}},
		"pandas 3, text": {"import pandas\npandas.options.future.infer_string = True\nimport scanpy as sc\nadata = sc.read_csv('" + csv + "')" + check, record.LiteCut, record.Shape{Cells: 300, Genes: 80}},
		"backed":         {"import anndata\nadata = anndata.read_h5ad('" + abs + "', backed='r')" + check + "\nassert adata.isbacked", record.LiteCut, record.Shape{Cells: 300, Genes: 80}},
		"made":           {"import shutil, scanpy as sc\nshutil.copy('" + abs + "', 'y.h5ad')\nadata = sc.read_h5ad('y.h5ad')" + check, record.LiteCut, record.Shape{Cells: 300, Genes: 80}},
		"text":           {"import scanpy as sc\nadata = sc.read_csv('" + csv + "')" + check, record.LiteCut, record.Shape{Cells: 300, Genes: 80}},
		"a dataset":      {"import scanpy as sc\nadata = sc.datasets.pbmc68k_reduced()\nassert adata.shape == (50, 20), adata.shape\nassert 'CST3' in adata.var_names", record.LiteCut, record.Shape{Cells: 700, Genes: 765}},
		"a child":        {"import subprocess, sys\nsubprocess.run([sys.executable, '-c', \"import anndata; a = anndata.read_h5ad('" + abs + "'); assert a.shape == (50, 20), a.shape\"], check=True)", record.LiteCut, record.Shape{Cells: 300, Genes: 80}},
		"small":          {"import scanpy as sc\nadata = sc.read('" + abs + "')[:50, :20].copy()\nadata.write_h5ad('s.h5ad')\nadata = sc.read('s.h5ad')\nassert adata.shape == (50, 20)", record.LiteCut, record.Shape{Cells: 300, Genes: 80}},
		"no data":        {"x = 'y.h5ad'", record.LiteNoData, record.Shape{}},
		"other HDF5":     {"import h5py\nwith h5py.File('w.h5', 'w') as f: f['x'] = [1]\nassert h5py.File('w.h5')['x'][0] == 1", record.LiteNoData, record.Shape{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := liteStep(t, c.cell, "marker = ['G79', 'CST3']")
			rec, facts := millRun(t, NewTestEnv(t), t.Context(), s)
			require.Nil(t, rec.Failure)
			l := facts.Notebooks[0].Lite
			assert.Equal(t, c.way, l.Way)
			assert.Empty(t, l.Placed)
			assert.Empty(t, l.Error)
			if c.way == record.LiteCut {
				require.NotEmpty(t, l.Reads)
				assert.Equal(t, c.before, l.Reads[0].Before)
				assert.Equal(t, record.Shape{Cells: 50, Genes: 20}, l.Reads[0].After)
				assert.NotContains(t, l.Reads[len(l.Reads)-1].Path, "<", "h5py's own identifiers are no reads")
			} else {
				assert.Empty(t, l.Reads)
			}
		})
	}
}

// liteSquidpy stands in for squidpy, which the tests' Python has not: like its datasets
// it fetches a file into a cache of its own, and reads that with anndata.
const liteSquidpy = `import os, urllib.request
import anndata

def imc(path=None):
    path = path or os.path.expanduser("~/.cache/squidpy/anndata/imc.h5ad")
    if not os.path.isfile(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        urllib.request.urlretrieve(os.environ["SQUIDPY_URL"], path)
    return anndata.read_h5ad(path)
`

// TestPapermillLiteURL: data that a notebook loads from a server itself, in the ways
// that scanpy and squidpy have.
func TestPapermillLiteURL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.h5ad")
	liteMake(t, path)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	srv := fetchServer(t)
	url := srv.Put("/h5/x.h5ad", content)
	const check = "\nassert adata.shape == (50, 20), adata.shape\nassert 'G79' in adata.var_names"
	s, dir := liteStep(t,
		"import os, scanpy as sc\nadata = sc.read('data/loaded.h5ad', backup_url='"+url+"')"+check,
		"adata = sc.read('data/loaded.h5ad', backup_url='"+url+"')"+check,
		"import urllib.request\nimport anndata\nurllib.request.urlretrieve('"+url+"', 'retrieved.h5ad')\nadata = anndata.read_h5ad('retrieved.h5ad')"+check,
		"sc.settings.datasetdir = os.path.abspath('cache')\nos.makedirs('cache')\nurllib.request.urlretrieve('"+url+"', 'cache/pbmc3k_raw.h5ad')\nadata = sc.datasets.pbmc3k()"+check,
		"import squidpy as sq\nos.environ['SQUIDPY_URL'] = '"+url+"'\nos.environ['HOME'] = os.getcwd()\nadata = sq.datasets.imc()"+check,
		"marker = ['G79']")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "squidpy"), 0o775))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "squidpy", "__init__.py"), []byte("from . import datasets\n"), 0o664))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "squidpy", "datasets.py"), []byte(liteSquidpy), 0o664))
	rec, facts := millRun(t, NewTestEnv(t), t.Context(), s)
	require.Nil(t, rec.Failure)
	l := facts.Notebooks[0].Lite
	assert.Equal(t, record.LiteCut, l.Way)
	assert.Len(t, srv.Requests("/h5/x.h5ad"), 4, "what is there is not loaded again")
	var read []string
	for _, r := range l.Reads {
		assert.Equal(t, inject.ReadCut, r.Way)
		assert.Equal(t, record.Shape{Cells: 300, Genes: 80}, r.Before)
		read = append(read, filepath.Base(r.Path))
	}
	for _, name := range []string{"loaded.h5ad", "retrieved.h5ad", "pbmc3k_raw.h5ad", "imc.h5ad"} {
		assert.Contains(t, read, name)
	}
}

// TestPapermillLiteSmall: data that is small enough is not cut, and read as it is.
func TestPapermillLiteSmall(t *testing.T) {
	s, _ := liteStep(t, "import scanpy as sc\nadata = sc.datasets.pbmc68k_reduced()\nassert adata.shape == (700, 765)")
	s.Lite.MaxCells, s.Lite.MaxGenes = 50000, 10000
	e := NewTestEnv(t)
	rec, facts := millRun(t, e, t.Context(), s)
	require.Nil(t, rec.Failure)
	assert.Equal(t, record.LiteSmall, facts.Notebooks[0].Lite.Way)
	assert.Equal(t, "700 cells, 765 genes, small enough as they are", facts.Notebooks[0].Lite.Text())
	rec, _ = convertRun(t, e, t.Context(), &Nbconvert{})
	require.Nil(t, rec.Failure)
	assert.Contains(t, convertPage(t, e, "output_analysis_lite.html"), ">LITE: 700 cells, 765 genes, small enough as they are</div>")
}

func TestPapermillLiteData(t *testing.T) {
	const cell = "import scanpy as sc\nadata = sc.read('data/x.h5ad')\nassert adata.shape == (50, 20), adata.shape"
	for name, c := range map[string]struct {
		files   []string
		data    func(ws string) []string
		failure string
	}{
		"--data":        {[]string{"elsewhere/y.h5ad"}, func(ws string) []string { return []string{"nb:data/x.h5ad=" + ws + "/elsewhere/y.h5ad"} }, ""},
		"datasets":      {[]string{"datasets/big/x.h5ad"}, nil, ""},
		"two datasets":  {[]string{"datasets/a/x.h5ad", "datasets/b/x.h5ad"}, nil, "datasets/a/x.h5ad or "},
		"not whole yet": {[]string{"datasets/.part/x.h5ad"}, nil, "FileNotFoundError"},
		"no such file":  {nil, func(string) []string { return []string{"data/x.h5ad=/none.h5ad"} }, "/none.h5ad"},
		"leads out":     {nil, func(string) []string { return []string{"../x.h5ad=/none.h5ad"} }, "leads out of"},
		"absolute":      {nil, func(string) []string { return []string{"/x.h5ad=/none.h5ad"} }, "a path is relative"},
		"no notebook":   {nil, func(string) []string { return []string{"other:x.h5ad=/none.h5ad"} }, "none of the notebooks"},
		"no file":       {nil, func(string) []string { return []string{"x.h5ad"} }, "give PATH=FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := NewTestEnv(t)
			s, _ := liteStep(t, cell)
			for i, f := range c.files {
				c.files[i] = e.Workspace.Path(f)
			}
			if len(c.files) > 0 {
				liteMake(t, c.files...)
			}
			if c.data != nil {
				s.Lite.Data = c.data(e.Workspace.Dir)
			}
			rec, facts := millRun(t, e, t.Context(), s)
			if c.failure != "" {
				require.NotNil(t, rec.Failure)
				assert.Contains(t, rec.Failure.Message, c.failure)
				return
			}
			require.Nil(t, rec.Failure)
			require.Len(t, facts.Notebooks[0].Lite.Placed, 1)
			assert.Equal(t, c.files[0], facts.Notebooks[0].Lite.Placed[0].Source.Path)
		})
	}
}

// TestPapermillData: data of the workspace is put where the notebook reads it, cut in
// the lite variant, then whole in the original one. What the notebook makes of it stays
// in its own copy.
func TestPapermillData(t *testing.T) {
	e := NewTestEnv(t)
	const read = "import anndata\nadata = anndata.read_h5ad('data/x.h5ad')\nshape, names = adata.shape, list(adata.var_names)\nnamed = ['G79', 'G0']"
	s, _ := liteStep(t, read, liteShape,
		"import scanpy as sc\nother = sc.read_csv('./t/x.csv')\nassert other.shape == want, other.shape",
		"assert open('own.h5ad').read() == 'own'\nadata[:9].copy().write_h5ad('data/x.h5ad')\nopen('t/x.csv', 'w').write('x')")
	s.Lite.Data = []string{"t/x.csv=" + e.Workspace.Path("elsewhere", "y.csv")}
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(s.Paths[0]), "own.h5ad"), []byte("own"), 0o664))
	liteMake(t, e.Workspace.Path("datasets", "census", "x.h5ad"), e.Workspace.Path("datasets", "a", "own.h5ad"), e.Workspace.Path("elsewhere", "y.csv"))
	before, others := liteTree(t, e.Workspace.Path("datasets")), liteTree(t, e.Workspace.Path("elsewhere"))
	for _, v := range []artifacts.Variant{artifacts.Lite, artifacts.Original} {
		run, err := e.Workspace.OpenRun(string(v))
		require.NoError(t, err)
		e.Env.Run, e.Variant = run, v
		again := *s
		rec, facts := millRun(t, e, t.Context(), &again)
		require.Nil(t, rec.Failure)
		nb := facts.Notebooks[0]
		var inputs []string
		for _, f := range rec.Inputs {
			inputs = append(inputs, f.Path)
		}
		assert.Contains(t, inputs, e.Workspace.Path("datasets", "census", "x.h5ad"))
		prepared := strings.Join(nb.Prepared, "\n")
		assert.Contains(t, prepared, "t/x.csv is a copy of")
		if v == artifacts.Lite {
			assert.Equal(t, record.LiteCut, nb.Lite.Way)
			require.Len(t, nb.Lite.Placed, 1)
		} else {
			assert.Contains(t, prepared, "data/x.h5ad is a copy of datasets/census/x.h5ad, ")
			assert.NotContains(t, prepared, "own.h5ad")
			assert.Nil(t, nb.Lite)
		}
		assert.Equal(t, before, liteTree(t, e.Workspace.Path("datasets")), "the data is left alone")
		assert.Equal(t, others, liteTree(t, e.Workspace.Path("elsewhere")))
	}
}

// TestPapermillLiteFails: a run that was not lite is no success.
func TestPapermillLiteFails(t *testing.T) {
	abs := filepath.Join(t.TempDir(), "x.h5ad")
	liteMake(t, abs)
	bytes, err := os.ReadFile(abs)
	require.NoError(t, err)
	short := filepath.Join(filepath.Dir(abs), "short.h5ad")
	require.NoError(t, os.WriteFile(short, bytes[:len(bytes)/2], 0o664))
	read := "import anndata\nadata = anndata.read_h5ad('" + abs + "'"
	for name, c := range map[string]struct {
		cells   []string
		set     func(*Papermill)
		kind    record.Kind
		message string
		way     string
	}{
		"for writing":     {[]string{read + ", backed='r+')"}, nil, record.PatchMismatch, "300 cells and 80 genes was read at full size: it is opened for writing, too", record.LiteFull},
		"HDF5's own":      {[]string{"import h5py\nf = h5py.File(h5py.h5f.open(b'" + abs + "'))"}, nil, record.PatchMismatch, "it is read in a way in which it is not cut", record.LiteFull},
		"an object":       {[]string{"import h5py, io\nf = h5py.File(io.BytesIO(open('" + abs + "', 'rb').read()), 'r')"}, nil, record.PatchMismatch, "it is not read from a file", record.LiteFull},
		"swallowed":       {[]string{"import os, sys\nos.environ['PATH'] = ''\nsys.executable = '/none'", "try:\n    " + strings.ReplaceAll(read, "\n", "\n    ") + ")\nexcept Exception:\n    pass"}, nil, record.PatchMismatch, "it could not be cut", record.LiteFull},
		"other error":     {[]string{read + ", backed='r+')", "1/0"}, nil, record.NotebookFailed, "cell 2 raised ZeroDivisionError", record.LiteFull},
		"no hook, placed": {[]string{"import sys\nsys.meta_path[:] = [f for f in sys.meta_path if 'step_runner' not in type(f).__module__]", "import anndata\nadata = anndata.read_h5ad('x.h5ad')\nassert adata.shape == (50, 20)", read + ")"}, func(s *Papermill) { s.Lite.Data = []string{"x.h5ad=" + abs} }, record.MissingTool, "did not load step-runner's sitecustomize", record.LiteCut},
		"forged":          {[]string{"import os\nopen(os.path.join(os.path.dirname(os.environ['STEP_RUNNER_SUBSAMPLE']), 'reads-1-1.json'), 'w').write('{')"}, nil, record.PatchMismatch, "receipt reads-1-1.json", record.LiteNoData},
		"no hook":         {[]string{"import sys\nsys.meta_path[:] = [f for f in sys.meta_path if 'step_runner' not in type(f).__module__]", read + ")", "import anndata"}, nil, record.MissingTool, "did not load step-runner's sitecustomize", record.LiteNoData},
		"truncated":       {[]string{"import anndata\nadata = anndata.read_h5ad('" + short + "')"}, nil, record.NotebookFailed, "OSError", record.LiteNoData},
		"shapeless":       {[]string{"import h5py\nwith h5py.File('s.h5ad', 'w') as f:\n    f.attrs['encoding-type'] = 'anndata'\n    f['X'] = [[1]] * 300\n    f.create_group('obs'), f.create_group('var')", "x = h5py.File('s.h5ad')['X'][:]"}, nil, record.NotebookFailed, "could not be cut for the lite variant", record.LiteFull},
		"no column":       {[]string{read + ")"}, func(s *Papermill) { s.Lite.StratifyBy = "none" }, record.NotebookFailed, "could not be cut for the lite variant", record.LiteFull},
		"no cells":        {[]string{"x = 1"}, func(s *Papermill) { s.Lite.MaxCells = 0 }, record.Usage, "--max-cells 0", ""},
		"no data":         {[]string{"x = 1"}, func(s *Papermill) { off := false; s.Lite.Subsample, s.Lite.Data = &off, []string{"x=/none.h5ad"} }, record.BadInput, "data for x: ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := liteStep(t, c.cells...)
			if c.set != nil {
				c.set(s)
			}
			rec, facts := millRun(t, NewTestEnv(t), t.Context(), s)
			require.NotNil(t, rec.Failure)
			assert.Equal(t, c.kind, rec.Failure.Kind, rec.Failure.Message)
			assert.Contains(t, rec.Failure.Message, c.message)
			if c.way != "" {
				assert.Equal(t, c.way, facts.Notebooks[0].Lite.Way)
			}
		})
	}
}

// TestPapermillLiteOff: with --no-subsample the data is left alone, also in the lite variant.
func TestPapermillLiteOff(t *testing.T) {
	s, dir := liteStep(t, "import os, anndata\nassert 'STEP_RUNNER_SUBSAMPLE' not in os.environ\nassert anndata.read_h5ad('x.h5ad').shape == (300, 80)")
	liteMake(t, filepath.Join(dir, "x.h5ad"))
	off := false
	s.Lite.Subsample = &off
	rec, facts := millRun(t, NewTestEnv(t, inject.ReadersVar+"=/of/another"), t.Context(), s)
	require.Nil(t, rec.Failure)
	assert.Nil(t, facts.Notebooks[0].Lite)
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "--no-subsample")
}

// TestPapermillLiteLeaves: a file that is no AnnData, and what an earlier notebook
// has left at a path, stay as they are.
func TestPapermillLiteLeaves(t *testing.T) {
	s, dir := liteStep(t, "import scanpy as sc\nadata = sc.read('x.h5ad')[:10].copy()\nadata.write_h5ad('x.h5ad')\nassert open('weights.h5').read() == 'no HDF5'")
	liteMake(t, filepath.Join(dir, "x.h5ad"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "weights.h5"), []byte("no HDF5"), 0o664))
	second := filepath.Join(dir, "second.ipynb")
	require.NoError(t, os.WriteFile(second, nbtest.New(nbtest.Code("import scanpy as sc\nassert sc.read('x.h5ad').shape == (10, 20)")), 0o664))
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".git"), 0o775))
	s.Paths = append(s.Paths, second)
	rec, _ := millRun(t, NewTestEnv(t), t.Context(), s)
	require.Nil(t, rec.Failure)
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "weights.h5 is left as it is")
}
