package pyenv

import (
	"maps"
	"slices"

	"github.com/step-runner/step-runner/artifacts/record"
)

// groups gathers dependency groups: the named ones, and those that Poetry
// installs by itself, or else those for tests when none is named.
func (g *gatherer) groups(names []string) error {
	known := map[string]func() error{}
	optional := map[string]bool{}
	for name, items := range g.p.toml.Groups {
		known[Normalise(name)] = func() error { return g.group(items, []string{Normalise(name)}) }
	}
	if dev := g.p.toml.Tool.UV.Dev; len(dev) > 0 {
		known["dev"] = both(known["dev"], func() error { return g.all(dev) })
	}
	if t := g.p.toml.Tool.Poetry; t != nil {
		for name, group := range t.Group {
			optional[Normalise(name)] = group.Optional
			known[Normalise(name)] = both(known[Normalise(name)], func() error {
				return g.table("tool.poetry.group."+name+".dependencies", group.Dependencies)
			})
		}
		if len(t.Dev) > 0 {
			known["dev"] = both(known["dev"], func() error { return g.table("tool.poetry.dev-dependencies", t.Dev) })
		}
	}
	take := []string{}
	for _, name := range names {
		take = append(take, Normalise(name))
	}
	for name := range known {
		if g.p.Poetry && !optional[name] {
			take = append(take, name)
		}
	}
	if !g.p.Poetry && len(names) == 0 {
		take = present(known)
	}
	slices.Sort(take)
	for _, name := range slices.Compact(take) {
		gather, ok := known[name]
		if !ok {
			return unknownGroup("dependency group", name, slices.Collect(maps.Keys(known)))
		}
		if err := gather(); err != nil {
			return err
		}
		g.needs.groups = append(g.needs.groups, name)
	}
	return nil
}

func both(a, b func() error) func() error {
	if a == nil {
		return b
	}
	return func() error {
		if err := a(); err != nil {
			return err
		}
		return b()
	}
}

// group gathers one [dependency-groups] entry; within are the groups that are
// being included already.
func (g *gatherer) group(items []any, within []string) error {
	for _, item := range items {
		switch it := item.(type) {
		case string:
			if err := g.all([]string{it}); err != nil {
				return err
			}
		case map[string]any:
			name, _ := it["include-group"].(string)
			if err := g.include(Normalise(name), within); err != nil {
				return err
			}
		default:
			return record.Failf(g.p.kind, "pyproject.toml: dependency group %s holds %v", within[0], item)
		}
	}
	return nil
}

func (g *gatherer) include(name string, within []string) error {
	if slices.Contains(within, name) {
		return record.Failf(g.p.kind, "pyproject.toml: dependency group %s includes itself", name)
	}
	for known, items := range g.p.toml.Groups {
		if Normalise(known) == name {
			return g.group(items, append(within, name))
		}
	}
	return record.Failf(g.p.kind, "pyproject.toml: dependency group %s includes %q, which is not there", within[0], name)
}
