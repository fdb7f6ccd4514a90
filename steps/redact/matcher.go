package redact

import (
	"maps"
	"math"
	"slices"
	"strings"
)

// minPart and the half of a form are the least of a cut-off secret at the end
// of a text that is taken for one. Less may be a token's well-known prefix.
const minPart = 8

// matcher finds any of many patterns in one pass over a text. It is the
// algorithm of Wu and Manber: it looks at the last two bytes of a window as wide
// as the shortest pattern, and these say how far the window may move.
type matcher struct {
	width   int
	longest int
	// shift is by pair of bytes; 0 means that a window of some pattern ends in it.
	shift [1 << 16]uint8
	// byPair holds the patterns whose window ends in the pair, byFirst those that
	// begin with the byte; longer ones come first.
	byPair  map[uint16][]string
	byFirst [256][]string
	// rests are what may follow where a piece begins, itself included.
	rests map[string][]string
}

const (
	// cutForm is the length from which pieces of a form are looked for too: texts are
	// folded and shortened, by pytest for one.
	cutForm = 24
	// longestPiece bounds how much of a form can be seen beside one cut.
	longestPiece = 16
)

// pieces are where the pieces of a form begin, and their length.
func pieces(form string) (starts []int, n int) {
	if n = min(longestPiece, len(form)/2); len(form) >= cutForm {
		for at := 0; at < len(form)-n; at += n {
			starts = append(starts, at)
		}
		starts = append(starts, len(form)-n)
	}
	return starts, n
}

// newMatcher takes patterns of at least two bytes. With cut it finds pieces of them
// too, each as far as the text goes on like the pattern.
func newMatcher(patterns []string, cut bool) *matcher {
	m := &matcher{width: math.MaxUint8, byPair: map[uint16][]string{}, rests: map[string][]string{}}
	if cut {
		for _, p := range patterns {
			starts, n := pieces(p)
			for _, at := range starts {
				m.rest(p[at:at+n], p[at:])
			}
		}
		patterns = append(slices.Collect(maps.Keys(m.rests)), patterns...)
	}
	for _, p := range patterns {
		m.width, m.longest = min(m.width, len(p)), max(m.longest, len(p))
	}
	for i := range m.shift {
		m.shift[i] = uint8(m.width - 1)
	}
	for _, p := range patterns {
		m.add(p)
	}
	return m
}

// rest makes known what may follow where piece begins. What begins another rest is
// part of that.
func (m *matcher) rest(piece, rest string) {
	list := m.rests[piece]
	if !slices.ContainsFunc(list, func(r string) bool { return strings.HasPrefix(r, rest) }) {
		m.rests[piece] = append(slices.DeleteFunc(list, func(r string) bool { return strings.HasPrefix(rest, r) }), rest)
	}
}

func (m *matcher) add(p string) {
	var last uint16
	for i := 1; i < m.width; i++ {
		last = pair(p[i-1], p[i])
		m.shift[last] = min(m.shift[last], uint8(m.width-1-i))
	}
	m.byPair[last] = insert(m.byPair[last], p)
	for _, begun := range append(m.rests[p], p) {
		m.byFirst[p[0]] = insert(m.byFirst[p[0]], begun)
	}
}

func pair(a, b byte) uint16 { return uint16(a)<<8 | uint16(b) }

// insert keeps list ordered from long to short.
func insert(list []string, p string) []string {
	i := len(list)
	for i > 0 && len(list[i-1]) < len(p) {
		i--
	}
	list = append(list, "")
	copy(list[i+1:], list[i:])
	list[i] = p
	return list
}

// next finds the first occurrence that starts at from or later, and of those
// that start there the longest.
func (m *matcher) next(text []byte, from int) (start, end int, found bool) {
	for i := from + m.width - 1; i < len(text); {
		k := pair(text[i-1], text[i])
		if n := int(m.shift[k]); n > 0 {
			i += n
			continue
		}
		start := i - m.width + 1
		for _, p := range m.byPair[k] {
			if hasPrefix(text[start:], p) {
				found, end = true, max(end, start+len(p))
				for _, rest := range m.rests[p] {
					end = max(end, start+common(text[start:], rest))
				}
			}
		}
		if found {
			return start, end, true
		}
		i++
	}
	return 0, 0, false
}

// common is how many bytes text and p have in common at their beginning.
func common(text []byte, p string) int {
	n := 0
	for n < min(len(text), len(p)) && text[n] == p[n] {
		n++
	}
	return n
}

func hasPrefix(text []byte, p string) bool {
	return len(text) >= len(p) && string(text[:len(p)]) == p
}

// unfinished is the first position from which text may go on to be a secret,
// its length when there is none. With atLeast, it counts only parts as long as
// minPart says.
func (m *matcher) unfinished(text []byte, atLeast int) int {
	for i := max(0, len(text)-m.longest+1); i <= len(text)-atLeast; i++ {
		tail := text[i:]
		if len(tail) == 0 {
			break
		}
		for _, p := range m.byFirst[tail[0]] {
			if len(p) <= len(tail) {
				break
			}
			if atLeast > 0 && 2*len(tail) < len(p) {
				continue
			}
			if string(tail) == p[:len(tail)] {
				return i
			}
		}
	}
	return len(text)
}

// redact appends text to out, with masks for secrets. The first covered bytes of
// text belong to a secret whose mask was written earlier. Unless this is the
// last of the text, it keeps back what may be the beginning of a secret, and
// returns that together with how much of it is covered.
func (m *matcher) redact(out, text []byte, covered int, last bool) (_, kept []byte, keptCovered int) {
	end, done := 0, covered
	if last {
		end = m.unfinished(text, minPart)
	} else {
		end = m.unfinished(text, 0)
	}
	for from := 0; ; {
		start, stop, found := m.next(text, from)
		if !found || start >= end {
			break
		}
		if start >= done {
			out = append(append(out, text[done:start]...), Mask...)
		}
		done, from = max(done, stop), start+1
	}
	if done < end {
		out = append(out, text[done:end]...)
	}
	if !last {
		return out, text[end:], max(0, done-end)
	}
	if end < len(text) && done <= end {
		out = append(out, Mask...)
	}
	return out, nil, 0
}
