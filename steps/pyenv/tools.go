package pyenv

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

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
// there. Its directory in venvs/ begins with name. The caller closes it.
func (b *Builder) Tools(ctx context.Context, name string, t Tools) (*Venv, error) {
	in, err := b.inspect(ctx, t.Python)
	if err != nil {
		return nil, err
	}
	inst, err := b.toolsInstaller(ctx, in, t.SystemSitePackages)
	if err != nil {
		return nil, err
	}
	var constraints []byte
	if t.Constraints != "" {
		if constraints, err = os.ReadFile(t.Constraints); err != nil {
			return nil, record.Failf(record.BadInput, "constraints: %w", err)
		}
	}
	parts := b.parts(in, inst)
	parts["requirements"] = strings.Join(t.Requirements, "\n")
	parts["constraints"] = digest(constraints)
	if t.SystemSitePackages {
		parts["system packages"] = digest([]byte(freeze(in.Packages)))
		parts["system python"] = in.Executable
	}
	return b.ensure(ctx, recipe{name: name, installer: inst.name, parts: parts, build: func(ctx context.Context, dir string) (o outcome, err error) {
		if err := b.create(ctx, inst, in, dir, t.SystemSitePackages); err != nil {
			return o, err
		}
		args, err := toolsArgs(dir, in, inst, t)
		if err != nil {
			return o, err
		}
		return o, b.install(ctx, inst, in, dir, b.Workspace.Dir, args...)
	}})
}

// toolsInstaller prefers uv, which takes a fraction of the time; but uv does not
// see system packages and would install each of them once more, so pip goes
// first there.
func (b *Builder) toolsInstaller(ctx context.Context, in interpreter, system bool) (installer, error) {
	uv, err := b.findUV(ctx, in.Executable)
	if ctx.Err() != nil {
		return uv, context.Cause(ctx)
	}
	if err == nil && (!system || b.run(ctx, "", "", in.Base, "-I", "-c", "import ensurepip, venv") != nil) {
		return uv, nil //nolint:nilerr // err is nil here; the other is the answer that pip cannot do it.
	}
	return pip, nil
}

func toolsArgs(dir string, in interpreter, inst installer, t Tools) ([]string, error) {
	args := slices.Clone(t.Requirements)
	if t.Constraints != "" {
		args = append(args, "--constraint", t.Constraints)
	}
	if t.SystemSitePackages && inst.name == "uv" {
		kept := maps.Clone(in.Packages)
		for _, r := range t.Requirements {
			delete(kept, Normalise(requirementName.FindString(r)))
		}
		file := filepath.Join(dir, "system-constraints.txt")
		if err := os.WriteFile(file, []byte(freeze(kept)), 0o664); err != nil {
			return nil, err
		}
		args = append(args, "--constraint", file)
	}
	return args, nil
}

// parts are what goes into every environment: the interpreter, by everything
// that a wheel can depend on, and the installer with its settings.
func (b *Builder) parts(in interpreter, inst installer) map[string]string {
	return map[string]string{
		"python": in.Base, "version": in.Version, "platform": in.Platform,
		"installer": strings.TrimSpace(inst.name + " " + inst.version), "settings": b.settings(),
	}
}

// freeze is a constraints file that holds each package at its version.
func freeze(packages map[string]string) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		fmt.Fprintf(&text, "%s==%s\n", name, packages[name])
	}
	return text.String()
}

var (
	requirementName = regexp.MustCompile(`^\s*[A-Za-z0-9][A-Za-z0-9._-]*`)
	separators      = regexp.MustCompile(`[-_.]+`)
)

// Normalise is a distribution's name as PEP 503 compares names.
func Normalise(name string) string {
	return strings.ToLower(separators.ReplaceAllString(strings.TrimSpace(name), "-"))
}

// pyString is text as a Python string literal.
func pyString(text string) string { return strconv.QuoteToASCII(text) }
