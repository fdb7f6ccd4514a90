package main

import "runtime/debug"

// buildVersion is set by the linker: see the Makefile.
var buildVersion string

// version is step-runner's, by semantic versioning.
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

type versionCmd struct{}

func (versionCmd) run(p *process) error {
	_, err := p.stdout.Write([]byte(version() + "\n"))
	return err
}
