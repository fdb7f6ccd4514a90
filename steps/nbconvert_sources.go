package steps

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/step-runner/step-runner/artifacts/record"
)

// rendering is one notebook to render and the page that it becomes.
type rendering struct {
	notebook string
	page     string
	// beside is the directory of the notebook that was executed, with its images.
	beside string
	// lite says what was made of the notebook's data, nil when that was left alone.
	lite *record.Lite
	err  error
}

// renderings finds the notebooks: those that step 3 has executed, or those given.
func (s *Nbconvert) renderings(j *Job) ([]rendering, error) {
	rec, err := j.Env.Run.Read(record.Papermill)
	if err != nil {
		return nil, err
	}
	if len(s.Paths) > 0 {
		return s.given(j, rec)
	}
	if rec == nil {
		_, err := j.Need(record.Papermill)
		return nil, record.Failf(record.NotRun, "%w", err).WithHint("run step 3 (papermill) first, or name the notebooks to render")
	}
	return s.executed(j, rec)
}

// executed are the notebooks that step 3 has written, also when it failed.
func (s *Nbconvert) executed(j *Job, rec *record.Record) ([]rendering, error) {
	var all []rendering
	nbs := rec.Facts.(*record.PapermillFacts).Notebooks
	for _, nb := range nbs {
		if !hasOutput(rec, nb.Output) {
			j.Note("step 3 has written no notebook for %s: there is no page of it", nb.Input)
			continue
		}
		r, err := s.ofRun(j, nb, len(nbs))
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		f := record.Failf(record.NotRun, "step 3 (papermill) of run %s has left no executed notebook", j.Env.Run.ID)
		if rec.Failure != nil {
			f.WithHint("mend step 3: %s", rec.Failure.Message)
		}
		return nil, f
	}
	return all, nil
}

func hasOutput(rec *record.Record, path string) bool {
	return slices.ContainsFunc(rec.Outputs, func(f record.File) bool { return f.Path == path })
}

// ofRun is the rendering of one of the count notebooks that step 3 has executed.
func (s *Nbconvert) ofRun(j *Job, nb record.Notebook, count int) (rendering, error) {
	r := rendering{notebook: j.Env.Run.Abs(nb.Output), beside: j.millDir(nb.Input), lite: nb.Lite}
	var err error
	name := stem(nb.Output) + ".html"
	if count == 1 {
		name, err = s.single(j)
	}
	r.page = j.Env.Run.Path("artifacts", name)
	return r, err
}

// single is the name of the page when there is one.
func (s *Nbconvert) single(j *Job) (string, error) {
	if s.Output != "" {
		return j.artifactWith(".html", "--output", s.Output)
	}
	return j.Variant.FileName("output_analysis", ".html"), nil
}

// given are the notebooks that the user names. For one that step 3 has run, its
// executed notebook is meant.
func (s *Nbconvert) given(j *Job, rec *record.Record) ([]rendering, error) {
	files, err := s.files(j)
	if err != nil {
		return nil, err
	}
	var all []rendering
	for _, f := range files {
		nb, ran := executedBy(rec, j.Env.Run.Rel(f.Path()))
		if ran && !hasOutput(rec, nb.Output) {
			j.Note("step 3 has written no notebook for %s: there is no page of it", nb.Input)
			continue
		}
		r, err := s.asItIs(j, f, len(files))
		if ran {
			r, err = s.ofRun(j, nb, len(files))
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return nil, record.Failf(record.NotRun, "step 3 (papermill) of run %s has left no executed notebook", j.Env.Run.ID)
	}
	return distinct(all), nil
}

// asItIs is the rendering of one of count notebooks that step 3 has not run.
func (s *Nbconvert) asItIs(j *Job, f notebookFile, count int) (rendering, error) {
	r := rendering{notebook: f.Path(), beside: filepath.Dir(f.Path()), err: f.err}
	var err error
	name := j.Variant.FileName("result_"+f.Stem(), ".html")
	if count == 1 {
		name, err = s.single(j)
	}
	r.page = j.Env.Run.Path("artifacts", name)
	return r, err
}

func executedBy(rec *record.Record, input string) (record.Notebook, bool) {
	if rec == nil {
		return record.Notebook{}, false
	}
	nbs := rec.Facts.(*record.PapermillFacts).Notebooks
	i := slices.IndexFunc(nbs, func(nb record.Notebook) bool { return nb.Input == input })
	if i < 0 {
		return record.Notebook{}, false
	}
	return nbs[i], true
}

// distinct gives pages of the same name a number.
func distinct(all []rendering) []rendering {
	for i := range all {
		page := all[i].page
		taken := func(r rendering) bool { return r.page == all[i].page }
		for n := 2; slices.ContainsFunc(all[:i], taken); n++ {
			ext := filepath.Ext(page)
			all[i].page = fmt.Sprintf("%s_%d%s", page[:len(page)-len(ext)], n, ext)
		}
	}
	return all
}

// stage puts the notebook beside the files of its directory, which its text may
// show as images. nbconvert takes none from elsewhere.
func stage(r rendering, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o775); err != nil {
		return "", err
	}
	name := filepath.Base(r.notebook)
	entries, err := os.ReadDir(r.beside)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	for _, e := range entries {
		if e.Name() != name {
			if err := os.Symlink(filepath.Join(r.beside, e.Name()), filepath.Join(dir, e.Name())); err != nil {
				return "", err
			}
		}
	}
	src := filepath.Join(dir, name)
	return src, os.Symlink(r.notebook, src)
}
