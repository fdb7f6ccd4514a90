//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// table is what the tests have seen, for people.
type table struct {
	mu   sync.Mutex
	rows []row
}

type row struct {
	run, expected, seen string
	checked             []string
	took                time.Duration
	failed              bool
}

func (t *table) add(r row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

func (t *table) print(w io.Writer, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "RUN\tEXPECTED\tSEEN\t\tSECONDS\tCHECKED")
	for _, r := range t.rows {
		mark := "ok"
		if r.failed {
			mark = "FAILED"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%.0f\t%s\n", r.run, r.expected, r.seen, mark, r.took.Seconds(), strings.Join(r.checked, "; "))
	}
	tw.Flush()
	fmt.Fprintf(w, "e2e: %d runs in %s\n", len(t.rows), took.Round(time.Second))
}
