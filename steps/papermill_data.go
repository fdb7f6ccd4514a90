package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/steps/notebook"
	"github.com/step-runner/step-runner/steps/subsample"
)

// dataFile is a --data flag.
type dataFile struct {
	notebook, path, file string
}

// dataFiles reads the flags.
func (o *PapermillLite) dataFiles(files []notebookFile) (all []dataFile, err error) {
	for _, text := range o.Data {
		left, file, ok := strings.Cut(text, "=")
		d := dataFile{path: left, file: file}
		if i := strings.LastIndex(left, ":"); i >= 0 {
			d.notebook, d.path = left[:i], left[i+1:]
		}
		switch {
		case !ok || d.path == "" || d.file == "":
			return nil, record.Failf(record.Usage, "--data %q: give PATH=FILE, or NOTEBOOK:PATH=FILE", text)
		case filepath.IsAbs(d.path):
			return nil, record.Failf(record.Usage, "--data %s: a path is relative to the notebook's directory", text).
				WithHint("leave the flag out: in the lite variant, what a notebook reads by an absolute path is cut when it reads it")
		case !slices.ContainsFunc(files, func(f notebookFile) bool { return names(d.notebook, f) }):
			return nil, record.Failf(record.Usage, "--data %s: %s is none of the notebooks to run", text, d.notebook)
		}
		if d.file, err = filepath.Abs(d.file); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, o.Options.Validate()
}

// liteSource is data and the place, relative to the copy of the tree, where the
// notebook looks for it.
type liteSource struct {
	path, rel, file string
	// own says that the file is the tree's, whose copy is there already.
	own bool
}

// place puts each data file there that the notebook names and that is found: cut, or
// whole. One that an earlier notebook was given, or has made, stays as that one has left it.
func (l *liteNotebook) place(ctx context.Context) error {
	sources, err := l.sources()
	if err != nil {
		return err
	}
	for _, s := range sources {
		out := filepath.Join(l.millTree(l.Root), s.rel)
		// The hook sees to what readers of other files make of them.
		small := l.facts != nil && notebook.IsDataPath(s.rel)
		if p, ok := l.placed[out]; ok {
			if small {
				l.facts.Placed = append(l.facts.Placed, p)
			}
			continue
		}
		if s.own && !small {
			continue
		}
		if err := l.makeDir(s.rel); err != nil {
			return err
		}
		put := l.whole
		if small {
			put = l.cut
		}
		if err := put(ctx, s, out); err != nil {
			return err
		}
	}
	return nil
}

// whole puts a copy of the source at out, never a link: the notebook may write there.
func (l *liteNotebook) whole(ctx context.Context, s liteSource, out string) error {
	from, err := subsample.Copy(ctx, s.file, out)
	if errors.Is(err, fs.ErrNotExist) {
		err = record.Failf(record.BadInput, "%w", err)
	}
	if err != nil {
		return record.AsFailure(err).Within("data for %s", s.path)
	}
	l.Log.Info("data put where the notebook reads it", "data", s.path, "from", s.file, "bytes", from.Bytes)
	l.notebook.Prepared = append(l.notebook.Prepared, fmt.Sprintf("%s is a copy of %s, %s, sha256 %s", s.path, l.inWorkspace(s.file), units.Bytes(from.Bytes), from.SHA256))
	l.placed[out] = record.LitePlaced{}
	l.mu.Lock()
	l.Rec.Inputs = append(l.Rec.Inputs, from)
	l.mu.Unlock()
	return nil
}

// inWorkspace is the path relative to the workspace when it is in there.
func (l *liteNotebook) inWorkspace(path string) string {
	if rel, err := filepath.Rel(l.Workspace.Dir, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// makeDir makes the directory of rel in the copy, and no link leads out of it.
func (l *liteNotebook) makeDir(rel string) error {
	root, err := os.OpenRoot(l.millTree(l.Root))
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(rel), 0o775); err != nil {
		return record.Failf(record.BadInput, "no data can be put at %s: %w", rel, err)
	}
	for dir := filepath.Dir(rel); dir != "."; dir = filepath.Dir(dir) {
		if info, err := root.Lstat(dir); err != nil || !info.IsDir() {
			return record.Failf(record.BadInput, "no data can be put at %s: %s is no directory of the copy", rel, dir)
		}
	}
	return nil
}

// sources are what is to be placed: what the user says, and what is found.
func (l *liteNotebook) sources() (all []liteSource, err error) {
	seen := map[string]bool{}
	for _, d := range l.data {
		if !names(d.notebook, l.notebookFile) {
			continue
		}
		rel := filepath.Join(filepath.Dir(l.Rel), d.path)
		if !filepath.IsLocal(rel) {
			return nil, record.Failf(record.Usage, "--data %s: the path leads out of %s", d.path, l.Root)
		}
		seen[rel] = true
		all = append(all, liteSource{path: d.path, rel: rel, file: d.file})
	}
	for _, path := range l.look.Paths {
		rel := filepath.Join(filepath.Dir(l.Rel), path)
		if strings.Contains(path, "://") || filepath.IsAbs(path) || !filepath.IsLocal(rel) || seen[rel] {
			continue
		}
		seen[rel] = true
		file, own, err := l.find(rel)
		if err != nil {
			return nil, err
		}
		if file != "" {
			all = append(all, liteSource{path: path, rel: rel, file: file, own: own})
		}
	}
	return all, nil
}

// find is the file that the notebook means by a path: that of its tree, else the
// one in datasets/ that has its name; "" when there is none. What an earlier
// notebook has made in the copy stays.
func (l *liteNotebook) find(rel string) (file string, own bool, err error) {
	root, err := os.OpenRoot(l.Root)
	if err != nil {
		return "", false, err
	}
	defer root.Close()
	if _, err := root.Stat(rel); err == nil {
		return filepath.Join(l.Root, rel), true, nil
	}
	if _, err := os.Lstat(filepath.Join(l.millTree(l.Root), rel)); err == nil {
		return "", false, nil
	}
	found, err := liteDataset(l.Workspace, filepath.Base(rel))
	if err != nil || len(found) == 0 {
		return "", false, err
	}
	if len(found) > 1 {
		return "", false, record.Failf(record.BadInput, "data %s could be %s", rel, strings.Join(found, " or ")).
			WithHint("say which with --data %s=FILE", filepath.Base(rel))
	}
	return found[0], false, nil
}

// liteDataset are the files, or Zarr directories, in datasets/ that have the name.
func liteDataset(w *artifacts.Workspace, name string) (found []string, err error) {
	dir := w.Path("datasets")
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return ignoreMissing(err)
		case path != dir && strings.HasPrefix(d.Name(), "."): // One that is not whole yet.
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.Name() == name && (filepath.Ext(name) == ".zarr") == isDirectory(path):
			found = append(found, path)
		}
		if d.IsDir() && filepath.Ext(path) == ".zarr" {
			return fs.SkipDir // It is one data set of many files.
		}
		return nil
	})
	return found, err
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
