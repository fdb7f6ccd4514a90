package notebook

import (
	"regexp"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// AllowedError is an error that does not count in cells with a tag.
type AllowedError struct{ Name, Tag string }

var errorName = regexp.MustCompile(`^[A-Za-z_]\w*$`)

// ParseAllowed reads NAME@CELL_TAG.
func ParseAllowed(text string) (AllowedError, error) {
	name, tag, ok := strings.Cut(text, "@")
	if !ok || !errorName.MatchString(name) || tag == "" {
		return AllowedError{}, record.Failf(record.Usage, "allowed error %q: give NAME@CELL_TAG, as in ValueError@may-fail", text)
	}
	return AllowedError{name, tag}, nil
}
