package repo

import (
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/step-runner/step-runner/artifacts/record"
)

// checkout is one tree being written to a directory.
type checkout struct {
	st   *filesystem.Storage
	root *os.Root
	idx  index.Index
	// submodules and pointers are what the tree holds of them: commits of other
	// repositories, and files that only stand for one in Git LFS.
	submodules []leaf
	pointers   []string
}

// checkOut writes the tree h into root, which must be empty but for .git, and
// its index into st. Nothing is written outside root, whatever the tree holds.
func checkOut(ctx context.Context, st *filesystem.Storage, h plumbing.Hash, root *os.Root) (*checkout, error) {
	c := &checkout{st: st, root: root, idx: index.Index{Version: 2}}
	err := walk(st, h, "", func(l leaf) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return c.write(l)
	})
	if err != nil {
		return nil, err
	}
	return c, st.SetIndex(&c.idx)
}

func (c *checkout) write(l leaf) error {
	switch l.mode {
	case filemode.Dir:
		return c.root.Mkdir(l.path, 0o775)
	case filemode.Regular, filemode.Deprecated:
		return c.file(l, 0o664)
	case filemode.Executable:
		return c.file(l, 0o775)
	case filemode.Symlink:
		return c.symlink(l)
	case filemode.Submodule:
		c.submodules = append(c.submodules, l)
		c.idx.Entries = append(c.idx.Entries, &index.Entry{Name: l.path, Hash: l.hash, Mode: l.mode})
		return c.root.Mkdir(l.path, 0o775)
	}
	return record.Failf(record.CloneFailed, "%s has the mode %s, which git does not know", l.path, l.mode)
}

func (c *checkout) file(l leaf, perm os.FileMode) (err error) {
	f, err := c.root.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	start := &head{}
	if err := copyBlob(io.MultiWriter(f, start), c.st, l.hash); err != nil {
		return err
	}
	if start.isPointer() {
		c.pointers = append(c.pointers, l.path)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	c.add(l, info)
	return nil
}

func (c *checkout) symlink(l leaf) error {
	var target strings.Builder
	if err := copyBlob(&target, c.st, l.hash); err != nil {
		return err
	}
	if err := c.root.Symlink(target.String(), l.path); err != nil {
		return err
	}
	info, err := c.root.Lstat(l.path)
	if err != nil {
		return err
	}
	c.add(l, info)
	return nil
}

// add notes in the index what git compares to see quickly that a file is unchanged.
func (c *checkout) add(l leaf, info os.FileInfo) {
	e := &index.Entry{Name: l.path, Hash: l.hash, Mode: l.mode, Size: uint32(info.Size()), ModifiedAt: info.ModTime()}
	if e.Mode == filemode.Deprecated {
		e.Mode = filemode.Regular
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		e.Dev, e.Inode, e.UID, e.GID = uint32(s.Dev), uint32(s.Ino), s.Uid, s.Gid
		e.CreatedAt = time.Unix(s.Ctim.Unix())
	}
	c.idx.Entries = append(c.idx.Entries, e)
}

// head keeps the beginning of what is written to it: a pointer of Git LFS has
// less than 1024 bytes.
type head struct{ kept []byte }

const pointerMax = 1024

var pointerForm = regexp.MustCompile(`\Aversion https://(git-lfs\.github\.com|hawser\.github\.com)/spec/v1\n(ext-[^\n]*\n)*oid sha256:[0-9a-f]{64}\nsize [0-9]+\n?\z`)

func (h *head) Write(b []byte) (int, error) {
	h.kept = append(h.kept, b[:min(len(b), pointerMax-len(h.kept))]...)
	return len(b), nil
}

// isPointer says whether the file is one that Git LFS would replace by the real
// one. Its content decides: .gitattributes may be wrong or missing.
func (h *head) isPointer() bool { return len(h.kept) < pointerMax && pointerForm.Match(h.kept) }
