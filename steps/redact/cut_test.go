package redact

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// longest is the longest part of secret, in bytes, that text still shows.
func longest(text, secret string) (n int) {
	for i := range len(secret) {
		for k := i + n + 1; k <= len(secret) && strings.Contains(text, secret[i:k]); k++ {
			n = k - i
		}
	}
	return n
}

// Texts are folded, as MIME does base64, and shortened, as pytest does its last lines.
func TestFoldedAndShortenedSecrets(t *testing.T) {
	const secret = "github_pat_11ABCDEFG0aZq81kLmN3_Xy5RtWv7UpQs9OjHgFdCbMnBvCxZlKqJwHeGrTyUiPoAsDfGhJkLzXcVbNm12"
	s := newSet(secret)
	encoded := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + secret))
	for at := 1; at < len(secret); at++ {
		folded := s.String("see " + secret[:at] + "\n    " + secret[at:] + " there")
		assert.Less(t, longest(folded, secret), longestPiece, folded)
		assert.True(t, strings.HasPrefix(folded, "see ") && strings.HasSuffix(folded, " there"), folded)
		assert.Less(t, longest(s.String(secret[:at]+"..."), secret), longestPiece)
		assert.Less(t, longest(s.String("..."+secret[at:]), secret), longestPiece)
	}
	// A piece may begin in the middle of three bytes.
	const most = longestPiece
	for at := 1; at < len(encoded); at++ {
		left, right, _ := strings.Cut(s.String(encoded[:at]+"\n"+encoded[at:]), "\n")
		for _, text := range []string{left, right} {
			for shift := range min(4, len(text)) {
				plain, _ := base64.RawStdEncoding.DecodeString(text[shift : len(text)-(len(text)-shift)%4])
				assert.LessOrEqual(t, longest(string(plain), secret), most, text)
			}
		}
	}
	folded := secret[:30] + "\n" + secret[30:]
	assert.False(t, s.Contains([]byte(folded)), "no file is refused for a part")
}

func TestShortSecretsHaveNoPieces(t *testing.T) {
	s := newSet("postgres-password-2026")
	assert.Equal(t, "the postgres-password is", s.String("the postgres-password is"))
}
