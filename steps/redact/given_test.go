package redact

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNamesSecret(t *testing.T) {
	for name, want := range map[string]bool{
		"HF_TOKEN": true, "AWS_SECRET_ACCESS_KEY": true, "db_password": true, "PASSWORD": true, "OPENAI_API_KEY": true, "WANDB_APIKEY": true, "MY_PWD": true,
		"PWD": false, "OLDPWD": false, "BYPASS": false, "GPG_KEY": false, "TOKENIZERS_PARALLELISM": false, "AWS_ACCESS_KEY_ID": false, "TOKEN_FILE": false, "": false,
	} {
		assert.Equal(t, want, NamesSecret(name), name)
	}
}

func TestTelling(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials-1.json")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for value, want := range map[string]bool{
		"hunter2": true, "correct horse": true, "hf_AbCd0123": true, "aBcDeF": true, "abcdefghijklmnop": true, "/K7MDENG/bPx": true, "pässwörd-ü": true,
		"postgres": false, "Postgres": false, "PASSWORD": false, "20261124": false, "a1": false, "": false, file: false,
	} {
		assert.Equal(t, want, Telling(value), value)
	}
}

func TestHiddenIsNotWithheld(t *testing.T) {
	s := &Set{}
	s.Hide("hidden-0123")
	assert.False(t, s.Withheld([]byte("x hidden-0123")))
	s.Add("withheld-0123")
	for text, withheld := range map[string]bool{"x hidden-0123": false, "x withheld-0123": true, "eCB3aXRoaGVsZC0wMTIz": true} {
		assert.True(t, s.Contains([]byte(text)), text)
		assert.Equal(t, withheld, s.Withheld([]byte(text)), text)
		assert.Contains(t, s.String(text), "***")
	}
}
