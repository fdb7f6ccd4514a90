package inject

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ReadersVar names the file by which a process keeps the data that it reads small.
const ReadersVar = "STEP_RUNNER_SUBSAMPLE"

// Readers says how large data may be and how larger data is cut.
type Readers struct {
	// Request is that of the cutting program, without its paths.
	Request json.RawMessage `json:"request"`
	// Program is the directory of the cutting program.
	Program string `json:"program"`
	// Placed is data that is as small as it gets, by its path without links.
	Placed map[string]PlacedShape `json:"placed"`
}

// PlacedShape is the shape of data that was cut, and that of its source.
type PlacedShape struct {
	Cells       int `json:"cells"`
	Genes       int `json:"genes"`
	BeforeCells int `json:"before_cells"`
	BeforeGenes int `json:"before_genes"`
}

// ReadersReceipt is what one process has read.
type ReadersReceipt struct {
	PID  int      `json:"pid"`
	Argv []string `json:"argv"`
	// Modules are those that were watched when the process had imported them.
	Modules []string `json:"modules"`
	Reads   []Read   `json:"reads"`
	Error   string   `json:"error"`
}

// The ways of a Read.
const (
	// ReadPlaced is data that was cut before the run, ReadCut is cut when it was
	// opened, ReadSmall was small enough, ReadFull was read at full size.
	ReadPlaced = "placed"
	ReadCut    = "cut"
	ReadSmall  = "small"
	ReadFull   = "full"
)

// Read is one data set that a process has opened.
type Read struct {
	Path   string `json:"path"`
	Reader string `json:"reader"`
	Way    string `json:"way"`
	Before Shape  `json:"before"`
	After  Shape  `json:"after"`
	Error  string `json:"error"`
}

// Shape is a number of cells and of genes.
type Shape struct {
	Cells int `json:"cells"`
	Genes int `json:"genes"`
}

// ReadersDir is the package, the wish, and the receipts that come back.
type ReadersDir struct{ path string }

// NewReaders writes the package, if it is not there yet, and the wish into the
// directory path.
func NewReaders(path string, r Readers) (*ReadersDir, error) {
	d := &ReadersDir{path: path}
	if err := errors.Join(writePackages(path), os.MkdirAll(d.dir(), 0o775)); err != nil {
		return nil, err
	}
	content, err := json.Marshal(struct {
		Readers
		Directory string `json:"directory"`
	}{r, d.dir()})
	if err != nil {
		return nil, err
	}
	return d, os.WriteFile(d.wish(), content, 0o664)
}

func (d *ReadersDir) dir() string  { return filepath.Join(d.path, "readers") }
func (d *ReadersDir) wish() string { return filepath.Join(d.dir(), "wish.json") }

// Env is env with what a process needs to find the package and the wish.
func (d *ReadersDir) Env(env []string) []string {
	return append(withPackages(env, packagesIn(d.path)), ReadersVar+"="+d.wish())
}

// Receipts reads what the processes have left.
func (d *ReadersDir) Receipts() ([]ReadersReceipt, error) {
	return receipts(d.dir(), "reads-*.json", ParseReads)
}

// ParseReads reads one receipt strictly.
func ParseReads(data []byte) (r ReadersReceipt, err error) {
	if err := strict(data, &r); err != nil {
		return r, err
	}
	for _, read := range r.Reads {
		switch read.Way {
		case ReadPlaced, ReadCut, ReadSmall, ReadFull:
		default:
			return r, fmt.Errorf("has an unknown way %q", read.Way)
		}
	}
	return r, nil
}
