package main

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/step-runner/step-runner/steps"
)

// setting is one flag of one command, with the names that it has elsewhere.
type setting struct {
	flag *kong.Flag
	// section and key are its place in the config file; section "" is the top level.
	section, key string
	// variable is its own variable, seeds are those of the seed workflow.
	variable string
	seeds    []string
}

func (s setting) String() string { return strings.TrimPrefix(s.section+"."+s.key, ".") }

// settingOf names flag by rule. The command is "" for a flag of every command;
// in run, the prefix of a flag says which command's it is.
func settingOf(command string, flag *kong.Flag) setting {
	s := setting{flag: flag, section: command, key: flag.Name}
	if command == "run" {
		for _, name := range sections() {
			if strings.HasPrefix(flag.Tag.Prefix, name+"-") {
				s.section, s.key = name, strings.TrimPrefix(flag.Name, name+"-")
				break
			}
		}
	}
	if flag.Tag.Has("shared") {
		s.section = ""
	}
	return s.named()
}

func (s setting) named() setting {
	s.variable = "STEP_RUNNER_" + strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(s.section+"-"+s.key, "-"), "-", "_"))
	s.seeds = strings.FieldsFunc(s.flag.Tag.Get("seed"), func(r rune) bool { return r == ',' || r == ' ' })
	return s
}

// forTests is the setting of `clone --tests`: that of the section clone-tests.
func (s setting) forTests() setting {
	if s.section == "clone" && s.key != "tests" {
		s.section = "clone-tests"
	}
	return s.named()
}

// sections are the steps' names, the longer before those that they begin with.
func sections() []string {
	names := steps.StepNames()
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return names
}

// source is where a value came from.
type source struct {
	kind string
	// name is the variable, or the file with its line.
	name string
}

// The kinds of source, in falling precedence.
const (
	fromFlag     = "flag"
	fromVariable = "variable"
	fromSeed     = "seed variable"
	fromDefault  = "default"
)

func (s source) String() string { return strings.TrimSpace(s.kind + " " + s.name) }

// settings gives flags their values from variables and the config file. It is
// kong's one resolver, and remembers where each value came from.
type settings struct {
	getenv  func(string) string
	byFlag  map[*kong.Flag]setting
	sources map[*kong.Flag]source
}

func newSettings(getenv func(string) string) *settings {
	return &settings{getenv: getenv, byFlag: map[*kong.Flag]setting{}, sources: map[*kong.Flag]source{}}
}

// learn names every flag of the model.
func (s *settings) learn(root *kong.Node) {
	for _, node := range append([]*kong.Node{root}, root.Children...) {
		command := node.Name
		if node == root {
			command = ""
		}
		for _, flag := range node.Flags {
			if flag.Name != "help" {
				s.byFlag[flag] = settingOf(command, flag)
			}
		}
	}
}

// Validate has nothing to check: kong asks for it.
func (s *settings) Validate(*kong.Application) error { return nil }

// Resolve gives the value of a flag that is not on the command line, nil when
// nothing sets it.
func (s *settings) Resolve(ctx *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	set, ok := s.byFlag[flag]
	if !ok {
		return nil, nil
	}
	if s.isTests(ctx, parent) {
		set = set.forTests()
	}
	value, from, err := s.lookup(set)
	if value != nil {
		s.sources[flag] = from
	}
	return value, err
}

// isTests says whether the command is `clone --tests`, however that was set.
func (s *settings) isTests(ctx *kong.Context, parent *kong.Path) bool {
	if parent.Command == nil || parent.Command.Name != "clone" {
		return false
	}
	i := slices.IndexFunc(parent.Flags, func(f *kong.Flag) bool { return f.Name == "tests" })
	if slices.ContainsFunc(ctx.Path, func(p *kong.Path) bool { return p.Flag == parent.Flags[i] }) {
		return ctx.FlagValue(parent.Flags[i]).(bool)
	}
	value, _, _ := s.lookup(s.byFlag[parent.Flags[i]])
	return slices.Contains([]any{"true", "1", "yes"}, value)
}

// lookup finds a value below the command line. An empty variable sets nothing.
func (s *settings) lookup(set setting) (any, source, error) {
	if v := s.getenv(set.variable); v != "" {
		return v, source{fromVariable, set.variable}, check(set.flag, v, set.variable)
	}
	for _, name := range set.seeds {
		if v := s.getenv(name); v != "" {
			return v, source{fromSeed, name}, check(set.flag, v, name)
		}
	}
	return nil, source{kind: fromDefault}, nil
}

// check parses a value on the side, so that an error can name its origin.
func check(flag *kong.Flag, value any, origin string) error {
	target := reflect.New(flag.Target.Type()).Elem()
	scan := kong.Scan().PushTyped(value, kong.FlagValueToken)
	if err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, target); err != nil {
		return fmt.Errorf("%s: %w", origin, err)
	}
	return nil
}

// used are the names of the variables that have set a flag.
func (s *settings) used() []string {
	var names []string
	for _, from := range s.sources {
		if from.kind == fromVariable || from.kind == fromSeed {
			names = append(names, from.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// help is a flag's help text with its default and its variables.
func (s *settings) help(v *kong.Value) string {
	text := v.Help
	if v.HasDefault && v.Default != "" && v.Flag != nil && v.Flag.PlaceHolder != "" {
		text += " Default: " + v.Default + "."
	}
	if set, ok := s.byFlag[v.Flag]; ok {
		text += " ($" + strings.Join(append([]string{set.variable}, set.seeds...), ", $") + ")"
	}
	return text
}
