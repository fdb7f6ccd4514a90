package steptest

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const smallDiskVar = "STEPTEST_SMALL_DISK"

// SmallDisk returns a directory on a file system of its own with the given size
// in bytes. Only a process in a mount namespace of its own may make one, so the
// test runs again in such a process: the first call reports how that ended, with
// ok false, and the test must return at once.
func SmallDisk(t *testing.T, size int64) (dir string, ok bool) {
	t.Helper()
	if os.Getenv(smallDiskVar) != t.Name() {
		rerun(t)
		return "", false
	}
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir, true
}

// rerun runs the test alone in a child with new user and mount namespaces.
func rerun(t *testing.T) {
	t.Helper()
	p, err := os.StartProcess("/proc/self/exe", []string{os.Args[0], "-test.run=^" + t.Name() + "$", "-test.v"}, &os.ProcAttr{
		Env:   append(os.Environ(), smallDiskVar+"="+t.Name()),
		Files: []*os.File{nil, os.Stderr, os.Stderr},
		Sys: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		},
	})
	if err != nil {
		t.Fatalf("no process in a user namespace of its own can be started here: %v", err)
	}
	state, err := p.Wait()
	if err != nil || !state.Success() {
		t.Fatalf("in its own process the test ended with %v (%v); see above", state, err)
	}
}
