// Package units reads and writes sizes as people do.
package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size in bytes. As text it is a number with an optional unit: B, K,
// M, G, T and KiB, MiB, GiB, TiB are powers of 1024, as Kubernetes and CUDA tools
// have them, kB, MB, GB and TB powers of 1000.
type Bytes uint64

var factors = map[string]float64{
	"": 1, "b": 1,
	"k": 1 << 10, "ki": 1 << 10, "kib": 1 << 10, "kb": 1e3,
	"m": 1 << 20, "mi": 1 << 20, "mib": 1 << 20, "mb": 1e6,
	"g": 1 << 30, "gi": 1 << 30, "gib": 1 << 30, "gb": 1e9,
	"t": 1 << 40, "ti": 1 << 40, "tib": 1 << 40, "tb": 1e12,
}

// UnmarshalText reads "4GiB", "1.5 GB" or "1024".
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	digits := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if digits < 0 {
		digits = len(s)
	}
	n, err := strconv.ParseFloat(s[:digits], 64)
	factor, ok := factors[strings.ToLower(strings.TrimSpace(s[digits:]))]
	if err != nil || !ok || n*factor >= math.MaxUint64 {
		return fmt.Errorf("%q is no size: write it like 500MB or 4GiB", text)
	}
	*b = Bytes(n * factor)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (b Bytes) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(b), 10), nil }

// String is b in the largest binary unit that leaves at least 1, with three digits.
func (b Bytes) String() string {
	n, unit := float64(b), 0
	for n >= 1024 && unit < 4 {
		n, unit = n/1024, unit+1
	}
	decimals := 2
	if n >= 10 {
		decimals = 1
	}
	if n >= 100 {
		decimals = 0
	}
	text := strconv.FormatFloat(n, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + " " + []string{"B", "KiB", "MiB", "GiB", "TiB"}[unit]
}
