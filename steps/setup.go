package steps

import (
	"context"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Setup checks what the container and the workspace offer, before anything is spent.
type Setup struct {
	facts record.SetupFacts
}

// ID is step 1.
func (*Setup) ID() record.ID { return record.Setup }

// Facts returns what Run fills in.
func (s *Setup) Facts() any { return &s.facts }

// Run is not written yet.
func (s *Setup) Run(ctx context.Context, j *Job) error {
	return record.Failf(record.NotRun, "setup is not written yet")
}

// Python is the interpreter that has the tools: the one that setup found in
// this run, else python3 of PATH. The path is absolute. On Tekton setup may have
// run in another image; what it found counts only where it is there too.
func (j *Job) Python() (string, error) {
	if found := j.setupPython(); found != "" {
		if unix.Access(found, unix.X_OK) == nil {
			return found, nil
		}
		j.Note("%s, which setup found, is not in this container; python3 of PATH is used", found)
	}
	return lookPath(j.Getenv("PATH"), "python3")
}

func (j *Job) setupPython() string {
	if j.Env.Run == nil {
		return ""
	}
	rec, err := j.Env.Run.Read(record.Setup)
	if err != nil || rec == nil || rec.Status != record.StatusSucceeded {
		return ""
	}
	return rec.Facts.(*record.SetupFacts).Python
}

// lookPath finds the program called name in path, a list like $PATH. It leaves
// out relative directories: a repository must not bring its own python3.
func lookPath(path, name string) (string, error) {
	if filepath.IsAbs(name) {
		path, name = filepath.Split(name)
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if fi, err := os.Stat(file); err == nil && fi.Mode().IsRegular() && filepath.IsAbs(dir) && unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
	}
	return "", record.Failf(record.MissingTool, "%s: not found in PATH (%s)", name, path)
}
