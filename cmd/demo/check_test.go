package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
)

func TestCheckSums(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	_, err := checkSums(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	write("SHA256SUMS", "")
	_, err = checkSums(dir)
	require.ErrorContains(t, err, "empty")

	write("a", "one")
	f, err := artifacts.Digest(filepath.Join(dir, "a"))
	require.NoError(t, err)
	write("SHA256SUMS", fmt.Sprintf("%s  a\n", f.SHA256))
	n, err := checkSums(dir)
	require.NoError(t, err)
	require.Equal(t, 1, n)

	write("a", "two")
	_, err = checkSums(dir)
	require.ErrorContains(t, err, "a does not match")
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	for variant, summary := range map[artifacts.Variant]string{artifacts.Lite: "STEP_SUMMARY_LITE.md", artifacts.Original: "STEP_SUMMARY.md"} {
		d := demo{workspace: t.TempDir(), token: newToken(), variant: variant, data: &data{}}
		err := d.check(os.Stderr)
		require.ErrorContains(t, err, summary)
		for _, name := range d.published() {
			require.ErrorContains(t, err, name)
		}
	}
}
