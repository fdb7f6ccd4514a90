package record

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// declaredKinds are the constants of type Kind in kind.go, by name.
func declaredKinds(t *testing.T) map[string]Kind {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "kind.go", nil, 0)
	require.NoError(t, err)
	kinds := map[string]Kind{}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || v.Type == nil || v.Type.(*ast.Ident).Name != "Kind" {
			return true
		}
		text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		kinds[v.Names[0].Name] = Kind(text)
		return true
	})
	require.NotEmpty(t, kinds)
	return kinds
}

func TestEveryKindHasOneClass(t *testing.T) {
	classes := map[Kind]Class{}
	for _, c := range Classes() {
		assert.NotContains(t, classes, c.Kind, "twice in the table")
		classes[c.Kind] = c
	}
	kinds := declaredKinds(t)
	for name, kind := range kinds {
		assert.Contains(t, classes, kind, "%s has no class", name)
	}
	assert.Len(t, classes, len(kinds))
}

func TestExitCodesAreUniqueAndInTheirRanges(t *testing.T) {
	seen, last := map[int]Kind{}, 0
	for _, c := range Classes() {
		assert.NotContains(t, seen, c.Exit, "%s has the code of another class", c.Kind)
		seen[c.Exit] = c.Kind
		// 126 and 127 are the shell's, 128+n is for signals: only a KILL is told from outside.
		switch {
		case c.Kind == TimedOut:
			assert.Equal(t, 124, c.Exit)
		case c.Kind == Killed:
			assert.Equal(t, 137, c.Exit)
		case c.Kind == Signaled:
			assert.Equal(t, 128, c.Exit)
		default:
			assert.Greater(t, c.Exit, last, "the table is in the order of the codes")
			assert.Less(t, c.Exit, 80)
			last = c.Exit
		}
		assert.Regexp(t, regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`), string(c.Kind))
		assert.NotEmpty(t, c.Meaning, c.Kind)
		assert.NotEmpty(t, c.Hint, c.Kind)
	}
}

func TestClassOfUnknownKindIsUnclassified(t *testing.T) {
	assert.Equal(t, Internal, classOf("from-a-newer-version").Kind)
}

func TestClassesIsACopy(t *testing.T) {
	Classes()[0].Exit = 99
	assert.Equal(t, 1, Classes()[0].Exit)
}
