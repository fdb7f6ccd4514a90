package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
)

// Options say how one file is fetched.
type Options struct {
	// Dir is the file's own directory in the cache. Whoever calls Get has its lock.
	Dir string
	// Connections is how many ranges are fetched at once.
	Connections int
	// Chunk is the length of one range in bytes.
	Chunk int64
	// Progress is told, by several goroutines, how much there is; total is -1 when
	// it is not known.
	Progress func(done, total int64)
	// Note is told what a reader of the record should know.
	Note func(format string, args ...any)
}

// Result is a file in the cache.
type Result struct {
	Path                           string
	Bytes                          int64
	SHA256                         string
	ETag, LastModified             string
	Cached                         bool
	Received, Resumed              int64
	Connections, Retries, Restarts int
	Seconds                        float64
}

// maxRestarts is how often a download begins again because the file has changed.
const maxRestarts = 3

// download is one call of Get.
type download struct {
	*Client
	Options
	source   Source
	head     *head
	result   Result
	received atomic.Int64
	retries  atomic.Int64
}

// Get brings the source's file into the cache, unless it is there already: with
// the digest that is asked for, or in the version that the server has now. A
// download that was killed is gone on with. The result is filled in also on an
// error, as far as it is known.
func (c *Client) Get(ctx context.Context, s Source, o Options) (Result, error) {
	g := &download{Client: c, Options: o, source: s}
	start := time.Now()
	err := os.MkdirAll(o.Dir, 0o775)
	if err == nil {
		err = g.run(ctx)
	}
	if errors.Is(err, errChanged) {
		err = record.Failf(record.FetchFailed, "%w (begun %d times)", errChanged, maxRestarts+1)
	}
	r := &g.result
	r.Received, r.Retries, r.Seconds = g.received.Load(), int(g.retries.Load()), time.Since(start).Seconds()
	return *r, err
}

func (g *download) run(ctx context.Context) error {
	old := readEntry(g.Dir)
	if old != nil && g.source.SHA256 != "" && old.SHA256 == g.source.SHA256 && g.hit(old) {
		return nil // Whatever the server has now, this is what was asked for.
	}
	for {
		if err := g.probe(ctx); err != nil {
			return err
		}
		err := g.fetch(ctx, old)
		g.head.close()
		if !errors.Is(err, errChanged) || g.result.Restarts >= maxRestarts {
			return err
		}
		g.result.Restarts++
		g.Log.Warn("the file has changed at the server; the download begins again")
	}
}

// fetch takes the version that the head tells of from the cache or the server.
func (g *download) fetch(ctx context.Context, old *entry) error {
	v := g.head.version
	g.result.ETag, g.result.LastModified = v.ETag, v.LastModified
	wanted := g.source.SHA256
	if old != nil && v.known() && old.Version == v && (wanted == "" || wanted == old.SHA256) && g.hit(old) {
		return nil
	}
	if v.Size == 0 {
		return record.Failf(record.DatasetInvalid, "the server's file is empty")
	}
	if !g.head.ranges {
		return g.single(ctx)
	}
	return g.parallel(ctx)
}

// hit takes the file from the cache when it is still what it was.
func (g *download) hit(e *entry) bool {
	if !e.intact(g.Dir) {
		g.Note("%s in the cache is not what was fetched; it is fetched again", g.source)
		return false
	}
	r := &g.result
	r.Path, r.Bytes, r.SHA256, r.Cached = dataPath(g.Dir), e.Bytes, e.SHA256, true
	r.ETag, r.LastModified = e.Version.ETag, e.Version.LastModified
	return true
}

// probe asks for the first byte: the answer says what the file is, and whether
// there are ranges. Not every server that gives files answers HEAD.
func (g *download) probe(ctx context.Context) error {
	return g.again(ctx, noProgress, g.retried, func(ctx context.Context) error {
		res, err := g.get(ctx, g.source, "bytes=0-0", "")
		if s := (*statusError)(nil); errors.As(err, &s) && s.res.StatusCode == http.StatusRequestedRangeNotSatisfiable && strings.HasSuffix(s.res.Header.Get("Content-Range"), "/0") {
			return record.Failf(record.DatasetInvalid, "the server's file is empty")
		}
		if err == nil {
			g.head, err = newHead(res)
		}
		return err
	})
}

func noProgress() int64 { return 0 }

func (g *download) retried() { g.retries.Add(1) }

// parallel fetches the ranges that are missing.
func (g *download) parallel(ctx context.Context) error {
	chunkBlocks := max(1, g.Connections)
	block := max(1, g.Chunk/int64(chunkBlocks))
	// A kill loses at most one block of each connection: one chunk in all.
	v := g.head.version
	p, err := openPart(g.Dir, v, block, 2*g.Connections*chunkBlocks, v.known() || g.source.SHA256 != "")
	if err != nil {
		return err
	}
	defer p.close()
	g.result.Resumed = p.received()
	if err := g.space(v.Size - p.received()); err != nil {
		return err
	}
	g.result.Connections = min(g.Connections, (len(p.done)+chunkBlocks-1)/chunkBlocks)
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range g.result.Connections {
		group.Go(func() error {
			for {
				from := int(next.Add(1)-1) * chunkBlocks
				if from >= len(p.done) {
					return nil
				}
				if err := g.chunk(ctx, p, from, from+chunkBlocks); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return g.finish(p.f, p.sum(), p.received())
}

// chunk fetches what is missing of the blocks in [from, to). A try counts as
// vain when nothing has come on any connection: a server may serve a few at a time.
func (g *download) chunk(ctx context.Context, p *part, from, to int) error {
	if err := p.room(ctx, from); err != nil {
		return err
	}
	return g.again(ctx, p.received, g.retried, func(ctx context.Context) error {
		for {
			first, end := p.missing(from, to)
			if first == end {
				return nil
			}
			if err := g.span(ctx, p, first, end); err != nil {
				return err
			}
		}
	})
}

func (g *download) span(ctx context.Context, p *part, first, end int) error {
	v := g.head.version
	from, to := int64(first)*p.block, min(int64(end)*p.block, p.size)
	res, err := g.get(ctx, g.source, fmt.Sprintf("bytes=%d-%d", from, to-1), v.ifRange())
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return errChanged
	}
	begin, total, err := contentRange(res)
	if err != nil {
		return err
	}
	if versionOf(res, total) != v {
		return errChanged
	}
	if begin != from {
		return record.Failf(record.FetchFailed, "the server gives another range than it was asked for")
	}
	body := &counter{res.Body, &g.received}
	err = p.readBlocks(body, first, end, func() { g.Progress(p.received(), p.size) })
	if err == nil {
		// The connection can be used again once its end was seen.
		_, _ = body.Read(make([]byte, 1))
	}
	return err
}

// finish makes the file one of the cache, if it has the digest that it should.
func (g *download) finish(f *os.File, sum string, n int64) error {
	r := &g.result
	r.Path, r.Bytes, r.SHA256 = dataPath(g.Dir), n, sum
	if want := g.source.SHA256; want != "" && want != sum {
		err := record.Failf(record.ChecksumMismatch, "its sha256 is %s, and %s was asked for", sum, want)
		return errors.Join(err, wipe(g.Dir))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	e := entry{URL: g.source.String(), Version: g.head.version, SHA256: sum, Bytes: n}
	if err := e.write(g.Dir); err != nil {
		return err
	}
	if err := os.Remove(journalPath(g.Dir)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return f.Chmod(0o444) // Others will have links to it.
}

// space says whether need bytes are free.
func (g *download) space(need int64) error { return Space(g.Dir, need) }

// Space is a DiskFull failure when fewer than need bytes are free where dir is.
func Space(dir string, need int64) error {
	var fs unix.Statfs_t
	// If it cannot be asked, writing will tell.
	known := unix.Statfs(dir, &fs) == nil
	if free := int64(fs.Bavail) * fs.Bsize; known && free < need {
		return record.Failf(record.DiskFull, "%s are needed, and %s are free", units.Bytes(need), units.Bytes(free))
	}
	return nil
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}
