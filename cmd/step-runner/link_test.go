package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/steps/steptest"
)

// glibcMinor is that of the oldest glibc, 2.x, that the binary must start on:
// RHEL 9 and Ubuntu 22.04 have it or a newer one.
const glibcMinor = 34

// built is the binary that the Makefile builds, with cgo or without.
func built(t *testing.T, cgo string) (*elf.File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "step-runner")
	cmd := exec.Command("make", "-s", "-C", steptest.Root(t), "build", "BINARY="+path)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	f, err := elf.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f, path
}

// With cgo the binary binds lazily, or NVML's symbols would end it where there
// is no driver, and needs no newer glibc than images have.
func TestLinkedWithCgo(t *testing.T) {
	f, path := built(t, "1")
	for _, tag := range []elf.DynTag{elf.DT_FLAGS, elf.DT_FLAGS_1} {
		flags, err := f.DynValue(tag)
		require.NoError(t, err)
		for _, v := range flags {
			assert.Zero(t, v&map[elf.DynTag]uint64{elf.DT_FLAGS: uint64(elf.DF_BIND_NOW), elf.DT_FLAGS_1: uint64(elf.DF_1_NOW)}[tag], "%v", tag)
		}
	}
	symbols, err := f.ImportedSymbols()
	require.NoError(t, err)
	versioned := 0
	for _, s := range symbols {
		if minor, ok := strings.CutPrefix(s.Version, "GLIBC_2."); ok {
			minor, _, _ = strings.Cut(minor, ".")
			n, err := strconv.Atoi(minor)
			require.NoError(t, err)
			assert.LessOrEqual(t, n, glibcMinor, s.Name)
			versioned++
		}
	}
	assert.Positive(t, versioned)
	out, err := exec.Command(path, "version").CombinedOutput()
	assert.NoError(t, err, "%s", out)
}

// Without cgo the binary is static: it starts in any image.
func TestLinkedWithoutCgo(t *testing.T) {
	f, path := built(t, "0")
	libraries, err := f.ImportedLibraries()
	require.NoError(t, err)
	assert.Empty(t, libraries)
	assert.Nil(t, f.Section(".interp"))
	out, err := exec.Command(path, "version").CombinedOutput()
	assert.NoError(t, err, "%s", out)
}
