// Command step-runner runs a GPU notebook workflow of eight steps and gives a
// verdict that can be trusted.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/step-runner/step-runner/artifacts/record"
)

func main() {
	shareWithGroup()
	os.Exit(run(withSignals(context.Background()), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// shareWithGroup lets the group write what we and our children make: the steps of
// one run may be containers of different users, who have only the volume's group
// (fsGroup, or OpenShift's group 0) in common. A mask that keeps the group from
// reading is left as it is.
func shareWithGroup() {
	mask := syscall.Umask(0)
	if mask&0o040 == 0 {
		mask &^= 0o020
	}
	syscall.Umask(mask)
}

// withSignals returns a context that the first TERM, INT, HUP or QUIT ends; its
// cause is the failure to report. Later signals change nothing: the children
// have their grace, and the record is on its way.
func withSignals(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	c := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		// What nohup or a shell's & has turned off stays off.
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
	// A console that goes away must not kill the step: with a handler, the write
	// fails with EPIPE instead. Ignoring the signal would be inherited by children.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		sig := (<-c).(syscall.Signal)
		cancel(record.BySignal(sig))
	}()
	return ctx
}
