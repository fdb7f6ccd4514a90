package pyenv

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/step-runner/step-runner/artifacts/record"
)

// table gathers a table of Poetry's: names, and what it says of each.
func (g *gatherer) table(where string, deps map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(deps)) {
		v := deps[name]
		if name == "python" {
			continue
		}
		if t, ok := v.(map[string]any); ok && t["optional"] == true {
			continue
		}
		if err := g.dependency(name, v); err != nil {
			return record.Failf(g.p.kind, "pyproject.toml [%s]: %w", where, err)
		}
	}
	return nil
}

// dependency gathers one dependency: a version, a table, or a list of tables.
func (g *gatherer) dependency(name string, v any) error {
	switch d := v.(type) {
	case string:
		return g.dependencyTable(name, map[string]any{"version": d})
	case map[string]any:
		return g.dependencyTable(name, d)
	case []any:
		for _, item := range d {
			if err := g.dependency(name, item); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%s is %v", name, v)
}

func (g *gatherer) dependencyTable(name string, d map[string]any) error {
	if here, err := g.appliesHere(name, d); err != nil || !here {
		return err
	}
	extras := texts(d["extras"])
	if path := first(d, "path", "file"); path != "" {
		return g.local(filepath.Join(path, first(d, "subdirectory")), d["develop"] == true || d["editable"] == true, extras)
	}
	if d["workspace"] == true {
		return g.member(name, extras)
	}
	line := name
	if len(extras) > 0 {
		line += "[" + strings.Join(extras, ",") + "]"
	}
	switch {
	case first(d, "git") != "":
		line += " @ " + gitURL(d)
	case first(d, "url") != "":
		line += " @ " + first(d, "url")
	default:
		alternatives, err := fromPoetry(cmp.Or(first(d, "version"), "*"))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(alternatives) > 1 {
			g.notes = append(g.notes, fmt.Sprintf("%s %s is taken as %q: only Poetry knows alternatives", name, d["version"], hull(alternatives)))
		}
		line += hull(alternatives)
	}
	if m := first(d, "markers", "marker"); m != "" {
		line += " ; " + m
	}
	g.lines = append(g.lines, line)
	return nil
}

// appliesHere says whether a dependency is for this Python and for Linux.
func (g *gatherer) appliesHere(name string, d map[string]any) (bool, error) {
	if platform := first(d, "platform"); platform != "" && platform != "linux" {
		return false, nil
	}
	want := first(d, "python")
	if want == "" {
		return true, nil
	}
	alternatives, err := fromPoetry(want)
	if err != nil {
		return false, fmt.Errorf("%s: python: %w", name, err)
	}
	return admits(alternatives, g.python)
}

func gitURL(d map[string]any) string {
	url := "git+" + first(d, "git")
	if at, ok := strings.CutPrefix(url, "git+git@"); ok {
		url = "git+ssh://git@" + strings.Replace(at, ":", "/", 1)
	}
	if rev := first(d, "rev", "tag", "branch"); rev != "" {
		url += "@" + rev
	}
	if sub := first(d, "subdirectory"); sub != "" {
		url += "#subdirectory=" + sub
	}
	return url
}

func (g *gatherer) local(path string, editable bool, extras []string) error {
	abs, err := g.p.inside(path)
	if err != nil {
		return err
	}
	if fi, err := os.Stat(abs); err != nil {
		return fmt.Errorf("the dependency in %s is not there", path)
	} else if !fi.IsDir() {
		editable = false
	}
	if !slices.ContainsFunc(g.needs.local, func(l local) bool { return l.path == abs }) {
		g.needs.local = append(g.needs.local, local{path: abs, editable: editable, extras: extras})
	}
	return nil
}

// member gathers a package of the uv workspace, which is used in place.
func (g *gatherer) member(name string, extras []string) error {
	var root struct {
		Tool struct {
			UV struct {
				Workspace struct {
					Members []string `toml:"members"`
				} `toml:"workspace"`
			} `toml:"uv"`
		} `toml:"tool"`
	}
	text, err := os.ReadFile(filepath.Join(g.p.Dir, "pyproject.toml"))
	if err == nil {
		err = toml.Unmarshal(text, &root)
	}
	if err != nil {
		return err
	}
	for _, pattern := range root.Tool.UV.Workspace.Members {
		dirs, _ := filepath.Glob(filepath.Join(g.p.Dir, pattern))
		for _, dir := range dirs {
			m, err := LoadProject(dir, g.p.kind)
			if err == nil && m.toml.Project != nil && Normalise(m.toml.Project.Name) == Normalise(name) {
				return g.local(dir, true, extras)
			}
		}
	}
	return fmt.Errorf("%s is no member of the uv workspace", name)
}

// first is the first of the keys that holds a text.
func first(d map[string]any, keys ...string) string {
	for _, key := range keys {
		if s, ok := d[key].(string); ok && s != "" {
			return s
		}
	}
	return ""
}

func texts(v any) []string {
	var all []string
	list, _ := v.([]any)
	for _, item := range list {
		if s, ok := item.(string); ok {
			all = append(all, s)
		}
	}
	return all
}
