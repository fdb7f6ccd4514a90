package steps

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/redact"
	"github.com/step-runner/step-runner/steps/steptest"
)

// TestEnv is an Env with a workspace and a run of its own, real children, and
// the test tools first in PATH. Tests inside and outside this package use it.
type TestEnv struct {
	*Env
	// Out and Err are what went to stdout and to the console.
	Out, Err *steptest.Buffer
}

// NewTestEnv makes a TestEnv of the lite variant. Extra variables are NAME=VALUE.
func NewTestEnv(t testing.TB, environ ...string) *TestEnv {
	t.Helper()
	w, err := artifacts.OpenWorkspace(filepath.Join(t.TempDir(), "workspace"))
	require.NoError(t, err)
	r, err := w.OpenRun("test")
	require.NoError(t, err)
	out, console := &steptest.Buffer{}, &steptest.Buffer{}
	secrets := &redact.Set{}
	c := NewConsole(secrets.Writer(console), false, false)
	path := filepath.Dir(steptest.Python(t)) + ":" + os.Getenv("PATH")
	return &TestEnv{Out: out, Err: console, Env: &Env{
		Stdout: out, Console: c, Log: slog.New(slog.NewTextHandler(c, nil)), Secrets: secrets, Runner: child.Exec{},
		Now: time.Now, Argv: []string{"step-runner"}, Version: "test", Variant: artifacts.Lite, Workspace: w, Run: r,
		Environ: append([]string{"PATH=" + path, "HOME=" + t.TempDir(), "LANG=C.UTF-8"}, environ...),
	}}
}
