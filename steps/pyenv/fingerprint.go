package pyenv

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// projectFiles are the files of a project that decide what is installed for it.
var projectFiles = []string{"pyproject.toml", "poetry.lock", "poetry.toml", "uv.lock", "uv.toml", "pylock.toml", "setup.py", "setup.cfg"}

// fingerprint digests everything in the project that goes into its environment,
// by its path. Of an editable package that is what describes it: its code is not
// installed, only pointed at. Of any other local package it is every file.
func (p *Project) fingerprint(n needs, python string) (map[string]string, error) {
	f := fingerprint{p: p, python: python, parts: map[string]string{}}
	for _, name := range projectFiles {
		f.file(name)
	}
	for _, name := range n.files {
		f.requirements(name)
	}
	for _, l := range n.local {
		f.local(l)
	}
	if n.opaque {
		f.tree(p.Dir)
	}
	if p.isPackage() {
		f.layout(p.Dir)
	}
	return f.parts, f.err
}

type fingerprint struct {
	p      *Project
	python string
	parts  map[string]string
	err    error
}

func (f *fingerprint) rel(path string) string {
	if rel, err := filepath.Rel(f.p.Dir, path); err == nil {
		return rel
	}
	return path
}

// file notes a file, relative to the project; one that is not there is left out.
func (f *fingerprint) file(name string) []byte {
	text, err := os.ReadFile(filepath.Join(f.p.Dir, name))
	if err != nil {
		return nil
	}
	f.parts[name] = digest(text)
	return text
}

func (f *fingerprint) requirements(name string) {
	if _, seen := f.parts[name]; seen {
		return
	}
	r := scanRequirements(string(f.file(name)))
	for _, other := range r.files {
		f.requirements(filepath.Join(filepath.Dir(name), other))
	}
	for _, l := range r.local {
		if abs, err := f.p.inside(l.path); err == nil {
			l.path = abs
			f.local(l)
		}
	}
}

func (f *fingerprint) local(l local) {
	rel := f.rel(l.path)
	if !l.editable {
		f.tree(l.path)
		return
	}
	if _, seen := f.parts[rel+"/"]; seen {
		return
	}
	for _, name := range projectFiles {
		f.file(filepath.Join(rel, name))
	}
	f.layout(l.path)
	// What it needs itself may be local too.
	sub, err := LoadProject(l.path, f.p.kind)
	if err != nil {
		f.err = err
		return
	}
	sub.root = f.p.root
	n, err := sub.needs(f.python, nil, nil)
	if err != nil {
		return // Its installer will say so.
	}
	for _, inner := range n.local {
		f.local(inner)
	}
}

// layout notes which modules and packages lie at the top of an editable package:
// some builds write down their names.
func (f *fingerprint) layout(dir string) {
	var names []string
	for _, base := range []string{"", "src"} {
		entries, _ := os.ReadDir(filepath.Join(dir, base))
		for _, e := range entries {
			_, err := os.Stat(filepath.Join(dir, base, e.Name(), "__init__.py"))
			if err == nil || strings.HasSuffix(e.Name(), ".py") {
				names = append(names, filepath.Join(base, e.Name()))
			}
		}
	}
	slices.Sort(names)
	f.parts[f.rel(dir)+"/"] = strings.Join(names, " ")
}

// tree notes every file below path.
func (f *fingerprint) tree(path string) {
	h := sha256.New()
	err := filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "__pycache__"):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(file)
		fmt.Fprintf(h, "%q %s\n", f.rel(file), digest(text))
		return err
	})
	if err != nil {
		f.err = err
	}
	f.parts[f.rel(path)] = hex.EncodeToString(h.Sum(nil))
}
