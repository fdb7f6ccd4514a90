package artifacts

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

var runOwner = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,252}$`)

// SplitRun takes ID@OWNER apart, as --run takes it; without an @ there is no owner.
func SplitRun(text string) (id, owner string, err error) {
	id, owner, owned := strings.Cut(text, "@")
	if owned && !runOwner.MatchString(owner) {
		return "", "", record.Failf(record.Usage, "run %q: after the @ comes its owner, 1 to 253 letters, digits, '.', '_', ':' and '-'", text)
	}
	return id, owner, nil
}

// Claim makes the run owner's, or fails when it is another's. A name may come again:
// the records that an earlier PipelineRun of that name has left must not speak for
// steps which this one has not run.
func (r *Run) Claim(owner string) error {
	unlock, err := lockFile(r.Path("locks", "owner"), true)
	if err != nil {
		return workspaceFailure(r.W.Dir, err)
	}
	defer unlock()
	path := r.Path("owner")
	was, err := os.ReadFile(path)
	switch {
	case err == nil:
		if strings.TrimSpace(string(was)) == owner {
			return nil
		}
		return r.taken("it belongs to " + strings.TrimSpace(string(was)))
	case !errors.Is(err, fs.ErrNotExist):
		return workspaceFailure(r.W.Dir, err)
	}
	if old, err := os.ReadDir(r.Path("records")); err != nil {
		return workspaceFailure(r.W.Dir, err)
	} else if len(old) > 0 {
		return r.taken("it has records already, which are of no one")
	}
	err = WriteAtomic(path, 0o664, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, owner)
		return err
	})
	if err != nil {
		return workspaceFailure(r.W.Dir, err)
	}
	return nil
}

func (r *Run) taken(why string) error {
	return record.Failf(record.BadInput, "run %s of this workspace is not ours: %s", r.ID, why).
		WithHint("give this run another name, with Tekton by generateName; or remove runs/%s when nobody needs it any more", r.ID)
}
