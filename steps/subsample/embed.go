package subsample

import (
	"encoding/json"
	"io/fs"
	"os"
	"slices"
)

// WriteProgram writes the cutting program into dir, which must not be there.
func WriteProgram(dir string) error {
	files, err := fs.Sub(python, "python")
	if err != nil {
		return err
	}
	return os.CopyFS(dir, files)
}

// Request is what the program is told when it cuts, without the paths.
func Request(o Options, named []Named) (json.RawMessage, error) {
	own, err := o.keepGenes()
	if err != nil {
		return nil, err
	}
	if o.Method == "" {
		o.Method = "uniform"
	}
	return json.Marshal(request{
		Mode: "cut", MaxCells: o.MaxCells, MaxGenes: o.MaxGenes, Seed: o.Seed, StratifyBy: o.StratifyBy,
		Method: o.Method, PruneCategories: o.PruneCategories, Named: slices.Concat(own, named),
	})
}
