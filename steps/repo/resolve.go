package repo

import (
	"context"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/step-runner/step-runner/artifacts/record"
)

// target is what a revision stands for.
type target struct {
	// commit is zero while only prefix is known.
	commit plumbing.Hash
	// ref is the full name of the branch or tag that was asked for, "" for a commit.
	ref plumbing.ReferenceName
	// object is what the server advertises for it: the commit, or the annotated
	// tag on it, which is what one may ask for. Zero when it advertises neither.
	object plumbing.Hash
	// prefix is a short commit that the server does not advertise.
	prefix string
	// fetched says that the clone's storage has the commit already.
	fetched bool
}

var (
	fullHash  = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)
	shortHash = regexp.MustCompile(`^[0-9a-fA-F]{4,39}$`)
)

// resolve finds revision among the refs: the remote's HEAD, a full hash, a full
// ref, a branch, a tag, a ref below refs/ such as pull/7/head, a short hash, in
// this order. note says what a reader should know about the choice.
func resolve(refs *packp.AdvRefs, revision string) (t target, note string, err error) {
	if revision == "" || revision == "HEAD" {
		if refs.Head == nil {
			return target{}, "", record.Failf(record.RevisionNotFound, "the repository's HEAD names no branch that exists").WithHint("give a revision: %s", strings.Join(closest(refs, "main"), ", "))
		}
		return target{commit: *refs.Head, object: *refs.Head}, "", nil
	}
	if fullHash.MatchString(revision) {
		return byHash(refs, plumbing.NewHash(revision)), "", nil
	}
	for _, form := range []string{"", "refs/heads/", "refs/tags/", "refs/"} {
		name := plumbing.ReferenceName(form + revision)
		if !strings.HasPrefix(name.String(), "refs/") {
			continue
		}
		if h, ok := peeled(refs, name); ok {
			return target{commit: h, object: refs.References[name.String()], ref: name}, bothNote(refs, name, revision), nil
		}
	}
	if shortHash.MatchString(revision) {
		return byPrefix(refs, strings.ToLower(revision))
	}
	return target{}, "", notFound(refs, revision)
}

// peeled is the commit of a ref: that of an annotated tag, not the tag's own hash.
func peeled(refs *packp.AdvRefs, name plumbing.ReferenceName) (plumbing.Hash, bool) {
	if h, ok := refs.Peeled[name.String()]; ok {
		return h, true
	}
	h, ok := refs.References[name.String()]
	return h, ok
}

func bothNote(refs *packp.AdvRefs, chosen plumbing.ReferenceName, revision string) string {
	tag, ok := peeled(refs, plumbing.NewTagReferenceName(revision))
	if branch := refs.References[chosen.String()]; chosen.IsBranch() && ok && tag != branch {
		return "there is a branch and a tag " + revision + "; the branch is taken, refs/tags/" + revision + " is the tag"
	}
	return ""
}

func byHash(refs *packp.AdvRefs, h plumbing.Hash) target {
	for name, object := range refs.References {
		if commit, _ := peeled(refs, plumbing.ReferenceName(name)); commit == h || object == h {
			return target{commit: commit, object: object}
		}
	}
	return target{commit: h}
}

// byPrefix looks among the advertised commits; what is not there is to be looked
// for in the history.
func byPrefix(refs *packp.AdvRefs, prefix string) (target, string, error) {
	found := map[plumbing.Hash]bool{}
	var t target
	for name, object := range refs.References {
		if h, _ := peeled(refs, plumbing.ReferenceName(name)); strings.HasPrefix(h.String(), prefix) {
			found[h] = true
			t = target{commit: h, object: object}
		}
	}
	if len(found) == 1 {
		return t, "", nil
	}
	if len(found) > 1 {
		return target{}, "", ambiguous(prefix, found)
	}
	return target{prefix: prefix}, "", nil
}

func ambiguous(prefix string, found map[plumbing.Hash]bool) error {
	var all []string
	for h := range found {
		all = append(all, h.String())
	}
	slices.Sort(all)
	return record.Failf(record.RevisionNotFound, "the short commit %s is ambiguous: %s", prefix, strings.Join(all, ", ")).WithHint("give more digits of the commit")
}

func notFound(refs *packp.AdvRefs, revision string) error {
	f := record.Failf(record.RevisionNotFound, "there is no branch, tag or commit %q", revision)
	if close := closest(refs, revision); len(close) > 0 {
		f.WithHint("did you mean %s?", strings.Join(close, ", "))
	}
	return f
}

// closest are the names of at most three branches and tags that are most like
// revision, the best first.
func closest(refs *packp.AdvRefs, revision string) []string {
	type near struct {
		name string
		far  int
	}
	var all []near
	for full, h := range refs.References {
		name := plumbing.ReferenceName(full)
		if !name.IsBranch() && !name.IsTag() {
			continue
		}
		far := distance(strings.ToLower(name.Short()), strings.ToLower(revision))
		switch {
		case refs.Head != nil && h == *refs.Head && name.IsBranch() && (revision == "main" || revision == "master"):
			far = 0
		case strings.Contains(name.Short(), revision) || strings.Contains(revision, name.Short()):
			far = min(far, 1)
		}
		if far <= max(2, len(revision)/3) {
			all = append(all, near{name.Short(), far})
		}
	}
	slices.SortFunc(all, func(a, b near) int {
		if a.far != b.far {
			return a.far - b.far
		}
		return strings.Compare(a.name, b.name)
	})
	var names []string
	for _, n := range all[:min(len(all), 3)] {
		names = append(names, n.name)
	}
	return slices.Compact(names)
}

// distance is Levenshtein's: how many letters to change, put in or take out.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost = min(before, row[j], row[j+1]) + 1
			}
			before, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// search looks for a short commit in the whole history, which it fetches into st:
// only its commits where the server can do that.
func search(ctx context.Context, r *remote, st *filesystem.Storage, prefix string) (plumbing.Hash, error) {
	if err := r.fetch(ctx, st, want{hashes: everything(r.refs), commitsOnly: true}); err != nil {
		return plumbing.ZeroHash, err
	}
	// A half byte cannot be looked up.
	start, err := hex.DecodeString(prefix[:len(prefix)/2*2])
	if err != nil {
		return plumbing.ZeroHash, err
	}
	hashes, err := st.HashesWithPrefix(start)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	found := map[plumbing.Hash]bool{}
	for _, h := range hashes {
		if !strings.HasPrefix(h.String(), prefix) {
			continue
		}
		if o, err := st.EncodedObject(plumbing.CommitObject, h); err == nil {
			found[o.Hash()] = true
		}
	}
	switch len(found) {
	case 0:
		return plumbing.ZeroHash, notFound(r.refs, prefix)
	case 1:
		for h := range found {
			return h, nil
		}
	}
	return plumbing.ZeroHash, ambiguous(prefix, found)
}

// everything is all that the server advertises, each hash once.
func everything(refs *packp.AdvRefs) []plumbing.Hash {
	seen := map[plumbing.Hash]bool{}
	var all []plumbing.Hash
	for _, h := range refs.References {
		if !seen[h] {
			seen[h] = true
			all = append(all, h)
		}
	}
	return all
}

// fetchCommit brings the commit into st with depth of its history. One that the
// server does not advertise is asked for by its hash; a server that does not
// give such ones has to give everything.
func fetchCommit(ctx context.Context, r *remote, st *filesystem.Storage, t target, depth int) error {
	ask := t.object
	if ask.IsZero() {
		ask = t.commit
	}
	err := r.fetch(ctx, st, want{hashes: []plumbing.Hash{ask}, depth: depth})
	if err == nil || !errors.Is(err, errNotOurs) {
		return err
	}
	if t.object.IsZero() && !r.givesAny() {
		r.retry.log.Info("the server does not give single commits; the whole history is fetched", "commit", t.commit)
		if err := r.fetch(ctx, st, want{hashes: everything(r.refs)}); err != nil {
			return err
		}
		if st.HasEncodedObject(t.commit) == nil {
			return nil
		}
	}
	return record.Failf(record.RevisionNotFound, "there is no commit %s, or nothing that was pushed leads to it", t.commit)
}
