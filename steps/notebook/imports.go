package notebook

import (
	"regexp"
	"slices"
	"strings"
)

var (
	// quoted are texts over several lines: what looks like an import there is none.
	quoted = regexp.MustCompile(`(?s)"""(?:[^\\]|\\.)*?"""|'''(?:[^\\]|\\.)*?'''`)
	// pythonMagic are the cell magics below which there is Python of this kernel.
	pythonMagic = regexp.MustCompile(`^%%(?:time|timeit|capture|prun)\b`)
	fromImport  = regexp.MustCompile(`^from\s+([\w.]+)\s+import\b`)
	plainImport = regexp.MustCompile(`^import\s+([\w.]+(?:\s+as\s+\w+)?(?:\s*,\s*[\w.]+(?:\s+as\s+\w+)?)*)\s*(?:#.*)?$`)
)

// Imports says whether source, run to its end as a cell, has imported module: it
// has an import that no condition, function or string stands before. In doubt it
// has not.
func Imports(source, module string) bool {
	source = quoted.ReplaceAllString(source, `""`)
	if strings.Contains(source, `"""`) || strings.Contains(source, "'''") {
		return false // A text whose ends were not found.
	}
	if strings.HasPrefix(source, "%%") && !pythonMagic.MatchString(source) {
		return false
	}
	for line := range strings.SplitSeq(source, "\n") {
		for statement := range strings.SplitSeq(line, ";") {
			// A line that is indented, or follows a block's head, may never run.
			if strings.HasPrefix(line, "\t") || strings.HasPrefix(line, " ") {
				break
			}
			if imported(strings.TrimSpace(statement), module) {
				return true
			}
			if strings.ContainsAny(statement, `"':#`) {
				break // What follows may be in a string, a comment or a block.
			}
		}
	}
	return false
}

func imported(statement, module string) bool {
	is := func(name string) bool { return name == module || strings.HasPrefix(name, module+".") }
	if m := fromImport.FindStringSubmatch(statement); m != nil {
		return is(m[1])
	}
	if m := plainImport.FindStringSubmatch(statement); m != nil {
		return slices.ContainsFunc(strings.Split(m[1], ","), func(item string) bool { return is(strings.Fields(item)[0]) })
	}
	return false
}
