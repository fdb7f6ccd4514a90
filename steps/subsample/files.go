package subsample

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// digestPath digests a file, or a directory as the sorted list of its files with
// their digests. The Path of the result is left empty.
func digestPath(path string) (record.File, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return record.File{}, err
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		f, derr := artifacts.Digest(path)
		return f, errors.Join(err, derr)
	}
	list, total := sha256.New(), int64(0)
	err = filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := artifacts.Digest(file)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(path, file)
		total += f.Bytes
		fmt.Fprintf(list, "%s  %s\n", f.SHA256, filepath.ToSlash(rel))
		return err
	})
	return record.File{Bytes: total, SHA256: hex.EncodeToString(list.Sum(nil))}, err
}

// Copy puts a copy of a file or a directory at dst and returns the source with its
// digest. What was there is removed when the copy is whole.
func Copy(ctx context.Context, src, dst string) (record.File, error) {
	temp := filepath.Join(filepath.Dir(dst), "."+filepath.Base(dst)+".part")
	err := copyPath(ctx, src, temp)
	var f record.File
	if err == nil {
		f, err = digestPath(temp)
	}
	f.Path = src
	if err == nil {
		err = errors.Join(os.RemoveAll(dst), os.Rename(temp, dst))
	}
	if err != nil {
		err = errors.Join(err, os.RemoveAll(temp))
	}
	return f, err
}

// copyPath copies a file or a directory to dst, which is not there. The kernel
// copies the bytes, by reference where the file system can.
func copyPath(ctx context.Context, src, dst string) error {
	src, err := filepath.EvalSymlinks(src)
	if err != nil {
		return err
	}
	if info, err := os.Stat(src); err != nil || info.IsDir() {
		skipped, cerr := artifacts.CopyTree(ctx, src, dst)
		if len(skipped) > 0 {
			cerr = errors.Join(cerr, record.Failf(record.BadInput, "data %s: %s", src, skipped[0]))
		}
		return errors.Join(err, cerr)
	}
	from, err := os.Open(src)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o664)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Sync(), to.Close())
}

// replace puts temp at path. What is there already is moved to aside first when one
// of the two is a directory; a file goes in the same step.
func replace(temp, path, aside string) error {
	earlier, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	later, lerr := os.Lstat(temp)
	if lerr != nil {
		return lerr
	}
	if err == nil && (earlier.IsDir() || later.IsDir()) {
		if err := os.Rename(path, aside); err != nil {
			return err
		}
		if err := os.Rename(temp, path); err != nil {
			return errors.Join(err, os.Rename(aside, path))
		}
		return nil
	}
	return os.Rename(temp, path)
}
