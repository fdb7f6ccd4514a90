package steps

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/steptest"
	"github.com/step-runner/step-runner/steps/subsample"
)

// subsampleData is the data set that comes with scanpy: 700 cells, 765 genes.
func subsampleData(t *testing.T) string {
	found, err := filepath.Glob(filepath.Join(steptest.Root(t), ".cache/tools/lib/python*/site-packages/scanpy/datasets/10x_pbmc68k_reduced.h5ad"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

func TestSubsample(t *testing.T) {
	e := NewTestEnv(t)
	in, out := subsampleData(t), filepath.Join(t.TempDir(), "small.h5ad")
	s := &Subsample{In: in, Out: out, Options: subsample.Options{MaxCells: 100, MaxGenes: 40, KeepGenes: []string{"LYZ", "NOPE"}, StratifyBy: "bulk_labels"}}
	rec, err := Execute(t.Context(), e.Env, s)
	require.NoError(t, err)
	facts := rec.Facts.(*record.SubsampleFacts)
	assert.Equal(t, record.WayCut, facts.Subsample.Way)
	assert.Equal(t, out+".subsample.json", facts.Manifest)
	require.Len(t, facts.Subsample.Strata, 10)
	after := 0
	for _, st := range facts.Subsample.Strata {
		assert.InDelta(t, float64(st.Before)/7, st.After, 1, st.Value)
		after += st.After
	}
	assert.Equal(t, 100, after)
	assert.Equal(t, "100 of 700 cells, 40 of 765 genes: "+out+"\n", e.Out.String())
	assert.Contains(t, rec.Notes, "gene NOPE, asked for by keep-genes, is not in the data")
	require.Len(t, rec.Inputs, 1)
	require.Len(t, rec.Outputs, 1)
	assert.Equal(t, facts.Subsample.Source, rec.Inputs[0])

	// The record on disk says the same.
	again, err := e.Run.Read(s.ID())
	require.NoError(t, err)
	assert.Equal(t, facts.Subsample, again.Facts.(*record.SubsampleFacts).Subsample)
}

func TestSubsampleFails(t *testing.T) {
	e := NewTestEnv(t)
	in := filepath.Join(t.TempDir(), "in.h5ad")
	require.NoError(t, os.WriteFile(in, []byte("version https://git-lfs.github.com/spec/v1\n"), 0o600))
	out := filepath.Join(t.TempDir(), "small.h5ad")
	rec, err := Execute(t.Context(), e.Env, &Subsample{In: in, Out: out, Options: subsample.Options{MaxCells: 100, MaxGenes: 40}})
	require.Error(t, err)
	assert.Equal(t, record.BadInput, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Hint, "LFS pointer")
	assert.NoFileExists(t, out)
	assert.Empty(t, e.Out.String())
}
