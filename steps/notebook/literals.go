package notebook

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// Look is what a notebook's Python names, read without running it.
type Look struct {
	// Names are the texts that could be names of genes. Those that stand in one list
	// have the same Group.
	Names []NamedText
	// Paths are the data files that it names, relative ones to its own directory,
	// and the addresses from which it loads some.
	Paths []string
}

// NamedText is a text and the brackets that it stands in; 0 are none.
type NamedText struct {
	Text  string
	Group int
}

// dataPath finds what anndata, scanpy and zarr read, also in addresses.
var dataPath = regexp.MustCompile(`(?i)\.(?:h5ad|zarr|h5)/*$`)

// IsDataPath says whether path is by its name one of those in Look.Paths.
func IsDataPath(path string) bool { return dataPath.MatchString(path) }

// geneName is what names of genes look like, and much else.
var geneName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._@/:-]{1,39}$`)

// mostNames bounds what is told to the cutter.
const mostNames = 5000

// Looks reads the code cells.
func (n *Notebook) Looks() Look {
	l := &looker{known: map[string]string{}, seen: map[string]bool{}}
	for _, c := range n.Cells {
		if c.Number == 0 || strings.HasPrefix(c.Source, "%%") && !pythonMagic.MatchString(c.Source) {
			continue
		}
		l.cell(lex(c.Source, &l.groups))
	}
	return l.Look
}

type looker struct {
	Look
	groups int
	// known are variables that were last set to a text.
	known  map[string]string
	seen   map[string]bool
	tokens []pyToken
}

func (l *looker) cell(tokens []pyToken) {
	l.tokens = tokens
	past := 0 // The parts of a path are none.
	for i, t := range tokens {
		switch {
		case t.kind == tokenText && t.parts == nil:
			l.name(t)
		case l.is(i, "=") && l.assigns(i):
			l.assign(i)
		}
		if i < past || slices.ContainsFunc([]string{"/", "+", "."}, func(op string) bool { return l.is(i-1, op) }) {
			continue
		}
		if value, next := l.value(i); next > 0 {
			l.path(value)
			past = next
		}
	}
}

// assign learns, or forgets, what the variable before the = at i holds.
func (l *looker) assign(i int) {
	value, next := l.value(i + 1)
	if next > 0 && (next >= len(l.tokens) || l.tokens[next].kind == tokenEnd) {
		l.known[l.tokens[i-1].text] = value
		return
	}
	delete(l.known, l.tokens[i-1].text)
}

// assigns says whether the statement around the = at i sets one variable.
func (l *looker) assigns(i int) bool {
	return i > 0 && l.tokens[i-1].kind == tokenName && l.tokens[i].group == 0 && (i == 1 || l.tokens[i-2].kind == tokenEnd)
}

// is says whether token i is this operator or name.
func (l *looker) is(i int, text string) bool {
	return i >= 0 && i < len(l.tokens) && l.tokens[i].kind <= tokenName && l.tokens[i].text == text
}

func (l *looker) name(t pyToken) {
	words := strings.FieldsFunc(t.text, func(r rune) bool { return strings.ContainsRune(" \t\n,;", r) })
	if len(words) > 1 {
		l.groups++ // A text of several names is a list of its own.
		t.group = l.groups
	}
	for _, w := range words {
		if geneName.MatchString(w) && len(l.Names) < mostNames && !l.seen["name "+w] {
			l.seen["name "+w] = true
			l.Names = append(l.Names, NamedText{Text: w, Group: t.group})
		}
	}
}

func (l *looker) path(value string) {
	value = strings.TrimRight(value, "/")
	if !dataPath.MatchString(value) || strings.ContainsAny(value, "\n\x00") || l.seen["path "+value] {
		return
	}
	l.seen["path "+value] = true
	l.Paths = append(l.Paths, value)
}

// value is the text that the expression at i gives and the token after it; 0 when
// it is none that is known: a text, a variable that holds one, Path(…),
// os.path.join(…), and these joined by / and +.
func (l *looker) value(i int) (string, int) {
	value, next := l.operand(i)
	for next > 0 && next < len(l.tokens) && (l.is(next, "/") || l.is(next, "+")) {
		right, after := l.operand(next + 1)
		if after == 0 {
			return "", 0
		}
		if l.is(next, "/") {
			value = joinPath(value, right)
		} else {
			value += right
		}
		next = after
	}
	return value, next
}

// joinPath keeps the scheme of an address.
func joinPath(a, b string) string {
	if path.IsAbs(b) {
		return b
	}
	if strings.Contains(a, "://") || a == "" {
		return strings.TrimSuffix(a, "/") + "/" + b
	}
	return path.Join(a, b)
}

var callsPath = [][]string{{"Path"}, {"pathlib", ".", "Path"}, {"os", ".", "path", ".", "join"}, {"join"}, {"str"}}

func (l *looker) operand(i int) (string, int) {
	if i >= len(l.tokens) {
		return "", 0
	}
	switch t := l.tokens[i]; {
	case t.kind == tokenText:
		if value, ok := l.formatted(t); ok {
			return value, i + 1
		}
	case t.kind == tokenName:
		for _, words := range callsPath {
			if l.reads(i, words) && l.is(i+len(words), "(") {
				return l.joined(i + len(words) + 1)
			}
		}
		value, ok := l.known[t.text]
		if ok && !l.is(i+1, ".") && !l.is(i+1, "(") && !l.is(i+1, "[") && !l.is(i+1, "=") {
			return value, i + 1
		}
	}
	return "", 0
}

func (l *looker) reads(i int, words []string) bool {
	for k, w := range words {
		if !l.is(i+k, w) {
			return false
		}
	}
	return true
}

// joined reads the arguments of a call from i on, up to its bracket.
func (l *looker) joined(i int) (string, int) {
	var all []string
	for {
		value, next := l.value(i)
		if next == 0 {
			return "", 0
		}
		all = append(all, value)
		switch {
		case l.is(next, ")"):
			return l.join(all), next + 1
		case !l.is(next, ","):
			return "", 0
		case l.is(next+1, ")"):
			return l.join(all), next + 2
		}
		i = next + 1
	}
}

func (*looker) join(all []string) string {
	value := all[0]
	for _, v := range all[1:] {
		value = joinPath(value, v)
	}
	return value
}

// formatted is a text whose expressions are variables that are known.
func (l *looker) formatted(t pyToken) (string, bool) {
	if t.parts == nil {
		return t.text, true
	}
	parts := slices.Clone(t.parts)
	for i := 1; i < len(parts); i += 2 {
		value, ok := l.known[strings.TrimSpace(parts[i])]
		if !ok {
			return "", false
		}
		parts[i] = value
	}
	return strings.Join(parts, ""), true
}
