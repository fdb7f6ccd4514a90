package steps

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

type panicking struct{ Summary }

func (*panicking) Run(context.Context, *Job) error { panic("secret-0123 of no use") }

func TestAPanicIsTheStepsFailure(t *testing.T) {
	e := NewTestEnv(t)
	e.Secrets.Add("secret-0123")
	_, err := Execute(t.Context(), e.Env, &panicking{})
	assert.Equal(t, 1, record.ExitCode(err))
	rec, err := e.Run.Read(record.Summary)
	require.NoError(t, err)
	assert.Equal(t, record.Internal, rec.Failure.Kind)
	assert.Equal(t, "step-runner itself failed: *** of no use", rec.Failure.Message)
	log, err := os.ReadFile(e.Run.Path(rec.Log))
	require.NoError(t, err)
	assert.Contains(t, string(log), "panicking")
}
