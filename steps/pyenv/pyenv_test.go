package pyenv

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/steptest"
)

// lab is a workspace with real installers and a package index of its own.
type lab struct {
	*Builder
	t      *testing.T
	python string
	url    string
	out    *steptest.Buffer
	argvs  []string
}

// newLab offers the wheels, and the tools of the test environment in PATH.
func newLab(t *testing.T, wheels []wheel, environ ...string) *lab {
	t.Helper()
	t.Parallel()
	w, err := artifacts.OpenWorkspace(filepath.Join(t.TempDir(), "ws"))
	require.NoError(t, err)
	python := steptest.Python(t)
	l := &lab{t: t, python: python, url: index(t, wheels...), out: &steptest.Buffer{}}
	l.Builder = &Builder{
		Workspace: w, Out: l.out, Log: slog.New(slog.NewTextHandler(l.out, nil)), Kind: record.TestEnvFailed,
		Environ: append([]string{"HOME=" + t.TempDir(), "LANG=C.UTF-8", "PATH=" + filepath.Dir(python) + ":/usr/bin:/bin", "PIP_INDEX_URL=" + l.url, "PIP_RETRIES=0"}, environ...),
		Run: func(ctx context.Context, s child.Spec) (child.Result, error) {
			l.argvs = append(l.argvs, strings.Join(s.Argv, " "))
			return child.Exec{}.Run(ctx, s)
		},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.out.String())
		}
	})
	return l
}

// ran counts the programs that were run whose command line holds text.
func (l *lab) ran(text string) int {
	n := 0
	for _, argv := range l.argvs {
		if strings.Contains(argv, text) {
			n++
		}
	}
	return n
}

// project writes files, by name, into a new directory and loads it.
func project(t *testing.T, files map[string]string) *Project {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	return load(t, dir)
}

func load(t *testing.T, dir string) *Project {
	t.Helper()
	p, err := LoadProject(dir, record.TestEnvFailed)
	require.NoError(t, err)
	return p
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
}

// env builds the environment of p's tests.
func (l *lab) tests(p *Project, change ...func(*Tests)) (*Venv, []string, error) {
	l.t.Helper()
	spec := Tests{Python: l.python, Project: p, Installer: "auto", Plugins: []string{"pytest-cov"}}
	for _, c := range change {
		c(&spec)
	}
	v, fallbacks, err := l.Tests(l.t.Context(), spec)
	if v != nil {
		l.t.Cleanup(v.Close)
	}
	return v, fallbacks, err
}

func by(installer string) func(*Tests) { return func(t *Tests) { t.Installer = installer } }

// says runs Python code in the environment, with the editable packages laid down
// for the project in root.
func (l *lab) says(v *Venv, root, code string) string {
	l.t.Helper()
	site := l.t.TempDir()
	require.NoError(l.t, v.Site(root, site))
	return l.printed(root, append(l.env(v.Dir), SiteVar+"="+site), v.Python, "-c", code)
}

func (l *lab) printed(dir string, env []string, argv ...string) string {
	l.t.Helper()
	var out limited
	res, err := child.Exec{}.Run(l.t.Context(), child.Spec{Argv: argv, Dir: dir, Env: env, Out: &out})
	require.NoError(l.t, err)
	require.Zero(l.t, res.ExitCode, out.String())
	return strings.TrimSpace(out.String())
}
