package repo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Options say what to clone, whence and whereto.
type Options struct {
	Address     Address
	Credentials *Credentials
	// Revision is a branch, a tag, a full or short commit, or a ref such as
	// pull/7/head. "" is the remote's HEAD.
	Revision string
	// Depth is how many commits of history to fetch; 0 is all of it.
	Depth      int
	Submodules bool
	// Dir is where the clone is to be. When it is "", it is a directory below
	// Shared that is named for the address, the commit, Depth and Submodules.
	Dir, Shared string
	// Clean removes what lay in Dir and was not the wanted clone, when that is in its
	// place; else it is moved beside it, and of such backups MaxBackups are kept.
	Clean      bool
	MaxBackups int
	// Retries is how many failed requests may be tried again, in all.
	Retries int
	// CAFile holds further root certificates, Proxy chooses the proxy for a URL.
	CAFile string
	Proxy  func(*url.URL) (*url.URL, error)
	// Lock takes the lock on the directory dir among all processes that use it, and
	// waits for it until ctx ends.
	Lock func(ctx context.Context, dir string) (unlock func(), err error)
	Log  *slog.Logger
	// Progress is told the bytes received so far.
	Progress func(bytes int64)
	// FirstWait is the wait before the second try, a second when it is 0; each
	// further one is twice as long.
	FirstWait time.Duration
	// Stall is how long the server may be silent, two minutes when it is 0.
	Stall time.Duration
}

// Result is a clone. Attempts is set also when Get fails.
type Result struct {
	Dir           string
	Commit        string
	CommitterDate time.Time
	Reused        bool
	// Backup is where an earlier content of Dir was moved, "" when there was none.
	Backup string
	// Attempts is 1 and one more for each request that was tried again.
	Attempts int
	// LFSPointers are the files that only stand for one in Git LFS.
	LFSPointers []string
	Notes       []string
}

// cloner is one Get.
type cloner struct {
	Options
	transport http.RoundTripper
	retry     *retrier
	received  atomic.Int64
	res       Result
}

// Get brings the repository at the revision to its directory. What was there
// before is there until the new clone is complete, and stays there on an error.
func Get(ctx context.Context, o Options) (Result, error) {
	c := &cloner{Options: o}
	if c.FirstWait == 0 {
		c.FirstWait = firstWait
	}
	if c.Stall == 0 {
		c.Stall = stallAfter
	}
	t, err := NewTransport(o.CAFile, o.Proxy)
	if err != nil {
		return Result{}, err
	}
	defer t.CloseIdleConnections()
	c.transport = t
	c.retry = &retrier{left: o.Retries, first: c.FirstWait, log: o.Log}
	err = c.get(ctx)
	c.res.Attempts = c.retry.used + 1
	return c.res, err
}

func (c *cloner) get(ctx context.Context) error {
	if fullHash.MatchString(c.Revision) {
		// It is known beforehand what is wanted: a clone that is there needs no server.
		if done, err := c.reuse(ctx, plumbing.NewHash(c.Revision)); done || err != nil {
			return err
		}
	}
	r := c.remote(c.Address, c.Credentials)
	if err := r.list(ctx); err != nil {
		return err
	}
	t, note, err := resolve(r.refs, c.Revision)
	if err != nil {
		return in(c.Address, err)
	}
	if note != "" {
		c.res.Notes = append(c.res.Notes, note)
	}
	tmp, err := newTempDir(filepath.Dir(c.dirFor(plumbing.ZeroHash)), c.Log)
	if err != nil {
		return err
	}
	defer tmp.remove()
	if t.prefix != "" {
		if err := c.searchHistory(ctx, r, &t, tmp); err != nil {
			return in(c.Address, err)
		}
	}
	return in(c.Address, c.fresh(ctx, r, t, tmp))
}

// remote is the repository at addr, to be asked with cred.
func (c *cloner) remote(addr Address, cred *Credentials) *remote {
	if cred == nil && c.Credentials != nil && addr.covers(c.Address.u) {
		cred = c.Credentials // A submodule on the same server.
	}
	g := &guard{base: c.transport, origin: addr, cred: cred, stall: c.Stall, log: c.Log, onBytes: func(n int) {
		c.Progress(c.received.Add(int64(n)))
	}}
	return &remote{addr: addr, guard: g, retry: c.retry}
}

// in names the repository in an error about a revision.
func in(a Address, err error) error {
	if f := (*record.Failure)(nil); errors.As(err, &f) && f.Kind == record.RevisionNotFound {
		return f.Within("%s", a)
	}
	return err
}

// dirFor is where the clone at commit is to be.
func (c *cloner) dirFor(commit plumbing.Hash) string {
	if c.Dir != "" {
		return c.Dir
	}
	name := commit.String()
	switch {
	case c.Depth == 0:
		name += "-full"
	case c.Depth > 1:
		name += fmt.Sprintf("-depth%d", c.Depth)
	}
	if c.Submodules {
		name += "-submodules"
	}
	return filepath.Join(c.Shared, c.Address.Slug(), name)
}

// reuse takes the clone that is already there, if it is the wanted one.
func (c *cloner) reuse(ctx context.Context, commit plumbing.Hash) (bool, error) {
	dir := c.dirFor(commit)
	unlock, err := c.Lock(ctx, dir)
	if err != nil {
		return false, err
	}
	defer unlock()
	return c.tryReuse(ctx, dir, commit), nil
}

func (c *cloner) tryReuse(ctx context.Context, dir string, commit plumbing.Hash) bool {
	e, err := openExisting(dir, c.Address)
	if err != nil {
		if !os.IsNotExist(err) {
			c.Log.Info("what is there cannot be used again", "dir", dir, "why", err)
		}
		return false
	}
	defer e.Close()
	got, err := e.check(ctx, commit, c.Depth, c.Submodules)
	if err != nil {
		c.Log.Info("what is there cannot be used again", "dir", dir, "why", err)
		return false
	}
	c.res.Dir, c.res.Commit, c.res.CommitterDate = dir, commit.String(), got.commit.Committer.When
	c.res.Reused, c.res.LFSPointers = true, got.pointers
	return true
}

// fresh makes the clone unless another process has made it meanwhile.
func (c *cloner) fresh(ctx context.Context, r *remote, t target, tmp *tempDir) error {
	dir := c.dirFor(t.commit)
	unlock, err := c.Lock(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	if c.tryReuse(ctx, dir, t.commit) {
		return nil
	}
	if err := c.build(ctx, r, t, tmp.path); err != nil {
		return err
	}
	c.res.Backup, err = place(tmp.path, dir, c.Clean, c.MaxBackups, c.Log)
	c.res.Dir = dir
	return err
}
