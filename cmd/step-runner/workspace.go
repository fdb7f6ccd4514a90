package main

import (
	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps"
)

// open opens the workspace and the run that the step belongs to. Commands
// outside the workflow do without when none is given.
func (p *process) open(step steps.Step) error {
	g := p.cli.Globals
	if g.Workspace == "" {
		if _, isRun := step.(*steps.Run); step.ID().Step == 0 && !isRun {
			return nil
		}
		return record.Failf(record.Usage, "no workspace is given").WithHint("give --workspace DIR, or set STEP_RUNNER_WORKSPACE or DOCKER_WRITEABLE_DIR")
	}
	w, err := artifacts.OpenWorkspace(g.Workspace)
	if err != nil {
		return err
	}
	id := g.Run
	if id == "" {
		id = artifacts.NewRunID(p.env.Now())
		p.env.Log.Info("this is a new run", "run", id)
	}
	r, err := w.OpenRun(id)
	if err != nil {
		return err
	}
	p.env.Workspace, p.env.Run = w, r
	return nil
}
