package inject

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/steps/steptest"
)

// TestPython runs the suite of the Python package.
func TestPython(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), steptest.Python(t), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), " passed")
}

// TestRoundTrip lets a Python process under the policy of this package write the
// receipt that this package reads.
func TestRoundTrip(t *testing.T) {
	limit := uint64(4 << 30)
	d, err := New(filepath.Join(t.TempDir(), "inject"), Policy{Mode: "pool", LimitBytes: &limit, Allocators: []string{"cupy"}})
	require.NoError(t, err)
	none, err := d.Receipts()
	require.NoError(t, err)
	assert.Empty(t, none)

	fake, err := filepath.Abs("tests/fake")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), steptest.Python(t), "-c", "import cupy, rmm; cupy.cuda.allocator(7); rmm.reinitialize(devices=[0, 1])")
	cmd.Env = d.Env(append(os.Environ(), "PYTHONPATH=/lost", "PYTHONPATH="+fake))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))

	all, err := d.Receipts()
	require.NoError(t, err)
	require.Len(t, all, 1)
	r := all[0]
	assert.Equal(t, Applied, r.State)
	assert.Equal(t, Policy{Mode: "pool", LimitBytes: &limit, Allocators: []string{"cupy"}}, r.Policy)
	assert.Equal(t, cmd.Process.Pid, r.PID)
	assert.Contains(t, r.Argv, "-c")
	assert.EqualValues(t, 7, r.PeakBytes)
	assert.EqualValues(t, 1, r.Allocations)
	require.Len(t, r.Overrides, 1)
	assert.JSONEq(t, `{"devices": [0]}`, string(r.Overrides[0].Applied))
}

func TestReceiptsRefuse(t *testing.T) {
	for name, write := range map[string]func(path string) error{
		"no JSON":       func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
		"unknown field": func(path string) error { return os.WriteFile(path, []byte(`{"state":"applied","x":1}`), 0o600) },
		"no state":      func(path string) error { return os.WriteFile(path, []byte(`{}`), 0o600) },
		"two":           func(path string) error { return os.WriteFile(path, []byte(`{"state":"applied"}{}`), 0o600) },
		"too large":     func(path string) error { return os.WriteFile(path, make([]byte, mostBytes+1), 0o600) },
		"link":          func(path string) error { return os.Symlink("policy.json", path) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			d, err := New(filepath.Join(t.TempDir(), "inject"), Policy{Mode: "cuda"})
			require.NoError(t, err)
			require.NoError(t, write(filepath.Join(d.path, "rmm", "rmm-1-2.json")))
			_, err = d.Receipts()
			assert.ErrorContains(t, err, "receipt rmm-1-2.json: ")
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"state":"applied","devices":[0],"overrides":[{"call":"reinitialize","asked":{"devices":[0,1]},"applied":{}}],"peak_bytes":7}`))
	f.Add([]byte(`{"state":"failed","error":"x"} `))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		require.NoError(t, err)
		_, err = Parse(again)
		require.NoError(t, err)
	})
}
