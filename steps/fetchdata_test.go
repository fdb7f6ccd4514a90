package steps

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/fetch/fetchtest"
	"github.com/step-runner/step-runner/steps/steptest"
)

const (
	fetchToken = "fetch-token/+0123456789"
	fetchChunk = 64 << 10
)

func fetchServer(t testing.TB) *fetchtest.Server {
	t.Helper()
	srv := fetchtest.New()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv
}

func fetchStep(datasets ...string) *FetchData {
	return &FetchData{
		Dataset: datasets, Connections: 4, ChunkSize: fetchChunk, Retries: 3, Stall: fetchTimeout(time.Minute),
		MaxUnpacked: 1 << 30, MaxRatio: 200, MaxEntries: 1000, firstWait: time.Millisecond,
	}
}

// fetchRun returns the record as it is on disk.
func fetchRun(t *testing.T, e *TestEnv, s *FetchData) (*record.Record, []record.Dataset, error) {
	t.Helper()
	_, err := Execute(t.Context(), e.Env, s)
	rec := jobOnDisk(t, e, s.ID())
	facts, ok := rec.Facts.(*record.FetchFacts)
	require.True(t, ok)
	return rec, facts.Datasets, err
}

// fetchFails runs a step that is to fail with this class, and returns the failure.
func fetchFails(t *testing.T, e *TestEnv, s *FetchData, kind record.Kind, exit int) *record.Failure {
	t.Helper()
	rec, _, err := fetchRun(t, e, s)
	require.Error(t, err)
	require.Equal(t, kind, rec.Failure.Kind, rec.Failure.Message)
	assert.Equal(t, exit, record.ExitCode(err))
	assert.NotEmpty(t, rec.Failure.Hint)
	return rec.Failure
}

func fetchRead(t *testing.T, e *TestEnv, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(e.Workspace.Path(append([]string{"datasets"}, elem...)...))
	require.NoError(t, err)
	return b
}

func fetchPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func fetchTarGz(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}))
		_, err := w.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	return b.Bytes()
}

func TestFetchDataRanges(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	data := fetchtest.Random(10*fetchChunk+77, 1)
	u := srv.Put("/d/cells.bin", data)
	_, got, err := fetchRun(t, e, fetchStep("cells="+u+"#sha256="+fetchtest.Sum(data)))
	require.NoError(t, err)
	assert.Equal(t, data, fetchRead(t, e, "cells", "cells.bin"))
	d := got[0]
	assert.Equal(t, fetchtest.Sum(data), d.SHA256)
	assert.EqualValues(t, len(data), d.ReceivedBytes, "each byte comes once")
	assert.Equal(t, 4, d.Connections)
	assert.False(t, d.Cached)
	assert.Len(t, srv.Requests("/d/cells.bin"), 12, "the first byte, and each chunk")
	for _, r := range srv.Requests("/d/cells.bin")[1:] {
		assert.NotEmpty(t, r.Header.Get("If-Range"))
	}

	// Again in another run: the server is asked for the version only.
	e.Run, err = e.Workspace.OpenRun("second")
	require.NoError(t, err)
	_, got, err = fetchRun(t, e, fetchStep("cells="+u))
	require.NoError(t, err)
	assert.True(t, got[0].Cached)
	assert.True(t, got[0].Kept)
	assert.Zero(t, got[0].ReceivedBytes)
	assert.Len(t, srv.Requests("/d/cells.bin"), 13)

	// With a digest it is not even asked.
	srv.Close()
	_, got, err = fetchRun(t, e, fetchStep("cells="+u+"#sha256="+fetchtest.Sum(data)))
	require.NoError(t, err)
	assert.True(t, got[0].Cached)
}

func TestFetchDataNewVersion(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	u := srv.Put("/a.bin", fetchtest.Random(3*fetchChunk, 1))
	_, _, err := fetchRun(t, e, fetchStep("a="+u))
	require.NoError(t, err)
	other := fetchtest.Random(3*fetchChunk, 2)
	srv.Put("/a.bin", other)
	_, got, err := fetchRun(t, e, fetchStep("a="+u))
	require.NoError(t, err)
	assert.False(t, got[0].Cached)
	assert.Empty(t, got[0].Backup)
	assert.Equal(t, other, fetchRead(t, e, "a", "a.bin"))
}

// TestFetchDataChangedFiles is a notebook that writes into its dataset, which has
// the file in common with the cache.
func TestFetchDataChangedFiles(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string){
		"truncated": func(t *testing.T, dir string) { require.NoError(t, os.Truncate(filepath.Join(dir, "a.bin"), 100)) },
		"changed": func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, "a.bin"), os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("changed"), 5)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		},
		"one more": func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "small.h5ad"), nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv, e := fetchServer(t), NewTestEnv(t)
			data := fetchtest.Random(3*fetchChunk, 1)
			u := srv.Put("/a.bin", data)
			_, got, err := fetchRun(t, e, fetchStep("a="+u))
			require.NoError(t, err)
			require.NoError(t, os.Chmod(filepath.Join(got[0].Dir, "a.bin"), 0o600))
			change(t, got[0].Dir)
			rec, got, err := fetchRun(t, e, fetchStep("a="+u))
			require.NoError(t, err)
			assert.Equal(t, data, fetchRead(t, e, "a", "a.bin"))
			assert.NoFileExists(t, e.Workspace.Path("datasets", "a", "small.h5ad"))
			assert.DirExists(t, got[0].Backup, "what somebody made of it is not lost")
			assert.NotEmpty(t, rec.Notes)
		})
	}
}

func TestFetchDataWithoutRanges(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	data := fetchtest.Random(5*fetchChunk, 1)
	srv.Put("/a.bin", data)
	u := srv.Handle("/a.bin", fetchtest.WithoutRanges(srv.File))
	rec, got, err := fetchRun(t, e, fetchStep("a="+u))
	require.NoError(t, err)
	assert.Equal(t, data, fetchRead(t, e, "a", "a.bin"))
	assert.Equal(t, 1, got[0].Connections)
	assert.Contains(t, strings.Join(rec.Notes, "\n"), "no ranges")

	var calls atomic.Int32
	srv.Handle("/b.bin", func(w http.ResponseWriter, r *http.Request) {
		h := fetchtest.WithoutRanges(srv.File)
		if calls.Add(1) == 1 {
			h = fetchtest.Cut(h, 100_000)
		}
		h(w, r)
	})
	_, got, err = fetchRun(t, e, fetchStep("b="+srv.Put("/b.bin", data)))
	require.NoError(t, err)
	assert.Equal(t, data, fetchRead(t, e, "b", "b.bin"))
	assert.Equal(t, 1, got[0].Retries)
}

// TestFetchDataTruncated is a server that breaks off each answer.
func TestFetchDataTruncated(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	data := fetchtest.Random(5*fetchChunk, 1)
	srv.Put("/a.bin", data)
	u := srv.Handle("/a.bin", fetchtest.Cut(srv.File, fetchChunk/2))
	_, got, err := fetchRun(t, e, fetchStep("a="+u))
	require.NoError(t, err, "each try brings some blocks")
	assert.Equal(t, data, fetchRead(t, e, "a", "a.bin"))
	assert.Positive(t, got[0].Retries)

	srv.Put("/b.bin", data)
	u = srv.Handle("/b.bin", fetchtest.WithoutRanges(fetchtest.Cut(srv.File, 100)))
	f := fetchFails(t, e, fetchStep("b="+u), record.FetchFailed, 35)
	assert.Contains(t, f.Message, "tried 4 times")
	assert.NoDirExists(t, e.Workspace.Path("datasets", "b"))
}

// TestFetchDataEndUnknown is a server that ends an answer by closing the connection.
func TestFetchDataEndUnknown(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	u := srv.Handle("/a.bin", func(w http.ResponseWriter, _ *http.Request) {
		conn, out, err := http.NewResponseController(w).Hijack()
		if err == nil {
			out.WriteString("HTTP/1.0 200 OK\r\n\r\nhalf of ")
			out.Flush()
			conn.Close()
		}
	})
	fetchFails(t, e, fetchStep("a="+u), record.FetchFailed, 35)
	_, _, err := fetchRun(t, e, fetchStep("a="+u+"#sha256="+fetchtest.Sum([]byte("half of "))))
	require.NoError(t, err)
}

func TestFetchDataStatuses(t *testing.T) {
	for status, want := range map[int]struct {
		kind record.Kind
		exit int
		asks int
	}{
		401: {record.FetchAuth, 36, 1}, 403: {record.FetchAuth, 36, 1},
		404: {record.FetchNotFound, 37, 1}, 410: {record.FetchNotFound, 37, 1},
		400: {record.FetchFailed, 35, 1}, 429: {record.FetchFailed, 35, 4}, 503: {record.FetchFailed, 35, 4},
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			srv, e := fetchServer(t), NewTestEnv(t)
			u := srv.Handle("/a.bin", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			f := fetchFails(t, e, fetchStep("a="+u+"?X-Amz-Signature=0123456789abcdef"), want.kind, want.exit)
			assert.Contains(t, f.Message, "dataset a from "+u)
			assert.NotContains(t, f.Message, "0123456789abcdef")
			assert.Len(t, srv.Requests("/a.bin"), want.asks)
		})
	}
}

func TestFetchDataTooManyRequests(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	data := fetchtest.Random(8*fetchChunk, 1)
	srv.Put("/a.bin", data)
	var calls atomic.Int32
	var asked atomic.Int64
	u := srv.Handle("/a.bin", func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) {
		case 3:
			asked.Store(time.Now().UnixNano())
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			srv.File(w, r)
		}
	})
	s := fetchStep("a=" + u)
	s.Connections = 1
	_, got, err := fetchRun(t, e, s)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, time.Now().UnixNano()-asked.Load(), int64(time.Second), "Retry-After is kept")
	assert.Equal(t, 1, got[0].Retries)
	assert.Equal(t, data, fetchRead(t, e, "a", "a.bin"))
}

// TestFetchDataChangesInTheMiddle is a file that is replaced while it is fetched:
// nothing of the old one may be in the new one.
func TestFetchDataChangesInTheMiddle(t *testing.T) {
	before, after := fetchtest.Random(12*fetchChunk, 1), fetchtest.Random(12*fetchChunk, 2)
	for name, ignored := range map[string]string{"": "None", "and the server ignores If-Range": "If-Range"} {
		t.Run(name, func(t *testing.T) {
			srv, e := fetchServer(t), NewTestEnv(t)
			srv.Put("/a.bin", before)
			var calls atomic.Int32
			u := srv.Handle("/a.bin", func(w http.ResponseWriter, r *http.Request) {
				r.Header.Del(ignored)
				if calls.Add(1) == 5 {
					srv.Put("/a.bin", after)
				}
				srv.File(w, r)
			})
			_, got, err := fetchRun(t, e, fetchStep("a="+u))
			require.NoError(t, err)
			assert.Equal(t, after, fetchRead(t, e, "a", "a.bin"))
			assert.Equal(t, 1, got[0].Restarts)
		})
	}
}

// TestFetchDataNeverTheSame is a file that is another one in each answer.
func TestFetchDataNeverTheSame(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	var version atomic.Uint64
	u := srv.Handle("/b.bin", func(w http.ResponseWriter, r *http.Request) {
		srv.Put("/b.bin", fetchtest.Random(4*fetchChunk, 10+version.Add(1)))
		srv.File(w, r)
	})
	f := fetchFails(t, e, fetchStep("b="+u), record.FetchFailed, 35)
	assert.Contains(t, f.Message, "changes at the server")
}

func TestFetchDataStalled(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	data := fetchtest.Random(6*fetchChunk, 1)
	srv.Put("/a.bin", data)
	var calls atomic.Int32
	u := srv.Handle("/a.bin", func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 2 {
			fetchtest.Stall(srv.File, fetchChunk/2)(w, r)
			return
		}
		srv.File(w, r)
	})
	s := fetchStep("a=" + u)
	s.Stall, s.Retries = fetchTimeout(time.Second), 20
	_, got, err := fetchRun(t, e, s)
	require.NoError(t, err)
	assert.Positive(t, got[0].Retries)
	assert.Equal(t, data, fetchRead(t, e, "a", "a.bin"))

	srv.Put("/b.bin", data)
	s = fetchStep("b=" + srv.Handle("/b.bin", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	s.Stall, s.Retries = fetchTimeout(50*time.Millisecond), 1
	f := fetchFails(t, e, s, record.FetchFailed, 35)
	assert.Contains(t, f.Message, "sent nothing")

	s = fetchStep("b=" + srv.URL + "/b.bin")
	s.Timeout = fetchTimeout(50 * time.Millisecond)
	fetchFails(t, e, s, record.TimedOut, 124)
}

func TestFetchDataChecksum(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	data := fetchtest.Random(3*fetchChunk, 1)
	u := srv.Put("/a.bin", data)
	s := fetchStep("a=" + u)
	s.SHA256 = []string{"a=" + fetchtest.Sum([]byte("other"))}
	f := fetchFails(t, e, s, record.ChecksumMismatch, 38)
	assert.Contains(t, f.Message, fetchtest.Sum(data))
	assert.NoDirExists(t, e.Workspace.Path("datasets", "a"))
	entries, err := filepath.Glob(e.Workspace.Path("cache", "datasets", "*", "*"))
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestFetchDataToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(fetchToken+"\n"), 0o600))
	srv, other, e := fetchServer(t), fetchServer(t), NewTestEnv(t)
	data := fetchtest.Random(3*fetchChunk, 1)
	srv.Put("/a.bin", data)
	other.Put("/storage.bin", data)
	guarded := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+fetchToken {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			next(w, r)
		}
	}
	u := srv.Handle("/a.bin", guarded(srv.File))
	away := srv.Handle("/away.bin", guarded(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/storage.bin", http.StatusFound)
	}))
	fetchFails(t, e, fetchStep("a="+u), record.FetchAuth, 36)
	s := fetchStep("a="+u, "away="+away)
	s.TokenFile = file
	_, _, err := fetchRun(t, e, s)
	require.NoError(t, err)
	assert.Equal(t, data, fetchRead(t, e, "away", "away.bin"))
	require.NotEmpty(t, other.Requests("/storage.bin"))
	for _, r := range other.Requests("/storage.bin") {
		assert.Empty(t, r.Header.Get("Authorization"))
		assert.Empty(t, r.Header.Get("Referer"))
	}

	s = fetchStep("a="+u, "b="+other.URL+"/storage.bin")
	s.TokenFile = file
	fetchFails(t, e, s, record.Usage, 2)
	s = fetchStep("a=http://data.example.com/a.bin")
	s.TokenFile = file
	fetchFails(t, e, s, record.BadInput, 10)
	cloneNoToken(t, e, fetchToken)

	// In the URL itself it is for this host too.
	basic := srv.Handle("/basic.bin", func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != fetchToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		srv.File(w, r)
	})
	srv.Put("/basic.bin", data)
	_, _, err = fetchRun(t, e, fetchStep("basic="+strings.Replace(basic, "://", "://me:"+url.QueryEscape(fetchToken)+"@", 1)))
	require.NoError(t, err)
	cloneNoToken(t, e, fetchToken)
}

// TestFetchDataNoDowngrade is a redirect from https to plain http.
func TestFetchDataNoDowngrade(t *testing.T) {
	plain, e := fetchServer(t), NewTestEnv(t)
	tls := httptest.NewTLSServer(http.RedirectHandler(plain.Put("/a.bin", []byte("data")), http.StatusFound))
	defer tls.Close()
	s := fetchStep("a=" + tls.URL + "/a.bin")
	s.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(s.CAFile, fetchPEM(tls.Certificate().Raw), 0o600))
	f := fetchFails(t, e, s, record.FetchFailed, 35)
	assert.Contains(t, f.Message, "plain http")
	assert.Empty(t, plain.Requests("/a.bin"))

	s = fetchStep("a=" + tls.URL + "/a.bin")
	f = fetchFails(t, e, s, record.FetchFailed, 35)
	assert.Contains(t, f.Hint, "--ca-file")
}

func TestFetchDataDiskFull(t *testing.T) {
	dir, ok := steptest.SmallDisk(t, 2<<20)
	if !ok {
		return
	}
	srv, e := fetchServer(t), NewTestEnv(t)
	var err error
	e.Workspace, err = artifacts.OpenWorkspace(dir)
	require.NoError(t, err)
	e.Run, err = e.Workspace.OpenRun("small")
	require.NoError(t, err)
	data := fetchtest.Random(3<<20, 1)
	srv.Put("/a.bin", data)
	f := fetchFails(t, e, fetchStep("a="+srv.URL+"/a.bin"), record.DiskFull, 13)
	assert.Contains(t, f.Message, "needed", "told before the download")
	assert.Len(t, srv.Requests("/a.bin"), 1)

	// The server does not say how much will come.
	u := srv.Handle("/b.bin", func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(data)
	})
	fetchFails(t, e, fetchStep("b="+u), record.DiskFull, 13)

	// The archive fits, what is in it does not.
	u = srv.Put("/c.tar.gz", fetchTarGz(t, map[string]string{"zeros": strings.Repeat("0", 4<<20)}))
	require.NoError(t, os.RemoveAll(e.Workspace.Path("cache", "datasets")))
	fetchFails(t, e, fetchStep("c="+u), record.DiskFull, 13)
	left, err := os.ReadDir(e.Workspace.Path("datasets"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestFetchDataNotWhatItSays(t *testing.T) {
	page := []byte("<!DOCTYPE html><title>Log in</title>")
	srv, e := fetchServer(t), NewTestEnv(t)
	for _, name := range []string{"a.h5ad", "a.tar.gz", "a.tar.zst", "a.zip", "a.tar"} {
		f := fetchFails(t, e, fetchStep("a="+srv.Put("/"+name, page)), record.DatasetInvalid, 39)
		assert.Contains(t, f.Message, name)
	}
	fetchFails(t, e, fetchStep("a="+srv.Put("/empty.bin", nil)), record.DatasetInvalid, 39)
	assert.NoDirExists(t, e.Workspace.Path("datasets", "a"))
}

// TestFetchDataOneOfMany goes on with the others.
func TestFetchDataOneOfMany(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	s := fetchStep()
	s.URLs = srv.Put("/one.bin", []byte("1")) + "," + srv.URL + "/missing.bin\n " + srv.Put("/two.tgz", fetchTarGz(t, map[string]string{"x/y": "2"}))
	s.Names = "first, second third"
	f := fetchFails(t, e, s, record.FetchNotFound, 37)
	assert.Contains(t, f.Message, "dataset second")
	assert.Equal(t, "1", string(fetchRead(t, e, "first", "one.bin")))
	assert.Equal(t, "2", string(fetchRead(t, e, "third", "x", "y")))
}

func TestFetchDataFlags(t *testing.T) {
	for name, s := range map[string]*FetchData{
		"none":           fetchStep(),
		"no name":        fetchStep("https://x.example/a=b"),
		"twice":          fetchStep("a=https://x.example/1", "a=https://x.example/2"),
		"unknown digest": {Dataset: []string{"a=https://x.example/1"}, SHA256: []string{"b=00"}, Connections: 1, ChunkSize: 1, MaxRatio: 1, MaxEntries: 1, Stall: 1},
		"zero":           {Dataset: []string{"a=https://x.example/1"}},
		"too few names":  {URLs: "https://x.example/1 https://x.example/2", Names: "a", Connections: 1, ChunkSize: 1, MaxRatio: 1, MaxEntries: 1, Stall: 1},
	} {
		t.Run(name, func(t *testing.T) { fetchFails(t, NewTestEnv(t), s, record.Usage, 2) })
	}
	for name, u := range map[string]string{
		"scheme": "ftp://x.example/a", "digest": "https://x.example/a#sha256=12", "option": "https://x.example/a#what=1",
		"format": "https://x.example/a#format=rar", "file": "https://x.example/a#file=../b", "no file": "https://x.example/",
	} {
		t.Run(name, func(t *testing.T) { fetchFails(t, NewTestEnv(t), fetchStep("a="+u), record.BadInput, 10) })
	}
	fetchFails(t, NewTestEnv(t), fetchStep("../a=https://x.example/a"), record.Usage, 2)
	fetchFails(t, NewTestEnv(t), fetchStep("..=https://x.example/a"), record.BadInput, 10)
	var d fetchTimeout
	require.NoError(t, d.UnmarshalText([]byte("3600")))
	assert.Equal(t, fetchTimeout(time.Hour), d)
	require.Error(t, d.UnmarshalText([]byte("-5s")))
}

func TestFetchDataTwoRunsAtOnce(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	data := fetchtest.Random(20*fetchChunk, 1)
	u := srv.Put("/a.tar.gz", fetchTarGz(t, map[string]string{"data": string(data)}))
	var wg sync.WaitGroup
	for _, id := range []string{"one", "two", "three"} {
		own := *e.Env
		var err error
		own.Run, err = e.Workspace.OpenRun(id)
		require.NoError(t, err)
		wg.Go(func() {
			_, err := Execute(context.Background(), &own, fetchStep("a="+u))
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	spans := map[string]int{}
	for _, r := range srv.Requests("/a.tar.gz") {
		spans[fetchtest.Span(r)]++
	}
	for span, n := range spans {
		if span != "0-0" {
			assert.Equal(t, 1, n, span)
		}
	}
	assert.Equal(t, data, fetchRead(t, e, "a", "data"))
}

// TestFetchDataChild is the process that TestFetchDataKilled kills.
func TestFetchDataChild(t *testing.T) {
	dir, u := os.Getenv("FETCHTEST_WORKSPACE"), os.Getenv("FETCHTEST_URL")
	if dir == "" {
		t.Skip("it is run by TestFetchDataKilled")
	}
	e := NewTestEnv(t)
	var err error
	e.Workspace, err = artifacts.OpenWorkspace(dir)
	require.NoError(t, err)
	e.Run, err = e.Workspace.OpenRun("killed")
	require.NoError(t, err)
	_, _, err = fetchRun(t, e, fetchStep("a="+u))
	t.Fatal("it was not killed", err)
}

// TestFetchDataKilled kills a download when each of its four connections has two
// and a half of a chunk's four blocks.
func TestFetchDataKilled(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	data := fetchtest.Random(12*fetchChunk, 1)
	srv.Put("/a.bin", data)
	u := srv.Handle("/a.bin", func(w http.ResponseWriter, r *http.Request) {
		if fetchtest.Span(r) == "0-0" {
			srv.File(w, r)
			return
		}
		fetchtest.Stall(srv.File, fetchChunk*5/8)(w, r)
	})
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestFetchDataChild$")
	cmd.Env = append(os.Environ(), "FETCHTEST_WORKSPACE="+e.Workspace.Dir, "FETCHTEST_URL="+u)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	journal := filepath.Join(e.Workspace.Path("cache", "datasets"), "*", "journal")
	reached := assert.Eventually(t, func() bool {
		found, _ := filepath.Glob(journal)
		if len(found) == 0 {
			return false
		}
		b, err := os.ReadFile(found[0])
		return err == nil && bytes.Count(b, []byte("\n")) == 1+8
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.True(t, reached, out.String())

	srv.Handle("/a.bin", srv.File)
	_, got, err := fetchRun(t, e, fetchStep("a="+u+"#sha256="+fetchtest.Sum(data)))
	require.NoError(t, err)
	const block = fetchChunk / 4
	assert.EqualValues(t, 8*block, got[0].ResumedBytes, "of 2.5 blocks on each of four connections, half a chunk is lost")
	assert.EqualValues(t, len(data)-8*block, got[0].ReceivedBytes)
	assert.Equal(t, data, fetchRead(t, e, "a", "a.bin"))
}

// TestFetchDataFileLostInCrash is a machine that went down: the journal is there,
// and blocks that it lists are not.
func TestFetchDataFileLostInCrash(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	data := fetchtest.Random(8*fetchChunk, 1)
	srv.Put("/a.bin", data)
	var calls atomic.Int32
	u := srv.Handle("/a.bin", func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) > 5 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		srv.File(w, r)
	})
	s := fetchStep("a=" + u)
	s.Connections = 1
	fetchFails(t, e, s, record.FetchFailed, 35)
	found, err := filepath.Glob(e.Workspace.Path("cache", "datasets", "*", "data"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	f, err := os.OpenFile(found[0], os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 4096), fetchChunk)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	srv.Handle("/a.bin", srv.File)
	_, got, err := fetchRun(t, e, s)
	require.NoError(t, err)
	assert.EqualValues(t, 3*fetchChunk, got[0].ResumedBytes)
	assert.Equal(t, data, fetchRead(t, e, "a", "a.bin"))
}

// TestFetchDataRecordHoldsNoSignature looks at all that a signed URL leaves.
func TestFetchDataRecordHoldsNoSignature(t *testing.T) {
	srv, e := fetchServer(t), NewTestEnv(t)
	const signature = "c2lnbmF0dXJlLTAxMjM0"
	u := srv.Put("/a.bin", []byte("data")) + "?X-Amz-Signature="
	_, _, err := fetchRun(t, e, fetchStep("a="+u+signature))
	require.NoError(t, err)
	cloneNoToken(t, e, signature)
	_, got, err := fetchRun(t, e, fetchStep("a="+u+"b3RoZXItc2lnbmF0dXJl"))
	require.NoError(t, err)
	assert.True(t, got[0].Cached, "signed anew, it is the same file")
	b, err := json.Marshal(got)
	require.NoError(t, err)
	assert.NotContains(t, string(b), "b3RoZXItc2lnbmF0dXJl")
}
