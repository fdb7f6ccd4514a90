package artifacts

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// mediaTypes is a table of our own: the system's differs from image to image,
// and a manifest must not.
var mediaTypes = map[string]string{
	".ipynb": "application/x-ipynb+json",
	".html":  "text/html",
	".htm":   "text/html",
	".xml":   "application/xml",
	".json":  "application/json",
	".csv":   "text/csv",
	".log":   "text/plain",
	".txt":   "text/plain",
	".md":    "text/markdown",
	".png":   "image/png",
	".svg":   "image/svg+xml",
	".pdf":   "application/pdf",
}

// MediaType is that of a file called name, by its extension.
func MediaType(name string) string {
	if t, ok := mediaTypes[strings.ToLower(path.Ext(name))]; ok {
		return t
	}
	return "application/octet-stream"
}

// The forms that Check tells apart. XML files of other kinds have the name of
// their root element as their form.
const (
	FormNotebook = "notebook"
	FormPage     = "page"
	FormCoverage = "coverage"
	FormJUnit    = "testsuites"
)

// Check reads a file of a media type and says what it is; an error says why it is
// not what its type promises. Types that are not checked have the form "". It
// may leave off before the end of r.
func Check(mediaType string, r io.Reader) (form string, err error) {
	switch mediaType {
	case "application/x-ipynb+json":
		return FormNotebook, checkNotebook(r)
	case "text/html":
		return FormPage, checkHTML(r)
	case "application/xml":
		form, err = checkXML(r)
		if form == "testsuite" {
			form = FormJUnit
		}
		return form, err
	}
	return "", nil
}

// checkHTML wants a document from its head to </html>: a page that was cut off
// lacks the latter.
func checkHTML(r io.Reader) error {
	const edge = 1024
	head := make([]byte, edge)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	start := strings.ToLower(string(bytes.TrimLeft(head[:n], "\ufeff \t\r\n")))
	if !strings.HasPrefix(start, "<!doctype html") && !strings.HasPrefix(start, "<html") {
		return errors.New("not a page: it does not begin with <!DOCTYPE html> or <html>")
	}
	tail := tailWriter{keep: edge, b: head[:n:n]}
	if _, err := io.Copy(&tail, r); err != nil {
		return err
	}
	if end := strings.ToLower(string(bytes.TrimRight(tail.b, " \t\r\n"))); !strings.HasSuffix(end, "</html>") {
		return errors.New("the page is cut off: it does not end with </html>")
	}
	return nil
}

// tailWriter keeps the last bytes that were written to it.
type tailWriter struct {
	keep int
	b    []byte
}

func (t *tailWriter) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) >= t.keep {
		t.b, p = t.b[:0], p[len(p)-t.keep:]
	}
	t.b = append(t.b, p...)
	if over := len(t.b) - t.keep; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return n, nil
}

// checkXML wants one element, well formed to its end, and returns its name.
func checkXML(r io.Reader) (root string, err error) {
	d := xml.NewDecoder(r)
	for depth := 0; ; {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return root, fmt.Errorf("not well-formed XML: %w", err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if depth++; depth == 1 && root != "" {
				return root, fmt.Errorf("not well-formed XML: <%s> after the end of <%s>", t.Name.Local, root)
			} else if depth == 1 {
				root = t.Name.Local
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.TrimLeft(t, "\ufeff \t\r\n")) > 0 {
				return root, errors.New("not well-formed XML: text outside its element")
			}
		}
	}
	if root == "" {
		return "", errors.New("not well-formed XML: it is empty")
	}
	return root, nil
}
