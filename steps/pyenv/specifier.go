package pyenv

import (
	"fmt"
	"regexp"
	"strings"
)

// admits says whether the Python version, like "3.11.7", fits one of the
// alternatives. A pre-release counts as its release.
func admits(alternatives []string, python string) (bool, error) {
	m := versionForm.FindStringSubmatch(strings.TrimSuffix(python, "+"))
	if m == nil {
		return false, fmt.Errorf("%q is no version", python)
	}
	for _, alternative := range alternatives {
		all := true
		for _, spec := range strings.Split(alternative, ",") {
			ok, err := admitsOne(strings.TrimSpace(spec), ints(m[2]))
			if err != nil {
				return false, err
			}
			all = all && ok
		}
		if all {
			return true, nil
		}
	}
	return false, nil
}

var specifier = regexp.MustCompile(`^(~=|===|==|!=|>=|<=|>|<)\s*(\d+(?:\.\d+)*)[^.*]*(\.\*)?$`)

func admitsOne(spec string, version []int) (bool, error) {
	if spec == "" {
		return true, nil
	}
	m := specifier.FindStringSubmatch(spec)
	if m == nil {
		return false, fmt.Errorf("%q is no version specifier", spec)
	}
	want := ints(m[2])
	cmp := compare(version, want)
	if m[3] != "" {
		cmp = compare(prefix(version, len(want)), want)
	}
	switch m[1] {
	case "==", "===":
		return cmp == 0, nil
	case "!=":
		return cmp != 0, nil
	case ">=":
		return cmp >= 0, nil
	case "<=":
		return cmp <= 0, nil
	case ">":
		return cmp > 0, nil
	case "<":
		return cmp < 0, nil
	}
	return cmp >= 0 && compare(prefix(version, len(want)-1), want[:len(want)-1]) == 0, nil
}

func prefix(version []int, n int) []int { return version[:min(n, len(version))] }

// compare orders releases; missing parts are zero.
func compare(a, b []int) int {
	for i := range max(len(a), len(b)) {
		x, y := 0, 0
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return x - y
		}
	}
	return 0
}

// hull is one specifier that holds wherever one of the alternatives does: pip
// knows no "or".
func hull(alternatives []string) string {
	if len(alternatives) == 1 {
		return alternatives[0]
	}
	low, high := bounds(alternatives[0])
	for _, alternative := range alternatives[1:] {
		l, h := bounds(alternative)
		low, high = outer(low, l, -1), outer(high, h, 1)
	}
	return strings.Trim(low+","+high, ",")
}

// bounds are the specifiers that bound the set of versions that spec admits,
// below and above; "" is no bound.
func bounds(spec string) (low, high string) {
	for _, s := range strings.Split(spec, ",") {
		m := specifier.FindStringSubmatch(s)
		if m == nil {
			continue
		}
		release := ints(m[2])
		switch op := m[1]; {
		case op == ">" || op == ">=":
			low = s
		case op == "<" || op == "<=":
			high = s
		case op == "==" && m[3] != "":
			low, high = ">="+m[2], "<"+dotted(bump(release, len(release)-1))
		case op == "==" || op == "===":
			low, high = ">="+m[2], "<="+m[2]
		case op == "~=":
			low, high = ">="+m[2], "<"+dotted(bump(release, max(0, len(release)-2)))
		}
	}
	return low, high
}

// outer is the bound that lies further out in the direction side, -1 or 1.
func outer(a, b string, side int) string {
	if a == "" || b == "" {
		return ""
	}
	va, vb := specifier.FindStringSubmatch(a), specifier.FindStringSubmatch(b)
	if compare(ints(va[2]), ints(vb[2]))*side >= 0 {
		return a
	}
	return b
}
