package gpu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// TestMain lets the test binary be the probe child that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "gpu-probe" {
		if err := Serve(os.Args[2], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 3 && os.Args[1] == "gpu-probe" && os.Args[2] == WatchDevices {
		_ = ServeWatch(os.Args[3:], os.Stdout)
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "gpu-hold" {
		if err := hold(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	for _, f := range atExit {
		f()
	}
	os.Exit(code)
}

// hold lets the test binary be another program on the GPU.
var hold func(bytes string) error

// atExit undoes what tests share.
var atExit []func()

// children is a prober whose children get the extra variables. Those of the
// machine's own that steer CUDA are taken out.
func children(t testing.TB, extra ...string) *Children {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	environ := append([]string{"PATH=" + os.Getenv("PATH")}, extra...)
	getenv := func(name string) string {
		for _, kv := range environ {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return v
			}
		}
		return ""
	}
	return &Children{Self: []string{self, "gpu-probe"}, Exec: runs(environ, time.Minute), Stream: streams(environ, time.Minute), Getenv: getenv, Environ: environ, Host: bare}
}

// bare is a container that shows no device, but for CUDA's own, and no special kernel.
var bare = Host{ReadFile: func(string) ([]byte, error) { return nil, nil }, Open: func(path string) error {
	if path == "/dev/nvidia-uvm" {
		return nil
	}
	return os.ErrNotExist
}}

// runs is an Exec on real processes that are killed after limit.
func runs(environ []string, limit time.Duration) Exec {
	return func(ctx context.Context, argv []string) (Ended, error) {
		tctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		var out, errs bytes.Buffer
		cmd := exec.CommandContext(tctx, argv[0], argv[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = environ, &out, &errs
		err := cmd.Run()
		e := Ended{ExitCode: cmd.ProcessState.ExitCode(), Stdout: out.Bytes(), Stderr: errs.Bytes()}
		var exit *exec.ExitError
		switch {
		case ctx.Err() != nil:
			return e, context.Cause(ctx)
		case tctx.Err() != nil:
			return e, record.Failf(record.TimedOut, "took longer than %s", limit)
		case errors.As(err, &exit):
			if e.ExitCode < 0 {
				e.Signal = strings.TrimPrefix(exit.String(), "signal: ")
			}
			return e, nil
		case errors.Is(err, exec.ErrNotFound):
			return e, record.Failf(record.MissingTool, "%w", err)
		}
		return e, err
	}
}

// streams is a Stream on real processes that are killed after limit.
func streams(environ []string, limit time.Duration) Stream {
	return func(ctx context.Context, argv []string, w io.Writer) (Ended, error) {
		tctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		var errs bytes.Buffer
		cmd := exec.CommandContext(tctx, argv[0], argv[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = environ, w, &errs
		_ = cmd.Run()
		e := Ended{ExitCode: cmd.ProcessState.ExitCode(), Stderr: errs.Bytes()}
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			e.Signal = ws.Signal().String()
		}
		if tctx.Err() != nil && ctx.Err() == nil {
			return e, record.Failf(record.TimedOut, "printed nothing for %s", limit)
		}
		return e, nil
	}
}

// requireKind checks the class of a failure and returns it.
func requireKind(t testing.TB, kind record.Kind, err error) *record.Failure {
	t.Helper()
	var f *record.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, kind, f.Kind, "%v", err)
	require.NotEmpty(t, f.Hint)
	return f
}

func ptr[T any](v T) *T { return &v }
