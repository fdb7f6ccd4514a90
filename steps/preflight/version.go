package preflight

import (
	"strconv"
	"strings"
)

// older says whether version is below the release that the numbers name. A part
// counts as far as it begins with digits: 7.17.0rc1 is 7.17.0.
func older(version string, release ...int) bool {
	parts := strings.Split(version, ".")
	for i, want := range release {
		have := 0
		if i < len(parts) {
			have = leadingNumber(parts[i])
		}
		if have != want {
			return have < want
		}
	}
	return false
}

func leadingNumber(text string) int {
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	n, _ := strconv.Atoi(text[:end])
	return n
}
