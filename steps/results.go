package steps

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// Bounds of results in bytes: Tekton passes all results of a container through
// 4 KiB, and all of a pod through 12 KiB.
const (
	resultLimit  = 256
	resultsLimit = 800
)

// result is one small fact about a step, under the name that Tekton knows it by.
type result struct {
	name string
	// of is what the record says; ok is false when the step has no such result.
	of func(j *Job) (text string, ok bool)
}

// resultTable is every result. The seed's names are kept; those for Tekton Chains
// are in its own spelling.
var resultTable = []result{
	{"status", statusOf("")},
	{"exit-code", func(j *Job) (string, bool) {
		if j.Rec.ExitCode == nil {
			return strconv.Itoa(killedCode), true
		}
		return strconv.Itoa(*j.Rec.ExitCode), true
	}},
	{"failure-kind", failureKind},
	{"run", func(j *Job) (string, bool) { return j.Rec.Run, j.Rec.Run != "" }},
	{"verdict", fact(func(f *record.VerdictFacts) string { return cmp.Or(f.Verdict, record.RunIncomplete) })},

	{"clone-status", statusOf("clone")},
	{"commit-sha", fact(func(f *record.CloneFacts) string { return f.Commit })},
	{"backup-path", fact(func(f *record.CloneFacts) string { return f.Backup })},
	{"CHAINS-GIT_URL", fact(func(f *record.CloneFacts) string { return f.URL })},
	{"CHAINS-GIT_COMMIT", fact(func(f *record.CloneFacts) string { return f.Commit })},

	{"notebook-status", statusOf("papermill")},
	{"notebook-ARTIFACT_OUTPUTS", provenance("papermill", ".ipynb")},

	{"conversion-status", statusOf("nbconvert")},
	{"output-html-path", output("nbconvert", ".html", outputPath)},
	{"html-size", output("nbconvert", ".html", func(_ *Job, f record.File) string { return strconv.FormatInt(f.Bytes, 10) })},
	{"html-ARTIFACT_OUTPUTS", provenance("nbconvert", ".html")},

	{"test-status", statusOf("pytest")},
	{"test-count", fact(func(f *record.PytestFacts) string { return strconv.Itoa(f.Tests) })},
	{"coverage-percentage", fact(func(f *record.PytestFacts) string {
		if f.Coverage == nil {
			return ""
		}
		return strconv.FormatFloat(*f.Coverage, 'f', 2, 64)
	})},
	{"coverage-xml-path", output("pytest", "coverage*.xml", outputPath)},
	{"pytest-xml-path", output("pytest", "pytest*.xml", outputPath)},
	{"report-html-path", output("pytest", ".html", outputPath)},
	{"tests-ARTIFACT_OUTPUTS", provenance("pytest", "pytest*.xml")},

	{"artifact-count", fact(func(f *record.CollectFacts) string { return strconv.Itoa(f.Count) })},
	{"manifest-ARTIFACT_OUTPUTS", provenance("collect", "manifest.json")},
	{"summary-path", output("summary", ".md", outputPath)},
	{"summary-ARTIFACT_OUTPUTS", provenance("summary", ".md")},
}

// killedCode is what a step that writes no further result has most likely ended with.
var killedCode = record.ExitCode(record.Failf(record.Killed, "killed"))

// ResultNames are the names that --result takes.
func ResultNames() []string {
	names := make([]string, len(resultTable))
	for i, r := range resultTable {
		names[i] = r.name
	}
	return names
}

// CheckResults refuses files whose names are those of no result.
func CheckResults(paths []string) error {
	for _, path := range paths {
		if name := filepath.Base(path); !slices.Contains(ResultNames(), name) {
			return record.Failf(record.Usage, "--result %s: no result is called %q", path, name).
				WithHint("the results are %s", strings.Join(ResultNames(), ", "))
		}
	}
	return nil
}

// writeResults writes the results that were asked for, from the record as it is
// now. One that does not fit is left out, since half a digest or path is worse than
// none. The record is the truth: what goes wrong here fails no step.
func (j *Job) writeResults() {
	left := resultsLimit
	for _, path := range j.results {
		i := slices.IndexFunc(resultTable, func(r result) bool { return r.name == filepath.Base(path) })
		if i < 0 {
			continue
		}
		text, ok := resultTable[i].of(j)
		text = j.Secrets.String(text)
		switch {
		case !ok:
			continue
		case len(text) > resultLimit || len(text) > left:
			j.Log.Warn("result left out: it is too long", "result", resultTable[i].name, "bytes", len(text))
			continue
		}
		left -= len(text)
		err := artifacts.WriteAtomic(path, 0o644, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		})
		if err != nil {
			j.Log.Warn("result not written", "result", resultTable[i].name, "error", err)
		}
	}
}

// statusOf is the record's status; one of a step that still runs is what is true
// when nothing is written any more.
func statusOf(command string) func(*Job) (string, bool) {
	return func(j *Job) (string, bool) {
		if command != "" && j.Rec.Name != command {
			return "", false
		}
		if j.Rec.Status == record.StatusRunning {
			return string(record.StatusInterrupted), true
		}
		return string(j.Rec.Status), true
	}
}

// failureKind is "none" when nothing failed.
func failureKind(j *Job) (string, bool) {
	switch {
	case j.Rec.Status == record.StatusRunning:
		return string(record.Killed), true
	case j.Rec.Failure != nil:
		return string(j.Rec.Failure.Kind), true
	}
	return "none", true
}

// fact is text from facts of one type.
func fact[F any](text func(*F) string) func(*Job) (string, bool) {
	return func(j *Job) (string, bool) {
		f, ok := j.Rec.Facts.(*F)
		if !ok {
			return "", false
		}
		return text(f), true
	}
}

// output is text about the first output of the command whose name ends or matches
// so; it is empty when there is none.
func output(command, pattern string, text func(*Job, record.File) string) func(*Job) (string, bool) {
	if !strings.ContainsAny(pattern, "*") && pattern[0] == '.' {
		pattern = "*" + pattern
	}
	return func(j *Job) (string, bool) {
		if j.Rec.Name != command {
			return "", false
		}
		for _, f := range j.Rec.Outputs {
			if ok, err := filepath.Match(pattern, filepath.Base(f.Path)); err == nil && ok {
				return text(j, f), true
			}
		}
		return "", true
	}
}

// outputPath is relative to the workspace: another Task may mount it elsewhere.
func outputPath(j *Job, f record.File) string {
	if j.Env.Run == nil || filepath.IsAbs(f.Path) {
		return f.Path
	}
	return filepath.Join("runs", j.Env.Run.ID, f.Path)
}

// provenance is an object as Tekton Chains reads it. It is absent, not empty, while
// there is no such output.
func provenance(command, pattern string) func(*Job) (string, bool) {
	of := output(command, pattern, func(j *Job, f record.File) string {
		path := f.Path
		if j.Env.Run != nil {
			path = j.Env.Run.Abs(f.Path)
		}
		text, err := json.Marshal(map[string]string{
			"uri": (&url.URL{Scheme: "file", Path: path}).String(), "digest": fmt.Sprintf("sha256:%s", f.SHA256),
		})
		if err != nil {
			return ""
		}
		return string(text)
	})
	return func(j *Job) (string, bool) {
		text, _ := of(j)
		return text, text != ""
	}
}
