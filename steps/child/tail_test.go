package child

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReason(t *testing.T) {
	for out, want := range map[string]string{
		"": "it printed nothing",
		"Collecting x\nERROR: Could not find a version that satisfies the requirement x\nERROR: No matching distribution found for x\n\n[notice] upgrade pip\n": "ERROR: No matching distribution found for x",
		"error: No solution found\n  cause: Because x was not found\n  cause: deeper\nhint: try y\n":                                                            "error: No solution found: Because x was not found: deeper",
		"  | Unable to find installation candidates for a (1)\n  | \n  | This is likely not a Poetry issue.\n":                                                  "Unable to find installation candidates for a (1)",
		"Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'cleo'\n":                                                           "ModuleNotFoundError: No module named 'cleo'",
		"\x1b[31mERROR: red\x1b[0m\nlast": "ERROR: red",
		"one\ntwo\n":                      "two",
	} {
		tail := NewTail(io.Discard)
		_, err := tail.Write([]byte(out))
		require.NoError(t, err)
		assert.Equal(t, want, tail.Reason())
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	tail := NewTail(io.Discard)
	for range 1000 {
		_, err := tail.Write([]byte(strings.Repeat("é", 100)))
		require.NoError(t, err)
	}
	_, err := tail.Write([]byte("end\xff"))
	require.NoError(t, err)
	text := tail.String()
	assert.LessOrEqual(t, len(text), tailBytes+10)
	assert.True(t, strings.HasSuffix(text, "end\uFFFD"))
}
