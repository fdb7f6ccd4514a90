package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Vacate removes what lies at path, so that a new attempt can begin there. What a
// notebook or test of another user's attempt has closed to all others cannot be
// removed: it is put aside as path.left.
func Vacate(path string) error {
	err := os.RemoveAll(path)
	if errors.Is(err, fs.ErrPermission) && os.Rename(path, free(path+".left")) == nil {
		return nil
	}
	return err
}

// CopyTree copies the directory src to dst, which must not be there or be empty:
// what a step may change is a copy, so that the clone stays what it was. Modes
// are kept, and symlinks whose target is inside src. Left out are everything
// called .git, and, named in skipped with the reason, symlinks that lead out of
// src and what is neither file, directory nor symlink. The kernel copies the
// bytes, by reference where the file system can. On an error dst holds a part.
// The directories leaveOut, and dst itself, are not copied when they are in src.
func CopyTree(ctx context.Context, src, dst string, leaveOut ...string) (skipped []string, err error) {
	if err := os.MkdirAll(dst, 0o775); err != nil {
		return nil, err
	}
	if left, err := os.ReadDir(dst); err != nil || len(left) > 0 {
		return nil, errors.Join(err, fmt.Errorf("copy to %s: %w", dst, fs.ErrExist))
	}
	from, err := os.OpenRoot(src)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	to, err := os.OpenRoot(dst)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	c := treeCopy{from: from, to: to}
	for _, dir := range append(leaveOut, dst) {
		if info, err := os.Stat(dir); err == nil {
			c.leaveOut = append(c.leaveOut, info)
		}
	}
	err = fs.WalkDir(from.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil || path == "." {
			return err
		}
		return c.entry(ctx, path, d)
	})
	return c.skipped, err
}

type treeCopy struct {
	from, to *os.Root
	skipped  []string
	leaveOut []fs.FileInfo
}

func (c *treeCopy) entry(ctx context.Context, path string, d fs.DirEntry) error {
	switch {
	case d.Name() == ".git":
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	case d.IsDir():
		return c.dir(path, d)
	case d.Type() == fs.ModeSymlink:
		return c.symlink(path)
	case d.Type().IsRegular():
		return c.file(ctx, path)
	}
	c.skipped = append(c.skipped, fmt.Sprintf("%s: is a %s", path, kindOf(d.Type())))
	return nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

func (c *treeCopy) dir(path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(c.leaveOut, func(other fs.FileInfo) bool { return os.SameFile(info, other) }) {
		return fs.SkipDir
	}
	if err := c.to.Mkdir(path, 0o775); err != nil {
		return err
	}
	made, err := c.to.Lstat(path)
	if err != nil {
		return err
	}
	// What is to go into it needs the owner's bits, and in the volume's group, which
	// need not be this process's, it is by the setgid bit alone.
	return c.to.Chmod(path, info.Mode().Perm()|0o700|made.Mode()&fs.ModeSetgid)
}

func (c *treeCopy) symlink(path string) error {
	target, err := c.from.Readlink(path)
	if err != nil {
		return err
	}
	// Lexically for links that dangle, by the kernel's rules for those that do not.
	inside := !filepath.IsAbs(target) && filepath.IsLocal(filepath.Join(filepath.Dir(path), target))
	if inside {
		_, err = c.from.Stat(path)
		inside = err == nil || errors.Is(err, fs.ErrNotExist)
	}
	if !inside {
		c.skipped = append(c.skipped, fmt.Sprintf("%s: leads outside, to %s", path, target))
		return nil
	}
	return c.to.Symlink(target, path)
}

// copyChunk bounds how long a cancelled copy goes on.
const copyChunk = 64 << 20

func (c *treeCopy) file(ctx context.Context, path string) (err error) {
	in, err := c.from.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := c.to.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for {
		_, err := io.CopyN(out, in, copyChunk)
		if errors.Is(err, io.EOF) {
			return out.Chmod(info.Mode().Perm())
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}
