package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// Run runs the eight steps in one process: the workflow in one container.
type Run struct {
	Notebooks  `embed:""`
	GPUNeeds   `embed:""`
	Setup      SetupOptions     `embed:"" prefix:"setup-"`
	Clone      CloneOptions     `embed:"" prefix:"clone-"`
	FetchData  FetchData        `embed:"" prefix:"fetch-data-"`
	Papermill  PapermillOptions `embed:"" prefix:"papermill-"`
	Nbconvert  NbconvertOptions `embed:"" prefix:"nbconvert-"`
	CloneTests CloneOptions     `embed:"" prefix:"clone-tests-"`
	Pytest     Pytest           `embed:"" prefix:"pytest-"`
	Collect    Collect          `embed:"" prefix:"collect-"`
	Summary    Summary          `embed:"" prefix:"summary-"`

	From    string        `help:"Start at this step; the earlier ones keep their records. A number or a name: ${steps}." placeholder:"STEP"`
	Only    []string      `help:"Run only these steps, and collect and summary." placeholder:"STEP"`
	Resume  string        `help:"Go on with this run: a step that succeeded is not run again, unless its outputs, or a file that it read, have changed, or flags ask it for something else." placeholder:"RUN"`
	Timeout time.Duration `help:"End the run after this time; collect and summary follow all the same." placeholder:"DURATION"`

	facts record.VerdictFacts
}

// afterwards bounds collect and summary together once the run has been told to
// stop: Kubernetes gives a deleted pod 30 seconds, of which the child's grace took some.
const afterwards = 15 * time.Second

// ID is outside the workflow: the run's own record has number 0.
func (*Run) ID() record.ID { return record.ID{Step: 0, Name: "run"} }

// Facts returns what Run fills in.
func (s *Run) Facts() any { return &s.facts }

// StepNames are the names that --from and --only take, in order.
func StepNames() []string {
	names := make([]string, len(record.Order))
	for i, id := range record.Order {
		names[i] = id.Label()
	}
	return names
}

// stepPlace is where in record.Order the step is that the text means.
func stepPlace(text string) (int, error) {
	for i, id := range record.Order {
		if text == id.Label() || id.Step > 0 && text == fmt.Sprint(id.Step) {
			return i, nil
		}
	}
	return 0, record.Failf(record.Usage, "no step %q: the steps are %s, or 1 to 8", text, strings.Join(StepNames(), ", "))
}

// selected says of each step whether --from and --only ask for it.
func (s *Run) selected() (func(id record.ID) bool, error) {
	from, only := 0, []int{}
	if s.From != "" {
		n, err := stepPlace(s.From)
		if err != nil {
			return nil, err
		}
		from = n
	}
	for _, name := range s.Only {
		n, err := stepPlace(name)
		if err != nil {
			return nil, err
		}
		only = append(only, n)
	}
	return func(id record.ID) bool {
		place := slices.Index(record.Order, id)
		return place >= from && (len(only) == 0 || slices.Contains(only, place))
	}, nil
}

// fetches says whether the run is to fetch data: it was told to, or has done so before.
func (s *Run) fetches(j *Job) bool {
	if s.FetchData.given() || slices.Contains(s.Only, record.FetchData.Name) || s.From == record.FetchData.Name {
		return true
	}
	rec, err := j.Env.Run.Read(record.FetchData)
	return rec != nil || err != nil
}

// workflow is the steps in order, without collect and summary.
func (s *Run) workflow(j *Job) []Step {
	all := []Step{
		&Setup{GPUNeeds: s.GPUNeeds, SetupOptions: s.Setup},
		&Clone{CloneOptions: s.Clone},
	}
	if s.fetches(j) {
		all = append(all, &s.FetchData)
	}
	return append(all,
		&Papermill{Notebooks: s.Notebooks, GPUNeeds: s.GPUNeeds, PapermillOptions: s.Papermill},
		&Nbconvert{Notebooks: s.Notebooks, NbconvertOptions: s.Nbconvert},
		&Clone{CloneOptions: s.CloneTests, Tests: true},
		&s.Pytest,
	)
}

// Run executes the steps in order, and fetches data before the notebooks. A step
// whose needs did not succeed is recorded as skipped; collect and summary run whatever
// happened. The error is the failure of the first step that failed.
func (s *Run) Run(ctx context.Context, j *Job) error {
	selected, err := s.selected()
	if err != nil {
		return err
	}
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout, record.Failf(record.TimedOut, "the run took longer than --timeout %s", s.Timeout))
		defer cancel()
	}
	s.facts.Verdict = record.RunIncomplete
	resuming := s.Resume != ""
	for _, step := range s.workflow(j) {
		id := step.ID()
		if !selected(id) {
			continue
		}
		if resuming && id != record.Setup && stillGood(j, step) {
			j.Log.Info("kept: it succeeded, and its outputs match their digests", "step", id)
			continue
		}
		if why := unwanted(ctx, j, id); why != nil {
			if err := skip(j.Env, step, why); err != nil {
				return err
			}
			continue
		}
		// What follows a step that has run anew rests on its new outputs. Setup is
		// always run: it is about this container, not about the run.
		resuming = resuming && id == record.Setup
		// The step's record holds its failure; the verdict is derived from records.
		_, _ = Execute(ctx, j.Env, step)
	}
	err = s.finish(ctx, j)
	if f := record.AsFailure(err); f != nil && f.Kind == record.Incomplete && ctx.Err() != nil {
		// No step failed: what kept the rest from running is why the run was stopped.
		return context.Cause(ctx)
	}
	return err
}

// finish runs collect and summary whatever happened, and takes the verdict from
// the records. When the run is stopped before or during them, they still have
// afterwards to do their work.
func (s *Run) finish(ctx context.Context, j *Job) error {
	ctx, cancel := outlive(ctx, afterwards)
	defer cancel()
	// Collect's failure is in its record, which summary judges with the others.
	_, _ = Execute(ctx, j.Env, &s.Collect)
	_, err := Execute(ctx, j.Env, &s.Summary)
	v := j.Env.Run.Judge()
	s.facts.Verdict = v.Word
	if err != nil {
		if v.Failure == nil {
			// Seven steps are good, but there is no summary that says so.
			s.facts.Verdict = record.RunFailed
		}
		return err
	}
	if v.Failure != nil {
		return v.Failure
	}
	return nil
}

// outlive returns a context that ends d after ctx does.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(d, func() {
			cancel(record.Failf(record.TimedOut, "collect and summary took longer than %s after the run was stopped", d))
		})
	})
	return late, func() { stop(); cancel(nil) }
}

// unwanted is why the step is not even begun, of class NotRun, else nil.
func unwanted(ctx context.Context, j *Job, id record.ID) error {
	if ctx.Err() != nil {
		return record.Failf(record.NotRun, "the run was stopped before this step: %w", context.Cause(ctx))
	}
	if id != record.FetchData {
		return nil
	}
	if rec, err := j.Env.Run.Read(record.Clone); rec == nil && err == nil {
		return nil
	}
	// Without a clone a long download would only keep the verdict waiting.
	_, err := j.Need(record.Clone)
	return err
}

// skip records that step was not begun because of why, which is of class NotRun.
func skip(e *Env, step Step, why error) error {
	_, err := Execute(context.Background(), e, skipped{step, why})
	if f := record.AsFailure(err); f != nil && f.Kind != record.NotRun {
		return f
	}
	return nil
}

// skipped is a step that does nothing but say why.
type skipped struct {
	Step
	why error
}

func (s skipped) Run(context.Context, *Job) error { return s.why }

// kept is a step that can tell that what it once did is still there, beyond the
// digests of its outputs.
type kept interface {
	StillGood(j *Job, rec *record.Record) bool
}

func stillGood(j *Job, step Step) bool {
	rec, err := j.Env.Run.Read(step.ID())
	if err != nil || rec == nil || rec.Status != record.StatusSucceeded {
		return false
	}
	for _, f := range rec.Outputs {
		now, err := artifacts.Digest(j.Env.Run.Abs(f.Path))
		if err != nil || now.SHA256 != f.SHA256 {
			return false
		}
	}
	if !asksTheSame(j, step, rec) || changedInput(j, rec) {
		return false
	}
	if k, ok := step.(kept); ok && !k.StillGood(j, rec) {
		return false
	}
	if lost := forgotten(rec, step); lost != "" {
		j.Note("step %s is kept as it was asked for, with %s", rec.ID, lost)
	}
	return true
}

// changedInput says whether a file that the step has read is another now. One that is
// gone tells nothing: its place may have been another container's.
func changedInput(j *Job, rec *record.Record) bool {
	for _, f := range rec.Inputs {
		if now, err := artifacts.Digest(j.Env.Run.Abs(f.Path)); err == nil && now.SHA256 != f.SHA256 {
			j.Log.Info("an input has changed", "step", rec.ID, "file", f.Path)
			return true
		}
	}
	return false
}
