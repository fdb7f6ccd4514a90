package steps

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/pyenv"
	"github.com/step-runner/step-runner/steps/redact"
)

//go:embed pytest_receipt.py
var pytestReceiptPy []byte

// environment builds the tests' environment and says in the facts how.
func (t *pytestRun) environment(ctx context.Context) (err error) {
	python := t.opts.Python
	if python == "" {
		if python, err = t.Python(); err != nil {
			return err
		}
	}
	b := &pyenv.Builder{
		Workspace: t.Workspace, Run: t.Child, Environ: t.ChildEnv(), Out: t.Out, Log: t.Log,
		Kind: record.TestEnvFailed, Limits: child.Limits{Grace: t.opts.Grace},
	}
	plugins := []string{"pytest-cov", "pytest-html"}
	if t.opts.Workers != "" {
		plugins = append(plugins, "pytest-xdist")
	}
	if t.opts.Install == "none" {
		t.venv, err = b.Existing(ctx, python, plugins)
	} else {
		spec := pyenv.Tests{Python: python, Project: t.project, Installer: t.opts.Install, Groups: t.opts.Groups, Extras: t.opts.Extras, Plugins: plugins}
		t.venv, t.facts.Env.Fallbacks, err = b.Tests(ctx, spec)
	}
	for _, reason := range t.facts.Env.Fallbacks {
		t.Note("another installer was used: %s", reason)
	}
	if err != nil {
		return err
	}
	t.noteEnvironment(plugins)
	if err := t.venv.Site(t.dir, t.site); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(t.site, "step_runner_receipt.py"), pytestReceiptPy, 0o664)
}

func (t *pytestRun) noteEnvironment(plugins []string) {
	t.noteOptimize()
	if added := t.Getenv("PYTEST_ADDOPTS"); added != "" {
		t.Note("the variable PYTEST_ADDOPTS adds to pytest's arguments: %s", added)
	}
	e := &t.facts.Env
	e.Installer, e.Python, e.Cached = t.venv.Installer, t.venv.PythonVersion, t.venv.Cached
	e.Versions = map[string]string{}
	for _, name := range append(plugins, "pytest", "coverage") {
		if v, ok := t.venv.Versions[name]; ok {
			e.Versions[name] = v
		}
	}
	for i, reason := range e.Fallbacks {
		e.Fallbacks[i] = t.Secrets.String(reason)
	}
	for _, n := range t.venv.Notes {
		t.Note("%s", n)
	}
	for _, name := range plugins {
		if reason, ok := t.venv.Lacking[name]; ok {
			t.Note("without %s: %s", name, reason)
		}
	}
}

// variables are the tests' environment.
func (t *pytestRun) variables() ([]string, error) {
	var given []string
	for _, name := range t.opts.EnvFrom {
		value := t.Getenv(name)
		if value == "" {
			return nil, record.Failf(record.BadInput, "--env-from %s: the variable is not set", name).WithHint("set it for step-runner, for instance from a Secret")
		}
		given = append(given, name+"="+value)
	}
	env := t.venv.Environ(t.ChildEnv(), t.site)
	t.hide(given)
	env = append(append(append(env, given...),
		"STEP_RUNNER_PYTEST_RECEIPT="+t.work("receipt.json"), "STEP_RUNNER_VARIANT="+string(t.Variant),
		"COVERAGE_FILE="+t.work("coverage.data")), t.opts.Env...)
	// A path of the user's own comes after that of our plugin, never in its place.
	if own := (&Env{Environ: env}).Getenv("PYTHONPATH"); !strings.HasPrefix(own, t.site) {
		env = append(env, "PYTHONPATH="+strings.TrimSuffix(t.site+string(os.PathListSeparator)+own, string(os.PathListSeparator)))
	}
	return env, nil
}

// hide keeps secrets that the tests get out of everything that is written: what was
// given by --env-from, and what is one by its variable's name.
func (t *pytestRun) hide(given []string) {
	for _, kv := range given {
		name, value, _ := strings.Cut(kv, "=")
		switch {
		case redact.Telling(value):
			t.Secrets.Hide(value)
		case redact.NamesSecret(name):
			t.Note("%s is not kept out of logs and reports: it cannot be told from ordinary text", name)
		}
	}
}
