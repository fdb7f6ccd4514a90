package summary

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/step-runner/step-runner/artifacts/record"
)

// All text from outside goes through one of line, code, tag and block. What they
// return cannot leave its place: not a table's cell, not a code block, not HTML.
// It stands in code, so that GitHub makes no mention or reference of it either.

var (
	// ansi are the escape sequences that programs colour their output with.
	ansi = regexp.MustCompile("\x1b\\[[0-9;:?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(\x07|\x1b\\\\)|\x1b[@-Z\\\\^_]")
	// completed finds the line that only a green summary may hold. A notebook that
	// prints it must not make a red one look green to whoever searches for it.
	completed = regexp.MustCompile(`(?i)(entire\s+8-step\s+workflow)\s+(completed)`)
	ticks     = regexp.MustCompile("`+")
	space     = regexp.MustCompile(`\s+`)
	lineEnds  = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n", "\u0085", "\n")
	// plain is what a code span holds as it is, also in a table.
	plain = regexp.MustCompile(`^[^|\\&]*$`)
)

// hide takes the secrets out, before anything else can break one in two.
func (r *Report) hide(text string) string {
	if r.Redact == nil {
		return text
	}
	return r.Redact(text)
}

// clean is text without what steers a terminal or the direction of writing, with
// \n as the only line end.
func clean(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	text = ansi.ReplaceAllString(text, "")
	text = lineEnds.Replace(text)
	text = strings.Map(func(c rune) rune {
		if c != '\n' && c != '\t' && (unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c)) {
			return '\ufffd'
		}
		return c
	}, text)
	return completed.ReplaceAllString(text, "$1 … $2")
}

// line is text on one line of at most n characters.
func (r *Report) line(text string, n int) string {
	text = r.hide(text)
	if len(text) > 16*n {
		// A text can be megabytes; this much makes a line also when most of it is space.
		text = text[:16*n] + "…"
	}
	text = strings.TrimSpace(space.ReplaceAllString(clean(text), " "))
	if runes := []rune(text); len(runes) > n {
		text = string(runes[:n-1]) + "…"
	}
	if text == "" {
		return "–"
	}
	return text
}

// code is text as inline code, for a paragraph, a list or a table's cell.
func (r *Report) code(text string, n int) string {
	text = r.line(text, n)
	switch ticks := longestTicks(text); {
	case !plain.MatchString(text):
		return entities(text)
	case ticks == 0:
		return "`" + text + "`"
	default:
		fence := strings.Repeat("`", ticks+1)
		return fence + " " + text + " " + fence
	}
}

func longestTicks(text string) (longest int) {
	for _, run := range ticks.FindAllString(text, -1) {
		longest = max(longest, len(run))
	}
	return longest
}

// tag is text as code inside HTML, where backticks mean nothing.
func (r *Report) tag(text string, n int) string { return entities(r.line(text, n)) }

// entities is text in a code element, with the punctuation that could mean
// something as character references: these never begin or end anything in
// Markdown or HTML, and no link is made of them.
func entities(text string) string {
	var b strings.Builder
	for _, c := range text {
		if c < unicode.MaxASCII && (unicode.IsPunct(c) || unicode.IsSymbol(c)) && !strings.ContainsRune(",-/()='+%?;", c) {
			fmt.Fprintf(&b, "&#%d;", c)
		} else {
			b.WriteRune(c)
		}
	}
	return "<code>" + b.String() + "</code>"
}

// block is text as a code block of about n characters at most: of a longer text
// its beginning and its end, where tracebacks say what happened.
func (r *Report) block(language, text string, n int) string {
	const gap = "\n[… the middle is left out …]\n"
	text = r.hide(text)
	if len(text) > 32*n {
		text = text[:16*n] + gap + text[len(text)-16*n:]
	}
	text = strings.Trim(clean(text), "\n")
	if runes := []rune(text); len(runes) > n {
		text = string(runes[:n/2]) + gap + string(runes[len(runes)-n+n/2:])
	}
	fence := strings.Repeat("`", max(3, longestTicks(text)+1))
	return fence + language + "\n" + text + "\n" + fence + "\n"
}

// first is the first line of text that says something.
func first(text string) string {
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" {
			return l
		}
	}
	return ""
}

// mark is the symbol of a status.
func mark(s record.Status) string {
	switch s {
	case record.StatusSucceeded:
		return "✅"
	case record.StatusSkipped:
		return "⏭️"
	case record.StatusRunning:
		return "⏳"
	}
	return "❌"
}
