package steps

import (
	"bytes"
	"crypto/rand"
	"strings"
)

// stopCommands makes what is written plain text for GitHub Actions: a child's
// output must not set variables or close our group. Nobody can guess the token.
func (c *Console) stopCommands() {
	if c.actions && c.token == "" {
		c.token = rand.Text()
		c.line("::stop-commands::%s", c.token)
	}
}

func (c *Console) resumeCommands() {
	if c.token != "" {
		c.line("::%s::", c.token)
		c.token = ""
	}
}

func looksLikeCommand(b []byte) bool {
	return bytes.Contains(b, []byte("::")) || bytes.Contains(b, []byte("##["))
}

var (
	propertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	dataEscapes     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
)

func escapeProperty(s string) string { return propertyEscapes.Replace(s) }
func escapeData(s string) string     { return dataEscapes.Replace(s) }
