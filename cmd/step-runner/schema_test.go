package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/docs"
	"github.com/step-runner/step-runner/steps"
	"github.com/step-runner/step-runner/steps/steptest"
)

// recordSchema derives the schema from the Go types, their comments and the
// commands: facts depend on the name of the step.
func recordSchema(t *testing.T) *jsonschema.Schema {
	t.Chdir(steptest.Root(t)) // AddGoComments takes package names from paths.
	r := &jsonschema.Reflector{Anonymous: true, ExpandedStruct: true}
	require.NoError(t, r.AddGoComments("github.com/step-runner/step-runner", "./artifacts/record"))
	s := r.Reflect(&record.Record{})
	s.ID = "https://github.com/step-runner/step-runner/blob/main/docs/record.schema.json"
	s.Title = "Record of one step of step-runner"

	r.ExpandedStruct = false
	facts := stepFacts()
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		fs := r.Reflect(facts[name])
		for def, schema := range fs.Definitions {
			s.Definitions[def] = schema
		}
		s.AllOf = append(s.AllOf, when("name", name, property("facts", &jsonschema.Schema{Ref: fs.Ref})))
	}
	restrict(s)
	return s
}

// restrict adds what the types do not say.
func restrict(s *jsonschema.Schema) {
	name, _ := s.Properties.Get("name")
	for _, n := range slices.Sorted(maps.Keys(stepFacts())) {
		name.Enum = append(name.Enum, n)
	}
	kind, _ := s.Definitions["Failure"].Properties.Get("kind")
	for _, c := range record.Classes() {
		kind.Enum = append(kind.Enum, c.Kind)
	}
	zero := &jsonschema.Schema{Const: 0}
	succeeded := property("exit_code", zero)
	succeeded.Properties.Set("failure", jsonschema.FalseSchema)
	succeeded.Required = []string{"ended", "exit_code"}
	s.AllOf = append(s.AllOf, when("status", record.StatusSucceeded, succeeded))
	for _, status := range []record.Status{record.StatusFailed, record.StatusSkipped, record.StatusInterrupted, record.StatusTimedOut} {
		failed := property("exit_code", &jsonschema.Schema{Not: zero})
		failed.Required = []string{"ended", "exit_code", "failure"}
		s.AllOf = append(s.AllOf, when("status", status, failed))
	}
}

func when(name string, value any, then *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{If: property(name, &jsonschema.Schema{Const: value}), Then: then}
}

func property(name string, s *jsonschema.Schema) *jsonschema.Schema {
	props := jsonschema.NewProperties()
	props.Set(name, s)
	return &jsonschema.Schema{Properties: props}
}

// stepFacts maps each step's name to its facts.
func stepFacts() map[string]any {
	facts := map[string]any{}
	v := reflect.ValueOf(&cli{}).Elem()
	for i := range v.NumField() {
		if step, ok := v.Field(i).Addr().Interface().(steps.Step); ok {
			facts[step.ID().Name] = step.Facts()
		}
	}
	return facts
}

func compiled(t *testing.T) *validator.Schema {
	t.Helper()
	doc, err := validator.UnmarshalJSON(bytes.NewReader(docs.RecordSchema))
	require.NoError(t, err)
	c := validator.NewCompiler()
	c.AssertFormat()
	require.NoError(t, c.AddResource("record.json", doc))
	s, err := c.Compile("record.json")
	require.NoError(t, err)
	return s
}

// TestSchemaAcceptsRealRecords runs the whole workflow, which fails early, and
// checks every record that it leaves.
func TestSchemaAcceptsRealRecords(t *testing.T) {
	schema := compiled(t)
	ws := t.TempDir()
	code := run(t.Context(), []string{"run", "--workspace", ws, "--run", "r", "--gpu", "off"}, []string{"PATH=/nonexistent"}, &bytes.Buffer{}, &bytes.Buffer{})
	require.NotZero(t, code)
	files, err := filepath.Glob(filepath.Join(ws, "runs", "r", "records", "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 9)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.NoError(t, schema.Validate(decoded(t, b)), "%s", b)
	}
	var out bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"install", t.TempDir(), "--json"}, nil, &out, &bytes.Buffer{}))
	assert.NoError(t, schema.Validate(decoded(t, out.Bytes())), "%s", out.String())
}

func decoded(t *testing.T, b []byte) any {
	t.Helper()
	v, err := validator.UnmarshalJSON(bytes.NewReader(b))
	require.NoError(t, err)
	return v
}

func TestSchemaRejects(t *testing.T) {
	schema := compiled(t)
	good := map[string]any{
		"schema": 1, "step": 0, "name": "install", "run": "", "variant": "lite", "status": "succeeded",
		"started": "2026-01-02T03:04:05Z", "ended": "2026-01-02T03:04:06Z", "exit_code": 0, "runner": "v1",
		"argv": []any{"step-runner"}, "outputs": []any{}, "facts": map[string]any{"path": "/x"},
	}
	validate := func(change func(map[string]any)) error {
		b, err := json.Marshal(good)
		require.NoError(t, err)
		var m map[string]any
		require.NoError(t, json.Unmarshal(b, &m))
		change(m)
		b, err = json.Marshal(m)
		require.NoError(t, err)
		return schema.Validate(decoded(t, b))
	}
	require.NoError(t, validate(func(map[string]any) {}))
	for name, change := range map[string]func(map[string]any){
		"unknown field":          func(m map[string]any) { m["extra"] = 1 },
		"other schema":           func(m map[string]any) { m["schema"] = 2 },
		"unknown step":           func(m map[string]any) { m["name"] = "bake" },
		"facts of another step":  func(m map[string]any) { m["name"] = "collect" },
		"unknown fact":           func(m map[string]any) { m["facts"] = map[string]any{"path": "/x", "more": 1} },
		"success with a failure": func(m map[string]any) { m["failure"] = map[string]any{"kind": "internal", "message": "m", "hint": "h"} },
		"success with exit 1":    func(m map[string]any) { m["exit_code"] = 1 },
		"failed without failure": func(m map[string]any) { m["status"], m["exit_code"] = "failed", 1 },
		"no outputs":             func(m map[string]any) { delete(m, "outputs") },
		"a time that is none":    func(m map[string]any) { m["started"] = "yesterday" },
		"unknown class": func(m map[string]any) {
			m["status"], m["exit_code"], m["failure"] = "failed", 1, map[string]any{"kind": "x", "message": "m", "hint": "h"}
		},
		"digest that is too short": func(m map[string]any) { m["outputs"] = []any{map[string]any{"path": "p", "bytes": 1, "sha256": "ab"}} },
	} {
		assert.Error(t, validate(change), name)
	}
}
