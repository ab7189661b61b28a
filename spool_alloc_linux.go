package align

import (
	"errors"
	"os"
	"syscall"
)

func preallocate(f *os.File, size int) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(size))
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if errors.Is(err, errors.ErrUnsupported) { // the file system's, not the system's
			return writeZeros(f, size)
		}
		return err
	}
}
