package notebook

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestImports(t *testing.T) {
	for source, want := range map[string]bool{
		"import rmm":                             true,
		"import rmm as r  # memory":              true,
		"import os, rmm.mr as mr, sys":           true,
		"import cupy; import rmm; x = 1":         true,
		"from rmm import reinitialize":           true,
		"from rmm.allocators.cupy import (\n a)": true,
		"x = '''\na\n'''\nimport rmm":            true,
		"%%time\nimport rmm":                     true,
		"%pip list\nimport rmm":                  true,
		"import rmm_extra":                       false,
		"import cupy as rmm":                     false,
		"from . import rmm":                      false,
		"# import rmm":                           false,
		"x = 1 # ; import rmm":                   false,
		"print('a; import rmm')":                 false,
		"x = 'a' # it's\nimport rmm_x":           false,
		"if x:\n    import rmm":                  false,
		"if x:\n\timport rmm":                    false,
		"if x: pass; import rmm":                 false,
		"'''\nimport rmm\n'''":                   false,
		"'''\nimport rmm":                        false,
		"%%bash\nimport rmm":                     false,
		"%%writefile a.py\nimport rmm":           false,
		"":                                       false,
	} {
		assert.Equal(t, want, Imports(source, "rmm"), source)
	}
}
