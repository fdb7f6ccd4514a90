package pyenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/steptest"
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

// bare makes the lab's interpreter one that has no packages, and PATH one that has
// only dirs.
func (l *lab) bare(dirs ...string) {
	l.t.Helper()
	v, err := l.Builder.Tools(l.t.Context(), "bare", Tools{Python: l.python, Requirements: []string{"alpha"}})
	require.NoError(l.t, err)
	l.t.Cleanup(v.Close)
	l.python, l.argvs = v.Python, nil
	l.Environ = append(l.Environ, "PATH="+strings.Join(dirs, ":"))
}

// uvOnly is a directory of programs that holds uv.
func uvOnly(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(filepath.Dir(steptest.Python(t)), "uv"), filepath.Join(bin, "uv")))
	return bin
}

// traceback is how a Poetry ends whose own packages are broken.
const traceback = `echo 'Traceback (most recent call last):' >&2; echo "ModuleNotFoundError: No module named 'cleo'" >&2; exit 1`

func TestPoetryMissing(t *testing.T) {
	l := newLab(t, usual)
	l.bare(uvOnly(t))
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
	l.bare(uvOnly(t), fakeTool(t, "poetry", traceback))
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
	l.bare(uvOnly(t), fakeTool(t, "poetry", `case "$*" in
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
	l.bare(uvOnly(t), fakeTool(t, "poetry", `case "$*" in
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

// Each of these backends points to a package in another way: a path, a module
// that finds it, and a path from another place.
func TestRealBackends(t *testing.T) {
	l := newLab(t, nil)
	shared := filepath.Join(steptest.Root(t), ".cache", "test-downloads", "uv")
	require.NoError(t, os.MkdirAll(shared, 0o755))
	require.NoError(t, os.Symlink(shared, l.Workspace.Path("cache", "uv")))
	l.Environ = append(os.Environ(), "PATH="+uvOnly(t)+":/usr/bin:/bin")
	head := func(name, requires, backend string) string {
		return "[project]\nname = \"" + name + "\"\nversion = \"1.0\"\n[build-system]\nrequires = [\"" + requires + "\"]\nbuild-backend = \"" + backend + "\"\n"
	}
	files := map[string]string{
		"pyproject.toml": head("root", "hatchling", "hatchling.build") + `[tool.uv.sources]
by-poetry = { path = "libs/a", editable = true }
by-setuptools = { path = "libs/b", editable = true }
[dependency-groups]
dev = ["by-poetry", "by-setuptools"]
`,
		"src/root/__init__.py":             "import by_poetry, by_setuptools\nplaces = [by_poetry.__file__, by_setuptools.__file__, __file__]\n",
		"libs/a/pyproject.toml":            head("by-poetry", "poetry-core", "poetry.core.masonry.api"),
		"libs/a/src/by_poetry/__init__.py": "",
		"libs/b/pyproject.toml":            head("by-setuptools", "setuptools>=77", "setuptools.build_meta"),
		"libs/b/by_setuptools/__init__.py": "",
	}
	first := filepath.Join(t.TempDir(), "first copy")
	write(t, first, files)
	p := load(t, first)
	v, _, err := l.tests(p, by("uv"), func(t *Tests) { t.Plugins = nil })
	require.NoError(t, err)
	assert.Empty(t, v.Notes)
	for _, dir := range []string{"first copy", "second ünd copy", "third"} {
		copy := filepath.Join(t.TempDir(), dir)
		write(t, copy, files)
		w, _, err := l.tests(load(t, copy), by("uv"), func(t *Tests) { t.Plugins = nil })
		require.NoError(t, err)
		assert.True(t, w.Cached)
		places := l.says(w, copy, "import root; print(*root.places, sep='|')")
		assert.Equal(t, 3, strings.Count(places, copy+"/"), places)
	}
	require.NoError(t, os.RemoveAll(first))
	left, err := os.ReadDir(filepath.Dir(filepath.Dir(l.says(v, t.TempDir(), "import pytest; print(pytest.__file__)"))))
	require.NoError(t, err)
	for _, e := range left {
		assert.NotContains(t, e.Name(), "__editable__")
	}
}

func TestRootThatCannotBeInstalled(t *testing.T) {
	l := newLab(t, usual)
	v, _, err := l.tests(project(t, map[string]string{"pyproject.toml": pep621 + "dependencies = [\"alpha\"]\n[build-system]\nrequires = []\nbuild-backend = \"gone\"\n"}))
	require.NoError(t, err)
	assert.Contains(t, v.Versions, "alpha")
	require.Len(t, v.Notes, 1)
	assert.Contains(t, v.Notes[0], "could not be installed as a package")

	_, _, err = l.tests(project(t, map[string]string{"pyproject.toml": pep621 + "dynamic = [\"dependencies\"]\n[build-system]\nrequires = []\nbuild-backend = \"gone\"\n"}))
	assert.Error(t, err, "only its build knows what it needs")
}

func TestRequirementsFiles(t *testing.T) {
	l := newLab(t, usual)
	files := subPackage(map[string]string{"requirements.txt": "alpha\n-e ./sub\n-c limits/c.txt\n", "limits/c.txt": "alpha<1.1\n", "requirements-dev.txt": "gamma\n"})
	p := project(t, files)
	v, _, err := l.tests(p)
	require.NoError(t, err)
	assert.Equal(t, "1.0", v.Versions["alpha"])
	assert.Contains(t, v.Versions, "gamma")
	assert.Equal(t, p.Dir+"/sub/src/sub.py", l.says(v, p.Dir, "import sub; print(sub.where())"))
	files["limits/c.txt"] = "alpha>1.1\n"
	w, _, err := l.tests(project(t, files))
	require.NoError(t, err)
	assert.NotEqual(t, v.Dir, w.Dir, "files that others refer to count too")
	files["requirements.txt"] = "./sub\n"
	x, _, err := l.tests(project(t, files))
	require.NoError(t, err)
	assert.Contains(t, x.Versions, "sub", "not in place: its code is in the environment")
	files["sub/src/sub.py"] = "def where(): return 'changed'\n"
	y, _, err := l.tests(project(t, files))
	require.NoError(t, err)
	assert.NotEqual(t, x.Dir, y.Dir, "so its code counts")
	assert.Equal(t, "changed", l.says(y, t.TempDir(), "import sub; print(sub.where())"))
}

// The lock pins what uv and pip install too, when Poetry cannot.
func TestLockHoldsWithoutPoetry(t *testing.T) {
	l := newLab(t, usual)
	l.bare(uvOnly(t))
	files := map[string]string{
		"pyproject.toml": poetryProject(l.url, "alpha = \"^1.0\"\n"),
		"poetry.lock":    "[[package]]\nname = \"alpha\"\nversion = \"1.0\"\n",
	}
	v, _, err := l.tests(project(t, files), by("uv"))
	require.NoError(t, err)
	assert.Equal(t, "1.0", v.Versions["alpha"])
	files["poetry.lock"] = "[[package]]\nname = \"alpha\"\nversion = \"2.0\"\n"
	_, _, err = l.tests(project(t, files), by("uv"))
	assert.ErrorContains(t, err, "uv pip install exited 1", "a lock that contradicts its project")
}

func TestUnknownGroupIsNoFallback(t *testing.T) {
	l := newLab(t, usual)
	_, fallbacks, err := l.tests(project(t, map[string]string{"pyproject.toml": poetryProject(l.url, "")}), func(t *Tests) { t.Groups = []string{"docs"} })
	require.ErrorContains(t, err, "no dependency group")
	assert.Equal(t, record.BadInput, record.AsFailure(err).Kind)
	assert.Empty(t, fallbacks)
	assert.Zero(t, l.ran("install"))
}

func TestPythonThatDoesNotFit(t *testing.T) {
	l := newLab(t, usual)
	_, _, err := l.tests(project(t, map[string]string{"pyproject.toml": pep621 + "requires-python = \">=3.99\"\n"}))
	require.ErrorContains(t, err, "the tests need Python >=3.99")
	f := record.AsFailure(err)
	assert.Equal(t, record.TestEnvFailed, f.Kind)
	assert.Contains(t, f.Hint, "--python")
}

// What the environment of step-runner's process holds must not get into that of
// the tests, nor the installers' work into another.
func TestForeignVariables(t *testing.T) {
	away := t.TempDir()
	l := newLab(t, usual, "PYTHONPATH="+away, "PIP_TARGET="+away, "PIP_USER=1", "UV_SYSTEM_PYTHON=1", "VIRTUAL_ENV="+away, "PYTHONHOME="+away, "UV_PROJECT_ENVIRONMENT="+away)
	require.NoError(t, os.WriteFile(filepath.Join(away, "alpha.py"), []byte("version = 'foreign'\n"), 0o644))
	v, _, err := l.tests(plain(t))
	require.NoError(t, err)
	site := t.TempDir()
	require.NoError(t, v.Site(t.TempDir(), site))
	env := v.Environ(l.Environ, site)
	assert.Equal(t, "1.0", l.printed(site, env, v.Python, "-c", "import alpha; print(alpha.version)"))
	assert.Equal(t, v.Python, l.printed(site, env, "python", "-c", "import sys; print(sys.executable)"))
	entries, err := os.ReadDir(away)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestExisting(t *testing.T) {
	l := newLab(t, usual)
	v, err := l.Existing(t.Context(), l.python, []string{"pytest-cov", "pytest-nowhere"})
	require.NoError(t, err)
	defer v.Close()
	assert.Equal(t, "none", v.Installer)
	assert.NotContains(t, v.Lacking, "pytest-cov")
	assert.Contains(t, v.Lacking, "pytest-nowhere")
	l.bare()
	_, err = l.Existing(t.Context(), l.python, nil)
	assert.Equal(t, record.MissingTool, record.AsFailure(err).Kind)
}
