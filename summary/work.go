package summary

import (
	"fmt"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

func (r *Report) notebooks(d *document) {
	rec := r.of(record.Papermill)
	if rec == nil || rec.Status == record.StatusSkipped {
		return
	}
	f := rec.Facts.(*record.PapermillFacts)
	d.put("## Notebook%s\n\n| Notebook | Cells | Run | Failed | Skipped | Duration |\n|---|---:|---:|---:|---:|---:|\n", r.variant())
	d.items(4, len(f.Notebooks), "notebook", func(i int) string {
		n := f.Notebooks[i]
		return fmt.Sprintf("| %s | %d | %d | %d | %d | %s |\n", r.code(r.inClone(n.Input), 200), n.Cells.Total, n.Cells.Run, n.Cells.Failed, n.Cells.Skipped, seconds(n.Seconds))
	})
	watched := r.watches(d, f)
	if len(f.Slowest) > 0 && !watched {
		d.put("Slowest cells:\n\n| Cell | Duration | Begins with |\n|---:|---:|---|\n")
		d.items(2, len(f.Slowest), "cell", func(i int) string {
			c := f.Slowest[i]
			return fmt.Sprintf("| %d | %s | %s |\n", c.Number, seconds(c.Seconds), r.code(first(c.Source), 100))
		})
	}
	r.data(d, f)
	r.memory(d, f)
	r.changes(d, f)
}

// data is a line for each notebook whose data was to be small.
func (r *Report) data(d *document, f *record.PapermillFacts) {
	var lines []string
	for _, n := range f.Notebooks {
		if n.Lite != nil {
			lines = append(lines, fmt.Sprintf("- LITE data of %s: %s\n", r.code(r.inClone(n.Input), 200), r.subsampled(n.Lite)))
		}
	}
	if len(lines) > 0 {
		d.items(3, len(lines), "notebook", func(i int) string { return lines[i] })
	}
}

func (r *Report) subsampled(l *record.Lite) string {
	text := l.Text()
	if l.Error != "" {
		return text + "; what was read is not known: " + r.code(l.Error, 300)
	}
	for _, p := range l.Placed {
		text += fmt.Sprintf("; %s was cut before the run", r.code(p.Path, 100))
	}
	for _, read := range l.Reads {
		switch read.Way {
		case "cut":
			text += fmt.Sprintf("; %s was cut when it was read", r.code(read.Path, 100))
		case "full":
			text += fmt.Sprintf("; %s was read at full size: %s", r.code(read.Path, 100), r.code(read.Error, 200))
		}
		if len(text) > 1500 {
			return text + "; …"
		}
	}
	return text
}

// memory is a line for each notebook whose GPU memory was managed.
func (r *Report) memory(d *document, f *record.PapermillFacts) {
	var lines []string
	for _, n := range f.Notebooks {
		if m := n.RMM; m != nil {
			lines = append(lines, fmt.Sprintf("- GPU memory of %s by RMM (%s): %s\n", r.code(r.inClone(n.Input), 200), r.code(m.Policy.Mode, 20), r.managed(m)))
		}
	}
	if len(lines) > 0 {
		d.items(3, len(lines), "notebook", func(i int) string { return lines[i] })
	}
}

func (r *Report) managed(m *record.RMM) string {
	if m.Error != "" {
		return "the policy was not applied: " + r.code(m.Error, 300)
	}
	if len(m.Processes) == 0 {
		return "rmm was not imported"
	}
	text := "peak " + size(m.PeakBytes)
	if limit := m.Policy.LimitBytes; limit != nil {
		text += " of " + size(*limit)
	}
	text += fmt.Sprintf(" in %d process", len(m.Processes))
	if len(m.Processes) > 1 {
		text += "es"
	}
	if m.Overrides > 0 {
		text += fmt.Sprintf("; %d of the notebook's own settings held within the policy%s", m.Overrides, r.firstOverride(m))
	}
	return text
}

// firstOverride is what the notebook asked for first, and what it got.
func (r *Report) firstOverride(m *record.RMM) string {
	for _, p := range m.Processes {
		for _, o := range p.Overrides {
			return fmt.Sprintf(": %s %s became %s", r.code(o.Call, 40), r.code(o.Asked, 200), r.code(o.Applied, 200))
		}
	}
	return ""
}

// inClone is path as the repository has it.
func (r *Report) inClone(path string) string {
	if rec := r.of(record.Clone); rec != nil {
		if dir := rec.Facts.(*record.CloneFacts).Dir; dir != "" {
			return strings.TrimPrefix(path, dir+"/")
		}
	}
	return path
}

// changes are what makes a notebook that ran differ from the one in the repository.
func (r *Report) changes(d *document, f *record.PapermillFacts) {
	var lines []string
	for _, n := range f.Notebooks {
		for _, p := range n.Prepared {
			lines = append(lines, fmt.Sprintf("- Changed before the run: %s\n", r.code(p, 300)))
		}
		for _, e := range n.AllowedErrors {
			lines = append(lines, fmt.Sprintf("- Allowed error in cell %d: %s\n", e.Cell, r.code(e.Name+": "+e.Value, 300)))
		}
		if n.Error != nil && len(f.Notebooks) > 1 {
			lines = append(lines, fmt.Sprintf("- %s failed: %s\n", r.code(r.inClone(n.Input), 200), r.code(n.Error.Name+": "+n.Error.Value, 300)))
		}
	}
	if len(lines) > 0 {
		d.items(3, len(lines), "line", func(i int) string { return lines[i] })
	}
}

func (r *Report) tests(d *document) {
	rec := r.of(record.Pytest)
	if rec == nil || rec.Status == record.StatusSkipped {
		return
	}
	f := rec.Facts.(*record.PytestFacts)
	coverage := "none"
	if f.Coverage != nil {
		coverage = fmt.Sprintf("%.1f %%", *f.Coverage)
	}
	d.put("## Tests%s\n\n| Tests | Passed | Failures | Errors | Skipped | Expected failures | Coverage | Duration |\n|---:|---:|---:|---:|---:|---:|---:|---:|\n", r.variant())
	d.put("| %d | %d | %d | %d | %d | %d | %s | %s |\n\n", f.Tests, f.Passed, f.Failures, f.Errors, f.Skipped, f.XFailed, coverage, seconds(f.Seconds))
	if f.Env.Installer != "" {
		d.put("Environment by %s, Python %s%s.\n\n", r.code(f.Env.Installer, 40), r.code(f.Env.Python, 100), cached(f.Env))
	}
	if len(f.Failed) > 0 {
		d.items(25, len(f.Failed), "test", func(i int) string { return r.testcase(f.Failed[i]) })
	}
}

func cached(e record.TestEnv) string {
	if e.Cached {
		return ", from the cache"
	}
	return ""
}

// testcase is one test that did not pass, its message folded away.
func (r *Report) testcase(t record.Testcase) string {
	name := t.Name
	if t.Classname != "" {
		name = t.Classname + "::" + t.Name
	}
	return fmt.Sprintf("<details><summary>%s: %s (%s) %s</summary>\n\n%s\n</details>\n\n",
		r.tag(t.Outcome, 20), r.tag(name, 300), seconds(t.Seconds), r.tag(first(t.Message), 120), r.block("text", t.Message, 3000))
}

// gpus tells of the container in which the notebook ran, else of setup's.
func (r *Report) gpus(d *document) {
	d.put("## GPU\n\n")
	f := r.gpuFacts()
	switch {
	case f == nil:
		d.put("Unknown: neither step 1 (setup) nor step 3 (papermill) has recorded it.\n\n")
	case len(f.GPUs) == 0:
		why := f.GPUError
		if why == "" {
			why = "no reason is recorded"
		}
		d.put("None: %s\n\n", r.code(why, 300))
	default:
		d.put("Driver %s, CUDA %s.\n\n| # | GPU | Memory | Free | UUID |\n|---:|---|---:|---:|---|\n", r.code(f.Driver, 40), r.code(f.CUDA, 40))
		d.items(1, len(f.GPUs), "GPU", func(i int) string {
			g := f.GPUs[i]
			return fmt.Sprintf("| %d | %s | %s | %s | %s |\n", g.Index, r.code(g.Name, 100), memory(g.MemoryTotalBytes), memory(g.MemoryFreeBytes), r.code(g.UUID, 60))
		})
	}
}

func (r *Report) gpuFacts() *record.GPUFacts {
	if rec := r.of(record.Papermill); rec != nil {
		if f := rec.Facts.(*record.PapermillFacts); f.GPU != nil {
			return f.GPU
		}
	}
	if rec := r.of(record.Setup); rec != nil {
		return &rec.Facts.(*record.SetupFacts).GPUFacts
	}
	return nil
}

func memory(n *uint64) string {
	if n == nil {
		return "unknown"
	}
	return size(*n)
}
