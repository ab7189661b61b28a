//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package align

import (
	"errors"
	"os"
)

// Without memory mapping a segment is written with plain writes, and kept in memory while it is in use.
const canMap = false

func mapFile(*os.File, int) ([]byte, error) { return nil, errors.ErrUnsupported }
func unmapFile([]byte) error                { return errors.ErrUnsupported }
