package gpu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Exec runs a program to its end and returns how that was. The error is a
// *record.Failure: missing-tool when the program is not there, timed-out when it
// took too long, else the context's cause.
type Exec func(ctx context.Context, argv []string) (Ended, error)

// Ended is how a program ended. ExitCode is -1 when a signal ended it.
type Ended struct {
	ExitCode int
	Signal   string
	Stdout   []byte
	Stderr   []byte
}

// Stream is an Exec whose program prints its standard output to w as it comes;
// Ended has none of it. A program that prints nothing for long is timed-out.
type Stream func(ctx context.Context, argv []string, w io.Writer) (Ended, error)

// Children is the Prober and the Watcher that ask each library in a child process.
type Children struct {
	// Self is what to run, with the library as last argument, to reach Serve; with
	// WatchDevices and its arguments, to reach ServeWatch.
	Self   []string
	Exec   Exec
	Stream Stream
	Getenv func(string) string
	// Environ has CUDA_VISIBLE_DEVICES, if that is set.
	Environ []string
	Host    Host
}

// Probe asks NVML, or nvidia-smi where NVML is not linked in, and then CUDA.
func (c *Children) Probe(ctx context.Context) (record.GPUFacts, error) {
	facts, err := c.devices(ctx)
	facts.VisibleDevices = visibleDevices(c.Environ)
	if err != nil {
		return facts, c.Host.explain(err, c.Getenv)
	}
	if !Linked {
		return facts, hidden(facts)
	}
	a, err := c.ask(ctx, CUDA)
	facts.CUDADevices, facts.CUDASeconds = a.Facts.CUDADevices, a.Facts.CUDASeconds
	if a.Facts.CUDA != "" {
		facts.CUDA = a.Facts.CUDA
	}
	matchMIG(&facts)
	if err != nil {
		return facts, c.Host.explainCUDA(err, hidden(facts), c.Getenv)
	}
	return facts, tooOld(facts, c.Getenv("CUDA_VERSION"))
}

func (c *Children) devices(ctx context.Context) (record.GPUFacts, error) {
	if Linked {
		a, err := c.ask(ctx, NVML)
		if a.Facts.GPUs == nil {
			a.Facts.GPUs = []record.GPU{}
		}
		return a.Facts, err
	}
	return c.smi(ctx)
}

// ask runs a probe child. Whatever becomes of the child is an answer.
func (c *Children) ask(ctx context.Context, library string) (a answer, err error) {
	ended, err := c.Exec(ctx, append(append([]string{}, c.Self...), library))
	if err != nil {
		return a, hung(ctx, library, err)
	}
	if ended.ExitCode != 0 {
		return a, died(library, ended)
	}
	if err := json.Unmarshal(lastLine(ended.Stdout), &a); err != nil {
		return a, record.Failf(record.GPUBroken, "the %s probe answered nonsense: %w", library, err)
	}
	if a.Failure != nil {
		return a, a.Failure
	}
	return a, nil
}

// hung makes a driver that does not answer a finding. That we are told to stop is none.
func hung(ctx context.Context, library string, err error) error {
	var f *record.Failure
	if ctx.Err() == nil && errors.As(err, &f) && f.Kind == record.TimedOut {
		return record.Failf(record.GPUBroken, "the driver did not answer the %s probe: %w", library, err).
			WithHint("if nvidia-smi hangs too, have the node drained and its GPU reset; else raise --gpu-timeout (gpu-check: --timeout)")
	}
	return err
}

// died tells how the driver's library took the probe's process with it: the
// loader ends it with 127 when a symbol is missing, Go with 2 when a signal came
// in foreign code.
func died(library string, e Ended) *record.Failure {
	how := fmt.Sprintf("exit code %d", e.ExitCode)
	if e.Signal != "" {
		how = "signal " + e.Signal
	}
	f := record.Failf(record.GPUBroken, "the %s probe died in the driver's library (%s): %s", library, how, firstLine(e.Stderr))
	if e.ExitCode == 127 {
		return f.WithHint("the driver's library lacks a function, so it is very old or a stub: see which libnvidia-ml.so.1 the container has")
	}
	return f.WithHint("see whether nvidia-smi works; a container's driver libraries must be of the node's driver version")
}

func lastLine(out []byte) []byte {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return lines[len(lines)-1]
}

// firstLine is the first line of text that is not blank, at most 300 bytes of it.
func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if len(line) > 300 {
		line = strings.ToValidUTF8(line[:300], "") + "…"
	}
	if line == "" {
		return "no output"
	}
	return line
}
