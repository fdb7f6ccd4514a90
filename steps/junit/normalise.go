package junit

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// attrMark begins the names under which normalise hides what go-junit would lose.
const attrMark = "step-runner."

const (
	// maxText bounds what is kept of one failure's text or message, in bytes.
	maxText = 64 << 10
	// maxDepth bounds nested suites.
	maxDepth = 32
)

// element is a testcase, or a suite, that is being read.
type element struct {
	attrs      []xml.Attr
	properties []xml.Attr
	outcomes   []*found
	// unfinished counts the testcases of a suite that have no name.
	unfinished int
}

// found is a failure, error or skipped element of a testcase.
type found struct {
	tag, kind, message string
	text               strings.Builder
	ended              bool
}

type normaliser struct {
	w      *bytes.Buffer
	suites []*element
	test   *element
	tests  int
}

// normalise rewrites a report: suites' attributes as properties, testcases'
// properties as attributes, one testcase for each failure, error or skip, times
// as decimal seconds, and no captured output.
func normalise(w *bytes.Buffer, text []byte) error {
	n := normaliser{w: w}
	d := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is not well-formed: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			err = n.start(t)
		case xml.EndElement:
			n.end(t.Name.Local)
		case xml.CharData:
			n.text(t)
		}
		if err != nil {
			return err
		}
	}
}

func (n *normaliser) start(t xml.StartElement) error {
	switch name := t.Name.Local; {
	case name == "testsuite" && n.test == nil:
		if len(n.suites) == maxDepth {
			return fmt.Errorf("its suites are nested more than %d deep", maxDepth)
		}
		n.suites = append(n.suites, &element{attrs: t.Attr})
		n.write("testsuite", []xml.Attr{attr("name", get(t.Attr, "name"))}, false)
	case name == "testcase" && n.test == nil && len(n.suites) > 0:
		n.test = &element{attrs: t.Attr}
		n.tests++
	case name == "property":
		n.property(attr(get(t.Attr, "name"), get(t.Attr, "value")))
	case n.test != nil && (name == Failure || name == Error || name == Skipped):
		n.test.outcomes = append(n.test.outcomes, &found{tag: name, kind: get(t.Attr, "type"), message: clip(get(t.Attr, "message"))})
	}
	return nil
}

func (n *normaliser) property(p xml.Attr) {
	if n.test != nil {
		n.test.properties = append(n.test.properties, p)
	} else if len(n.suites) > 0 {
		s := n.suites[len(n.suites)-1]
		s.properties = append(s.properties, p)
	}
}

func (n *normaliser) text(b []byte) {
	if n.test == nil || len(n.test.outcomes) == 0 {
		return
	}
	if o := n.test.outcomes[len(n.test.outcomes)-1]; !o.ended && o.text.Len() < maxText {
		o.text.WriteString(clip(string(b)))
	}
}

func (n *normaliser) end(name string) {
	switch {
	case n.test != nil && (name == Failure || name == Error || name == Skipped):
		n.test.outcomes[len(n.test.outcomes)-1].ended = true
	case name == "testcase" && n.test != nil:
		n.testcase()
		n.test = nil
	case name == "testsuite" && n.test == nil && len(n.suites) > 0:
		n.suite(n.suites[len(n.suites)-1])
		n.suites = n.suites[:len(n.suites)-1]
	}
}

func (n *normaliser) suite(s *element) {
	n.w.WriteString("<properties>")
	for _, p := range s.properties {
		n.write("property", []xml.Attr{attr("name", p.Name.Local), attr("value", p.Value)}, true)
	}
	for _, a := range s.attrs {
		n.write("property", []xml.Attr{attr("name", attrMark+a.Name.Local), attr("value", a.Value)}, true)
	}
	n.write("property", []xml.Attr{attr("name", attrMark+"unfinished"), attr("value", strconv.Itoa(s.unfinished))}, true)
	n.w.WriteString("</properties></testsuite>")
}

func (n *normaliser) testcase() {
	if len(n.test.outcomes) == 0 && get(n.test.attrs, "name") == "" && get(n.test.attrs, "classname") == "" {
		n.suites[len(n.suites)-1].unfinished++
		return
	}
	attrs := []xml.Attr{attr(attrMark+"test", strconv.Itoa(n.tests))}
	for _, name := range []string{"name", "classname", "file"} {
		attrs = append(attrs, attr(name, get(n.test.attrs, name)))
	}
	attrs = append(attrs, attr("time", strconv.FormatFloat(seconds(get(n.test.attrs, "time")), 'f', 6, 64)))
	for i, p := range n.test.properties {
		attrs = append(attrs, attr(fmt.Sprintf("%sn%d", attrMark, i), p.Name.Local), attr(fmt.Sprintf("%sv%d", attrMark, i), p.Value))
	}
	if len(n.test.outcomes) == 0 {
		n.write("testcase", attrs, true)
		return
	}
	for _, o := range n.test.outcomes {
		text := clip(o.text.String())
		// go-junit keeps the text of failures and errors only.
		n.write("testcase", append(attrs, attr(attrMark+"type", o.kind), attr(attrMark+"text", text)), false)
		n.write(o.tag, []xml.Attr{attr("message", o.message), attr("type", o.kind)}, false)
		fmt.Fprintf(n.w, "</%s></testcase>", o.tag)
	}
}

// write writes one start tag; names in attrs are ours and need no escape.
func (n *normaliser) write(tag string, attrs []xml.Attr, empty bool) {
	n.w.WriteString("<" + tag)
	for _, a := range attrs {
		n.w.WriteString(" " + a.Name.Local + `="`)
		xml.EscapeText(n.w, []byte(a.Value))
		n.w.WriteString(`"`)
	}
	if empty {
		n.w.WriteString("/")
	}
	n.w.WriteString(">")
}

// testProperties are the properties of a testcase, as testcase hid them.
func testProperties(attrs map[string]string) map[string]string {
	props := map[string]string{}
	for i := 0; ; i++ {
		name, ok := attrs[fmt.Sprintf("%sn%d", attrMark, i)]
		if !ok {
			return props
		}
		props[name] = attrs[fmt.Sprintf("%sv%d", attrMark, i)]
	}
}

func attr(name, value string) xml.Attr { return xml.Attr{Name: xml.Name{Local: name}, Value: value} }

func get(attrs []xml.Attr, name string) string {
	for _, a := range attrs {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// clip cuts text to maxText bytes.
func clip(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	return text
}

// maxSeconds is three years: a longer time is a mistake.
const maxSeconds = 1e8

// seconds reads a time attribute: decimal seconds, also with thousands
// separators, "00:00:01.5", or "1.5s". What is none of these, negative or no
// number is 0, unknown.
func seconds(text string) float64 {
	text = strings.ReplaceAll(strings.TrimSpace(text), ",", "")
	total := 0.0
	for _, part := range strings.Split(text, ":") {
		f, err := strconv.ParseFloat(part, 64)
		if err != nil {
			d, _ := time.ParseDuration(text)
			total = d.Seconds()
			break
		}
		total = total*60 + f
	}
	if math.IsNaN(total) || total < 0 || total > maxSeconds {
		return 0
	}
	return total
}
