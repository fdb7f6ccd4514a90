package pyenv

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
)

// ownPoetry is the Poetry that is installed where there is none that works.
const ownPoetry = "2.5.1"

// findPoetry returns a Poetry that works: one that is there, else one installed
// into an environment of its own. Each that could not be taken is told in tried.
func (b *Builder) findPoetry(ctx context.Context, p *Project, in interpreter) (poetry installer, tried []string, err error) {
	argv, version, err := b.find(ctx, in.Executable, "poetry")
	if err == nil && strings.HasPrefix(version, "1.") && p.toml.Project != nil {
		err = record.Failf(b.Kind, "%s is %s, which does not know [project]", strings.Join(argv, " "), version)
	}
	if err == nil {
		return installer{name: "poetry", version: version, argv: argv}, nil, nil
	}
	if ctx.Err() != nil {
		return poetry, nil, err
	}
	tried = append(tried, "poetry: "+err.Error())
	v, err := b.Tools(ctx, "poetry", Tools{Python: in.Executable, Requirements: []string{"poetry==" + ownPoetry}})
	if err != nil {
		return poetry, tried, failf(b.Kind, err, "Poetry %s could not be installed", ownPoetry)
	}
	// It is used only while the tests' environment is built; nobody replaces what works.
	v.Close()
	return installer{name: "poetry", version: ownPoetry, argv: []string{v.Python, "-m", "poetry"}}, tried, nil
}

// poetryInstall installs the project's dependencies into the environment in dir
// with Poetry, then the project itself if it is a package.
func (b *Builder) poetryInstall(ctx context.Context, poetry installer, p *Project, groups, extras []string, dir string) (notes []string, err error) {
	if err := b.poetryAims(ctx, poetry, p, dir); err != nil {
		return nil, err
	}
	argv := append(slices.Clone(poetry.argv), "--no-ansi", "install", "--no-root")
	if len(groups) > 0 {
		argv = append(argv, "--with", strings.Join(groups, ","))
	}
	for _, extra := range extras {
		argv = append(argv, "--extras", extra)
	}
	if err := b.run(ctx, p.Dir, dir, argv...); err != nil {
		return nil, err
	}
	if t := p.toml.Tool.Poetry; t != nil && t.PackageMode != nil && !*t.PackageMode {
		return nil, nil
	}
	err = b.run(ctx, p.Dir, dir, append(slices.Clone(poetry.argv), "--no-ansi", "install", "--only-root")...)
	return rootNote(ctx, err)
}

// rootNote turns the failure to install the project itself into a note: the
// tests run in its directory and decide whether they need more.
func rootNote(ctx context.Context, err error) ([]string, error) {
	if err == nil || ctx.Err() != nil {
		return nil, err
	}
	return []string{"the test repository itself could not be installed as a package; its tests import from their working directory: " + err.Error()}, nil
}

// poetryAims makes sure that Poetry works on the environment in dir and on no
// other: settings can make it choose the image's own.
func (b *Builder) poetryAims(ctx context.Context, poetry installer, p *Project, dir string) error {
	var out limited
	words := child.NewTail(b.Out)
	argv := append(slices.Clone(poetry.argv), "--no-ansi", "env", "info", "--path")
	res, err := b.Run(ctx, child.Spec{Argv: argv, Dir: p.Dir, Env: b.env(dir), Out: words, Stdout: &out, Limits: b.Limits})
	if err != nil {
		return err
	}
	if res.ExitCode != 0 {
		return record.Failf(b.Kind, "poetry env info %s: %s", ended(res), words.Reason())
	}
	aim, want := strings.TrimSpace(out.String()), dir
	if real, err := filepath.EvalSymlinks(aim); err == nil {
		aim = real
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		want = real
	}
	if aim != want {
		return record.Failf(b.Kind, "poetry would install into %s", aim)
	}
	return nil
}
