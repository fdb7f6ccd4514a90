package pyenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/step-runner/step-runner/artifacts/record"
)

// pyproject is what step-runner reads of a pyproject.toml.
type pyproject struct {
	Project *struct {
		Name           string              `toml:"name"`
		Dynamic        []string            `toml:"dynamic"`
		RequiresPython string              `toml:"requires-python"`
		Dependencies   []string            `toml:"dependencies"`
		Optional       map[string][]string `toml:"optional-dependencies"`
	} `toml:"project"`
	Groups map[string][]any `toml:"dependency-groups"`
	Build  *struct {
		Backend string `toml:"build-backend"`
	} `toml:"build-system"`
	Tool struct {
		Poetry *poetryTable `toml:"poetry"`
		UV     struct {
			Package *bool          `toml:"package"`
			Dev     []string       `toml:"dev-dependencies"`
			Sources map[string]any `toml:"sources"`
		} `toml:"uv"`
		Coverage struct {
			Run map[string]any `toml:"run"`
		} `toml:"coverage"`
	} `toml:"tool"`
}

type poetryTable struct {
	Name         string         `toml:"name"`
	PackageMode  *bool          `toml:"package-mode"`
	Dependencies map[string]any `toml:"dependencies"`
	Dev          map[string]any `toml:"dev-dependencies"`
	Group        map[string]struct {
		Optional     bool           `toml:"optional"`
		Dependencies map[string]any `toml:"dependencies"`
	} `toml:"group"`
	Extras map[string][]string `toml:"extras"`
	Source []struct {
		URL      string `toml:"url"`
		Priority string `toml:"priority"`
	} `toml:"source"`
}

// Project is a directory with Python code and what says which packages it needs.
type Project struct {
	Dir string
	// Poetry says that it is a Poetry project.
	Poetry bool

	toml pyproject
	kind record.Kind
	// root bounds local dependencies: Dir, or for a sub-package that of its project.
	root string
}

// LoadProject reads the pyproject.toml of dir, if it has one. A file that cannot
// be read is a failure of class kind that names the line.
func LoadProject(dir string, kind record.Kind) (*Project, error) {
	// Editable installs hold the real path of a project, so this is the one to know.
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	p := &Project{Dir: dir, kind: kind, root: dir}
	text, err := os.ReadFile(filepath.Join(dir, "pyproject.toml"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := toml.Unmarshal(text, &p.toml); err != nil {
		return nil, tomlFailure(kind, "pyproject.toml", err)
	}
	p.Poetry = p.toml.Tool.Poetry != nil || p.has("poetry.lock") || p.backend() == "poetry.core.masonry.api"
	return p, nil
}

func tomlFailure(kind record.Kind, name string, err error) error {
	var at *toml.DecodeError
	if errors.As(err, &at) {
		row, column := at.Position()
		return record.Failf(kind, "%s line %d, column %d: %s", name, row, column, strings.TrimPrefix(at.Error(), "toml: ")).
			WithHint("correct that line of the test repository's %s", name)
	}
	return record.Failf(kind, "%s: %w", name, err)
}

func (p *Project) has(name string) bool {
	fi, err := os.Stat(filepath.Join(p.Dir, name))
	return err == nil && fi.Mode().IsRegular()
}

func (p *Project) backend() string {
	if p.toml.Build == nil {
		return ""
	}
	return p.toml.Build.Backend
}

// CoverageSource says that the project's own configuration names what coverage
// is to measure.
func (p *Project) CoverageSource() bool {
	for _, key := range []string{"source", "source_pkgs", "source_dirs"} {
		if _, ok := p.toml.Tool.Coverage.Run[key]; ok {
			return true
		}
	}
	for name, section := range map[string]string{".coveragerc": "run", "setup.cfg": "coverage:run", "tox.ini": "coverage:run"} {
		if text, err := os.ReadFile(filepath.Join(p.Dir, name)); err == nil && iniHas(string(text), section, "source") {
			return true
		}
	}
	return false
}

// iniHas says whether a key that begins with key stands in a section.
func iniHas(text, section, key string) bool {
	in := false
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r \t")
		if strings.HasPrefix(line, "[") {
			in = line == "["+section+"]"
		} else if in && strings.HasPrefix(line, key) {
			return true
		}
	}
	return false
}

// isPackage says that the project itself is meant to be installed.
func (p *Project) isPackage() bool {
	t := p.toml.Tool
	switch {
	case t.Poetry != nil && t.Poetry.PackageMode != nil:
		return *t.Poetry.PackageMode
	case t.UV.Package != nil:
		return *t.UV.Package
	}
	named := p.toml.Project != nil || (t.Poetry != nil && t.Poetry.Name != "")
	return p.has("setup.py") || (p.toml.Build != nil && named)
}

// dynamic says that only the project's build can tell what it depends on.
func (p *Project) dynamic() bool {
	if p.toml.Project == nil {
		return p.has("setup.py") && p.toml.Tool.Poetry == nil
	}
	return slices.Contains(p.toml.Project.Dynamic, "dependencies") && p.toml.Tool.Poetry == nil
}

// CheckPython is a failure when the project does not admit a Python version.
func (p *Project) CheckPython(version, python string) error {
	var wants []string
	if p.toml.Project != nil && p.toml.Project.RequiresPython != "" {
		wants = append(wants, p.toml.Project.RequiresPython)
	}
	if t := p.toml.Tool.Poetry; t != nil {
		if text, ok := t.Dependencies["python"].(string); ok {
			wants = append(wants, text)
		}
	}
	for _, want := range wants {
		alternatives, err := fromPoetry(want)
		if err != nil {
			return record.Failf(p.kind, "pyproject.toml: the Python requirement: %w", err)
		}
		ok, err := admits(alternatives, version)
		if err != nil {
			return record.Failf(p.kind, "pyproject.toml: the Python requirement: %w", err)
		}
		if !ok {
			return record.Failf(p.kind, "the tests need Python %s, but %s is %s", want, python, version).
				WithHint("give --python PATH of an interpreter that fits, or use an image that has one")
		}
	}
	return nil
}

// unknownGroup is the failure of a name that the project does not know.
func unknownGroup(what, name string, known []string) error {
	slices.Sort(known)
	there := "has none"
	if len(known) > 0 {
		there = fmt.Sprintf("has %s", strings.Join(known, ", "))
	}
	return record.Failf(record.BadInput, "the tests' project has no %s %q; it %s", what, name, there)
}
