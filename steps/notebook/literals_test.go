package notebook

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

func looked(t *testing.T, cells ...string) Look {
	t.Helper()
	var all []nbtest.Cell
	for _, c := range cells {
		all = append(all, nbtest.Code(c))
	}
	n, err := Parse(nbtest.New(all...))
	require.NoError(t, err)
	return n.Looks()
}

func TestLooksPaths(t *testing.T) {
	for name, c := range map[string]struct {
		cells []string
		want  []string
	}{
		"a call":                  {[]string{`adata = sc.read("./h5/dli_census.h5ad")`}, []string{"./h5/dli_census.h5ad"}},
		"a variable of a cell":    {[]string{"d = 'data'", "sc.read(d + '/a.h5ad')"}, []string{"data/a.h5ad"}},
		"f-string":                {[]string{"d = 'data'\nsc.read(f\"{ d }/a.h5ad\")"}, []string{"data/a.h5ad"}},
		"f-string of the unknown": {[]string{"sc.read(f'{d}/a.h5ad')"}, nil},
		"f-string, format":        {[]string{"d = 'x'\nsc.read(f'{d:>3}/a.h5ad')"}, nil},
		"quotes in an f-string":   {[]string{`sc.read(f"{d["k"]}/a.h5ad"); sc.read("b.h5")`}, []string{"b.h5"}},
		"join":                    {[]string{"D = 'data'\nsc.read(os.path.join(D, 'sub', 'a.h5ad',))"}, []string{"data/sub/a.h5ad"}},
		"Path":                    {[]string{"p = Path('..') / 'data'\nad.read_zarr(p / 'a.zarr')"}, []string{"../data/a.zarr"}},
		"set anew":                {[]string{"d = 'old'\nd = new()\nsc.read(d + '/a.h5ad')"}, nil},
		"set in a call":           {[]string{"f(d='x')\nsc.read(d + '/a.h5ad')"}, nil},
		"an attribute":            {[]string{"d = 'x'\nsc.read(self.d + '/a.h5ad')"}, nil},
		"raw, triple, implicit":   {[]string{"a = r'c\\d.h5ad'\nb = '''t.h5'''\nc = ('x/'\n  'y.zarr/')"}, []string{`c\d.h5ad`, "t.h5", "x/y.zarr"}},
		"magics and comments":     {[]string{"%matplotlib inline\n!wget 'x.h5ad'\n# 'y.h5ad'\nz = 7 % 3\nsc.read('z.h5ad')", "%%bash\ncp 'a.h5ad' b", "%%time\nsc.read('b.h5ad')"}, []string{"z.h5ad", "b.h5ad"}},
		"an address":              {[]string{"sc.read('a.h5ad', backup_url='https://x.org/' + 'a.h5ad')"}, []string{"a.h5ad", "https://x.org/a.h5ad"}},
		"bytes":                   {[]string{"b'a.h5ad'"}, nil},
		"an open text":            {[]string{"x = 'a.h5ad\ny = 'b.h5ad'"}, []string{"b.h5ad"}},
		"if a variable exists":    {[]string{"file = './h5/a.h5ad'\nif not os.path.exists(file):\n    get(file)\nadata = sc.read(file)"}, []string{"./h5/a.h5ad"}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, looked(t, c.cells...).Paths)
		})
	}
}

func TestLooksNames(t *testing.T) {
	l := looked(t, "markers = {'T': ['CD3D', 'CD3E', 'NO-GENE'], \"B\": [\"MS4A1\"]}\nsc.pl.umap(adata, color='leiden')", "more = 'CD8A, CD8B'.split(', ')", "s = 'a text (of words)'")
	group := map[string]int{}
	for _, n := range l.Names {
		group[n.Text] = n.Group
	}
	for _, name := range []string{"CD3D", "CD3E", "NO-GENE", "MS4A1", "leiden", "CD8A", "CD8B"} {
		assert.Contains(t, group, name)
	}
	assert.Equal(t, group["CD3D"], group["NO-GENE"])
	assert.NotEqual(t, group["CD3D"], group["MS4A1"])
	assert.Equal(t, group["CD8A"], group["CD8B"])
	assert.NotContains(t, group, "(of")
}

func FuzzLex(f *testing.F) {
	for _, s := range []string{"f'{a}' \"b\"", `f"{x["a"]}"`, "'''", "f'{", "\\", "x = Path('a') / 'b.h5ad'", "(]", "%%time\n1", "join('a',"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		groups := 0
		l := &looker{known: map[string]string{}, seen: map[string]bool{}}
		l.cell(lex(s, &groups))
		for _, p := range l.Paths {
			assert.Regexp(t, dataPath, p)
		}
		assert.False(t, slices.ContainsFunc(l.Names, func(n NamedText) bool { return n.Text == "" }))
	})
}
