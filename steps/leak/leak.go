// Package leak looks for a token in what a run has left.
package leak

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// forms are the ways in which token may be written somewhere. Inside a longer
// base64 text it stands at one of three alignments; the characters at its ends
// that depend on its neighbours are left off.
func forms(token string) [][]byte {
	all := [][]byte{[]byte(token), []byte(url.QueryEscape(token)), []byte(url.PathEscape(token))}
	for shift := range 3 {
		padded := append(make([]byte, shift), token...)
		whole := len(padded) / 3 * 3
		text := base64.StdEncoding.EncodeToString(padded[:whole])
		text = text[(shift*8+5)/6:]
		all = append(all, []byte(text), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(text)))
	}
	return all
}

// Search reads every regular file below dir and counts them; one that holds token in
// any form is an error. It shares nothing with package redact, which it checks.
func Search(dir, token string) (int, error) {
	forms := forms(token)
	n := 0
	var errs []error
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		n++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, form := range forms {
			if bytes.Contains(b, form) {
				errs = append(errs, fmt.Errorf("%s holds the token, as %d characters", path, len(form)))
				break
			}
		}
		return nil
	})
	return n, errors.Join(append(errs, err)...)
}
