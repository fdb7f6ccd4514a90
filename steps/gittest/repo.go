package gittest

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Repo is a bare repository that a Server serves. Its commits have fixed names,
// mail addresses and dates: the same files give the same hashes.
type Repo struct {
	// Name is its directory below the server's, URL where it is served.
	Name, URL string

	s    *Server
	repo *git.Repository
	when time.Time
}

// Files maps a path with slashes to a file's content. A path that ends in "*"
// is an executable, one that ends in "@" a symlink, one that ends in "=" a
// submodule whose content is the commit; the mark is no part of the name.
type Files map[string]string

// NewRepo makes an empty repository called name whose HEAD is main.
func (s *Server) NewRepo(name string) (*Repo, error) {
	repo, err := git.PlainInitWithOptions(filepath.Join(s.Dir, name), &git.PlainInitOptions{
		Bare: true, InitOptions: git.InitOptions{DefaultBranch: plumbing.Main},
	})
	if err != nil {
		return nil, err
	}
	return &Repo{Name: name, URL: s.URL + "/" + name, s: s, repo: repo, when: time.Unix(1700000000, 0).UTC()}, nil
}

// RequireToken lets in only who has token; see Server.RequireToken.
func (r *Repo) RequireToken(token string) {
	r.s.RequireToken(r.Name, token)
}

// SetConfig sets an option of the repository, such as ("uploadpack",
// "allowAnySHA1InWant", "true").
func (r *Repo) SetConfig(section, key, value string) error {
	c, err := r.repo.Config()
	if err != nil {
		return err
	}
	c.Raw.Section(section).SetOption(key, value)
	return r.repo.SetConfig(c)
}

// Commit makes a commit that holds exactly files, on top of branch, which it
// makes or moves, and returns its hash.
func (r *Repo) Commit(branch string, files Files) (string, error) {
	t := newTree()
	for path, content := range files {
		path, mode := fileMode(path)
		if mode == filemode.Submodule {
			t.add(path, object.TreeEntry{Mode: mode, Hash: plumbing.NewHash(content)})
			continue
		}
		h, err := r.blob(strings.NewReader(content), int64(len(content)))
		if err != nil {
			return "", err
		}
		t.add(path, object.TreeEntry{Mode: mode, Hash: h})
	}
	return r.commit(branch, t)
}

func fileMode(path string) (string, filemode.FileMode) {
	switch {
	case strings.HasSuffix(path, "*"):
		return path[:len(path)-1], filemode.Executable
	case strings.HasSuffix(path, "@"):
		return path[:len(path)-1], filemode.Symlink
	case strings.HasSuffix(path, "="):
		return path[:len(path)-1], filemode.Submodule
	}
	return path, filemode.Regular
}

// CommitDir is Commit with the files below dir.
func (r *Repo) CommitDir(branch, dir string) (string, error) {
	t := newTree()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		e, err := r.entry(path, d)
		t.add(filepath.ToSlash(rel), e)
		return err
	})
	if err != nil {
		return "", err
	}
	return r.commit(branch, t)
}

func (r *Repo) entry(path string, d fs.DirEntry) (object.TreeEntry, error) {
	info, err := d.Info()
	if err != nil {
		return object.TreeEntry{}, err
	}
	mode, err := filemode.NewFromOSFileMode(info.Mode())
	if err != nil {
		return object.TreeEntry{}, err
	}
	if mode == filemode.Symlink {
		target, err := os.Readlink(path)
		if err != nil {
			return object.TreeEntry{}, err
		}
		h, err := r.blob(strings.NewReader(target), int64(len(target)))
		return object.TreeEntry{Mode: mode, Hash: h}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return object.TreeEntry{}, err
	}
	defer f.Close()
	h, err := r.blob(f, info.Size())
	return object.TreeEntry{Mode: mode, Hash: h}, err
}

func (r *Repo) blob(content io.Reader, size int64) (plumbing.Hash, error) {
	o := r.repo.Storer.NewEncodedObject()
	o.SetType(plumbing.BlobObject)
	o.SetSize(size)
	w, err := o.Writer()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if _, err := io.Copy(w, content); err != nil {
		return plumbing.ZeroHash, err
	}
	if err := w.Close(); err != nil {
		return plumbing.ZeroHash, err
	}
	return r.repo.Storer.SetEncodedObject(o)
}

func (r *Repo) commit(branch string, t *tree) (string, error) {
	root, err := r.tree(t)
	if err != nil {
		return "", err
	}
	name := plumbing.NewBranchReferenceName(branch)
	c := &object.Commit{Author: r.sign(), Committer: r.sign(), Message: "commit on " + branch + "\n", TreeHash: root}
	if ref, err := r.repo.Reference(name, true); err == nil {
		c.ParentHashes = []plumbing.Hash{ref.Hash()}
	}
	h, err := r.store(c)
	if err != nil {
		return "", err
	}
	return h.String(), r.repo.Storer.SetReference(plumbing.NewHashReference(name, h))
}

// sign is a minute later at each call.
func (r *Repo) sign() object.Signature {
	r.when = r.when.Add(time.Minute)
	return object.Signature{Name: "Git Test", Email: "test@example.com", When: r.when}
}

func (r *Repo) store(o interface {
	Encode(plumbing.EncodedObject) error
}) (plumbing.Hash, error) {
	e := r.repo.Storer.NewEncodedObject()
	if err := o.Encode(e); err != nil {
		return plumbing.ZeroHash, err
	}
	return r.repo.Storer.SetEncodedObject(e)
}

// tree is a directory that is being put together.
type tree struct {
	entries map[string]object.TreeEntry
	dirs    map[string]*tree
}

func newTree() *tree { return &tree{map[string]object.TreeEntry{}, map[string]*tree{}} }

func (t *tree) add(path string, e object.TreeEntry) {
	dir, rest, deeper := strings.Cut(path, "/")
	if !deeper {
		e.Name = path
		t.entries[path] = e
		return
	}
	if t.dirs[dir] == nil {
		t.dirs[dir] = newTree()
	}
	t.dirs[dir].add(rest, e)
}

func (r *Repo) tree(t *tree) (plumbing.Hash, error) {
	o := &object.Tree{}
	for _, e := range t.entries {
		o.Entries = append(o.Entries, e)
	}
	for name, d := range t.dirs {
		h, err := r.tree(d)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		o.Entries = append(o.Entries, object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: h})
	}
	sort.Sort(object.TreeEntrySorter(o.Entries))
	return r.store(o)
}

// Tag makes a lightweight tag on commit.
func (r *Repo) Tag(name, commit string) error {
	return r.SetRef("refs/tags/"+name, commit)
}

// AnnotatedTag makes a tag with an object of its own, whose hash it returns.
func (r *Repo) AnnotatedTag(name, commit string) (string, error) {
	ref, err := r.repo.CreateTag(name, plumbing.NewHash(commit), &git.CreateTagOptions{Tagger: ptr(r.sign()), Message: name})
	if err != nil {
		return "", fmt.Errorf("tag %s: %w", name, err)
	}
	return ref.Hash().String(), nil
}

func ptr[T any](v T) *T { return &v }

// SetRef makes or moves any ref, such as refs/pull/1/head.
func (r *Repo) SetRef(name, commit string) error {
	return r.repo.Storer.SetReference(plumbing.NewHashReference(plumbing.ReferenceName(name), plumbing.NewHash(commit)))
}

// DeleteRef removes a ref; what only it reached stays in the repository, but is
// not advertised any more.
func (r *Repo) DeleteRef(name string) error {
	return r.repo.Storer.RemoveReference(plumbing.ReferenceName(name))
}
