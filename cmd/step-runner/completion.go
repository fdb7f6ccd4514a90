package main

import (
	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the long help.
func (completionCmd) Help() string {
	return `Prints the shell code that turns tab completion on. For bash, put this into
~/.bashrc:

    source <(step-runner completion bash)

zsh takes the same in ~/.zshrc; fish takes "step-runner completion fish | source"
in ~/.config/fish/config.fish.`
}

func (c *completionCmd) run(p *process) error {
	return (&kongcompletion.Completion{Shell: c.Shell, Code: true}).Run(p.kctx)
}

// complete answers a shell that asks for completions, and says whether one did.
func (p *process) complete(parser *kong.Kong) bool {
	if p.env.Getenv("COMP_LINE") == "" {
		return false
	}
	kongcompletion.Register(parser, kongcompletion.WithExitFunc(func(int) {}))
	return true
}
