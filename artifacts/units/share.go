package units

import (
	"fmt"
	"strconv"
	"strings"
)

// Share is an amount of something: so many bytes, or a percentage of what there is.
type Share struct {
	Bytes Bytes
	// Percent is above 0 and at most 100 when the amount is a percentage, else 0.
	Percent float64
}

// UnmarshalText reads "50%", or a size as Bytes does.
func (s *Share) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	if !percent {
		*s = Share{}
		return s.Bytes.UnmarshalText(text)
	}
	p, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	// Not p <= 0: NaN is no share either.
	if err != nil || !(p > 0 && p <= 100) {
		return fmt.Errorf("%q is no share: write it like 50%%, above 0%% and at most 100%%", text)
	}
	*s = Share{Percent: p}
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (s Share) MarshalText() ([]byte, error) {
	if s.Percent > 0 {
		return append(strconv.AppendFloat(nil, s.Percent, 'g', -1, 64), '%'), nil
	}
	return s.Bytes.MarshalText()
}

// String is the percentage, or the bytes in their largest unit.
func (s Share) String() string {
	if s.Percent > 0 {
		return strconv.FormatFloat(s.Percent, 'g', -1, 64) + "%"
	}
	return s.Bytes.String()
}

// Of is the share of whole, in bytes.
func (s Share) Of(whole uint64) uint64 {
	if s.Percent > 0 {
		return uint64(float64(whole) * s.Percent / 100)
	}
	return uint64(s.Bytes)
}
