//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	appsv1 "k8s.io/api/apps/v1"
)

const listener = "el-gpu-pipeline-listener"

// forged is a commit that only events without GitHub's signature announce.
var forged = strings.Repeat("f", 40)

// TestTriggerPush: a signed push makes a run that passes, an event that is forged none.
func TestTriggerPush(t *testing.T) {
	t.Parallel()
	hook := forward(t)
	sha := shared.commits["small-notebooks"]
	hook.send(t, "push", push(forged), "not the secret")
	hook.send(t, "push", push(forged), "")
	hook.send(t, "push", push(sha), shared.hook)
	run := follow(t, triggered(t, "push", sha), "green; forged none")
	run.wait()
	run.checkPassed("lite", "_lite", "small-notebooks")
	assert.Equal(t, "github-token", param(run.PipelineRun, "token-secret"))
	assert.Len(t, runsOf(t, "push", sha), 1)
	assert.Zero(t, len(runsOf(t, "push", forged)), "a forged event has made a run")
	run.checked("labels; none for 2 forged events")
}

// TestTriggerFork: the run of a fork's pull request has no token, and so does not even get
// what the token is for.
func TestTriggerFork(t *testing.T) {
	t.Parallel()
	hook := forward(t)
	sha := shared.commits["small-notebooks"]
	hook.send(t, "pull_request", pullRequest(sha, "somebody/notebooks"), shared.hook)
	run := follow(t, triggered(t, "pull-request", sha), "red, repo-not-found")
	run.wait()
	assert.False(t, run.green())
	assert.Equal(t, "repo-not-found", run.result("failure-kind"))
	assert.Equal(t, "no-token-for-forks", param(run.PipelineRun, "token-secret"))
	assert.Equal(t, "gpu-workflow-forks", run.Spec.Workspaces[0].SubPath)
	rec := run.records(run.volume())["2-clone"]
	require.NotNil(t, rec.Failure)
	assert.Equal(t, "repo-not-found", rec.Failure.Kind)
	run.checkSecrecy()
	run.checked("no token, a subPath of its own")
}

// push is of such an event what the EventListener looks at.
func push(sha string) map[string]any {
	return map[string]any{
		"ref": "refs/heads/main", "after": sha,
		"repository":  map[string]any{"clone_url": shared.url("small-notebooks"), "full_name": private + "/small-notebooks"},
		"head_commit": map[string]any{"message": "a change"},
		"commits":     []any{map[string]any{"added": []string{}, "modified": []string{"notebooks/a.ipynb"}, "removed": []string{}}},
	}
}

func pullRequest(sha, from string) map[string]any {
	return map[string]any{
		"action":     "opened",
		"repository": map[string]any{"clone_url": shared.url("small-notebooks"), "full_name": private + "/small-notebooks"},
		"pull_request": map[string]any{
			"title": "[gpu] a change", "labels": []any{}, "base": map[string]any{"ref": "main"},
			"head": map[string]any{"sha": sha, "repo": map[string]any{"full_name": from}},
		},
	}
}

// runsOf are the runs that an event for the commit has made, by the labels that they must have.
func runsOf(t *testing.T, trigger, sha string) []v1.PipelineRun {
	t.Helper()
	var list v1.PipelineRunList
	require.NoError(t, shared.get(t.Context(), &list, "pipelineruns", "--selector", strings.Join([]string{
		"triggers.tekton.dev/trigger=" + trigger, "step-runner/commit=" + sha, "app.kubernetes.io/part-of=step-runner",
	}, ",")))
	return list.Items
}

// triggered waits for the run that an event makes.
func triggered(t *testing.T, trigger, sha string) *v1.PipelineRun {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var runs []v1.PipelineRun
	require.NoError(t, until(ctx, "a run of the trigger "+trigger, func() (bool, error) {
		runs = runsOf(t, trigger, sha)
		return len(runs) > 0, nil
	}))
	return &runs[0]
}

// webhook is the EventListener's address on this machine.
type webhook string

// forward makes the EventListener reachable until the test ends.
func forward(t *testing.T) webhook {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	require.NoError(t, until(ctx, "the EventListener", func() (bool, error) {
		var d appsv1.Deployment
		// It is made by Tekton, and so may not be there yet.
		err := shared.get(ctx, &d, "deployment/"+listener)
		return d.Status.ReadyReplicas > 0, err
	}))
	return webhook(shared.forward(t, "service/"+listener, "8080"))
}

// send sends what GitHub would; secret signs it, "" sends it without a signature.
func (w webhook) send(t *testing.T, event string, body map[string]any, secret string) {
	t.Helper()
	data, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, string(w), bytes.NewReader(data))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", event)
	if secret != "" {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(data)
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Less(t, res.StatusCode, 500)
}
