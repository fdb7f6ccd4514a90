package pyenv

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Poetry writes versions in a language of its own ("^1.2", "~1.2", "1.2.*",
// "^1 || ^2"); pip and uv read PEP 440. This file translates.

var (
	// constraintTerm is an operator and a version; Poetry allows space between them.
	constraintTerm = regexp.MustCompile(`^\s*,?\s*(\^|~=|~|===|==|=|!=|>=|<=|>|<|)\s*v?([0-9*][^\s,|^~=<>]*)`)
	versionForm    = regexp.MustCompile(`(?i)^(?:(\d+)!)?(\d+(?:\.\d+)*)(?:[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc|post|rev|r|dev)[-_.]?\d*)*(?:\+[a-z0-9._-]+)?$`)
)

// fromPoetry translates a constraint of Poetry's into alternatives of PEP 440
// specifiers, of which one must hold. "" is any version.
func fromPoetry(text string) ([]string, error) {
	var alternatives []string
	for _, part := range strings.Split(strings.ReplaceAll(text, "||", "|"), "|") {
		spec, err := fromPoetryAnd(part)
		if err != nil {
			return nil, fmt.Errorf("version %q: %w", text, err)
		}
		alternatives = append(alternatives, spec)
	}
	return alternatives, nil
}

func fromPoetryAnd(text string) (string, error) {
	var specs []string
	rest := strings.TrimSpace(text)
	if rest == "" {
		return "", fmt.Errorf("a part of it is empty")
	}
	for rest != "" {
		m := constraintTerm.FindStringSubmatch(rest)
		if m == nil {
			return "", fmt.Errorf("%q is no version", rest)
		}
		rest = strings.TrimRight(rest[len(m[0]):], " \t\n,")
		spec, err := fromPoetryTerm(m[1], m[2])
		if err != nil {
			return "", err
		}
		if spec != "" {
			specs = append(specs, spec)
		}
	}
	return strings.Join(specs, ","), nil
}

func fromPoetryTerm(op, version string) (string, error) {
	if version == "*" {
		if op == "" || op == "==" || op == "=" || op == ">=" {
			return "", nil
		}
		return "", fmt.Errorf("%s* is no version", op)
	}
	stem, wild := strings.CutSuffix(version, ".*")
	m := versionForm.FindStringSubmatch(stem)
	if m == nil {
		return "", fmt.Errorf("%q is no version", version)
	}
	if wild {
		switch op {
		case "", "=", "==":
			return "==" + stem + ".*", nil
		case "!=":
			return "!=" + stem + ".*", nil
		case ">=":
			return ">=" + stem, nil
		}
		return "", fmt.Errorf("%s with a wildcard", op)
	}
	release := ints(m[2])
	// A local label may stand after == only.
	public, _, _ := strings.Cut(stem, "+")
	switch op {
	case "^":
		return ">=" + public + ",<" + epoch(m[1]) + dotted(bump(release, caretIndex(release))), nil
	case "~":
		return ">=" + public + ",<" + epoch(m[1]) + dotted(bump(release, min(1, len(release)-1))), nil
	case "", "=", "==":
		return "==" + stem, nil
	case "===", "!=":
		return op + stem, nil
	}
	return op + public, nil
}

// caretIndex is the leftmost part that is not zero, among the first three: the
// one that breaks when it grows.
func caretIndex(release []int) int {
	for i, n := range release {
		if n > 0 || i == 2 {
			return i
		}
	}
	return len(release) - 1
}

// bump raises part i of a release by one and drops what follows it.
func bump(release []int, i int) []int {
	next := slices.Clone(release[:i+1])
	next[i]++
	return next
}

func epoch(e string) string {
	if e == "" {
		return ""
	}
	return e + "!"
}

func ints(release string) []int {
	var parts []int
	for _, p := range strings.Split(release, ".") {
		n, _ := strconv.Atoi(p)
		parts = append(parts, n)
	}
	return parts
}

func dotted(release []int) string {
	parts := make([]string, len(release))
	for i, n := range release {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ".")
}
