package pyenv

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// needs is what must be installed for a project's tests.
type needs struct {
	// lines are requirements as pip reads them, without the local ones.
	lines []string
	local []local
	// files are requirements files, relative to the project.
	files []string
	// index are pip's flags for the package indexes that the project names.
	index []string
	// groups and extras are those that were taken.
	groups, extras []string
	notes          []string
	// opaque says that the project could not be read for what it needs.
	opaque bool
}

// local is a package in a directory, or an archive, of the project.
type local struct {
	// path is absolute; editable means that its code is used where it lies.
	path     string
	editable bool
	extras   []string
}

// args is the requirement as pip takes it.
func (l local) args() []string {
	path := l.path
	if len(l.extras) > 0 {
		path += "[" + strings.Join(l.extras, ",") + "]"
	}
	if l.editable {
		return []string{"--editable", path}
	}
	return []string{path}
}

// testNames are the groups and extras that are taken when nobody asks for any.
var testNames = []string{"test", "tests", "testing", "dev"}

// needs gathers what the project's tests need on a Python version, with the named
// groups and extras.
func (p *Project) needs(python string, groups, extras []string) (needs, error) {
	g := &gatherer{p: p, python: python}
	if err := g.extras(extras); err != nil {
		return needs{}, err
	}
	if err := g.main(); err != nil {
		return needs{}, err
	}
	if err := g.groups(groups); err != nil {
		return needs{}, err
	}
	if p.declaresNothing() {
		g.files = p.requirementsFiles()
	}
	if t := p.toml.Tool.Poetry; t != nil {
		for _, s := range t.Source {
			g.source(s.URL, s.Priority)
		}
	}
	return g.needs, nil
}

// declaresNothing says that no dependency stands in pyproject.toml.
func (p *Project) declaresNothing() bool {
	t := p.toml
	return t.Tool.Poetry == nil && len(t.Groups) == 0 && len(t.Tool.UV.Dev) == 0 &&
		(t.Project == nil || (len(t.Project.Dependencies) == 0 && len(t.Project.Optional) == 0 && !p.dynamic()))
}

// gatherer collects needs.
type gatherer struct {
	needs
	p      *Project
	python string
}

func (g *gatherer) source(url, priority string) {
	switch {
	case url == "":
	case priority == "" || priority == "primary" || priority == "default":
		g.index = append(g.index, "--index-url", url)
	default:
		g.index = append(g.index, "--extra-index-url", url)
	}
}

// main gathers the project's own dependencies. Where [project] lists them,
// [tool.poetry] only says where they come from.
func (g *gatherer) main() error {
	var table map[string]any
	if t := g.p.toml.Tool.Poetry; t != nil {
		table = t.Dependencies
	}
	if project := g.p.toml.Project; project != nil && len(project.Dependencies) > 0 {
		return g.all(project.Dependencies)
	}
	return g.table("tool.poetry.dependencies", table)
}

// extras gathers the named extras, or those for tests when none is named.
func (g *gatherer) extras(names []string) error {
	known := map[string][]string{}
	if project := g.p.toml.Project; project != nil {
		for name, deps := range project.Optional {
			known[Normalise(name)] = deps
		}
	}
	if t := g.p.toml.Tool.Poetry; t != nil {
		for name := range t.Extras {
			known[Normalise(name)] = append(known[Normalise(name)], g.optional(t.Extras[name])...)
		}
	}
	if len(names) == 0 && !g.p.Poetry {
		names = present(known)
	}
	for _, name := range names {
		deps, ok := known[Normalise(name)]
		if !ok {
			return unknownGroup("extra", name, slices.Collect(maps.Keys(known)))
		}
		g.needs.extras = append(g.needs.extras, name)
		if err := g.all(deps); err != nil {
			return err
		}
	}
	return nil
}

// optional are those of the names that [tool.poetry.dependencies] explains, as
// requirements that only name them: one then finds its version there.
func (g *gatherer) optional(names []string) []string {
	var found []string
	for _, name := range names {
		if _, ok := g.explained(requirementName.FindString(name)); ok {
			found = append(found, name)
		}
	}
	return found
}

// present are those of testNames that are known.
func present[T any](known map[string]T) []string {
	return slices.DeleteFunc(slices.Clone(testNames), func(name string) bool {
		_, ok := known[name]
		return !ok
	})
}

// all gathers requirements as PEP 508 writes them. Where another table says
// whence one comes, that holds.
func (g *gatherer) all(requirements []string) error {
	for _, r := range requirements {
		name := requirementName.FindString(r)
		if name == "" {
			return record.Failf(g.p.kind, "pyproject.toml: %q is no requirement", r)
		}
		if v, ok := g.explained(name); ok {
			if err := g.dependency(name, v); err != nil {
				return record.Failf(g.p.kind, "pyproject.toml: %w", err)
			}
			continue
		}
		g.lines = append(g.lines, fromPEP508(r))
	}
	return nil
}

// explained is what says more of a requirement than [project] can: Poetry's
// table, for paths and the like and for what only Poetry's extras name, or uv's
// sources.
func (g *gatherer) explained(name string) (any, bool) {
	name = Normalise(name)
	if t := g.p.toml.Tool.Poetry; t != nil {
		for key, v := range t.Dependencies {
			if Normalise(key) == name && (whence(v) || g.p.toml.Project == nil || len(g.p.toml.Project.Dependencies) == 0) {
				return v, true
			}
		}
	}
	for key, v := range g.p.toml.Tool.UV.Sources {
		if table, ok := v.(map[string]any); ok && Normalise(key) == name && (whence(table) || table["workspace"] == true) {
			return table, true
		}
	}
	return nil, false
}

// whence says that a dependency's table names where it comes from.
func whence(v any) bool {
	table, _ := v.(map[string]any)
	for _, key := range []string{"path", "git", "url", "file"} {
		if _, ok := table[key]; ok {
			return true
		}
	}
	return false
}

// fromPEP508 takes the parentheses off "name (>=1,<2)", which Poetry writes.
func fromPEP508(r string) string {
	spec, marker, marked := strings.Cut(r, ";")
	if !strings.Contains(spec, "@") {
		spec = strings.NewReplacer("(", "", ")", "").Replace(spec)
	}
	if !marked {
		return strings.TrimSpace(spec)
	}
	return strings.TrimSpace(spec) + " ; " + strings.TrimSpace(marker)
}

// inside is the absolute path of something that must lie in the project.
func (p *Project) inside(path string) (string, error) {
	abs := path
	if !filepath.IsAbs(path) {
		abs = filepath.Join(p.Dir, path)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	if rel, err := filepath.Rel(p.root, abs); err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("the dependency in %s lies outside the test repository", path)
	}
	return abs, nil
}
