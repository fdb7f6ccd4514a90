package artifacts

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
)

// mask is a Redactor with one secret.
type mask string

func (m mask) Writer(w io.Writer) io.WriteCloser { return &masked{m: m, w: w} }

type masked struct {
	m mask
	w io.Writer
	b strings.Builder
}

func (m *masked) Write(p []byte) (int, error) { return m.b.Write(p) }

func (m *masked) Close() error {
	text := m.b.String()
	if m.m != "" {
		text = strings.ReplaceAll(text, string(m.m), "***")
	}
	_, err := io.WriteString(m.w, text)
	return err
}

func TestListDoesNotFollowLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", "")
	write(t, dir+"/d/e/f", "")
	require.NoError(t, os.Symlink("/etc", dir+"/d/etc"))
	require.NoError(t, os.Symlink("a", dir+"/link"))
	require.NoError(t, unix.Mkfifo(dir+"/pipe", 0o600))
	files, refused, err := List(root(t, dir))
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "d/e/f"}, files)
	assert.Equal(t, []string{"d/etc", "link", "pipe"}, refused)
}

func TestReadArtifact(t *testing.T) {
	dir := t.TempDir()
	big := "<!DOCTYPE html><html>" + strings.Repeat("0123456789", 200_000) + "</html>"
	write(t, dir+"/d/p.html", big)
	write(t, dir+"/broken.xml", "<a>"+big)
	var copied strings.Builder
	a, err := ReadArtifact(t.Context(), root(t, dir), "d/p.html", mask(""), &copied)
	require.NoError(t, err)
	assert.Equal(t, Artifact{Name: "d/p.html", Bytes: int64(len(big)), SHA256: sha(big), MediaType: "text/html", Form: FormPage}, a)
	assert.Equal(t, big, copied.String())

	copied.Reset()
	a, err = ReadArtifact(t.Context(), root(t, dir), "broken.xml", mask(""), &copied)
	require.NoError(t, err)
	assert.Error(t, a.Problem)
	assert.Equal(t, sha("<a>"+big), a.SHA256, "it is read to its end although the check gave up early")
	assert.Equal(t, "<a>"+big, copied.String())
}

func TestReadArtifactFindsSecrets(t *testing.T) {
	secrets := mask("ghp_0123456789abcdef")
	for name, text := range map[string]string{
		"plain":               "x ghp_0123456789abcdef y",
		"at the very end":     "x ghp_0123456789abcdef",
		"over many reads":     strings.Repeat("-", 256<<10-7) + "ghp_0123456789abcdef" + strings.Repeat("-", 1<<20),
		"several, one is due": strings.Repeat("*** ", 1000) + "ghp_0123456789abcdef",
	} {
		dir := t.TempDir()
		write(t, dir+"/f", text)
		a, err := ReadArtifact(t.Context(), root(t, dir), "f", secrets, io.Discard)
		require.NoError(t, err)
		assert.True(t, a.Leaked, name)
	}
	dir := t.TempDir()
	write(t, dir+"/f", "x ghp_012345 *** ghq_0123456789abcdef")
	a, err := ReadArtifact(t.Context(), root(t, dir), "f", secrets, io.Discard)
	require.NoError(t, err)
	assert.False(t, a.Leaked)
}

func TestReadArtifactRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", "x")
	outside := filepath.Join(t.TempDir(), "secret")
	write(t, outside, "secret")
	require.NoError(t, os.Symlink("a", dir+"/inner"))
	require.NoError(t, os.Symlink(outside, dir+"/outer"))
	require.NoError(t, unix.Mkfifo(dir+"/pipe", 0o600))
	require.NoError(t, os.Mkdir(dir+"/d", 0o755))
	for _, name := range []string{"inner", "outer", "pipe", "d", "gone", "../" + filepath.Base(dir) + "/a"} {
		_, err := ReadArtifact(t.Context(), root(t, dir), name, mask(""), io.Discard)
		assert.Error(t, err, name)
	}
}

func TestReadArtifactEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.xml", "<a/>")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(record.BySignal(syscall.SIGTERM))
	_, err := ReadArtifact(ctx, root(t, dir), "a.xml", mask(""), io.Discard)
	assert.Equal(t, 143, record.ExitCode(err))
}
