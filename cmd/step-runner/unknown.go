package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/steps"
	"github.com/step-runner/step-runner/steps/child"
)

// warnUnknown warns of variables that look like ours and set nothing.
func (p *process) warnUnknown() {
	if p.kctx.Selected().Hidden {
		return // Its parent has warned.
	}
	known := map[string]setting{}
	for _, set := range p.settings.byFlag {
		known[set.variable] = set
	}
	for _, name := range steps.TokenVars() {
		known[name] = setting{}
	}
	for _, kv := range p.env.Environ {
		name, _, _ := strings.Cut(kv, "=")
		if name == child.MarkVar || name == child.StepVar {
			continue // Another step-runner has started this one.
		}
		if _, ok := known[name]; !ok && strings.HasPrefix(name, "STEP_RUNNER_") {
			p.env.Log.Warn("unknown variable " + name + didYouMean(name, known))
		}
	}
}

// didYouMean names the known name that is closest to name, "" when none is close.
func didYouMean[V any](name string, known map[string]V) string {
	best, least := "", 1+len(name)/4
	for _, candidate := range slices.Sorted(maps.Keys(known)) {
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %s?", best)
}

// distance is the number of letters to insert, delete or replace between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
