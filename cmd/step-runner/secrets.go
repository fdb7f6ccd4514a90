package main

import (
	"io"

	"github.com/step-runner/step-runner/steps"
	"github.com/step-runner/step-runner/steps/redact"
)

// hideSecrets makes the secrets known that the variables hold, before anything
// is written.
func (p *process) hideSecrets(args []string) {
	for _, name := range steps.TokenVars() {
		p.env.Secrets.Add(p.env.Getenv(name))
	}
}

func redacted(s *redact.Set, w io.Writer) io.WriteCloser { return s.Writer(w) }
