//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || illumos || windows)

package align

import (
	"errors"
	"io/fs"
	"os"
)

// tryLock makes a file that must not be there yet: this system has no lock that ends with its process. After a crash
// somebody has to remove it by hand.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, errHeld
	}
	return f, err
}

func releaseLock(f *os.File) error { return errors.Join(f.Close(), os.Remove(f.Name())) }

// isLocked reports whether somebody has the lock.
func isLocked(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
