package redact

import (
	"os"
	"regexp"
	"unicode"
)

var secretName = regexp.MustCompile(`(?i)((^|_)(PASS|PASSWORD|PASSWD|TOKEN|SECRET|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)|_PWD)$`)

// NamesSecret says whether a variable of this name holds a secret, by custom.
func NamesSecret(name string) bool { return secretName.MatchString(name) }

const (
	// minTelling is the length in bytes of the shortest value that can be told from
	// ordinary text, if it mixes kinds of characters; one of minUniform need not.
	minTelling = 6
	minUniform = 16
)

// Telling says whether a value can be told from ordinary text. A plain word, such as
// postgres, stands in many a text where it gives nothing away, and must not make
// artifacts unfit to be published; nor must a number or the path of a file.
func Telling(value string) bool {
	if len(value) < minTelling {
		return false
	}
	if value[0] == '/' {
		if _, err := os.Stat(value); err == nil {
			return false
		}
	}
	kinds := map[int]bool{}
	for i, r := range value {
		switch {
		case unicode.IsDigit(r):
			kinds[0] = true
		case unicode.IsUpper(r):
			if i > 0 { // An initial capital makes a word no less a word.
				kinds[1] = true
			}
		case unicode.IsLetter(r):
			kinds[2] = true
		default:
			kinds[3] = true
		}
	}
	return len(kinds) > 1 || len(value) >= minUniform
}
