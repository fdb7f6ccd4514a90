package main

import (
	"slices"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps"
)

// open opens the workspace and the run that the step belongs to. Commands
// outside the workflow do without when none is given.
func (p *process) open(step steps.Step) error {
	g := p.cli.Globals
	id, owner, err := artifacts.SplitRun(g.Run)
	if err != nil {
		return err
	}
	resume, workflow := "", step.ID().Step > 0
	if r, ok := step.(*steps.Run); ok {
		resume, workflow = r.Resume, true
	}
	switch {
	case g.Workspace == "" && workflow:
		return record.Failf(record.Usage, "no workspace is given").
			WithHint("give --workspace DIR, or set STEP_RUNNER_WORKSPACE or DOCKER_WRITEABLE_DIR")
	case g.Workspace == "" || isInstall(step) && g.Run == "":
		return nil
	case resume != "" && id != "" && id != resume:
		return record.Failf(record.Usage, "--resume %s contradicts --run %s", resume, id).WithHint("give one of them")
	}
	w, err := artifacts.OpenWorkspace(g.Workspace)
	if err != nil {
		return err
	}
	r, err := p.openRun(w, resume, id, owner)
	if err != nil {
		return err
	}
	if err := p.settleVariant(r, step); err != nil {
		return err
	}
	p.env.Workspace, p.env.Run = w, r
	return nil
}

// isInstall says whether the step comes before there is a workspace, in another
// container, so that it belongs to a run only when one is named.
func isInstall(step steps.Step) bool {
	_, ok := step.(*steps.Install)
	return ok
}

func (p *process) openRun(w *artifacts.Workspace, resume, id, owner string) (*artifacts.Run, error) {
	if id == "" && resume == "" {
		id = artifacts.NewRunID(p.env.Now())
		p.env.Log.Info("no --run was given: this is a new one", "run", id)
	}
	open := w.OpenRun
	if resume != "" {
		id, open = resume, w.FindRun
	}
	r, err := open(id)
	if err == nil && owner != "" {
		err = r.Claim(owner)
	}
	return r, err
}

// settleVariant makes a step that joins a run take the variant of its records,
// unless the whole workflow begins anew.
func (p *process) settleVariant(r *artifacts.Run, step steps.Step) error {
	if all, ok := step.(*steps.Run); ok && all.Resume == "" && all.From == "" && len(all.Only) == 0 {
		return nil
	}
	// A record that cannot be read has no say; the step that needs it will report it.
	recs := slices.DeleteFunc(r.Judge().Records, func(rec *record.Record) bool { return rec.ID == record.FetchData })
	if len(recs) == 0 || recs[0].Variant == string(p.env.Variant) {
		return nil
	}
	from := p.settings.sourceOf(p.kctx, p.settings.names.settings["variant"].flag)
	if from.kind != fromDefault {
		return record.Failf(record.Usage, "%s says %s, but run %s is %s", from, p.env.Variant, r.ID, recs[0].Variant).
			WithHint("leave the variant out, or use another --run")
	}
	p.env.Variant = artifacts.Variant(recs[0].Variant)
	return nil
}
