package inject

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHooksShareThePackage: with both hooks there is one package, first in PYTHONPATH.
func TestHooksShareThePackage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inject")
	d, err := New(path, Policy{Mode: "cuda"})
	require.NoError(t, err)
	r, err := NewReaders(path, Readers{Request: json.RawMessage(`{}`)})
	require.NoError(t, err)
	packages := "PYTHONPATH=" + packagesIn(path) + string(os.PathListSeparator) + "/own"
	assert.Equal(t, []string{"PYTHONPATH=/own", packages, PolicyVar + "=" + d.policy(), ReadersVar + "=" + r.wish()}, r.Env(d.Env([]string{"PYTHONPATH=/own"})))
	none, err := r.Receipts()
	require.NoError(t, err)
	assert.Empty(t, none)
}

func FuzzParseReads(f *testing.F) {
	f.Add([]byte(`{"pid":1,"reads":[{"path":"x","way":"cut","before":{"cells":9,"genes":9},"after":{"cells":1,"genes":1}}]}`))
	f.Add([]byte(`{"reads":[{"way":"other"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseReads(data)
		if err != nil {
			return
		}
		for _, read := range r.Reads {
			require.Contains(t, []string{ReadPlaced, ReadCut, ReadSmall, ReadFull}, read.Way)
		}
	})
}
