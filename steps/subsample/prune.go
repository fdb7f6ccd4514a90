package subsample

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/units"
)

// keptMost is how many results stay in a workspace's cache/subsample. Each data set
// has one for each notebook that names other genes.
const keptMost = 20

// prune removes what was used longest ago until most are left, and what killed
// processes have left. What somebody uses stays. It returns how many it removed.
func (w *work) prune(ws *artifacts.Workspace, most int) (removed int) {
	dir := ws.Path("cache", "subsample")
	names, err := keptByUse(dir)
	if err != nil {
		w.Log.Warn("what is kept of earlier cuts could not be looked through", "dir", dir, "error", err)
		return 0
	}
	var freed int64
	for i, name := range names {
		key, isPart := strings.CutPrefix(name, ".")
		if key, _, _ = strings.Cut(key, "."); !isPart && i < most {
			continue
		}
		unlock, ok, err := ws.TryLock(lockName(key))
		if err == nil && ok {
			bytes := stored(filepath.Join(dir, name))
			if err = os.RemoveAll(filepath.Join(dir, name)); err == nil && !isPart {
				removed, freed = removed+1, freed+bytes
			}
			unlock()
		}
		if err != nil {
			w.Log.Warn("what is kept of an earlier cut could not be removed", "dir", filepath.Join(dir, name), "error", err)
		}
	}
	if removed > 0 && w.Note != nil {
		w.Note("cache/subsample: %d that were not used for the longest time were removed, %s", removed, units.Bytes(float64(freed)))
	}
	return removed
}

// keptByUse lists the results in dir, the one that was used last first, and then
// the parts that are being written or were left.
func keptByUse(dir string) ([]string, error) {
	found, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	used := map[string]time.Time{}
	var names, parts []string
	for _, e := range found {
		if strings.HasPrefix(e.Name(), ".") {
			parts = append(parts, e.Name())
			continue
		}
		names = append(names, e.Name())
		if info, err := os.Stat(filepath.Join(dir, e.Name(), "manifest.json")); err == nil {
			used[e.Name()] = info.ModTime()
		}
	}
	slices.SortFunc(names, func(a, b string) int { return used[b].Compare(used[a]) })
	return append(names, parts...), nil
}

// stored sums the sizes of the files in dir.
func stored(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil
	})
	return bytes
}
