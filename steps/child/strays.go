package child

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

const (
	// settle is for processes that are about to end: Python's helpers do so when
	// they see that their parent is gone.
	settle = 500 * time.Millisecond
	// strayGrace is between a stray's TERM and KILL.
	strayGrace = 2 * time.Second
)

// sweep ends what the child has left behind and names it.
func (p *process) sweep() []string {
	if !p.hasExited() {
		return []string{fmt.Sprintf("%d %s (does not end)", p.pid, p.name)}
	}
	known := map[stamp]bool{}
	find := func() []procfs.ProcStat { return family.offspring(p, known) }
	return names(end(find, settle))
}

// end ends what find finds, with TERM and then with KILL, and returns those that
// were still there after wait.
func end(find func() []procfs.ProcStat, wait time.Duration) []procfs.ProcStat {
	if !remain(find, wait) {
		return nil
	}
	all := map[stamp]procfs.ProcStat{}
	send := func(sig os.Signal) {
		for _, st := range find() {
			if _, had := all[stampOf(st)]; sig == syscall.SIGKILL || !had {
				sendTo(st, sig)
			}
			all[stampOf(st)] = st
		}
	}
	send(syscall.SIGTERM)
	if remain(find, strayGrace) {
		for until := time.Now().Add(strayGrace); remain(find, 0) && time.Now().Before(until); {
			send(syscall.SIGKILL)
			remain(find, 50*time.Millisecond)
		}
	}
	var ended []procfs.ProcStat
	for _, st := range all {
		ended = append(ended, st)
	}
	slices.SortFunc(ended, func(a, b procfs.ProcStat) int { return a.PID - b.PID })
	return ended
}

// remain says whether find still finds something after at most wait.
func remain(find func() []procfs.ProcStat, wait time.Duration) bool {
	until := time.Now().Add(wait)
	for pause := time.Millisecond; len(find()) > 0; pause = min(2*pause, 50*time.Millisecond) {
		if time.Now().Add(pause).After(until) {
			return true
		}
		time.Sleep(pause)
	}
	return false
}

func names(list []procfs.ProcStat) []string {
	var names []string
	for _, st := range list {
		names = append(names, fmt.Sprintf("%d %s", st.PID, st.Comm))
	}
	return names
}

// EndMarked ends the processes that have the variable name with the value in
// their environment, wherever they are in the tree, with their descendants, and
// returns them as "pid name". It spares this process and those that it descends
// from.
func EndMarked(name, value string) []string {
	mark := name + "=" + value
	spared := ancestors()
	return names(end(func() []procfs.ProcStat { return bearers(mark, spared) }, 0))
}

func bearers(mark string, spared map[int]bool) []procfs.ProcStat {
	byParent := processes()
	found := map[int]bool{}
	var list []procfs.ProcStat
	var add func(st procfs.ProcStat)
	add = func(st procfs.ProcStat) {
		if spared[st.PID] || found[st.PID] {
			return
		}
		found[st.PID] = true
		if !dead(st) {
			list = append(list, st)
		}
		for _, c := range byParent[st.PID] {
			add(c)
		}
	}
	for _, children := range byParent {
		for _, st := range children {
			// That of another user's process cannot be read; we could not end it either.
			if env, err := environ(st.PID); err == nil && slices.Contains(env, mark) {
				add(st)
			}
		}
	}
	return list
}

// ancestors are this process and those above it.
func ancestors() map[int]bool {
	list := map[int]bool{}
	for pid := os.Getpid(); pid > 0 && !list[pid]; {
		list[pid] = true
		st, err := stat(pid)
		if err != nil {
			break
		}
		pid = st.PPID
	}
	return list
}
