// Package redact keeps secrets out of everything that is written.
package redact

import (
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Mask stands where a secret stood. Secrets that overlap share one.
const Mask = "***"

// minSecret is the length in bytes from which a secret is redacted. Shorter ones
// would blot out ordinary text and hide nothing that cannot be guessed.
const minSecret = 4

// Set holds the secrets of this process. It is safe for concurrent use, and
// secrets added later are redacted by writers made earlier. Its zero value is
// empty and ready.
type Set struct {
	mu sync.Mutex
	// all are the secrets that nothing may be written with, own those of them that no
	// child is given.
	all, own patterns
}

// patterns are the forms of some secrets.
type patterns struct {
	forms []string
	// These are replaced as a whole, so that readers need no lock: whole finds the forms,
	// cut their pieces too.
	whole, cut atomic.Pointer[matcher]
}

func (p *patterns) add(f []string) {
	p.forms = append(p.forms, f...)
	slices.Sort(p.forms)
	p.forms = slices.Compact(p.forms)
	p.whole.Store(newMatcher(p.forms, false))
	p.cut.Store(newMatcher(p.forms, true))
}

func (p *patterns) in(b []byte) bool {
	m := p.whole.Load()
	if m == nil {
		return false
	}
	_, _, found := m.next(b, 0)
	return found
}

// Add makes every form of secret known: as it is, percent-encoded, JSON- and
// HTML-escaped, and in base64 (standard and URL alphabet) at each of the three
// alignments at which it can stand inside a longer encoded text. White space
// around it is no part of it. Each long line of a secret of several lines is a
// secret too, since a log may indent or prefix lines. A secret of fewer than 4
// bytes is ignored, and one of fewer than 6 has no base64 form, since so few
// characters stand in other data by chance.
func (s *Set) Add(secret string) { s.learn(secret, &s.all, &s.own) }

// Hide is Add of a secret that is not step-runner's own: a child may be given it, such
// as a password that tests need, but it is written no more than others are.
func (s *Set) Hide(secret string) { s.learn(secret, &s.all) }

func (s *Set) learn(secret string, sets ...*patterns) {
	secret = strings.TrimSpace(secret)
	if len(secret) < minSecret {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := forms(secret)
	for _, p := range sets {
		p.add(f)
	}
}

// String returns text with every secret replaced by Mask. So are parts of a secret of
// at least 24 bytes that was folded or shortened: of what stands on either side of a
// cut, less than 16 bytes can be left. A text that ends in the middle of a secret has that
// part replaced when it is at least 8 bytes and half of the secret.
func (s *Set) String(text string) string {
	m := s.all.cut.Load()
	if m == nil {
		return text
	}
	out, _, _ := m.redact(nil, []byte(text), 0, true)
	return string(out)
}

// Contains says whether b holds any whole form of any secret.
func (s *Set) Contains(b []byte) bool { return s.all.in(b) }

// Withheld says whether b holds a secret that no child is given.
func (s *Set) Withheld(b []byte) bool { return s.own.in(b) }

// Writer redacts a stream into w: in the end w has what String would return for
// the whole of it. It holds back only what may be the beginning of a secret;
// Close writes that too, and does not close w. It is safe for concurrent use.
func (s *Set) Writer(w io.Writer) io.WriteCloser { return &writer{set: s, w: w} }
