package pyenv

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// lockNames are the lock files that are understood, the first of them that is
// there counts.
var lockNames = []string{"poetry.lock", "uv.lock", "pylock.toml"}

// locked is a package in a lock file of Poetry's, uv's or PEP 751's.
type locked struct {
	Name    string `toml:"name"`
	Version string `toml:"version"`
	// Source is where it comes from; only an index has versions to hold it at.
	Source map[string]any `toml:"source"`
	// Markers say where it is for: a text, or with Poetry texts by group.
	Markers any      `toml:"markers"`
	Marker  string   `toml:"marker"`
	Forks   []string `toml:"resolution-markers"`
}

// lockConstraints are the versions that the project's lock file pins, as a
// constraints file: an installer that does not know the lock keeps to it all the
// same. A package that is locked at several versions is held only where markers
// say which is for what.
func (p *Project) lockConstraints() (string, error) {
	for _, name := range lockNames {
		text, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			continue
		}
		var lock struct {
			Package  []locked `toml:"package"`
			Packages []locked `toml:"packages"`
		}
		if err := toml.Unmarshal(text, &lock); err != nil {
			return "", tomlFailure(p.kind, name, err)
		}
		return constraints(append(lock.Package, lock.Packages...)), nil
	}
	return "", nil
}

func constraints(all []locked) string {
	versions := map[string]int{}
	for _, l := range all {
		versions[Normalise(l.Name)]++
	}
	var text strings.Builder
	for _, l := range all {
		marker := l.marker()
		if l.Version == "" || !l.fromIndex() || (versions[Normalise(l.Name)] > 1 && marker == "") {
			continue
		}
		fmt.Fprintf(&text, "%s==%s", Normalise(l.Name), l.Version)
		if versions[Normalise(l.Name)] > 1 {
			fmt.Fprintf(&text, " ; %s", marker)
		}
		text.WriteString("\n")
	}
	return text.String()
}

func (l locked) fromIndex() bool {
	kind, ok := l.Source["type"].(string)
	if ok {
		return kind == "legacy"
	}
	_, registry := l.Source["registry"]
	return registry || len(l.Source) == 0
}

func (l locked) marker() string {
	if text, ok := l.Markers.(string); ok {
		return text
	}
	if l.Marker != "" {
		return l.Marker
	}
	if len(l.Forks) > 0 {
		return "(" + strings.Join(l.Forks, ") or (") + ")"
	}
	return ""
}
