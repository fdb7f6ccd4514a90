// Package summary writes what a person reads of a run, from its records and from
// nothing else.
package summary

import (
	"fmt"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// Limit is the size in bytes that GitHub allows a step's summary.
const Limit = 1 << 20

// MinLimit is the least size in bytes that Markdown can keep to.
const MinLimit = 128 << 10

// Report is what there is to say.
type Report struct {
	Run     string
	Variant artifacts.Variant
	// Runner is the version of step-runner that writes the summary.
	Runner string
	artifacts.Verdict
	// Redact takes secrets out of a text; nil takes out none.
	Redact func(string) string
}

// Markdown is the summary, of at most limit bytes, which must not be less than
// MinLimit. The verdict and the steps are always in it; of long lists only the
// beginning when there is no room. The same records give the same bytes.
func (r *Report) Markdown(limit int) []byte {
	d := &document{limit: limit}
	r.head(d)
	r.failures(d)
	r.steps(d)
	r.notebooks(d)
	r.tests(d)
	r.gpus(d)
	r.sources(d)
	r.datasets(d)
	r.notes(d)
	r.files(d)
	return []byte(d.String())
}

// Completed is the line that says that the whole workflow passed.
func Completed(v artifacts.Variant) string {
	if v == artifacts.Lite {
		return record.CompletedMessage + " (LITE)"
	}
	return record.CompletedMessage
}

// document is Markdown in the making.
type document struct {
	strings.Builder
	limit int
}

func (d *document) put(format string, args ...any) { fmt.Fprintf(d, format, args...) }

// items writes n items as long as they fit into percent of the document, and
// says how many did not. Each ends its own lines.
func (d *document) items(percent, n int, what string, item func(i int) string) {
	room, text := d.limit/100*percent, ""
	for i := range n {
		text = item(i)
		if room -= len(text); room < 0 {
			d.put("\n%s more not shown for the size of this page; the records have all.\n", count(n-i, what))
			break
		}
		d.WriteString(text)
	}
	if !strings.HasSuffix(text, "\n\n") {
		d.put("\n")
	}
}

// variant is what everything about a lite run says.
func (r *Report) variant() string {
	if r.Variant == artifacts.Lite {
		return " (LITE)"
	}
	return ""
}

// shape is how small the data of a lite run was, by the first notebook that read any.
func (r *Report) shape() string {
	rec := r.of(record.Papermill)
	if rec == nil {
		return ""
	}
	for _, n := range rec.Facts.(*record.PapermillFacts).Notebooks {
		if n.Lite != nil && n.Lite.Way != "" && n.Lite.Way != record.LiteNoData {
			return fmt.Sprintf(" (%s)", n.Lite.Text())
		}
	}
	return ""
}

// of returns the record of a step, nil when it has none.
func (r *Report) of(id record.ID) *record.Record {
	for _, rec := range r.Records {
		if rec.ID == id {
			return rec
		}
	}
	return nil
}

func (r *Report) head(d *document) {
	switch r.Word {
	case record.Passed:
		d.put("# ✅ PASSED%s: all 8 steps\n\n**%s**\n\n", r.variant(), Completed(r.Variant))
	case record.RunIncomplete:
		d.put("# ⚠️ INCOMPLETE%s: not all 8 steps have run\n\n", r.variant())
	default:
		d.put("# ❌ FAILED%s%s\n\n", r.variant(), r.culprit())
	}
	d.put("Run %s, variant %s%s", r.code(r.Run, 80), r.code(strings.ToUpper(string(r.Variant)), 20), r.shape())
	if start, end, ok := r.span(); ok {
		d.put(", started %s, took %s", date(start), seconds(end.Sub(start).Seconds()))
	}
	d.put(", step-runner %s.\n\n", r.code(r.Runner, 80))
	if r.Word != record.Passed {
		d.put("%s %s: what has succeeded is kept.\n\n", r.again(), r.code("step-runner run --resume "+r.Run, 200))
	}
}

// again is what to do once the cause is mended. Where each step was run for itself, a
// pipeline did it, and that has a way of its own.
func (r *Report) again() string {
	for _, rec := range r.Records {
		if len(rec.Argv) > 1 && rec.Argv[1] == "run" {
			return "Once the cause is mended, go on with"
		}
	}
	return "Once the cause is mended, start the pipeline again (on Tekton a new PipelineRun), or go on in the workspace with"
}

func (r *Report) culprit() string {
	switch {
	case r.First != nil && r.Failure != nil:
		return fmt.Sprintf(": %s, %s", r.First.Title(), r.code(string(r.Failure.Kind), 60))
	case r.Failure != nil:
		return ": " + r.code(string(r.Failure.Kind), 60)
	}
	return ""
}
