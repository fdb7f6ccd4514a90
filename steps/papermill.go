package steps

import (
	"context"
	"errors"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
)

// Papermill runs notebooks and says truly how they ended.
type Papermill struct {
	Notebooks        `embed:""`
	GPUNeeds         `embed:""`
	PapermillOptions `embed:""`

	facts record.PapermillFacts
}

// PapermillOptions are the flags that `run` has too, as --papermill-….
type PapermillOptions struct {
	Parameter         []string      `short:"p" sep:"none" help:"Parameter of the notebooks, typed as papermill does: True, False, None, numbers, else text. With NOTEBOOK:, that of one notebook. May be repeated." placeholder:"[NOTEBOOK:]NAME=VALUE"`
	ParametersYAML    []string      `name:"parameters-yaml" short:"y" sep:"none" help:"Parameters as YAML. May be repeated." placeholder:"YAML"`
	ParametersFile    []string      `name:"parameters-file" sep:"none" help:"YAML file with parameters. May be repeated." placeholder:"FILE"`
	Kernel            string        `help:"Kernel to use instead of the one that the notebook names." placeholder:"NAME"`
	ExecutionTimeout  time.Duration `help:"End a cell that takes longer." placeholder:"DURATION"`
	StartTimeout      time.Duration `default:"60s" help:"End a kernel that takes longer to start." placeholder:"DURATION"`
	AllowError        []string      `sep:"none" help:"Let cells with this tag raise this error, and run the later cells. May be repeated." placeholder:"NAME@CELL_TAG"`
	AllowEarlyExit    bool          `help:"A notebook may end itself, with success, before its last cell."`
	Patches           string        `help:"YAML list of patches: notebook, match, replace, count. See below." placeholder:"FILE"`
	Env               []string      `name:"env" sep:"none" help:"Variable of the notebooks. With NOTEBOOK:, that of one notebook. May be repeated." placeholder:"[NOTEBOOK:]NAME=VALUE"`
	Output            string        `seed:"OUTPUT_NOTEBOOK" help:"File name of the executed notebook, in the run's artifacts, when there is one notebook." placeholder:"FILE"`
	RMM               PapermillRMM  `embed:""`
	Lite              PapermillLite `embed:""`
	GPUSampleInterval time.Duration `name:"gpu-sample-interval" default:"100ms" help:"Time between two samples of the GPUs and of memory. 0 takes none." placeholder:"DURATION"`
	child.Limits      `embed:""`
}

// ID is step 3.
func (*Papermill) ID() record.ID { return record.Papermill }

// Facts returns what Run fills in.
func (s *Papermill) Facts() any { return &s.facts }

// Help is the long help.
func (*Papermill) Help() string {
	return `Runs each notebook through papermill, in the notebook's own directory of a fresh
copy of the clone under the run's work/. One that fails does not keep the next
from running. Executed notebooks go into the run's artifacts, also those that
failed: output_analysis_lite.ipynb for one notebook, result_NAME_lite.ipynb for
several (without _lite in the original variant).

The copy is prepared before it is run, and the record says how: cells at the end
that only shut the kernel down are tagged skip-execution, a notebook without a
kernel gets one, and patches are applied. A patch file is a list:

  - notebook: 01_analysis.ipynb   # every notebook when absent
    match: "adata[:1_000_000, :]" # as it is in the source of code cells
    replace: "adata[:500_000, :]"
    count: 1                      # how often it must occur; 1 when absent

A notebook has succeeded when papermill says so and the executed notebook proves
that every cell ran to its end. The kernel's environment has
STEP_RUNNER_VARIANT (lite or original), and no variable that holds a token.

With --rmm the GPU memory of the notebooks' processes is managed: the policy is
applied when a process imports rmm, and a notebook's own rmm.reinitialize is held
within it and recorded. Each process leaves a receipt; a notebook that imported rmm
without one, or in which the policy could not be applied, has failed.

Memory, utilisation, power and clock of the GPUs, XIDs, and the memory of the
notebook's processes and of the container are sampled, by default ten times a second,
into logs/gpu.ndjson of the run. The record has the peaks of each notebook and of the
cells that matter most. Where a GPU breaks, the notebook's failure becomes that of the
GPU; where memory runs out, the hint says how much was used and by which cell.

Data files that a notebook names are put at their paths in the copy, from datasets/ in
the workspace or from --data, when the clone has none there. With --subsample, the
default of the lite variant, they are cut to --max-cells and --max-genes, those of the
clone too, and what else the notebook opens is cut when it is opened. A notebook that all the same reads more has failed (49); one that
reads no AnnData has not. docs/lite.md says what is kept.

Exit status: 0 when every notebook succeeded, else that of the first one that
did not: 40 missing, 41 invalid, 42 a cell raised an error, 43 ended itself early,
44 the kernel died, 45 out of memory, 46 missing module, 47 interrupted, 48 cells
unrun, 49 a patch, a parameter or --subsample does not fit, 20 to 24 the GPU (see
gpu-check), 124 a time limit, 128+n signal n.`
}

// Run runs the notebooks in order.
func (s *Papermill) Run(ctx context.Context, j *Job) error {
	subsample := j.Variant == artifacts.Lite
	if s.Lite.Subsample != nil {
		subsample = *s.Lite.Subsample
	}
	if subsample {
		j.Env.Variant, j.Rec.Variant = artifacts.Lite, string(artifacts.Lite)
	} else if j.Variant == artifacts.Lite {
		j.Note("--no-subsample: the lite variant ran on data of any size")
	}
	if err := errors.Join(s.RMM.check(), watchCheck(s.GPUSampleInterval)); err != nil {
		return err
	}
	files, err := s.files(j)
	if err != nil {
		return err
	}
	set, err := s.papermillSettings(j, files)
	if err != nil {
		return err
	}
	data, err := s.Lite.dataFiles(files)
	if err != nil {
		return err
	}
	s.facts.GPU = &record.GPUFacts{}
	if err := s.GPUNeeds.check(ctx, j, s.facts.GPU); err != nil {
		return err
	}
	policy, err := s.RMM.policy(j, s.facts.GPU, s.GPUNeeds.GPU != GPUOff && s.GPUNeeds.GPU != "")
	if err != nil {
		return err
	}
	if s.Limits.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Limits.Timeout, record.Failf(record.TimedOut, "papermill took longer than --timeout %s", s.Limits.Timeout))
		defer cancel()
	}
	return s.mill(ctx, &mill{Job: j, opts: &s.PapermillOptions, set: set, policy: policy, subsample: subsample, data: data}, files)
}

// mill runs each notebook, and returns the failure of the first that failed.
func (s *Papermill) mill(ctx context.Context, m *mill, files []notebookFile) error {
	if err := m.open(ctx, files); err != nil {
		return err
	}
	if err := m.startWatch(ctx, s.facts.GPU); err != nil {
		return err
	}
	defer m.watch.Close()
	var first *record.Failure
	for i, f := range files {
		nb, failure := m.notebook(ctx, f, m.outputs[i])
		addNotebook(&s.facts, nb)
		if failure != nil {
			if first == nil {
				first, s.facts.Error = failure, nb.Error
			}
			if len(files) > 1 { // That of a single one is the step's.
				m.Log.Error(failure.Message)
			}
		}
	}
	if first == nil {
		return nil
	}
	if first.Kind == record.DiskFull {
		m.makeRoom()
	}
	return first
}
