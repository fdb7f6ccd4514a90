package steps

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Notebooks says which notebooks papermill runs and nbconvert renders. Both take
// it in the same words.
type Notebooks struct {
	Paths    []string `arg:"" optional:"" name:"notebook" help:"Notebooks to run, in this order: relative to the clone of step 2 when the run has one, else to the current directory. Default: --notebook-filename in --notebook-dir."`
	Dir      string   `name:"notebook-dir" shared:"" seed:"NOTEBOOK_RELATIVED_DIR" default:"notebooks" help:"Directory of the notebook, relative to the clone." placeholder:"DIR"`
	Filename string   `name:"notebook-filename" shared:"" seed:"NOTEBOOK_FILENAME" default:"01_scRNA_analysis_preprocessing.ipynb" help:"File name of the notebook." placeholder:"FILE"`
}

// notebookFile is one notebook and the tree that it belongs to.
type notebookFile struct {
	// Root is the clone, else the repository around the notebook, else its directory.
	Root string
	// Rel is the notebook's path in Root.
	Rel string
	// err is why it cannot be used.
	err error
}

// Path is the notebook's own path.
func (f notebookFile) Path() string { return filepath.Join(f.Root, f.Rel) }

// Stem is the file's name without its extension.
func (f notebookFile) Stem() string { return stem(f.Rel) }

func stem(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

func (n Notebooks) names() []string {
	if len(n.Paths) > 0 {
		return n.Paths
	}
	return []string{filepath.Join(n.Dir, n.Filename)}
}

// files finds the notebooks. One that cannot be found has an err; it does not
// hinder the others.
func (n Notebooks) files(j *Job) ([]notebookFile, error) {
	clone, err := j.cloneDir()
	if err != nil {
		return nil, err
	}
	var files []notebookFile
	for _, name := range n.names() {
		f := inClone(clone, name)
		if clone == "" {
			f = outsideClone(name)
		}
		if f.err == nil {
			f.err = f.check()
		}
		files = append(files, f)
	}
	return files, nil
}

// cloneDir is the clone of step 2, "" when this run has no record of that step.
func (j *Job) cloneDir() (string, error) {
	rec, err := j.Env.Run.Read(record.Clone)
	if err != nil || rec == nil {
		return "", err
	}
	dir := rec.Facts.(*record.CloneFacts).Dir
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", record.Failf(record.NotRun, "the clone of step 2 is not at %s any more", dir).WithHint("run step 2 (clone) again")
	}
	return dir, nil
}

func inClone(clone, name string) notebookFile {
	rel := filepath.Clean(name)
	if filepath.IsAbs(name) {
		var err error
		if rel, err = filepath.Rel(clone, name); err != nil || !filepath.IsLocal(rel) {
			return outsideClone(name)
		}
	}
	f := notebookFile{Root: clone, Rel: rel}
	if !filepath.IsLocal(rel) {
		f.err = record.Failf(record.BadInput, "notebook %s leads out of the clone", name)
	}
	return f
}

func outsideClone(name string) notebookFile {
	path, err := filepath.Abs(name)
	if err != nil {
		return notebookFile{Rel: name, err: err}
	}
	root := filepath.Dir(path)
	for dir := root; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			root = dir
			break
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	rel, err := filepath.Rel(root, path)
	return notebookFile{Root: root, Rel: rel, err: err}
}

// check says why the notebook cannot be read from its root.
func (f notebookFile) check() error {
	root, err := os.OpenRoot(f.Root)
	if err != nil {
		return record.Failf(record.NotebookMissing, "notebook %s: %w", f.Rel, err)
	}
	defer root.Close()
	info, err := root.Stat(f.Rel)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid):
		return record.Failf(record.NotebookMissing, "notebook %s is not in %s", f.Rel, f.Root).WithHint("%s", f.suggestion())
	case err != nil:
		return record.Failf(record.BadInput, "notebook %s: %w", f.Rel, err)
	case !info.Mode().IsRegular():
		return record.Failf(record.NotebookInvalid, "notebook %s is no regular file", f.Rel)
	}
	return nil
}

// suggestion names what notebooks there are.
func (f notebookFile) suggestion() string {
	hint := "check NOTEBOOK_RELATIVED_DIR, NOTEBOOK_FILENAME and the revision"
	for dir := filepath.Dir(f.Path()); ; dir = filepath.Dir(dir) {
		if found, _ := filepath.Glob(filepath.Join(globEscape(dir), "*.ipynb")); len(found) > 0 {
			for i, path := range found {
				found[i] = filepath.Base(path)
			}
			return fmt.Sprintf("%s; in %s there are %s", hint, dir, strings.Join(found[:min(len(found), 10)], ", "))
		}
		if dir == f.Root || dir == filepath.Dir(dir) {
			return hint
		}
	}
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

func globEscape(s string) string { return globEscaper.Replace(s) }
