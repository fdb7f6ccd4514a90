package child

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// Usage watches the memory of our descendants, those apart whose Spec said Leaf,
// and of our cgroup. It is for one goroutine.
type Usage struct {
	// GPU looks for descendants that have CUDA open too.
	GPU bool

	group   memoryGroup
	pids    []int
	holders map[int]string
	next    time.Time
	buffer  [4096]byte
}

// Used is what Usage saw. Nil is unknown.
type Used struct {
	// RSSBytes sums the descendants' resident sets; memory that they share counts
	// for each. A process is seen within two seconds of its start.
	RSSBytes uint64
	// CgroupBytes is the cgroup's memory without file pages that can be given up.
	CgroupBytes *uint64
}

// NewUsage finds our cgroup.
func NewUsage() *Usage {
	u := &Usage{holders: map[int]string{}}
	if fs, err := procfs.NewDefaultFS(); err == nil {
		u.group = findMemoryGroup(fs)
	}
	return u
}

// Limit is the cgroup's memory limit, nil where there is none.
func (u *Usage) Limit() *uint64 { return u.group.limit() }

// Holders are the descendants that have had CUDA open, with their names; also those
// that have ended.
func (u *Usage) Holders() map[int]string { return u.holders }

// The table of processes is read every scanEvery, or, where that takes longer than
// one part in scanShare of the time, less often, down to every scanLeast.
const (
	scanEvery = time.Second
	scanLeast = 2 * time.Second
	scanShare = 250
)

// Look reads the memory.
func (u *Usage) Look() Used {
	if now := time.Now(); now.After(u.next) {
		u.scan()
		u.next = time.Now().Add(min(scanLeast, max(scanEvery, scanShare*time.Since(now))))
	}
	var used Used
	for _, pid := range u.pids {
		used.RSSBytes += u.rss(pid)
	}
	used.CgroupBytes = u.group.used()
	return used
}

// scan finds our descendants.
func (u *Usage) scan() {
	spared := family.leaves()
	byParent := map[int][]int{}
	names := map[int]string{}
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, d := range dirs {
		if pid, err := strconv.Atoi(d.Name()); err == nil {
			if parent, name, ok := u.parent(pid); ok {
				byParent[parent] = append(byParent[parent], pid)
				names[pid] = name
			}
		}
	}
	u.pids = u.pids[:0]
	var add func(pid int)
	add = func(pid int) {
		for _, c := range byParent[pid] {
			if !slices.Contains(spared, c) {
				u.pids = append(u.pids, c)
				add(c)
			}
		}
	}
	add(os.Getpid())
	if u.GPU {
		for _, pid := range u.pids {
			if u.holders[pid] == "" && len(u.holders) < mostHolders && hasCUDA(pid) {
				u.holders[pid] = names[pid]
			}
		}
	}
}

// mostHolders bounds what is remembered of processes that come and go.
const mostHolders = 1000

// parent is the parent and the name of a process. That is in parentheses, and may
// hold parentheses itself.
func (u *Usage) parent(pid int) (parent int, name string, ok bool) {
	text := u.read("/proc/" + strconv.Itoa(pid) + "/stat")
	from, to := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if from < 0 || to < from {
		return 0, "", false
	}
	f := bytes.Fields(text[to+1:])
	if len(f) < 2 {
		return 0, "", false
	}
	parent, err := strconv.Atoi(string(f[1]))
	return parent, string(text[from+1 : to]), err == nil
}

// rss is 0 for a process that has ended.
func (u *Usage) rss(pid int) uint64 {
	f := bytes.Fields(u.read("/proc/" + strconv.Itoa(pid) + "/statm"))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(string(f[1]), 10, 64)
	return pages * uint64(os.Getpagesize())
}

// read returns the beginning of a file, as much as the buffer holds, until the next read.
func (u *Usage) read(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	n, _ := f.Read(u.buffer[:])
	return u.buffer[:n]
}

// hasCUDA says whether a process has the device open that every CUDA context needs.
func hasCUDA(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(fds, func(fd os.DirEntry) bool {
		to, err := os.Readlink(filepath.Join(dir, fd.Name()))
		return err == nil && to == "/dev/nvidia-uvm"
	})
}

// leaves are the running children that start no others.
func (r *relatives) leaves() (pids []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for pid, p := range r.running {
		if p.leaf {
			pids = append(pids, pid)
		}
	}
	return pids
}

// memoryGroup are the files of a memory cgroup; none where it cannot be found.
type memoryGroup struct {
	usage, stat, most string
	// inactive is the line of stat that counts the pages that can be given up.
	inactive string
}

func findMemoryGroup(fs procfs.FS) memoryGroup {
	for _, file := range oomFiles(fs) {
		dir := filepath.Dir(file)
		for _, g := range []memoryGroup{
			{filepath.Join(dir, "memory.current"), filepath.Join(dir, "memory.stat"), filepath.Join(dir, "memory.max"), "inactive_file "},
			{filepath.Join(dir, "memory.usage_in_bytes"), filepath.Join(dir, "memory.stat"), filepath.Join(dir, "memory.limit_in_bytes"), "total_inactive_file "},
		} {
			if readCount(g.usage) != nil {
				return g
			}
		}
	}
	return memoryGroup{}
}

func (g memoryGroup) used() *uint64 {
	all := readCount(g.usage)
	if all == nil {
		return nil
	}
	f, err := os.Open(g.stat)
	if err != nil {
		return all
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), g.inactive); ok {
			if n, err := strconv.ParseUint(v, 10, 64); err == nil && n <= *all {
				*all -= n
			}
			break
		}
	}
	return all
}

// limit is nil where there is none: version 1 then says about the largest number.
func (g memoryGroup) limit() *uint64 {
	n := readCount(g.most)
	if n == nil || *n > 1<<60 {
		return nil
	}
	return n
}

func readCount(file string) *uint64 {
	if file == "" {
		return nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}
