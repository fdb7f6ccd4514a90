package main

import (
	"cmp"
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

// settingsOf are the settings that node adds to those of every command.
func settingsOf(root, node *kong.Node) []setting {
	command := node.Name
	if node == root {
		command = ""
	}
	var sets []setting
	for _, flag := range node.Flags {
		if flag.Name != "help" {
			sets = append(sets, settingOf(command, flag))
		}
	}
	return sets
}

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
	// A flag of one command that another command takes, too.
	if section := flag.Tag.Get("section"); section != "" {
		s.section = section
	}
	if flag.Tag.Has("shared") {
		s.section = ""
	}
	return s.named()
}

func (s setting) named() setting {
	s.variable = "STEP_RUNNER_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(s.String()))
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
