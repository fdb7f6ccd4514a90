package summary

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// mostTables bounds how many notebooks have a table of their cells.
const mostTables = 3

// watches tells for each notebook what it did to GPUs and memory, and says whether
// a table of cells was among it.
func (r *Report) watches(d *document, f *record.PapermillFacts) bool {
	var lines []string
	tables := 0
	for _, n := range f.Notebooks {
		w := n.Watch
		if w == nil {
			continue
		}
		if len(w.Cells) > 0 && tables < mostTables {
			tables++
			r.cellTable(d, n)
		}
		of := ""
		if len(f.Notebooks) > 1 {
			of = r.code(r.inClone(n.Input), 200) + ": "
		}
		for _, l := range slices.Concat(r.courses(w), r.deviceLines(w), r.warnings(w)) {
			lines = append(lines, "- "+of+l+"\n")
		}
	}
	if len(lines) > 0 {
		d.items(3, len(lines), "line", func(i int) string { return lines[i] })
	}
	return tables > 0
}

// warnings are what somebody should look after.
func (r *Report) warnings(w *record.Watch) (lines []string) {
	for _, l := range w.Leaked {
		held := "an unknown amount of GPU memory"
		if l.Bytes != nil {
			held = size(*l.Bytes) + " of GPU memory"
		}
		lines = append(lines, fmt.Sprintf("⚠️ left behind: process %d %s, which held %s; it was ended", l.PID, r.code(l.Name, 60), held))
	}
	for _, x := range w.XIDs {
		meaning := "not in step-runner's list"
		if x.Meaning != "" {
			meaning = r.code(x.Meaning, 120)
		}
		lines = append(lines, fmt.Sprintf("⚠️ XID %d (%s), %s, of %s: %s", x.Code, r.code(x.Class, 20), count(x.Count, "time"), r.code(x.UUID, 60), meaning))
	}
	return lines
}

// mostRows bounds the table of cells.
const mostRows = 12

// cellTable shows the cells that took longest, and that with each peak.
func (r *Report) cellTable(d *document, n record.Notebook) {
	w := n.Watch
	rows := topCells(w.Cells)
	d.put("Cells of %s that matter most, %d of %d:\n\n| Cell | Duration | GPU peak | GPU busy | Host peak | Begins with |\n|---:|---:|---:|---:|---:|---|\n",
		r.code(r.inClone(n.Input), 200), len(rows), w.CellsTimed)
	d.items(2, len(rows), "cell", func(i int) string {
		c := rows[i]
		busy := "–"
		if c.UtilizationPercent != nil {
			busy = fmt.Sprintf("%.0f %%", *c.UtilizationPercent)
		}
		return fmt.Sprintf("| %d | %s | %s | %s | %s | %s |\n", c.Number, seconds(c.Seconds), known(c.GPUPeakBytes), busy, known(c.HostPeakBytes), r.code(first(c.Source), 100))
	})
}

// topCells are the ten slowest cells and those with the highest peaks, in the
// notebook's order.
func topCells(cells []record.CellUse) []record.CellUse {
	order := make([]int, len(cells))
	gpu, host := -1, -1
	for i, c := range cells {
		order[i] = i
		if c.GPUPeakBytes != nil && (gpu < 0 || *c.GPUPeakBytes > *cells[gpu].GPUPeakBytes) {
			gpu = i
		}
		if c.HostPeakBytes != nil && (host < 0 || *c.HostPeakBytes > *cells[host].HostPeakBytes) {
			host = i
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(cells[b].Seconds, cells[a].Seconds) })
	kept := slices.Clone(order[:min(len(order), mostRows-2)])
	for _, i := range []int{gpu, host} {
		if i >= 0 && !slices.Contains(kept, i) {
			kept = append(kept, i)
		}
	}
	slices.Sort(kept)
	var top []record.CellUse
	for _, i := range kept {
		top = append(top, cells[i])
	}
	return top
}

func known(n *uint64) string {
	if n == nil {
		return "–"
	}
	return size(*n)
}

// courses are a line for the GPUs and one for the host.
func (r *Report) courses(w *record.Watch) (lines []string) {
	t := w.Timeline
	if t == nil {
		return nil
	}
	if len(t.GPUBytes) > 0 {
		lines = append(lines, course("GPU memory", t.GPUBytes, t.Seconds))
	}
	if len(t.HostBytes) > 0 {
		of := ""
		if w.CgroupLimitBytes != nil {
			of = fmt.Sprintf("; the container may use %s", size(*w.CgroupLimitBytes))
			if w.CgroupPeakBytes != nil {
				of = fmt.Sprintf("; the container used up to %s of %s", size(*w.CgroupPeakBytes), size(*w.CgroupLimitBytes))
			}
		}
		lines = append(lines, course("host memory", t.HostBytes, t.Seconds)+of)
	}
	return lines
}

var bars = []rune("▁▂▃▄▅▆▇█")

// course draws numbers as bars of one line, the highest of them at full height.
func course(what string, values []uint64, took float64) string {
	most := max(slices.Max(values), 1)
	var line strings.Builder
	for _, v := range values {
		line.WriteRune(bars[int(float64(v)/float64(most)*float64(len(bars)-1)+0.5)])
	}
	return fmt.Sprintf("%s over %s: `%s` peak %s", what, seconds(took), line.String(), size(most))
}

// deviceLines are a line for each device.
func (r *Report) deviceLines(w *record.Watch) (lines []string) {
	for _, g := range w.Devices {
		text := fmt.Sprintf("GPU %d %s: peak %s of %s", g.Index, r.code(g.UUID, 60), memory(g.PeakBytes), memory(g.TotalBytes))
		if g.UtilizationPercent != nil {
			text += fmt.Sprintf(", busy %.0f %%", *g.UtilizationPercent)
		}
		if g.Watts != nil {
			text += fmt.Sprintf(", %.0f W", *g.Watts)
		}
		if g.BeforeBytes != nil {
			text += fmt.Sprintf("; %s in use before, %s after", size(*g.BeforeBytes), memory(g.AfterBytes))
		}
		if g.Lost != "" {
			text += "; ⚠️ it stopped answering: " + r.code(g.Lost, 100)
		}
		lines = append(lines, text)
	}
	if w.GPUError != "" && len(w.Devices) > 0 {
		lines = append(lines, fmt.Sprintf("the GPUs were not watched to the end: %s", r.code(w.GPUError, 300)))
	}
	return lines
}
