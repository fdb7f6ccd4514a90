package steps

import (
	"context"
	"maps"
	"path/filepath"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/inject"
	"github.com/step-runner/step-runner/steps/notebook"
	"github.com/step-runner/step-runner/steps/subsample"
)

// PapermillLite says how the notebooks' data is made small.
type PapermillLite struct {
	Subsample         *bool    `negatable:"" help:"Cut the data that the notebooks read: default of the lite variant, and makes this the lite variant. A parameter called subsample, where the notebook has one, becomes True in the lite variant. --no-subsample leaves the data as large as it is."`
	Data              []string `sep:"none" help:"The data in FILE is put at PATH, where the notebook reads it: cut, or whole with --no-subsample. Default: files of the clone and of datasets/ that the notebook names. May be repeated." placeholder:"[NOTEBOOK:]PATH=FILE"`
	subsample.Options `embed:""`
}

// lite puts the notebook's data where it reads it and, where that is to be small, arms
// the hook for what cannot be placed.
func (m *mill) lite(ctx context.Context, r *milled, rec *record.Notebook) error {
	l := &liteNotebook{mill: m, milled: r, look: r.nb.Looks(), notebook: rec}
	if !m.subsample {
		return l.place(ctx)
	}
	o := m.opts.Lite.Options
	rec.Lite = &record.Lite{MaxCells: o.MaxCells, MaxGenes: o.MaxGenes, Seed: o.Seed}
	l.facts = rec.Lite
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
	look     notebook.Look
	named    []subsample.Named
	notebook *record.Notebook
	// facts is nil when the data keeps its size.
	facts *record.Lite
}

// cut puts a small copy of the source at out.
func (l *liteNotebook) cut(ctx context.Context, s liteSource, out string) error {
	c := subsample.Cutter{Run: l.Child, Python: l.python, Log: l.Log, Note: l.Note, Limits: child.Limits{Grace: l.opts.Limits.Grace}}
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
		if p.Path == "" {
			continue // It is whole, and no AnnData by its name.
		}
		real, err := filepath.EvalSymlinks(out)
		if err != nil {
			return err
		}
		wish.Placed[real] = inject.PlacedShape{Cells: p.After.Cells, Genes: p.After.Genes, BeforeCells: p.Before.Cells, BeforeGenes: p.Before.Genes}
	}
	l.readers, err = inject.NewReaders(l.injectDir(l.milled), wish)
	return err
}
