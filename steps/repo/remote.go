package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/plumbing/transport/server"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/step-runner/step-runner/artifacts/record"
)

// remote is the repository at the server. It speaks go-git's transport itself,
// since go-git's Clone takes its HTTP client from a global table.
type remote struct {
	addr    Address
	guard   *guard
	retry   *retrier
	session transport.UploadPackSession
	refs    *packp.AdvRefs
}

// list gets what the server advertises: its refs and what it can do.
func (r *remote) list(ctx context.Context) error {
	if r.refs != nil {
		return nil
	}
	return r.retry.do(ctx, "list the refs of "+r.addr.String(), r.guard, func(ctx context.Context) error {
		session, err := r.open()
		if err != nil {
			return err
		}
		refs, err := session.AdvertisedReferencesContext(ctx)
		if err != nil {
			return r.classify(err)
		}
		r.session, r.refs = session, refs
		return nil
	})
}

func (r *remote) open() (transport.UploadPackSession, error) {
	if r.addr.u.Scheme != "file" {
		return githttp.NewClient(&http.Client{Transport: r.guard}).NewUploadPackSession(r.addr.endpoint(), nil)
	}
	st, err := openLocal(r.addr.filePath())
	if err != nil {
		return nil, err
	}
	session, err := server.NewClient(local{st}).NewUploadPackSession(r.addr.endpoint(), nil)
	return peeling{session, st}, err
}

// openLocal opens the repository in dir, a bare one or one with a work tree.
func openLocal(dir string) (*filesystem.Storage, error) {
	for _, d := range []string{filepath.Join(dir, ".git"), dir} {
		if _, err := os.Stat(filepath.Join(d, "objects")); err == nil {
			return filesystem.NewStorage(osfs.New(d), cache.NewObjectLRUDefault()), nil
		}
	}
	return nil, record.Failf(record.RepoNotFound, "there is no git repository in %s", dir)
}

// local serves a repository on this machine without a git program.
type local struct{ st *filesystem.Storage }

func (l local) Load(*transport.Endpoint) (storer.Storer, error) { return l.st, nil }

// peeling adds what go-git's own server leaves out: the commits of annotated tags.
type peeling struct {
	transport.UploadPackSession
	st *filesystem.Storage
}

func (p peeling) AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error) {
	refs, err := p.UploadPackSession.AdvertisedReferencesContext(ctx)
	if err != nil {
		return nil, err
	}
	for name, h := range refs.References {
		if tag, err := object.GetTag(p.st, h); err == nil {
			refs.Peeled[name] = tag.Target
		}
	}
	return refs, nil
}

// want is what to fetch: commits with depth of their history (0 is all of it).
type want struct {
	hashes []plumbing.Hash
	depth  int
	// commitsOnly leaves trees and files out, where the server can.
	commitsOnly bool
}

// fetch gets a pack with what w asks for into st.
func (r *remote) fetch(ctx context.Context, st *filesystem.Storage, w want) error {
	return r.retry.do(ctx, "fetch from "+r.addr.String(), r.guard, func(ctx context.Context) error {
		req, err := r.request(w)
		if err != nil {
			return err
		}
		res, err := r.session.UploadPack(ctx, req)
		if err != nil {
			return r.classify(err)
		}
		defer res.Close()
		if len(res.Shallows) > 0 {
			if err := st.SetShallow(res.Shallows); err != nil {
				return err
			}
		}
		if err := receivePack(st, demux(req, res)); err != nil {
			return r.classify(err)
		}
		return nil
	})
}

func (r *remote) request(w want) (*packp.UploadPackRequest, error) {
	req := packp.NewUploadPackRequestFromCapabilities(r.refs.Capabilities)
	req.Wants = w.hashes
	var caps []capability.Capability
	if r.can(capability.NoProgress) {
		caps = append(caps, capability.NoProgress)
	}
	if w.depth > 0 && r.can(capability.Shallow) {
		req.Depth = packp.DepthCommits(w.depth)
		caps = append(caps, capability.Shallow)
	}
	if w.commitsOnly && r.can(capability.Filter) {
		req.Filter = packp.FilterTreeDepth(0)
		caps = append(caps, capability.Filter)
	}
	for _, c := range caps {
		if err := req.Capabilities.Set(c); err != nil {
			return nil, err
		}
	}
	return req, nil
}

func demux(req *packp.UploadPackRequest, res *packp.UploadPackResponse) io.Reader {
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, res)
	case req.Capabilities.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, res)
	}
	return res
}

func (r *remote) can(c capability.Capability) bool { return r.refs.Capabilities.Supports(c) }

// givesAny says whether the server lets one fetch any commit by its hash, so that
// its refusal is the last word on it.
func (r *remote) givesAny() bool { return r.can(capability.AllowReachableSHA1InWant) }

// errNotOurs is the server's word that it does not have, or does not give, an object.
var errNotOurs = errors.New("the server does not give this object")

// classify gives an error of go-git's its class where another try would only
// repeat it.
func (r *remote) classify(err error) error {
	text := err.Error()
	if strings.Contains(text, "not our ref") || strings.Contains(text, "unadvertised object") || errors.Is(err, plumbing.ErrObjectNotFound) {
		return fmt.Errorf("%w: %w", errNotOurs, err)
	}
	return classify(err, r.addr, r.guard)
}
