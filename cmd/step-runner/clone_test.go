package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/gittest"
)

// TestCloneSignals ends step-runner itself in the middle of a download, and lets
// it try again.
func TestCloneSignals(t *testing.T) {
	for name, tc := range map[string]struct {
		sig  syscall.Signal
		kind record.Kind
		exit int
	}{
		"TERM": {syscall.SIGTERM, record.Signaled, 143},
		"KILL": {syscall.SIGKILL, record.Killed, 137},
	} {
		t.Run(name, func(t *testing.T) {
			srv, err := gittest.New(t.TempDir())
			require.NoError(t, err)
			defer srv.Close()
			repo, err := srv.NewRepo("r.git")
			require.NoError(t, err)
			_, err = repo.Commit("main", gittest.Files{"a": strings.Repeat("0123456789", 1000)})
			require.NoError(t, err)
			workspace := filepath.Join(t.TempDir(), "ws")
			clone := func() *exec.Cmd {
				c := exec.Command(os.Args[0], "clone", "--workspace", workspace, "--run", "r", "--url", repo.URL, "--dir", "source")
				c.Stderr = os.Stderr
				return c
			}

			loading := make(chan struct{})
			srv.Inject(gittest.Pack, 1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				close(loading)
				gittest.StallAfter(150)(w, r, next)
			})
			c := clone()
			require.NoError(t, c.Start())
			<-loading
			require.NoError(t, c.Process.Signal(tc.sig))
			require.Error(t, c.Wait())

			ws, err := artifacts.OpenWorkspace(workspace)
			require.NoError(t, err)
			run, err := ws.OpenRun("r")
			require.NoError(t, err)
			rec, err := run.Read(record.Clone)
			require.NoError(t, err)
			assert.Equal(t, record.StatusInterrupted, rec.Status)
			assert.Equal(t, tc.kind, rec.Failure.Kind)
			assert.Equal(t, tc.exit, *rec.ExitCode)
			assert.NoDirExists(t, filepath.Join(workspace, "source"))

			require.NoError(t, clone().Run())
			rec, err = run.Read(record.Clone)
			require.NoError(t, err)
			assert.Equal(t, record.StatusSucceeded, rec.Status)
			assert.FileExists(t, filepath.Join(workspace, "source", "a"))
		})
	}
}
