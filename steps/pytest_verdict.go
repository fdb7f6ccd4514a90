package steps

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/junit"
)

// pytest's exit codes.
const (
	pytestOK = iota
	pytestFailed
	pytestInterrupted
	pytestInternal
	pytestUsage
	pytestNone
	pytestWarnings
)

const (
	// pytestFailures is how many failures the record holds, and pytestMessage how
	// much of each, in bytes. The reports have them all.
	pytestFailures = 50
	pytestMessage  = 2 << 10
)

// count puts the report's counts and failures into the facts.
func (t *pytestRun) count() {
	f, c := t.facts, t.counts
	f.Tests, f.Passed, f.Failures, f.Errors, f.Skipped, f.XFailed, f.Seconds = c.Tests, c.Passed, c.Failures, c.Errors, c.Skipped, c.XFailed, c.Seconds
	if again := t.report.Retried; len(again) > 0 {
		t.Note("%d times a test was tried again, first %s", len(again), strings.Trim(again[0].Classname+"::"+again[0].Name, ":"))
	}
	for _, test := range t.report.Tests {
		for _, o := range test.Outcomes {
			if (o.Kind == junit.Failure || o.Kind == junit.Error) && len(f.Failed) < pytestFailures {
				f.Failed = append(f.Failed, record.Testcase{
					Name: t.Secrets.String(test.Name), Classname: t.Secrets.String(test.Classname), Outcome: o.Kind,
					Message: t.Secrets.String(pytestReason(o)), Seconds: test.Seconds,
				})
			}
		}
	}
}

// pytestReason is why a test did not pass. For some errors pytest has the cause
// in the text only, in lines that begin with E.
func pytestReason(o junit.Outcome) string {
	reason := o.Message
	if reason == "" || reason == "collection failure" || reason == "internal error" {
		lines := strings.Split(strings.TrimSpace(o.Text), "\n")
		reason = lines[len(lines)-1]
		if lines := pytestELine.FindAllStringSubmatch(o.Text, -1); len(lines) > 0 {
			reason = lines[len(lines)-1][1]
		}
	}
	reason = strings.TrimSpace(reason)
	if len(reason) > pytestMessage {
		reason = strings.ToValidUTF8(reason[:pytestMessage], "") + "…"
	}
	return reason
}

var (
	pytestELine = regexp.MustCompile(`(?m)^E\s+(\S.*)$`)
	// pytestSkipText is the reason in the text of a module that was skipped.
	pytestSkipText = regexp.MustCompile(`(?s)Skipped: (.*?)['"]?\)?$`)
	// pytestCovMiss is what pytest-cov prints when it turns an exit code 0 into 1.
	pytestCovMiss = regexp.MustCompile(`(?i)required test coverage of \S+ not reached[^\n]*|coverage failure: [^\n]*`)
)

// verdict is the step's: err is why pytest could not be run to its end.
func (t *pytestRun) verdict(res child.Result, err error) error {
	if err != nil {
		return err
	}
	f := t.judge(res)
	if res.OOMKills > 0 {
		if f == nil {
			t.Note("the kernel ended %d processes for want of memory while the tests ran", res.OOMKills)
			return nil
		}
		return record.Failf(record.OutOfMemory, "the kernel ended %d processes for want of memory while the tests ran; %s", res.OOMKills, f.Message)
	}
	if f == nil {
		return nil
	}
	return f
}

// judge weighs pytest's exit code against what it left.
func (t *pytestRun) judge(res child.Result) *record.Failure {
	switch {
	case res.Signal != "":
		return record.Failf(record.TestsCrashed, "pytest was ended by %s", res.Signal)
	case t.report == nil:
		return t.noReport(res.ExitCode)
	}
	failed := t.counts.Failures+t.counts.Errors > 0
	switch res.ExitCode {
	case pytestOK:
		return t.passed(failed)
	case pytestFailed:
		if failed {
			return t.failed("")
		}
		return t.failedAlone()
	case pytestNone:
		return t.none()
	case pytestWarnings:
		return t.failed("pytest exited 6: more warnings than allowed")
	}
	if failed && t.facts.Failed[0].Classname != "pytest" {
		return t.failed(fmt.Sprintf("pytest exited %d (%s)", res.ExitCode, pytestCode(res.ExitCode)))
	}
	return t.crashed(res.ExitCode)
}

func pytestCode(code int) string {
	switch code {
	case pytestInterrupted:
		return "interrupted"
	case pytestInternal:
		return "internal error"
	case pytestUsage:
		return "usage"
	}
	return "no code of pytest's own"
}

// passed judges exit code 0: everything else must agree.
func (t *pytestRun) passed(failed bool) *record.Failure {
	c, r := t.counts, t.receipt
	switch {
	case failed:
		return t.untrusted("pytest exited 0, but its report has %d failures and %d errors: %s", c.Failures, c.Errors, t.firstFailed())
	case c.Declared > 0:
		return t.untrusted("pytest exited 0 and its report has no failed test, but the report's own count is %d", c.Declared)
	case r == nil:
		return t.untrusted("pytest exited 0, but its session did not come to its end")
	case r.Status != pytestOK && r.Status != pytestNone:
		return t.untrusted("pytest exited 0, but its session ended with %d", r.Status)
	case c.Tests == 0:
		return t.none()
	case c.Unfinished > 0 || r.Ended < r.Selected:
		return t.untrusted("pytest exited 0, but only %d of the %d selected tests ran", r.Ended, r.Selected).
			WithHint("look for pytest.exit or a plugin that ends the session early")
	case c.Passed+c.XFailed == 0:
		return t.allSkipped()
	}
	return nil
}

func (t *pytestRun) untrusted(format string, args ...any) *record.Failure {
	return record.Failf(record.TestsUntrusted, format, args...)
}

// failed is the failure of tests; how is added when the exit code is not the
// usual one.
func (t *pytestRun) failed(how string) *record.Failure {
	var parts []string
	if n := t.counts.Failures; n > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", n))
	}
	if n := t.counts.Errors; n > 0 {
		parts = append(parts, fmt.Sprintf("%d errored", n))
	}
	text := how
	if len(parts) > 0 {
		text = fmt.Sprintf("of %d tests %s: %s", t.counts.Tests, strings.Join(parts, " and "), t.firstFailed())
		if how != "" {
			text += "; " + how
		}
	}
	return record.Failf(record.TestsFailed, "%s", text)
}

// failedAlone judges exit code 1 without a failed test.
func (t *pytestRun) failedAlone() *record.Failure {
	if miss := pytestCovMiss.FindString(t.tail.String()); miss != "" {
		return record.Failf(record.TestsFailed, "no test failed, but coverage did: %s", miss).WithHint("cover more, or lower fail_under in the project's coverage configuration")
	}
	return t.untrusted("pytest exited 1, but its report has no failed test")
}

func (t *pytestRun) none() *record.Failure {
	if t.counts.Skipped > 0 {
		return t.allSkipped()
	}
	f := record.Failf(record.NoTests, "no test was collected in %s", t.where())
	if t.opts.Markers != "" {
		f = record.Failf(record.NoTests, "no test in %s is selected by --markers %q", t.where(), t.opts.Markers).
			WithHint(`mark tests with it, or give another --markers ("" runs all)`)
	}
	return f
}

func (t *pytestRun) allSkipped() *record.Failure {
	if t.opts.AllowAllSkipped {
		t.Note("every test was skipped, which --allow-all-skipped lets through")
		return nil
	}
	return record.Failf(record.TestsSkipped, "all %d tests were skipped: %s", t.counts.Skipped, t.firstSkip())
}

func (t *pytestRun) firstSkip() string {
	for _, test := range t.report.Tests {
		for _, o := range test.Outcomes {
			if o.Kind == junit.Skipped {
				if m := pytestSkipText.FindStringSubmatch(o.Text); m != nil && o.Message == "collection skipped" {
					return m[1]
				}
				return pytestReason(o)
			}
		}
	}
	return "no reason given"
}

func (t *pytestRun) firstFailed() string {
	first := t.facts.Failed[0]
	name := first.Name
	if first.Classname != "" {
		name = first.Classname + "::" + name
	}
	line, _, _ := strings.Cut(first.Message, "\n")
	return fmt.Sprintf("%s: %s", strings.Trim(name, ":"), line)
}

// crashed judges the codes 2, 3, 4 and unknown ones without a failed test.
func (t *pytestRun) crashed(code int) *record.Failure {
	reason := t.tail.Reason()
	if len(t.facts.Failed) > 0 {
		reason = t.facts.Failed[0].Message
	}
	f := record.Failf(record.TestsCrashed, "pytest exited %d (%s): %s", code, pytestCode(code), reason)
	if code == pytestUsage {
		f = f.WithHint("check --arg and the project's addopts; pytest_output.log has pytest's own words")
	}
	return f
}

// noReport judges a pytest that left no report, or none that can be read.
func (t *pytestRun) noReport(code int) *record.Failure {
	name := filepath.Base(t.results)
	switch {
	case !errors.Is(t.reportErr, fs.ErrNotExist):
		return record.Failf(record.TestsCrashed, "pytest exited %d, but its report %s cannot be used: %w", code, name, t.reportErr)
	case t.receipt != nil && (code == pytestOK || code == pytestFailed):
		return record.Failf(record.TestsCrashed, "pytest exited %d without a report, though its session came to its end", code).
			WithHint("look for -p no:junitxml in the project's addopts, or for what removes the report")
	case code == pytestOK || code == pytestFailed:
		return record.Failf(record.TestsCrashed, "pytest exited %d without a report: something ended it before its end (os._exit, a crash in native code)", code)
	}
	return t.crashed(code)
}

// where is the directory of the tests, as the reader knows it.
func (t *pytestRun) where() string {
	if t.opts.Dir != "" {
		return t.opts.Dir
	}
	return "the test repository"
}
