package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/steps/fetch/fetchtest"
	"github.com/step-runner/step-runner/steps/leak"
	"github.com/step-runner/step-runner/steps/steptest"
)

// TestFetchDataSignedURL fetches by a URL whose query gives access: nothing of
// that is left, though the command line is recorded.
func TestFetchDataSignedURL(t *testing.T) {
	const signature = "c2lnbmF0dXJlLTAxMjM0"
	srv := fetchtest.New()
	defer srv.Close()
	u := srv.Put("/cells.bin", []byte("data")) + "?X-Amz-Signature=" + signature
	workspace := filepath.Join(t.TempDir(), "ws")
	var out steptest.Buffer
	args := []string{"fetch-data", "--workspace", workspace, "--run", "r", "--json", "--dataset", "cells=" + u}
	require.Zero(t, run(t.Context(), args, nil, &out, &out), &out)
	assert.FileExists(t, filepath.Join(workspace, "datasets", "cells", "cells.bin"))
	assert.NotContains(t, out.String(), signature)
	record, err := os.ReadFile(filepath.Join(workspace, "runs", "r", "records", "0-fetch-data.json"))
	require.NoError(t, err)
	assert.Contains(t, string(record), "X-Amz-Signature=***", "its command line")
	_, err = leak.Search(workspace, signature)
	require.NoError(t, err)

	// By the seed's variables, from the file's name.
	require.Zero(t, run(t.Context(), args[:6], []string{"DATASET_URLS=" + u, "DATASET_NAMES=other", "DOWNLOAD_TIMEOUT=3600"}, io.Discard, &out), &out)
	assert.FileExists(t, filepath.Join(workspace, "datasets", "other", "cells.bin"))
	_, err = leak.Search(workspace, signature)
	require.NoError(t, err)
}
