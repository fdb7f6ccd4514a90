package repo

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"syscall"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/step-runner/step-runner/artifacts/record"
)

// classify gives an error of a request to the server its class. What it leaves
// as it is may pass: it is worth another try.
func classify(err error, addr Address, g *guard) error {
	err = bare(err)
	var f *record.Failure
	if errors.As(err, &f) || isLocal(err) {
		return err
	}
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return record.Failf(record.RevisionNotFound, "%s is empty: it has no commit", addr).WithHint("push something to it")
	}
	if res := g.answer(); res != nil {
		return byStatus(err, addr, g, res)
	}
	return err
}

// bare takes off go-git's wrappers, which errors.As cannot see through.
func bare(err error) error {
	var unexpected *plumbing.UnexpectedError
	var permanent *plumbing.PermanentError
	switch {
	case errors.As(err, &unexpected):
		return bare(unexpected.Err)
	case errors.As(err, &permanent):
		return bare(permanent.Err)
	}
	return err
}

// isLocal says whether the error is about a file of ours, not about the server.
func isLocal(err error) bool {
	var path *os.PathError
	return errors.As(err, &path) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func byStatus(err error, addr Address, g *guard, res *http.Response) error {
	from := addr.String()
	if g.strayed != "" {
		from += " (redirected to " + g.strayed + ")"
	}
	switch said := serverText(err); {
	case res.StatusCode == http.StatusUnauthorized && (g.cred == nil || g.strayed != ""):
		return record.Failf(record.RepoNotFound, "%s wants a token and was sent none (401): the repository is private, or there is none", from).WithHint("check the URL; for a private repository give --token-file")
	case res.StatusCode == http.StatusUnauthorized:
		return record.Failf(record.CloneAuth, "%s refuses the token (401)%s", from, said)
	case res.StatusCode == http.StatusForbidden:
		return record.Failf(record.CloneAuth, "%s forbids access (403)%s", from, said).WithHint("the token lacks \"contents: read\" for this repository, or its organisation wants it authorised for single sign-on")
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone:
		return record.Failf(record.RepoNotFound, "%s: no such repository, or the token may not see it (%d)", from, res.StatusCode)
	case res.StatusCode == http.StatusOK && !strings.HasPrefix(res.Header.Get("Content-Type"), "application/x-git-"):
		return record.Failf(record.CloneFailed, "%s does not answer as a git server does: Content-Type %q", from, res.Header.Get("Content-Type")).WithHint("check the URL; a proxy or a login page may be in the way")
	}
	return err
}

// serverText is what a server said with its refusal: one short line, printable.
func serverText(err error) string {
	_, text, ok := strings.Cut(err.Error(), ": ")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if !ok || text == "" || strings.HasPrefix(text, "<") {
		return ""
	}
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200]) + "…"
	}
	return ": " + text
}
