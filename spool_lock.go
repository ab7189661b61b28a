package align

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// lockName is the file whose lock says who has the directory. It holds the process id and stays when the lock is gone.
const lockName = "lock"

// errHeld is what tryLock says of a lock that somebody else has.
var errHeld = errors.New("held by another")

// lockSpool takes the directory for this client. The system gives the lock back when the process dies.
func lockSpool(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := tryLock(path)
	for tries := 0; errors.Is(err, errHeld) && tries < 20; tries++ { // somebody who looks whether it is locked has it for a moment
		time.Sleep(time.Millisecond)
		f, err = tryLock(path)
	}
	if errors.Is(err, errHeld) {
		return nil, fmt.Errorf("%w: %s is in use by process %s", ErrSpoolLocked, dir, holder(path))
	}
	if err != nil {
		return nil, err
	}
	// A full disk may not take the number. The lock holds without it.
	if f.Truncate(0) == nil {
		writeAll(f, strconv.Itoa(os.Getpid())+"\n")
	}
	return f, nil
}

func writeAll(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

// unlockSpool lets go of the directory.
func unlockSpool(f *os.File) error {
	return errors.Join(f.Truncate(0), releaseLock(f))
}

// holder reads the process id from a lock file.
func holder(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 32))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		return strconv.Itoa(pid)
	}
	return "unknown"
}
