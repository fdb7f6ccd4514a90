package steps

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/subsample"
)

// Subsample cuts a small data set out of a large one.
type Subsample struct {
	In  string `arg:"" help:"The data: an .h5ad file, a Zarr directory of AnnData, or a 10x .h5 file."`
	Out string `arg:"" help:"Where to write the small one, in the same format. An earlier one is replaced."`
	subsample.Options
	Python string `placeholder:"PATH" help:"Interpreter that has h5py, or zarr for Zarr. Default: the one that setup found, else python3 of PATH."`
	child.Limits

	facts record.SubsampleFacts
}

// Help is the long help.
func (*Subsample) Help() string {
	return `Keeps at most --max-cells cells and --max-genes genes: always the same ones for the
same data, seed and parameters, on any machine. Kept are the genes of --keep-genes,
the mitochondrial (MT-) and ribosomal (RPS, RPL) ones, and then those that are
detected in the most of the kept cells. X, layers, raw, obs, var, obsm, varm, obsp
and varp are cut alike; uns stays as it is. The file is read once, in blocks, so
memory does not grow with it. What has no more cells and genes than that is copied
as it is.

OUT.subsample.json says which cells and genes were kept and why, the digest of the
source, and how far the distributions in obs have moved.

Exit status: 0; 10 when the data cannot be read or has no such column, 11 when
Python lacks h5py or zarr, 12 or 13 when the output cannot be written or does not
fit; 45 when memory ran out; 124 when --timeout ran out.`
}

// ID is outside the workflow.
func (*Subsample) ID() record.ID { return record.ID{Step: 0, Name: "subsample"} }

// Facts returns what Run fills in.
func (s *Subsample) Facts() any { return &s.facts }

// Run cuts and says what came out.
func (s *Subsample) Run(ctx context.Context, j *Job) error {
	python, err := s.interpreter(j)
	if err != nil {
		return err
	}
	c := subsample.Cutter{Run: j.Child, Python: python, Log: j.Log, Limits: s.Limits}
	r, err := c.Cut(ctx, s.In, s.Out, s.Options, nil)
	if err != nil {
		return err
	}
	s.facts = record.SubsampleFacts{Subsample: &r, Manifest: subsample.ManifestName(r.Output.Path)}
	j.Rec.Inputs = append(j.Rec.Inputs, r.Source)
	j.Rec.Outputs = append(j.Rec.Outputs, r.Output)
	for _, g := range r.Missing {
		j.Note("gene %s, asked for by %s, is not in the data", g.Name, g.Why)
	}
	_, err = fmt.Fprintf(j.Stdout, "%d of %d cells, %d of %d genes: %s\n", r.After.Cells, r.Before.Cells, r.After.Genes, r.Before.Genes, r.Output.Path)
	return err
}

func (s *Subsample) interpreter(j *Job) (string, error) {
	name := s.Python
	if name == "" {
		return j.Python()
	}
	if strings.Contains(name, "/") {
		abs, err := filepath.Abs(name)
		if err != nil {
			return "", err
		}
		name = abs
	}
	return lookPath(j.Getenv("PATH"), name)
}
