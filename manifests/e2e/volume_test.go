//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
)

// volume is what is in a run's part of the volume, by path: the files of the runs and
// what is published, not what runs share or only work with.
type volume map[string][]byte

// volume reads it through the pod of the server.
func (r *pipelineRun) volume() volume {
	r.t.Helper()
	out, err := r.c.inPod(r.t.Context(), "reader", nil, "tar", "-C", "/volume/"+r.sub, "-cf", "-",
		"--exclude=./clones", "--exclude=./venvs", "--exclude=./cache", "--exclude=./datasets", "--exclude=./runs/*/work", ".")
	require.NoError(r.t, err)
	v := volume{}
	for in := tar.NewReader(bytes.NewReader(out)); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return v
		}
		require.NoError(r.t, err)
		if h.Typeflag == tar.TypeReg {
			data, err := io.ReadAll(in)
			require.NoError(r.t, err)
			v[path.Clean(h.Name)] = data
		}
	}
}

// record is of a step's record what the tests look at. It is decoded here once more,
// so that what readers of the file rely on is tested.
type record struct {
	Step         int
	Name         string
	Run, Variant string
	Status       string
	Failure      *struct{ Kind, Message, Hint string }
	ExitCode     *int `json:"exit_code"`
	Outputs      []struct{ Path, SHA256 string }
}

// records are the run's, by their file names without .json, like "3-papermill".
func (r *pipelineRun) records(v volume) map[string]record {
	r.t.Helper()
	all := map[string]record{}
	dir := "runs/" + r.Name + "/records/"
	for name, data := range v {
		if base, ok := strings.CutPrefix(name, dir); ok {
			var rec record
			require.NoError(r.t, json.Unmarshal(data, &rec), name)
			assert.Equal(r.t, r.Name, rec.Run, name)
			all[strings.TrimSuffix(base, ".json")] = rec
		}
	}
	return all
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// checkOutputs: what the records say was written is there, byte for byte.
func (r *pipelineRun) checkOutputs(v volume) {
	r.t.Helper()
	n := 0
	for step, rec := range r.records(v) {
		for _, out := range rec.Outputs {
			name := "runs/" + r.Name + "/" + out.Path
			data, ok := v[name]
			if strings.HasPrefix(out.Path, "work/") || path.IsAbs(out.Path) {
				continue // it is no artifact, and not among what is read here
			}
			n++
			if assert.True(r.t, ok, "step %s: %s is not there", step, name) {
				assert.Equal(r.t, out.SHA256, digest(data), "step %s: %s", step, name)
			}
		}
	}
	r.checked("%d outputs of the records by digest", n)
}

// checkPublished: artifacts/ is what SHA256SUMS says, and has the workflow's files.
func (r *pipelineRun) checkPublished(v volume, names ...string) {
	r.t.Helper()
	sums := strings.Split(strings.TrimSpace(string(v["artifacts/SHA256SUMS"])), "\n")
	for _, line := range sums {
		sum, name, ok := strings.Cut(line, "  ")
		require.True(r.t, ok, "SHA256SUMS: %q", line)
		assert.Equal(r.t, sum, digest(v["artifacts/"+name]), name)
	}
	for _, name := range names {
		assert.NotEmpty(r.t, v[name], "%s is not published", name)
	}
	r.checked("%d published files by digest", len(sums))
}

// summaryPath is that of the run's own summary.
func (r *pipelineRun) summaryPath(name string) string {
	return "runs/" + r.Name + "/artifacts/" + name
}

// checkSummary: the run's summary is the published one, and says these things.
func (r *pipelineRun) checkSummary(v volume, name string, says ...string) {
	r.t.Helper()
	text := string(v[name])
	assert.Equal(r.t, string(v[r.summaryPath(name)]), text, name)
	for _, s := range append(says, r.Name) {
		assert.Contains(r.t, text, s, name)
	}
	r.checked("summary")
}

// checkSecrecy: the token is nowhere in the run's part of the volume, in its logs, nor in
// what Tekton keeps of it.
func (r *pipelineRun) checkSecrecy() {
	r.t.Helper()
	out, err := r.c.inPod(r.t.Context(), "reader", nil, "demo", "search", "--token-file=/secret/token", "--dir=/volume/"+r.sub)
	require.NoError(r.t, err)
	assert.NotContains(r.t, r.logs(r.t.Context(), "-1"), r.c.token, "the logs")
	runs, err := json.Marshal([]any{r.PipelineRun, r.taskRuns("")})
	require.NoError(r.t, err)
	assert.NotContains(r.t, string(runs), r.c.token, "what Tekton keeps")
	r.checked("no token in %s, logs, TaskRuns", strings.TrimSpace(string(out)))
}

// checkResults: each is small, and those for Tekton Chains are of what is in the volume.
func (r *pipelineRun) checkResults(v volume) {
	r.t.Helper()
	outputs := 0
	for _, tr := range r.taskRuns("") {
		for _, res := range tr.Status.Results {
			text, err := json.Marshal(res.Value)
			require.NoError(r.t, err)
			assert.LessOrEqual(r.t, len(text), 300, "%s: result %s", tr.Name, res.Name)
			if strings.HasSuffix(res.Name, "ARTIFACT_OUTPUTS") {
				r.checkProvenance(v, tr, res)
				outputs++
			}
		}
	}
	r.checked("%d ARTIFACT_OUTPUTS", outputs)
}

func (r *pipelineRun) checkProvenance(v volume, tr v1.TaskRun, res v1.TaskRunResult) {
	r.t.Helper()
	uri, sum := res.Value.ObjectVal["uri"], res.Value.ObjectVal["digest"]
	name, ok := strings.CutPrefix(uri, "file:///workspace/shared-storage/")
	require.True(r.t, ok, "%s: %s: %s", tr.Name, res.Name, uri)
	if assert.Contains(r.t, v, name, "%s: %s", tr.Name, res.Name) {
		assert.Equal(r.t, "sha256:"+digest(v[name]), sum, "%s: %s", tr.Name, res.Name)
	}
}
