package pyenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lock is an advisory lock on one environment: shared by those who use it,
// exclusive for the one who builds it. The system frees it when its holder dies.
type lock struct{ f *os.File }

// lockPause is the time between two tries. Waiting in the system instead could
// not be ended by ctx.
const lockPause = 100 * time.Millisecond

// take waits for the lock until ctx ends. It calls waiting once when somebody
// else holds it.
func take(ctx context.Context, path string, how int, waiting func()) (*lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o664)
	if errors.Is(err, os.ErrPermission) {
		f, err = os.Open(path) // Another user's: a lock needs no more.
	}
	if err != nil {
		return nil, err
	}
	l := &lock{f}
	if err := l.convert(ctx, how, waiting); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return l, nil
}

// convert takes the lock in another way. The old hold may be lost in between.
func (l *lock) convert(ctx context.Context, how int, waiting func()) error {
	for {
		err := unix.Flock(int(l.f.Fd()), how|unix.LOCK_NB)
		if err == nil || (err != unix.EWOULDBLOCK && err != unix.EINTR) {
			return err
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPause):
		}
	}
}

// try takes the lock exclusively if nobody else holds it now.
func (l *lock) try() bool { return unix.Flock(int(l.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }

func (l *lock) release() { l.f.Close() }
