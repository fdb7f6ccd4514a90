package main

import (
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/step-runner/step-runner/steps"
	"github.com/step-runner/step-runner/steps/fetch"
)

// hideSecrets makes known what the command line and the variables hold of
// secrets, before anything is written.
func (p *process) hideSecrets() {
	for _, name := range steps.TokenVars() {
		p.env.Secrets.Add(p.env.Getenv(name))
	}
	for _, arg := range p.args {
		p.hideUserinfo(arg)
	}
	for _, kv := range p.env.Environ {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "STEP_RUNNER_") {
			p.hideUserinfo(value)
		}
	}
}

// hideTokenFiles makes known what the token files hold.
func (p *process) hideTokenFiles() {
	for _, flag := range p.kctx.Flags() {
		path, ok := flag.Target.Interface().(string)
		if !ok || path == "" || !strings.HasSuffix(flag.Name, "token-file") {
			continue
		}
		// A file that cannot be read is the step's to report.
		if b, err := os.ReadFile(path); err == nil {
			p.env.Secrets.Add(string(b))
		}
	}
}

var userinfo = regexp.MustCompile(`://([^/?#\s]*)@`)

// minToken is the length from which a user name in a URL is taken for a token:
// https://TOKEN@host is usual, but "git" must stay readable.
const minToken = 16

// address is a URL in a text.
var address = regexp.MustCompile(`https?://[^\s"'<>]+`)

// hideUserinfo makes the credentials known that stand in URLs in text: before the
// host, and as signatures in the query.
func (p *process) hideUserinfo(text string) {
	for _, text := range address.FindAllString(text, -1) {
		if u, err := url.Parse(text); err == nil {
			for _, secret := range fetch.QuerySecrets(u) {
				p.env.Secrets.Add(secret)
			}
		}
	}
	for _, m := range userinfo.FindAllStringSubmatch(text, -1) {
		user, password, _ := strings.Cut(m[1], ":")
		for _, s := range []string{user, password} {
			if s == user && len(s) < minToken {
				continue
			}
			p.env.Secrets.Add(s)
			if plain, err := url.PathUnescape(s); err == nil {
				p.env.Secrets.Add(plain)
			}
		}
	}
}
