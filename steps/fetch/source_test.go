package fetch

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUnsigned(t *testing.T) {
	for text, want := range map[string]string{
		"https://user:pa%2Fss@host/a.git":                         "https://host/a.git",
		"https://ghp_token@host/a.git":                            "https://host/a.git",
		"a=https://h/x?version=2&X-Amz-Signature=abc#format=zip":  "a=https://h/x?version=2&X-Amz-Signature=***#format=zip",
		"https://h/x?API%5FKey=abc":                               "https://h/x?API%5FKey=***",
		"https://h/x?%zz=abc":                                     "https://h/x?%zz=***",
		`["a=ftp://u:p@h/x?sig=1","b=https://h/y?page=3"]`:        `["a=ftp://h/x?sig=***","b=https://h/y?page=3"]`,
		"git@host:me/repo.git":                                    "git@host:me/repo.git",
		"n=5":                                                     "n=5",
		"https://host/path@2/x":                                   "https://host/path@2/x",
		"HTTPS://User:Word@Host/a https://second:word@host/b?c=d": "HTTPS://Host/a https://host/b?c=d",
	} {
		assert.Equal(t, want, Unsigned(text))
	}
}
