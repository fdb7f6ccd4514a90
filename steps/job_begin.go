package steps

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
)

// begin makes place for the step: it ends and removes what earlier attempts in
// this run have left, and writes the record as running. In between, that record
// names the outputs which are to go, so that an attempt that is killed here
// leaves none that nobody knows of.
func (j *Job) begin() error {
	if j.Env.Run == nil {
		return nil
	}
	old, err := j.Env.Run.Read(j.Rec.ID)
	if old != nil || err != nil {
		j.endEarlier()
	}
	if old != nil {
		j.Rec.Outputs = old.Outputs
		j.noteEarlier(old)
	}
	full := j.reserve()
	if err := j.Env.Run.Write(j.Rec); err != nil {
		return j.unrecorded(err)
	}
	if err := errors.Join(full, j.discard()); err != nil {
		return err
	}
	if err := j.openLog(); err != nil {
		return err
	}
	return j.Env.Run.Write(j.Rec)
}

// endEarlier ends what an attempt that was killed has left running: it may hold
// the GPU, or write into the files of this attempt.
func (j *Job) endEarlier() {
	if ended := child.EndMarked(child.StepVar, j.mark()); len(ended) > 0 {
		j.Note("ended what an earlier attempt left running: %s", strings.Join(ended, ", "))
	}
}

// noteEarlier keeps what this record takes the place of from being forgotten: a step
// that succeeds only when it is tried again should be looked at. Collect and summary
// only tell what the others have left.
func (j *Job) noteEarlier(old *record.Record) {
	if old.Failure != nil && old.Status != record.StatusSkipped && old.Step < record.Collect.Step {
		j.Note("an earlier attempt, begun %s, %s (%s): %s", old.Started.Format(time.DateTime), old.Status.Predicate(), old.Failure.Kind, old.Failure.Message)
	}
}

// discard removes the outputs that the record names.
func (j *Job) discard() error {
	var errs []error
	for _, f := range j.Rec.Outputs {
		if filepath.IsLocal(f.Path) {
			errs = append(errs, os.RemoveAll(j.Env.Run.Path(f.Path)))
		}
	}
	j.Rec.Outputs = []record.File{}
	return errors.Join(errs...)
}

// unrecorded removes the record of an earlier attempt, since that of this one
// cannot be written: it must not speak for this one.
func (j *Job) unrecorded(err error) error {
	if rerr := os.Remove(j.Env.Run.Path("records", j.Rec.ID.File())); !errors.Is(rerr, os.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// reserved bytes are kept for the final record, which tells of a full disk too.
const reserved = 64 << 10

func (j *Job) reserveFile() string {
	return j.Env.Run.Path("records", "."+j.Rec.ID.File()+".reserve")
}

func (j *Job) reserve() error {
	err := os.WriteFile(j.reserveFile(), make([]byte, reserved), 0o664)
	if err != nil {
		_ = os.Remove(j.reserveFile())
	}
	return err
}

// store finishes the record and writes it.
func (j *Job) store(err error) error {
	err = j.finish(err)
	j.redact(reflect.ValueOf(j.Rec.Facts))
	if j.Env.Run == nil {
		return err
	}
	_ = os.Remove(j.reserveFile())
	if werr := j.Env.Run.Write(j.Rec); werr != nil && err == nil {
		return j.finish(werr)
	}
	return err
}

// redact takes the secrets out of the strings in v: facts quote notebooks and tests.
func (j *Job) redact(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			j.redact(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				j.redact(v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			j.redact(v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(k))
			j.redact(value)
			v.SetMapIndex(k, value)
		}
	case reflect.String:
		if v.CanSet() {
			v.SetString(j.Secrets.String(v.String()))
		}
	}
}
