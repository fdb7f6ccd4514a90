package steps

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/inject"
	"github.com/step-runner/step-runner/steps/notebook"
	"github.com/step-runner/step-runner/steps/subsample"
)

// PapermillLite says how the notebooks' data is made small.
type PapermillLite struct {
	Subsample         *bool    `negatable:"" help:"Cut the data that the notebooks read: default of the lite variant, and makes this the lite variant. A parameter called subsample, where the notebook has one, becomes True in the lite variant. --no-subsample leaves the data alone."`
	Data              []string `sep:"none" help:"The data in FILE is cut and put at PATH, where the notebook reads it. Default: files of the clone and of datasets/ that the notebook names. May be repeated." placeholder:"[NOTEBOOK:]PATH=FILE"`
	subsample.Options `embed:""`
}

// dataFile is a --data flag.
type dataFile struct {
	notebook, path, file string
}

// liteSettings reads the flags.
func (o *PapermillLite) liteSettings(on bool, files []notebookFile) (all []dataFile, err error) {
	if !on {
		if len(o.Data) > 0 {
			return nil, record.Failf(record.Usage, "--data has no effect without --subsample")
		}
		return nil, nil
	}
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
				WithHint("leave the flag out: what a notebook reads by an absolute path is cut when it reads it")
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

// lite places what the notebook reads and arms the hook for what cannot be placed.
func (m *mill) lite(ctx context.Context, r *milled, rec *record.Notebook) error {
	if !m.subsample {
		return nil
	}
	o := m.opts.Lite.Options
	rec.Lite = &record.Lite{MaxCells: o.MaxCells, MaxGenes: o.MaxGenes, Seed: o.Seed}
	l := &liteNotebook{mill: m, milled: r, look: r.nb.Looks(), facts: rec.Lite}
	for _, n := range l.look.Names {
		if !m.Secrets.Contains([]byte(n.Text)) { // They get into manifests.
			l.named = append(l.named, subsample.Named{Name: n.Text, Why: subsample.WhyNotebook})
		}
	}
	if err := l.place(ctx); err != nil {
		return err
	}
	return l.arm()
}

// liteNotebook is the data of one notebook.
type liteNotebook struct {
	*mill
	*milled
	look  notebook.Look
	named []subsample.Named
	facts *record.Lite
}

// liteSource is data and the place, relative to the copy of the tree, where the
// notebook looks for it.
type liteSource struct {
	path, rel, file string
	// own says that the file is the tree's, whose copy is there already.
	own bool
}

// place cuts each data file that the notebook names and that is there. One that an
// earlier notebook was given, or has made, stays as that one has left it.
func (l *liteNotebook) place(ctx context.Context) error {
	sources, err := l.sources()
	if err != nil {
		return err
	}
	for _, s := range sources {
		out := filepath.Join(l.millTree(l.Root), s.rel)
		if p, ok := l.placed[out]; ok {
			l.facts.Placed = append(l.facts.Placed, p)
			continue
		}
		if err := l.cut(ctx, s, out); err != nil {
			return err
		}
	}
	return nil
}

func (l *liteNotebook) cut(ctx context.Context, s liteSource, out string) error {
	if err := l.makeDir(s.rel); err != nil {
		return err
	}
	c := subsample.Cutter{Run: l.Child, Python: l.python, Log: l.Log, Limits: child.Limits{Grace: l.opts.Limits.Grace}}
	result, err := c.Cached(ctx, l.Workspace, s.file, out, l.opts.Lite.Options, l.named)
	if f := record.AsFailure(err); f != nil {
		if s.own && (f.Kind == record.BadInput || f.Kind == record.MissingTool) {
			// It need not be AnnData, nor be read: the hook sees to it when it is.
			l.Note("notebook %s: %s is left as it is: %s", l.Rel, s.path, f.Message)
			return nil
		}
		return f.Within("--subsample: %s", s.path)
	}
	l.Log.Info("subsample", "data", s.path, "way", result.Way, "cells", result.After.Cells, "of", result.Before.Cells, "genes", result.After.Genes, "of_genes", result.Before.Genes)
	result.Missing = l.lacking(result.Missing)
	for _, g := range result.Missing {
		l.Note("notebook %s: gene %s, asked for by %s, is not in %s", l.Rel, g.Name, g.Why, s.path)
	}
	p := record.LitePlaced{Path: s.path, Manifest: l.Env.Run.Rel(subsample.ManifestName(out)), Subsample: result}
	l.placed[out] = p
	l.facts.Placed = append(l.facts.Placed, p)
	l.mu.Lock()
	l.Rec.Inputs = append(l.Rec.Inputs, result.Source)
	l.mu.Unlock()
	return nil
}

// lacking are, of the names that the data has not, those that are surely meant as
// genes: the user's, and those of a list in which another one is a gene.
func (l *liteNotebook) lacking(missing []subsample.Named) (sure []subsample.Named) {
	absent := map[string]bool{}
	for _, g := range missing {
		absent[g.Name] = true
	}
	lists, of := map[int]bool{}, map[string]int{}
	for _, n := range l.look.Names {
		of[n.Text] = n.Group
		lists[n.Group] = lists[n.Group] || n.Group > 0 && !absent[n.Text]
	}
	for _, g := range missing {
		if g.Why != subsample.WhyNotebook || lists[of[g.Name]] {
			sure = append(sure, g)
		}
	}
	return sure
}

// makeDir makes the directory of rel in the copy, and no link leads out of it.
func (l *liteNotebook) makeDir(rel string) error {
	root, err := os.OpenRoot(l.millTree(l.Root))
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(rel), 0o775); err != nil {
		return record.Failf(record.BadInput, "--subsample: no data can be put at %s: %w", rel, err)
	}
	for dir := filepath.Dir(rel); dir != "."; dir = filepath.Dir(dir) {
		if info, err := root.Lstat(dir); err != nil || !info.IsDir() {
			return record.Failf(record.BadInput, "--subsample: no data can be put at %s: %s is no directory of the copy", rel, dir)
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
		return "", false, record.Failf(record.BadInput, "--subsample: %s could be %s", rel, strings.Join(found, " or ")).
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

// arm lays out what the notebook's processes need to keep what else they read small.
func (l *liteNotebook) arm() error {
	request, err := subsample.Request(l.opts.Lite.Options, l.named)
	if err != nil {
		return err
	}
	wish := inject.Readers{Request: request, Program: filepath.Join(l.work, "subsample"), Placed: map[string]inject.PlacedShape{}}
	if !isDirectory(wish.Program) {
		if err := subsample.WriteProgram(wish.Program); err != nil {
			return err
		}
	}
	for out, p := range maps.All(l.placed) {
		real, err := filepath.EvalSymlinks(out)
		if err != nil {
			return err
		}
		wish.Placed[real] = inject.PlacedShape{Cells: p.After.Cells, Genes: p.After.Genes, BeforeCells: p.Before.Cells, BeforeGenes: p.Before.Genes}
	}
	l.readers, err = inject.NewReaders(l.injectDir(l.milled), wish)
	return err
}
