package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/steps/leak"
	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

// What a notebook and tests were given on purpose, and print, stands in no file of
// the run: not even for a collect that does not know it.
func TestGivenSecretsAreMasked(t *testing.T) {
	const token = "hf_Ab/Cd+0123456789"
	e := NewTestEnv(t, "HF_TOKEN="+token)
	e.Secrets.Hide(token)
	s := millStep(millWrite(t, "nb", nbtest.New(
		nbtest.Code("import os\nprint(os.environ['HF_TOKEN'], os.environ['A_TOKEN'])"),
		nbtest.Code("raise ValueError(os.environ['HF_TOKEN'])"),
	)))
	s.PapermillOptions.Env = []string{"A_TOKEN=a-token-0123"}
	rec, facts := millRun(t, e, t.Context(), s)
	require.NotNil(t, rec.Failure)
	assert.Equal(t, "ValueError", facts.Error.Name, "they were there to be read")
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "output_analysis_lite.ipynb showed a secret")
	millOutput(t, e, "output_analysis_lite.ipynb")

	noSecret(t, e, token, "a-token-0123")
}

func TestGivenSecretsOfTestsAreMasked(t *testing.T) {
	const token, password = "hf_Ab/Cd+0123456789", `pass"wörd & <1>`
	e := NewTestEnv(t, "HF_TOKEN="+token, "DB_PASSWORD="+password)
	e.Secrets.Hide(token)
	dir := pytestProject(t, map[string]string{
		"test_a.py": "import os\ndef test_a():\n    p = os.environ['DB_PASSWORD']\n    print(p)\n    assert p == os.environ['HF_TOKEN']\n", "pytest.ini": "[pytest]\njunit_logging = all\n",
	})
	p := pytestStep(dir)
	p.EnvFrom = []string{"DB_PASSWORD"}
	prec, pfacts := pytestExecute(t, t.Context(), e, p)
	require.NotNil(t, prec.Failure)
	assert.Equal(t, 1, pfacts.Failures, "the reports can be read")
	for _, name := range []string{"pytest_results_lite.xml", "pytest_report_lite.html"} {
		assert.Contains(t, strings.Join(prec.Notes, "\n"), name+" showed a secret")
	}
	noSecret(t, e, token, password)
}

func noSecret(t *testing.T, e *TestEnv, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		_, err := leak.Search(e.Run.Dir, secret)
		assert.NoError(t, err)
		assert.NotContains(t, e.Err.String(), secret)
	}
}

// A password that is a plain word makes nothing unfit to be published.
func TestGivenWordIsNoSecret(t *testing.T) {
	e := NewTestEnv(t, "POSTGRES_PASSWORD=postgres")
	p := pytestStep(pytestProject(t, map[string]string{"test_a.py": "def test_postgres(): pass\n"}))
	p.EnvFrom = []string{"POSTGRES_PASSWORD"}
	rec, _ := pytestExecute(t, t.Context(), e, p)
	require.Nil(t, rec.Failure)
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "POSTGRES_PASSWORD is not kept out of logs")
	text, err := os.ReadFile(filepath.Join(e.Run.Dir, "artifacts", "pytest_results_lite.xml"))
	require.NoError(t, err)
	assert.Contains(t, string(text), "test_postgres")
}
