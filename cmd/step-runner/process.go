package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/redact"
)

// process is one call of step-runner: what it was given, and where it writes.
// Everything that it writes goes through redaction.
type process struct {
	args     []string
	env      *steps.Env
	cli      cli
	kctx     *kong.Context
	settings *settings
	level    slog.LevelVar
	out      *sink
	stdout   io.WriteCloser
	stderr   io.WriteCloser
}

// run is the whole program; its result is the exit code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	p := newProcess(args, environ, stdout, stderr)
	err := p.do(ctx)
	p.stdout.Close()
	if p.wantsOutput() {
		err = errors.Join(err, p.out.lost())
	}
	p.complain(err)
	p.stderr.Close()
	return record.ExitCode(err)
}

func newProcess(args, environ []string, stdout, stderr io.Writer) *process {
	p := &process{args: args, out: &sink{w: stdout}, env: &steps.Env{
		Secrets: &redact.Set{}, Now: time.Now, Runner: child.Exec{},
		Argv: append([]string{"step-runner"}, args...), Environ: environ, Version: version(),
	}}
	p.hideSecrets()
	p.stdout = p.env.Secrets.Writer(p.out)
	p.stderr = p.env.Secrets.Writer(&sink{w: stderr})
	p.env.Stdout = p.stdout
	p.env.Console = steps.NewConsole(p.stderr, p.env.Getenv("GITHUB_ACTIONS") == "true", p.isTerminal(stderr))
	p.env.Log = slog.New(slog.NewTextHandler(p.env.Console, &slog.HandlerOptions{Level: &p.level}))
	p.settings = newSettings(p.env.Getenv, p.hideUserinfo)
	return p
}

// isTerminal says whether w is a terminal that may be coloured.
func (p *process) isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && p.env.Getenv("NO_COLOR") == "" && p.env.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// do parses the command line and carries out the command.
func (p *process) do(ctx context.Context) (err error) {
	defer func() {
		// The runtime would print the stack unredacted and exit with usage's code.
		if v := recover(); v != nil {
			fmt.Fprintf(p.env.Console, "%s", debug.Stack())
			err = record.Failf(record.Internal, "step-runner itself failed: %v", v)
		}
	}()
	parser, err := newParser(&p.cli, p.settings, p.stdout)
	if err != nil {
		return err
	}
	if p.complete(parser) {
		return nil
	}
	p.kctx, err = parser.Parse(p.args)
	switch {
	case errors.Is(err, errHelp):
		return nil
	case err != nil:
		return usage(err)
	}
	if err := p.level.UnmarshalText([]byte(p.cli.Globals.LogLevel)); err != nil {
		return err
	}
	p.hideTokenFiles()
	p.warnUnknown()
	switch c := p.selected().(type) {
	case plain:
		return c.run(p)
	case steps.Step:
		return p.step(ctx, c)
	}
	return fmt.Errorf("%s is neither a step nor a plain command", p.kctx.Command())
}

// selected is the command that was chosen, nil before the command line was parsed.
func (p *process) selected() any {
	if p.kctx == nil {
		return nil
	}
	return p.kctx.Selected().Target.Addr().Interface()
}

// wantsOutput says whether what the command prints is all that it does. A step's
// verdict does not depend on who reads its output.
func (p *process) wantsOutput() bool {
	_, ok := p.selected().(plain)
	return ok
}

// usage turns an error of the parser into ours.
func usage(err error) error {
	var f *record.Failure
	if errors.As(err, &f) {
		return err
	}
	name := "step-runner"
	var perr *kong.ParseError
	if errors.As(err, &perr) && perr.Context != nil {
		if node := perr.Context.Selected(); node != nil {
			name = node.FullPath()
		} else if perr.Context.Error == nil {
			err = errors.New("no command is given")
		}
	}
	return record.Failf(record.Usage, "%w", err).WithHint("see `%s --help`", name)
}

// step runs one step in its frame and prints its record when asked to.
func (p *process) step(ctx context.Context, step steps.Step) error {
	p.env.EnvUsed = p.settings.used()
	p.env.Variant = artifacts.Variant(p.cli.Globals.Variant)
	if err := steps.CheckResults(p.cli.Globals.Result); err != nil {
		return err
	}
	p.env.Results = p.cli.Globals.Result
	if p.cli.Globals.JSON {
		// Then stdout is the record alone.
		p.env.Stdout = p.env.Console
	}
	if err := p.open(step); err != nil {
		if record.AsFailure(err).Kind == record.Usage {
			return err
		}
		step = refused{step, err}
	}
	rec, err := steps.Execute(ctx, p.env, step)
	if p.cli.Globals.JSON {
		// An error of writing is in p.out.
		_ = record.Encode(p.stdout, rec)
	}
	return err
}

// refused is a step whose workspace or run cannot be used: its record says so.
type refused struct {
	steps.Step
	why error
}

func (r refused) Run(context.Context, *steps.Job) error { return r.why }

// complain says on stderr what went wrong and what to try.
func (p *process) complain(err error) {
	f := record.AsFailure(err)
	if f == nil {
		return
	}
	// A message may quote a notebook.
	fmt.Fprintf(p.env.Console, "step-runner: %s\n", strings.TrimRight(steps.Printable(f.Message), "\n"))
	if f.Hint != "" {
		fmt.Fprintf(p.env.Console, "step-runner: hint: %s\n", steps.Printable(f.Hint))
	}
}
