// Package junit reads what a test run leaves behind: its JUnit report, through
// joshdk/go-junit, and its coverage XML.
//
// go-junit loses some of what a report says (a suite's time once it has
// properties, the properties of a testcase, all failures of a testcase but the
// last, the type of a skip) and stumbles over bytes that real reports hold. So
// a report is first rewritten in the form from which go-junit loses nothing.
package junit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	gojunit "github.com/joshdk/go-junit"
)

// MaxBytes bounds a report, and coverage XML.
const MaxBytes = 128 << 20

// ErrNoSuites says that a report holds no test suite at all: it is empty, or it
// is no JUnit report.
var ErrNoSuites = errors.New("it holds no test suite")

// Outcome kinds. XFailed is a test that failed as it was expected to.
const (
	Failure = "failure"
	Error   = "error"
	Skipped = "skipped"
	XFailed = "xfailed"
)

// Report is a JUnit report, nested suites laid flat.
type Report struct {
	Suites []Suite
	Tests  []Test
	// Retried are attempts at tests that were tried again; they are not among Tests.
	Retried []Test
}

// Suite is what one suite says of itself.
type Suite struct {
	Name, Timestamp, Hostname string
	// Seconds is its own total, 0 when unknown.
	Seconds float64
	// Failed counts the failures and errors that it claims to hold.
	Failed int
	// Unfinished counts tests that began and have no end: pytest writes a testcase
	// without a name for one that ended the session.
	Unfinished int
	Properties map[string]string
}

// Test is one test. Outcomes is empty when it passed.
type Test struct {
	Name, Classname, File string
	// Seconds is 0 when unknown.
	Seconds    float64
	Properties map[string]string
	Outcomes   []Outcome
}

// Outcome is one thing that kept a test from passing.
type Outcome struct {
	Kind, Type, Message, Text string
}

// Counts sums a report. A test with a failure and an error counts once in each.
type Counts struct {
	Tests, Passed, Failures, Errors, Skipped, XFailed int
	// Declared is the failures and errors that the suites claim to hold.
	Declared int
	// Unfinished tests are not among Tests.
	Unfinished int
	Seconds    float64
}

// ReadFile reads the report in path.
func ReadFile(path string) (Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	return Read(f)
}

// Read reads a report. One that is not well-formed, longer than MaxBytes, or
// without a suite (ErrNoSuites) is an error.
func Read(r io.Reader) (Report, error) {
	text, err := readAll(r)
	if err != nil {
		return Report{}, err
	}
	var plain bytes.Buffer
	if err := normalise(&plain, text); err != nil {
		return Report{}, err
	}
	suites, err := gojunit.Ingest(plain.Bytes())
	if err != nil {
		return Report{}, err
	}
	if len(suites) == 0 {
		return Report{}, ErrNoSuites
	}
	var rep Report
	for _, s := range suites {
		rep.add(s)
	}
	return rep, nil
}

// readAll reads r to its end, at most MaxBytes, as text that encoding/xml takes.
func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("it is longer than %d MiB", MaxBytes>>20)
	}
	return sanitise(text)
}

func (rep *Report) add(s gojunit.Suite) {
	attr := func(name string) string { return s.Properties[attrMark+name] }
	suite := Suite{Name: s.Name, Timestamp: attr("timestamp"), Hostname: attr("hostname"), Seconds: seconds(attr("time"))}
	for _, name := range []string{"failures", "errors"} {
		n, _ := strconv.Atoi(attr(name))
		suite.Failed += max(0, n)
	}
	suite.Unfinished, _ = strconv.Atoi(attr("unfinished"))
	suite.Properties = withoutAttrs(s.Properties)
	rep.Suites = append(rep.Suites, suite)
	first, last := len(rep.Tests), ""
	for _, t := range s.Tests {
		// normalise wrote one element for each outcome, and one number for each test.
		if n := t.Properties[attrMark+"test"]; n != last || len(rep.Tests) == first {
			last = n
			rep.Tests = append(rep.Tests, Test{
				Name: t.Name, Classname: t.Classname, File: t.Properties["file"],
				Seconds: t.Duration.Seconds(), Properties: testProperties(t.Properties),
			})
		}
		test := &rep.Tests[len(rep.Tests)-1]
		if o, bad := outcome(t); bad {
			test.Outcomes = append(test.Outcomes, o)
		}
	}
	tests := joinTeardowns(rep.Tests[first:])
	declared, _ := strconv.Atoi(attr("tests"))
	tests, retried := takeRetried(tests, len(tests)-declared)
	rep.Tests, rep.Retried = append(rep.Tests[:first], tests...), append(rep.Retried, retried...)
	for _, inner := range s.Suites {
		rep.add(inner)
	}
}

func outcome(t gojunit.Test) (Outcome, bool) {
	o := Outcome{Type: t.Properties[attrMark+"type"], Message: t.Message, Text: t.Properties[attrMark+"text"]}
	switch t.Status {
	case gojunit.StatusFailed:
		o.Kind = Failure
	case gojunit.StatusError:
		o.Kind = Error
	case gojunit.StatusSkipped:
		o.Kind = Skipped
		if o.Type == "pytest.xfail" {
			o.Kind = XFailed
		}
	default:
		return o, false
	}
	return o, true
}

// joinTeardowns makes one test of two testcases of one name when the first has
// failed and the second holds only errors: so pytest reports a test that failed
// and then errored in teardown.
func joinTeardowns(tests []Test) []Test {
	failed := map[string]int{}
	joined := tests[:0]
	for _, t := range tests {
		id := t.id()
		if i, ok := failed[id]; ok && t.only(Error) {
			joined[i].Outcomes = append(joined[i].Outcomes, t.Outcomes...)
			joined[i].Seconds = max(joined[i].Seconds, t.Seconds)
			maps.Copy(joined[i].Properties, t.Properties)
			delete(failed, id)
			continue
		}
		if t.only(Failure) {
			failed[id] = len(joined)
		}
		joined = append(joined, t)
	}
	return joined
}

// takeRetried takes out attempts at tests that were tried again, as pytest-rerunfailures
// does: each has a testcase without any outcome, as if it had passed, followed by another
// of its name. The suite does not count them, so that there are surplus testcases more
// than it says.
func takeRetried(tests []Test, surplus int) (kept, retried []Test) {
	if surplus <= 0 || surplus == len(tests) {
		return tests, nil
	}
	for i, t := range tests {
		again := i+1 < len(tests) && tests[i+1].id() == t.id()
		if len(t.Outcomes) == 0 && again && len(retried) < surplus {
			retried = append(retried, t)
		} else {
			kept = append(kept, t)
		}
	}
	return kept, retried
}

func (t Test) id() string { return t.File + "\x00" + t.Classname + "\x00" + t.Name }

func (t Test) only(kind string) bool {
	return len(t.Outcomes) > 0 && !slices.ContainsFunc(t.Outcomes, func(o Outcome) bool { return o.Kind != kind })
}

func (t Test) has(kind string) bool {
	return slices.ContainsFunc(t.Outcomes, func(o Outcome) bool { return o.Kind == kind })
}

// Counts sums the report.
func (rep Report) Counts() Counts {
	var c Counts
	for _, t := range rep.Tests {
		c.Tests++
		failed := t.has(Failure) || t.has(Error)
		switch {
		case len(t.Outcomes) == 0:
			c.Passed++
		case !failed && t.has(Skipped):
			c.Skipped++
		case !failed:
			c.XFailed++
		}
		if t.has(Failure) {
			c.Failures++
		}
		if t.has(Error) {
			c.Errors++
		}
	}
	var own, sum float64
	for _, s := range rep.Suites {
		c.Declared += s.Failed
		c.Unfinished += s.Unfinished
		own += s.Seconds
	}
	for _, t := range rep.Tests {
		sum += t.Seconds
	}
	if c.Seconds = own; own == 0 {
		c.Seconds = sum
	}
	return c
}

func withoutAttrs(p map[string]string) map[string]string {
	p = maps.Clone(p)
	maps.DeleteFunc(p, func(name, _ string) bool { return strings.HasPrefix(name, attrMark) })
	return p
}
