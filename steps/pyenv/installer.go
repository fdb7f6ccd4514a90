package pyenv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
)

// installer puts packages into virtual environments: uv, or pip.
type installer struct {
	name string
	// version is "" for pip: it comes with the environment's Python.
	version string
	// argv starts uv; pip is started by the environment's Python.
	argv []string
}

var pip = installer{name: "pip"}

// findUV looks for uv in PATH, beside python, and as a module of python. The
// error says where it is not, or how it is broken.
func (b *Builder) findUV(ctx context.Context, python string) (installer, error) {
	argv, version, err := b.find(ctx, python, "uv")
	return installer{name: "uv", version: version, argv: argv}, err
}

// find returns how to start a tool and what it says of its version.
func (b *Builder) find(ctx context.Context, python, tool string) (argv []string, version string, err error) {
	err = record.Failf(record.MissingTool, "%s: not found in PATH, beside %s, or as its module", tool, python)
	for _, argv := range b.candidates(python, tool) {
		version, verr := b.probe(ctx, argv)
		if ctx.Err() != nil {
			return nil, "", context.Cause(ctx)
		}
		if verr == nil {
			return argv, version, nil
		}
		// A tool that is there and broken is more worth telling than one that is absent.
		if argv[0] != python || !strings.Contains(verr.Error(), "No module named") {
			err = verr
		}
	}
	return nil, "", err
}

func (b *Builder) candidates(python, tool string) [][]string {
	var all [][]string
	if file := lookPath(b.Environ, tool); file != "" {
		all = append(all, []string{file})
	}
	if file := filepath.Join(filepath.Dir(python), tool); executable(file) {
		all = append(all, []string{file})
	}
	return append(all, []string{python, "-m", tool})
}

var versionWords = regexp.MustCompile(`\d+(\.\w+)+`)

// probe asks a tool for its version: that it answers shows that it works at all.
func (b *Builder) probe(ctx context.Context, argv []string) (string, error) {
	argv = append(slices.Clone(argv), "--version")
	var out limited
	words := child.NewTail(&bytes.Buffer{})
	res, err := b.Run(ctx, child.Spec{Argv: argv, Env: b.env(""), Out: words, Stdout: &out, Limits: b.Limits})
	if err != nil {
		return "", err
	}
	version := versionWords.FindString(out.String())
	if res.ExitCode != 0 || version == "" {
		return "", record.Failf(record.MissingTool, "%s %s: %s", strings.Join(argv, " "), ended(res), words.Reason())
	}
	return version, nil
}

// create makes an empty virtual environment on the interpreter in.
func (b *Builder) create(ctx context.Context, t installer, in interpreter, dir string, system bool) error {
	var flags []string
	if system {
		flags = append(flags, "--system-site-packages")
	}
	var err error
	if t.name == "uv" {
		err = b.run(ctx, b.Workspace.Dir, "", slices.Concat(t.argv, []string{"venv", "--quiet", "--no-project", "--python", in.Base}, flags, []string{dir})...)
	} else if err = b.run(ctx, b.Workspace.Dir, "", slices.Concat([]string{in.Base, "-I", "-m", "venv"}, flags, []string{dir})...); err != nil && ctx.Err() == nil {
		// Debian's Python comes without ensurepip; the pip outside can still install.
		err = b.run(ctx, b.Workspace.Dir, "", slices.Concat([]string{in.Base, "-I", "-m", "venv", "--clear", "--without-pip"}, flags, []string{dir})...)
	}
	if err != nil || !system || !in.IsVenv {
		return err
	}
	return b.inherit(ctx, in, dir)
}

// inherit lets the environment in dir see the packages of in, which is itself a
// virtual environment: --system-site-packages reaches only what is below that.
func (b *Builder) inherit(ctx context.Context, in interpreter, dir string) error {
	own, err := b.inspect(ctx, filepath.Join(dir, "bin", "python"))
	if err != nil {
		return err
	}
	line := "import site; site.addsitedir(" + pyString(in.Purelib) + ")\n"
	return os.WriteFile(filepath.Join(own.Purelib, "step_runner_parent.pth"), []byte(line), 0o664)
}

// install runs `pip install args` on the environment in dir, in directory cwd.
func (b *Builder) install(ctx context.Context, t installer, in interpreter, dir, cwd string, args ...string) error {
	python := filepath.Join(dir, "bin", "python")
	argv := slices.Concat(t.argv, []string{"pip", "install", "--python", python})
	if t.name == "pip" {
		argv = []string{python, "-m", "pip", "install"}
		if !executable(filepath.Join(dir, "bin", "pip")) {
			argv = []string{in.Executable, "-m", "pip", "--python", python, "install"}
		}
	}
	return b.run(ctx, cwd, dir, append(argv, args...)...)
}

// lookPath finds a program in PATH of env, absolute directories only: a
// repository must not bring its own uv.
func lookPath(env []string, name string) string {
	for _, dir := range filepath.SplitList(variable(env, "PATH")) {
		if file := filepath.Join(dir, name); filepath.IsAbs(dir) && executable(file) {
			return file
		}
	}
	return ""
}

func executable(file string) bool {
	fi, err := os.Stat(file)
	return err == nil && fi.Mode().IsRegular() && unix.Access(file, unix.X_OK) == nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// settings is a digest of the variables that steer the installers: another index
// gives another environment. Their values may hold credentials, so only that.
func (b *Builder) settings() string {
	var vars []string
	for _, kv := range b.Environ {
		name, _, _ := strings.Cut(kv, "=")
		if steering.MatchString(name) && !strippedEnv.MatchString(name) {
			vars = append(vars, kv)
		}
	}
	slices.Sort(vars)
	return digest([]byte(strings.Join(vars, "\n")))
}

var steering = regexp.MustCompile(`^(PIP|UV|POETRY)_`)
