package child

import (
	"bytes"
	"io"
	"regexp"
	"strings"
)

// Tail passes output on and keeps the end of it, for messages.
type Tail struct {
	w   io.Writer
	buf []byte
}

// tailBytes is how much of the end is kept.
const tailBytes = 16 << 10

// NewTail passes what is written to it on to w.
func NewTail(w io.Writer) *Tail { return &Tail{w: w} }

func (t *Tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - 2*tailBytes; over > 0 {
		// Cut in larger steps than are written, or each write would copy it all.
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailBytes:]...)
	}
	return t.w.Write(p)
}

// String is the end of the output as valid UTF-8, without terminal colours.
func (t *Tail) String() string {
	b := t.buf[max(0, len(t.buf)-tailBytes):]
	return ansi.ReplaceAllString(string(bytes.ToValidUTF8(b, []byte("\uFFFD"))), "")
}

var (
	ansi = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]")
	// errorLine is how pip, uv, Poetry, pytest and Python begin the line that counts.
	errorLine = regexp.MustCompile(`^(ERROR|Error|error|fatal|E\s{2,}|Unable to|Could not|Cannot|Because|[A-Za-z_.]+(Error|Exception))\b`)
	// decoration is what they draw before it.
	decoration = regexp.MustCompile(`^[\s|│├╰─▶×·•]+`)
)

// Reason is the line of the output that most likely says what went wrong: the
// last that looks like an error, else the last of all.
func (t *Tail) Reason() string {
	last, reason := "it printed nothing", ""
	for _, line := range strings.Split(t.String(), "\n") {
		line = strings.TrimSpace(decoration.ReplaceAllString(line, ""))
		if line == "" {
			continue
		}
		last = line
		if errorLine.MatchString(line) {
			reason = line
		} else if cause, ok := strings.CutPrefix(line, "cause: "); ok && reason != "" {
			reason += ": " + cause // uv tells one error in several lines.
		}
	}
	if reason == "" {
		reason = last
	}
	if len(reason) > 500 {
		reason = strings.ToValidUTF8(reason[:500], "") + "…"
	}
	return reason
}
