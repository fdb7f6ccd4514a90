package artifacts

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	ran      = `{"cells":[{"cell_type":"markdown","metadata":{},"source":["# x"]},{"cell_type":"code","execution_count":3,"metadata":{"papermill":{"start_time":"2026-11-23T10:00:00"}},"outputs":[],"source":["1"]}],"metadata":{"papermill":{"start_time":"2026-11-23T10:00:00"}},"nbformat":4,"nbformat_minor":5}`
	neverRan = `{"cells":[{"cell_type":"code","execution_count":null,"metadata":{"papermill":{"start_time":null}},"outputs":[],"source":["1"]}],"metadata":{"papermill":{"start_time":"2026-11-23T10:00:00"}},"nbformat":4}`
)

func TestCheck(t *testing.T) {
	long := strings.Repeat("<p>long</p>\n", 10_000)
	for _, tc := range []struct{ name, mediaType, text, form, problem string }{
		{"a notebook that was run", "application/x-ipynb+json", ran, FormNotebook, ""},
		{"white space after it", "application/x-ipynb+json", ran + "\n \n", FormNotebook, ""},
		{"an execution count is enough", "application/x-ipynb+json", `{"cells":[{"execution_count":1}]}`, FormNotebook, ""},
		{"a start time is enough", "application/x-ipynb+json", `{"cells":[{"metadata":{"papermill":{"start_time":"x"}}}]}`, FormNotebook, ""},
		{"papermill began with one that has no cells", "application/x-ipynb+json", `{"cells":[],"metadata":{"papermill":{"start_time":"x"}}}`, FormNotebook, ""},
		{"one that was not run", "application/x-ipynb+json", neverRan, FormNotebook, "the notebook was not run: no cell of it has been executed"},
		{"evidence in the wrong places", "application/x-ipynb+json", `{"execution_count":1,"cells":[{"outputs":[{"execution_count":1,"metadata":{"papermill":{"start_time":"x"}}}],"x":{"execution_count":1}},[{"execution_count":1}]]}`, FormNotebook, "the notebook was not run: no cell of it has been executed"},
		{"no cells and nobody began", "application/x-ipynb+json", `{"cells":[]}`, FormNotebook, "the notebook was not run: no cell of it has been executed"},
		{"a notebook cut off", "application/x-ipynb+json", ran[:len(ran)-9], FormNotebook, "not a notebook: unexpected EOF"},
		{"an empty notebook", "application/x-ipynb+json", "", FormNotebook, "not a notebook: unexpected EOF"},
		{"two notebooks", "application/x-ipynb+json", ran + ran, FormNotebook, "not a notebook: data after its end"},
		{"an LFS pointer", "application/x-ipynb+json", "version https://git-lfs.github.com/spec/v1\n", FormNotebook, "not a notebook: invalid character 'v' looking for beginning of value"},
		{"JSON that is no notebook", "application/x-ipynb+json", `{"a":{"cells":[]}}`, FormNotebook, "not a notebook: it has no list of cells"},
		{"cells that are no list", "application/x-ipynb+json", `{"cells":{"execution_count":1}}`, FormNotebook, "not a notebook: it has no list of cells"},
		{"null", "application/x-ipynb+json", `null`, FormNotebook, "not a notebook: it has no list of cells"},
		{"nested beyond reason", "application/x-ipynb+json", strings.Repeat("[", 1<<20), FormNotebook, "not a notebook: it is nested too deep"},
		{"a comma too many", "application/x-ipynb+json", `{"cells":[1,]}`, FormNotebook, "not a notebook: invalid character ']' looking for beginning of value"},

		{"a page", "text/html", "<!DOCTYPE html>\n<html><body></body></html>\n", FormPage, ""},
		{"a long page", "text/html", "\ufeff \n<!doctype HTML><html>" + long + "</HTML>\n\n", FormPage, ""},
		{"a page without doctype", "text/html", "<html lang=en></html>", FormPage, ""},
		{"a page cut off", "text/html", "<!DOCTYPE html><html>" + long, FormPage, "the page is cut off: it does not end with </html>"},
		{"a short page cut off", "text/html", "<!DOCTYPE html><html><body></html", FormPage, "the page is cut off: it does not end with </html>"},
		{"an end far from the end", "text/html", "<html></html>" + long, FormPage, "the page is cut off: it does not end with </html>"},
		{"an empty page", "text/html", "", FormPage, "not a page: it does not begin with <!DOCTYPE html> or <html>"},
		{"a traceback", "text/html", "Traceback (most recent call last)</html>", FormPage, "not a page: it does not begin with <!DOCTYPE html> or <html>"},

		{"coverage", "application/xml", `<?xml version="1.0" ?><!DOCTYPE coverage SYSTEM "x.dtd"><coverage line-rate="1"><packages/></coverage>` + "\n", FormCoverage, ""},
		{"JUnit", "application/xml", `<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite/></testsuites>`, FormJUnit, ""},
		{"JUnit with one suite", "application/xml", `<testsuite><!-- c --></testsuite><!-- after -->`, FormJUnit, ""},
		{"XML cut off", "application/xml", `<testsuites><testsuite>`, FormJUnit, "not well-formed XML: XML syntax error on line 1: unexpected EOF"},
		{"XML with crossed elements", "application/xml", `<a><b></a></b>`, "a", "not well-formed XML: XML syntax error on line 1: element <b> closed by </a>"},
		{"XML with two roots", "application/xml", `<a/><b/>`, "a", "not well-formed XML: <b> after the end of <a>"},
		{"text after XML", "application/xml", `<a/>x`, "a", "not well-formed XML: text outside its element"},
		{"text before XML", "application/xml", `x<a/>`, "", "not well-formed XML: text outside its element"},
		{"a control character", "application/xml", "<a>\x01</a>", "a", "not well-formed XML: XML syntax error on line 1: illegal character code U+0001"},
		{"no XML", "application/xml", " \n", "", "not well-formed XML: it is empty"},

		{"anything else", "text/plain", "\x00", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			form, err := Check(tc.mediaType, strings.NewReader(tc.text))
			assert.Equal(t, tc.form, form)
			if tc.problem == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, tc.problem)
			}
		})
	}
}

func TestMediaType(t *testing.T) {
	for name, want := range map[string]string{
		"a.ipynb": "application/x-ipynb+json", "x/y.HTML": "text/html", "x.xml": "application/xml", "papermill.log": "text/plain",
		"noext": "application/octet-stream", ".xml/y": "application/octet-stream", "x.tar.gz": "application/octet-stream",
	} {
		assert.Equal(t, want, MediaType(name), name)
	}
}

func TestTailWriterKeepsTheEnd(t *testing.T) {
	for _, parts := range [][]string{{"abcdefgh"}, {"ab", "cdefgh"}, {"abcdefg", "h"}, {"a", "b", "c", "d", "e", "f", "g", "h"}, {"", "abcdefgh", ""}} {
		w := tailWriter{keep: 4}
		for _, p := range parts {
			n, err := io.WriteString(&w, p)
			require.NoError(t, err)
			assert.Equal(t, len(p), n)
		}
		assert.Equal(t, "efgh", string(w.b), parts)
	}
}

// FuzzCheck: what is accepted is what the standard library takes for JSON or XML
// of the right shape, and nothing makes a check fall over.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{ran, neverRan, "<!DOCTYPE html><html></html>", "<coverage><a b='c'/></coverage>", "<testsuite>&amp;</testsuite>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Check("application/x-ipynb+json", strings.NewReader(string(data))); err == nil {
			var nb struct{ Cells []json.RawMessage }
			require.NoError(t, json.Unmarshal(data, &nb))
		}
		if form, err := Check("application/xml", strings.NewReader(string(data))); err == nil {
			require.NotEmpty(t, form)
			require.NoError(t, xml.Unmarshal(data, new(any)))
		}
		if _, err := Check("text/html", strings.NewReader(string(data))); err == nil {
			require.Contains(t, strings.ToLower(string(data)), "</html>")
		}
	})
}

func BenchmarkCheckNotebook(b *testing.B) {
	image := strings.Repeat("iVBORw0KGgoAAAANSUhEUgAA", 1<<16)
	text := `{"cells":[` + strings.Repeat(`{"cell_type":"code","execution_count":1,"outputs":[{"data":{"image/png":"`+image+`"}}],"source":["x"]},`, 10) + `{}],"metadata":{}}`
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Check("application/x-ipynb+json", strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}
