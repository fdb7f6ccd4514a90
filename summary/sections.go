package summary

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// span is the time from the first step's start to the last one's end.
func (r *Report) span() (start, end time.Time, ok bool) {
	for _, rec := range r.Records {
		if rec.Step == record.Summary.Step || rec.Ended == nil {
			continue
		}
		if !ok || rec.Started.Before(start) {
			start = rec.Started
		}
		if rec.Ended.After(end) {
			end = *rec.Ended
		}
		ok = true
	}
	return start, end, ok
}

// failures says of every step that did not end well what happened, what to try
// and where to look.
func (r *Report) failures(d *document) {
	if r.Word == record.Passed {
		return
	}
	var bad, skipped []*record.Record
	for _, rec := range r.Records {
		switch {
		case rec.Step == record.Summary.Step || rec.Status == record.StatusSucceeded:
		case rec.Status == record.StatusSkipped:
			skipped = append(skipped, rec)
		default:
			bad = append(bad, rec)
		}
	}
	d.put("## What happened\n\n")
	if r.First == nil && r.Failure != nil && len(r.Unreadable) == 0 {
		d.put("%s\nTry: %s\n\n", r.block("text", r.Failure.Message, 500), r.code(r.Failure.Hint, 300))
	}
	if len(r.Unreadable) > 0 {
		d.items(3, len(r.Unreadable), "unreadable record", func(i int) string {
			u := r.Unreadable[i]
			return fmt.Sprintf("What %s did is unknown: %s\n\n", u.Title(), r.code(u.Err.Error(), 500))
		})
	}
	if len(bad) > 0 {
		d.items(25, len(bad), "step", func(i int) string { return r.failure(bad[i]) })
	}
	if len(skipped) > 0 {
		d.put("Not run in consequence:\n\n")
		d.items(2, len(skipped), "step", func(i int) string {
			s := skipped[i]
			return fmt.Sprintf("- %s: %s\n", heading(s.ID), r.code(why(s), 300))
		})
	}
}

// heading begins a line about a step.
func heading(id record.ID) string {
	if id.Step == 0 {
		return id.Name
	}
	return fmt.Sprintf("Step %d (%s)", id.Step, id.Label())
}

func why(rec *record.Record) string {
	if rec.Failure == nil {
		return ""
	}
	return rec.Failure.Message
}

func (r *Report) failure(rec *record.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s %s: %s\n\n", mark(rec.Status), heading(rec.ID), r.outcome(rec))
	if rec.Status == record.StatusInterrupted {
		b.WriteString("It was interrupted: its outputs, if there are any, are not to be trusted.\n\n")
	}
	if f := rec.Failure; f != nil {
		b.WriteString(r.block("text", f.Message, 3000) + "\n")
		fmt.Fprintf(&b, "- Try: %s\n", r.code(f.Hint, 1000))
	}
	if rec.Log != "" {
		fmt.Fprintf(&b, "- Log: %s\n", r.code(path.Join("runs", r.Run, rec.Log), 300))
	}
	if n := len(rec.Children); n > 0 {
		b.WriteString(r.ended(rec.Children[n-1]))
	}
	b.WriteString("\n")
	if facts, ok := rec.Facts.(*record.PapermillFacts); ok && facts.Error != nil {
		b.WriteString(r.cellError(facts.Error))
	}
	return b.String()
}

// outcome is the step's status, with its class where there is one.
func (r *Report) outcome(rec *record.Record) string {
	if rec.Failure == nil || string(rec.Failure.Kind) == string(rec.Status) {
		return string(rec.Status)
	}
	return fmt.Sprintf("%s, %s", rec.Status, r.code(string(rec.Failure.Kind), 60))
}

func (r *Report) ended(c record.Child) string {
	how := fmt.Sprintf("ended with exit code %d", c.ExitCode)
	if c.Signal != "" {
		how = "was ended by signal " + r.code(c.Signal, 40)
	}
	return fmt.Sprintf("- Program: %s %s after %s\n", r.code(strings.Join(c.Argv, " "), 300), how, seconds(c.Seconds))
}

func (r *Report) cellError(e *record.CellError) string {
	where := "The notebook"
	if e.Cell > 0 {
		where = fmt.Sprintf("Cell %d", e.Cell)
	}
	text := fmt.Sprintf("%s ended with %s:\n\n%s\n", where, r.code(e.Name, 100), r.block("text", e.Value, 2000))
	if e.Source != "" {
		text += r.block("python", e.Source, 1500) + "\n"
	}
	return text
}

func (r *Report) steps(d *document) {
	d.put("## Steps\n\n| # | Step | Status | Duration | Result |\n|---:|---|---|---:|---|\n")
	for _, id := range record.Order {
		rec, number := r.of(id), ""
		if id != record.FetchData {
			number = fmt.Sprint(id.Step)
		}
		switch {
		case id == record.FetchData && rec == nil && !r.unreadable(id):
		case id == record.Summary:
			d.put("| 8 | summary | 📝 this text | | |\n")
		case rec == nil && r.unreadable(id):
			d.put("| %s | %s | ❔ its record cannot be read | | |\n", number, id.Label())
		case rec == nil:
			d.put("| %s | %s | – not run | | |\n", number, id.Label())
		case rec.Status == record.StatusSkipped:
			d.put("| %s | %s | %s skipped | | |\n", number, id.Label(), mark(rec.Status))
		default:
			took := ""
			if rec.Ended != nil {
				took = seconds(rec.Ended.Sub(rec.Started).Seconds())
			}
			d.put("| %s | %s | %s %s | %s | %s |\n", number, id.Label(), mark(rec.Status), r.outcome(rec), took, r.result(rec))
		}
	}
	d.put("\n")
}

func (r *Report) unreadable(id record.ID) bool {
	return slices.ContainsFunc(r.Unreadable, func(u artifacts.Unreadable) bool { return u.ID == id })
}

// result is what a step's facts come to, in a few words.
func (r *Report) result(rec *record.Record) string {
	switch f := rec.Facts.(type) {
	case *record.SetupFacts:
		if len(f.GPUs) == 0 {
			return "no GPU"
		}
		return count(len(f.GPUs), "GPU")
	case *record.CloneFacts:
		if f.Commit != "" {
			return r.code(f.Commit, 13)
		}
	case *record.FetchFacts:
		return fetched(f)
	case *record.PapermillFacts:
		return fmt.Sprintf("%d of %s run", f.Cells.Run, count(f.Cells.Total, "cell"))
	case *record.NbconvertFacts:
		return count(len(f.Pages), "page")
	case *record.PytestFacts:
		return fmt.Sprintf("%s, %d not passed", count(f.Tests, "test"), f.Failures+f.Errors)
	case *record.CollectFacts:
		return fmt.Sprintf("%s, %s", count(f.Count, "file"), size(uint64(max(f.Bytes, 0))))
	}
	return ""
}

func (r *Report) sources(d *document) {
	var rows []string
	for _, id := range []record.ID{record.Clone, record.CloneTests} {
		if rec := r.of(id); rec != nil {
			f := rec.Facts.(*record.CloneFacts)
			when := ""
			if f.CommitterDate != nil {
				when = date(*f.CommitterDate)
			}
			rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s | %s |\n", id.Label(), r.code(f.URL, 150), r.revision(f), r.code(f.Commit, 40), when))
		}
	}
	if len(rows) > 0 {
		d.put("## Sources\n\n| Step | Repository | Revision | Commit | Committed |\n|---|---|---|---|---|\n%s\n", strings.Join(rows, ""))
	}
}

// fetched is what the datasets come to.
func fetched(f *record.FetchFacts) string {
	var bytes int64
	cached := 0
	for _, d := range f.Datasets {
		bytes += d.Bytes
		if d.Cached {
			cached++
		}
	}
	text := fmt.Sprintf("%s, %s", count(len(f.Datasets), "dataset"), size(uint64(max(bytes, 0))))
	if cached > 0 {
		text += fmt.Sprintf(", %d from the cache", cached)
	}
	return text
}

// datasets are the data that was fetched, by fetch-data's record.
func (r *Report) datasets(d *document) {
	rec := r.of(record.FetchData)
	if rec == nil {
		return
	}
	sets := rec.Facts.(*record.FetchFacts).Datasets
	if len(sets) == 0 {
		return
	}
	d.put("## Datasets\n\n| Dataset | From | Size | SHA-256 |\n|---|---|---:|---|\n")
	d.items(2, len(sets), "dataset", func(i int) string {
		s := sets[i]
		return fmt.Sprintf("| %s | %s | %s | %s |\n", r.code(s.Name, 100), r.code(s.URL, 300), size(uint64(max(s.Bytes, 0))), r.code(s.SHA256, 13))
	})
}

func (r *Report) revision(f *record.CloneFacts) string {
	if f.Revision == "" {
		return "default branch"
	}
	return r.code(f.Revision, 60)
}

// notes are the degradations that steps have reported.
func (r *Report) notes(d *document) {
	var lines []string
	for _, rec := range r.Records {
		for _, note := range rec.Notes {
			lines = append(lines, fmt.Sprintf("- %s: %s\n", heading(rec.ID), r.code(note, 500)))
		}
	}
	if len(lines) > 0 {
		d.put("## Notes\n\n")
		d.items(8, len(lines), "note", func(i int) string { return lines[i] })
	}
}

// files are the artifacts, from collect's record.
func (r *Report) files(d *document) {
	rec := r.of(record.Collect)
	if rec == nil {
		return
	}
	files := append(slices.Clone(rec.Inputs), rec.Outputs...)
	slices.SortFunc(files, func(a, b record.File) int { return strings.Compare(a.Path, b.Path) })
	d.put("## Artifacts%s\n\n", r.variant())
	d.put("| File | Size | SHA-256 |\n|---|---:|---|\n| %s | this text | |\n", r.code(r.Variant.SummaryName(), 50))
	d.items(12, len(files), "file", func(i int) string {
		f := files[i]
		return fmt.Sprintf("| %s | %s | %s |\n", r.code(strings.TrimPrefix(f.Path, "artifacts/"), 300), size(uint64(max(f.Bytes, 0))), r.code(f.SHA256, 13))
	})
	facts := rec.Facts.(*record.CollectFacts)
	if !facts.Published {
		d.put("They were not published: they are in %s only.\n\n", r.code(path.Join("runs", r.Run, "artifacts"), 200))
	}
	for _, l := range []struct {
		title string
		names []string
	}{
		{"Missing", facts.Missing}, {"Wrong", facts.Invalid}, {"Not published, holds a secret", facts.Leaked},
		{"Not collected, a link or a device", facts.Refused}, {"Not collected, nobody asked for it", facts.LeftOut},
	} {
		if len(l.names) > 0 {
			d.items(1, len(l.names), "file", func(i int) string { return fmt.Sprintf("- %s: %s\n", l.title, r.code(l.names[i], 500)) })
		}
	}
}
