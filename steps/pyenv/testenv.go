package pyenv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Tests is the environment of a project's tests.
type Tests struct {
	// Python is the interpreter on which it is built.
	Python  string
	Project *Project
	// Installer is "auto", "poetry", "uv" or "pip".
	Installer string
	// Groups and Extras are taken beside those that are taken by themselves.
	Groups, Extras []string
	// Plugins are pytest plugins to add where the project has not got them.
	Plugins []string
}

// Tests returns the environment that t describes. It tries one installer after
// the other; fallbacks holds why each earlier one could not be taken, also when
// the last one fails. The caller closes the environment.
func (b *Builder) Tests(ctx context.Context, t Tests) (v *Venv, fallbacks []string, err error) {
	in, err := b.inspect(ctx, t.Python)
	if err != nil {
		return nil, nil, err
	}
	if err := t.Project.CheckPython(in.Version, t.Python); err != nil {
		return nil, nil, err
	}
	for _, name := range t.ladder() {
		v, tried, err := b.testsBy(ctx, name, t, in)
		fallbacks = append(fallbacks, tried...)
		if err == nil {
			return v, fallbacks, nil
		}
		if ctx.Err() != nil || final(err) || name == t.ladder()[len(t.ladder())-1] {
			return nil, fallbacks, err
		}
		fallbacks = append(fallbacks, name+": "+err.Error())
		b.Log.Warn("falling back to another installer", "installer", name, "error", err)
	}
	return nil, fallbacks, nil
}

// ladder are the installers to try, in this order.
func (t Tests) ladder() []string {
	switch {
	case t.Installer != "auto":
		return []string{t.Installer}
	case t.Project.Poetry:
		return []string{"poetry", "uv", "pip"}
	}
	return []string{"uv", "pip"}
}

// final says that no other installer would do better.
func final(err error) bool {
	var f *record.Failure
	return !errors.As(err, &f) || f.Kind == record.DiskFull || f.Kind == record.BadInput || f.Kind == record.BadWorkspace
}

// testsBy builds the environment with one installer.
func (b *Builder) testsBy(ctx context.Context, name string, t Tests, in interpreter) (v *Venv, tried []string, err error) {
	n, err := t.Project.needs(in.Version, t.Groups, t.Extras)
	if err != nil && (name != "poetry" || final(err)) {
		return nil, nil, err
	}
	// Poetry may read what this package cannot; then any file may be part of it.
	n.opaque = err != nil
	// Poetry installs into environments that it has not made; uv or pip makes them,
	// and adds the plugins.
	base, uvErr := b.findUV(ctx, in.Executable)
	switch {
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case name == "uv" && uvErr != nil:
		return nil, nil, uvErr
	case uvErr != nil || name == "pip":
		base = pip
	}
	poetry := installer{}
	if name == "poetry" {
		if poetry, tried, err = b.findPoetry(ctx, t.Project, in); err != nil {
			return nil, tried, err
		}
	}
	parts, err := t.parts(b.parts(in, base), n, in)
	if err != nil {
		return nil, tried, err
	}
	parts["poetry"] = poetry.version
	r := recipe{name: "tests", installer: name, parts: parts}
	r.build = func(ctx context.Context, dir string) (outcome, error) {
		return b.buildTests(ctx, t, in, base, poetry, n, dir)
	}
	r.mend = func(ctx context.Context, dir string) (map[string]string, error) {
		return b.addPlugins(ctx, base, in, dir, wanted(t.Plugins))
	}
	v, err = b.ensure(ctx, r)
	return v, tried, err
}

// parts adds what the project and the flags put into the environment.
func (t Tests) parts(parts map[string]string, n needs, in interpreter) (map[string]string, error) {
	prints, err := t.Project.fingerprint(n, in.Version)
	if err != nil {
		return nil, err
	}
	for name, print := range prints {
		parts["project "+name] = print
	}
	parts["groups"] = strings.Join(n.groups, ",")
	parts["extras"] = strings.Join(n.extras, ",")
	parts["plugins"] = strings.Join(wanted(t.Plugins), ",")
	return parts, nil
}

func (b *Builder) buildTests(ctx context.Context, t Tests, in interpreter, base, poetry installer, n needs, dir string) (o outcome, err error) {
	if err := b.create(ctx, base, in, dir, false); err != nil {
		return o, err
	}
	if poetry.name != "" {
		o.Notes, err = b.poetryInstall(ctx, poetry, t.Project, t.Groups, t.Extras, dir)
	} else {
		o.Notes, err = b.plainInstall(ctx, base, t.Project, in, n, dir)
	}
	if err != nil {
		return o, err
	}
	if o.Lacking, err = b.addPlugins(ctx, base, in, dir, wanted(t.Plugins)); err != nil {
		return o, err
	}
	return o, b.liftEditable(ctx, t.Project, dir)
}

// plainInstall installs what the project needs with uv or pip, held at the
// versions of its lock file, then the project itself if it is a package.
func (b *Builder) plainInstall(ctx context.Context, base installer, p *Project, in interpreter, n needs, dir string) (notes []string, err error) {
	hold, err := b.constraintsFile(p, dir)
	if err != nil {
		return nil, err
	}
	var args []string
	for _, l := range n.local {
		args = append(args, l.args()...)
	}
	for _, name := range n.files {
		args = append(args, "--requirement", name)
	}
	if len(n.lines) > 0 {
		file := filepath.Join(dir, "requirements.txt")
		if err := os.WriteFile(file, []byte(strings.Join(n.lines, "\n")+"\n"), 0o664); err != nil {
			return nil, err
		}
		args = append(args, "--requirement", file)
	}
	if len(args) > 0 {
		if err := b.install(ctx, base, in, dir, p.Dir, slices.Concat(args, hold, n.index)...); err != nil {
			return nil, err
		}
	}
	root, err := b.installRoot(ctx, base, p, in, n, hold, dir)
	return append(n.notes, root...), err
}

func (b *Builder) constraintsFile(p *Project, dir string) ([]string, error) {
	text, err := p.lockConstraints()
	if err != nil || text == "" {
		return nil, err
	}
	file := filepath.Join(dir, "locked.txt")
	return []string{"--constraint", file}, os.WriteFile(file, []byte(text), 0o664)
}

// installRoot installs the project itself, in place. Where its dependencies are
// known only to its build, it must succeed.
func (b *Builder) installRoot(ctx context.Context, base installer, p *Project, in interpreter, n needs, hold []string, dir string) ([]string, error) {
	if !p.isPackage() {
		return nil, nil
	}
	root := local{path: p.Dir, editable: true}
	if p.dynamic() {
		root.extras = n.extras
		return nil, b.install(ctx, base, in, dir, p.Dir, slices.Concat(root.args(), hold, n.index)...)
	}
	return rootNote(ctx, b.install(ctx, base, in, dir, p.Dir, append(root.args(), "--no-deps")...))
}

// Existing is python's own environment as it is: nothing is installed. Plugins
// that are not in it are lacking.
func (b *Builder) Existing(ctx context.Context, python string, plugins []string) (*Venv, error) {
	in, err := b.inspect(ctx, python)
	if err != nil {
		return nil, err
	}
	if _, ok := in.Packages[runner]; !ok {
		return nil, record.Failf(record.MissingTool, "%s has no pytest", python)
	}
	v := &Venv{Python: in.Executable, PythonVersion: in.Version, Installer: "none", Versions: in.Packages, Lacking: map[string]string{}}
	for _, name := range plugins {
		if _, ok := in.Packages[name]; !ok {
			v.Lacking[name] = "it is not installed in " + python
		}
	}
	return v, nil
}
