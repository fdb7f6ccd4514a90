//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// TestWeb: people may read what a run is for, and nothing else of the volume.
func TestWeb(t *testing.T) {
	t.Parallel()
	run := start(t, "lite", "green, and its page", shared.small)
	run.wait()
	require.True(t, run.green(), run.row.seen)
	require.NoError(t, shared.applyWeb(t.Context(), run.sub))
	_, err := shared.kubectl(t.Context(), nil, "rollout", "status", "deployment/step-runner-web", "--timeout=5m")
	require.NoError(t, err)
	base := shared.forward(t, "deployment/step-runner-web", "http")

	v := run.volume()
	served := 0
	for name, want := range v {
		shown := name == "STEP_SUMMARY_LITE.md" || strings.HasPrefix(name, "artifacts/")
		for _, dir := range []string{"artifacts/", "logs/", "records/"} {
			shown = shown || strings.HasPrefix(name, "runs/"+run.Name+"/"+dir)
		}
		code, body, header := get(t, http.MethodGet, base+"/"+name)
		if !shown || strings.Contains(name, "/.") {
			assert.Equal(t, http.StatusNotFound, code, name)
			continue
		}
		served++
		assert.Equal(t, http.StatusOK, code, name)
		assert.Equal(t, digest(want), digest(body), name)
		assert.True(t, strings.HasPrefix(header.Get("Content-Security-Policy"), "sandbox; default-src 'none'"), name)
		assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"), name)
	}
	require.Greater(t, served, 20)
	run.checked("%d files served, byte for byte", served)

	for _, dir := range []string{"runs/", "artifacts/", "runs/" + run.Name + "/artifacts/", "runs/" + run.Name + "/logs/"} {
		code, body, _ := get(t, http.MethodGet, base+"/"+dir)
		assert.Equal(t, http.StatusOK, code, dir)
		assert.Contains(t, string(body), "<a href=", dir)
	}
	hidden := []string{
		"clones/", "cache/", "venvs/", "locks/", "datasets/", "runs/" + run.Name + "/work/", "runs/" + run.Name + "/locks/",
		"runs/" + run.Name + "/artifacts/../work/", "artifacts/%2e%2e/clones/", "artifacts/..%2fclones/", "runs/../clones/", "etc/passwd",
	}
	for _, path := range hidden {
		code, _, _ := get(t, http.MethodGet, base+"/"+path)
		assert.Equal(t, http.StatusNotFound, code, path)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		code, _, _ := get(t, method, base+"/artifacts/SHA256SUMS")
		assert.Equal(t, http.StatusMethodNotAllowed, code, method)
	}
	run.checked("%d paths that are not", len(hidden))
}

// applyWeb applies web/ for a part of the volume, with the image that the environment names.
func (c *cluster) applyWeb(ctx context.Context, sub string) error {
	res, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../web")
	if err != nil {
		return err
	}
	var docs bytes.Buffer
	for _, r := range res.Resources() {
		doc, err := r.AsYAML()
		if err == nil && r.GetKind() == "Deployment" {
			doc, err = edit(doc, func(o *appsv1.Deployment) error {
				web := &o.Spec.Template.Spec.Containers[0]
				web.Image, web.VolumeMounts[0].SubPath = cmp.Or(os.Getenv("E2E_WEB_IMAGE"), web.Image), sub
				return nil
			})
		}
		if err != nil {
			return err
		}
		docs.WriteString("---\n" + string(doc))
	}
	return c.apply(ctx, docs.Bytes())
}

// get asks for the address as it is written, dots and all.
func get(t *testing.T, method, address string) (int, []byte, http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	require.NoError(t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, body, resp.Header
}
