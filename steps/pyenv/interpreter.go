package pyenv

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
)

//go:embed interpreter.py
var inspectPy []byte

// interpreter is what interpreter.py says of a Python.
type interpreter struct {
	Executable string `json:"executable"`
	// Base is the real path of the interpreter below every virtual environment.
	Base     string `json:"base"`
	IsVenv   bool   `json:"is_venv"`
	Version  string `json:"version"`
	Platform string `json:"platform"`
	// Purelib is its site-packages directory.
	Purelib  string              `json:"purelib"`
	Packages map[string]string   `json:"packages"`
	Editable map[string]editable `json:"editable"`
}

// editable is a distribution that was installed from a directory in place.
type editable struct {
	// Info is its .dist-info directory; Files are relative to site-packages.
	Info  string   `json:"info"`
	Files []string `json:"files"`
}

// inspect runs python and asks it what it is. Isolated mode keeps PYTHONPATH and
// the user's own packages out of the answer.
func (b *Builder) inspect(ctx context.Context, python string) (interpreter, error) {
	script, err := b.script("interpreter.py", inspectPy)
	if err != nil {
		return interpreter{}, err
	}
	var in interpreter
	var out limited
	res, err := b.Run(ctx, child.Spec{Argv: []string{python, "-I", script}, Env: b.env(""), Out: b.Out, Stdout: &out, Limits: b.Limits})
	if err != nil {
		return in, err
	}
	if res.ExitCode != 0 {
		return in, record.Failf(b.Kind, "python %s does not work: %s", python, ended(res))
	}
	if err := json.Unmarshal(out.Bytes(), &in); err != nil {
		return in, record.Failf(b.Kind, "python %s does not say what it is: %w", python, err)
	}
	return in, nil
}

// script puts a helper program into the workspace: in argv it would fill the record.
func (b *Builder) script(name string, text []byte) (string, error) {
	path := b.Workspace.Path("cache", "step-runner", name)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o775); err != nil {
		return "", err
	}
	return path, artifacts.WriteAtomic(path, 0o664, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// limited holds what a small program prints; a flood is an error, not memory.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > 8<<20 {
		return 0, errors.New("more output than expected")
	}
	return l.Buffer.Write(p)
}
