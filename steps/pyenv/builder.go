// Package pyenv builds the Python virtual environments that steps need. They lie
// in the workspace, each is built once for all runs, and the image's own
// environment is never touched.
package pyenv

import (
	"context"
	"io"
	"log/slog"

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

	template string
	root     string
	release  func()
}

// Close lets go of the environment.
func (v *Venv) Close() {
	if v.release != nil {
		v.release()
	}
}

// Tools is an environment for programs that the image lacks.
type Tools struct {
	// Python is the interpreter on which it is built.
	Python string
	// Requirements are what pip install takes: "papermill==2.7.0", …
	Requirements []string
	// Constraints is the path of a constraints file, "" for none.
	Constraints string
	// SystemSitePackages lets the environment see the packages of Python, and
	// keeps their versions where they satisfy Requirements.
	SystemSitePackages bool
}

// Tools returns the environment that t describes, and builds it if it is not
// there. It is called name in venvs/. The caller closes it.
func (b *Builder) Tools(ctx context.Context, name string, t Tools) (*Venv, error) {
	return nil, record.Failf(b.Kind, "%s: not written yet", name)
}
