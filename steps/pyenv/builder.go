// Package pyenv builds the Python virtual environments that steps need. They lie
// in the workspace, each is built once for all runs, and the image's own
// environment is never touched.
package pyenv

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
)

// Builder builds virtual environments in a workspace.
type Builder struct {
	Workspace *artifacts.Workspace
	// Run starts a program and waits for it: Job.Child.
	Run func(context.Context, child.Spec) (child.Result, error)
	// Environ is what the installers inherit: Job.ChildEnv.
	Environ []string
	// Out takes what the installers print.
	Out io.Writer
	Log *slog.Logger
	// Kind classes a failure to build: install-failed for tools,
	// test-env-failed for the tests' environment.
	Kind record.Kind
	// Limits hold for each program that is run.
	Limits child.Limits
}

// Venv is a virtual environment that is complete. It is held, so that no other
// process replaces it, until Close.
type Venv struct {
	Dir string
	// Python is its interpreter; PythonVersion is like "3.11.7".
	Python        string
	PythonVersion string
	// Installer is "poetry", "uv" or "pip".
	Installer string
	// Cached says that it was there already.
	Cached bool
	// Versions maps the normalised name of each installed distribution to its version.
	Versions map[string]string
	// Lacking maps a plugin that could not be had to the reason.
	Lacking map[string]string
	// Notes are what a reader should know of how it was built.
	Notes []string

	lock *lock
}

// Close lets go of the environment.
func (v *Venv) Close() {
	if v.lock != nil {
		v.lock.release()
	}
}

// foreignEnv are variables that would bring packages of other environments, or
// keep pytest from the plugins of this one.
var foreignEnv = regexp.MustCompile(`^(PYTHONHOME|PYTHONPATH|PYTHONSTARTUP|PYTHONUSERBASE|VIRTUAL_ENV|PYTEST_DISABLE_PLUGIN_AUTOLOAD)=`)

// Environ is environ changed for programs that run in the environment, with what
// Site has laid down in site. An environment that is used as it is keeps its own.
func (v *Venv) Environ(environ []string, site string) []string {
	if v.Dir == "" {
		path := site
		if old := variable(environ, "PYTHONPATH"); old != "" {
			path += ":" + old
		}
		return append(slices.Clone(environ), "PYTHONPATH="+path)
	}
	env := slices.DeleteFunc(slices.Clone(environ), foreignEnv.MatchString)
	return append(env, "VIRTUAL_ENV="+v.Dir, "PATH="+filepath.Join(v.Dir, "bin")+":"+variable(environ, "PATH"), "PYTHONNOUSERSITE=1", SiteVar+"="+site)
}

// variable is the value of a variable; the last of a name counts.
func variable(env []string, name string) string {
	for _, kv := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// strippedEnv are variables that would send an installer elsewhere than into the
// environment that is being built, or let foreign packages into it. Conda's make
// Poetry ignore VIRTUAL_ENV.
var strippedEnv = regexp.MustCompile(`^(PYTHONHOME|PYTHONPATH|PYTHONSTARTUP|PYTHONUSERBASE|VIRTUAL_ENV|CONDA_.*|` +
	`PIP_(USER|TARGET|PREFIX|ROOT|PYTHON|CACHE_DIR|NO_CACHE_DIR|DRY_RUN|REQUIREMENT|CONSTRAINT|EDITABLE)|` +
	`UV_(CACHE_DIR|NO_CACHE|PYTHON|SYSTEM_PYTHON|TARGET|PREFIX|PROJECT_ENVIRONMENT|BREAK_SYSTEM_PACKAGES|CONSTRAINT|OVERRIDE|WORKING_DIR|PROJECT)|` +
	`POETRY_(CACHE_DIR|VIRTUALENVS_.*))$`)

// asUV are pip's settings under uv's names: an image that is set up for pip is
// set up for uv as well, unless it says otherwise.
var asUV = map[string]string{
	"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_NO_INDEX": "UV_NO_INDEX", "PIP_FIND_LINKS": "UV_FIND_LINKS",
	"PIP_CERT": "SSL_CERT_FILE", "PIP_PROXY": "ALL_PROXY",
}

// env is the environment of an installer that works on the virtual environment
// venv, "" for none. Download caches lie in the workspace.
func (b *Builder) env(venv string) []string {
	var env []string
	path := ""
	for _, kv := range b.Environ {
		name, value, _ := strings.Cut(kv, "=")
		if uv, ok := asUV[name]; ok && value != "" {
			env = append(env, uv+"="+value) // The variable itself, if it is set, comes later and counts.
		}
	}
	for _, kv := range b.Environ {
		name, value, _ := strings.Cut(kv, "=")
		switch {
		case name == "PATH":
			path = value
		case !strippedEnv.MatchString(name):
			env = append(env, kv)
		}
	}
	if venv != "" {
		env = append(env, "VIRTUAL_ENV="+venv)
		path = filepath.Join(venv, "bin") + ":" + path
	}
	return append(env, "PATH="+path,
		"PYTHONNOUSERSITE=1",
		"PIP_CACHE_DIR="+b.Workspace.Path("cache", "pip"), "PIP_NO_INPUT=1", "PIP_PROGRESS_BAR=off", "PIP_DISABLE_PIP_VERSION_CHECK=1",
		"UV_CACHE_DIR="+b.Workspace.Path("cache", "uv"), "UV_NO_PROGRESS=1", "UV_PYTHON_DOWNLOADS=never",
		"POETRY_CACHE_DIR="+b.Workspace.Path("cache", "poetry"), "POETRY_NO_INTERACTION=1",
		"POETRY_VIRTUALENVS_CREATE=true", "POETRY_VIRTUALENVS_IN_PROJECT=false",
		"POETRY_VIRTUALENVS_PATH="+b.Workspace.Path("venvs", "of-poetry"))
}

// run runs one program of an installer and turns a bad end into a failure that
// has the program's own last words.
func (b *Builder) run(ctx context.Context, dir, venv string, argv ...string) error {
	words := child.NewTail(b.Out)
	res, err := b.Run(ctx, child.Spec{Argv: argv, Dir: dir, Env: b.env(venv), Out: words, Limits: b.Limits})
	switch {
	case err != nil:
		return err
	case res.ExitCode == 0:
		return nil
	case strings.Contains(words.String(), "No space left on device"):
		return record.Failf(record.DiskFull, "%s: no space left on device", command(argv))
	}
	return record.Failf(b.Kind, "%s %s: %s", command(argv), ended(res), words.Reason())
}

// command is the short name of what argv runs, for messages: "uv pip install".
func command(argv []string) string {
	name, words := filepath.Base(argv[0]), argv[1:]
	if i := slices.Index(words, "-m"); i >= 0 && i+1 < len(words) {
		name, words = words[i+1], words[i+2:]
	}
	for _, w := range words {
		if !strings.HasPrefix(w, "-") {
			name += " " + w
			if w != "pip" {
				break
			}
		}
	}
	return name
}

// failf says what failed and why; a cause that no other installer could mend
// keeps its class.
func failf(kind record.Kind, cause error, format string, args ...any) error {
	if final(cause) {
		return cause
	}
	return record.Failf(kind, "%s: %w", fmt.Sprintf(format, args...), cause)
}

func ended(res child.Result) string {
	if res.Signal != "" {
		return "ended by " + res.Signal
	}
	return fmt.Sprintf("exited %d", res.ExitCode)
}
