package steps

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// Install copies this program into a directory.
type Install struct {
	Dir string `arg:"" help:"Directory to put the program in, as step-runner. It is made if it is not there."`

	facts record.InstallFacts
}

// Help is the long help.
func (*Install) Help() string {
	return `Copies this program to DIR/step-runner, mode 0755, so that a container whose image
does not have it can run it from a shared volume. The copy appears at once or not
at all; an older one is replaced even while it runs. No workspace is needed.

Exit status: 0; 10 when DIR is no directory, 12 when it cannot be written, 13 when
there is no space for the copy.`
}

// ID is outside the workflow.
func (*Install) ID() record.ID { return record.ID{Step: 0, Name: "install"} }

// Facts returns what Run fills in.
func (s *Install) Facts() any { return &s.facts }

// Run makes the copy.
func (s *Install) Run(_ context.Context, j *Job) error {
	dir, err := filepath.Abs(s.Dir)
	if err != nil {
		return installFailure(s.Dir, err)
	}
	path := filepath.Join(dir, "step-runner")
	if err := installCopy(dir, path); err != nil {
		return installFailure(dir, err)
	}
	s.facts.Path = path
	j.Log.Info("installed", "path", path)
	return j.Output(path)
}

func installCopy(dir, path string) error {
	// Unlike the path that it was started by, this is there also after the
	// file was moved or replaced.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return artifacts.WriteAtomic(path, 0o755, func(w io.Writer) error {
		_, err := io.Copy(w, self)
		return err
	})
}

func installFailure(dir string, err error) error {
	kind, hint := record.AsFailure(err).Kind, ""
	switch {
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.EEXIST), errors.Is(err, syscall.ENOENT):
		kind, hint = record.BadInput, "give the directory to put step-runner in, with no directory called step-runner in it"
	case kind == record.BadWorkspace:
		hint = "mount a volume at " + dir + " that this user may write, such as an emptyDir"
	case kind == record.DiskFull:
		hint = "the program needs about 30 MB there"
	}
	f := record.Failf(kind, "install into %s: %w", dir, err)
	if hint != "" {
		f.Hint = hint
	}
	return f
}
