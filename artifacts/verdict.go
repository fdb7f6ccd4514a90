package artifacts

import "github.com/step-runner/step-runner/artifacts/record"

// Verdict is what a run's records say of it.
type Verdict struct {
	// Word is record.Passed, record.RunFailed or record.RunIncomplete.
	Word string
	// Failure is nil when the run passed.
	Failure *record.Failure
	// First is the record of the step whose failure it is, nil when it is no one step's.
	First   *record.Record
	Records []*record.Record
	// Unreadable are records that are there but cannot be read: what they would say
	// is unknown, so the run has failed.
	Unreadable []Unreadable
}

// Unreadable is a record that cannot be read.
type Unreadable struct {
	record.ID
	Err error
}

// Judge reads the records of the run and derives its verdict.
func (r *Run) Judge() Verdict {
	var v Verdict
	for _, id := range record.Order {
		rec, err := r.Read(id)
		if err != nil {
			v.Unreadable = append(v.Unreadable, Unreadable{id, err})
		} else if rec != nil {
			v.Records = append(v.Records, rec)
		}
	}
	v.Word, v.First, v.Failure = record.Judge(v.Records)
	if v.Word != record.RunFailed && len(v.Unreadable) > 0 {
		v.Word, v.First, v.Failure = record.RunFailed, nil, record.AsFailure(v.Unreadable[0].Err)
	}
	return v
}
