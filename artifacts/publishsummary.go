package artifacts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// PublishSummary puts the run's summary where users look for it: into the
// workspace's artifacts, and into the workspace. When another run has published
// since this one collected, this one's artifacts are published again, so that
// artifacts and summary are those of the run that finished last.
func (r *Run) PublishSummary(ctx context.Context, name string, text []byte, now time.Time) (notes []string, err error) {
	p, err := r.Publish(ctx)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	manifest, err := os.ReadFile(r.Path("artifacts", ManifestName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// This run has collected nothing: the artifacts stay whose they are.
	case err != nil:
		return p.Notes, err
	default:
		if err := p.again(ctx, r, manifest, now); err != nil {
			return p.Notes, err
		}
		if err := WriteText(r.W.Path("artifacts", name), text); err != nil {
			return p.Notes, err
		}
	}
	return p.Notes, WriteText(r.W.Path(name), text)
}

// again publishes what the run's manifest lists, unless it is published already.
func (p *Publication) again(ctx context.Context, r *Run, manifest []byte, now time.Time) error {
	if b, err := os.ReadFile(p.w.Path("artifacts", ManifestName)); err == nil && bytes.Equal(b, manifest) {
		return nil
	}
	root, err := os.OpenRoot(r.Path("artifacts"))
	if err != nil {
		return err
	}
	defer root.Close()
	m, err := ReadManifest(root)
	if err != nil {
		return err
	}
	for _, f := range m.Files {
		if err := p.copy(ctx, root, f.Path, f.SHA256); err != nil {
			return err
		}
	}
	for _, name := range []string{ManifestName, SumsName} {
		if err := p.copy(ctx, root, name, ""); err != nil {
			return err
		}
	}
	return p.Commit(now)
}

// copy takes a file in; its digest must be sum, unless that is "".
func (p *Publication) copy(ctx context.Context, from *os.Root, name, sum string) error {
	src, err := openRegular(from, name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := p.Create(name)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(dst, h), &source{ctx: ctx, r: src})
	if err = errors.Join(err, dst.Sync(), dst.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); sum != "" && got != sum {
		return fmt.Errorf("%s has changed since it was collected", name)
	}
	return nil
}
