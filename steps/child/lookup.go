package child

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Name is what to call the child: "python -m pytest", else the program alone.
func (s Spec) Name() string {
	name := filepath.Base(s.Argv[0])
	if len(s.Argv) > 2 && s.Argv[1] == "-m" {
		name += " -m " + s.Argv[2]
	}
	return name
}

// look finds the program in PATH of the child's environment, not of ours.
func look(s Spec) (string, error) {
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return "", record.Failf(record.Internal, "a child without a program")
	}
	if s.Dir != "" {
		if st, err := os.Stat(s.Dir); err != nil || !st.IsDir() {
			return "", record.Failf(record.BadInput, "%s cannot be run in %s: no such directory", s.Argv[0], s.Dir)
		}
	}
	name := s.Argv[0]
	if strings.Contains(name, "/") {
		at := name
		if !filepath.IsAbs(at) {
			at = filepath.Join(s.Dir, at)
		}
		if !executable(at) {
			return "", record.Failf(record.MissingTool, "%s is not there, or not executable", name)
		}
		return name, nil
	}
	path := value(s.Env, "PATH")
	for _, dir := range filepath.SplitList(path) {
		// A relative directory would make it a matter of where we are.
		if at := filepath.Join(dir, name); filepath.IsAbs(dir) && executable(at) {
			return at, nil
		}
	}
	return "", record.Failf(record.MissingTool, "%s is not in PATH (%s)", name, path)
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// value is the last value of a variable, the one that counts.
func value(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if n, v, ok := strings.Cut(env[i], "="); ok && n == name {
			return v
		}
	}
	return ""
}

// marked adds id to the marks in env.
func marked(env []string, id string) []string {
	mark := id
	if outer := value(env, MarkVar); outer != "" {
		mark = outer + ":" + id
	}
	return append(env[:len(env):len(env)], MarkVar+"="+mark)
}
