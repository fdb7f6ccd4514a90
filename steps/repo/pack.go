package repo

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// receivePack stores the pack that r delivers, with its index, which is made
// while the bytes come in. On an error nothing is left of it: go-git's own way
// leaves the file and keeps it open, so that the next try finds its space taken.
func receivePack(st *filesystem.Storage, r io.Reader) (err error) {
	dir := filepath.Join(st.Filesystem().Root(), "objects", "pack")
	f, err := os.CreateTemp(dir, "tmp_pack_")
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	sum, idx, err := copyAndIndex(f, r)
	if err != nil {
		return err
	}
	base := filepath.Join(dir, "pack-"+sum.String())
	if err := os.WriteFile(base+".idx", idx, 0o444); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o444), os.Rename(f.Name(), base+".pack")); err != nil {
		return err
	}
	st.Reindex()
	return nil
}

// copyAndIndex writes the pack to f; it returns the pack's own checksum, checked,
// and its index.
func copyAndIndex(f *os.File, r io.Reader) (plumbing.Hash, []byte, error) {
	g := newGrowing(f)
	var sum plumbing.Hash
	var idx bytes.Buffer
	indexed := make(chan error, 1)
	go func() {
		var err error
		sum, err = indexPack(&idx, g)
		indexed <- err
	}()
	_, err := io.Copy(g, r)
	g.end()
	// The copy's error is the cause when both have one: the index lacks the rest.
	if ierr := <-indexed; err == nil {
		err = ierr
	}
	return sum, idx.Bytes(), err
}

func indexPack(w io.Writer, pack io.ReadSeeker) (plumbing.Hash, error) {
	builder := new(idxfile.Writer)
	parser, err := packfile.NewParser(packfile.NewScanner(pack), builder)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	sum, err := parser.Parse()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	idx, err := builder.Index()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	_, err = idxfile.NewEncoder(w).Encode(idx)
	return sum, err
}

// growing is a file that is read while it is being written: a read waits at the
// end until there is more or the writer has ended.
type growing struct {
	f     *os.File
	mu    sync.Mutex
	more  *sync.Cond
	size  int64
	ended bool
	// at is where the reader is, who alone uses it.
	at int64
}

func newGrowing(f *os.File) *growing {
	g := &growing{f: f}
	g.more = sync.NewCond(&g.mu)
	return g
}

func (g *growing) Write(b []byte) (int, error) {
	n, err := g.f.Write(b)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.size += int64(n)
	g.more.Signal()
	return n, err
}

func (g *growing) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	g.more.Signal()
}

func (g *growing) Read(b []byte) (int, error) {
	g.mu.Lock()
	for g.at >= g.size && !g.ended {
		g.more.Wait()
	}
	n := min(int64(len(b)), g.size-g.at)
	g.mu.Unlock()
	if n <= 0 {
		return 0, io.EOF
	}
	read, err := g.f.ReadAt(b[:n], g.at)
	g.at += int64(read)
	return read, err
}

// Seek moves the reader. The end is not known before the writer's.
func (g *growing) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += g.at
	case io.SeekEnd:
		return 0, os.ErrInvalid
	}
	if offset < 0 {
		return 0, os.ErrInvalid
	}
	g.at = offset
	return offset, nil
}
