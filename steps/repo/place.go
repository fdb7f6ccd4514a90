package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tempDir is a directory beside the clone's, in which the new one is made. An
// advisory lock on it says that its process is alive: what a killed one has left
// behind is removed by the next.
type tempDir struct {
	path string
	lock *os.File
	log  *slog.Logger
}

const tempPrefix = ".tmp-"

func newTempDir(parent string, log *slog.Logger) (*tempDir, error) {
	if err := os.MkdirAll(parent, 0o775); err != nil {
		return nil, err
	}
	removeStale(parent, log)
	// Not os.MkdirTemp, whose directories are for their owner only.
	path := filepath.Join(parent, fmt.Sprintf("%s%d-%d", tempPrefix, os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(path, 0o775); err != nil {
		return nil, err
	}
	lock, err := lockDir(path)
	if err != nil {
		log.Debug("no lock on the temporary directory", "dir", path, "error", err)
	}
	return &tempDir{path, lock, log}, nil
}

// lockDir takes the lock on dir without waiting. It is freed when the file is closed.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// youngest is how old a directory without a lock must be to count as left
// behind: a new one is locked a moment after it was made.
const youngest = time.Minute

func removeStale(parent string, log *slog.Logger) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || !strings.HasPrefix(e.Name(), tempPrefix) || time.Since(info.ModTime()) < youngest {
			continue
		}
		path := filepath.Join(parent, e.Name())
		lock, err := lockDir(path)
		if err != nil {
			continue
		}
		log.Info("removing what a killed clone left behind", "dir", path)
		if err := os.RemoveAll(path); err != nil {
			log.Warn("it could not be removed", "dir", path, "error", err)
		}
		lock.Close()
	}
}

// remove removes the directory, if the clone in it was not put in its place.
func (t *tempDir) remove() {
	if err := os.RemoveAll(t.path); err != nil {
		t.log.Warn("the temporary directory could not be removed", "dir", t.path, "error", err)
	}
	if t.lock != nil {
		t.lock.Close()
	}
}

// place puts the finished clone tmp at dir. What was at dir before is moved to a
// backup beside it, whose path is returned, and of which maxBackups are kept;
// without backup it is removed. At every moment dir is the old content or the
// new one, as far as the file system can do that.
func place(tmp, dir string, clean bool, maxBackups int, log *slog.Logger) (backup string, err error) {
	_, err = os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", os.Rename(tmp, dir)
	}
	if err != nil {
		return "", err
	}
	backup = backupName(dir, time.Now())
	if err := swap(tmp, dir, backup); err != nil {
		return "", err
	}
	if clean {
		return "", os.RemoveAll(backup)
	}
	prune(dir, maxBackups, log)
	return backup, nil
}

// swap puts tmp at dir and what was there at backup.
func swap(tmp, dir, backup string) error {
	err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	switch {
	case err == nil:
		return os.Rename(tmp, backup)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP):
		return swapInTwo(tmp, dir, backup)
	}
	return &fs.PathError{Op: "swap", Path: dir, Err: err}
}

// swapInTwo is for file systems that cannot exchange, such as NFS: dir is away
// for a moment, at backup, and put back if the second step fails.
func swapInTwo(tmp, dir, backup string) error {
	if err := os.Rename(dir, backup); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return errors.Join(err, os.Rename(backup, dir))
	}
	return nil
}

// backupForm is the end of a backup's name; names sort by time.
const backupForm = "20060102-150405.000000"

var backupEnd = regexp.MustCompile(`^\.backup-\d{8}-\d{6}\.\d{6}$`)

func backupName(dir string, now time.Time) string {
	return dir + ".backup-" + now.UTC().Format(backupForm)
}

// prune removes all but the newest max backups of dir.
func prune(dir string, max int, log *slog.Logger) {
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		log.Warn("old backups could not be listed", "error", err)
		return
	}
	var backups []string
	for _, e := range entries {
		if end, ok := strings.CutPrefix(e.Name(), filepath.Base(dir)); ok && backupEnd.MatchString(end) {
			backups = append(backups, filepath.Join(filepath.Dir(dir), e.Name()))
		}
	}
	slices.Sort(backups)
	for _, b := range backups[:len(backups)-min(max, len(backups))] {
		if err := os.RemoveAll(b); err != nil {
			log.Warn("an old backup could not be removed", "backup", b, "error", err)
		}
	}
}

// shareWithGroup gives the group what the owner may do in dir, if it may write
// to dir's parent: go-git makes directories that others cannot write to, and the
// next step may run as another user of the same group.
func shareWithGroup(dir string) error {
	info, err := os.Stat(filepath.Dir(dir))
	if err != nil || info.Mode()&0o020 == 0 {
		return err
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chmod(path, info.Mode().Perm()|(info.Mode().Perm()&0o700)>>3|info.Mode()&fs.ModeSetgid)
	})
}
