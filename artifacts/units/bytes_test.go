package units

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBytesText(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0": 0, "1024": 1024, "4GiB": 4 << 30, "4Gi": 4 << 30, "4g": 4 << 30, "1.5 GB": 1.5e9,
		"500MB": 500e6, " 2 TiB ": 2 << 40, "10B": 10, "0.5KiB": 512,
	} {
		var b Bytes
		require.NoError(t, b.UnmarshalText([]byte(text)), text)
		assert.Equal(t, want, b, text)
	}
	for _, text := range []string{"", "GiB", "-1", "4 apples", "1e3", "1..2G", "99999999TiB", "inf", "NaN"} {
		var b Bytes
		assert.ErrorContains(t, b.UnmarshalText([]byte(text)), "is no size", text)
	}
}

func TestBytesString(t *testing.T) {
	for b, want := range map[Bytes]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 4 << 30: "4 GiB", 81559 << 20: "79.6 GiB", 1 << 50: "1024 TiB", 100 << 30: "100 GiB", 85 << 20: "85 MiB",
	} {
		assert.Equal(t, want, b.String())
	}
}

func FuzzBytes(f *testing.F) {
	f.Add("4GiB")
	f.Add("1.5 GB")
	f.Fuzz(func(t *testing.T, text string) {
		var b, again Bytes
		if b.UnmarshalText([]byte(text)) != nil {
			return
		}
		written, err := b.MarshalText()
		require.NoError(t, err)
		require.NoError(t, again.UnmarshalText(written))
		// Sizes go through a float: they are exact up to 2^53.
		if b < 1<<53 {
			require.Equal(t, b, again)
		}
	})
}
