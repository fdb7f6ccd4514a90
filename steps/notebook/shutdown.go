package notebook

import (
	"regexp"
	"strings"
)

const (
	module   = `(?:IPython|ipykernel|os|signal|sys|time)(?:\.\w+)*`
	ipython  = `(?:IPython\.)?(?:get_ipython\(\)|Application\.instance\(\))`
	shutdown = `\.do_shutdown\(\s*(?:restart\s*=\s*)?(?:True|False)?\s*\)`
)

var (
	// shutdownCall ends the kernel and does nothing else.
	shutdownCall = whole(
		ipython+`\.kernel`+shutdown,
		ipython+`\.ask_exit\(\)`,
		`os\._exit\(\s*0*\s*\)`,
		`os\.kill\(\s*os\.getpid\(\)\s*,\s*(?:9|15|signal\.SIG(?:KILL|TERM))\s*\)`,
		`(?:exit|quit)(?:\(\))?`,
	)
	// harmless is what goes with such a call: without the call it has no effect.
	harmless = whole(
		`import `+module+`(?: as \w+)?(?:\s*,\s*`+module+`(?: as \w+)?)*`,
		`from `+module+` import \w+(?: as \w+)?(?:\s*,\s*\w+(?: as \w+)?)*`,
		`print\((?:"[^"\\{]*"|'[^'\\{]*')?\)`,
		`time\.sleep\([\d.]+\)`,
		`pass`,
	)
	assignment = regexp.MustCompile(`^(\w+)\s*=\s*` + ipython + `(\.kernel)?$`)
	handleCall = regexp.MustCompile(`^(\w+)(\.kernel)?` + shutdown + `$`)
	comment    = regexp.MustCompile(`#.*$`)
	result     = regexp.MustCompile(`^_\s*=\s*`)
)

func whole(alternatives ...string) *regexp.Regexp {
	return regexp.MustCompile(`^(?:` + strings.Join(alternatives, "|") + `)$`)
}

// isShutdown says whether a cell does nothing but end the kernel. In doubt it
// does not: a working cell that is skipped would be a false green.
func isShutdown(source string) bool {
	handles := map[string]string{}
	found := false
	for _, s := range statements(source) {
		switch a, h := assignment.FindStringSubmatch(s), handleCall.FindStringSubmatch(s); {
		case shutdownCall.MatchString(s):
			found = true
		case harmless.MatchString(s):
		case a != nil:
			handles[a[1]] = a[2]
		case h != nil && isKernelOf(handles, h[1], h[2]):
			found = true
		default:
			return false
		}
	}
	return found
}

// isKernelOf says whether name, with the attribute given, is a kernel: either
// was assigned from IPython in this cell.
func isKernelOf(handles map[string]string, name, attribute string) bool {
	assigned, ok := handles[name]
	return ok && (assigned == "") != (attribute == "")
}

// statements splits simple source into its statements. What it cannot split
// rightly, such as a block or a string over several lines, gives text that is
// no known statement.
func statements(source string) []string {
	var all []string
	for _, line := range strings.Split(source, "\n") {
		if strings.TrimLeft(line, " \t") != line && strings.TrimSpace(line) != "" && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			return []string{line} // Indented: part of a block, which may never run.
		}
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		if !strings.ContainsAny(line, `"'`) {
			line = comment.ReplaceAllString(line, "")
		}
		if harmless.MatchString(line) {
			continue
		}
		for _, s := range strings.Split(line, ";") {
			if s = strings.TrimSpace(s); s != "" {
				all = append(all, result.ReplaceAllString(strings.TrimPrefix(s, "await "), ""))
			}
		}
	}
	return all
}
