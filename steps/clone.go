package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/repo"
)

// Clone fetches a repository at a revision.
type Clone struct {
	CloneOptions `embed:""`
	// Tests makes it step 5.
	Tests bool `help:"This is the test repository: step 5 of the workflow."`

	facts record.CloneFacts
	// firstWait is the wait before the second try when it is not 0.
	firstWait time.Duration
}

// CloneOptions are the flags that `run` has too, as --clone-… and --clone-tests-….
type CloneOptions struct {
	URL        string        `name:"url" help:"Repository: an http, https or file URL." placeholder:"URL"`
	Revision   string        `help:"Branch, tag, full or short commit, or a ref such as refs/pull/7/head. The remote's HEAD when absent." placeholder:"REV"`
	Dir        string        `help:"Directory of the clone, inside the workspace and relative to it. When absent, one below clones/ that is named for the repository and the commit and shared by all runs." placeholder:"DIR"`
	Existing   string        `enum:"backup,clean" default:"backup" help:"What becomes of a directory that is there and is not this clone: it is moved beside, or removed, once the new one is complete." placeholder:"backup|clean"`
	MaxBackups int           `effort:"" default:"3" help:"Backups to keep of one directory." placeholder:"N"`
	Retries    int           `effort:"" default:"4" help:"How many failed requests to try again, in all: lost connections, 429 and 5xx, never 401, 403 and 404." placeholder:"N"`
	TokenFile  string        `effort:"" help:"File that holds the token, such as a mounted Secret." placeholder:"FILE"`
	Depth      int           `default:"1" help:"Commits of history to fetch; 0 is all." placeholder:"N"`
	Submodules bool          `help:"Fetch submodules too, the token only to the repository's own host."`
	Require    []string      `help:"Path that must be there in the clone, such as notebooks." placeholder:"PATH"`
	Stage      []string      `help:"Give the run a copy of the clone of its own, empty DIR in it and put FILE there, relative to the run's directory. In step 5 the pages of step 4 go to input when absent." placeholder:"FILE=DIR"`
	CAFile     string        `effort:"" name:"ca-file" help:"More root certificates, in PEM: a file, or a directory of such files." placeholder:"FILE"`
	Proxy      string        `effort:"" help:"Proxy for every request. That of HTTPS_PROXY, HTTP_PROXY and NO_PROXY when absent." placeholder:"URL"`
	Timeout    time.Duration `help:"End the step after this time." placeholder:"DURATION"`
}

// ID is step 2, or 5 with --tests.
func (s *Clone) ID() record.ID {
	if s.Tests {
		return record.CloneTests
	}
	return record.Clone
}

// Facts returns what Run fills in.
func (s *Clone) Facts() any { return &s.facts }

// Help is the command's long help.
func (*Clone) Help() string {
	return `The revision is looked up at the server first, then fetched, checked out and
verified beside its place, and put there in one step: what was there before stays
until the new clone is complete, and for good when anything fails. A clone that is
already there, of the same repository and commit and with every file unchanged, is
used again without a download.

The token comes from --token-file, else from STEP_RUNNER_CLONE_TOKEN (with --tests
STEP_RUNNER_CLONE_TESTS_TOKEN), else, only for github.com and the host of
GITHUB_SERVER_URL, from GITHUB_TOKEN, GH_TOKEN or GIT_TOKEN. It is sent to the URL's
own scheme, host and port only, never over a redirect to another host, never in
plain text to another machine, and it is written nowhere.

Files that are pointers of Git LFS are reported; they are not fetched.

Exit status: 0 when the clone is there. 10 for a URL or path that cannot be used, 13
when the disk is full, 30 when the server cannot be reached or the download breaks
off, 31 when it refuses the token, 32 when there is no such repository or it wants a
token, 33 when there is no such revision, 34 when a required path is not in the
clone, 70 when a file to stage is not there, 124 after --timeout, 128+n after signal n.`
}

// Run brings the clone to its place and stages files into a copy of it.
func (s *Clone) Run(ctx context.Context, j *Job) error {
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout, record.Failf(record.TimedOut, "the clone took longer than --timeout %s", s.Timeout))
		defer cancel()
	}
	s.facts.Revision = s.Revision
	files, err := s.stages(j)
	if err != nil {
		return err
	}
	o, err := s.repoOptions(j)
	s.facts.URL = o.Address.String()
	if err != nil {
		return err
	}
	res, err := repo.Get(ctx, o)
	s.note(j, res)
	if err != nil {
		return fmt.Errorf("clone %s: %w", o.Address, err)
	}
	if err := s.checkRequired(); err != nil {
		return err
	}
	return s.stage(ctx, j, files)
}

func (s *Clone) note(j *Job, res repo.Result) {
	f := &s.facts
	f.Attempts = res.Attempts
	for _, n := range res.Notes {
		j.Note("%s", n)
	}
	if res.Commit == "" || res.Dir == "" {
		return
	}
	date := res.CommitterDate.UTC()
	f.Commit, f.CommitterDate, f.Dir, f.Reused = res.Commit, &date, res.Dir, res.Reused
	f.Backup, f.LFSPointers = res.Backup, res.LFSPointers
	if f.Backup != "" {
		j.Note("%s was there and was not this clone; it was moved to %s", f.Dir, f.Backup)
	}
	if n := len(f.LFSPointers); n > 0 {
		j.Note("%d files are pointers of Git LFS, not the files themselves: %s", n, strings.Join(f.LFSPointers[:min(n, 5)], ", "))
	}
}

// checkRequired checks that each path of --require is in the clone, and is not
// just a pointer.
func (s *Clone) checkRequired() error {
	root, err := os.OpenRoot(s.facts.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, path := range s.Require {
		path = filepath.Clean(path)
		if _, err := root.Stat(path); err != nil {
			return s.lacks(root, path, err)
		}
		if slices.Contains(s.facts.LFSPointers, filepath.ToSlash(path)) {
			return record.Failf(record.CloneIncomplete, "%s at %s has only a pointer of Git LFS for %s", s.facts.URL, s.facts.Commit, path).WithHint("commit the file itself, or fetch it with git lfs pull and give --url file:///…")
		}
	}
	return nil
}

func (s *Clone) lacks(root *os.Root, path string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return record.Failf(record.CloneIncomplete, "%s at %s: required path %s: %w", s.facts.URL, s.facts.Commit, path, err)
	}
	f := record.Failf(record.CloneIncomplete, "%s at %s has no %s", s.facts.URL, s.facts.Commit, path)
	var names []string
	if entries, err := fs.ReadDir(root.FS(), "."); err == nil {
		for _, e := range entries {
			if e.Name() != ".git" {
				names = append(names, e.Name())
			}
		}
	}
	return f.WithHint("check --require and the revision; the repository has %s", strings.Join(names[:min(len(names), 20)], ", "))
}

// StillGood says whether the clone of an earlier attempt is what it was, for the
// same repository and revision. One that is not named is the one that there is.
func (s *Clone) StillGood(j *Job, rec *record.Record) bool {
	f, ok := rec.Facts.(*record.CloneFacts)
	if !ok {
		return false
	}
	again := *s
	if s.URL == "" {
		again.URL, again.Revision = f.URL, cmp.Or(s.Revision, f.Revision)
	}
	o, err := again.repoOptions(j)
	if err != nil || o.Address.String() != f.URL || again.Revision != f.Revision {
		return false
	}
	if len(f.Staged) == 0 {
		err = repo.Check(context.Background(), o, f.Dir, f.Commit)
	} else {
		err = repo.CheckCopy(context.Background(), o, f.Dir, f.Commit, stagedDirs(f.Staged)...)
	}
	if err != nil {
		j.Log.Info("the clone is not what it was", "dir", f.Dir, "why", err)
	}
	return err == nil
}
