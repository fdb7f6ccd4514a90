package artifacts

import (
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

func TestClaim(t *testing.T) {
	w := workspace(t)
	r := run(t, w, "nightly")
	require.NoError(t, r.Claim("uid-1"))
	require.NoError(t, r.Write(record1(r, record.Setup, record.StatusSucceeded)))
	require.NoError(t, run(t, w, "nightly").Claim("uid-1"), "its next step")
	err := run(t, w, "nightly").Claim("uid-2")
	assert.Equal(t, record.BadInput, kind(err))
	assert.ErrorContains(t, err, "run nightly of this workspace is not ours: it belongs to uid-1")
	require.NoError(t, run(t, w, "other").Claim("uid-2"))

	old := run(t, w, "old")
	require.NoError(t, old.Write(record1(old, record.Setup, record.StatusSucceeded)))
	assert.Equal(t, record.BadInput, kind(old.Claim("uid-1")), "records of no one")

	spoilt := run(t, w, "spoilt")
	require.NoError(t, os.WriteFile(spoilt.Path("owner"), nil, 0o600))
	assert.Equal(t, record.BadInput, kind(spoilt.Claim("uid-1")), "whose it was is not known")
}

func TestClaimIsForOne(t *testing.T) {
	r := run(t, workspace(t), "r")
	var wait sync.WaitGroup
	got := make(chan string, 20)
	for i := range cap(got) {
		wait.Go(func() {
			if owner := string(rune('a' + i)); r.Claim(owner) == nil {
				got <- owner
			}
		})
	}
	wait.Wait()
	require.Len(t, got, 1)
	assert.NoError(t, r.Claim(<-got))
}

func TestSplitRun(t *testing.T) {
	for text, want := range map[string][2]string{
		"": {}, "r": {"r", ""}, "lite-x7k@0e5f-11": {"lite-x7k", "0e5f-11"}, "@o": {"", "o"},
	} {
		id, owner, err := SplitRun(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, [2]string{id, owner}, text)
	}
	for _, text := range []string{"r@", "r@a@b", "r@a b", "r@../x", "r@$(context.pipelineRun.uid)"} {
		_, _, err := SplitRun(text)
		assert.Equal(t, record.Usage, kind(err), text)
	}
}
