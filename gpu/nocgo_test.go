//go:build !cgo

package gpu

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Without cgo nvidia-smi is asked, and the answer says so.
func TestProbeWithoutCgo(t *testing.T) {
	fakeSMI(t, smiOutput, 0)
	facts, err := children(t).Probe(context.Background())
	require.NoError(t, err)
	assert.Len(t, facts.GPUs, 3)
	assert.Nil(t, facts.CUDADevices)
	assert.Contains(t, Findings(facts)[1], "built without cgo")

	facts, err = children(t, "CUDA_VISIBLE_DEVICES=all").Probe(context.Background())
	_ = requireKind(t, record.NoGPU, err)
	assert.Len(t, facts.GPUs, 3)

	fakeSMI(t, "No devices were found\n", 6)
	facts, err = children(t).Probe(context.Background())
	_ = requireKind(t, record.NoGPU, err)
	assert.NotNil(t, facts.GPUs)
}

func TestServeWithoutCgo(t *testing.T) {
	for _, library := range []string{NVML, CUDA} {
		var out bytes.Buffer
		require.NoError(t, Serve(library, &out))
		assert.Contains(t, out.String(), "built without cgo")
	}
}
