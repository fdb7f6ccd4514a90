package summary

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"

	"github.com/step-runner/step-runner/artifacts/record"
)

// nasty are texts that break out of Markdown that is put together carelessly.
var nasty = []string{
	"a | b || c\\| d \\\\| e\\", "`x` ``y`` ```z", "```\n````\n~~~\n`````text", "</summary></details>\n\n# PASSED\n", "<script>alert(1)</script>", "<!-- ", "--> ", "<![CDATA[",
	"\n\n---\n\n| a |\n|---|\n| b |\n", "- item\n1. item\n> quote\n    code\n===\n", "[x](javascript:alert(1)) ![i](http://e/x.png) <http://e> http://e/ www.e.example a@b.example",
	"*b* _i_ **b** __b__ ~~s~~", "&lt; &#60; &amp;", "@octocat #1 GH-1 octo/repo#2", "[ref]: http://e\n[^1]: note", "\x1b[31mred\x1b[0m \x00\x07\x7f", "\r\nline\rline\u2028line\u0085line",
	"\u202egnp\u202c.exe", "\xff\xfe", "ENTIRE 8-STEP WORKFLOW COMPLETED", "entire\n8-STEP\tworkflow completed", "ENTIRE 8-STEP \x1b[1mWORKFLOW\x1b[0m COMPLETED", "$`x`$ $$y$$", ":smile: 😀 ü \u200d", " leading and trailing ",
	"<details><summary>", "\\`", "`", "|", "\\", "", " ", "\n", "{{ x }} ${{ y }}", "::error::x",
}

// hostile returns the records of a run that failed everywhere, with s for every
// text that comes from outside.
func hostile(s string) []*record.Record {
	rs := stopped()
	for _, r := range rs {
		r.Run, r.Log, r.Notes = s, s, []string{s, s}
		r.Children = []record.Child{{Argv: []string{s, s}, Signal: s}}
		if r.Failure != nil {
			r.Failure.Message, r.Failure.Hint, r.Failure.Kind = s, s, record.Kind(s)
		}
		for i := range r.Inputs {
			r.Inputs[i].Path, r.Inputs[i].SHA256 = s, s
		}
	}
	e := record.CellError{Name: s, Value: s, Cell: 1, Source: s}
	*rs[0].Facts.(*record.SetupFacts) = record.SetupFacts{GPUFacts: record.GPUFacts{Driver: s, CUDA: s, GPUs: []record.GPU{{Name: s, UUID: s}}}}
	*rs[1].Facts.(*record.CloneFacts) = record.CloneFacts{URL: s, Revision: s, Commit: s}
	nb := record.Notebook{Input: s, Error: &e, Prepared: []string{s}, AllowedErrors: []record.CellError{e}, RMM: &record.RMM{
		Policy: record.RMMPolicy{Mode: s}, Overrides: 1, Processes: []record.RMMProcess{{Overrides: []record.RMMOverride{{Call: s, Asked: s, Applied: s}}}},
	}, Lite: &record.Lite{
		Way: s, Placed: []record.LitePlaced{{Path: s, Manifest: s, Subsample: record.Subsample{Missing: []record.NamedGene{{Name: s, Why: s}}}}},
		Reads: []record.LiteRead{{Path: s, Reader: s, Way: "cut"}, {Path: s, Way: "full", Error: s}},
	}}
	nb.Watch = &record.Watch{
		GPUError: s, Devices: []record.WatchedGPU{{UUID: s, Name: s, Lost: s}}, Cells: []record.CellUse{{Source: s}},
		XIDs: []record.XIDReport{{UUID: s, Class: s, Meaning: s}}, Leaked: []record.GPULeak{{Name: s}},
	}
	unapplied := nb
	unapplied.RMM, unapplied.Lite = &record.RMM{Error: s}, &record.Lite{Error: s}
	*rs[2].Facts.(*record.PapermillFacts) = record.PapermillFacts{Error: &e, Slowest: []record.Cell{{Source: s}}, Notebooks: []record.Notebook{nb, unapplied}}
	rs[5].Facts = &record.PytestFacts{Env: record.TestEnv{Installer: s, Python: s, Fallbacks: []string{s}}, Failed: []record.Testcase{{Name: s, Classname: s, Outcome: s, Message: s}}}
	*rs[6].Facts.(*record.CollectFacts) = record.CollectFacts{Missing: []string{s}, Invalid: []string{s}, Leaked: []string{s}, Refused: []string{s}, LeftOut: []string{s}}
	rs = fetching(rs)
	rs[2].Notes, rs[2].Facts = []string{s}, &record.FetchFacts{Datasets: []record.Dataset{{Name: s, URL: s, SHA256: s}}}
	return rs
}

var (
	markdown  = goldmark.New(goldmark.WithExtensions(extension.GFM))
	opening   = regexp.MustCompile(`^<details><summary>(<code>[^<>]*</code>|[^<>])*</summary>$`)
	ourInline = regexp.MustCompile(`^</?code>$`)
)

// structure is what a reader of Markdown makes of it, without the texts. It
// fails the test when there is something that we never write.
func structure(t testing.TB, src []byte) string {
	t.Helper()
	var b strings.Builder
	depth := 0
	err := ast.Walk(markdown.Parser().Parse(text.NewReader(src)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			depth--
			return ast.WalkContinue, nil
		}
		depth++
		switch n := n.(type) {
		case *ast.Link, *ast.AutoLink, *ast.Image, *ast.CodeBlock, *ast.Blockquote, *ast.ThematicBreak, *east.Strikethrough, *east.TaskCheckBox:
			return ast.WalkStop, fmt.Errorf("there is a %s", n.Kind())
		case *ast.RawHTML:
			if s := string(n.Segments.Value(src)); !ourInline.MatchString(s) {
				return ast.WalkStop, fmt.Errorf("there is HTML: %q", s)
			}
		case *ast.HTMLBlock:
			s := strings.TrimRight(string(n.Lines().Value(src)), "\n")
			if s != "</details>" && !opening.MatchString(s) {
				return ast.WalkStop, fmt.Errorf("there is an HTML block: %q", s)
			}
			fmt.Fprintf(&b, "%d HTML\n", depth)
		case *ast.Heading:
			fmt.Fprintf(&b, "%d heading %d\n", depth, n.Level)
		case *east.TableCell:
			fmt.Fprintf(&b, "%d cell %v\n", depth, n.Alignment)
		case *ast.Text, *ast.CodeSpan, *ast.String:
		default:
			fmt.Fprintf(&b, "%d %s\n", depth, n.Kind())
		}
		return ast.WalkContinue, nil
	})
	require.NoError(t, err)
	return b.String()
}

// checkRows: every row of a table has as many bars as its head. A parser of
// Markdown drops the cells that are too many, so that the structure hides them.
func checkRows(t testing.TB, src string) {
	t.Helper()
	fence, bars := "", 0
	for l := range strings.Lines(src) {
		l = strings.TrimSuffix(l, "\n")
		switch {
		case fence != "":
			if l == fence {
				fence = ""
			}
		case strings.HasPrefix(l, "```"):
			fence = strings.TrimRight(l, "abcdefghijklmnopqrstuvwxyz")
		case !strings.HasPrefix(l, "|"):
			bars = 0
		case bars == 0:
			bars = strings.Count(l, "|")
		default:
			require.Equal(t, bars, strings.Count(l, "|"), l)
		}
	}
}

// tame is a text that is harmless and empty when s is.
func tame(s string) string {
	if s == "" {
		return ""
	}
	return "x"
}

func checkHostile(t testing.TB, s string) {
	require.LessOrEqual(t, len(report(hostile(s)).Markdown(MinLimit)), MinLimit)
	src := report(hostile(s)).Markdown(Limit)
	require.True(t, utf8.Valid(src))
	require.Equal(t, structure(t, report(hostile(tame(s))).Markdown(Limit)), structure(t, src), "%.2000q", s)
	checkRows(t, string(src))
	require.NotRegexp(t, `(?i)entire\s+8-step\s+workflow\s+completed`, string(src))
	require.Equal(t, -1, strings.IndexFunc(string(src), func(c rune) bool {
		return c != '\n' && c != '\t' && (unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c))
	}))
}

func TestHostileTextsChangeNothing(t *testing.T) {
	for _, s := range append(nasty, strings.Join(nasty, ""), strings.Join(nasty, "\n"), strings.Repeat("`", 100), strings.Repeat("|<", 100_000)) {
		checkHostile(t, s)
	}
}

// TestStructureSeesABreak makes sure that the check above can fail.
func TestStructureSeesABreak(t *testing.T) {
	good := structure(t, []byte("| a |\n|---|\n| `x` |\n"))
	for _, bad := range []string{"| a |\n|---|\n| `x` |\n| `y` |\n", "| a |\n|---|\n| `x\n\n- y` |\n", "| a |\n|---|\n\n# x\n"} {
		assert.NotEqual(t, good, structure(t, []byte(bad)))
	}
}

func FuzzHostileTexts(f *testing.F) {
	for _, s := range nasty {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkHostile(t, s) })
}
