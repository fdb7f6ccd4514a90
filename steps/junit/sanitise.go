package junit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

var (
	declaration = regexp.MustCompile(`^\s*<\?xml\s[^>]*\?>`)
	encodingOf  = regexp.MustCompile(`encoding\s*=\s*["']([A-Za-z0-9._-]+)["']`)
	reference   = regexp.MustCompile(`&#(x[0-9A-Fa-f]+|[0-9]+);`)
)

// sanitise makes text something that encoding/xml reads: UTF-8 without a
// declaration (XML 1.1 would be refused), with U+FFFD for each byte, character
// and character reference that XML does not allow. Tests print such things.
func sanitise(text []byte) ([]byte, error) {
	text = fromUTF16(text)
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if d := declaration.Find(text); d != nil {
		text = text[len(d):]
		if m := encodingOf.FindSubmatch(d); m != nil {
			switch name := strings.ToLower(string(m[1])); name {
			case "utf-8", "utf8", "us-ascii", "ascii", "utf-16":
			case "iso-8859-1", "latin1", "latin-1", "windows-1252":
				text = fromLatin1(text)
			default:
				return nil, fmt.Errorf("its encoding %s is not known", name)
			}
		}
	}
	text = bytes.Map(func(r rune) rune {
		if !allowed(r) {
			return utf8.RuneError
		}
		return r
	}, text)
	return reference.ReplaceAllFunc(text, func(ref []byte) []byte {
		digits, base := string(ref[2:len(ref)-1]), 10
		if digits[0] == 'x' {
			digits, base = digits[1:], 16
		}
		if n, err := strconv.ParseUint(digits, base, 32); err != nil || !allowed(rune(min(n, utf8.MaxRune+1))) {
			return []byte("\uFFFD")
		}
		return ref
	}), nil
}

// allowed says whether r may stand in an XML 1.0 document.
func allowed(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || (r >= 0x20 && r <= 0xD7FF) || (r >= 0xE000 && r <= 0xFFFD) || (r >= 0x10000 && r <= utf8.MaxRune)
}

func fromUTF16(text []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(text, []byte{0xFE, 0xFF}):
		order = binary.BigEndian
	case bytes.HasPrefix(text, []byte{0xFF, 0xFE}):
		order = binary.LittleEndian
	default:
		return text
	}
	units := make([]uint16, 0, len(text)/2)
	for i := 2; i+1 < len(text); i += 2 {
		units = append(units, order.Uint16(text[i:]))
	}
	return []byte(string(utf16.Decode(units)))
}

func fromLatin1(text []byte) []byte {
	runes := make([]rune, len(text))
	for i, b := range text {
		runes[i] = rune(b)
	}
	return []byte(string(runes))
}
