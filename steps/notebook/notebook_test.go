package notebook

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

func TestParse(t *testing.T) {
	n, err := Parse(nbtest.New(nbtest.Text("# A"), nbtest.Code("x = 1\nprint(x)", "a", "parameters"), nbtest.Code(" "), nbtest.Code("y", "skip-execution")))
	require.NoError(t, err)
	assert.Equal(t, "python3", n.Kernel)
	assert.Equal(t, "python", n.Language)
	require.Len(t, n.Cells, 4)
	assert.Equal(t, Cell{Index: 1, Number: 1, Source: "x = 1\nprint(x)", Tags: []string{"a", "parameters"}}, n.Cells[1])
	var runs []bool
	for _, c := range n.Cells {
		runs = append(runs, c.Runs())
	}
	assert.Equal(t, []bool{false, true, false, false}, runs)
}

func TestParseRefuses(t *testing.T) {
	whole := string(nbtest.New(nbtest.Code("x")))
	for name, c := range map[string]struct{ data, reason string }{
		"nothing":       {" \n", "is empty"},
		"LFS pointer":   {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "is a Git LFS pointer"},
		"HTML":          {"<!DOCTYPE html><title>404</title>", "is not JSON"},
		"cut off":       {whole[:len(whole)/2], "is not JSON"},
		"two":           {whole + whole, "is not JSON"},
		"BOM":           {"\ufeff" + whole, "byte order mark"},
		"Latin-1":       {strings.Replace(whole, "Python 3", "Pyth\xf6n 3", 1), "is not UTF-8"},
		"a list":        {"[]", "no notebook"},
		"another JSON":  {`{"cells": []}`, "no nbformat"},
		"format 3":      {`{"nbformat": 3, "worksheets": [{"cells": []}]}`, "format 3"},
		"no cells":      {`{"nbformat": 4, "metadata": {}}`, "no list of cells"},
		"empty cells":   {`{"nbformat": 4, "cells": []}`, "no code cell"},
		"only text":     {string(nbtest.New(nbtest.Text("# A"), nbtest.Code("  \n"))), "no code cell"},
		"cell a string": {`{"nbformat": 4, "cells": ["x"]}`, "a cell 1 that is no object"},
		"source a map":  {`{"nbformat": 4, "cells": [{"cell_type": "code", "source": {}}]}`, "a cell whose source"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.data))
			require.ErrorContains(t, err, c.reason)
			assert.Equal(t, record.NotebookInvalid, record.AsFailure(err).Kind)
		})
	}
}

func TestParseTakesPythonsNumbers(t *testing.T) {
	nb := strings.Replace(string(nbtest.New(nbtest.Code("x = 'NaN'"))), `"metadata": {}`, `"metadata": {"a": [NaN, -Infinity, Infinity, "NaN \" NaN"]}`, 1)
	n, err := Parse([]byte(nb))
	require.NoError(t, err)
	assert.Equal(t, "x = 'NaN'", n.Cells[0].Source)
	assert.Equal(t, nb, string(n.Bytes()))

	_, err = Parse([]byte(strings.Replace(nb, "-Infinity", "-NaNa", 1)))
	require.Error(t, err)
}

func TestIsShutdown(t *testing.T) {
	for _, source := range []string{
		"import IPython\napp = IPython.Application.instance()\napp.kernel.do_shutdown(True)",
		"import IPython\n\nIPython.Application.instance().kernel.do_shutdown(restart=True)  # free the GPU",
		"# Shut down the kernel\nfrom IPython import get_ipython\nget_ipython().kernel.do_shutdown(False)",
		"get_ipython().kernel.do_shutdown(True);",
		"kernel = get_ipython().kernel\nkernel.do_shutdown(True)",
		"import IPython; IPython.get_ipython().kernel.do_shutdown(True)",
		"_ = IPython.Application.instance().kernel.do_shutdown(True)",
		"await get_ipython().kernel.do_shutdown(True)",
		"import os\nos._exit(00)",
		"import os, signal\nprint('bye; bye')\nos.kill(os.getpid(), signal.SIGKILL)",
		"exit()", "quit", "get_ipython().ask_exit()",
	} {
		assert.True(t, isShutdown(source), source)
	}
	for _, source := range []string{
		"", "# get_ipython().kernel.do_shutdown(True)", "import IPython", "print('do_shutdown(True)')",
		"adata.write('x.h5ad')\nIPython.Application.instance().kernel.do_shutdown(True)",
		"if failed:\n    import os\n    os._exit(0)",
		"try:\n    get_ipython().kernel.do_shutdown(True)\nfinally:\n    save()",
		"import workload\nget_ipython().kernel.do_shutdown(True)",
		"print(save())\nexit()", "print(f'{save()}')\nexit()", "exit(); save()", "exit(save())",
		"os._exit(1)", "sys.exit(0)", "os.kill(pid, 9)", "os.kill(os.getpid(), signal.SIGUSR1)",
		"cluster.do_shutdown(True)", "app = make()\napp.kernel.do_shutdown(True)", "app = get_ipython()\napp.do_shutdown(True)",
		"\"\"\"\nexit()\n\"\"\"\nwork()", "x = '''\nexit()\n'''", "  exit()", "exit() if done else work()", "%%bash\nexit", "exit = 1",
	} {
		assert.False(t, isShutdown(source), source)
	}
}

func TestParameters(t *testing.T) {
	n, err := Parse(nbtest.New(nbtest.Code("n_cells: int = 5  # how many\nsubsample_rate = 1\nsubsample = False", "parameters"), nbtest.Code("f(extra)")))
	require.NoError(t, err)
	assert.True(t, n.Assigns("n_cells"))
	assert.True(t, n.Assigns("subsample"))
	assert.False(t, n.Assigns("sample"))
	assert.False(t, n.Assigns("extra"))
	require.NoError(t, n.CheckParameters(nil))
	require.NoError(t, n.CheckParameters([]string{"n_cells", "extra"}))
	err = n.CheckParameters([]string{"n_cell"})
	require.ErrorContains(t, err, "n_cell")
	assert.Equal(t, record.PatchMismatch, record.AsFailure(err).Kind)

	n, err = Parse(nbtest.New(nbtest.Code("n_cells = 5")))
	require.NoError(t, err)
	require.ErrorContains(t, n.CheckParameters([]string{"n_cells"}), "no cell tagged parameters")
}

func TestHead(t *testing.T) {
	assert.Equal(t, "a\n b\nc", Cell{Source: "\n\na  \n b\n\nc\nd"}.Head())
	long := Cell{Source: strings.Repeat("é", 300)}.Head()
	assert.Equal(t, strings.Repeat("é", 100)+"…", long)
	assert.Equal(t, "é…", cut("éé", 3))
}
