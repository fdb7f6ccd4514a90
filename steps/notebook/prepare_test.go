package notebook

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

const shutdownSource = "import IPython\nIPython.Application.instance().kernel.do_shutdown(True)"

func prepare(t *testing.T, data []byte, p Preparation) (*Notebook, []string) {
	t.Helper()
	n, err := Parse(data)
	require.NoError(t, err)
	out, notes, err := n.Prepare(p)
	require.NoError(t, err)
	return out, notes
}

func TestPrepareTouchesNothingElse(t *testing.T) {
	data := nbtest.New(nbtest.Text("a < b & c > d \u2028"), nbtest.Code("x = '<&>\u2028'"))
	out, notes := prepare(t, data, Preparation{Kernel: "other"})
	assert.Equal(t, data, out.Bytes())
	assert.Empty(t, notes)
}

func TestPrepareTagsShutdownCells(t *testing.T) {
	data := nbtest.New(nbtest.Code("work()"), nbtest.Code(shutdownSource, "mine"), nbtest.Text("The end."), nbtest.Code(""), nbtest.Code("exit()"))
	out, notes := prepare(t, data, Preparation{})
	assert.Equal(t, []string{"cell 4 shuts the kernel down: tagged skip-execution", "cell 2 shuts the kernel down: tagged skip-execution"}, notes)
	assert.True(t, out.Cells[0].Runs())
	assert.False(t, out.Cells[1].Runs())
	assert.Equal(t, []string{"mine", "skip-execution"}, out.Cells[1].Tags)
	assert.False(t, out.Cells[4].Runs())
	want := strings.Replace(string(data), "\"mine\"\n    ]", "\"mine\"\n    ,\"skip-execution\"]", 1)
	want = strings.Replace(want, "\"cell-4\",\n   \"metadata\": {}", "\"cell-4\",\n   \"metadata\": {\"tags\":[\"skip-execution\"]}", 1)
	assert.Equal(t, want, string(out.Bytes()))

	out, notes = prepare(t, nbtest.New(nbtest.Code(shutdownSource), nbtest.Code("work()")), Preparation{})
	assert.Empty(t, notes, "work follows: to skip it would run that work in a kernel that should be new")
	assert.True(t, out.Cells[0].Runs())
}

func TestPrepareNamesAKernel(t *testing.T) {
	out, notes := prepare(t, nbtest.WithoutKernel(nbtest.Code("x")), Preparation{})
	assert.Equal(t, "python3", out.Kernel)
	assert.Equal(t, "python", out.Language)
	assert.Equal(t, []string{"the notebook names no kernel: python3 is used"}, notes)
	out, _ = prepare(t, nbtest.WithoutKernel(nbtest.Code("x")), Preparation{Kernel: "rapids"})
	assert.Equal(t, "rapids", out.Kernel)

	data := strings.Replace(string(nbtest.New(nbtest.Code("x"))), "\"language\": \"python\",\n   ", "", 1)
	out, notes = prepare(t, []byte(data), Preparation{})
	assert.Equal(t, "python", out.Language)
	assert.Equal(t, []string{"the notebook's kernel names no language: python is used"}, notes)
	out, notes = prepare(t, []byte(strings.Replace(data, `"name": "python3"`, `"name": "ir"`, 1)), Preparation{})
	assert.Empty(t, out.Language)
	assert.Empty(t, notes)
}

func TestPreparePatches(t *testing.T) {
	two := 2
	data := nbtest.New(nbtest.Text("n = 1_000_000"), nbtest.Code("n = 1_000_000\nm = 1_000_000\nprint(n)"), nbtest.Code("z"))
	out, notes := prepare(t, data, Preparation{Patches: []Patch{
		{Match: "1_000_000", Replace: "\"500_000\" <&>", Count: &two},
		{Match: "print(n)", Replace: "print(n,\n  m)"},
	}})
	assert.Equal(t, "n = \"500_000\" <&>\nm = \"500_000\" <&>\nprint(n,\n  m)", out.Cells[1].Source)
	assert.Equal(t, "n = 1_000_000", out.Cells[0].Source)
	assert.Len(t, notes, 2)
	assert.Contains(t, notes[0], `patch 1: replaced "1_000_000"`)
	// The list of lines is laid out as it was.
	assert.Contains(t, string(out.Bytes()), "\"source\": [\n    \"n = \\\"500_000\\\" <&>\\n\",\n    \"m = ")
}

func TestPreparePatchesASourceInOneString(t *testing.T) {
	data := []byte(`{"cells":[{"cell_type":"code","metadata":{},"source":"a\nb","outputs":[],"execution_count":null}],"metadata":{"kernelspec":{"name":"python3","language":"python"}},"nbformat":4,"nbformat_minor":5}`)
	out, _ := prepare(t, data, Preparation{Patches: []Patch{{Match: "b", Replace: "c"}}})
	assert.Equal(t, strings.Replace(string(data), `a\nb`, `a\nc`, 1), string(out.Bytes()))
}

func TestPreparePatchMismatch(t *testing.T) {
	n, err := Parse(nbtest.New(nbtest.Text("x"), nbtest.Code("y y")))
	require.NoError(t, err)
	for match, want := range map[string]string{"x": "occurs 0 times", "y": "occurs 2 times"} {
		_, _, err := n.Prepare(Preparation{Patches: []Patch{{Match: match}}})
		require.ErrorContains(t, err, want)
		assert.Equal(t, record.PatchMismatch, record.AsFailure(err).Kind)
	}
	zero := 0
	require.Error(t, Patch{Match: ""}.Check())
	require.Error(t, Patch{Match: "a", Replace: "a"}.Check())
	require.Error(t, Patch{Match: "a", Count: &zero}.Check())
	require.NoError(t, Patch{Match: "a"}.Check())
}

func TestPrepareAllowsErrors(t *testing.T) {
	data := nbtest.New(nbtest.Code("a", "may-fail"), nbtest.Code("b", "may-fail", "raises-exception"), nbtest.Code("c"))
	allowed, err := ParseAllowed("ValueError@may-fail")
	require.NoError(t, err)
	out, notes := prepare(t, data, Preparation{Allowed: []AllowedError{allowed}})
	assert.Equal(t, []string{"cell 1 may raise ValueError: tagged raises-exception"}, notes)
	assert.True(t, out.Cells[0].tagged(tagRaises))
	assert.Equal(t, []bool{false, true, false}, []bool{out.Cells[0].expectsErrors, out.Cells[1].expectsErrors, out.Cells[2].expectsErrors})
	for _, bad := range []string{"", "ValueError", "@x", "ValueError@", "Value Error@x"} {
		_, err := ParseAllowed(bad)
		require.Error(t, err, bad)
		assert.Equal(t, record.Usage, record.AsFailure(err).Kind)
	}
}

// FuzzPrepare holds for whatever file a repository may have: nothing panics, and
// what has been prepared is the same notebook but for what was to be changed.
func FuzzPrepare(f *testing.F) {
	f.Add(nbtest.New(nbtest.Text("a"), nbtest.Code("x\ny", "parameters"), nbtest.Code(shutdownSource)), "x", "z\n", "t")
	f.Add(nbtest.WithoutKernel(nbtest.Code("x", "t")), "x", "", "t")
	f.Add([]byte(`{"nbformat":4,"cells":[{"cell_type":"code","source":["a"],"metadata":{"tags":null}}],"metadata":NaN}`), "a", "b", "t")
	f.Fuzz(func(t *testing.T, data []byte, match, replace, tag string) {
		n, err := Parse(data)
		if err != nil {
			require.NotNil(t, record.AsFailure(err))
			return
		}
		if !utf8.ValidString(tag) {
			return
		}
		p := Preparation{Allowed: []AllowedError{{"E", tag}}}
		if (Patch{Match: match, Replace: replace}).Check() == nil {
			p.Patches = []Patch{{Match: match, Replace: replace}}
		}
		out, _, err := n.Prepare(p)
		if err != nil {
			return
		}
		require.True(t, json.Valid(withoutNaN(out.Bytes())))
		require.Len(t, out.Cells, len(n.Cells))
		for i, c := range n.Cells {
			want := c.Source
			if c.Number > 0 && p.Patches != nil {
				want = strings.ReplaceAll(want, match, replace)
			}
			require.Equal(t, want, out.Cells[i].Source)
			require.Subset(t, out.Cells[i].Tags, c.Tags)
		}
	})
}
