package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCredentialsInURLsAreHidden(t *testing.T) {
	p := newProcess([]string{"--x=https://ghp_0123456789abcdef:x-oauth@h/r", "http://git:p%61ss%2Fword@h"}, []string{"STEP_RUNNER_CLONE_URL=https://u:from-env@h/"}, io.Discard, io.Discard)
	for text, hidden := range map[string]string{
		"ghp_0123456789abcdef": "***",
		"x-oauth":              "***",
		"p%61ss%2Fword":        "***",
		"pass/word":            "***",
		"from-env":             "***",
		"git clone":            "git clone",
	} {
		assert.Equal(t, hidden, p.env.Secrets.String(text))
	}
}

func TestTokenFilesAreHidden(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(file, []byte("token-in-a-file\n"), 0o600))
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"clone", "--token-file", file, "--workspace", dir, "--run", "token-in-a-file/x", "--json"}, nil, &out, &errs)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs.String(), `run "***/x"`)
	assert.NotContains(t, out.String()+errs.String(), "token-in-a-file")
}

// What children are given is hidden, and they are given it all the same.
func TestGivenSecretsAreHidden(t *testing.T) {
	p := newProcess(
		[]string{"run", "--papermill-env", "nb.ipynb:A_TOKEN=an-argument-1", "--pytest-env=DB_PASSWORD=one-more-2", "--papermill-env", "PLAIN=plain-3", "--env"},
		[]string{"HF_TOKEN=hf_0123456789", "PIP_INDEX_URL=https://me:index-pass-4@h/simple", "POSTGRES_PASSWORD=postgres", "PATH=/bin"}, io.Discard, io.Discard)
	for text, hidden := range map[string]string{
		"an-argument-1": "***", "one-more-2": "***", "hf_0123456789": "***", "index-pass-4": "***",
		"plain-3": "plain-3", "postgres": "postgres", "/bin": "/bin",
	} {
		assert.Equal(t, hidden, p.env.Secrets.String(text))
		assert.False(t, p.env.Secrets.Withheld([]byte(text)), text)
	}
}
