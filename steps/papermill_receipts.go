package steps

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/inject"
	"github.com/step-runner/step-runner/steps/notebook"
)

// inject lays out what the notebook's processes need to have the policy. Each
// notebook has a directory of its own: its receipts are its own.
func (m *mill) inject(r *milled) (err error) {
	if m.policy == nil {
		return nil
	}
	r.injected, err = inject.New(m.injectDir(r), *m.policy)
	return err
}

func (m *mill) injectDir(r *milled) string {
	return filepath.Join(m.work, "inject-"+filepath.Base(r.output))
}

// env is the environment of the notebook's processes. A policy of another
// step-runner, one whose notebook runs us, is not theirs.
func (m *mill) env(r *milled) []string {
	env := slices.DeleteFunc(m.ChildEnv(m.set.envFor(m.Variant, r.notebookFile)...), func(kv string) bool {
		return strings.HasPrefix(kv, inject.PolicyVar+"=") || strings.HasPrefix(kv, inject.ReadersVar+"=")
	})
	if r.injected != nil {
		env = r.injected.Env(env)
	}
	if r.readers != nil {
		env = r.readers.Env(env)
	}
	return env
}

// judgeRMM reads the receipts, and says how the notebook has ended with them: a
// policy that did not hold is a failure, but never hides another one, except where
// it is its cause.
func (m *mill) judgeRMM(r *milled, v *notebook.Verdict) (*record.RMM, *record.Failure) {
	receipts, err := r.injected.Receipts()
	facts := m.rmmFacts(m.policy, receipts)
	failure := rmmFailure(receipts, m.opts.RMM.Mode == rmmAuto)
	switch {
	case failure == nil && err != nil:
		failure = record.Failf(record.GPUBroken, "what became of the RMM policy cannot be read: %w", err).WithHint("look for what writes into the run's work/papermill")
	case failure == nil && len(receipts) == 0 && v.Imported("rmm"):
		failure = record.Failf(record.MissingTool, "the notebook has imported rmm, and the RMM policy was not applied: its Python did not load step-runner's sitecustomize").
			WithHint("Python's options -S, -E and -I in the kernel's argv, and a PYTHONPATH of the kernel's own, switch it off")
	}
	if failure == nil {
		for _, p := range facts.Processes {
			if p.State == inject.Absent {
				m.Note("notebook %s: --rmm auto: %s", r.Rel, p.Error)
			}
		}
		return facts, v.Failure
	}
	if facts.Error == "" {
		facts.Error = m.Secrets.String(failure.Message)
	}
	if v.Failure != nil && (v.Error == nil || !strings.Contains(v.Error.Value, inject.NotApplied)) {
		m.Note("notebook %s: %s", r.Rel, failure.Message)
		return facts, v.Failure
	}
	return facts, failure
}

// rmmFailure is why the policy did not hold in one of the processes, nil when it
// held in each. That rmm is not installed is one only where it was asked for by name.
func rmmFailure(all []inject.Receipt, auto bool) *record.Failure {
	for _, r := range all {
		what := fmt.Sprintf("the RMM policy could not be applied in process %d: %s", r.PID, r.Error)
		switch {
		case r.State == inject.Applied, r.State == inject.Absent && auto:
		case r.State == inject.Absent:
			return record.Failf(record.MissingTool, "%s", what).WithHint("use an image that has rmm, or give --rmm auto or off")
		case r.State == inject.Importing:
			return record.Failf(record.GPUBroken, "%sit ended while it imported rmm", what)
		case r.NoGPU:
			return record.Failf(record.NoGPU, "%s", what)
		case strings.HasPrefix(r.Error, "MemoryError"):
			return record.Failf(record.OutOfMemory, "%s", what).WithHint("lower --rmm-initial-pool, or look for another process on the GPU")
		default:
			return record.Failf(record.GPUBroken, "%s", what)
		}
	}
	return nil
}

// Bounds of what a record holds of a receipt, in bytes.
const (
	longestRMMArgv = 300
	longestRMMText = 2000
)

func rmmPolicy(p *inject.Policy) *record.RMMPolicy {
	return &record.RMMPolicy{
		Mode: p.Mode, InitialPoolBytes: p.InitialPoolBytes, MaximumPoolBytes: p.MaximumPoolBytes, LimitBytes: p.LimitBytes, Allocators: p.Allocators,
	}
}

func (j *Job) rmmFacts(p *inject.Policy, receipts []inject.Receipt) *record.RMM {
	facts := &record.RMM{Policy: *rmmPolicy(p)}
	for _, r := range receipts {
		facts.PeakBytes = max(facts.PeakBytes, r.PeakBytes)
		facts.Allocations += r.Allocations
		facts.Overrides += r.OverrideCount
		proc := record.RMMProcess{
			PID: r.PID, State: r.State, Version: j.rmmText(r.RMM), Devices: r.Devices, Resource: j.rmmText(r.Resource),
			InitialPoolBytes: r.InitialPoolBytes, MaximumPoolBytes: r.MaximumPoolBytes, Allocators: r.Allocators,
			PeakBytes: r.PeakBytes, Allocations: r.Allocations, Error: j.rmmText(r.Error),
		}
		for _, arg := range r.Argv {
			proc.Argv = append(proc.Argv, rmmCut(j.Secrets.String(arg), longestRMMArgv))
		}
		for _, o := range r.Overrides {
			proc.Overrides = append(proc.Overrides, record.RMMOverride{Call: j.rmmText(o.Call), Asked: j.rmmText(string(o.Asked)), Applied: j.rmmText(string(o.Applied))})
		}
		if facts.Error == "" && r.State != inject.Absent {
			facts.Error = proc.Error
		}
		facts.Processes = append(facts.Processes, proc)
	}
	return facts
}

// rmmText is text of a notebook's process as the record may hold it.
func (j *Job) rmmText(text string) string { return rmmCut(j.Secrets.String(text), longestRMMText) }

func rmmCut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
