package artifacts

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"

	"github.com/step-runner/step-runner/artifacts/record"
)

// WriteAtomic replaces path by what write writes: readers see the old content
// or the new one, never a part, and a failure leaves the old one.
func WriteAtomic(path string, mode os.FileMode, write func(io.Writer) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if err := write(tmp); err != nil {
		return err
	}
	if err := tmp.Chmod(mode); err != nil {
		return err
	}
	// Without it a crash of the node can leave an empty file under the new name.
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// WriteText is WriteAtomic of a text that everybody of the group may change.
func WriteText(path string, text []byte) error {
	return WriteAtomic(path, 0o664, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// Digest reads the file once and returns its size in bytes and SHA-256. The
// extra writers see the same bytes. The Path of the result is left empty.
func Digest(path string, also ...io.Writer) (record.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return record.File{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(append(also, h)...), f)
	if err != nil {
		return record.File{}, err
	}
	return record.File{Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}
