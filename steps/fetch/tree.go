package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// tree is a directory that an archive is unpacked into. Nothing gets out of its
// root, whatever an entry's name or a link says.
type tree struct {
	root   *os.Root
	limits Limits
	// left is how many more bytes may come, bound how many at first.
	left, bound int64
	entries     int
	files       []treeFile
	links       []string
	ctx         context.Context
}

// treeFile is a regular file or a symbolic link in a dataset's directory.
type treeFile struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	Link   string `json:"link,omitempty"`
}

func (t *tree) refuse(name, why string) error {
	return record.Failf(record.DatasetInvalid, "the archive's entry %q %s", name, why).WithHint("do not unpack this archive; ask who made it")
}

// count counts an entry and checks its name.
func (t *tree) count(name string) error {
	if t.entries++; t.entries > t.limits.Entries {
		return record.Failf(record.DatasetInvalid, "the archive has more than %d entries", t.limits.Entries).WithHint("if that is right, raise --max-entries")
	}
	if !filepath.IsLocal(trim(name)) || strings.ContainsRune(name, 0) {
		return t.refuse(name, "leads out of the dataset's directory")
	}
	return t.ctx.Err()
}

// trim takes the slash from the name of a directory, so that it can be local.
func trim(name string) string { return filepath.Clean(strings.TrimRight(name, "/")) }

func (t *tree) dir(name string) error {
	return t.escape(name, t.root.MkdirAll(trim(name), 0o775))
}

func (t *tree) parent(name string) error {
	if dir := filepath.Dir(name); dir != "." {
		return t.escape(name, t.root.MkdirAll(dir, 0o775))
	}
	return nil
}

func (t *tree) file(name string, mode fs.FileMode, r io.Reader) error {
	name = trim(name)
	if err := t.parent(name); err != nil {
		return err
	}
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o664|mode&0o111)
	if err != nil {
		return t.escape(name, err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := t.copy(io.MultiWriter(f, h), r)
	if err != nil {
		return err
	}
	t.files = append(t.files, treeFile{Path: name, Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))})
	return f.Close()
}

// copy is io.Copy that ends with the context, and at the limit.
func (t *tree) copy(w io.Writer, r io.Reader) (int64, error) {
	var sum int64
	buf := make([]byte, 256<<10)
	for {
		if err := t.ctx.Err(); err != nil {
			return sum, context.Cause(t.ctx)
		}
		n, err := r.Read(buf)
		if t.left -= int64(n); t.left < 0 {
			return sum, t.tooMuch()
		}
		sum += int64(n)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return sum, werr
		}
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
	}
}

// symlink makes a link; where it leads is checked when all entries are there.
func (t *tree) symlink(name, target string) error {
	name = trim(name)
	if err := t.parent(name); err != nil {
		return err
	}
	if err := t.root.Symlink(target, name); err != nil {
		return t.escape(name, err)
	}
	t.links = append(t.links, name)
	t.files = append(t.files, treeFile{Path: name, Link: target})
	return nil
}

// hardLink gives a file that was unpacked before another name.
func (t *tree) hardLink(name, target string) error {
	name, target = trim(name), trim(target)
	if !filepath.IsLocal(target) {
		return t.refuse(name, "is a link that leads out of the dataset's directory")
	}
	for _, f := range t.files {
		if f.Path == target && f.Link == "" {
			if err := t.parent(name); err != nil {
				return err
			}
			if err := t.root.Link(target, name); err != nil {
				return t.escape(name, err)
			}
			f.Path = name
			t.files = append(t.files, f)
			return nil
		}
	}
	return t.refuse(name, "is a link to a file that the archive does not have")
}

// checkLinks follows every link: one that leads out, by whatever detour, or to
// nothing is not for us.
func (t *tree) checkLinks() error {
	for _, name := range t.links {
		if _, err := t.root.Stat(name); err != nil {
			return t.refuse(name, "is a link that leads out of the dataset's directory, or to nothing")
		}
	}
	return nil
}

// escape is the failure of an entry that cannot be made: it is the archive's
// fault unless the disk is full or may not be written.
func (t *tree) escape(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return t.refuse(name, "is there twice")
	case record.AsFailure(err).Kind == record.Internal:
		return record.Failf(record.DatasetInvalid, "the archive's entry %q cannot be unpacked: %w", name, err)
	}
	return err
}
