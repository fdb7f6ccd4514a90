package repo

import (
	"context"

	"github.com/go-git/go-git/v5/plumbing"
)

// Check says whether the clone of a in dir is what it was when Get made it: at
// commit, every file unchanged, none besides. An error says what it is not.
func Check(ctx context.Context, dir string, a Address, commit string, depth int, submodules bool) error {
	e, err := openExisting(dir, a)
	if err != nil {
		return err
	}
	defer e.Close()
	_, err = e.check(ctx, plumbing.NewHash(commit), depth, submodules)
	return err
}

// CheckCopy compares a copy of the clone in dir, made without .git, with the
// commit. The directories ignored, relative with slashes, may hold anything.
func CheckCopy(ctx context.Context, dir, copied string, a Address, commit string, submodules bool, ignored ...string) error {
	e, err := openExisting(dir, a)
	if err != nil {
		return err
	}
	defer e.Close()
	_, err = e.compare(ctx, plumbing.NewHash(commit), copied, submodules, ignored...)
	return err
}
