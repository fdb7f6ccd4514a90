package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"github.com/step-runner/step-runner/artifacts/record"
)

type configCmd struct {
	Command string `arg:"" optional:"" default:"run" help:"Command whose settings to show; clone-tests is clone --tests."`
}

// Help is the long help.
func (configCmd) Help() string {
	return `Shows every setting of a command with its value and where it comes from: a flag,
a variable of ours, a variable of the seed workflow, the config file, or the
default, in this order of precedence. Without COMMAND it shows all of run's, which
are those of all steps.

Exit status: 0, or 2 when a value cannot be used.`
}

// shown is one line of the command's output.
type shown struct {
	Name     string `json:"name"`
	Variable string `json:"variable"`
	Value    string `json:"value"`
	Source   string `json:"source"`
}

func (c *configCmd) run(p *process) error {
	root := p.kctx.Model.Node
	node, err := findCommand(root, c.Command)
	if err != nil {
		return err
	}
	var list []shown
	for _, set := range append(settingsOf(root, root), settingsOf(root, node)...) {
		if c.Command == "clone-tests" {
			set = set.forTests()
		}
		line, err := p.show(set)
		if err != nil {
			return err
		}
		list = append(list, line)
	}
	return p.print(list, func(w io.Writer) { table(w, list) })
}

func findCommand(root *kong.Node, name string) (*kong.Node, error) {
	if name == "clone-tests" {
		name = "clone"
	}
	i := slices.IndexFunc(root.Children, func(n *kong.Node) bool { return n.Name == name })
	if i < 0 {
		return nil, record.Failf(record.Usage, "no command %q", name).WithHint("see `step-runner --help`")
	}
	return root.Children[i], nil
}

// show finds a setting's value, as it would be for its own command.
func (p *process) show(set setting) (shown, error) {
	line := shown{Name: set.String(), Variable: set.variable, Value: set.flag.Default}
	if set.flag.IsBool() {
		line.Value = cmp.Or(line.Value, "false")
	}
	if isGiven(p.kctx, set.flag) {
		line.Value, line.Source = fmt.Sprint(p.kctx.FlagValue(set.flag)), p.settings.sourceOf(p.kctx, set.flag).String()
		return line, nil
	}
	value, from, err := p.settings.lookup(p.kctx, set)
	if value != nil {
		line.Value = flagText(set.flag, value)
	}
	line.Source = from.String()
	return line, err
}

// flagText writes a value as it would stand on the command line.
func flagText(flag *kong.Flag, value any) string {
	switch v := value.(type) {
	case []any:
		texts := make([]string, len(v))
		for i, item := range v {
			texts[i] = item.(string)
		}
		return joined(texts, flag.Tag.Sep)
	case map[string]any:
		var texts []string
		for key, item := range v {
			texts = append(texts, fmt.Sprintf("%s=%s", key, item))
		}
		slices.Sort(texts)
		return joined(texts, flag.Tag.MapSep)
	}
	return fmt.Sprint(value)
}

func joined(texts []string, sep rune) string {
	if sep == -1 {
		return strings.Join(texts, " ")
	}
	return kong.JoinEscaped(texts, sep)
}

func table(w io.Writer, list []shown) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tVALUE\tSOURCE")
	for _, l := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\n", l.Name, l.Value, l.Source)
	}
	t.Flush()
}

// print writes the result of a plain command to stdout: v as JSON when asked to,
// else what human writes.
func (p *process) print(v any, human func(io.Writer)) error {
	if !p.cli.Globals.JSON {
		human(p.stdout)
		return nil
	}
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
