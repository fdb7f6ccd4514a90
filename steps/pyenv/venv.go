package pyenv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// recipe is everything that goes into an environment. Two recipes with the same
// parts give the same environment, whoever builds it.
type recipe struct {
	// name begins the directory's name in venvs/.
	name      string
	installer string
	// parts are hashed: what each is, and its value or digest.
	parts map[string]string
	// build makes the environment in dir.
	build func(ctx context.Context, dir string) (outcome, error)
	// mend tries once more to add what a cached environment lacks; nil when
	// nothing can be lacking.
	mend func(ctx context.Context, dir string) (lacking map[string]string, err error)
}

// outcome is what there is to say of an environment beside what is in it.
type outcome struct {
	// Lacking maps a plugin that could not be had to the reason.
	Lacking map[string]string `json:"lacking,omitempty"`
	Notes   []string          `json:"notes,omitempty"`
}

func (r recipe) key() string {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(r.parts)) {
		fmt.Fprintf(h, "%q=%q\n", k, r.parts[k])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// marker is written last into an environment: without it, it is half-built.
type marker struct {
	Key       string            `json:"key"`
	Installer string            `json:"installer"`
	Version   string            `json:"version"`
	Packages  map[string]string `json:"packages"`
	outcome
	// Parts is for people who ask why an environment was built anew.
	Parts map[string]string `json:"parts"`
}

const markerName = ".complete"

// ensure returns the environment of the recipe, built by this or another process,
// now or earlier. A virtual environment holds its own path, so it is built where
// it stays; a lock and the marker keep others from one that is not whole.
func (b *Builder) ensure(ctx context.Context, r recipe) (*Venv, error) {
	key := r.key()
	name := r.name + "-" + key[:16]
	dir := b.Workspace.Path("venvs", name)
	waiting := func() { b.Log.Info("another run works on this environment; waiting for it", "environment", name) }
	l, err := take(ctx, b.Workspace.Path("locks", "venv-"+name), unix.LOCK_SH, waiting)
	if err != nil {
		return nil, err
	}
	v, err := b.settle(ctx, l, r, key, dir, waiting)
	if err != nil {
		l.release()
		return nil, err
	}
	v.lock = l
	return v, nil
}

// settle ends with a whole environment and a shared lock. Each time the kind of
// lock changes it may be lost for a moment, so what is there is looked at again.
func (b *Builder) settle(ctx context.Context, l *lock, r recipe, key, dir string, waiting func()) (*Venv, error) {
	built := false
	for range 5 {
		v, err := b.open(ctx, key, dir)
		if err != nil {
			return nil, err
		}
		if v != nil && (built || r.mend == nil || len(v.Lacking) == 0) {
			v.Cached = !built
			return v, nil
		}
		// Only what nobody uses is mended; what is broken nobody can use for long.
		if v != nil && !l.try() {
			r.mend = nil
		} else {
			if err := l.convert(ctx, unix.LOCK_EX, waiting); err != nil {
				return nil, err
			}
			if built, err = b.work(ctx, r, key, dir); err != nil {
				return nil, err
			}
			r.mend = nil
		}
		if err := l.convert(ctx, unix.LOCK_SH, waiting); err != nil {
			return nil, err
		}
	}
	return nil, record.Failf(b.Kind, "environment %s changes all the time; is another program writing to it?", filepath.Base(dir))
}

// work builds or mends the environment under the exclusive lock; another process
// may have done so while this one waited for it.
func (b *Builder) work(ctx context.Context, r recipe, key, dir string) (built bool, err error) {
	v, err := b.open(ctx, key, dir)
	switch {
	case err != nil:
		return false, err
	case v == nil:
		return true, b.build(ctx, r, key, dir)
	case r.mend != nil && len(v.Lacking) > 0:
		return false, b.mend(ctx, r, key, dir, v)
	}
	return false, nil
}

// open returns the environment in dir if it is whole, else nil. Whole means that
// its marker is of this key, that its Python runs, and that the packages in it
// are those it was built with: tests can install into the environment they run in.
func (b *Builder) open(ctx context.Context, key, dir string) (*Venv, error) {
	var m marker
	text, err := os.ReadFile(filepath.Join(dir, markerName))
	if err != nil || json.Unmarshal(text, &m) != nil || m.Key != key {
		return nil, nil //nolint:nilerr // It is not whole: it is built anew.
	}
	in, err := b.inspect(ctx, filepath.Join(dir, "bin", "python"))
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		b.Log.Warn("the cached environment is broken; it is built anew", "environment", dir, "error", err)
		return nil, nil
	case in.Version != m.Version || !maps.Equal(in.Packages, m.Packages):
		b.Log.Warn("the cached environment is not as it was built; it is built anew", "environment", dir)
		return nil, nil
	}
	return &Venv{
		Dir: dir, Python: filepath.Join(dir, "bin", "python"), PythonVersion: m.Version, Installer: m.Installer,
		Versions: m.Packages, Lacking: m.Lacking, Notes: m.Notes,
	}, nil
}

func (b *Builder) build(ctx context.Context, r recipe, key, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	b.Log.Info("building the environment", "environment", filepath.Base(dir), "installer", r.installer)
	o, err := r.build(ctx, dir)
	if err == nil {
		err = b.complete(ctx, r, key, dir, o)
	}
	if err != nil && ctx.Err() == nil {
		// What is left over holds space. When the run was told to stop there is no
		// time to remove it; the next one does.
		os.RemoveAll(dir)
	}
	return err
}

// mend adds to a cached environment what it lacks. While it changes it has no marker.
func (b *Builder) mend(ctx context.Context, r recipe, key, dir string, v *Venv) error {
	if err := os.Remove(filepath.Join(dir, markerName)); err != nil {
		return err
	}
	lacking, err := r.mend(ctx, dir)
	if err != nil {
		return err
	}
	return b.complete(ctx, r, key, dir, outcome{lacking, v.Notes})
}

// complete looks at what was built and writes the marker.
func (b *Builder) complete(ctx context.Context, r recipe, key, dir string, o outcome) error {
	in, err := b.inspect(ctx, filepath.Join(dir, "bin", "python"))
	if err != nil {
		return err
	}
	m := marker{Key: key, Installer: r.installer, Version: in.Version, Packages: in.Packages, outcome: o, Parts: r.parts}
	return artifacts.WriteAtomic(filepath.Join(dir, markerName), 0o664, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(m)
	})
}
