package record

import "fmt"

// The verdicts on a run.
const (
	Passed           = "passed"
	RunFailed        = "failed"
	RunIncomplete    = "incomplete"
	CompletedMessage = "ENTIRE 8-STEP WORKFLOW COMPLETED"
)

// Needs are the steps of the same run that must have succeeded before step id
// may start. A step that has no record at all does not hinder: steps can be run
// one by one.
func Needs(id ID) []ID {
	switch id {
	case Clone, FetchData:
		return []ID{Setup}
	case Papermill:
		return []ID{Setup, Clone, FetchData}
	case CloneTests:
		// A failed notebook has a page too, but one that could not be rendered
		// leaves nothing to stage.
		return []ID{Setup, Nbconvert}
	case Pytest:
		return []ID{Papermill, Nbconvert, CloneTests}
	}
	return nil
}

// Judge derives the verdict on a run from the records of its steps 1 to 7. Of
// step 8, which asks, only the variant counts. The failure is nil when the
// verdict is Passed; else it is that of the first step that failed, or of class
// incomplete when none failed but some have not run to their end, have read a
// file that an earlier step has since written anew, or ran another variant than
// the rest: a lite notebook must not make an original run green. FetchData counts
// where it has a record.
func Judge(rs []*Record) (verdict string, first *Record, f *Failure) {
	byID := map[ID]*Record{}
	written := map[string]string{}
	for _, r := range rs {
		byID[r.ID] = r
	}
	var missing *Failure
	lack := func(format string, args ...any) {
		if missing == nil {
			missing = Failf(Incomplete, format, args...)
		}
	}
	for _, id := range Order[:len(Order)-1] {
		r := byID[id]
		switch {
		case r == nil && id == FetchData:
			continue
		case r == nil:
			lack("%s has no record", id.Title())
			continue
		case r.Status == StatusRunning:
			lack("%s is still running", id.Title())
			continue
		case r.Status == StatusSkipped:
			lack("%s did not run: %s", id.Title(), reason(r))
			continue
		case r.Status != StatusSucceeded || r.Failure != nil || r.ExitCode == nil || *r.ExitCode != 0:
			f := r.Failure
			if f == nil {
				f = Failf(Internal, "the record of %s says %s and names no failure", id.Title(), r.Status)
			}
			if id == Collect && f.Kind == ArtifactMissing && missing != nil {
				// That a step has not run is no failure of collect.
				continue
			}
			return RunFailed, r, f
		}
		for _, in := range r.Inputs {
			if sum, ok := written[in.Path]; ok && sum != in.SHA256 {
				lack("%s has read an older %s than the run holds now", id.Title(), in.Path)
			}
		}
		for _, out := range r.Outputs {
			written[out.Path] = out.SHA256
		}
	}
	if a, b := mixedVariants(rs); a != nil {
		lack("%s ran as %s, but %s as %s", a.Title(), a.Variant, b.Title(), b.Variant)
	}
	if missing != nil {
		return RunIncomplete, nil, missing
	}
	return Passed, nil, nil
}

// mixedVariants returns two records of different variants, or nil. What was fetched
// is the same in each.
func mixedVariants(rs []*Record) (a, b *Record) {
	for _, r := range rs {
		switch {
		case r.ID == FetchData:
		case a == nil:
			a = r
		case r.Variant != a.Variant:
			return a, r
		}
	}
	return nil, nil
}

func reason(r *Record) string {
	if r.Failure == nil {
		return fmt.Sprintf("status %s", r.Status)
	}
	return r.Failure.Message
}
