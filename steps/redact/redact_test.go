package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const token = "ghp_q7Zk/3+XvR=9mT&w<LsYbN2"

func newSet(secrets ...string) *Set {
	s := &Set{}
	for _, secret := range secrets {
		s.Add(secret)
	}
	return s
}

func TestEveryFormIsRedacted(t *testing.T) {
	multi := "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----"
	quoted := "pass\"wörd ☃ <'&> 100%"
	js := func(s string) string { b, _ := json.Marshal(s); return unquote(string(b)) }
	for name, c := range map[string]struct{ secret, text string }{
		"raw":                {token, token},
		"query":              {token, url.QueryEscape(token)},
		"query, lower case":  {token, strings.NewReplacer("%2F", "%2f", "%2B", "%2b", "%3D", "%3d", "%3C", "%3c").Replace(url.QueryEscape(token))},
		"path":               {token, url.PathEscape(token)},
		"user information":   {token, url.UserPassword("x", token).String()[2:]},
		"space as plus":      {quoted, url.QueryEscape(quoted)},
		"space as %20":       {quoted, url.PathEscape(quoted)},
		"JSON":               {quoted, js(quoted)},
		"JSON in ASCII":      {quoted, `pass\"w\u00f6rd \u2603 <'&> 100%`},
		"HTML":               {quoted, html.EscapeString(quoted)},
		"HTML from Python":   {quoted, "pass&quot;wörd ☃ &lt;&#x27;&amp;&gt; 100%"},
		"lines":              {multi, multi},
		"lines in JSON":      {multi, js(multi)},
		"lines with CRLF":    {multi, strings.ReplaceAll(multi, "\n", "\r\n")},
		"one line":           {multi, "MIIEvQIBADANBgkqhkiG9w0B"},
		"beyond the BMP":     {"pass-😀-word", `pass-\ud83d\ude00-word`},
		"newline at the end": {token + "\n", token},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSet(c.secret)
			assert.Equal(t, "a ***, b", s.String("a "+c.text+", b"))
			assert.True(t, s.Contains([]byte("a "+c.text+", b")))
		})
	}
}

// The part that depends on the neighbours tells at most five bits of the secret
// at either end, so it may stay.
func TestBase64AtEveryAlignment(t *testing.T) {
	s := newSet(token)
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 7 {
			for after := range 4 {
				plain := strings.Repeat("x", before) + token + strings.Repeat("y", after)
				text := enc.EncodeToString([]byte(plain))
				require.True(t, s.Contains([]byte(text)), "%d before, %d after", before, after)
				rest := s.String(text)
				require.LessOrEqual(t, len(rest), len(text)-len(token)*4/3+len(Mask)+3, rest)
			}
		}
	}
}

func TestShortSecrets(t *testing.T) {
	s := newSet("", "abc", " \n", "hunt", "hunte")
	assert.Equal(t, "abc *** ***s", s.String("abc hunt huntes"))
	assert.False(t, s.Contains([]byte(base64.StdEncoding.EncodeToString([]byte("hunte")))))
	s.Add("hunter")
	assert.True(t, s.Contains([]byte(base64.StdEncoding.EncodeToString([]byte("hunter")))))
}

func TestEmptySetChangesNothing(t *testing.T) {
	var out bytes.Buffer
	s := &Set{}
	w := s.Writer(&out)
	_, err := io.WriteString(w, token)
	require.NoError(t, err)
	require.Equal(t, token, out.String())
	require.Equal(t, token, s.String(token))
	require.False(t, s.Contains([]byte(token)))
}

func TestOverlappingSecretsShareAMask(t *testing.T) {
	s := newSet("abcdefgh", "efghijkl", "cdef")
	assert.Equal(t, "-***-", s.String("-abcdefghijkl-"))
	assert.Equal(t, "-***gh-", s.String("-cdefgh-"))
	assert.Equal(t, "***|***", s.String("abcdefgh|efghijkl"))
	assert.Equal(t, "******", s.String("cdefcdef"), "two that only touch are two")
}

func TestCutOffSecret(t *testing.T) {
	s := newSet(token)
	assert.Equal(t, "see ***", s.String("see "+token[:len(token)/2+1]))
	assert.Equal(t, "see ghp_q7", s.String("see ghp_q7"), "a prefix that many tokens share")
	assert.Equal(t, token[:12]+" more", s.String(token[:12]+" more"))
}

func TestWriterHoldsBackOnlyTheBeginningOfASecret(t *testing.T) {
	var out bytes.Buffer
	s := newSet("ghp_secret\nsecond")
	w := s.Writer(&out)
	write := func(text string) {
		t.Helper()
		n, err := io.WriteString(w, text)
		require.NoError(t, err)
		require.Equal(t, len(text), n)
	}

	write("Progress 50 %\r")
	require.Equal(t, "Progress 50 %\r", out.String(), "no newline is waited for")
	write("token ghp_sec")
	require.Equal(t, "Progress 50 %\rtoken ", out.String())
	write("ond ")
	require.Equal(t, "Progress 50 %\rtoken ghp_second ", out.String(), "it was none")
	write("ghp_secret\nsec")
	write("ond.")
	require.Equal(t, "Progress 50 %\rtoken ghp_second ***.", out.String())
	write("end ghp")
	require.NoError(t, w.Close())
	require.True(t, strings.HasSuffix(out.String(), "end ghp"))
}

// The longest form counts too, with only its last byte to come.
func TestSplitBeforeTheLastByte(t *testing.T) {
	s := newSet(token)
	for _, f := range s.all.forms {
		var out bytes.Buffer
		w := s.Writer(&out)
		_, err := io.WriteString(w, f[:len(f)-1])
		require.NoError(t, err)
		_, err = io.WriteString(w, f[len(f)-1:]+"\n")
		require.NoError(t, err)
		require.Equal(t, "***\n", out.String())
	}
}

func TestSecretAddedLater(t *testing.T) {
	var out bytes.Buffer
	s := newSet("other-secret")
	w := s.Writer(&out)
	_, err := io.WriteString(w, "before ")
	require.NoError(t, err)
	s.Add(token)
	_, err = io.WriteString(w, token[:9])
	require.NoError(t, err)
	_, err = io.WriteString(w, token[9:]+" after")
	require.NoError(t, err)
	require.Equal(t, "before *** after", out.String())
}

// A run of overlapping secrets is one mask, however long it is.
func TestMemoryStaysBounded(t *testing.T) {
	var out bytes.Buffer
	w := newSet(strings.Repeat("a", 1000)).Writer(&out).(*writer)
	part := bytes.Repeat([]byte("a"), 1<<20)
	for range 4 {
		_, err := w.Write(part)
		require.NoError(t, err)
		require.LessOrEqual(t, cap(w.held), 4*chunk)
		require.LessOrEqual(t, cap(w.out), 4*chunk)
	}
	require.NoError(t, w.Close())
	require.Equal(t, Mask, out.String())
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestErrorOfTheTarget(t *testing.T) {
	w := newSet(token).Writer(failing{})
	_, err := io.WriteString(w, "text")
	require.ErrorContains(t, err, "no space")
}

func TestConcurrentUse(t *testing.T) {
	var out bytes.Buffer
	s := &Set{}
	w := s.Writer(&out)
	s.Add(token)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			s.Add(strings.Repeat("secret", i+1))
			for range 100 {
				_, _ = io.WriteString(w, "<"+token+">")
			}
		})
	}
	wg.Wait()
	require.NoError(t, w.Close())
	require.Equal(t, strings.Repeat("<***>", 400), out.String())
}

// naive says what redaction means: every byte of every occurrence goes.
func naive(forms []string, text string) string {
	covered := make([]bool, len(text)+1)
	joins := make([]bool, len(text)+1)
	cover := func(i, n int) {
		for k := range n {
			covered[i+k] = true
			joins[i+k] = joins[i+k] || k > 0
		}
	}
	for i := range len(text) {
		for _, f := range forms {
			if strings.HasPrefix(text[i:], f) {
				cover(i, len(f))
			}
			starts, n := pieces(f)
			for _, at := range starts {
				if strings.HasPrefix(text[i:], f[at:at+n]) {
					cover(i, common([]byte(text[i:]), f[at:]))
				}
			}
		}
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !covered[i]:
			b.WriteByte(text[i])
		case !joins[i]:
			b.WriteString(Mask)
		}
	}
	return b.String()
}

func FuzzWriter(f *testing.F) {
	f.Add("-"+token+"-"+token[:20], token, "YbN2-ghp", uint64(1))
	f.Add("aaaaaaaaaaaaaaaaaaaaaaa", "aaaaa", "aaab", uint64(2))
	f.Add("x\nabcd\nefgh\r\nijklx", "abcd\nefgh", "efgh\nijkl", uint64(3))
	f.Add("Z2hwX3E3WmsvMytYdlI9OW1UJnc8THNZYk4y", token, "E3WmsvM", uint64(4))
	f.Fuzz(func(t *testing.T, text, one, two string, seed uint64) {
		if len(text) > 300 || len(one)+len(two) > 100 {
			return // naive takes too long.
		}
		r := rand.New(rand.NewPCG(seed, 0))
		start := r.IntN(len(text) + 1)
		three := text[start : start+r.IntN(len(text)-start+1)]
		s := newSet(one, two, three)
		want := s.String(text)

		var out bytes.Buffer
		w := s.Writer(&out)
		for rest := text; rest != ""; {
			n := 1 + r.IntN(min(len(rest), 1+r.IntN(40)))
			_, err := io.WriteString(w, rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, w.Close())
		require.Equal(t, want, out.String(), "split and whole differ")

		// A full stop after the text keeps its end from looking cut off.
		if !strings.Contains(one+two+three, ".") {
			require.Equal(t, naive(s.all.forms, text+"."), s.String(text+"."))
		}
		if !strings.Contains(one+two+three, "*") {
			require.False(t, s.Contains([]byte(want)), "a secret remains in %q", want)
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	line := "[NbClientApp] Executing cell 17: sc.pp.normalize_total(adata, target_sum=1e4)  12.3 s\n"
	plain := bytes.Repeat([]byte(line), 1<<20/len(line))
	secret := bytes.Replace(plain, []byte("adata"), []byte(token), 1)
	s := newSet(token, "x-access-token:"+token)
	for name, c := range map[string]struct {
		data []byte
		size int
		dst  io.Writer
	}{
		"copy, blocks":           {plain, 32 << 10, io.Discard},
		"no secret, blocks":      {plain, 32 << 10, s.Writer(io.Discard)},
		"secret a block, blocks": {secret, 32 << 10, s.Writer(io.Discard)},
		"no secret, lines":       {plain, len(line), s.Writer(io.Discard)},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(c.data)))
			for b.Loop() {
				for rest := c.data; len(rest) > 0; {
					n := min(c.size, len(rest))
					_, _ = c.dst.Write(rest[:n])
					rest = rest[n:]
				}
			}
		})
	}
}
