package fetch

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/fetch/fetchtest"
)

func TestParseSource(t *testing.T) {
	digest := strings.Repeat("0a", 32)
	for text, want := range map[string]Source{
		"https://x.example/d/cells.h5ad":                                         {Name: "cells", Format: Plain, File: "cells.h5ad"},
		"https://x.example/cells.tar.gz?sig=1#sha256=" + strings.ToUpper(digest): {Name: "cells", Format: TarGz, File: "cells.tar.gz", SHA256: digest},
		"http://x.example/C.TGZ":                                                 {Name: "C", Format: TarGz, File: "C.TGZ"},
		"http://x.example/c.tar.zst":                                             {Name: "c", Format: TarZst, File: "c.tar.zst"},
		"http://x.example/c.zip":                                                 {Name: "c", Format: Zip, File: "c.zip"},
		"http://x.example/c.zip#format=plain":                                    {Name: "c", Format: Plain, File: "c.zip"},
		"http://x.example/files/123?download=1#format=plain&file=census.h5ad":    {Name: "123", Format: Plain, File: "census.h5ad"},
	} {
		s, err := ParseSource("", text)
		require.NoError(t, err, text)
		assert.Equal(t, want, Source{Name: s.Name, Format: s.Format, File: s.File, SHA256: s.SHA256}, text)
		assert.Empty(t, s.URL.Fragment)
	}
}

func TestSourceKeepsItsSecrets(t *testing.T) {
	s, err := ParseSource("a", "https://user:pass%2Fword@x.example/a.bin?X-Amz-Signature=0123456789&v=2")
	require.NoError(t, err)
	assert.Equal(t, "https://x.example/a.bin", s.String())
	assert.ElementsMatch(t, []string{"pass/word", "0123456789"}, s.Secrets())
	keys := map[string]bool{}
	for _, query := range []string{"v=2", "v=3", "v=2&X-Amz-Signature=other&X-Amz-Date=1", "v=2&sig=1&se=2", ""} {
		o, err := ParseSource("a", "https://x.example/a.bin?"+query)
		require.NoError(t, err)
		keys[o.Key()] = true
	}
	assert.Len(t, keys, 3, "v=2, v=3 and none")
}

func FuzzParseSource(f *testing.F) {
	f.Add("a", "https://u:p@x.example/a.tar.gz?sig=x#sha256=00&file=b")
	f.Add("", "http://x.example/%2e%2e")
	f.Fuzz(func(t *testing.T, name, text string) {
		s, err := ParseSource(name, text)
		if err != nil {
			require.Contains(t, []record.Kind{record.BadInput}, record.AsFailure(err).Kind)
			return
		}
		require.True(t, filepath.IsLocal(s.Name) && !strings.ContainsAny(s.Name, "/\x00"), s.Name)
		require.True(t, s.Format != Plain || filepath.IsLocal(s.File) && !strings.ContainsAny(s.File, "/\x00"), s.File)
		require.NotContains(t, s.String(), "?")
		require.NotEmpty(t, s.Key())
	})
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte("{\"version\":{\"size\":10},\"block\":4}\n0 deadbeef\n1 0000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		j, ok := parseJournal(data)
		if !ok {
			return
		}
		require.Positive(t, j.header.Block)
		dir := t.TempDir()
		log, err := j.open(filepath.Join(dir, "journal"))
		require.NoError(t, err)
		defer log.Close()
		again, err := os.ReadFile(filepath.Join(dir, "journal"))
		require.NoError(t, err)
		k, ok := parseJournal(again)
		require.True(t, ok)
		require.Equal(t, j, k)
	})
}

// TestJournalCutAnywhere is a kill at every byte of a journal: no line means
// another block than it did when it was whole.
func TestJournalCutAnywhere(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("{\"version\":{\"size\":1000},\"block\":10}\n")
	sums := map[int]uint32{}
	for i := range 30 {
		sums[i*7%100] = crc32.ChecksumIEEE([]byte{byte(i)})
		fmt.Fprintln(&b, journalLine(i*7%100, sums[i*7%100]))
	}
	for n := range b.Len() {
		j, _ := parseJournal(b.Bytes()[:n])
		for i, sum := range j.sums {
			assert.Equal(t, sums[i], sum)
		}
	}
}

// TestPartHashesInOrder puts the blocks in every kind of order.
func TestPartHashesInOrder(t *testing.T) {
	data := fetchtest.Random(10*100+7, 1)
	for name, order := range map[string][]int{
		"forward": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, "backward": {10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, "mixed": {3, 0, 10, 2, 1, 7, 9, 8, 4, 6, 5},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := openPart(t.TempDir(), version{Size: int64(len(data))}, 100, 20, false)
			require.NoError(t, err)
			defer p.close()
			for _, i := range order {
				require.NoError(t, p.put(i, bytes.Clone(data[i*100:min(i*100+100, len(data))])))
			}
			assert.Equal(t, fetchtest.Sum(data), p.sum())
			assert.Empty(t, p.waiting)
		})
	}
}

// TestPartWindow is the bound on what waits in memory.
func TestPartWindow(t *testing.T) {
	p, err := openPart(t.TempDir(), version{Size: 1000}, 100, 3, false)
	require.NoError(t, err)
	defer p.close()
	require.NoError(t, p.room(t.Context(), 2))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.room(ctx, 3), context.Canceled)
	done := make(chan error)
	go func() { done <- p.room(t.Context(), 3) }()
	require.NoError(t, p.put(0, make([]byte, 100)))
	require.NoError(t, <-done)
}

func TestVersion(t *testing.T) {
	assert.Equal(t, `"a"`, version{ETag: `"a"`, LastModified: "then"}.ifRange())
	assert.Equal(t, "then", version{ETag: `W/"a"`, LastModified: "then"}.ifRange(), "a weak one is not for ranges")
	assert.False(t, version{Size: 5}.known())
	assert.False(t, version{Size: -1, ETag: `"a"`}.known())
}
