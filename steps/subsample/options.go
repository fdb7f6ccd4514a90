// Package subsample cuts a small data set out of an AnnData or 10x file: the same
// cells and genes for the same parameters, on any machine, in bounded memory. The
// work is done by an embedded Python program on the image's own h5py and zarr.
package subsample

import (
	"bufio"
	"os"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Options say what is cut. A file that has no more cells and genes than the
// limits is not cut.
type Options struct {
	MaxCells        int      `default:"50000" placeholder:"N" help:"Most cells that are kept."`
	MaxGenes        int      `default:"10000" placeholder:"N" help:"Most genes that are kept. Genes that are kept by name count, and are kept also when they are more."`
	Seed            uint64   `default:"0" placeholder:"N" help:"Another seed selects other cells."`
	StratifyBy      string   `placeholder:"COLUMN" help:"Column of obs of which each value keeps its share of the cells, and at least one."`
	KeepGenes       []string `placeholder:"GENE|@FILE,..." help:"Genes to keep: names, or @FILE with one on each line."`
	Method          string   `enum:"uniform,blocks" default:"uniform" placeholder:"uniform|blocks" help:"How cells are drawn: one by one, or 1000 neighbours at a time, which reads less of the file but keeps whatever its order is."`
	PruneCategories bool     `help:"Leave out categories that no kept cell has."`
}

// The reasons for which a gene is kept. The cutter adds those of its own.
const (
	WhyNotebook  = "notebook"
	WhyKeepGenes = "keep-genes"
	// WhyLiteral is for a text that may be a gene: when it is none, it is not missing.
	WhyLiteral = "literal"
)

// Named is a gene that is kept by its name, and why. It may be a name of var or a
// value of var's column feature_name.
type Named = record.NamedGene

// Result is what was done.
type Result = record.Subsample

// Validate refuses what cannot be cut.
func (o Options) Validate() error {
	switch {
	case o.MaxCells < 1:
		return record.Failf(record.Usage, "--max-cells %d: at least 1 is needed", o.MaxCells)
	case o.MaxGenes < 1:
		return record.Failf(record.Usage, "--max-genes %d: at least 1 is needed", o.MaxGenes)
	case o.StratifyBy != "" && o.Method == "blocks":
		return record.Failf(record.Usage, "--stratify-by %s: blocks are not drawn by stratum", o.StratifyBy).
			WithHint("leave out one of --stratify-by and --method blocks")
	}
	return nil
}

// keepGenes reads the files among KeepGenes.
func (o Options) keepGenes() (named []Named, err error) {
	for _, g := range o.KeepGenes {
		name, isFile := strings.CutPrefix(g, "@")
		if !isFile {
			named = append(named, Named{Name: g, Why: WhyKeepGenes})
			continue
		}
		names, err := readNames(name)
		if err != nil {
			return nil, record.Failf(record.BadInput, "--keep-genes: %w", err)
		}
		for _, n := range names {
			named = append(named, Named{Name: n, Why: WhyKeepGenes})
		}
	}
	return named, nil
}

// readNames reads one name from each line. Empty lines and lines that start with
// '#' are none.
func readNames(path string) (names []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name := strings.TrimSpace(lines.Text()); name != "" && !strings.HasPrefix(name, "#") {
			names = append(names, name)
		}
	}
	return names, lines.Err()
}
