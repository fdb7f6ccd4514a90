package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// Placed is a dataset in its directory.
type Placed struct {
	Dir string
	// Kept says that it was there already, as it should be.
	Kept  bool
	Files int
	Bytes int64
	// Backup is where something else that was at Dir is now.
	Backup string
}

// manifest is a file in the dataset's directory that says what else is in it.
type manifest struct {
	URL    string     `json:"url"`
	SHA256 string     `json:"sha256"`
	Format Format     `json:"format"`
	Files  []treeFile `json:"files"`
}

const manifestName = ".step-runner.json"

// Place unpacks, or links, a file of the cache at <parent>/<name>. The directory
// appears as a whole, or stays what it was. One that is not as step-runner made
// it is moved beside it, under a hidden name, so that nobody takes it for a dataset.
// The caller has the lock on the name.
func Place(ctx context.Context, s Source, r Result, parent string, l Limits) (Placed, error) {
	p := Placed{Dir: filepath.Join(parent, s.Name)}
	old := readManifest(p.Dir)
	ours := old != nil && old.matches(p.Dir, r)
	if ours && old.SHA256 == r.SHA256 && old.Format == s.Format && (s.Format != Plain || old.Files[0].Path == s.File) {
		p.Kept = true
		p.count(old)
		return p, nil
	}
	tmp := filepath.Join(parent, "."+s.Name+".new")
	if err := os.RemoveAll(tmp); err != nil {
		return p, err
	}
	// A killed attempt leaves it for the next one to remove.
	defer os.RemoveAll(tmp)
	if err := os.MkdirAll(tmp, 0o775); err != nil {
		return p, err
	}
	m := &manifest{URL: s.String(), SHA256: r.SHA256, Format: s.Format}
	if err := m.fill(ctx, s, r, tmp, l); err != nil {
		return p, err
	}
	p.count(m)
	return p, p.swap(tmp, ours)
}

func (p *Placed) count(m *manifest) {
	for _, f := range m.Files {
		p.Files++
		p.Bytes += f.Bytes
	}
}

func (m *manifest) fill(ctx context.Context, s Source, r Result, tmp string, l Limits) error {
	if s.Format == Plain {
		if err := checkContent(r.Path, s.File); err != nil {
			return err
		}
		if err := linkOrCopy(r.Path, filepath.Join(tmp, s.File)); err != nil {
			return err
		}
		m.Files = []treeFile{{Path: s.File, Bytes: r.Bytes, SHA256: r.SHA256}}
	} else {
		t, err := unpack(ctx, r.Path, s.Format, tmp, l)
		if err != nil {
			return withStart(err, r.Path)
		}
		m.Files = t.files
	}
	if _, err := os.Lstat(filepath.Join(tmp, manifestName)); err == nil {
		return record.Failf(record.DatasetInvalid, "the dataset has a file %s, which is step-runner's", manifestName)
	}
	return artifacts.WriteAtomic(filepath.Join(tmp, manifestName), 0o664, func(w io.Writer) error { return json.NewEncoder(w).Encode(m) })
}

// swap puts tmp in the dataset's place. What was there is removed when it is ours,
// and was not changed since.
func (p *Placed) swap(tmp string, ours bool) error {
	if _, err := os.Lstat(p.Dir); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(tmp, p.Dir)
	}
	backup := filepath.Join(filepath.Dir(p.Dir), "."+filepath.Base(p.Dir)+".before-") + time.Now().UTC().Format("20060102-150405.000000")
	if unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, p.Dir, unix.RENAME_EXCHANGE) == nil {
		if ours {
			return os.RemoveAll(tmp)
		}
		p.Backup = backup
		return os.Rename(tmp, backup)
	}
	// A file system that cannot exchange: for a moment nothing is there.
	if err := os.Rename(p.Dir, backup); err != nil {
		return err
	}
	if err := os.Rename(tmp, p.Dir); err != nil {
		return errors.Join(err, os.Rename(backup, p.Dir))
	}
	if ours {
		return os.RemoveAll(backup)
	}
	p.Backup = backup
	return nil
}

// Intact says whether dir is what Place made there of the file with this digest.
func Intact(dir, sha256 string) bool {
	m := readManifest(dir)
	return m != nil && m.SHA256 == sha256 && m.matches(dir, Result{})
}

func readManifest(dir string) *manifest {
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil
	}
	m := &manifest{}
	if json.Unmarshal(data, m) != nil || len(m.Files) == 0 {
		return nil
	}
	return m
}

// matches says whether exactly the manifest's files are in dir, each unchanged. A
// file that a notebook has left there is one too many: the next reader could take
// it for data.
func (m *manifest) matches(dir string, r Result) bool {
	files := map[string]treeFile{}
	for _, f := range m.Files {
		files[f.Path] = f
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(dir, path)
		if err := errors.Join(err, rerr); err != nil || d.IsDir() || rel == manifestName {
			return err
		}
		f, ok := files[rel]
		delete(files, rel)
		if !ok || !f.is(path, r) {
			return errors.New("changed")
		}
		return nil
	})
	return err == nil && len(files) == 0
}

func (f treeFile) is(path string, r Result) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	if f.Link != "" {
		target, err := os.Readlink(path)
		return err == nil && target == f.Link
	}
	if !info.Mode().IsRegular() || info.Size() != f.Bytes {
		return false
	}
	// The cache's own file has just been read.
	if cached, err := os.Stat(r.Path); err == nil && os.SameFile(info, cached) {
		return f.SHA256 == r.SHA256
	}
	d, err := artifacts.Digest(path)
	return err == nil && d.SHA256 == f.SHA256
}

// linkOrCopy gives the file in the cache a second name, so that it takes its space once.
func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return artifacts.WriteAtomic(to, 0o444, func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
}

var hdf5 = []byte("\x89HDF\r\n\x1a\n")

// checkContent checks that a file whose name says HDF5 is one: servers also
// answer with a page of HTML and status 200.
func checkContent(path, name string) error {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".h5ad", ".h5", ".hdf5":
	default:
		return nil
	}
	start, err := readStart(path)
	if err != nil || bytes.HasPrefix(start, hdf5) {
		return err
	}
	return record.Failf(record.DatasetInvalid, "%s is no HDF5 file: it begins with %q", name, start)
}

// withStart adds to the failure of an archive what its file begins with.
func withStart(err error, path string) error {
	var f *record.Failure
	if !errors.As(err, &f) || f.Kind != record.DatasetInvalid {
		return err
	}
	start, serr := readStart(path)
	if serr == nil && bytes.HasPrefix(bytes.TrimSpace(start), []byte("<")) {
		f.Message += "; it looks like a web page"
	}
	return f
}

func readStart(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	start := make([]byte, 16)
	n, err := io.ReadFull(f, start)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return start[:n], err
}
