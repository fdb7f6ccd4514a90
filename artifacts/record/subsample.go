package record

// The ways in which data was made small.
const (
	// WayCut says that a cut file was written, WayWhole that the data was small
	// enough and was copied as it is.
	WayCut   = "cut"
	WayWhole = "whole"
)

// Subsample says what was cut out of a data set and how; with the same source,
// parameters and version it is the same on any machine.
type Subsample struct {
	Way string `json:"way"`
	// Format is "h5ad", "zarr" or "10x-h5".
	Format string `json:"format"`
	// Source is the file or the Zarr directory that was cut. The digest of a
	// directory is that of the list of its files with their digests.
	Source File `json:"source"`
	// Output is what was written.
	Output File  `json:"output"`
	Before Shape `json:"before"`
	After  Shape `json:"after"`

	MaxCells        int    `json:"max_cells"`
	MaxGenes        int    `json:"max_genes"`
	Seed            uint64 `json:"seed"`
	Method          string `json:"method"`
	StratifyBy      string `json:"stratify_by,omitempty"`
	PruneCategories bool   `json:"prune_categories,omitempty"`

	// CellsSHA256 and GenesSHA256 are the digests of the selected indices, each
	// as eight bytes, little-endian; "" when the data was not cut.
	CellsSHA256 string `json:"cells_sha256,omitempty"`
	GenesSHA256 string `json:"genes_sha256,omitempty"`
	// Kept are the genes that were kept whatever their detection rate, Missing
	// those that were named and are not in the data.
	Kept    []NamedGene `json:"kept,omitempty"`
	Missing []NamedGene `json:"missing,omitempty"`
	// Strata are the values of StratifyBy.
	Strata []Stratum `json:"strata,omitempty"`
	// Shifts tell, for each categorical column of obs, how far its distribution
	// has moved: half the sum of the differences of the shares, from 0 to 1.
	Shifts map[string]float64 `json:"shifts,omitempty"`
	// LeftOut are members of the file that are no part of AnnData and were not copied.
	LeftOut  []string          `json:"left_out,omitempty"`
	Versions map[string]string `json:"versions"`
}

// Shape is a number of cells and of genes.
type Shape struct {
	Cells int `json:"cells"`
	Genes int `json:"genes"`
}

// NamedGene is a gene and who asked for it: "notebook", "literal",
// "keep-genes", "mitochondrial" or "ribosomal".
type NamedGene struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Stratum is one value of a column of obs, and its cells before and after.
type Stratum struct {
	Value  string `json:"value"`
	Before int    `json:"before"`
	After  int    `json:"after"`
}

// SubsampleFacts is what the command subsample says.
type SubsampleFacts struct {
	Subsample *Subsample `json:"subsample,omitempty"`
	// Manifest lists the selected cells and genes beside all that Subsample says.
	Manifest string `json:"manifest,omitempty"`
}
