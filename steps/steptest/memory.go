package steptest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/procfs"
)

// LimitMemory returns what to put before a program's argv so that the program
// and its children together get no more than limit bytes of memory, as in a
// container. Only root may make the cgroup; elsewhere the test is skipped.
func LimitMemory(t testing.TB, limit int64) []string {
	t.Helper()
	var errs []error
	for _, v := range []struct{ mount, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		dir := filepath.Join(v.mount, ownGroup(t, v.mount), fmt.Sprintf("steptest-%d-%s", os.Getpid(), filepath.Base(t.TempDir())))
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			t.Cleanup(func() { _ = os.Remove(dir) })
			// Not WriteFile: a file that is not there must not be made.
			err = put(filepath.Join(dir, v.limit), fmt.Sprint(limit))
		}
		if err == nil {
			return []string{"/bin/sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(dir, "cgroup.procs")}
		}
		errs = append(errs, err)
	}
	t.Skipf("no cgroup with a memory limit can be made here: %v", errs)
	return nil
}

// ownGroup is this process's cgroup under the mount of version 1's memory
// controller or of version 2.
func ownGroup(t testing.TB, mount string) string {
	t.Helper()
	self, err := procfs.Self()
	if err != nil {
		t.Fatal(err)
	}
	groups, err := self.Cgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if v2 := g.HierarchyID == 0; v2 == (mount == "/sys/fs/cgroup") && (v2 || len(g.Controllers) == 1 && g.Controllers[0] == "memory") {
			return g.Path
		}
	}
	return ""
}

func put(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
