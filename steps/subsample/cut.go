package subsample

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
)

// Cutter runs the cutting program.
type Cutter struct {
	// Run runs a child; a Job's Child.
	Run func(context.Context, child.Spec) (child.Result, error)
	// Python is the interpreter that has h5py, or zarr for Zarr.
	Python string
	Log    *slog.Logger
	// Note tells of what happens beside the cut, for the record; nil to leave it.
	Note   func(format string, args ...any)
	Limits child.Limits
}

// Manifest is Result with the selected cells and genes as indices of the source,
// in ascending order. Both are null when the data was not cut.
type Manifest struct {
	Result
	Cells []int `json:"cells"`
	Genes []int `json:"genes"`
}

// ManifestName is where Cut and Cached write the Manifest for an output.
func ManifestName(out string) string { return out + ".subsample.json" }

// Cut writes to out what o leaves of in, and the manifest beside it. An earlier
// out is replaced when all is done; until then it stays, and in always does. Data
// that is small enough is copied, by reference where the file system can, never
// linked: who writes to out must not change in.
func (c Cutter) Cut(ctx context.Context, in, out string, o Options, named []Named) (Result, error) {
	w, err := c.open(in, out, o, named)
	if err != nil {
		return Result{}, err
	}
	defer w.close()
	// Both read the file at the same time, which is read from a slow volume once.
	digested := make(chan error, 1)
	go func() { digested <- w.digest() }()
	m, err := w.cut(ctx)
	if err != nil {
		return Result{}, err // A digest of many gigabytes is not waited for.
	}
	if err := <-digested; err != nil {
		return Result{}, err
	}
	m.Source = w.source
	return m.Result, w.finish(ctx, m)
}

// work is one cut.
type work struct {
	Cutter
	in, out string
	named   []Named
	o       Options
	// dir is a directory beside out that nobody else knows.
	dir    string
	before stamp
	source record.File
}

// open checks the parameters and makes the directory.
func (c Cutter) open(in, out string, o Options, named []Named) (*work, error) {
	if o.Method == "" {
		o.Method = "uniform"
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	own, err := o.keepGenes()
	if err != nil {
		return nil, err
	}
	if in, err = filepath.Abs(in); err != nil {
		return nil, err
	}
	if out, err = filepath.Abs(out); err != nil {
		return nil, err
	}
	w := &work{Cutter: c, in: in, out: out, o: o, named: slices.Concat([]Named{}, own, named)}
	if w.before, err = stampOf(in); err != nil {
		return nil, record.Failf(record.BadInput, "data %s: %w", in, err)
	}
	if err := w.separate(); err != nil {
		return nil, err
	}
	w.dir, err = os.MkdirTemp(filepath.Dir(out), "."+filepath.Base(out)+".cut-*")
	if err != nil {
		return nil, outFailure(out, err)
	}
	return w, nil
}

// separate refuses an output that is the input, or in it.
func (w *work) separate() error {
	source, err := os.Stat(w.in)
	if err != nil {
		return record.Failf(record.BadInput, "data %s: %w", w.in, err)
	}
	for dir := w.out; ; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err == nil && os.SameFile(fi, source) {
			return record.Failf(record.BadInput, "output %s: it is the data itself, or lies in it", w.out).
				WithHint("the source is never changed: give another path for the output")
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func (w *work) close() { os.RemoveAll(w.dir) }

// temp is where the program writes.
func (w *work) temp() string { return filepath.Join(w.dir, "out") }

// finish puts what was cut, or the source itself, to its place, and the manifest
// beside it.
func (w *work) finish(ctx context.Context, m *Manifest) error {
	if m.Way == record.WayWhole {
		if err := copyPath(ctx, w.in, w.temp()); err != nil {
			return outFailure(w.out, err)
		}
	}
	if err := w.unchanged(); err != nil {
		return err
	}
	var err error
	if m.Output, err = digestPath(w.temp()); err != nil {
		return err
	}
	m.Output.Path = w.out
	if err := replace(w.temp(), w.out, filepath.Join(w.dir, "earlier")); err != nil {
		return outFailure(w.out, err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return outFailure(w.out, artifacts.WriteText(ManifestName(w.out), append(text, '\n')))
}

// unchanged is a failure when somebody has written to the source since w began.
func (w *work) unchanged() error {
	now, err := stampOf(w.in)
	if err != nil || now != w.before {
		return record.Failf(record.BadInput, "data %s: it was changed while it was read", w.in).
			WithHint("wait until it is complete, then run the step again")
	}
	return nil
}

func (w *work) digest() (err error) {
	if w.source, err = digestPath(w.in); err != nil {
		return record.Failf(record.BadInput, "data %s: %w", w.in, err)
	}
	w.source.Path = w.in
	return nil
}

// stamp tells whether a file or directory was written to.
type stamp struct {
	files   int
	bytes   int64
	changed time.Time
}

func stampOf(path string) (s stamp, err error) {
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return s, err
	}
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		s.files++
		if !d.IsDir() {
			s.bytes += info.Size()
		}
		if info.ModTime().After(s.changed) {
			s.changed = info.ModTime()
		}
		return nil
	})
	return s, err
}

// outFailure classes an error of writing; nil stays nil.
func outFailure(out string, err error) error {
	f := record.AsFailure(err)
	if f == nil {
		return nil
	}
	kind := f.Kind
	if kind == record.Internal && errors.Is(err, fs.ErrNotExist) {
		kind = record.BadInput
	}
	return record.Failf(kind, "output %s: %w", out, err)
}
