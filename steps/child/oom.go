package child

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// oomKills is how many processes of our cgroup the kernel has killed for want of
// memory, -1 when that cannot be known.
func oomKills() int {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return -1
	}
	for _, file := range oomFiles(fs) {
		if n := oomCount(file); n >= 0 {
			return n
		}
	}
	return -1
}

// since is the number of OOM kills after one call of oomKills.
func since(before int) int {
	now := oomKills()
	if before < 0 || now < before {
		return -1
	}
	return now - before
}

// oomFiles are the files that may hold the count: of a version 1 memory cgroup,
// then of the version 2 one.
func oomFiles(fs procfs.FS) []string {
	self, err := fs.Self()
	if err != nil {
		return nil
	}
	groups, err := self.Cgroups()
	if err != nil {
		return nil
	}
	mounts, err := self.MountInfo()
	if err != nil {
		return nil
	}
	var v1, v2 []string
	for _, g := range groups {
		for _, m := range mounts {
			dir, ok := groupDir(m, g.Path)
			_, memory := m.SuperOptions["memory"]
			switch {
			case !ok:
			case m.FSType == "cgroup" && memory && slices.Contains(g.Controllers, "memory"):
				v1 = append(v1, filepath.Join(dir, "memory.oom_control"))
			case m.FSType == "cgroup2" && g.HierarchyID == 0:
				v2 = append(v2, filepath.Join(dir, "memory.events"))
			}
		}
	}
	return append(v1, v2...)
}

// groupDir is where the cgroup lies under the mount. Inside a container a mount
// may show only its own part of the tree while the group's path is the host's;
// then that part is taken for the group. A group outside of the namespace, which
// starts with "/..", cannot be found.
func groupDir(m *procfs.MountInfo, group string) (string, bool) {
	if strings.HasPrefix(group, "/..") || strings.HasPrefix(m.Root, "/..") {
		return "", false
	}
	rel, err := filepath.Rel(m.Root, group)
	if err != nil || !filepath.IsLocal(rel) {
		rel = "."
	}
	return filepath.Join(m.MountPoint, rel), true
}

func oomCount(file string) int {
	f, err := os.Open(file)
	if err != nil {
		return -1
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), "oom_kill "); ok {
			if n, err := strconv.Atoi(v); err == nil {
				return n
			}
		}
	}
	return -1
}
