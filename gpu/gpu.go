// Package gpu says which GPUs this container has, whether a CUDA program can use
// them, and if not, why.
//
// The driver's libraries may abort, crash or hang the process that loads them.
// They are therefore asked only in a child process, which is this program again
// (Serve); the parent (Children) turns whatever becomes of it into an answer.
package gpu

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Prober looks at the GPUs of this container.
type Prober interface {
	// Probe returns what is known, also when it fails. The error is a
	// *record.Failure of one of the GPU classes, or the context's cause.
	Probe(ctx context.Context) (record.GPUFacts, error)
}

// The libraries that a probe child can be told to ask.
const (
	NVML = "nvml"
	CUDA = "cuda"
)

// Linked says whether this program was built with cgo and can ask the libraries.
// Without, nvidia-smi is asked and CUDA is not.
const Linked = linked

// answer is what a probe child prints.
type answer struct {
	Facts   record.GPUFacts `json:"facts"`
	Failure *record.Failure `json:"failure,omitempty"`
}

// Serve asks one library in this process and prints the answer to w. It may
// never return: call it only in a process that has nothing else to do.
func Serve(library string, w io.Writer) error {
	var a answer
	switch library {
	case NVML:
		a = probeNVML()
	case CUDA:
		a = probeCUDA()
	default:
		return record.Failf(record.Usage, "no library %q: the libraries are %s and %s", library, NVML, CUDA)
	}
	return json.NewEncoder(w).Encode(a)
}

// Label names a device to a person.
func Label(g record.GPU) string { return fmt.Sprintf("GPU %d %s (%s)", g.Index, g.Name, g.UUID) }

func notLinked() *record.Failure {
	return record.Failf(record.NoDriver, "this step-runner was built without cgo and cannot load the driver's libraries")
}
