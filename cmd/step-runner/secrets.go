package main

import (
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/step-runner/step-runner/steps"
	"github.com/step-runner/step-runner/steps/fetch"
	"github.com/step-runner/step-runner/steps/redact"
)

// hideSecrets makes known what the command line and the variables hold of
// secrets, before anything is written.
func (p *process) hideSecrets() {
	for _, name := range steps.TokenVars() {
		p.env.Secrets.Add(p.env.Getenv(name))
	}
	for i, arg := range p.args {
		p.hideUserinfo(arg)
		if m := envFlag.FindStringSubmatch(arg); m != nil {
			assigned := append(p.args[i+1:len(p.args):len(p.args)], "")[0]
			if m[1] != "" {
				assigned = m[2]
			}
			name, value, _ := strings.Cut(assigned, "=")
			p.hideGiven(name[strings.LastIndex(name, ":")+1:], value)
		}
	}
	for _, kv := range p.env.Environ {
		name, value, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "STEP_RUNNER_") {
			p.hideUserinfo(value)
		} else {
			p.hideGiven(name, value)
		}
	}
}

// envFlag gives a variable to children, as [NOTEBOOK:]NAME=VALUE: --papermill-env=A=1.
var envFlag = regexp.MustCompile(`^--(?:[a-z]+-)?env(=(.*))?$`)

// hideGiven makes known what a variable that is for the children holds: it is one
// by its name, or credentials in a URL, of a package index or a proxy.
func (p *process) hideGiven(name, value string) {
	if redact.NamesSecret(name) && redact.Telling(value) {
		p.env.Secrets.Hide(value)
	}
	for _, secret := range credentials(value) {
		if redact.Telling(secret) {
			p.env.Secrets.Hide(secret)
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
	for _, secret := range credentials(text) {
		p.env.Secrets.Add(secret)
	}
}

// credentials are those that stand before the host in URLs in text.
func credentials(text string) (all []string) {
	for _, m := range userinfo.FindAllStringSubmatch(text, -1) {
		user, password, _ := strings.Cut(m[1], ":")
		for _, s := range []string{user, password} {
			if s == user && len(s) < minToken {
				continue
			}
			all = append(all, s)
			if plain, err := url.PathUnescape(s); err == nil {
				all = append(all, plain)
			}
		}
	}
	return all
}
