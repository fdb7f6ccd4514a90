package repo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// build makes the clone at t in dir.
func (c *cloner) build(ctx context.Context, r *remote, t target, dir string) error {
	gitDir := filepath.Join(dir, ".git")
	st, err := initStorage(gitDir, c.Address, c.Depth)
	if err != nil {
		return err
	}
	defer st.Close()
	if !t.fetched {
		if err := fetchCommit(ctx, r, st, t, c.Depth); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := c.populate(ctx, r, st, t, root, root, tree{gitDir: gitDir, submodules: c.Submodules}); err != nil {
		return err
	}
	return shareWithGroup(gitDir)
}

// populate checks out the commit that was fetched into st, to dir, which is
// top or a submodule's directory in it.
func (c *cloner) populate(ctx context.Context, r *remote, st *filesystem.Storage, t target, dir, top *os.Root, place tree) error {
	commit, err := commitOf(st, t.commit)
	if err != nil {
		return err
	}
	out, err := checkOut(ctx, st, commit.TreeHash, dir)
	if err != nil {
		return err
	}
	if err := setRefs(st, t); err != nil {
		return err
	}
	for _, p := range out.pointers {
		c.res.LFSPointers = append(c.res.LFSPointers, join(place.below, p))
	}
	if place.level == 0 {
		c.res.Commit, c.res.CommitterDate = commit.Hash.String(), commit.Committer.When
	}
	if !place.submodules {
		return nil
	}
	return c.addSubmodules(ctx, r, st, commit, top, place, out.submodules)
}

// ownSection is our section of a clone's configuration file.
const ownSection = "step-runner"

// initStorage makes the git directory dir of a clone of addr.
func initStorage(dir string, addr Address, depth int) (*filesystem.Storage, error) {
	if err := os.MkdirAll(dir, 0o775); err != nil {
		return nil, err
	}
	st := openStorage(dir)
	if err := st.Init(); err != nil {
		return nil, err
	}
	c := config.NewConfig()
	c.Raw.Section("core").SetOption("repositoryformatversion", "0").SetOption("filemode", "true")
	c.Raw.Section(ownSection).SetOption("depth", fmt.Sprint(depth))
	c.Remotes["origin"] = &config.RemoteConfig{Name: "origin", URLs: []string{addr.String()}}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return st, st.SetConfig(c)
}

// setRefs writes HEAD, which is the commit itself: a clone is of a commit, and
// no branch is to move it.
func setRefs(st *filesystem.Storage, t target) error {
	if err := st.SetReference(plumbing.NewHashReference(plumbing.HEAD, t.commit)); err != nil {
		return err
	}
	switch {
	case t.ref.IsBranch():
		return st.SetReference(plumbing.NewHashReference(plumbing.NewRemoteReferenceName("origin", t.ref.Short()), t.commit))
	case t.ref.IsTag():
		return st.SetReference(plumbing.NewHashReference(t.ref, t.object))
	}
	return nil
}

// searchHistory finds the commit of a short hash that the server does not
// advertise. A server that cannot send commits alone sends all: that is then the
// clone's own storage.
func (c *cloner) searchHistory(ctx context.Context, r *remote, t *target, tmp *tempDir) error {
	dir := filepath.Join(tmp.path, ".git")
	if r.can(capability.Filter) {
		dir = filepath.Join(tmp.path, ".commits")
		defer os.RemoveAll(dir)
	} else {
		t.fetched = true
	}
	st, err := initStorage(dir, c.Address, 0)
	if err != nil {
		return err
	}
	defer st.Close()
	t.commit, err = search(ctx, r, st, t.prefix)
	return err
}
