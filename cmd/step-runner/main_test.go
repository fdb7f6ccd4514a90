package main

import (
	"context"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

func TestASignalEndsTheContext(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		if signal.Ignored(sig) {
			continue // nohup's wish, which step-runner heeds.
		}
		ctx := withSignals(t.Context())
		require.NoError(t, syscall.Kill(syscall.Getpid(), sig))
		<-ctx.Done()
		assert.Equal(t, 128+int(sig), record.ExitCode(context.Cause(ctx)))
	}
}
