// Package preflight finds out which tools an interpreter has, by importing them.
package preflight

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Script is the Python program that looks; it takes Args and prints what Parse reads.
//
//go:embed preflight.py
var Script []byte

// required are the distributions that the workflow cannot do without, each with
// the module that its step runs and the least version that is installed.
var required = []struct{ name, module, least string }{
	{"papermill", "papermill.cli", "2.6"},
	{"nbconvert", "nbconvert.nbconvertapp", "7.17.1"},
	{"ipykernel", "ipykernel.kernelapp", "6.29"},
}

// optional are looked for: the tests get an environment of their own.
var optional = []string{"pytest", "poetry", "uv"}

// Args are the script's arguments.
func Args() []string {
	var args []string
	for _, p := range required {
		args = append(args, p.name+"="+p.module)
	}
	return append(args, optional...)
}

// Requirements are what to install when one of them is missing, as pip takes it.
func Requirements() []string {
	var rs []string
	for _, p := range required {
		rs = append(rs, p.name+">="+p.least)
	}
	return rs
}

// Tool is what the script says of one tool.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Path is set for the interpreter only.
	Path string `json:"path"`
	// Missing says that it is not there at all; Error what is wrong with it.
	Missing bool   `json:"missing"`
	Error   string `json:"error"`
}

// Report is what the script printed.
type Report []Tool

// Parse reads the script's output. An interpreter that died on the way leaves a
// shorter report.
func Parse(out []byte) (Report, error) {
	var r Report
	for line := range bytes.Lines(out) {
		var t Tool
		if err := json.Unmarshal(line, &t); err != nil {
			return r, err
		}
		r = append(r, t)
	}
	return r, nil
}

// Get returns what is known of a tool, the zero Tool when the report has no word of it.
func (r Report) Get(name string) Tool {
	if i := slices.IndexFunc(r, func(t Tool) bool { return t.Name == name }); i >= 0 {
		return r[i]
	}
	return Tool{}
}

// Versions are those of the tools that work.
func (r Report) Versions() map[string]string {
	v := map[string]string{}
	for _, t := range r {
		if t.Error == "" {
			v[t.Name] = t.Version
		}
	}
	return v
}

// Lacking are the required tools that do not work. The first one that the report
// has no word of is the one that took the interpreter with it.
func (r Report) Lacking() []Tool {
	var lacking []Tool
	for _, p := range required {
		t := r.Get(p.name)
		if t.Name == "" {
			return append(lacking, Tool{Name: p.name, Error: "crashes when it is imported"})
		}
		if t.Error != "" {
			lacking = append(lacking, t)
		}
	}
	return lacking
}

// Failure is nil when every required tool works.
func (r Report) Failure() error {
	var texts []string
	for _, t := range r.Lacking() {
		texts = append(texts, t.Name+" "+t.Error)
	}
	if len(texts) == 0 {
		return nil
	}
	return record.Failf(record.MissingTool, "python %s (%s): %s", r.Get("python").Path, r.Get("python").Version, strings.Join(texts, "; "))
}

// Notes are what a reader should know about tools that do not stop the run.
func (r Report) Notes() []string {
	var notes []string
	if t := r.Get("nbconvert"); t.Version != "" && older(t.Version, 7, 17, 1) {
		notes = append(notes, "nbconvert "+t.Version+" has known vulnerabilities (two CVEs, mended in 7.17.1)")
	}
	for _, name := range optional {
		if t := r.Get(name); t.Error != "" && !t.Missing {
			notes = append(notes, name+" "+t.Error)
		}
	}
	return notes
}
