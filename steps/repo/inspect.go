package repo

import (
	"context"

	"github.com/go-git/go-git/v5/plumbing"
)

// Check says whether the clone in dir is what Get with the same options made it:
// at commit, every file unchanged, none besides. An error says what it is not.
func Check(ctx context.Context, o Options, dir, commit string) error {
	e, err := openExisting(dir, o.Address)
	if err != nil {
		return err
	}
	defer e.Close()
	_, err = e.check(ctx, plumbing.NewHash(commit), o.Depth, o.Submodules)
	return err
}

// CheckCopy compares copied, a copy without .git of the clone that Get made with
// the same options, with the commit. The directories ignored, relative to copied
// and with slashes, may hold anything.
func CheckCopy(ctx context.Context, o Options, copied, commit string, ignored ...string) error {
	h := plumbing.NewHash(commit)
	e, err := openExisting((&cloner{Options: o}).dirFor(h), o.Address)
	if err != nil {
		return err
	}
	defer e.Close()
	_, err = e.compare(ctx, h, copied, o.Submodules, ignored...)
	return err
}
