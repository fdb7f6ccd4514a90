package notebook

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The kinds of a pyToken.
const (
	tokenOp = iota
	tokenName
	tokenText
	// tokenEnd is the end of a statement.
	tokenEnd
)

// pyToken is a token of Python, as far as texts and paths need it.
type pyToken struct {
	kind int
	// text is the value of a text, else the token itself.
	text string
	// parts are set for an f-string with expressions: texts and, at odd places,
	// the expressions' source.
	parts []string
	// group tells brackets apart; 0 is outside of any.
	group int
}

// lexer reads Python without ever failing: what it does not understand is an
// operator of one character, and an open text ends with the source.
type lexer struct {
	src    string
	at     int
	tokens []pyToken
	open   []int
	groups *int
}

var textStart = regexp.MustCompile(`^(?i:r|u|b|f|br|rb|fr|rf|t|tr|rt)?("""|'''|"|')`)

// lex reads the Python of a cell. Lines of IPython's (%, !, ?) are left out.
func lex(source string, groups *int) []pyToken {
	l := &lexer{src: source, groups: groups}
	for l.at < len(l.src) {
		l.next()
	}
	l.add(pyToken{kind: tokenEnd})
	return l.tokens
}

func (l *lexer) add(t pyToken) {
	if len(l.open) > 0 {
		t.group = l.open[len(l.open)-1]
	}
	l.tokens = append(l.tokens, t)
}

// startsLine says whether a statement begins here.
func (l *lexer) startsLine() bool {
	return len(l.open) == 0 && (len(l.tokens) == 0 || l.tokens[len(l.tokens)-1].kind == tokenEnd)
}

func (l *lexer) next() {
	rest := l.src[l.at:]
	c := rest[0]
	switch {
	case c == '\n' || c == ';':
		l.at++
		if len(l.open) == 0 {
			l.add(pyToken{kind: tokenEnd})
		}
	case strings.IndexByte("\\ \t\r\f", c) >= 0:
		l.at++
		if c == '\\' && strings.HasPrefix(rest[1:], "\n") {
			l.at++
		}
	case c == '#', strings.IndexByte("%!?", c) >= 0 && l.startsLine():
		l.at += lineLen(rest)
	case textStart.MatchString(rest):
		l.text(textStart.FindStringSubmatch(rest))
	default:
		l.word(rest)
	}
}

func lineLen(s string) int {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return i
	}
	return len(s)
}

// word reads a name, a number or an operator.
func (l *lexer) word(rest string) {
	r, size := utf8.DecodeRuneInString(rest)
	if r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) {
		n := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if n < 0 {
			n = len(rest)
		}
		l.at += n
		l.add(pyToken{kind: tokenName, text: rest[:n]})
		return
	}
	l.at += size
	op := rest[:size]
	if strings.Contains(")]}", op) && len(l.open) > 0 {
		l.open = l.open[:len(l.open)-1]
	}
	if op == "=" && strings.HasPrefix(rest, "==") {
		op, l.at = "==", l.at+1
	}
	l.add(pyToken{kind: tokenOp, text: op})
	if strings.Contains("([{", op) {
		*l.groups++
		l.open = append(l.open, *l.groups)
	}
}

// text reads a text literal whose prefix and quotes are in m.
func (l *lexer) text(m []string) {
	prefix, quotes := strings.ToLower(strings.TrimSuffix(m[0], m[1])), m[1]
	l.at += len(m[0])
	raw, format := strings.Contains(prefix, "r"), strings.ContainsAny(prefix, "ft")
	var b strings.Builder
	var parts []string
	for l.at < len(l.src) {
		rest := l.src[l.at:]
		switch {
		case strings.HasPrefix(rest, quotes):
			l.at += len(quotes)
			l.addText(prefix, b.String(), parts)
			return
		case len(quotes) == 1 && rest[0] == '\n': // It is not closed: no Python.
			return
		case rest[0] == '\\' && len(rest) > 1:
			l.escape(&b, raw)
		case format && (strings.HasPrefix(rest, "{{") || strings.HasPrefix(rest, "}}")):
			b.WriteByte(rest[0])
			l.at += 2
		case format && rest[0] == '{':
			parts = append(parts, b.String(), l.expression(quotes))
			b.Reset()
		default:
			b.WriteByte(rest[0])
			l.at++
		}
	}
}

// addText adds a text, or adds it to the text before it, as Python does.
func (l *lexer) addText(prefix, text string, parts []string) {
	if strings.Contains(prefix, "b") {
		l.add(pyToken{kind: tokenOp, text: "bytes"})
		return
	}
	if parts != nil {
		parts = append(parts, text)
	}
	if n := len(l.tokens); n > 0 && l.tokens[n-1].kind == tokenText && l.tokens[n-1].parts == nil && parts == nil {
		l.tokens[n-1].text += text
		return
	}
	l.add(pyToken{kind: tokenText, text: text, parts: parts})
}

var escapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': `"`, '\n': ""}

// escape reads a backslash and what follows it; rare escapes stay as they are.
func (l *lexer) escape(b *strings.Builder, raw bool) {
	two := l.src[l.at : l.at+2]
	value, known := escapes[two[1]]
	if raw || !known {
		value = two
	}
	b.WriteString(value)
	l.at += 2
}

// expression reads {…} of an f-string. The quotes of the string end it, too, when
// it has no end: older Pythons do not let them occur within.
func (l *lexer) expression(quotes string) string {
	begin, depth := l.at+1, 0
	for ; l.at < len(l.src); l.at++ {
		switch l.src[l.at] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				l.at++
				return l.src[begin : l.at-1]
			}
		case '\n':
			if len(quotes) == 1 {
				return l.src[begin:l.at]
			}
		}
	}
	return l.src[min(begin, l.at):]
}
