package pyenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// poetryProject is a Poetry project whose packages come from the index at url.
func poetryProject(url, text string) string {
	return "[tool.poetry]\npackage-mode = false\n[[tool.poetry.source]]\nname = \"index\"\nurl = \"" + url + "\"\npriority = \"primary\"\n" +
		"[tool.poetry.dependencies]\npython = \">=3.9,<4.0\"\n" + text
}

func TestPoetryInstallsWithGroupsAndInPlace(t *testing.T) {
	l := newLab(t, usual)
	files := subPackage(map[string]string{"pyproject.toml": poetryProject(l.url, `
alpha = "^1.0"
sub = { path = "sub", develop = true }
[tool.poetry.group.test.dependencies]
pytest = "<9"
[tool.poetry.group.docs]
optional = true
[tool.poetry.group.docs.dependencies]
gamma = "*"
`)})
	p := project(t, files)
	v, fallbacks, err := l.tests(p)
	require.NoError(t, err)
	assert.Empty(t, fallbacks)
	assert.Equal(t, "poetry", v.Installer)
	assert.False(t, v.Cached)
	assert.Equal(t, "1.2", v.Versions["alpha"])
	assert.Equal(t, "8.0", v.Versions["pytest"], "a group that is not optional is installed")
	assert.NotContains(t, v.Versions, "gamma", "the optional group is not")
	assert.Equal(t, "7.0", v.Versions["pytest-cov"], "the project has not got it")
	assert.Equal(t, p.Dir+"/sub/src/sub.py", l.says(v, p.Dir, "import sub; print(sub.where())"))

	again := project(t, files)
	write(t, again.Dir, map[string]string{"sub/src/sub.py": "def where(): return 'changed'\n"})
	w, _, err := l.tests(again)
	require.NoError(t, err)
	assert.True(t, w.Cached, "the code of an editable package is not in the environment")
	assert.Equal(t, v.Dir, w.Dir)
	assert.Equal(t, "changed", l.says(w, again.Dir, "import sub; print(sub.where())"), "each run tests its own copy")
	assert.Equal(t, "1.0", l.says(w, again.Dir, "from importlib.metadata import version; print(version('sub'))"))
	assert.NotContains(t, l.says(w, again.Dir, "import sys; print(sys.path)"), p.Dir)

	docs, _, err := l.tests(again, func(t *Tests) { t.Groups = []string{"docs"} })
	require.NoError(t, err)
	assert.NotEqual(t, v.Dir, docs.Dir)
	assert.Contains(t, docs.Versions, "gamma")
}

// fakeTool puts a program called name first in PATH of a new directory.
func fakeTool(t *testing.T, name, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755))
	return dir
}

// withoutPoetry is the lab's interpreter without Poetry beside it, and uv in PATH.
func (l *lab) withoutPoetry(dirs ...string) {
	l.t.Helper()
	in, err := l.inspect(l.t.Context(), l.python)
	require.NoError(l.t, err)
	bin := l.t.TempDir()
	require.NoError(l.t, os.Symlink(filepath.Join(filepath.Dir(l.python), "uv"), filepath.Join(bin, "uv")))
	// A directory of its own: the one of the real interpreter may hold a Poetry.
	require.NoError(l.t, os.Symlink(in.Base, filepath.Join(bin, "python")))
	l.python = filepath.Join(bin, "python")
	l.Environ = append(l.Environ, "PATH="+strings.Join(append(dirs, bin, "/usr/bin", "/bin"), ":"))
}

// traceback is how a Poetry ends whose own packages are broken.
const traceback = `echo 'Traceback (most recent call last):' >&2; echo "ModuleNotFoundError: No module named 'cleo'" >&2; exit 1`

func TestPoetryMissing(t *testing.T) {
	l := newLab(t, usual)
	l.withoutPoetry()
	p := project(t, map[string]string{"pyproject.toml": poetryProject(l.url, "alpha = \"^1.0\"\n")})
	v, fallbacks, err := l.tests(p)
	require.NoError(t, err)
	assert.Equal(t, "uv", v.Installer)
	assert.Equal(t, "1.2", v.Versions["alpha"])
	require.Len(t, fallbacks, 2, "%q", fallbacks)
	assert.Contains(t, fallbacks[0], "poetry: not found")
	assert.Contains(t, fallbacks[1], "Poetry 2.5.1 could not be installed: uv pip install exited 1")
	assert.Equal(t, 1, l.ran("poetry==2.5.1"), "it was tried to install one")
}

func TestPoetryBroken(t *testing.T) {
	l := newLab(t, usual)
	l.withoutPoetry(fakeTool(t, "poetry", traceback))
	p := project(t, map[string]string{"pyproject.toml": poetryProject(l.url, "alpha = \"^1.0\"\n")})
	v, fallbacks, err := l.tests(p)
	require.NoError(t, err)
	assert.Equal(t, "uv", v.Installer)
	require.NotEmpty(t, fallbacks)
	assert.Contains(t, fallbacks[0], "No module named 'cleo'")

	_, _, err = l.tests(p, by("poetry"))
	assert.ErrorContains(t, err, "Poetry 2.5.1 could not be installed", "asked for by name, nothing else is tried")
}

func TestPoetryFailsWhileItInstalls(t *testing.T) {
	l := newLab(t, usual)
	l.withoutPoetry(fakeTool(t, "poetry", `case "$*" in
--version) echo 'Poetry (version 2.5.1)';;
*info*) echo "$VIRTUAL_ENV";;
*) `+traceback+`;;
esac`))
	p := project(t, map[string]string{"pyproject.toml": poetryProject(l.url, "alpha = \"^1.0\"\n")})
	v, fallbacks, err := l.tests(p)
	require.NoError(t, err)
	assert.Equal(t, "uv", v.Installer)
	require.Len(t, fallbacks, 1)
	assert.Contains(t, fallbacks[0], "poetry install exited 1: ModuleNotFoundError")
}

func TestPoetryThatAimsElsewhere(t *testing.T) {
	l := newLab(t, usual)
	l.withoutPoetry(fakeTool(t, "poetry", `case "$*" in
--version) echo 'Poetry (version 2.5.1)';;
*info*) echo /usr;;
esac`))
	p := project(t, map[string]string{"pyproject.toml": poetryProject(l.url, "alpha = \"^1.0\"\n")})
	_, fallbacks, err := l.tests(p)
	require.NoError(t, err)
	assert.Contains(t, fallbacks[0], "would install into /usr")
	assert.Zero(t, l.ran("--no-root"))
}

// Conda activates its base environment, and a project can tell Poetry to make no
// environment: both make Poetry install into the image's Python.
func TestPoetryUnderConda(t *testing.T) {
	l := newLab(t, usual, "CONDA_DEFAULT_ENV=base", "CONDA_PREFIX=/opt/conda", "POETRY_VIRTUALENVS_CREATE=false")
	p := project(t, map[string]string{
		"pyproject.toml": poetryProject(l.url, "alpha = \"^1.0\"\n"),
		"poetry.toml":    "[virtualenvs]\ncreate = false\n",
	})
	v, fallbacks, err := l.tests(p)
	require.NoError(t, err)
	assert.Empty(t, fallbacks)
	assert.Equal(t, "1.2", v.Versions["alpha"])
}
