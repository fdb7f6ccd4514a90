package record

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// workflow returns the records of a run that passed, with the files that steps
// hand to each other.
func workflow() []*Record {
	zero, ended := 0, time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	rs := make([]*Record, 0, 7)
	for _, id := range Workflow[:7] {
		rs = append(rs, &Record{Schema: Schema, ID: id, Run: "r", Variant: "lite", Status: StatusSucceeded, Ended: &ended, ExitCode: &zero, Outputs: []File{}})
	}
	rs[2].Outputs = []File{{Path: "artifacts/nb.ipynb", SHA256: "aa"}}
	rs[3].Inputs, rs[3].Outputs = rs[2].Outputs, []File{{Path: "artifacts/nb.html", SHA256: "bb"}}
	rs[4].Inputs = rs[3].Outputs
	rs[6].Inputs = append(append([]File{}, rs[2].Outputs...), rs[3].Outputs...)
	return rs
}

// fetching is a run that has fetched data, with what has become of that.
func fetching(rs []*Record, s Status, k Kind) []*Record {
	zero := 0
	r := &Record{ID: FetchData, Variant: "lite", Status: StatusSucceeded, ExitCode: &zero}
	if k != "" {
		fail(r, s, k)
	}
	return append(rs, r)
}

func fail(r *Record, s Status, k Kind) {
	f := Failf(k, "%s went wrong", r.Name)
	code := ExitCode(f)
	r.Status, r.Failure, r.ExitCode = s, f, &code
}

func TestJudge(t *testing.T) {
	for _, tc := range []struct {
		name    string
		change  func(rs []*Record) []*Record
		verdict string
		kind    Kind
		step    int
		message string
	}{
		{"all succeeded", func(rs []*Record) []*Record { return rs }, Passed, "", 0, ""},
		{"no records", func(rs []*Record) []*Record { return nil }, RunIncomplete, Incomplete, 0, "step 1 (setup) has no record"},
		{"one missing", func(rs []*Record) []*Record { return append(rs[:5], rs[6]) }, RunIncomplete, Incomplete, 0, "step 6 (pytest) has no record"},
		{"one failed", func(rs []*Record) []*Record { fail(rs[2], StatusFailed, NotebookFailed); return rs }, RunFailed, NotebookFailed, 3, "papermill went wrong"},
		{"the first of two", func(rs []*Record) []*Record {
			fail(rs[5], StatusFailed, TestsFailed)
			fail(rs[2], StatusTimedOut, TimedOut)
			return rs
		}, RunFailed, TimedOut, 3, "papermill went wrong"},
		{"failed beats an earlier missing one", func(rs []*Record) []*Record {
			fail(rs[5], StatusFailed, TestsFailed)
			return rs[1:]
		}, RunFailed, TestsFailed, 6, "pytest went wrong"},
		{"failed beats an earlier skipped one", func(rs []*Record) []*Record {
			fail(rs[2], StatusSkipped, NotRun)
			fail(rs[6], StatusFailed, ArtifactInvalid)
			return rs
		}, RunFailed, ArtifactInvalid, 7, "collect went wrong"},
		{"an artifact is missing", func(rs []*Record) []*Record {
			fail(rs[6], StatusFailed, ArtifactMissing)
			return rs
		}, RunFailed, ArtifactMissing, 7, "collect went wrong"},
		{"an artifact is missing since its step did not run", func(rs []*Record) []*Record {
			fail(rs[5], StatusSkipped, NotRun)
			fail(rs[6], StatusFailed, ArtifactMissing)
			return rs
		}, RunIncomplete, Incomplete, 0, "step 6 (pytest) did not run: pytest went wrong"},
		{"skipped", func(rs []*Record) []*Record { fail(rs[5], StatusSkipped, NotRun); return rs }, RunIncomplete, Incomplete, 0, "step 6 (pytest) did not run: pytest went wrong"},
		{"running", func(rs []*Record) []*Record {
			rs[2].Status, rs[2].Ended, rs[2].ExitCode = StatusRunning, nil, nil
			return rs
		}, RunIncomplete, Incomplete, 0, "step 3 (papermill) is still running"},
		{"interrupted", func(rs []*Record) []*Record { fail(rs[2], StatusInterrupted, Killed); return rs }, RunFailed, Killed, 3, "papermill went wrong"},
		{"failed without a failure", func(rs []*Record) []*Record { rs[2].Status = StatusFailed; return rs }, RunFailed, Internal, 3, "the record of step 3 (papermill) says failed and names no failure"},
		{"succeeded with a failure", func(rs []*Record) []*Record { rs[2].Failure = Failf(BadInput, "x"); return rs }, RunFailed, BadInput, 3, "x"},
		{"succeeded with another exit code", func(rs []*Record) []*Record { one := 1; rs[2].ExitCode = &one; return rs }, RunFailed, Internal, 3, "the record of step 3 (papermill) says succeeded and names no failure"},
		{"succeeded without an exit code", func(rs []*Record) []*Record { rs[2].ExitCode = nil; return rs }, RunFailed, Internal, 3, "the record of step 3 (papermill) says succeeded and names no failure"},
		{"a status from nowhere", func(rs []*Record) []*Record { rs[2].Status = "great"; return rs }, RunFailed, Internal, 3, "the record of step 3 (papermill) says great and names no failure"},
		{"papermill ran again after nbconvert", func(rs []*Record) []*Record {
			rs[2].Outputs = []File{{Path: "artifacts/nb.ipynb", SHA256: "cc"}}
			return rs
		}, RunIncomplete, Incomplete, 0, "step 4 (nbconvert) has read an older artifacts/nb.ipynb than the run holds now"},
		{"nbconvert ran again after collect", func(rs []*Record) []*Record {
			rs[3].Outputs = []File{{Path: "artifacts/nb.html", SHA256: "cc"}}
			rs[4].Inputs = rs[3].Outputs
			return rs
		}, RunIncomplete, Incomplete, 0, "step 7 (collect) has read an older artifacts/nb.html than the run holds now"},
		{"variants mixed", func(rs []*Record) []*Record { rs[2].Variant = "original"; return rs }, RunIncomplete, Incomplete, 0, "step 1 (setup) ran as lite, but step 3 (papermill) as original"},
		{"summary asks for another variant", func(rs []*Record) []*Record {
			return append(rs, &Record{ID: Summary, Variant: "original", Status: StatusRunning})
		}, RunIncomplete, Incomplete, 0, "step 1 (setup) ran as lite, but step 8 (summary) as original"},
		{"data was fetched", func(rs []*Record) []*Record { return fetching(rs, StatusSucceeded, "") }, Passed, "", 0, ""},
		{"data was fetched for either variant", func(rs []*Record) []*Record {
			for _, r := range rs {
				r.Variant = "original"
			}
			return append(fetching(nil, StatusSucceeded, ""), rs...)
		}, Passed, "", 0, ""},
		{"data was not fetched", func(rs []*Record) []*Record { return fetching(rs, StatusFailed, FetchFailed) }, RunFailed, FetchFailed, 0, "fetch-data went wrong"},
		{"data was not fetched, so the notebook did not run", func(rs []*Record) []*Record {
			fail(rs[2], StatusSkipped, NotRun)
			fail(rs[5], StatusFailed, TestsFailed)
			return fetching(rs, StatusTimedOut, TimedOut)
		}, RunFailed, TimedOut, 0, "fetch-data went wrong"},
		{"fetching was skipped", func(rs []*Record) []*Record { return fetching(rs, StatusSkipped, NotRun) }, RunIncomplete, Incomplete, 0, "fetch-data did not run: fetch-data went wrong"},
		{"an earlier summary failed", func(rs []*Record) []*Record {
			s := &Record{ID: Summary, Variant: "lite"}
			fail(s, StatusFailed, NotebookFailed)
			return append(rs, s)
		}, Passed, "", 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			verdict, first, f := Judge(tc.change(workflow()))
			assert.Equal(t, tc.verdict, verdict)
			if tc.kind == "" {
				assert.Nil(t, f)
				assert.Nil(t, first)
				return
			}
			require.NotNil(t, f)
			assert.Equal(t, tc.kind, f.Kind)
			assert.Equal(t, tc.message, f.Message)
			if tc.step == 0 {
				assert.Equal(t, tc.verdict == RunFailed, first != nil, "only fetch-data fails as step 0")
			} else if assert.NotNil(t, first) {
				assert.Equal(t, tc.step, first.Step)
			}
		})
	}
}

// TestJudgePassesOnlySevenSuccesses tries every status for every pair of steps.
func TestJudgePassesOnlySevenSuccesses(t *testing.T) {
	kinds := map[Status]Kind{StatusFailed: Internal, StatusSkipped: NotRun, StatusInterrupted: Killed, StatusTimedOut: TimedOut}
	set := func(r *Record, s Status) {
		switch {
		case s == StatusRunning:
			r.Status, r.ExitCode, r.Ended = s, nil, nil
		case s != StatusSucceeded:
			fail(r, s, kinds[s])
		}
	}
	for i := range 7 {
		for k := range 7 {
			for _, a := range statuses {
				for _, b := range statuses {
					rs := workflow()
					set(rs[i], a)
					set(rs[k], b)
					good := rs[i].Status == StatusSucceeded && rs[k].Status == StatusSucceeded
					verdict, _, f := Judge(rs)
					assert.Equal(t, good, verdict == Passed, "step %d %s, step %d %s", i+1, a, k+1, b)
					assert.Equal(t, good, f == nil)
				}
			}
		}
	}
}

func TestNeedsPointBackwards(t *testing.T) {
	for i, id := range Order {
		for _, need := range Needs(id) {
			assert.Contains(t, Order[:i], need)
		}
	}
	assert.Empty(t, Needs(Collect), "collect runs whatever happened")
	assert.Empty(t, Needs(Summary), "summary runs whatever happened")
}
