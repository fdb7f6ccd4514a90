package artifacts

import (
	"bufio"
	"io"
)

// pythonJSON reads JSON as Python writes it, with NaN, Infinity and -Infinity, as JSON:
// these become zeros of the same length. papermill puts them where a parameter is one.
type pythonJSON struct {
	r        *bufio.Reader
	inString bool
	escaped  bool
	// word is what stands outside strings and is not passed on yet.
	word []byte
	// long says that the word is longer than any of interest.
	long bool
	err  error
}

func newPythonJSON(r io.Reader) *pythonJSON { return &pythonJSON{r: bufio.NewReaderSize(r, 64<<10)} }

// longestWord is the length of Infinity: more letters are no word of interest.
const longestWord = 8

func (p *pythonJSON) Read(b []byte) (n int, err error) {
	if len(b) <= longestWord {
		return 0, io.ErrShortBuffer
	}
	for n < len(b)-longestWord && p.err == nil {
		c, err := p.r.ReadByte()
		if err != nil {
			p.err = err
			break
		}
		letter := !p.inString && 'a' <= c|' ' && c|' ' <= 'z'
		if letter && len(p.word) < longestWord && !p.long {
			p.word = append(p.word, c)
			continue
		}
		p.long = letter
		n += p.flush(b[n:])
		b[n] = c
		n++
		p.see(c)
	}
	if p.err != nil {
		n += p.flush(b[n:])
	}
	if n > 0 {
		return n, nil
	}
	return 0, p.err
}

// see keeps track of strings.
func (p *pythonJSON) see(c byte) {
	switch {
	case p.escaped:
		p.escaped = false
	case p.inString && c == '\\':
		p.escaped = true
	case c == '"':
		p.inString = !p.inString
	}
}

// flush passes a word on.
func (p *pythonJSON) flush(b []byte) int {
	if w := string(p.word); !p.long && (w == "NaN" || w == "Infinity") {
		for i := range p.word {
			p.word[i] = ' '
		}
		p.word[0] = '0'
	}
	n := copy(b, p.word)
	p.word = p.word[:0]
	return n
}
