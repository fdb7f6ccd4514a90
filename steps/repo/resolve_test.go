package repo

import (
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

func hash(digit string) plumbing.Hash { return plumbing.NewHash(strings.Repeat(digit, 40)) }

func testRefs() *packp.AdvRefs {
	refs := packp.NewAdvRefs()
	head := hash("a")
	refs.Head = &head
	refs.References = map[string]plumbing.Hash{
		"refs/heads/main": hash("a"), "refs/heads/feature/x": hash("b"), "refs/heads/both": hash("b"),
		"refs/heads/beef": hash("d"), "refs/tags/both": hash("c"), "refs/tags/v1": hash("c"),
		"refs/tags/v2": hash("e"), "refs/pull/7/head": hash("f"),
		"refs/heads/near1": plumbing.NewHash("1234567" + strings.Repeat("0", 33)),
		"refs/heads/near2": plumbing.NewHash("1234568" + strings.Repeat("0", 33)),
	}
	refs.Peeled = map[string]plumbing.Hash{"refs/tags/v2": hash("b")}
	return refs
}

func TestResolve(t *testing.T) {
	for revision, want := range map[string]target{
		"":                      {commit: hash("a"), object: hash("a")},
		"HEAD":                  {commit: hash("a"), object: hash("a")},
		"main":                  {commit: hash("a"), object: hash("a"), ref: "refs/heads/main"},
		"refs/heads/main":       {commit: hash("a"), object: hash("a"), ref: "refs/heads/main"},
		"heads/main":            {commit: hash("a"), object: hash("a"), ref: "refs/heads/main"},
		"feature/x":             {commit: hash("b"), object: hash("b"), ref: "refs/heads/feature/x"},
		"v1":                    {commit: hash("c"), object: hash("c"), ref: "refs/tags/v1"},
		"v2":                    {commit: hash("b"), object: hash("e"), ref: "refs/tags/v2"},
		"tags/v2":               {commit: hash("b"), object: hash("e"), ref: "refs/tags/v2"},
		"pull/7/head":           {commit: hash("f"), object: hash("f"), ref: "refs/pull/7/head"},
		"refs/pull/7/head":      {commit: hash("f"), object: hash("f"), ref: "refs/pull/7/head"},
		"beef":                  {commit: hash("d"), object: hash("d"), ref: "refs/heads/beef"},
		"1234567":               {commit: testRefs().References["refs/heads/near1"], object: testRefs().References["refs/heads/near1"]},
		"DDDDDDD":               {commit: hash("d"), object: hash("d")},
		"9999":                  {prefix: "9999"},
		strings.Repeat("9", 40): {commit: hash("9")},
		strings.Repeat("F", 40): {commit: hash("f"), object: hash("f")},
		strings.Repeat("e", 40): {commit: hash("b"), object: hash("e")},
	} {
		got, note, err := resolve(testRefs(), revision)
		require.NoError(t, err, revision)
		assert.Empty(t, note, revision)
		assert.Equal(t, want, got, revision)
	}
}

func TestResolveTakesTheBranchAndSaysSo(t *testing.T) {
	got, note, err := resolve(testRefs(), "both")
	require.NoError(t, err)
	assert.Equal(t, hash("b"), got.commit)
	assert.Contains(t, note, "refs/tags/both")
}

func TestResolveErrors(t *testing.T) {
	for revision, want := range map[string][2]string{
		"mian":                   {`no branch, tag or commit "mian"`, "main"},
		"Main":                   {"no branch", "main"},
		"master":                 {"no branch", "main"},
		"v11":                    {"no branch", "v1"},
		"x":                      {"no branch", "feature/x"},
		"nothing-like-it-at-all": {"no branch", "pushed"},
		"123456":                 {"ambiguous: 1234567", "more digits"},
		"abc":                    {"no branch", ""},
		"../../etc":              {"no branch", ""},
	} {
		_, _, err := resolve(testRefs(), revision)
		require.Error(t, err, revision)
		f := record.AsFailure(err)
		assert.Equal(t, record.RevisionNotFound, f.Kind, revision)
		assert.Contains(t, f.Message, want[0], revision)
		assert.Contains(t, f.Hint, want[1], revision)
	}
	refs := testRefs()
	refs.Head = nil
	_, _, err := resolve(refs, "")
	require.ErrorContains(t, err, "HEAD")
	assert.Contains(t, record.AsFailure(err).Hint, "main")
}

func FuzzResolve(f *testing.F) {
	for _, s := range []string{"", "main", "v2", "1234", "refs/heads/main", "pull/7/head", "\x00", "A"} {
		f.Add(s)
	}
	refs := testRefs()
	f.Fuzz(func(t *testing.T, revision string) {
		got, _, err := resolve(refs, revision)
		if err != nil {
			require.Equal(t, record.RevisionNotFound, record.AsFailure(err).Kind)
			return
		}
		require.True(t, got.prefix != "" || !got.commit.IsZero() || revision == strings.Repeat("0", 40))
	})
}

func TestPointerForm(t *testing.T) {
	oid := strings.Repeat("0123456789abcdef", 4)
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + oid + "\nsize 123\n"
	for text, want := range map[string]bool{
		pointer: true, strings.TrimSuffix(pointer, "\n"): true,
		strings.Replace(pointer, "oid", "ext-0-foo sha256:"+oid+"\noid", 1): true,
		pointer + strings.Repeat("x", 2000):                                 false,
		"# about\n" + pointer:                                               false,
		"version https://git-lfs.github.com/spec/v1\n":                      false,
		"": false,
	} {
		h := &head{}
		for _, piece := range strings.SplitAfter(text, "\n") {
			_, err := h.Write([]byte(piece))
			require.NoError(t, err)
		}
		assert.Equal(t, want, h.isPointer(), text)
	}
}

func hashOf(text string) plumbing.Hash { return plumbing.NewHash(text) }
