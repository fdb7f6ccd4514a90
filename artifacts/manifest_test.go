package artifacts

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func root(t testing.TB, dir string) *os.Root {
	t.Helper()
	r, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestManifestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	m := &Manifest{Schema: 1, Run: "r", Variant: Lite, Files: []ManifestFile{
		{Path: "a <b>.xml", Bytes: 3, SHA256: sha("abc"), MediaType: "application/xml", Step: "6-pytest"},
		{Path: "x/y", Problem: "no step has recorded it"},
	}}
	var b bytes.Buffer
	require.NoError(t, m.Encode(&b))
	assert.Contains(t, b.String(), `"path": "a <b>.xml"`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, ManifestName), b.Bytes(), 0o600))
	got, err := ReadManifest(root(t, dir))
	require.NoError(t, err)
	assert.Equal(t, m, got)
}

func TestReadManifestRefusesWhatIsNotOurs(t *testing.T) {
	for name, text := range map[string]string{
		"a web app's":      `{"name":"app","icons":[]}`,
		"another schema":   `{"schema":9,"run":"r","variant":"lite","files":[]}`,
		"no run":           `{"schema":1,"variant":"lite","files":[]}`,
		"no JSON":          `x`,
		"empty":            ``,
		"an unknown field": `{"schema":1,"run":"r","variant":"lite","files":[],"more":1}`,
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, ManifestName), []byte(text), 0o600))
		_, err := ReadManifest(root(t, dir))
		assert.Error(t, err, name)
	}
	_, err := ReadManifest(root(t, t.TempDir()))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestSumsAreThoseOfCoreutils compares the lines with those that sha256sum writes,
// and lets it check them.
func TestSumsAreThoseOfCoreutils(t *testing.T) {
	dir := t.TempDir()
	names := []string{"plain.xml", "with space", "ünï.html", `back\slash`, "new\nline", "carriage\rreturn", `\n`, "*star", " leading", "x/y.log", "-dash"}
	m := &Manifest{Schema: 1, Run: "r"}
	for _, name := range names {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(name), 0o600))
		m.Files = append(m.Files, ManifestFile{Path: name, SHA256: sha(name)})
	}
	var manifest, sums bytes.Buffer
	require.NoError(t, m.Encode(&manifest))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ManifestName), manifest.Bytes(), 0o600))
	require.NoError(t, m.Sums(&sums, sha(manifest.String())))

	theirs := exec.Command("sha256sum", append([]string{"--", ManifestName}, names...)...)
	theirs.Dir = dir
	want, err := theirs.Output()
	require.NoError(t, err)
	assert.Equal(t, string(want), sums.String())

	require.NoError(t, os.WriteFile(filepath.Join(dir, SumsName), sums.Bytes(), 0o600))
	check := exec.Command("sha256sum", "--strict", "-c", SumsName)
	check.Dir = dir
	out, err := check.CombinedOutput()
	assert.NoError(t, err, string(out))
	assert.Equal(t, len(names)+1, strings.Count(string(out), ": OK\n"))
}

func TestListsKnowsOnlyWhatWasPublished(t *testing.T) {
	m := &Manifest{Files: []ManifestFile{{Path: "a.xml"}, {Path: "d/e/f"}}}
	for _, name := range []string{".", "a.xml", "d", "d/e", "d/e/f", ManifestName, SumsName, "STEP_SUMMARY.md", "STEP_SUMMARY_LITE.md"} {
		assert.True(t, m.lists(name), name)
	}
	for _, name := range []string{"b", "d/e/f/g", "d/x", "a", "d/" + ManifestName, "x"} {
		assert.False(t, m.lists(name), name)
	}
}
