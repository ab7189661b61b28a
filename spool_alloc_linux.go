package align

import (
	"errors"
	"os"
	"syscall"
)

// preallocate reserves the blocks, which fails at once where there are none, and then writes zeros: pages that a large
// write brings into memory cost a fifth of those that each come with the first store to them.
func preallocate(f *os.File, size int) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(size))
		switch {
		case errors.Is(err, syscall.EINTR):
		case err == nil, errors.Is(err, errors.ErrUnsupported): // the file system's, not the system's
			return writeZeros(f, size)
		default:
			return err
		}
	}
}
