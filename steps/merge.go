package steps

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/notebook"
)

// Merge makes one step 3 of several runs, in each of which papermill ran on its own,
// each on another GPU say.
type Merge struct {
	Runs   []string `arg:"" name:"part" help:"Runs whose notebooks to take, in this order."`
	Expect int      `help:"How many runs there must be. Fewer are a failure, and so are more. Any number when it is 0." placeholder:"N"`

	facts record.PapermillFacts
}

// Help is the long help.
func (*Merge) Help() string {
	return `Takes the executed notebooks and the facts of papermill from other runs of this workspace, and
records them as this run's own step 3. Steps 4 to 8 then go on as if all notebooks had been run here:
one page for each, one summary, one verdict. The notebooks are called result_NAME_lite.ipynb (without
_lite in the original variant), and lose nothing: those that failed are taken too. The logs of papermill
become this step's.

All runs must be of this run's variant, and of the commit that its step 2 has cloned. A notebook that
has changed since papermill wrote it is refused.

A run that was lost may be lost from the list too: of a container that was killed, Tekton knows no
results. With --expect that is a failure, and the notebooks of the others are merged all the same.

Exit status: 0 when papermill succeeded in every run, else that of the first one in which it did not;
10 when a run is not there or has run something else, 16 when papermill has not run in it, 17 when
there are not as many runs as expected, 71 when a notebook has changed.`
}

// Validate asks for something to merge.
func (s *Merge) Validate() error {
	if len(s.Runs) == 0 {
		return record.Failf(record.Usage, "no run is given").WithHint("give the runs whose notebooks to take")
	}
	return nil
}

// ID is step 3, which it stands for.
func (*Merge) ID() record.ID { return record.Papermill }

// Facts returns what Run fills in.
func (s *Merge) Facts() any { return &s.facts }

// Run takes from each run what it can; its error is that of the first that failed.
func (s *Merge) Run(_ context.Context, j *Job) error {
	s.facts.Notebooks = []record.Notebook{}
	if err := s.Validate(); err != nil {
		return err
	}
	var first error
	for _, id := range s.Runs {
		if err := s.merge(j, id); err != nil {
			j.Log.Error(err.Error(), "run", id)
			if first == nil {
				first = record.AsFailure(err).Within("run %s", id)
			}
		}
	}
	if lost := s.lost(); lost != nil && first == nil {
		return lost
	} else if lost != nil {
		j.Note("%v", lost)
	}
	return first
}

// lost is the failure of a list that is not as long as it should be.
func (s *Merge) lost() error {
	if s.Expect <= 0 || len(s.Runs) == s.Expect {
		return nil
	}
	return record.Failf(record.Incomplete, "there should be the notebooks of %d runs, but %d are given: %s", s.Expect, len(s.Runs), strings.Join(s.Runs, ", ")).
		WithHint("the others were killed or lost before they could tell which they are: look at their containers, on Tekton at the TaskRuns of gpu-notebook that are red")
}

// merge takes one run's notebooks and returns how its papermill has failed.
func (s *Merge) merge(j *Job, id string) error {
	run, err := j.Workspace.FindRun(id)
	if err != nil {
		return err
	}
	rec, err := run.Read(record.Papermill)
	switch {
	case err != nil:
		return err
	case rec == nil:
		return record.Failf(record.NotRun, "it has no record of step 3 (papermill)")
	case rec.Variant != string(j.Variant):
		return record.Failf(record.BadInput, "it is %s, this run is %s", rec.Variant, j.Variant)
	}
	mergeLog(j, run, rec)
	if err := sameCommit(j, run); err != nil {
		return err
	}
	facts := rec.Facts.(*record.PapermillFacts)
	for _, nb := range facts.Notebooks {
		if err := s.take(j, run, rec, &nb); err != nil {
			return err
		}
		addNotebook(&s.facts, nb)
	}
	if s.facts.Error == nil {
		s.facts.Error = facts.Error
	}
	if rec.Status == record.StatusSucceeded {
		return nil
	}
	if rec.Failure == nil {
		return record.Failf(record.NotRun, "%s %s", record.Papermill.Title(), rec.Status.Predicate())
	}
	return rec.Failure
}

// mergeLog puts the log of a run's papermill into this step's. What of it is gone is no
// reason to fail.
func mergeLog(j *Job, run *artifacts.Run, rec *record.Record) {
	f, err := os.Open(run.Abs(rec.Log))
	if err != nil {
		j.Note("run %s has no log of papermill: %v", run.ID, err)
		return
	}
	defer f.Close()
	fmt.Fprintf(j.Out, "run %s:\n", run.ID)
	if _, err := io.Copy(j.Out, f); err != nil {
		j.Note("run %s: %s: %v", run.ID, rec.Log, err)
	}
}

// sameCommit: one summary of notebooks of two commits would be of neither.
func sameCommit(j *Job, run *artifacts.Run) error {
	var commits [2]string
	for i, r := range []*artifacts.Run{j.Env.Run, run} {
		rec, err := r.Read(record.Clone)
		if err != nil {
			return err
		}
		if rec != nil {
			commits[i] = rec.Facts.(*record.CloneFacts).Commit
		}
	}
	if commits[0] != commits[1] {
		return record.Failf(record.BadInput, "its notebooks are of commit %q, those of this run are of %q", commits[1], commits[0])
	}
	return nil
}

// take copies an executed notebook into this run, and makes nb say so.
func (s *Merge) take(j *Job, run *artifacts.Run, rec *record.Record, nb *record.Notebook) error {
	i := slices.IndexFunc(rec.Outputs, func(f record.File) bool { return f.Path == nb.Output })
	if i < 0 {
		return nil // Papermill has written none, and its failure says why.
	}
	from := run.Abs(nb.Output)
	now, err := artifacts.Digest(from)
	if err != nil || now.SHA256 != rec.Outputs[i].SHA256 {
		return record.Failf(record.ArtifactInvalid, "%s is not what papermill has written", nb.Output)
	}
	to := j.Env.Run.Path("artifacts", s.name(j, *nb))
	if err := mergeCopy(from, to); err != nil {
		return err
	}
	nb.Output = j.Env.Run.Rel(to)
	if err := j.Input(from); err != nil {
		return err
	}
	return j.Output(to)
}

// name is that of one of several executed notebooks, as papermill would have it.
func (s *Merge) name(j *Job, nb record.Notebook) string {
	taken := func(name string) bool {
		return slices.ContainsFunc(s.facts.Notebooks, func(o record.Notebook) bool { return filepath.Base(o.Output) == name })
	}
	return resultName(j.Variant, stem(nb.Input), taken)
}

func mergeCopy(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return artifacts.WriteAtomic(to, 0o664, func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
}

// addNotebook puts a notebook into the facts of step 3 and their sums.
func addNotebook(f *record.PapermillFacts, nb record.Notebook) {
	f.Notebooks = append(f.Notebooks, nb)
	f.Cells = f.Cells.Add(nb.Cells)
	f.Seconds += nb.Seconds
	f.Slowest = notebook.Slowest(append(f.Slowest, nb.Slowest...))
}
