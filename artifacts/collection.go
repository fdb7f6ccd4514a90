package artifacts

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Artifact is one file, as it was read.
type Artifact struct {
	// Name is its path below the directory that it was read from, with slashes.
	Name      string
	Bytes     int64
	SHA256    string
	MediaType string
	// Form is what Check found it to be, Problem why it is not what it should be.
	Form    string
	Problem error
	// Leaked says that it holds a known secret.
	Leaked bool
}

// Redactor is what knows the secrets; redact.Set is one.
type Redactor interface {
	Writer(io.Writer) io.WriteCloser
}

// List returns the regular files below dir, and what else lies there: links,
// devices, sockets. Links are not followed.
func List(dir *os.Root) (files, refused []string, err error) {
	err = fs.WalkDir(dir.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.Type().IsRegular():
			files = append(files, name)
		case !e.IsDir():
			refused = append(refused, name)
		}
		return nil
	})
	return files, refused, err
}

// ReadArtifact reads the file once: its digest, its check and the search for
// secrets see the same bytes, and so does to, which must not fail.
func ReadArtifact(ctx context.Context, dir *os.Root, name string, secrets Redactor, to io.Writer) (Artifact, error) {
	a := Artifact{Name: name, MediaType: MediaType(name)}
	f, err := openRegular(dir, name)
	if err != nil {
		return a, err
	}
	defer f.Close()
	sum, leak, src := sha256.New(), newLeakDetector(secrets), &source{ctx: ctx, r: f}
	r := bufio.NewReaderSize(io.TeeReader(src, io.MultiWriter(sum, leak, to)), 256<<10)
	a.Form, a.Problem = Check(a.MediaType, r)
	if _, err := io.Copy(io.Discard, r); err != nil {
		return a, err
	}
	a.Bytes, a.SHA256 = src.n, hex.EncodeToString(sum.Sum(nil))
	a.Leaked, err = leak.found()
	return a, err
}

// openRegular opens a file that is no link and no device, also if something puts
// one in its place at this moment.
func openRegular(dir *os.Root, name string) (*os.File, error) {
	want, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	// Opening a FIFO would wait for its writer.
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	got, err := f.Stat()
	if err == nil && (!want.Mode().IsRegular() || !os.SameFile(want, got)) {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// source counts what is read, ends with ctx, and stays at its first error.
type source struct {
	ctx context.Context
	r   io.Reader
	n   int64
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err == nil && s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	s.err = err
	return n, err
}

// leakDetector finds a secret in a stream: redaction has then changed it.
type leakDetector struct {
	plain, redacted maphash.Hash
	through         io.WriteCloser
}

func newLeakDetector(secrets Redactor) *leakDetector {
	d := &leakDetector{}
	d.redacted.SetSeed(d.plain.Seed())
	d.through = secrets.Writer(&d.redacted)
	return d
}

func (d *leakDetector) Write(p []byte) (int, error) {
	d.plain.Write(p)
	return d.through.Write(p)
}

func (d *leakDetector) found() (bool, error) {
	err := d.through.Close()
	return d.plain.Sum64() != d.redacted.Sum64(), err
}
