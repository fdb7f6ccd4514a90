package steps

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/notebook"
	"github.com/step-runner/step-runner/steps/redact"
)

// papermillSettings are the flags, read and checked.
type papermillSettings struct {
	params []assignment
	env    []assignment
	files  []string
	yaml   []string
	// shared are the names of the parameters in files and yaml.
	shared  []string
	patches []notebook.Patch
	allowed []notebook.AllowedError
}

// assignment is NAME=VALUE for one notebook, or for each when notebook is "".
type assignment struct{ notebook, name, value string }

func (a assignment) applies(f notebookFile) bool { return names(a.notebook, f) }

// names says whether a user's word for a notebook means f: nothing, its path, its
// file name or its stem.
func names(word string, f notebookFile) bool {
	return slices.Contains([]string{"", f.Rel, filepath.Base(f.Rel), f.Stem()}, word)
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func parseAssignment(flag, text string) (assignment, error) {
	left, value, ok := strings.Cut(text, "=")
	a := assignment{name: left, value: value}
	if i := strings.LastIndex(left, ":"); i >= 0 {
		a.notebook, a.name = left[:i], left[i+1:]
	}
	if !ok || !identifier.MatchString(a.name) {
		return a, record.Failf(record.Usage, "--%s %q: give NAME=VALUE, or NOTEBOOK:NAME=VALUE", flag, text)
	}
	return a, nil
}

// papermillSettings reads the flags. A word for a notebook that means none of
// files is an error: what it sets would be lost.
func (s *Papermill) papermillSettings(j *Job, files []notebookFile) (*papermillSettings, error) {
	set := &papermillSettings{yaml: s.ParametersYAML}
	var err error
	if set.params, err = parseAssignments(j, "parameter", s.Parameter, files); err != nil {
		return nil, err
	}
	if set.env, err = parseAssignments(j, "env", s.PapermillOptions.Env, files); err != nil {
		return nil, err
	}
	for _, a := range set.env {
		if redact.NamesSecret(a.name) && redact.Telling(a.value) {
			j.Secrets.Hide(a.value)
		}
	}
	for _, text := range s.AllowError {
		a, err := notebook.ParseAllowed(text)
		if err != nil {
			return nil, err
		}
		set.allowed = append(set.allowed, a)
	}
	if err := set.readParameters(j, s.ParametersFile); err != nil {
		return nil, err
	}
	return set, set.readPatches(j, s.Patches, files)
}

func parseAssignments(j *Job, flag string, texts []string, files []notebookFile) ([]assignment, error) {
	var all []assignment
	for _, text := range texts {
		a, err := parseAssignment(flag, text)
		if err != nil {
			return nil, err
		}
		// A variable is for every program that a cell starts, but it stands in no notebook.
		refused := j.Secrets.Contains
		if flag == "env" {
			refused = j.Secrets.Withheld
		}
		if refused([]byte(a.value)) {
			return nil, secretFailure("--" + flag + " " + a.name)
		}
		if !slices.ContainsFunc(files, a.applies) {
			return nil, record.Failf(record.Usage, "--%s %s: %s is none of the notebooks to run", flag, a.name, a.notebook)
		}
		all = append(all, a)
	}
	return all, nil
}

// secretFailure keeps secrets out of notebooks: a parameter is written into the
// executed one, and stands on papermill's command line.
func secretFailure(what string) error {
	return record.Failf(record.BadInput, "%s holds a token, which would come into the executed notebook", what).
		WithHint("let the notebook read it from a file, or from a variable")
}

func (set *papermillSettings) readParameters(j *Job, files []string) error {
	for _, text := range set.yaml {
		if err := set.addYAML(j, "--parameters-yaml", []byte(text)); err != nil {
			return err
		}
	}
	for _, file := range files {
		path, err := filepath.Abs(file)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return record.Failf(record.BadInput, "--parameters-file: %w", err)
		}
		if err := set.addYAML(j, "--parameters-file "+file, b); err != nil {
			return err
		}
		if err := j.Input(path); err != nil {
			return err
		}
		set.files = append(set.files, path)
	}
	return nil
}

func (set *papermillSettings) addYAML(j *Job, what string, text []byte) error {
	if j.Secrets.Contains(text) {
		return secretFailure(what)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		return record.Failf(record.BadInput, "%s is no YAML mapping: %w", what, err)
	}
	for name := range values {
		if !identifier.MatchString(name) {
			return record.Failf(record.BadInput, "%s: %q cannot be the name of a parameter", what, name)
		}
		set.shared = append(set.shared, name)
	}
	slices.Sort(set.shared)
	return nil
}

func (set *papermillSettings) readPatches(j *Job, file string, files []notebookFile) error {
	if file == "" {
		return nil
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return record.Failf(record.BadInput, "--patches: %w", err)
	}
	if err := yaml.UnmarshalWithOptions(b, &set.patches, yaml.Strict()); err != nil {
		return record.Failf(record.BadInput, "--patches %s: %w", file, err)
	}
	for i, p := range set.patches {
		if err := checkPatch(j, p, files); err != nil {
			return record.AsFailure(err).Within("--patches %s: patch %d", file, i+1)
		}
	}
	return j.Input(path)
}

// checkPatch refuses what could never apply. A patch for a notebook that is there
// but is not run is only noted: one file serves all notebooks of a repository.
func checkPatch(j *Job, p notebook.Patch, files []notebookFile) error {
	if err := p.Check(); err != nil {
		return err
	}
	if slices.ContainsFunc(files, func(f notebookFile) bool { return names(p.Notebook, f) }) {
		return nil
	}
	for _, f := range files {
		for _, dir := range []string{f.Root, filepath.Dir(f.Path())} {
			for _, name := range []string{p.Notebook, p.Notebook + ".ipynb"} {
				if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
					j.Note("the patch for %s is not used: that notebook is not run", p.Notebook)
					return nil
				}
			}
		}
	}
	return record.Failf(record.PatchMismatch, "there is no notebook %s", p.Notebook)
}

// patchesFor are the patches of one notebook.
func (set *papermillSettings) patchesFor(f notebookFile) (own []notebook.Patch) {
	for _, p := range set.patches {
		if names(p.Notebook, f) {
			own = append(own, p)
		}
	}
	return own
}

// paramsFor are the parameters of one notebook by -p.
func (set *papermillSettings) paramsFor(f notebookFile) (own []assignment) {
	for _, a := range set.params {
		if a.applies(f) {
			own = append(own, a)
		}
	}
	return own
}

// envFor are the variables of one notebook.
func (set *papermillSettings) envFor(v artifacts.Variant, f notebookFile) []string {
	env := []string{"STEP_RUNNER_VARIANT=" + string(v)}
	for _, a := range set.env {
		if a.applies(f) {
			env = append(env, fmt.Sprintf("%s=%s", a.name, a.value))
		}
	}
	return env
}
