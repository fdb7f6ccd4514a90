package fetch

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/step-runner/step-runner/artifacts"
)

// entry says that a file in the cache is whole. It is written last.
type entry struct {
	URL     string  `json:"url"`
	Version version `json:"version"`
	SHA256  string  `json:"sha256"`
	Bytes   int64   `json:"bytes"`
}

func entryPath(dir string) string { return filepath.Join(dir, "entry.json") }

// readEntry returns nil when there is none that can be read.
func readEntry(dir string) *entry {
	data, err := os.ReadFile(entryPath(dir))
	if err != nil {
		return nil
	}
	e := &entry{}
	if json.Unmarshal(data, e) != nil || !digestRule.MatchString(e.SHA256) {
		return nil
	}
	return e
}

func (e *entry) write(dir string) error {
	return artifacts.WriteAtomic(entryPath(dir), 0o664, func(w io.Writer) error { return json.NewEncoder(w).Encode(e) })
}

// intact reads the file and says whether it is the one that was fetched: whoever
// has a link to it may have changed it.
func (e *entry) intact(dir string) bool {
	info, err := os.Stat(dataPath(dir))
	if err != nil || info.Size() != e.Bytes {
		return false
	}
	f, err := artifacts.Digest(dataPath(dir))
	return err == nil && f.SHA256 == e.SHA256
}
