package record

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// names are all steps that leave a record.
var names = []string{"setup", "gpu-check", "clone", "papermill", "nbconvert", "pytest", "collect", "summary", "run", "install"}

// fill sets every field below v to something that is not its zero value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 11, 23, 10, 11, 12, 13, time.UTC)))
			return
		}
		for i := range v.NumField() {
			// A GPU holds MIG instances, which are GPUs.
			if v.Type().Field(i).IsExported() && v.Type().Field(i).Name != "MIG" {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(k)
		fill(e)
		v.SetMapIndex(k, e)
	case reflect.String:
		v.SetString("a <b> & \"c\"\nü")
	case reflect.Int, reflect.Int64:
		v.SetInt(1 << 40)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(3_000_000_000)
	case reflect.Float64:
		v.SetFloat(0.1)
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic("a kind of field that this test does not know: " + v.Kind().String())
	}
}

// full is a record of the step called name in which every field is set.
func full(t testing.TB, name string) *Record {
	t.Helper()
	facts, err := newFacts(name)
	require.NoError(t, err)
	fill(reflect.ValueOf(facts).Elem())
	ended, code := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC), 42
	return &Record{
		Schema: Schema, ID: ID{3, name}, Run: "r", Variant: "lite", Status: StatusFailed,
		Started: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), Ended: &ended, ExitCode: &code,
		Failure: &Failure{Kind: NotebookFailed, Message: "cell 3: <x> & y", Hint: "h"},
		Runner:  "1.0", Argv: []string{"step-runner", name}, Env: []string{"X"},
		Children: []Child{{Argv: []string{"python"}, ExitCode: -1, Signal: "killed", Seconds: 1.5, MaxRSSBytes: 1 << 33, Strays: []string{"7 dask"}}},
		Inputs:   []File{{Path: "in", Bytes: 1, SHA256: strings.Repeat("a", 64)}},
		Outputs:  []File{{Path: "out", Bytes: 2, SHA256: strings.Repeat("b", 64)}},
		Log:      "logs/x.log", Notes: []string{"n"}, Facts: facts,
	}
}

func encoded(t testing.TB, r *Record) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, Encode(&b, r))
	return b.String()
}

func TestRoundTripOfEveryFactsType(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			r := full(t, name)
			got, err := Decode(strings.NewReader(encoded(t, r)))
			require.NoError(t, err)
			assert.Equal(t, r, got)
		})
	}
}

func TestEncodeIsPlain(t *testing.T) {
	text := encoded(t, full(t, "papermill"))
	assert.Contains(t, text, `"message": "cell 3: <x> & y"`)
	assert.True(t, strings.HasSuffix(text, "}\n"))
}

func TestEncodeHasNoNulls(t *testing.T) {
	r := full(t, "papermill")
	r.Argv, r.Facts = nil, &PapermillFacts{}
	text := encoded(t, r)
	assert.NotContains(t, text, "null")
	assert.Contains(t, text, `"argv": []`)
	assert.Contains(t, text, `"notebooks": []`)
}

func TestDecodeIsStrict(t *testing.T) {
	good := encoded(t, full(t, "collect"))
	for _, tc := range []struct{ name, old, new, message string }{
		{"an unknown field", `"run": "r"`, `"run": "r", "colour": 1`, `unknown field "colour"`},
		{"an unknown field of a file", `"path": "out"`, `"path": "out", "mode": 1`, `unknown field "mode"`},
		{"an unknown fact", `"count":`, `"cuont":`, `facts: json: unknown field "cuont"`},
		{"facts of another step", `"name": "collect"`, `"name": "papermill"`, `facts: json: unknown field`},
		{"an unknown step", `"name": "collect"`, `"name": "colect"`, `unknown step "colect"`},
		{"a newer schema", `"schema": 1`, `"schema": 2`, "record has schema 2, this step-runner reads 1"},
		{"an unknown status", `"status": "failed"`, `"status": "great"`, `unknown status "great"`},
		{"facts null", `"facts": {`, `"facts": null, "x": {`, "unknown field"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Contains(t, good, tc.old)
			_, err := Decode(strings.NewReader(strings.Replace(good, tc.old, tc.new, 1)))
			require.Error(t, err)
			assert.Contains(t, err.Error(), tc.message)
		})
	}
	for name, text := range map[string]string{
		"empty":         "",
		"half":          good[:len(good)/2],
		"twice":         good + good,
		"trailing text": good + "x",
		"no facts":      `{"schema":1,"step":8,"name":"summary","status":"running"}`,
		"null facts":    `{"schema":1,"step":8,"name":"summary","status":"running","facts":null}`,
		"a list":        "[]",
		"null":          "null",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(strings.NewReader(text))
			assert.Error(t, err)
		})
	}
}

func TestDecodeRestoresTheSignal(t *testing.T) {
	r := full(t, "papermill")
	r.Failure = BySignal(syscall.SIGTERM)
	*r.ExitCode = ExitCode(r.Failure)
	got, err := Decode(strings.NewReader(encoded(t, r)))
	require.NoError(t, err)
	assert.Equal(t, syscall.SIGTERM, got.Failure.Signal())
	assert.Equal(t, 143, ExitCode(got.Failure))
}

func TestReadFileNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "3-papermill.json")
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err := ReadFile(path)
	assert.EqualError(t, err, "record 3-papermill.json: unexpected EOF")
	assert.Equal(t, BadInput, AsFailure(err).Kind)
	_, err = ReadFile(path + "x")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestDuration(t *testing.T) {
	r := full(t, "setup")
	assert.Equal(t, time.Hour, r.Duration(time.Time{}))
	r.Ended = nil
	assert.Equal(t, 2*time.Minute, r.Duration(r.Started.Add(2*time.Minute)))
}

func TestWorkflowFilesAreDistinct(t *testing.T) {
	files := map[string]bool{}
	for i, id := range Workflow {
		assert.Equal(t, i+1, id.Step)
		assert.False(t, files[id.File()], id.File())
		files[id.File()] = true
	}
	assert.Equal(t, "5-clone.json", CloneTests.File())
}

// FuzzDecode: what is accepted is written again and read as the same record.
func FuzzDecode(f *testing.F) {
	for _, name := range names {
		f.Add([]byte(encoded(f, full(f, name))))
	}
	f.Add([]byte(`{"schema":1,"step":8,"name":"summary","status":"running","facts":{"verdict":""}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		// A year that RFC 3339 cannot write is refused at the write.
		var b bytes.Buffer
		if Encode(&b, r) != nil {
			return
		}
		again, err := Decode(&b)
		require.NoError(t, err)
		require.Equal(t, encoded(t, r), encoded(t, again))
		Judge([]*Record{r})
	})
}

// TestEncodeFailureWithACycle: what caused a failure is not written, nor walked:
// a YAML error leads round in circles.
func TestEncodeFailureWithACycle(t *testing.T) {
	cause := &circular{}
	cause.next = cause
	r := &Record{Schema: Schema, ID: Papermill, Status: StatusFailed, Failure: Failf(BadInput, "file: %w", cause), Facts: &PapermillFacts{}}
	require.NoError(t, Encode(io.Discard, r))
}

type circular struct{ next *circular }

func (*circular) Error() string { return "round" }
