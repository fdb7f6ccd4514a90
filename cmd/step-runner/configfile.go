package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/step-runner/step-runner/artifacts/record"
)

// names are those that a config file may use.
type names struct {
	settings map[string]setting
	sections []string
}

// configFile holds the values of a YAML file by the name of their setting.
type configFile struct {
	path   string
	values map[string]fileValue
}

type fileValue struct {
	value any
	line  int
}

// parseConfig is strict: every key must name a setting, and its value must fit
// the setting's type.
func parseConfig(path string, data []byte, known names) (*configFile, error) {
	c := &configFile{path: path, values: map[string]fileValue{}}
	return c, c.parse(data, known)
}

func (c *configFile) parse(data []byte, known names) error {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		var yerr yaml.Error
		if errors.As(err, &yerr) && yerr.GetToken() != nil {
			return c.failf(yerr.GetToken().Position.Line, "%s", yerr.GetMessage())
		}
		return record.Failf(record.Usage, "%s: %w", c.path, err)
	}
	for i, doc := range file.Docs {
		if i > 0 && doc.Body != nil {
			return c.failf(lineOf(doc.Body), "a second document: the file must hold one")
		}
		if err := c.mapping(doc.Body, "", known); err != nil {
			return err
		}
	}
	return nil
}

// mapping takes in the keys of a section, or of the whole file for section "".
func (c *configFile) mapping(node ast.Node, section string, known names) error {
	if node == nil || node.Type() == ast.NullType || node.Type() == ast.CommentType {
		return nil
	}
	m, ok := node.(ast.MapNode)
	if !ok {
		return c.failf(lineOf(node), "expected `key: value`")
	}
	for it := m.MapRange(); it.Next(); {
		key, line := it.Key().GetToken().Value, lineOf(it.Key())
		_, isSetting := known.settings[key]
		_, isMap := it.Value().(ast.MapNode)
		var err error
		// "run" is both a section and the setting of --run.
		if section == "" && slices.Contains(known.sections, key) && (isMap || !isSetting) {
			err = c.mapping(it.Value(), key, known)
		} else {
			err = c.take(setting{section: section, key: key}.String(), line, it.Value(), known)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take takes in one value; null sets nothing.
func (c *configFile) take(name string, line int, node ast.Node, known names) error {
	set, ok := known.settings[name]
	if !ok {
		return c.failf(line, "unknown setting %s%s", name, didYouMean(name, known.settings))
	}
	value, err := plainValue(node)
	if err != nil {
		return c.failf(line, "%s: %w", name, err)
	}
	if value == nil {
		return nil
	}
	value = forKong(set.flag, value)
	if err := check(set.flag, value); err != nil {
		return c.failf(line, "%s: %w", name, err)
	}
	c.values[name] = fileValue{value, line}
	return nil
}

func (c *configFile) failf(line int, format string, args ...any) error {
	return record.Failf(record.Usage, "%s:%d: %w", c.path, line, fmt.Errorf(format, args...))
}

// plainValue is a scalar as it is written, a []any or a map[string]any of such,
// or nil. The text is kept because YAML would read the revision 1.10 as a number.
func plainValue(node ast.Node) (any, error) {
	switch n := node.(type) {
	case *ast.NullNode:
		return nil, nil
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, nil
	case *ast.SequenceNode:
		items := []any{}
		for _, item := range n.Values {
			text, err := plainText(item)
			if err != nil {
				return nil, err
			}
			items = append(items, text)
		}
		return items, nil
	case ast.MapNode:
		items := map[string]any{}
		for it := n.MapRange(); it.Next(); {
			text, err := plainText(it.Value())
			if err != nil {
				return nil, err
			}
			items[it.Key().GetToken().Value] = text
		}
		return items, nil
	}
	return nil, fmt.Errorf("anchors, aliases and tags are not supported")
}

func plainText(node ast.Node) (string, error) {
	value, err := plainValue(node)
	if text, ok := value.(string); ok || err != nil {
		return text, err
	}
	return "", fmt.Errorf("line %d: expected a plain value", lineOf(node))
}

// forKong turns a list for which kong has no exact form into flag syntax.
func forKong(flag *kong.Flag, value any) any {
	items, ok := value.([]any)
	if !ok || !flag.IsSlice() || flag.Target.Type().Elem().Kind() == reflect.String {
		return value
	}
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = item.(string)
	}
	return kong.JoinEscaped(texts, flag.Tag.Sep)
}

func lineOf(node ast.Node) int { return node.GetToken().Position.Line }
