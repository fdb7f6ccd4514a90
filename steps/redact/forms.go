package redact

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// minLine is the length from which one line of a secret is a secret.
	minLine = 16
	// minBase64 characters stand in other data once in 2^42 places.
	minBase64 = 7
)

// forms returns every spelling of secret that is looked for.
func forms(secret string) []string {
	all := []string{secret}
	if strings.Contains(secret, "\n") {
		all = append(all, strings.ReplaceAll(secret, "\n", "\r\n"))
		for line := range strings.SplitSeq(secret, "\n") {
			if line = strings.TrimSpace(line); len(line) >= minLine {
				all = append(all, line)
			}
		}
	}
	for _, s := range slices.Clone(all) {
		all = slices.Concat(all, percentForms(s), jsonForms(s), htmlForms(s), base64Forms(s))
	}
	return all
}

// percentSafe are the characters, beside letters, digits and "-_.~", that the
// usual encoders leave alone: Go's QueryEscape, PathEscape and user information,
// Python's quote, JavaScript's encodeURIComponent and encodeURI.
var percentSafe = []string{"", "$&+=:@", "$&+,;=", "/", "!'()*", ";,/?:@&=+$!*'()#"}

func percentForms(s string) []string {
	var all []string
	for _, safe := range percentSafe {
		for _, format := range []string{"%%%02X", "%%%02x"} {
			p := percentEncode(s, safe, format)
			all = append(all, p, strings.ReplaceAll(p, "%20", "+"))
		}
	}
	return all
}

func percentEncode(s, safe, format string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.~"+safe, c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, format, c)
		}
	}
	return b.String()
}

// jsonForms are JSON strings as Go writes them, with and without its escapes for
// HTML, and as Python's default does, in ASCII only.
func jsonForms(s string) []string {
	if !utf8.ValidString(s) {
		return nil // JSON cannot hold it.
	}
	escaped, _ := json.Marshal(s)
	var plain strings.Builder
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)
	goPlain := unquote(strings.TrimSuffix(plain.String(), "\n"))
	return []string{unquote(string(escaped)), goPlain, asciiOnly(goPlain)}
}

func unquote(s string) string { return s[1 : len(s)-1] }

func asciiOnly(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}

// htmlQuotes are the ways to escape a double and a single quote.
var htmlQuotes = [][2]string{{`"`, `'`}, {"&quot;", "'"}, {"&quot;", "&#x27;"}, {"&quot;", "&#39;"}, {"&quot;", "&apos;"}, {"&#34;", "&#39;"}}

func htmlForms(s string) []string {
	var all []string
	for _, q := range htmlQuotes {
		all = append(all, strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, q[0], `'`, q[1]).Replace(s))
	}
	return all
}

// base64Forms are the characters of the encoded secret that do not depend on
// what stands around it, for each place that it can have in a group of three bytes.
func base64Forms(s string) []string {
	var all []string
	for before := range 3 {
		bits := 8 * (before + len(s))
		// The first character that holds no bit of what comes before.
		first := (8*before + 5) / 6
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := enc.EncodeToString([]byte("\x00\x00"[:before] + s))
			if core := text[first : bits/6]; len(core) >= minBase64 {
				all = append(all, core)
			}
		}
	}
	return all
}
