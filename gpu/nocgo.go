//go:build !cgo

package gpu

import "github.com/step-runner/step-runner/artifacts/record"

const linked = false

func probeNVML() answer { return notLinked() }
func probeCUDA() answer { return notLinked() }

func notLinked() answer {
	return answer{Failure: record.Failf(record.NoDriver, "this step-runner was built without cgo and cannot load the driver's libraries")}
}
