package notebook

import (
	"bytes"
	_ "embed"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"

	"github.com/step-runner/step-runner/artifacts/record"
)

// TemplateName is the name of the template that WriteTemplate writes.
const TemplateName = "offline"

var (
	//go:embed offline/index.html.j2
	template []byte
	//go:embed offline/conf.json
	templateConf []byte
)

// A page may use what it brings itself and nothing else; see WriteTemplate.
const (
	policy        = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; media-src data:; base-uri 'none'; form-action 'none'"
	policyScripts = policy + "; script-src 'unsafe-inline' 'unsafe-eval' data: blob:; worker-src data: blob:; frame-src data: blob:"
)

// WriteTemplate writes nbconvert's template for pages that need no network below
// dir. A notebook's outputs are somebody else's HTML, and the page is shown by a
// web server beside others: a policy in the page keeps the browser from running
// their scripts, unless scripts is set, and from loading anything for them. The
// banner, words of ours, is the first thing on the page; "" is none.
func WriteTemplate(dir string, scripts bool, banner string) error {
	dir = filepath.Join(dir, TemplateName)
	if err := os.MkdirAll(dir, 0o775); err != nil {
		return err
	}
	p := policy
	if scripts {
		p = policyScripts
	}
	if banner != "" {
		banner = `<div role="note" class="step-runner-banner" style="padding:.6em 1em;margin:0 0 1em;background:#fff3cd;color:#533f03;border:1px solid #ffe69c;font:bold 1em sans-serif">` +
			html.EscapeString(banner) + `</div>`
	}
	page := bytes.Replace(template, []byte("CONTENT_SECURITY_POLICY"), []byte(p), 1)
	page = bytes.Replace(page, []byte("PAGE_BANNER"), []byte(banner), 1)
	page = bytes.Replace(page, []byte("<!-- PAGE_END -->"), []byte(pageEnd), 1)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "index.html.j2"), page, 0o664),
		os.WriteFile(filepath.Join(dir, "conf.json"), templateConf, 0o664),
	)
}

// Page is what a rendered notebook is made of.
type Page struct {
	// Cells counts code cells.
	Cells int
	// Scripts counts scripts of the notebook's outputs.
	Scripts int
	// External are the hosts' addresses that scripts, styles, images or frames of
	// the outputs would be loaded from.
	External []string
}

// pageEnd stands in a page after the last cell.
const pageEnd = "<!-- step-runner: the last cell ends here -->"

// ClosePage puts the end tags back that nbconvert loses when an output has a stray
// </html>: it parses what it has written, and takes the first one for the last.
func ClosePage(path string) error {
	text, err := os.ReadFile(path)
	if err != nil || !bytes.HasSuffix(bytes.TrimSpace(text), []byte(pageEnd)) {
		return err
	}
	return os.WriteFile(path, append(text, "</main>\n</body>\n</html>\n"...), 0o664)
}

// ReadPage reads a page of nbconvert's. An error says why it is not whole.
func ReadPage(r io.Reader) (Page, error) {
	var p Page
	z := html.NewTokenizer(r)
	closed := false
	for {
		switch z.Next() {
		case html.ErrorToken:
			if err := z.Err(); !errors.Is(err, io.EOF) {
				return p, err
			}
			if !closed {
				return p, errors.New("it does not end with </html>")
			}
			return p, nil
		case html.StartTagToken, html.SelfClosingTagToken:
			closed = false
			p.tag(z)
		case html.EndTagToken:
			name, _ := z.TagName()
			closed = string(name) == "html"
		case html.TextToken:
			closed = closed && len(bytes.TrimSpace(z.Text())) == 0
		}
	}
}

func (p *Page) tag(z *html.Tokenizer) {
	name, more := z.TagName()
	tag := string(name)
	kind := ""
	for more {
		var key, value []byte
		key, value, more = z.TagAttr()
		switch attr := string(key); {
		case attr == "class" && slices.Contains(strings.Fields(string(value)), "jp-CodeCell"):
			p.Cells++
		case attr == "type":
			kind = string(value)
		case loads(tag, attr) && remote.Match(value):
			if at := string(value); !slices.Contains(p.External, at) {
				p.External = append(p.External, at)
			}
		}
	}
	if tag == "script" && (kind == "" || strings.HasSuffix(kind, "javascript") || kind == "module") {
		p.Scripts++
	}
}

var remote = regexp.MustCompile(`(?i)^\s*(?:https?:)?//`)

// loads says whether a browser fetches what the attribute of the tag names.
func loads(tag, attr string) bool {
	return attr == "src" || attr == "href" && tag == "link" || attr == "data" && tag == "object"
}

var (
	inlineMath = regexp.MustCompile(`\$[^\s$](?:[^$\n]*[^\s$])?\$(?:\D|$)|\$\$|\\\(|\\\[|\\begin\{`)
	latexType  = []byte(`"text/latex"`)
)

// HasMath says whether a cell of text or an output has formulas, which a page
// without MathJax shows as their source.
func (n *Notebook) HasMath() bool {
	return bytes.Contains(n.raw, latexType) ||
		slices.ContainsFunc(n.Cells, func(c Cell) bool { return c.Number == 0 && inlineMath.MatchString(c.Source) })
}

// CodeCells counts the code cells.
func (n *Notebook) CodeCells() int {
	cells := 0
	for _, c := range n.Cells {
		cells = max(cells, c.Number)
	}
	return cells
}

// Whole says why the page is not the rendering of n.
func (p Page) Whole(n *Notebook) error {
	if want := n.CodeCells(); p.Cells < want {
		return record.Failf(record.ConvertFailed, "it has %d of %d code cells", p.Cells, want)
	}
	return nil
}
