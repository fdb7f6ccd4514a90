package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/step-runner/step-runner/artifacts/record"
)

// deepestSubmodule bounds submodules of submodules: they may name each other.
const deepestSubmodule = 8

// modules reads .gitmodules of the commit: the submodules by their paths.
func modules(st *filesystem.Storage, c *object.Commit) (map[string]*config.Submodule, error) {
	t := &object.Tree{}
	if err := decode(st, plumbing.TreeObject, c.TreeHash, t); err != nil {
		return nil, err
	}
	byPath := map[string]*config.Submodule{}
	for _, e := range t.Entries {
		if e.Name != ".gitmodules" {
			continue
		}
		var text bytes.Buffer
		if err := copyBlob(&text, st, e.Hash); err != nil {
			return nil, err
		}
		m := config.NewModules()
		if err := m.Unmarshal(text.Bytes()); err != nil {
			return nil, fmt.Errorf(".gitmodules: %w", err)
		}
		for _, s := range m.Submodules {
			// Validate also keeps names from leading out of .git/modules.
			if err := s.Validate(); err != nil {
				return nil, fmt.Errorf(".gitmodules: %w", err)
			}
			byPath[strings.TrimSuffix(s.Path, "/")] = s
		}
	}
	return byPath, nil
}

// moduleDir is where git keeps the git directory of a submodule.
func moduleDir(gitDir, name string) string {
	return filepath.Join(gitDir, "modules", filepath.FromSlash(name))
}

// addSubmodules fetches and checks out the submodules subs of the commit, and
// theirs. below is the path of the repository that has them in root.
func (c *cloner) addSubmodules(ctx context.Context, r *remote, st *filesystem.Storage, commit *object.Commit, root *os.Root, t tree, subs []leaf) error {
	if len(subs) == 0 {
		return nil
	}
	if t.level >= deepestSubmodule {
		return record.Failf(record.CloneFailed, "submodule %s: more than %d levels of submodules", t.below, deepestSubmodule)
	}
	byPath, err := modules(st, commit)
	if err != nil {
		return err
	}
	for _, l := range subs {
		m := byPath[l.path]
		if m == nil {
			return record.Failf(record.CloneIncomplete, "submodule %s: .gitmodules does not say where it is", join(t.below, l.path))
		}
		if err := c.addSubmodule(ctx, r, m, l, root, t); err != nil {
			return inSubmodule(join(t.below, l.path), err)
		}
	}
	return nil
}

func inSubmodule(path string, err error) error {
	if f := (*record.Failure)(nil); errors.As(err, &f) {
		return f.Within("submodule %s", path)
	}
	return fmt.Errorf("submodule %s: %w", path, err)
}

func (c *cloner) addSubmodule(ctx context.Context, parent *remote, m *config.Submodule, l leaf, root *os.Root, t tree) error {
	addr, cred, err := parent.addr.relative(m.URL)
	if err != nil {
		return err
	}
	r := c.remote(addr, cred)
	if err := r.list(ctx); err != nil {
		return err
	}
	sub := tree{below: join(t.below, l.path), gitDir: moduleDir(t.gitDir, m.Name), level: t.level + 1, submodules: true}
	st, err := initStorage(sub.gitDir, addr, c.Depth)
	if err != nil {
		return err
	}
	defer st.Close()
	if err := fetchCommit(ctx, r, st, byHash(r.refs, l.hash), c.Depth); err != nil {
		return err
	}
	dir, err := root.OpenRoot(sub.below)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := c.link(dir, sub, root); err != nil {
		return err
	}
	return c.populate(ctx, r, st, target{commit: l.hash}, dir, root, sub)
}

// link writes the file by which git finds the git directory of a submodule.
func (c *cloner) link(dir *os.Root, sub tree, root *os.Root) error {
	rel, err := filepath.Rel(filepath.Join(root.Name(), sub.below), sub.gitDir)
	if err != nil {
		return err
	}
	return dir.WriteFile(".git", []byte("gitdir: "+filepath.ToSlash(rel)+"\n"), 0o664)
}

// submodules verifies the submodules subs of the commit c in the tree t.
func (v *verification) submodules(ctx context.Context, c *object.Commit, st *filesystem.Storage, t tree, subs []leaf) error {
	if len(subs) == 0 {
		return nil
	}
	byPath, err := modules(st, c)
	if err != nil {
		return err
	}
	for _, l := range subs {
		m := byPath[strings.TrimPrefix(l.path, join(t.below, ""))]
		if m == nil {
			return fmt.Errorf("submodule %s is unknown to .gitmodules", l.path)
		}
		if err := v.submodule(ctx, l, tree{below: l.path, gitDir: moduleDir(t.gitDir, m.Name), submodules: true}); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) submodule(ctx context.Context, l leaf, t tree) error {
	st := openStorage(t.gitDir)
	defer st.Close()
	_, err := v.verify(ctx, st, l.hash, t)
	return err
}
