package steps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// cloneStage is one FILE=DIR of --stage.
type cloneStage struct{ file, dir string }

// defaultStageDir is where the seed's tests look for the page.
const defaultStageDir = "input"

// stages are the files to stage: those of --stage, else in step 5 the pages that
// step 4 of this run has made.
func (s *Clone) stages(j *Job) ([]cloneStage, error) {
	if len(s.Stage) == 0 && s.Tests {
		return pagesToStage(j)
	}
	var all []cloneStage
	for _, text := range s.Stage {
		i := strings.LastIndexByte(text, '=')
		if i < 0 {
			return nil, record.Failf(record.Usage, "--stage %s: it has the form FILE=DIR", text)
		}
		f := cloneStage{filepath.Clean(text[:i]), filepath.Clean(text[i+1:])}
		if !filepath.IsLocal(f.file) {
			return nil, record.Failf(record.BadInput, "--stage %s: the file must be inside the run's directory", text)
		}
		if !filepath.IsLocal(f.dir) || f.dir == "." {
			return nil, record.Failf(record.BadInput, "--stage %s: the directory must be inside the clone, and not all of it", text)
		}
		all = append(all, f)
	}
	return all, nil
}

func pagesToStage(j *Job) ([]cloneStage, error) {
	rec, err := j.Env.Run.Read(record.Nbconvert)
	if err != nil || rec == nil {
		return nil, err
	}
	var all []cloneStage
	if f, ok := rec.Facts.(*record.NbconvertFacts); ok {
		for _, page := range f.Pages {
			all = append(all, cloneStage{page.Output, defaultStageDir})
		}
	}
	return all, nil
}

// stage gives the run a copy of the clone and puts the files there. The clone
// itself is shared and stays as it is.
func (s *Clone) stage(ctx context.Context, j *Job, files []cloneStage) error {
	if len(files) == 0 {
		return nil
	}
	dir := j.Env.Run.Path("work", fmt.Sprintf("clone-%d", s.ID().Step))
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	skipped, err := artifacts.CopyTree(ctx, s.facts.Dir, dir)
	if err != nil {
		return fmt.Errorf("copy of the clone: %w", err)
	}
	for _, text := range skipped {
		j.Note("left out of the run's copy of the clone: %s", text)
	}
	s.facts.Dir = dir
	return s.fill(j, dir, files)
}

func (s *Clone) fill(j *Job, dir string, files []cloneStage) error {
	from, err := os.OpenRoot(j.Env.Run.Dir)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer to.Close()
	for _, f := range files {
		// First all, so that two files for one directory do not undo each other.
		if err := errors.Join(to.RemoveAll(f.dir), to.MkdirAll(f.dir, 0o775)); err != nil {
			return cloneEscape("stage to "+f.dir, err)
		}
	}
	for _, f := range files {
		name := filepath.Join(f.dir, filepath.Base(f.file))
		if err := copyStaged(from, to, f.file, name); err != nil {
			return err
		}
		if err := errors.Join(j.Input(f.file), j.Output(filepath.Join(dir, name))); err != nil {
			return err
		}
		s.facts.Staged = append(s.facts.Staged, filepath.ToSlash(name))
	}
	return nil
}

func copyStaged(from, to *os.Root, file, name string) (err error) {
	info, err := from.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return record.Failf(record.ArtifactMissing, "stage %s: the run has no such file", file).WithHint("run the step that writes it first, or correct --stage")
	case err != nil:
		return cloneEscape("stage "+file, err)
	case !info.Mode().IsRegular():
		return record.Failf(record.BadInput, "stage %s: it is no file", file)
	}
	in, err := from.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	// With O_EXCL two staged files of one name are an error, not a silent loss.
	out, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o664)
	if err != nil {
		return cloneEscape("stage "+file, err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// stagedDirs are the directories that staged files are in.
func stagedDirs(staged []string) []string {
	var dirs []string
	for _, name := range staged {
		dirs = append(dirs, path.Dir(name))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}
