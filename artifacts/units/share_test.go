package units

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShare(t *testing.T) {
	for text, want := range map[string]struct {
		of   uint64
		text string
	}{"50%": {500, "50%"}, " 12.5 %": {125, "12.5%"}, "100%": {1000, "100%"}, "4KiB": {4096, "4 KiB"}, "0": {0, "0 B"}} {
		var s, again Share
		require.NoError(t, s.UnmarshalText([]byte(text)), text)
		assert.Equal(t, want.of, s.Of(1000), text)
		assert.Equal(t, want.text, s.String())
		written, err := s.MarshalText()
		require.NoError(t, err)
		require.NoError(t, again.UnmarshalText(written))
		assert.Equal(t, s, again)
	}
	for _, text := range []string{"", "%", "0%", "-5%", "101%", "NaN%", "inf%", "half", "5%%"} {
		var s Share
		assert.ErrorContains(t, s.UnmarshalText([]byte(text)), "is no s", text)
	}
}
