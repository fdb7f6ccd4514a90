package steps

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/fetch"
	"github.com/step-runner/step-runner/steps/redact"
)

// stepSettings are the flags of a step that are not at their defaults, by name, without
// credentials: a config file may give some that nobody knows of yet. Limits of time
// and flags tagged effort are left out: they bear on how hard it tries, not on what
// comes of it. So are those tagged facts: the step's facts say it, and its StillGood compares.
func stepSettings(step Step) map[string]string {
	all := map[string]string{}
	if v := reflect.ValueOf(step); v.Kind() == reflect.Pointer {
		addSettings(all, "", v.Elem())
	}
	return all
}

func addSettings(all map[string]string, prefix string, v reflect.Value) {
	for i := range v.NumField() {
		f, value := v.Type().Field(i), v.Field(i)
		_, embedded := f.Tag.Lookup("embed")
		_, effort := f.Tag.Lookup("effort")
		_, facts := f.Tag.Lookup("facts")
		switch {
		case embedded:
			addSettings(all, prefix+f.Tag.Get("prefix"), value)
		case !f.IsExported() || effort || facts || f.Tag.Get("placeholder") == "DURATION":
		case value.Kind() == reflect.Pointer && value.IsNil():
		default:
			if env, ok := value.Interface().([]string); ok && flagName(f) == "env" {
				value = reflect.ValueOf(withoutSecrets(env))
			}
			text := fetch.Unsigned(settingText(value))
			// Sizes are shown with a space.
			if preset, ok := f.Tag.Lookup("default"); strings.ReplaceAll(text, " ", "") != preset && (ok || !value.IsZero()) {
				all[prefix+flagName(f)] = text
			}
		}
	}
}

// withoutSecrets are [NOTEBOOK:]NAME=VALUE without the values of secrets, which a config
// file may give and nobody else knows of.
func withoutSecrets(env []string) (all []string) {
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if redact.NamesSecret(name[strings.LastIndex(name, ":")+1:]) {
			kv = name + "=" + redact.Mask
		}
		all = append(all, kv)
	}
	return all
}

// flagName is what kong calls a field.
func flagName(f reflect.StructField) string {
	if name := f.Tag.Get("name"); name != "" {
		return name
	}
	var b strings.Builder
	for i, r := range f.Name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// settingText is a flag's value. A list of one is written like its default in a tag.
func settingText(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer:
		v = v.Elem()
	case v.Kind() == reflect.Slice && v.Len() == 1:
		return fmt.Sprint(v.Index(0))
	case v.Kind() == reflect.Slice && v.Len() == 0:
		return ""
	case v.Kind() == reflect.Slice:
		text, _ := json.Marshal(v.Interface()) // Texts always encode.
		return string(text)
	}
	return fmt.Sprint(v.Interface())
}

// asksTheSame says whether rec was made with what step asks for now. A flag at its
// default asks for nothing: who resumes a run need not say everything again. A flag with
// a secret in it always asks for something else, since no record tells what it was.
func asksTheSame(j *Job, step Step, rec *record.Record) bool {
	same := true
	for name, text := range stepSettings(step) {
		if text = j.Secrets.String(text); text != rec.Settings[name] || strings.Contains(text, redact.Mask) {
			j.Log.Info("asked otherwise than before", "step", rec.ID, "flag", "--"+name)
			same = false
		}
	}
	return same
}

// forgotten are flags that the step was given when it made rec, and is not now.
func forgotten(rec *record.Record, step Step) string {
	var all []string
	now := stepSettings(step)
	for _, name := range slices.Sorted(maps.Keys(rec.Settings)) {
		if _, ok := now[name]; !ok {
			all = append(all, fmt.Sprintf("--%s=%s", name, rec.Settings[name]))
		}
	}
	return strings.Join(all, " ")
}
