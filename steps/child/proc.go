package child

import (
	"os"

	"github.com/prometheus/procfs"
)

// stamp names a process for good: the system gives a number again, but not with
// the same start.
type stamp struct {
	pid   int
	start uint64
}

func stampOf(st procfs.ProcStat) stamp { return stamp{st.PID, st.Starttime} }

func dead(st procfs.ProcStat) bool { return st.State == "Z" || st.State == "X" }

func stat(pid int) (procfs.ProcStat, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, err
	}
	return p.Stat()
}

func environ(pid int) ([]string, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return nil, err
	}
	return p.Environ()
}

// processes is the table of processes by parent. One that ends while it is read,
// or that we may not see, is left out.
func processes() map[int][]procfs.ProcStat {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil
	}
	byParent := make(map[int][]procfs.ProcStat, len(all))
	for _, p := range all {
		if st, err := p.Stat(); err == nil {
			byParent[st.PPID] = append(byParent[st.PPID], st)
		}
	}
	return byParent
}

// sendTo sends sig to the process that st was read from, never to another one
// that has its number by now.
func sendTo(st procfs.ProcStat, sig os.Signal) {
	// FindProcess holds on to the process where the system can.
	p, err := os.FindProcess(st.PID)
	if err != nil {
		return
	}
	defer func() { _ = p.Release() }()
	if now, err := stat(st.PID); err == nil && now.Starttime == st.Starttime {
		_ = p.Signal(sig)
	}
}
