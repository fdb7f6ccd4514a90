package steps

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/notebook"
)

// open makes the copies, clears the outputs' places and puts the launcher in its own.
func (m *mill) open(ctx context.Context, files []notebookFile) (err error) {
	m.noteOptimize()
	if m.python, err = m.Python(); err != nil {
		return err
	}
	if m.outputs, err = m.outputPaths(files); err != nil {
		return err
	}
	m.work = m.Env.Run.Path("work", "papermill")
	if err := artifacts.Vacate(m.work); err != nil {
		return err
	}
	// Alone in its directory, which Python searches for modules first: papermill must
	// not meet a module of the notebooks' by the name of one of its own.
	if err := os.MkdirAll(filepath.Join(m.work, "launcher"), 0o775); err != nil {
		return err
	}
	if err := os.WriteFile(m.launcher(), notebook.Launcher, 0o664); err != nil {
		return err
	}
	m.copied, m.placed = map[string]bool{}, map[string]record.LitePlaced{}
	for _, f := range files {
		if f.err == nil {
			if err := m.copyTree(ctx, f.Root); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *mill) launcher() string { return filepath.Join(m.work, "launcher", "papermill_launcher.py") }

func (m *mill) copyTree(ctx context.Context, root string) error {
	if m.copied[root] {
		return nil
	}
	var ours []string
	for _, d := range []string{"runs", "clones", "venvs", "cache", "locks", "datasets"} {
		ours = append(ours, m.Workspace.Path(d))
	}
	skipped, err := artifacts.CopyTree(ctx, root, m.millTree(root), ours...)
	if err != nil {
		return fmt.Errorf("copy of %s: %w", root, err)
	}
	for _, s := range skipped {
		m.Note("not in the copy that is run: %s", s)
	}
	m.copied[root] = true
	return nil
}

// millTree is where the copy of a tree lies in which its notebooks are run.
func (j *Job) millTree(root string) string {
	sum := sha256.Sum256([]byte(root))
	return j.Env.Run.Path("work", "papermill", "tree-"+hex.EncodeToString(sum[:4]))
}

// millDir is the directory in which step 3 has run the notebook that its record
// calls input; it may not be there any more.
func (j *Job) millDir(input string) string {
	path := j.Env.Run.Abs(input)
	f := outsideClone(path)
	if clone, err := j.cloneDir(); err == nil && clone != "" {
		f = inClone(clone, path)
	}
	return filepath.Dir(filepath.Join(j.millTree(f.Root), f.Rel))
}

// outputPaths says where the executed notebooks go, and removes what a killed
// attempt may have left there.
func (m *mill) outputPaths(files []notebookFile) ([]string, error) {
	var paths []string
	for _, f := range files {
		name := m.Variant.FileName("output_analysis", ".ipynb")
		if len(files) > 1 {
			name = resultName(m.Variant, f.Stem(), func(name string) bool {
				return slices.Contains(paths, m.Env.Run.Path("artifacts", name))
			})
		} else if m.opts.Output != "" {
			var err error
			if name, err = m.artifactWith(".ipynb", "--output", m.opts.Output); err != nil {
				return nil, err
			}
		}
		path := m.Env.Run.Path("artifacts", name)
		for _, stale := range []string{path, path + ".part"} {
			if err := os.RemoveAll(stale); err != nil {
				return nil, err
			}
		}
		paths = append(paths, path)
	}
	if len(files) > 1 && m.opts.Output != "" {
		m.Note("--output %s is not used: there are %d notebooks", m.opts.Output, len(files))
	}
	return paths, nil
}

// resultName is what one of several executed notebooks is called.
func resultName(v artifacts.Variant, stem string, taken func(name string) bool) string {
	name := v.FileName("result_"+stem, ".ipynb")
	for n := 2; taken(name); n++ {
		name = v.FileName(fmt.Sprintf("result_%s_%d", stem, n), ".ipynb")
	}
	return name
}

// artifactName is the name in the run's artifacts that a user's path means. The
// seed gave paths in the workspace: there the artifacts of the last run appear.
func (j *Job) artifactName(flag, path string) string {
	name := filepath.Base(path)
	if name != path {
		j.Note("%s %s: written as %s into the run's artifacts", flag, path, name)
	}
	return name
}

// artifactWith is artifactName for a file that must have the extension.
func (j *Job) artifactWith(ext, flag, path string) (string, error) {
	if filepath.Ext(path) != ext || filepath.Base(path) == ext {
		return "", record.Failf(record.Usage, "%s %s: give a file name that ends in %s", flag, path, ext)
	}
	return j.artifactName(flag, path), nil
}
