package record

import "fmt"

// The ways of Lite.
const (
	// LiteCut says that data was cut, LiteSmall that all data read was small enough,
	// LiteNoData that no data was read, LiteFull that some was read at full size.
	LiteCut    = "cut"
	LiteSmall  = "small"
	LiteNoData = "no-data"
	LiteFull   = "full"
)

// Lite says what the lite variant did to a notebook's data.
type Lite struct {
	Way      string `json:"way"`
	MaxCells int    `json:"max_cells"`
	MaxGenes int    `json:"max_genes"`
	Seed     uint64 `json:"seed"`
	// Placed is data that was put where the notebook reads it before it ran.
	Placed []LitePlaced `json:"placed,omitempty"`
	// Reads is what the notebook's processes say that they have opened.
	Reads []LiteRead `json:"reads,omitempty"`
	// Error is why it is not known what was read.
	Error string `json:"error,omitempty"`
}

// LitePlaced is data at the path by which the notebook names it.
type LitePlaced struct {
	Path string `json:"path"`
	// Manifest, in the directory of the run, lists the selected cells and genes.
	Manifest string `json:"manifest"`
	Subsample
}

// LiteRead is one data set that a process has opened. Its way is "placed", "cut"
// (when it was opened), "small" or "full".
type LiteRead struct {
	Path   string `json:"path"`
	Reader string `json:"reader"`
	Way    string `json:"way"`
	Before Shape  `json:"before"`
	After  Shape  `json:"after"`
	Error  string `json:"error,omitempty"`
}

// Text is what everything that comes of the run says, in figures and words of ours.
func (l *Lite) Text() string {
	switch l.Way {
	case LiteNoData:
		return "no data was read"
	case LiteFull:
		return "not subsampled: data was read at full size"
	}
	before, after := l.largest()
	if before == after {
		return fmt.Sprintf("%d cells, %d genes, small enough as they are", after.Cells, after.Genes)
	}
	return fmt.Sprintf("%d of %d cells, %d of %d genes", after.Cells, before.Cells, after.Genes, before.Genes)
}

// largest is the data that was the largest before it was cut.
func (l *Lite) largest() (before, after Shape) {
	take := func(b, a Shape) {
		if b.Cells*b.Genes > before.Cells*before.Genes {
			before, after = b, a
		}
	}
	for _, p := range l.Placed {
		take(p.Before, p.After)
	}
	for _, r := range l.Reads {
		take(r.Before, r.After)
	}
	return before, after
}
