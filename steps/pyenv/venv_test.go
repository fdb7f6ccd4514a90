package pyenv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
)

// plain is a project that needs one package.
func plain(t *testing.T) *Project {
	t.Helper()
	return project(t, map[string]string{"pyproject.toml": pep621 + "dependencies = [\"alpha==1.0\"]\n"})
}

func TestEnvironmentIsBuiltOnce(t *testing.T) {
	l := newLab(t, usual)
	v, fallbacks, err := l.tests(plain(t))
	require.NoError(t, err)
	assert.Empty(t, fallbacks)
	assert.Equal(t, "uv", v.Installer)
	assert.Equal(t, "1.0", v.Versions["alpha"])
	assert.Equal(t, "9.0", v.Versions["pytest"])
	assert.True(t, strings.HasPrefix(v.Dir, l.Workspace.Path("venvs", "tests-")))
	installs := l.ran("pip install")
	w, _, err := l.tests(plain(t))
	require.NoError(t, err)
	assert.True(t, w.Cached)
	assert.Equal(t, v.Dir, w.Dir)
	assert.Equal(t, installs, l.ran("pip install"))
	downloads, err := os.ReadDir(l.Workspace.Path("cache", "uv"))
	require.NoError(t, err)
	assert.NotEmpty(t, downloads, "downloads are kept in the workspace")
}

// What is half-built, broken or changed is built anew, and never used.
func TestEnvironmentThatIsNotWhole(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, l *lab, v *Venv){
		"killed while it was built": func(t *testing.T, l *lab, v *Venv) {
			require.NoError(t, os.Remove(filepath.Join(v.Dir, markerName)))
			require.NoError(t, os.WriteFile(filepath.Join(v.Dir, "left over"), nil, 0o600))
		},
		"marker cut off": func(t *testing.T, l *lab, v *Venv) {
			require.NoError(t, os.Truncate(filepath.Join(v.Dir, markerName), 20))
		},
		"marker of another recipe": func(t *testing.T, l *lab, v *Venv) {
			mark := filepath.Join(v.Dir, markerName)
			text, err := os.ReadFile(mark)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(mark, []byte(strings.Replace(string(text), `"key": "`, `"key": "0`, 1)), 0o600))
		},
		"interpreter gone": func(t *testing.T, l *lab, v *Venv) {
			require.NoError(t, os.Remove(v.Python))
			require.NoError(t, os.Symlink("/nonexistent/python", v.Python))
		},
		"package removed": func(t *testing.T, l *lab, v *Venv) {
			l.printed(l.Workspace.Dir, l.env(v.Dir), filepath.Join(filepath.Dir(l.python), "uv"), "pip", "uninstall", "alpha")
		},
		"package installed by a test": func(t *testing.T, l *lab, v *Venv) {
			l.printed(l.Workspace.Dir, l.env(v.Dir), filepath.Join(filepath.Dir(l.python), "uv"), "pip", "install", "gamma")
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, usual)
			v, _, err := l.tests(plain(t))
			require.NoError(t, err)
			v.Close()
			harm(t, l, v)
			w, _, err := l.tests(plain(t))
			require.NoError(t, err)
			assert.False(t, w.Cached)
			assert.Equal(t, v.Dir, w.Dir)
			assert.Equal(t, v.Versions, w.Versions)
			assert.NoFileExists(t, filepath.Join(w.Dir, "left over"))
			assert.Equal(t, "1.0", l.says(w, t.TempDir(), "import alpha; print(alpha.version)"))
		})
	}
}

func TestEnvironmentOfOtherThings(t *testing.T) {
	l := newLab(t, usual)
	files := map[string]string{"pyproject.toml": pep621 + "dependencies = [\"alpha\"]\n[dependency-groups]\nmore = [\"gamma\"]\n", "test_a.py": ""}
	first, _, err := l.tests(project(t, files))
	require.NoError(t, err)
	for name, change := range map[string]func(files map[string]string, spec *Tests){
		"pyproject": func(files map[string]string, _ *Tests) { files["pyproject.toml"] += "# changed\n" },
		"lock": func(files map[string]string, _ *Tests) {
			files["pylock.toml"] = "[[packages]]\nname = 'alpha'\nversion = '1.0'\n"
		},
		"group":   func(_ map[string]string, spec *Tests) { spec.Groups = []string{"more"} },
		"plugins": func(_ map[string]string, spec *Tests) { spec.Plugins = nil },
	} {
		t.Run(name, func(t *testing.T) {
			changed := map[string]string{}
			for k, v := range files {
				changed[k] = v
			}
			spec := Tests{Installer: "auto", Python: l.python, Plugins: []string{"pytest-cov"}}
			change(changed, &spec)
			spec.Project = project(t, changed)
			v, _, err := l.Tests(t.Context(), spec)
			require.NoError(t, err)
			defer v.Close()
			assert.NotEqual(t, first.Dir, v.Dir)
			if name == "lock" {
				assert.Equal(t, "1.0", v.Versions["alpha"])
			}
		})
	}
	files["test_a.py"] = "changed"
	same, _, err := l.tests(project(t, files))
	require.NoError(t, err)
	assert.Equal(t, first.Dir, same.Dir, "tests do not go into the environment")
	l.Environ = append(l.Environ, "UV_INDEX_STRATEGY=unsafe-best-match")
	other, _, err := l.tests(project(t, files))
	require.NoError(t, err)
	assert.NotEqual(t, first.Dir, other.Dir, "settings of the installers do")
}

// Two runs at once: one builds, both use it.
func TestTwoAtOnce(t *testing.T) {
	l := newLab(t, usual)
	p := plain(t)
	vs := make([]*Venv, 3)
	var g errgroup.Group
	builders := make([]Builder, len(vs))
	for i := range vs {
		builders[i] = *l.Builder
		builders[i].Run = child.Exec{}.Run
		g.Go(func() (err error) {
			vs[i], _, err = builders[i].Tests(t.Context(), Tests{Python: l.python, Project: p, Installer: "uv", Plugins: []string{"pytest-cov"}})
			return err
		})
	}
	require.NoError(t, g.Wait())
	built := 0
	for _, v := range vs {
		if !v.Cached {
			built++
		}
		assert.Equal(t, vs[0].Dir, v.Dir)
		assert.Equal(t, "1.0", v.Versions["alpha"])
	}
	assert.Equal(t, 1, built)

	// While they are held, nobody can take the place of the environment.
	path := l.Workspace.Path("locks", "venv-"+filepath.Base(vs[0].Dir))
	other, err := take(t.Context(), path, unix.LOCK_SH, nil)
	require.NoError(t, err)
	assert.False(t, other.try())
	other.release()
	for _, v := range vs {
		v.Close()
	}
	other, err = take(t.Context(), path, unix.LOCK_EX, nil)
	require.NoError(t, err)
	other.release()
}

func TestWaitingEndsWithTheRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := take(t.Context(), path, unix.LOCK_EX, nil)
	require.NoError(t, err)
	defer held.release()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("stopped")
	_, err = take(ctx, path, unix.LOCK_SH, func() { cancel(why) })
	assert.ErrorIs(t, err, why)
}

// A run that is told to stop leaves a half-built environment; the next one
// builds it anew.
func TestStoppedWhileItBuilds(t *testing.T) {
	l := newLab(t, usual)
	ctx, cancel := context.WithCancelCause(t.Context())
	run := l.Run
	l.Run = func(c context.Context, s child.Spec) (child.Result, error) {
		res, err := run(c, s)
		if strings.Contains(strings.Join(s.Argv, " "), " venv ") {
			cancel(record.BySignal(unix.SIGTERM))
		}
		return res, err
	}
	_, _, err := l.Tests(ctx, Tests{Python: l.python, Project: plain(t), Installer: "auto"})
	require.Error(t, err)
	assert.Equal(t, record.Signaled, record.AsFailure(err).Kind)
	left, _ := filepath.Glob(l.Workspace.Path("venvs", "tests-*", "bin", "python"))
	require.Len(t, left, 1)
	l.Run = run
	v, _, err := l.Tests(t.Context(), Tests{Python: l.python, Project: plain(t), Installer: "auto"})
	require.NoError(t, err)
	defer v.Close()
	assert.False(t, v.Cached)
	assert.Equal(t, "1.0", v.Versions["alpha"])
}

func TestPluginsNeverChangeWhatTheProjectHas(t *testing.T) {
	l := newLab(t, usual)
	p := project(t, map[string]string{"pyproject.toml": pep621 + "dependencies = [\"alpha==1.2\", \"pytest<9\"]\n"})
	v, _, err := l.tests(p, func(t *Tests) { t.Plugins = []string{"pytest-cov", "pytest-wants-alpha2", "pytest-nowhere"} })
	require.NoError(t, err)
	assert.Equal(t, "1.2", v.Versions["alpha"])
	assert.Equal(t, "8.0", v.Versions["pytest"])
	assert.Equal(t, "7.0", v.Versions["pytest-cov"], "one that is not to be had does not take the others with it")
	assert.Len(t, v.Lacking, 2)
	assert.Contains(t, v.Lacking["pytest-wants-alpha2"], "alpha")
	assert.Contains(t, v.Lacking["pytest-nowhere"], "pytest-nowhere was not found")
}

// What could not be had once is tried again, in the environment that is there.
func TestLackingPluginIsTriedAgain(t *testing.T) {
	l := newLab(t, append([]wheel{{name: "pytest-late", version: "1", requires: []string{"not-there-yet"}}}, usual...))
	late := func(t *Tests) { t.Plugins = []string{"pytest-late"} }
	v, _, err := l.tests(plain(t), late)
	require.NoError(t, err)
	assert.Contains(t, v.Lacking, "pytest-late")

	w, _, err := l.tests(plain(t), late)
	require.NoError(t, err)
	assert.True(t, w.Cached)
	assert.Contains(t, w.Lacking, "pytest-late", "the first one is still in use, and stays as it is")
	v.Close()
	w.Close()

	// The package has come to be there; the address of the index is another, but
	// the same recipe is made again, as with an index that was down for a while.
	url := index(t, append([]wheel{{name: "pytest-late", version: "1"}}, usual...)...)
	run := l.Run
	l.Run = func(ctx context.Context, s child.Spec) (child.Result, error) {
		s.Env = append(s.Env, "UV_DEFAULT_INDEX="+url, "UV_CACHE_DIR="+t.TempDir())
		return run(ctx, s)
	}
	x, _, err := l.tests(plain(t), late)
	require.NoError(t, err)
	assert.Equal(t, v.Dir, x.Dir)
	assert.True(t, x.Cached)
	assert.Empty(t, x.Lacking)
	assert.Equal(t, "1", x.Versions["pytest-late"])
}

func TestNoPytestToBeHad(t *testing.T) {
	l := newLab(t, []wheel{{name: "alpha", version: "1.0"}})
	_, fallbacks, err := l.tests(plain(t))
	require.ErrorContains(t, err, "pytest is not among the project's dependencies and could not be installed")
	assert.Equal(t, record.TestEnvFailed, record.AsFailure(err).Kind)
	require.Len(t, fallbacks, 1)
	assert.Contains(t, fallbacks[0], "uv: ")
	left, _ := filepath.Glob(l.Workspace.Path("venvs", "*"))
	assert.Empty(t, left, "what could not be built takes no space")
}

func TestUVMissing(t *testing.T) {
	l := newLab(t, usual)
	l.bare()
	files := subPackage(map[string]string{"pyproject.toml": pep621 + "dependencies = [\"alpha==1.0\", \"sub\"]\n[tool.uv.sources]\nsub = { path = \"sub\", editable = true }\n"})
	p := project(t, files)
	v, fallbacks, err := l.tests(p)
	require.NoError(t, err)
	assert.Equal(t, "pip", v.Installer)
	assert.Equal(t, "1.0", v.Versions["alpha"])
	require.Len(t, fallbacks, 1)
	assert.Contains(t, fallbacks[0], "uv: not found")
	assert.Equal(t, p.Dir+"/sub/src/sub.py", l.says(v, p.Dir, "import sub; print(sub.where())"))
	assert.FileExists(t, filepath.Join(v.Dir, "bin", "sub"))
}

func TestTools(t *testing.T) {
	l := newLab(t, usual)
	constraints := filepath.Join(t.TempDir(), "constraints.txt")
	require.NoError(t, os.WriteFile(constraints, []byte("alpha<2\n"), 0o644))
	v, err := l.Builder.Tools(t.Context(), "tools", Tools{Python: l.python, Requirements: []string{"alpha"}, Constraints: constraints})
	require.NoError(t, err)
	defer v.Close()
	assert.Equal(t, "1.2", v.Versions["alpha"])
	w, err := l.Builder.Tools(t.Context(), "tools", Tools{Python: l.python, Requirements: []string{"alpha"}, Constraints: constraints})
	require.NoError(t, err)
	defer w.Close()
	assert.True(t, w.Cached)
	require.NoError(t, os.WriteFile(constraints, []byte("alpha<1.1\n"), 0o644))
	x, err := l.Builder.Tools(t.Context(), "tools", Tools{Python: l.python, Requirements: []string{"alpha"}, Constraints: constraints})
	require.NoError(t, err)
	defer x.Close()
	assert.Equal(t, "1.0", x.Versions["alpha"])
	_, err = l.Builder.Tools(t.Context(), "tools", Tools{Python: l.python, Requirements: []string{"nowhere"}})
	assert.ErrorContains(t, err, "nowhere was not found")
	_, err = l.Builder.Tools(t.Context(), "tools", Tools{Python: "/nonexistent/python", Requirements: []string{"alpha"}})
	assert.Error(t, err)
}

// The image's packages are seen, and kept where they do; here the image is itself
// a virtual environment.
func TestToolsSeeSystemPackages(t *testing.T) {
	l := newLab(t, usual)
	image, err := l.Builder.Tools(t.Context(), "image", Tools{Python: l.python, Requirements: []string{"beta==0.1"}})
	require.NoError(t, err)
	defer image.Close()
	v, err := l.Builder.Tools(t.Context(), "tools", Tools{Python: image.Python, Requirements: []string{"alpha==2.0"}, SystemSitePackages: true})
	require.NoError(t, err)
	defer v.Close()
	assert.Equal(t, "2.0", v.Versions["alpha"])
	assert.Equal(t, "0.1", v.Versions["beta"], "alpha needs any beta")
	assert.Equal(t, "2.0 0.1", l.printed(v.Dir, l.env(v.Dir), v.Python, "-c", "import alpha, beta; print(alpha.version, beta.version)"))
	again, err := l.inspect(t.Context(), image.Python)
	require.NoError(t, err)
	assert.NotContains(t, again.Packages, "alpha", "nothing was installed into the image")
}

func TestUVIsHeldToSystemPackages(t *testing.T) {
	in := interpreter{Executable: "/p", Packages: map[string]string{"numpy": "1", "alpha": "0.9"}}
	args, err := toolsArgs(t.TempDir(), in, installer{name: "uv"}, Tools{Requirements: []string{"Alpha >=1"}, SystemSitePackages: true})
	require.NoError(t, err)
	text, err := os.ReadFile(args[len(args)-1])
	require.NoError(t, err)
	assert.Equal(t, "numpy==1\n", string(text), "what is asked for is not held")
}
