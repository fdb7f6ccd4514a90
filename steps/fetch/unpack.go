package fetch

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
)

// Limits bound what an archive may unpack to.
type Limits struct {
	// Bytes of all files, Entries of all kinds.
	Bytes   int64
	Entries int
	// Ratio is how many times the archive's size the files may have together. It
	// counts from ratioFrom on: little text may be packed well.
	Ratio int64
}

const ratioFrom = 64 << 20

// maxWindow bounds the memory that a zstd archive may ask for.
const maxWindow = 128 << 20

// bound is the most bytes that an archive of the given size may unpack to.
func (l Limits) bound(size int64) int64 {
	return min(l.Bytes, max(ratioFrom, size*l.Ratio))
}

// unpack puts what is in the archive into dir, which is empty.
func unpack(ctx context.Context, path string, format Format, dir string, l Limits) (*tree, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	t := &tree{root: root, limits: l, left: l.bound(info.Size()), bound: l.bound(info.Size()), ctx: ctx}
	if format == Zip {
		err = t.zip(f, info.Size())
	} else {
		err = t.compressed(f, format)
	}
	if err == nil {
		err = t.checkLinks()
	}
	if err == nil && len(t.files) == 0 {
		err = record.Failf(record.DatasetInvalid, "the archive has no file")
	}
	return t, damaged(err)
}

// damaged is the failure of an archive that cannot be read, unless err is about
// something else.
func damaged(err error) error {
	var f *record.Failure
	var p *os.PathError
	var l *os.LinkError
	if err == nil || errors.As(err, &f) || errors.As(err, &p) || errors.As(err, &l) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return record.Failf(record.DatasetInvalid, "the archive cannot be read: %w", err)
}

func (t *tree) compressed(f io.Reader, format Format) error {
	r := io.Reader(bufio.NewReaderSize(f, 1<<20))
	switch format {
	case TarGz:
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		r = z
	case TarZst:
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true))
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	}
	if err := t.tar(tar.NewReader(r)); err != nil {
		return err
	}
	// What follows the last entry has no use, but its checksum is that of the whole.
	_, err := t.copy(io.Discard, r)
	return err
}

func (t *tree) tar(r *tar.Reader) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := t.count(h.Name); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = t.dir(h.Name)
		case tar.TypeReg:
			err = t.file(h.Name, fs.FileMode(h.Mode), r)
		case tar.TypeSymlink:
			err = t.symlink(h.Name, h.Linkname)
		case tar.TypeLink:
			err = t.hardLink(h.Name, h.Linkname)
		case tar.TypeXGlobalHeader:
		default:
			err = t.refuse(h.Name, "is a device, a pipe or of another special type")
		}
		if err != nil {
			return err
		}
	}
}

func (t *tree) zip(f io.ReaderAt, size int64) error {
	r, err := zip.NewReader(f, size)
	if err != nil {
		return err
	}
	var total uint64
	for _, e := range r.File {
		// Each is compared alone too, so that the sum cannot wrap.
		if total += e.UncompressedSize64; e.UncompressedSize64 > uint64(t.bound) || total > uint64(t.bound) {
			return t.tooMuch()
		}
	}
	if err := Space(t.root.Name(), int64(total)); err != nil {
		return err
	}
	for _, e := range r.File {
		if err := t.zipEntry(e); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) zipEntry(e *zip.File) error {
	if err := t.count(e.Name); err != nil {
		return err
	}
	mode := e.Mode()
	if mode.IsDir() {
		return t.dir(e.Name)
	}
	if !mode.IsRegular() && mode.Type() != fs.ModeSymlink {
		return t.refuse(e.Name, "is a device, a pipe or of another special type")
	}
	r, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if mode.IsRegular() {
		return t.file(e.Name, mode, r)
	}
	target, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return err
	}
	return t.symlink(e.Name, string(target))
}

func (t *tree) tooMuch() error {
	return record.Failf(record.DatasetInvalid, "the archive unpacks to more than %s", units.Bytes(t.bound)).
		WithHint("if that is no bomb, raise --max-unpacked (now %s) or --max-ratio (now %d)", units.Bytes(t.limits.Bytes), t.limits.Ratio)
}
