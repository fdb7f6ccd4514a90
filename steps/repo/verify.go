package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// existing is a clone that is already there.
type existing struct {
	dir string
	st  *filesystem.Storage
}

// openExisting opens the clone in dir; an error says why it is none of a.
func openExisting(dir string, a Address) (*existing, error) {
	for _, d := range []string{dir, filepath.Join(dir, ".git")} {
		info, err := os.Lstat(d)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s is no directory", d)
		}
	}
	st := openStorage(filepath.Join(dir, ".git"))
	c, err := st.Config()
	if err != nil {
		return nil, err
	}
	remote := c.Remotes["origin"]
	if remote == nil || len(remote.URLs) == 0 {
		return nil, errors.New("it has no origin")
	}
	origin, _, err := ParseAddress(remote.URLs[0])
	if err != nil || origin.key() != a.key() {
		return nil, errors.New("it is a clone of another repository")
	}
	return &existing{dir, st}, nil
}

func (e *existing) Close() error { return e.st.Close() }

// head is the commit that is checked out.
func (e *existing) head() (plumbing.Hash, error) {
	ref, err := storer.ResolveReference(e.st, plumbing.HEAD)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return ref.Hash(), nil
}

// verified is what check has read on its way.
type verified struct {
	commit   *object.Commit
	pointers []string
}

// check is what an existing clone must be to be used again: at commit, with a
// history as deep as wanted, every file as it was committed and none besides. An
// error says what it is not.
func (e *existing) check(ctx context.Context, commit plumbing.Hash, depth int, submodules bool) (*verified, error) {
	switch head, err := e.head(); {
	case err != nil:
		return nil, err
	case head != commit:
		return nil, fmt.Errorf("it is at commit %s", head)
	}
	shallow, err := e.st.Shallow()
	if err != nil {
		return nil, err
	}
	if have := e.depth(); len(shallow) > 0 && have != depth {
		return nil, fmt.Errorf("its history has the depth %d", have)
	}
	return e.compare(ctx, commit, e.dir, submodules)
}

// compare compares the work tree dir with the commit, but for the directories ignored.
func (e *existing) compare(ctx context.Context, commit plumbing.Hash, dir string, submodules bool, ignored ...string) (*verified, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	v := verification{root: root, ignored: ignored}
	got, err := v.verify(ctx, e.st, commit, tree{gitDir: filepath.Join(e.dir, ".git"), submodules: submodules})
	return &verified{got, v.pointers}, err
}

func (e *existing) depth() int {
	c, err := e.st.Config()
	if err != nil {
		return -1
	}
	var depth int
	if _, err := fmt.Sscan(c.Raw.Section(ownSection).Option("depth"), &depth); err != nil {
		return -1
	}
	return depth
}

// tree says where the parts of a work tree are.
type tree struct {
	// below is the path of a submodule in its root, "" for the repository itself.
	below string
	// gitDir is its git directory.
	gitDir string
	// level is 0 for the repository itself, 1 for its submodules, and so on.
	level      int
	submodules bool
}

// verification compares what lies in root with commits, by content.
type verification struct {
	root *os.Root
	// ignored are directories that need not be as they were committed.
	ignored  []string
	pointers []string
}

func (v *verification) ignores(path string) bool {
	for _, dir := range v.ignored {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}

func (v *verification) verify(ctx context.Context, st *filesystem.Storage, commit plumbing.Hash, t tree) (*object.Commit, error) {
	c, err := commitOf(st, commit)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	var subs []leaf
	err = walk(st, c.TreeHash, join(t.below, ""), func(l leaf) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		known[l.path] = true
		if v.ignores(l.path) {
			return nil
		}
		if l.mode == filemode.Submodule && t.submodules {
			subs = append(subs, l)
		}
		return v.same(l)
	})
	if err != nil {
		return nil, err
	}
	if err := v.nothingElse(t, known, subs); err != nil {
		return nil, err
	}
	return c, v.submodules(ctx, c, st, t, subs)
}

// join puts a directory before a path; a directory alone ends in a slash.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// same says how the file at l.path differs from what was committed.
func (v *verification) same(l leaf) error {
	info, err := v.root.Lstat(l.path)
	if err != nil {
		return err
	}
	differs := fmt.Errorf("%s was changed", l.path)
	switch l.mode {
	case filemode.Dir, filemode.Submodule:
		if !info.IsDir() {
			return differs
		}
		return nil
	case filemode.Symlink:
		target, err := v.root.Readlink(l.path)
		if err != nil || plumbing.ComputeHash(plumbing.BlobObject, []byte(target)) != l.hash {
			return differs
		}
		return nil
	}
	executable := info.Mode()&0o100 != 0
	if !info.Mode().IsRegular() || executable != (l.mode == filemode.Executable) {
		return differs
	}
	f, err := v.root.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := plumbing.NewHasher(plumbing.BlobObject, info.Size())
	start := &head{}
	if _, err := io.Copy(io.MultiWriter(sum, start), f); err != nil {
		return err
	}
	if sum.Sum() != l.hash {
		return differs
	}
	if start.isPointer() {
		v.pointers = append(v.pointers, l.path)
	}
	return nil
}

// nothingElse is an error for a file that the commit does not know.
func (v *verification) nothingElse(t tree, known map[string]bool, subs []leaf) error {
	inSubmodule := map[string]bool{}
	for _, s := range subs {
		inSubmodule[s.path] = true
	}
	start := path.Clean(join(t.below, ""))
	return fs.WalkDir(v.root.FS(), start, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == start:
			return nil
		case name == join(t.below, ".git"):
			return skip(d)
		case v.ignores(name):
			return skip(d)
		case !known[name]:
			return fmt.Errorf("%s is not in the commit", name)
		case inSubmodule[name]:
			return fs.SkipDir
		}
		return nil
	})
}

func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}
