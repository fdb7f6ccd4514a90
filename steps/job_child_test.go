package steps

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

// An image may set PYTHONOPTIMIZE; asserts of notebooks and tests check all the same.
func TestAssertsCheckInAnOptimisingImage(t *testing.T) {
	e := NewTestEnv(t, "PYTHONOPTIMIZE=1", "PYTEST_ADDOPTS=--assert=plain")
	rec, _ := millRun(t, e, t.Context(), millStep(millWrite(t, "nb", nbtest.New(nbtest.Code("assert False, 'checked'")))))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.NotebookFailed, rec.Failure.Kind)
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "PYTHONOPTIMIZE is not passed on")

	e = NewTestEnv(t, "PYTHONOPTIMIZE=1", "PYTEST_ADDOPTS=--assert=plain")
	rec, _ = pytestExecute(t, t.Context(), e, pytestStep(pytestProject(t, map[string]string{"test_a.py": "def test_a(): assert 0\n"})))
	require.NotNil(t, rec.Failure)
	assert.Equal(t, record.TestsFailed, rec.Failure.Kind)
	for _, note := range []string{"PYTHONOPTIMIZE is not passed on", "PYTEST_ADDOPTS adds to pytest's arguments: --assert=plain"} {
		assert.Contains(t, strings.Join(rec.Notes, "\n"), note)
	}
}
