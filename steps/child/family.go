package child

import (
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// family is about this process's children, of which there is one table whoever
// starts them; so it is the one thing here that is global.
var family = &relatives{running: map[int]*process{}}

type relatives struct {
	// mu is held while a child is started and while the table of processes is read,
	// so that a child which is in the table is also in running.
	mu      sync.Mutex
	reaper  bool
	running map[int]*process
}

func (r *relatives) start(p *process) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.reaper {
		// What a child leaves behind becomes ours, not that of process 1, which we
		// could not search and which may not reap.
		r.reaper = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil
	}
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.pid = p.cmd.Process.Pid
	r.running[p.pid] = p
	return nil
}

func (r *relatives) leave(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, p.pid)
}

// offspring returns what the ended child p has left behind and has not ended.
// Those of it that have, and that nobody else can wait for, are reaped.
// known is what earlier calls have found.
func (r *relatives) offspring(p *process, known map[stamp]bool) []procfs.ProcStat {
	r.mu.Lock()
	defer r.mu.Unlock()
	byParent := processes()
	var alive []procfs.ProcStat
	var add func(st procfs.ProcStat)
	add = func(st procfs.ProcStat) {
		known[stampOf(st)] = true
		switch {
		case !dead(st):
			alive = append(alive, st)
		case st.PPID == os.Getpid():
			// 0: other threads of it have not ended yet.
			if pid, err := unix.Wait4(st.PID, nil, unix.WNOHANG, nil); pid == 0 && err == nil {
				alive = append(alive, st)
			}
		}
		for _, c := range byParent[st.PID] {
			add(c)
		}
	}
	for _, st := range byParent[os.Getpid()] {
		if r.running[st.PID] == nil && (known[stampOf(st)] || r.claims(p, st)) {
			add(st)
		}
	}
	return alive
}

// claims says whether st, a child of ours that we have not started, descends from
// p: it is in p's session or bears its mark, or it bears the mark of no child,
// because it cleaned its environment, and nobody but p can have left it. What
// others in this process have started is in our own session.
func (r *relatives) claims(p *process, st procfs.ProcStat) bool {
	if st.Session == p.pid {
		return true
	}
	marks, found := markOf(st.PID)
	if found {
		return strings.Contains(marks, p.id)
	}
	own, err := unix.Getsid(0)
	return err == nil && st.Session != own && !p.leaf && r.parents() == 1 && st.Starttime >= p.ticks()
}

// parents counts the running children that may start others.
func (r *relatives) parents() (n int) {
	for _, p := range r.running {
		if !p.leaf {
			n++
		}
	}
	return n
}

func markOf(pid int) (marks string, found bool) {
	env, err := environ(pid)
	if err != nil {
		return "", false
	}
	v := value(env, MarkVar)
	return v, v != ""
}

// ticks is when p was started, in the system's unit; its zombie still tells.
func (p *process) ticks() uint64 {
	st, err := stat(p.pid)
	if err != nil {
		return 0
	}
	return st.Starttime
}
