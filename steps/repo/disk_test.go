package repo

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/gittest"
	"github.com/step-runner/step-runner/steps/steptest"
)

// noise is text of n bytes that does not compress well.
func noise(n int) string {
	b := make([]byte, n/4*3)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

func TestGetDiskFull(t *testing.T) {
	disk, ok := steptest.SmallDisk(t, 2<<20)
	if !ok {
		return
	}
	w := newWorld(t)
	w.o.Shared, w.o.Dir = "", filepath.Join(disk, "source")
	require.NoError(t, os.Mkdir(w.o.Dir, 0o775))
	require.NoError(t, os.WriteFile(filepath.Join(w.o.Dir, "mine"), []byte("work of days"), 0o664))
	for name, bytes := range map[string]int{"in the download": 4 << 20, "in the checkout": 1200 << 10} {
		w.commit("main", gittest.Files{"a": noise(bytes)})
		res, f := w.fails(record.DiskFull)
		assert.Contains(t, f.Message, "no space left", name)
		assert.Equal(t, 1, res.Attempts, "it is not tried again")
		assert.Equal(t, "work of days", read(t, w.o.Dir, "mine"))
		assert.Empty(t, leftovers(t, disk, "source"))
	}
	w.commit("main", gittest.Files{"a": "small"})
	assert.Equal(t, "small", read(t, w.mustGet().Dir, "a"))
}
