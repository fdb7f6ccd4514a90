package main

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps"
)

// source is where a value came from.
type source struct {
	kind string
	// name is the flag, the variable, or the file with its line.
	name string
}

// The kinds of source, in falling precedence.
const (
	fromFlag     = "flag"
	fromVariable = "variable"
	fromSeed     = "seed variable"
	fromFile     = "file"
	fromDefault  = "default"
)

func (s source) String() string { return strings.TrimSpace(s.kind + " " + s.name) }

// settings gives flags their values from variables and the config file. It is
// kong's one resolver, and remembers where each value came from.
type settings struct {
	getenv func(string) string
	// hide makes known what the config file holds of credentials.
	hide      func(text string)
	byFlag    map[*kong.Flag]setting
	names     names
	config    *kong.Flag
	file      *configFile
	fileError error
	sources   map[*kong.Flag]source
}

func newSettings(getenv func(string) string, hide func(string)) *settings {
	return &settings{getenv: getenv, hide: hide, byFlag: map[*kong.Flag]setting{}, sources: map[*kong.Flag]source{}}
}

// learn names every flag of the model.
func (s *settings) learn(root *kong.Node) {
	s.names = names{settings: map[string]setting{}, sections: steps.StepNames()}
	for _, node := range append([]*kong.Node{root}, root.Children...) {
		if _, ok := node.Target.Addr().Interface().(steps.Step); ok {
			s.names.sections = append(s.names.sections, node.Name)
		}
		for _, set := range settingsOf(root, node) {
			s.byFlag[set.flag] = set
			s.names.settings[set.String()] = set
		}
	}
	// A config file cannot say which file to read.
	s.config = s.names.settings["config"].flag
	delete(s.names.settings, "config")
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
	value, from, err := s.lookup(ctx, set)
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
	if isGiven(ctx, parent.Flags[i]) {
		return ctx.FlagValue(parent.Flags[i]).(bool)
	}
	value, _, _ := s.lookup(ctx, s.byFlag[parent.Flags[i]])
	return slices.Contains([]any{"true", "1", "yes"}, value)
}

// isGiven says whether the flag is on the command line.
func isGiven(ctx *kong.Context, flag *kong.Flag) bool {
	return slices.ContainsFunc(ctx.Path, func(p *kong.Path) bool { return p.Flag == flag && !p.Resolved })
}

// lookup finds a value below the command line. An empty variable sets nothing.
func (s *settings) lookup(ctx *kong.Context, set setting) (any, source, error) {
	for i, name := range append([]string{set.variable}, set.seeds...) {
		if v := s.getenv(name); v != "" {
			from := source{fromVariable, name}
			if i > 0 {
				from.kind = fromSeed
			}
			if err := check(set.flag, v); err != nil {
				return nil, from, record.Failf(record.Usage, "%s: %w", name, err)
			}
			return v, from, nil
		}
	}
	if err := s.load(ctx); err != nil {
		return nil, source{}, err
	}
	if s.file != nil {
		if v, ok := s.file.values[set.String()]; ok {
			return v.value, source{fromFile, fmt.Sprintf("%s:%d", s.file.path, v.line)}, nil
		}
	}
	return nil, source{kind: fromDefault}, nil
}

// load reads the config file once, if there is one.
func (s *settings) load(ctx *kong.Context) error {
	if s.file != nil || s.fileError != nil {
		return s.fileError
	}
	path := s.getenv(s.byFlag[s.config].variable)
	if isGiven(ctx, s.config) {
		path = ctx.FlagValue(s.config).(string)
	}
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		s.fileError = record.Failf(record.Usage, "config file: %w", err)
		return s.fileError
	}
	s.hide(string(data))
	s.file, s.fileError = parseConfig(path, data, s.names)
	return s.fileError
}

// check parses a value on the side, so that the error can name where it is from.
func check(flag *kong.Flag, value any) error {
	target := reflect.New(flag.Target.Type()).Elem()
	if target.Kind() == reflect.Pointer { // As kong does before it decodes.
		target.Set(reflect.New(target.Type().Elem()))
	}
	scan := kong.Scan().PushTyped(value, kong.FlagValueToken)
	if err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, target); err != nil {
		return err
	}
	if flag.Enum != "" && target.Kind() == reflect.String && !slices.Contains(flag.EnumSlice(), target.String()) {
		return fmt.Errorf("must be one of %s, not %q", strings.Join(flag.EnumSlice(), ", "), target.String())
	}
	return nil
}

// sourceOf says where the value of a flag of the parsed command came from.
func (s *settings) sourceOf(ctx *kong.Context, flag *kong.Flag) source {
	if isGiven(ctx, flag) {
		return source{fromFlag, "--" + flag.Name}
	}
	if from, ok := s.sources[flag]; ok {
		return from
	}
	return source{kind: fromDefault}
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
