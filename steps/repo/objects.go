package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/step-runner/step-runner/artifacts/record"
)

// streamFrom is the size in bytes from which a file's content is not held in memory.
const streamFrom = 8 << 20

// openStorage opens the git directory dir, which must not change meanwhile.
func openStorage(dir string) *filesystem.Storage {
	return filesystem.NewStorageWithOptions(osfs.New(dir), cache.NewObjectLRUDefault(), filesystem.Options{
		ExclusiveAccess: true, KeepDescriptors: true, LargeObjectThreshold: streamFrom,
	})
}

// decode reads the object h and checks that its content has that hash: go-git
// believes what the pack's index says.
func decode(st *filesystem.Storage, t plumbing.ObjectType, h plumbing.Hash, into object.Object) error {
	o, err := st.EncodedObject(t, h)
	if err != nil {
		return fmt.Errorf("object %s: %w", h, err)
	}
	r, err := o.Reader()
	if err != nil {
		return fmt.Errorf("object %s: %w", h, err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("object %s: %w", h, err)
	}
	if plumbing.ComputeHash(t, content) != h {
		return fmt.Errorf("object %s: its content has another hash", h)
	}
	m := &plumbing.MemoryObject{}
	m.SetType(t)
	if _, err := io.Copy(m, bytes.NewReader(content)); err != nil {
		return err
	}
	return into.Decode(m)
}

// commitOf reads the commit h.
func commitOf(st *filesystem.Storage, h plumbing.Hash) (*object.Commit, error) {
	c := &object.Commit{}
	err := decode(st, plumbing.CommitObject, h, c)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, record.Failf(record.RevisionNotFound, "%s is no commit", h)
	}
	return c, err
}

// leaf is a file, symlink or submodule of a tree.
type leaf struct {
	// path has slashes and is relative to the root of the work tree.
	path string
	mode filemode.FileMode
	hash plumbing.Hash
}

// dirMode tells visit of a directory, before what is in it.
const dirMode = filemode.Dir

// walk visits all that the tree h holds. The names come from outside: one that
// could lead out of the work tree, or into .git, is an error.
func walk(st *filesystem.Storage, h plumbing.Hash, below string, visit func(leaf) error) error {
	t := &object.Tree{}
	if err := decode(st, plumbing.TreeObject, h, t); err != nil {
		return err
	}
	for _, e := range t.Entries {
		if err := checkName(e.Name); err != nil {
			return fmt.Errorf("tree %s: %w", h, err)
		}
		l := leaf{below + e.Name, e.Mode, e.Hash}
		if err := visit(l); err != nil {
			return err
		}
		if e.Mode == dirMode {
			if err := walk(st, e.Hash, l.path+"/", visit); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkName(name string) error {
	dotGit := len(name) == 4 && bytes.EqualFold([]byte(name), []byte(".git"))
	if name == "" || name == "." || name == ".." || dotGit || bytes.ContainsAny([]byte(name), "/\x00") {
		return record.Failf(record.CloneFailed, "the repository holds a file called %q, which could lead out of the clone", name).WithHint("do not trust this repository")
	}
	return nil
}

// copyBlob writes the content of the blob h to w and checks its hash.
func copyBlob(w io.Writer, st *filesystem.Storage, h plumbing.Hash) error {
	o, err := st.EncodedObject(plumbing.BlobObject, h)
	if err != nil {
		return fmt.Errorf("object %s: %w", h, err)
	}
	r, err := o.Reader()
	if err != nil {
		return fmt.Errorf("object %s: %w", h, err)
	}
	defer r.Close()
	sum := plumbing.NewHasher(plumbing.BlobObject, o.Size())
	if _, err := io.Copy(io.MultiWriter(w, sum), r); err != nil {
		return err
	}
	if sum.Sum() != h {
		return fmt.Errorf("object %s: its content has another hash", h)
	}
	return nil
}
