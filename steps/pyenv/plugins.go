package pyenv

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// runner is what must be there to run the tests.
const runner = "pytest"

// addPlugins installs pytest and the wanted plugins where the project has not
// brought them itself. Every version that is there is held: a plugin that does
// not fit them is lacking, with the reason.
func (b *Builder) addPlugins(ctx context.Context, inst installer, in interpreter, dir string, wanted []string) (lacking map[string]string, err error) {
	missing, held, err := b.missing(ctx, dir, wanted)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	err = b.install(ctx, inst, in, dir, b.Workspace.Dir, append(slices.Clone(missing), "--constraint", held)...)
	if err == nil || ctx.Err() != nil {
		return nil, err
	}
	lacking = map[string]string{}
	if len(missing) == 1 && missing[0] != runner && !final(err) {
		return map[string]string{missing[0]: err.Error()}, nil
	}
	for _, name := range missing {
		// pytest itself may be pulled in by a plugin; what is there now stays too.
		if _, held, err = b.missing(ctx, dir, nil); err == nil {
			err = b.install(ctx, inst, in, dir, b.Workspace.Dir, name, "--constraint", held)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil && name == runner {
			return nil, failf(b.Kind, err, "pytest is not among the project's dependencies and could not be installed")
		}
		if err != nil {
			lacking[name] = err.Error()
		}
	}
	return lacking, nil
}

// missing are those of the wanted packages that are not in the environment; held
// is a constraints file of all that are.
func (b *Builder) missing(ctx context.Context, dir string, wanted []string) (missing []string, held string, err error) {
	now, err := b.inspect(ctx, filepath.Join(dir, "bin", "python"))
	if err != nil {
		return nil, "", err
	}
	for _, name := range wanted {
		if _, ok := now.Packages[name]; !ok {
			missing = append(missing, name)
		}
	}
	for name := range now.Editable {
		delete(now.Packages, name)
	}
	held = filepath.Join(dir, "held.txt")
	return missing, held, os.WriteFile(held, []byte(freeze(now.Packages)), 0o664)
}

// wanted are pytest and the plugins, in the order in which they are installed.
func wanted(plugins []string) []string {
	return append([]string{runner}, slices.DeleteFunc(slices.Clone(plugins), func(p string) bool { return strings.TrimSpace(p) == "" })...)
}
