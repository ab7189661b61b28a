//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly || illumos

package align

import (
	"errors"
	"os"
	"syscall"
)

// tryLock opens and locks a file. flock's locks belong to the open file: another client of the same process is refused, too.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return f, nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			f.Close()
			return nil, errHeld
		default:
			f.Close()
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
	}
}

func releaseLock(f *os.File) error { return f.Close() }

// isLocked reports whether somebody has the lock.
func isLocked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() // and the lock, if it was to be had
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
