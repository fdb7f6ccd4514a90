package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Publication is the next content of the workspace's artifacts directory. It is
// built beside the present one, which Commit replaces in one step. It holds the
// lock on what is published from its beginning to Close.
type Publication struct {
	// Notes are what a reader should know although the publication succeeded.
	Notes []string

	w      *Workspace
	dir    string
	root   *os.Root
	unlock func()
}

// staging is how the directories of publications in the making begin. Whoever
// holds the lock may remove all that are there: they are left over, and hold
// nothing that is not also in a run.
const staging = ".artifacts-"

// Publish begins a publication of the run.
func (r *Run) Publish(ctx context.Context) (p *Publication, err error) {
	unlock, err := r.W.LockContext(ctx, "publish")
	if err != nil {
		return nil, err
	}
	p = &Publication{w: r.W, dir: r.W.Path(staging + r.ID), unlock: unlock}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	p.tidied(r.W.removeStaging())
	if err := os.Mkdir(p.dir, 0o775); err != nil {
		return nil, err
	}
	p.root, err = os.OpenRoot(p.dir)
	return p, err
}

func (p *Publication) tidied(err error) {
	if err != nil {
		p.Notes = append(p.Notes, fmt.Sprintf("an earlier publication could not be removed: %v", err))
	}
}

func (w *Workspace) removeStaging() error {
	entries, err := os.ReadDir(w.Dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), staging) {
			err = errors.Join(err, os.RemoveAll(w.Path(e.Name())))
		}
	}
	return err
}

// Create makes a new file in the publication. The name has slashes.
func (p *Publication) Create(name string) (*os.File, error) {
	if err := p.root.MkdirAll(path.Dir(name), 0o775); err != nil {
		return nil, err
	}
	return p.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o664)
}

// Remove takes a file out again.
func (p *Publication) Remove(name string) error { return p.root.Remove(name) }

// Commit puts the publication in the place of the workspace's artifacts. What
// lay there is removed when step-runner had published all of it; else it is kept
// under another name.
func (p *Publication) Commit(now time.Time) error {
	err := p.replace(p.w.Path("artifacts"), now)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("%w: it is a mount point of its own and cannot be replaced in one step; mount the workspace instead", err)
	}
	return err
}

func (p *Publication) replace(target string, now time.Time) error {
	switch lies(target) {
	case nothing:
		// os.Rename refuses a directory in the place, even an empty one.
		if err := unix.Rename(p.dir, target); err != nil {
			return &os.LinkError{Op: "rename", Old: p.dir, New: target, Err: err}
		}
		return nil
	case ours:
		err := exchange(p.dir, target)
		if err == nil {
			p.tidied(os.RemoveAll(p.dir))
		}
		return err
	}
	// The final name of what is kept comes first: a crash must not leave it where
	// the next publication would take it for a left-over of ours.
	kept := free(target + ".before-" + now.UTC().Format("20060102-150405"))
	if err := os.Rename(p.dir, kept); err != nil {
		return err
	}
	if err := exchange(kept, target); err != nil {
		return errors.Join(err, os.Rename(kept, p.dir))
	}
	p.Notes = append(p.Notes, fmt.Sprintf("%s held files that no run had published: they are now in %s", target, kept))
	return nil
}

// Close drops what was not committed and frees the lock.
func (p *Publication) Close() error {
	defer p.unlock()
	if p.root == nil {
		return nil
	}
	p.root.Close()
	return os.RemoveAll(p.dir)
}

// What lies at a path.
type content int

const (
	nothing content = iota
	ours
	foreign
)

// lies says whose the directory at path is. It is ours when it has a manifest of
// ours and nothing that was not published with it.
func lies(dir string) content {
	fi, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nothing
	}
	if err != nil || !fi.IsDir() {
		return foreign
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) == 0 {
		return nothing
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return foreign
	}
	defer root.Close()
	m, err := ReadManifest(root)
	if err != nil {
		return foreign
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err == nil && !m.lists(name) {
			err = fmt.Errorf("%s was not published", name)
		}
		return err
	})
	if err != nil {
		return foreign
	}
	return ours
}

// free is name, or the first of name-2, name-3, … that is not taken.
func free(name string) string {
	for try, n := name, 2; ; n++ {
		if _, err := os.Lstat(try); err != nil {
			return try
		}
		try = fmt.Sprintf("%s-%d", name, n)
	}
}

// exchange swaps two paths: a reader of either sees always one of the two. Where
// the file system cannot do that it takes renames, with a moment in which there
// is nothing at b.
func exchange(a, b string) error {
	if unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil {
		return nil
	}
	// Seccomp filters, NFS, FUSE and sandboxes each have an error of their own for
	// a call that they do not know; what is truly wrong shows here again.
	return exchangeByRenames(a, b)
}

func exchangeByRenames(a, b string) error {
	aside := a + ".old"
	if err := os.Rename(b, aside); err != nil {
		return err
	}
	if err := os.Rename(a, b); err != nil {
		return errors.Join(err, os.Rename(aside, b))
	}
	return os.Rename(aside, a)
}
