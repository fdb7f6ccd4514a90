package steps

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/redact"
	"github.com/step-runner/step-runner/steps/steptest"
)

// consoleClock is a clock that tests turn.
type consoleClock struct{ time.Time }

func newTestConsole(actions, tty bool) (*Console, *steptest.Buffer, *consoleClock) {
	out, clock := &steptest.Buffer{}, &consoleClock{time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	c := NewConsole(out, actions, tty)
	c.now = func() time.Time { return clock.Time }
	return c, out, clock
}

// consoleStep lets a step begin, print and end.
func consoleStep(c *Console, clock *consoleClock, rec *record.Record, status record.Status, f *record.Failure, output string) {
	rec.Started = clock.Time
	end := c.Begin(rec)
	fmt.Fprint(c, output)
	ended := clock.Add(12340 * time.Millisecond)
	rec.Status, rec.Failure, rec.Ended = status, f, &ended
	end()
}

func consoleRun(c *Console, clock *consoleClock) {
	end := c.Begin(&record.Record{ID: record.ID{Name: "run"}})
	consoleStep(c, clock, &record.Record{ID: record.Setup}, record.StatusSucceeded, nil, "python 3.12\n")
	consoleStep(c, clock, &record.Record{ID: record.Papermill}, record.StatusFailed,
		record.Failf(record.NotebookFailed, "a.ipynb, cell 3: 100%% wrong\n::set-env name=x::\x1b[2Jy"), "no end of line")
	consoleStep(c, clock, &record.Record{ID: record.Pytest}, record.StatusSkipped, record.Failf(record.NotRun, "papermill has failed"), "")
	end()
}

func TestConsolePlain(t *testing.T) {
	c, out, clock := newTestConsole(false, false)
	consoleRun(c, clock)
	assert.Equal(t, `1 setup …
python 3.12
1 setup succeeded in 12.3s
3 papermill …
no end of line
3 papermill failed in 12.3s
  | a.ipynb, cell 3: 100% wrong
  | ::set-env name=x::[2Jy
  | try: read the traceback in the output notebook or its HTML
6 pytest …
6 pytest skipped in 12.3s
  | papermill has failed
  | try: mend the step that the message names
`, out.String())
}

func TestConsoleOnATerminalIsColoured(t *testing.T) {
	c, out, clock := newTestConsole(false, true)
	consoleRun(c, clock)
	for _, want := range []string{"\x1b[1m1 setup\x1b[0m …", "\x1b[32msucceeded\x1b[0m", "\x1b[31mfailed\x1b[0m", "\x1b[33mskipped\x1b[0m"} {
		assert.Contains(t, out.String(), want)
	}
}

func TestConsoleOfAStepAloneLeavesTheFailureToTheEnd(t *testing.T) {
	c, out, clock := newTestConsole(false, false)
	consoleStep(c, clock, &record.Record{ID: record.Papermill}, record.StatusFailed, record.Failf(record.NotebookFailed, "cell 3"), "")
	assert.Equal(t, "3 papermill …\n3 papermill failed in 12.3s\n", out.String())
}

var consoleToken = regexp.MustCompile(`[A-Z2-7]{26}`)

func TestConsoleOnActions(t *testing.T) {
	c, out, clock := newTestConsole(true, true)
	consoleRun(c, clock)
	tokens := map[string]bool{}
	for _, token := range consoleToken.FindAllString(out.String(), -1) {
		tokens[token] = true
	}
	assert.Len(t, tokens, 3, "a new token each time")
	assert.Equal(t, `::group::1 setup
::stop-commands::TOKEN
python 3.12
::TOKEN::
::endgroup::
1 setup succeeded in 12.3s
::group::3 papermill
::stop-commands::TOKEN
no end of line
::TOKEN::
::endgroup::
3 papermill failed in 12.3s
::error title=3 papermill%3A notebook-failed::a.ipynb, cell 3: 100%25 wrong%0A::set-env name=x::[2Jy%0Aread the traceback in the output notebook or its HTML
  | a.ipynb, cell 3: 100% wrong
  | ::set-env name=x::[2Jy
  | try: read the traceback in the output notebook or its HTML
::group::6 pytest
::stop-commands::TOKEN
::TOKEN::
::endgroup::
6 pytest skipped in 12.3s
  | papermill has failed
  | try: mend the step that the message names
`, consoleToken.ReplaceAllString(out.String(), "TOKEN"))
}

// What is written outside a step, such as the last message, cannot command either.
func TestConsoleOnActionsGuardsEveryWrite(t *testing.T) {
	c, out, _ := newTestConsole(true, false)
	fmt.Fprint(c, "step-runner: bad\n::warning::x\n")
	fmt.Fprint(c, "harmless\n")
	assert.Equal(t, "::stop-commands::TOKEN\nstep-runner: bad\n::warning::x\n::TOKEN::\nharmless\n", consoleToken.ReplaceAllString(out.String(), "TOKEN"))
}

func TestConsoleEscapes(t *testing.T) {
	assert.Equal(t, "a%3A b%2C c%25 d%0D%0A", escapeProperty("a: b, c% d\r\n"))
	assert.Equal(t, "a: b, c%25 d%0D%0A", escapeData("a: b, c% d\r\n"))
}

func TestConsoleProgressInALog(t *testing.T) {
	for _, actions := range []bool{false, true} {
		c, out, clock := newTestConsole(actions, true)
		if !actions {
			c, out, clock = newTestConsole(false, false)
		}
		for i := range 25 {
			c.Progress("cells %d/25\n\x1b[2J", i)
			clock.Time = clock.Add(time.Second)
		}
		assert.Equal(t, "cells 0/25 [2J\ncells 10/25 [2J\ncells 20/25 [2J\n", out.String())
		clock.Time = clock.Add(time.Minute)
		fmt.Fprint(c, "half")
		c.Progress("between")
		fmt.Fprint(c, " a line\n")
		c.Progress("after")
		assert.True(t, strings.HasSuffix(out.String(), "\nhalf a line\nafter\n"), out.String())
	}
}

func TestConsoleProgressOnATerminal(t *testing.T) {
	c, out, _ := newTestConsole(false, true)
	c.Progress("cells %d/2", 0)
	c.Progress("cells %d/2", 1)
	fmt.Fprint(c, "text")
	c.Progress("cells %d/2", 2)
	fmt.Fprint(c, " more\n")
	show := func(s string) string { return "\x1b[?7l" + s + "\x1b[?7h\r" }
	assert.Equal(t, show("cells 0/2")+"\x1b[K"+show("cells 1/2")+"\x1b[Ktext more\n"+show("cells 2/2"), out.String())
	c.Progress("%s", strings.Repeat("ä", 1000))
	assert.Contains(t, out.String(), show(strings.Repeat("ä", longestProgress-1)+"…"))
}

func TestConsoleProgressIsGoneAtTheEnd(t *testing.T) {
	c, out, clock := newTestConsole(false, true)
	rec := &record.Record{ID: record.Setup, Status: record.StatusSucceeded, Started: clock.Time}
	end := c.Begin(rec)
	c.Progress("working")
	end()
	fmt.Fprint(c, "next\n")
	assert.True(t, strings.HasSuffix(out.String(), "\x1b[K1 setup \x1b[32msucceeded\x1b[0m in 0s\nnext\n"), "%q", out.String())
}

// Nothing of the progress may wait in redaction for a byte that does not come.
func TestConsoleProgressPassesRedaction(t *testing.T) {
	out, secrets := &steptest.Buffer{}, &redact.Set{}
	secrets.Add("cells-are-secret")
	c := NewConsole(secrets.Writer(out), false, true)
	c.Progress("three cells")
	assert.Equal(t, "\x1b[?7lthree cells\x1b[?7h\r", out.String())
}

func TestConsoleConcurrentUse(t *testing.T) {
	c, out, clock := newTestConsole(true, false)
	end := c.Begin(&record.Record{ID: record.Setup, Status: record.StatusSucceeded, Started: clock.Time})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				_, _ = io.WriteString(c, "line\n")
				c.Progress("progress")
			}
		})
	}
	wg.Wait()
	end()
	require.Equal(t, 400, strings.Count(out.String(), "line\n"))
}
