package align

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
)

// spoolFS is what a spool asks of its directory. Tests put one in between that fails.
type spoolFS interface {
	list() (names []string, err error)
	// create makes a file of that size whose blocks are all there: no later store can find the disk full.
	create(name string, size int) (spoolFile, error)
	open(name string) (spoolFile, error)
	remove(name string) error
	rename(from, to string) error
	syncDir() error
}

// spoolFile is an open file of a spool.
type spoolFile interface {
	size() (int, error)
	// memory returns the file's content in memory. If it is shared, what is stored there is in the file at once; if not,
	// it is a copy, and what is stored there must be written, too. Touch it only under guard.
	memory(size int) (data []byte, shared bool, err error)
	writeAt(p []byte, off int) error
	sync() error
	// close lets go of the memory, too.
	close() error
}

// osFS is a directory of the system's.
type osFS struct{ dir string }

func (d osFS) list() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d osFS) create(name string, size int) (spoolFile, error) {
	path := filepath.Join(d.dir, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := preallocate(f, size); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return &osFile{File: f}, nil
}

func (d osFS) open(name string) (spoolFile, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

func (d osFS) remove(name string) error {
	err := os.Remove(filepath.Join(d.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d osFS) rename(from, to string) error {
	return os.Rename(filepath.Join(d.dir, from), filepath.Join(d.dir, to))
}

// syncDir makes the names of new files durable. Where a directory cannot be synced the system sees to it.
func (d osFS) syncDir() error {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" || runtime.GOOS == "js" {
		return nil
	}
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type osFile struct {
	*os.File
	mapped []byte
}

func (f *osFile) size() (int, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() != int64(int(info.Size())) {
		return 0, fmt.Errorf("%s is too large for this machine", info.Name())
	}
	return int(info.Size()), nil
}

func (f *osFile) memory(size int) (data []byte, shared bool, err error) {
	if !canMap {
		data = make([]byte, size)
		_, err = f.ReadAt(data, 0)
		return data, false, err
	}
	f.mapped, err = mapFile(f.File, size)
	return f.mapped, true, err
}

func (f *osFile) writeAt(p []byte, off int) error {
	_, err := f.WriteAt(p, int64(off))
	return err
}

func (f *osFile) sync() error { return f.Sync() }

func (f *osFile) close() error {
	var err error
	if f.mapped != nil {
		err = unmapFile(f.mapped)
		f.mapped = nil
	}
	return errors.Join(err, f.Close())
}

// zeros is what a new file holds. Never written to, it takes no memory.
var zeros [256 << 10]byte

// writeZeros gives every block of a new file a page in memory and, where the system has nothing better, its place on disk.
func writeZeros(f *os.File, size int) error {
	for off := 0; off < size; off += len(zeros) {
		if _, err := f.WriteAt(zeros[:min(len(zeros), size-off)], int64(off)); err != nil {
			return err
		}
	}
	return nil
}

// guard runs f, which touches mapped memory, and reports false when the memory cannot be had: the file was cut short by
// somebody, or its disk fails. That is a SIGBUS, which would end the program.
func guard(f func()) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverFault(&ok)
	f()
	return true
}

// recoverFault is deferred by what touches mapped memory, under debug.SetPanicOnFault. It lets panics of other kinds go on.
func recoverFault(ok *bool) {
	switch r := recover().(type) {
	case nil:
	case interface{ Addr() uintptr }: // a runtime.Error about an address
		*ok = false
	default:
		panic(r)
	}
}
