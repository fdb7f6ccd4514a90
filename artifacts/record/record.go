// Package record is the one place where a fact about a run is written: a step's
// record. Summary, results, page and exit code are derived from records and
// from nothing else.
package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Schema is the version of the record's format that this package writes and
// the only one that it reads.
const Schema = 1

// Status is the state of a step.
type Status string

// The states of a step. StatusRunning becomes StatusInterrupted for a reader that finds
// that no process holds the step's lock any more.
const (
	StatusRunning     Status = "running"
	StatusSucceeded   Status = "succeeded"
	StatusFailed      Status = "failed"
	StatusSkipped     Status = "skipped"
	StatusInterrupted Status = "interrupted"
	StatusTimedOut    Status = "timed-out"
)

var statuses = []Status{StatusRunning, StatusSucceeded, StatusFailed, StatusSkipped, StatusInterrupted, StatusTimedOut}

// Predicate is what a sentence says of a step with the status.
func (s Status) Predicate() string {
	switch s {
	case StatusRunning:
		return "is still running"
	case StatusInterrupted, StatusSkipped:
		return "was " + string(s)
	case StatusTimedOut:
		return "has timed out"
	}
	return "has " + string(s)
}

// ID names a step: its number in the workflow (1–8, 0 for commands outside it)
// and the command that runs it. Steps 2 and 5 are both "clone".
type ID struct {
	Step int    `json:"step" jsonschema:"minimum=0,maximum=8"`
	Name string `json:"name"`
}

// The eight steps of the workflow.
var (
	Setup      = ID{1, "setup"}
	Clone      = ID{2, "clone"}
	Papermill  = ID{3, "papermill"}
	Nbconvert  = ID{4, "nbconvert"}
	CloneTests = ID{5, "clone"}
	Pytest     = ID{6, "pytest"}
	Collect    = ID{7, "collect"}
	Summary    = ID{8, "summary"}
)

// FetchData is none of the eight: a run has it when it is told to fetch data.
var FetchData = ID{0, "fetch-data"}

// Workflow is the eight steps in order.
var Workflow = []ID{Setup, Clone, Papermill, Nbconvert, CloneTests, Pytest, Collect, Summary}

// Order is Workflow with FetchData in its place, before the notebooks.
var Order = []ID{Setup, Clone, FetchData, Papermill, Nbconvert, CloneTests, Pytest, Collect, Summary}

// File is the record's name of a record in a run's records directory.
func (id ID) File() string { return fmt.Sprintf("%d-%s.json", id.Step, id.Name) }

func (id ID) String() string { return fmt.Sprintf("%d-%s", id.Step, id.Name) }

// Label is the step's name as `run --only` takes it: no two steps have the same.
func (id ID) Label() string {
	if id == CloneTests {
		return "clone-tests"
	}
	return id.Name
}

// Title is what a message calls the step: "step 3 (papermill)", or its name alone when
// it is outside the workflow.
func (id ID) Title() string {
	if id.Step == 0 {
		return id.Name
	}
	return fmt.Sprintf("step %d (%s)", id.Step, id.Label())
}

// File is one input or output of a step.
type File struct {
	// Path is relative to the run directory, or absolute outside it.
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256" jsonschema:"pattern=^[0-9a-f]{64}$"`
}

// Child is one process that the step started.
type Child struct {
	// Argv is redacted.
	Argv []string `json:"argv"`
	// ExitCode is -1 when a signal ended the child.
	ExitCode int     `json:"exit_code"`
	Signal   string  `json:"signal,omitempty"`
	Seconds  float64 `json:"seconds"`
	// MaxRSSBytes is the largest resident set of the child or a descendant that it waited for.
	MaxRSSBytes int64 `json:"max_rss_bytes"`
	// Strays are descendants that outlived the child and were ended, "pid name".
	Strays []string `json:"strays,omitempty"`
	// OOMKills counts the processes of the container that the kernel killed for want
	// of memory while the child ran; it is 0 also where that cannot be known.
	OOMKills int `json:"oom_kills,omitempty"`
}

// Record is what one step has to say about itself.
type Record struct {
	Schema int `json:"schema" jsonschema:"enum=1"`
	ID
	Run     string     `json:"run"`
	Variant string     `json:"variant" jsonschema:"enum=lite,enum=original"`
	Status  Status     `json:"status" jsonschema:"enum=running,enum=succeeded,enum=failed,enum=skipped,enum=interrupted,enum=timed-out"`
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
	// Failure is absent on success and while running.
	Failure *Failure `json:"failure,omitempty"`
	// ExitCode is that of `step-runner NAME`, absent while running.
	ExitCode *int `json:"exit_code,omitempty"`
	// Runner is step-runner's version.
	Runner string `json:"runner"`
	// Argv is step-runner's own, redacted.
	Argv []string `json:"argv"`
	// Env holds the names, never the values, of the variables that set a flag.
	Env []string `json:"env,omitempty"`
	// Settings are the step's flags that are not at their defaults, by name, redacted,
	// without those that only bear on how long and how hard it tries.
	Settings map[string]string `json:"settings,omitempty"`
	Children []Child           `json:"children,omitempty"`
	Inputs   []File            `json:"inputs,omitempty"`
	Outputs  []File            `json:"outputs"`
	// Log is the step's log, relative to the run directory.
	Log string `json:"log,omitempty"`
	// Notes are what a reader should know although the step went on: fallbacks, warnings, degradations.
	Notes []string `json:"notes,omitempty"`
	// Facts is a pointer to the step's type in facts.go.
	Facts any `json:"facts"`
}

// Duration is the time from start to end, to now while the step runs.
func (r *Record) Duration(now time.Time) time.Duration {
	if r.Ended != nil {
		now = *r.Ended
	}
	return now.Sub(r.Started)
}

// Decode reads one record strictly: an unknown field, another schema version, an
// unknown step or trailing data is an error.
func Decode(rd io.Reader) (*Record, error) {
	var raw struct {
		Record
		Facts json.RawMessage `json:"facts"`
	}
	if err := strict(rd, &raw); err != nil {
		return nil, err
	}
	r := raw.Record
	if r.Schema != Schema {
		return nil, fmt.Errorf("record has schema %d, this step-runner reads %d", r.Schema, Schema)
	}
	if !slices.Contains(statuses, r.Status) {
		return nil, fmt.Errorf("unknown status %q", r.Status)
	}
	facts, err := newFacts(r.Name)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(raw.Facts, []byte("null")) {
		return nil, errors.New("facts: null")
	}
	if err := strict(bytes.NewReader(raw.Facts), facts); err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	r.Facts = facts
	r.restoreSignal()
	return &r, nil
}

// restoreSignal takes the signal that stopped the step from its exit code: a
// failure that is read back must lead to the same code as when it was written.
func (r *Record) restoreSignal() {
	if f := r.Failure; f != nil && f.Kind == Signaled && r.ExitCode != nil {
		f.signal = syscall.Signal(*r.ExitCode - classOf(Signaled).Exit)
	}
}

func strict(rd io.Reader, v any) error {
	d := json.NewDecoder(rd)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the end of the record")
	}
	return nil
}

// Encode writes r as indented JSON with a final newline. A nil list that must be
// there becomes an empty one, in r too: a reader never meets null.
func Encode(w io.Writer, r *Record) error {
	fillLists(reflect.ValueOf(r))
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

func fillLists(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		fillLists(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			// An unexported field, such as a failure's cause, can lead anywhere, also back.
			if f.IsExported() && (!strings.HasSuffix(f.Tag.Get("json"), ",omitempty") || !v.Field(i).IsZero()) {
				fillLists(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			fillLists(v.Index(i))
		}
	case reflect.Map:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	}
}

// ReadFile decodes the record in path.
func ReadFile(path string) (*Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := Decode(f)
	if err != nil {
		return nil, Failf(BadInput, "record %s: %w", filepath.Base(path), err)
	}
	return r, nil
}
