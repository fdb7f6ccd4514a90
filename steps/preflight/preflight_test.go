package preflight

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const whole = `{"name": "python", "version": "3.12.3", "path": "/usr/bin/python3"}
{"name": "papermill", "version": "2.7.0"}
{"name": "nbconvert", "version": "7.17.2"}
{"name": "ipykernel", "version": "7.4.0"}
{"name": "poetry", "missing": true, "error": "is not there"}
`

func TestReport(t *testing.T) {
	r, err := Parse([]byte(whole))
	require.NoError(t, err)
	assert.NoError(t, r.Failure())
	assert.Empty(t, r.Notes(), "a tool that is not there needs no note")
	assert.Equal(t, map[string]string{"python": "3.12.3", "papermill": "2.7.0", "nbconvert": "7.17.2", "ipykernel": "7.4.0"}, r.Versions())
	assert.Equal(t, "/usr/bin/python3", r.Get("python").Path)
}

// An interpreter that dies on the way vouches for nothing after it.
func TestReportThatEndsEarly(t *testing.T) {
	lines := strings.SplitAfter(whole, "\n")
	for i, p := range required {
		r, err := Parse([]byte(strings.Join(lines[:i+1], "")))
		require.NoError(t, err)
		assert.ErrorContains(t, r.Failure(), p.name+" crashes when it is imported")
	}
}

func TestOlder(t *testing.T) {
	for version, want := range map[string]bool{
		"7.17.0": true, "7.17": true, "7.9.9": true, "6": true, "7.17.0rc1": true, "": true,
		"7.17.1": false, "7.17.1.post1": false, "7.18": false, "8": false, "10.0": false,
	} {
		assert.Equal(t, want, older(version, 7, 17, 1), version)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("Traceback"))
	f.Fuzz(func(t *testing.T, out []byte) {
		r, _ := Parse(out)
		if r.Failure() != nil {
			return
		}
		for _, p := range required {
			require.Contains(t, r.Versions(), p.name, "nothing vouches for it")
		}
	})
}
