package pyenv

import (
	"context"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An editable package is installed as a pointer to a directory. The environment
// is shared by all runs, each of which has a copy of the test repository of its
// own, so the pointers are lifted out of it when it is built, and laid down for
// each run with its own paths (Venv.Site). A pointer left in the shared
// environment would make one run test the code of another.

const (
	// liftedDir holds the pointers, inside the environment.
	liftedDir = "editable"
	// rootFile says to which directory they point.
	rootFile = ".root"
	// SiteVar names the directory that the environment's Python adds to its path.
	SiteVar = "STEP_RUNNER_PYTEST_SITE"
)

// siteHook is a .pth line: it runs whenever the environment's Python starts, in
// workers and subprocesses too.
const siteHook = `import os, site; d = os.environ.get("` + SiteVar + `"); d and site.addsitedir(d)` + "\n"

// liftEditable moves the pointers out of the environment in dir and puts the
// hook in.
func (b *Builder) liftEditable(ctx context.Context, p *Project, dir string) error {
	in, err := b.inspect(ctx, filepath.Join(dir, "bin", "python"))
	if err != nil {
		return err
	}
	lifted := filepath.Join(dir, liftedDir)
	if err := os.MkdirAll(lifted, 0o775); err != nil {
		return err
	}
	files, err := pointers(in, p.Dir)
	if err != nil {
		return err
	}
	for _, name := range files {
		to := filepath.Join(lifted, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o775); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(in.Purelib, name), to); err != nil {
			return err
		}
	}
	for _, e := range in.Editable {
		os.RemoveAll(e.Info) // Empty now; it would still count as installed.
	}
	if err := os.WriteFile(filepath.Join(lifted, rootFile), []byte(p.Dir), 0o664); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(in.Purelib, "step_runner_site.pth"), []byte(siteHook), 0o664)
}

// pointers are the files in site-packages, relative to it, that belong to
// editable packages or name the directory root. Scripts in bin/ stay: they only
// import.
func pointers(in interpreter, root string) ([]string, error) {
	var files []string
	for _, e := range in.Editable {
		for _, name := range e.Files {
			if name = filepath.Clean(name); !filepath.IsLocal(name) {
				continue
			}
			if fi, err := os.Lstat(filepath.Join(in.Purelib, name)); err == nil && fi.Mode().IsRegular() {
				files = append(files, name)
			}
		}
	}
	entries, err := os.ReadDir(in.Purelib)
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if !e.Type().IsRegular() || (ext != ".pth" && ext != ".egg-link") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(in.Purelib, e.Name()))
		if err == nil && strings.Contains(string(text), root) {
			files = append(files, e.Name())
		}
	}
	slices.Sort(files)
	return slices.Compact(files), err
}

// Site lays down in dst what makes the project's editable packages point into
// root. The tests get dst in the variable SiteVar.
func (v *Venv) Site(root, dst string) error {
	if v.Dir == "" {
		return os.MkdirAll(dst, 0o775)
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	src := filepath.Join(v.Dir, liftedDir)
	old, err := os.ReadFile(filepath.Join(src, rootFile))
	if err != nil {
		return err
	}
	place := strings.NewReplacer(fileURL(string(old)), fileURL(root), string(old), root)
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(src, path)
		if err != nil || relErr != nil || rel == rootFile {
			return err
		}
		to := filepath.Join(dst, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o775)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, []byte(place.Replace(string(text))), 0o664)
	})
}

func fileURL(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }
