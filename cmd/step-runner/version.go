package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// Both are set by the linker in `make build`; after `go install` the Go tool
// knows them.
var buildVersion, buildCommit string

// build says what this program was made from.
type build struct {
	Version string `json:"version"`
	// Commit is "" when it was not built in a repository.
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Version = cmp.Or(info.Main.Version, b.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	b.Version, b.Commit = cmp.Or(buildVersion, b.Version), cmp.Or(buildCommit, b.Commit)
	return b
}

func version() string { return thisBuild().Version }

type versionCmd struct{}

func (*versionCmd) run(p *process) error {
	b := thisBuild()
	return p.print(b, func(w io.Writer) {
		fmt.Fprintf(w, "step-runner %s (commit %s, %s, %s)\n", b.Version, cmp.Or(b.Commit, "unknown"), b.Go, b.Platform)
	})
}
