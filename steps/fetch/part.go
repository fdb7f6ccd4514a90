package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// part is a file that grows in blocks, in any order. Each block is written once,
// and hashed from memory when all before it have been.
type part struct {
	f, log *os.File
	size   int64
	block  int64
	// window is how many blocks may be ahead of the first that is missing: they
	// wait in memory to be hashed.
	window int

	mu   sync.Mutex
	more *sync.Cond
	done []bool
	// next is the first block that is not hashed yet.
	next    int
	waiting map[int][]byte
	hash    hash.Hash
	bytes   int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func dataPath(dir string) string    { return filepath.Join(dir, "data") }
func journalPath(dir string) string { return filepath.Join(dir, "journal") }

// openPart goes on with the part in dir when its journal is about this version,
// else begins a new one.
func openPart(dir string, v version, block int64, window int, resume bool) (*part, error) {
	j := journal{header: journalHeader{v, block}}
	flags := os.O_RDWR
	// The size of the blocks may be another than was asked for.
	if data, err := os.ReadFile(journalPath(dir)); err == nil && resume {
		if old, ok := parseJournal(data); ok && old.header.Version == v {
			window = max(1, int(int64(window)*block/old.header.Block))
			j = old
		}
	}
	if j.sums == nil {
		// Not truncated: the old file may be linked from a dataset's directory.
		if err := wipe(dir); err != nil {
			return nil, err
		}
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(dataPath(dir), flags, 0o664)
	if err != nil {
		if j.sums == nil {
			return nil, err
		}
		return openPart(dir, v, block, window, false) // A journal without its file.
	}
	p := newPart(f, v.Size, j.header.Block, window)
	p.recall(j.sums)
	if p.log, err = j.open(journalPath(dir)); err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

func newPart(f *os.File, size, block int64, window int) *part {
	p := &part{f: f, size: size, block: block, window: window, hash: sha256.New(), waiting: map[int][]byte{}}
	p.more = sync.NewCond(&p.mu)
	p.done = make([]bool, (size+block-1)/block)
	return p
}

// wipe removes what an earlier version has left in dir, first that which says
// that it is whole.
func wipe(dir string) error {
	for _, path := range []string{entryPath(dir), journalPath(dir), dataPath(dir)} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// recall takes the blocks that sums lists and that are still what they were. It
// reads each of them, once. Those that are not leave sums.
func (p *part) recall(sums map[int]uint32) {
	for i := range p.done {
		sum, ok := sums[i]
		if !ok {
			continue
		}
		buf := make([]byte, p.length(i))
		if _, err := p.f.ReadAt(buf, int64(i)*p.block); err != nil || crc32.Checksum(buf, castagnoli) != sum {
			delete(sums, i)
			continue
		}
		p.take(i, buf)
	}
	for i := range sums {
		if i >= len(p.done) {
			delete(sums, i)
		}
	}
}

// length of block i in bytes.
func (p *part) length(i int) int64 { return min(p.block, p.size-int64(i)*p.block) }

// put writes block i, then notes it in the journal. buf must not be used again.
func (p *part) put(i int, buf []byte) error {
	if _, err := p.f.WriteAt(buf, int64(i)*p.block); err != nil {
		return err
	}
	// One write, so that lines of two blocks do not mix.
	if _, err := fmt.Fprintln(p.log, journalLine(i, crc32.Checksum(buf, castagnoli))); err != nil {
		return err
	}
	p.take(i, buf)
	return nil
}

func (p *part) take(i int, buf []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[i] = true
	p.bytes += int64(len(buf))
	p.waiting[i] = buf
	for b, ok := p.waiting[p.next]; ok; b, ok = p.waiting[p.next] {
		p.hash.Write(b)
		delete(p.waiting, p.next)
		p.next++
	}
	p.more.Broadcast()
}

// room waits until block i is within the window.
func (p *part) room(ctx context.Context, i int) error {
	defer context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.more.Broadcast()
	})()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i >= p.next+p.window && ctx.Err() == nil {
		p.more.Wait()
	}
	return context.Cause(ctx)
}

// missing is the first run of blocks in [from, to) that are not there, empty when
// all are.
func (p *part) missing(from, to int) (first, end int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to = min(to, len(p.done))
	for first = from; first < to && p.done[first]; first++ {
	}
	for end = first; end < to && !p.done[end]; end++ {
	}
	return first, end
}

func (p *part) received() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// sum is the digest of the whole file, once every block is there.
func (p *part) sum() string { return hex.EncodeToString(p.hash.Sum(nil)) }

// close leaves the file to be gone on with.
func (p *part) close() {
	p.f.Close()
	if p.log != nil {
		p.log.Close()
	}
}

// readBlocks reads the blocks from first to end from r, and puts each as soon as
// it is whole.
func (p *part) readBlocks(r io.Reader, first, end int, told func()) error {
	for i := first; i < end; i++ {
		buf := make([]byte, p.length(i))
		if _, err := io.ReadFull(r, buf); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := p.put(i, buf); err != nil {
			return err
		}
		told()
	}
	return nil
}
