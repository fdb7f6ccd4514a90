package steps

import (
	"slices"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/inject"
	"github.com/step-runner/step-runner/steps/notebook"
)

// liteWatched are the modules by which data is read. A process that has imported
// one leaves a receipt.
var liteWatched = []string{"scanpy", "anndata", "h5py", "squidpy", "zarr"}

// judgeLite reads what the notebook's processes have read. Data above the limits
// that was read at full size is a failure, but never hides another one.
func (m *mill) judgeLite(r *milled, lite *record.Lite, v *notebook.Verdict) *record.Failure {
	receipts, err := r.readers.Receipts()
	for _, receipt := range receipts {
		lite.Error = m.rmmText(firstOf(lite.Error, receipt.Error))
		for _, read := range receipt.Reads {
			lite.Reads = m.addRead(lite.Reads, read)
		}
	}
	if err != nil {
		lite.Error = m.rmmText(err.Error())
	}
	lite.Way = liteWay(lite)
	failure := liteFailure(lite, len(receipts), v)
	if failure == nil {
		m.noteLite(r, lite)
		return v.Failure
	}
	if v.Failure != nil {
		m.Note("notebook %s: %s", r.Rel, failure.Message)
		return v.Failure
	}
	return failure
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// mostLiteReads bounds a record: a notebook may open a file for each of its samples.
const mostLiteReads = 100

// addRead adds a read that is not there yet. Those at full size have room kept for them.
func (m *mill) addRead(all []record.LiteRead, r inject.Read) []record.LiteRead {
	read := record.LiteRead{
		Path: m.rmmText(r.Path), Reader: m.rmmText(r.Reader), Way: r.Way, Error: m.rmmText(r.Error),
		Before: record.Shape(r.Before), After: record.Shape(r.After),
	}
	if slices.Contains(all, read) || len(all) >= mostLiteReads && (r.Way != inject.ReadFull || len(all) >= 2*mostLiteReads) {
		return all
	}
	return append(all, read)
}

func liteWay(l *record.Lite) string {
	has := func(way string) bool {
		return slices.ContainsFunc(l.Reads, func(r record.LiteRead) bool { return r.Way == way })
	}
	cut := slices.ContainsFunc(l.Placed, func(p record.LitePlaced) bool { return p.Way == record.WayCut })
	switch {
	case has(inject.ReadFull):
		return record.LiteFull
	case cut || has(inject.ReadCut):
		return record.LiteCut
	case len(l.Reads) > 0 || len(l.Placed) > 0:
		return record.LiteSmall
	}
	return record.LiteNoData
}

// liteFailure is why this was no lite run, nil when it was one or read no data.
func liteFailure(l *record.Lite, receipts int, v *notebook.Verdict) *record.Failure {
	imported := slices.ContainsFunc(liteWatched, v.Imported)
	switch {
	case l.Way == record.LiteFull:
		full := l.Reads[slices.IndexFunc(l.Reads, func(r record.LiteRead) bool { return r.Way == inject.ReadFull })]
		return record.Failf(record.PatchMismatch, "--subsample: %s with %d cells and %d genes was read at full size: %s", full.Path, full.After.Cells, full.After.Genes, full.Error).
			WithHint("put a file where the notebook reads with --data PATH=FILE, or give --no-subsample if it is to have all of its data")
	case l.Error != "":
		return record.Failf(record.PatchMismatch, "--subsample: what the notebook has read is not known: %s", l.Error).
			WithHint("look for what writes into the run's work/papermill, or give --no-subsample")
	case receipts == 0 && imported: // What was placed need not be all that it reads.
		l.Error = "its Python did not load step-runner's sitecustomize"
		return record.Failf(record.MissingTool, "--subsample: the notebook may have read data at full size: %s", l.Error).
			WithHint("Python's options -S, -E and -I in the kernel's argv, and a PYTHONPATH of the kernel's own, switch it off; or give --no-subsample")
	}
	return nil
}

// noteLite tells what a reader of the record should know of a good run.
func (m *mill) noteLite(r *milled, l *record.Lite) {
	if l.Way == record.LiteNoData {
		m.Log.Info("lite: the notebook has read no AnnData", "notebook", r.Rel)
		return
	}
	m.Log.Info("lite: "+l.Text(), "notebook", r.Rel)
	for _, p := range l.Placed {
		read := func(x record.LiteRead) bool { return x.Before == p.Before && x.After == p.After }
		if !slices.ContainsFunc(l.Reads, read) {
			m.Note("notebook %s: %s was cut, and it is not known to have been read", r.Rel, p.Path)
		}
	}
}
