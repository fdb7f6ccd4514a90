package artifacts

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPythonJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": NaN, "b": [-Infinity,Infinity], "NaN": "Infinity \" NaN"}`: `{"a": 0  , "b": [-0       ,0       ], "NaN": "Infinity \" NaN"}`,
		`[NaN]`:                          `[0  ]`,
		`[true,false,null,1E5,"\\",NaN]`: `[true,false,null,1E5,"\\",0  ]`,
		`NaN`:                            `0  `,
		`NaNs InfinityNaN`:               `NaNs InfinityNaN`,
		"":                               "",
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(text), "bytes": iotest.OneByteReader(strings.NewReader(text))} {
			got, err := io.ReadAll(newPythonJSON(r))
			require.NoError(t, err)
			assert.Equal(t, want, string(got), name)
		}
	}
	_, err := io.ReadAll(newPythonJSON(io.MultiReader(strings.NewReader("[NaN"), iotest.ErrReader(io.ErrUnexpectedEOF))))
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// FuzzPythonJSON: nothing but the three words changes, and no length.
func FuzzPythonJSON(f *testing.F) {
	f.Add(`{"a": [1, "x\"NaN", true, Infinity]}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := io.ReadAll(newPythonJSON(strings.NewReader(text)))
		require.NoError(t, err)
		require.Len(t, got, len(text))
		if json.Valid([]byte(text)) {
			require.Equal(t, text, string(got))
		}
	})
}

func TestNotebookWithNaN(t *testing.T) {
	const text = `{"cells": [{"execution_count": 1, "metadata": {"papermill": {"start_time": "x"}}}], "metadata": {"papermill": {"parameters": {"limit": -Infinity, "x": NaN}}}}`
	form, err := Check("application/x-ipynb+json", strings.NewReader(text))
	require.NoError(t, err)
	assert.Equal(t, FormNotebook, form)
}
