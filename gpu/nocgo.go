//go:build !cgo

package gpu

import "time"

const linked = false

func probeNVML() answer { return answer{Failure: notLinked()} }
func probeCUDA() answer { return answer{Failure: notLinked()} }

func serveWatch(_ time.Duration, _ []string, out func(watchLine) error) error {
	return out(watchLine{Failure: notLinked()})
}
