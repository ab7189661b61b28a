package align

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Every single step fails once in every test run; failures that last and other kinds of them at every n-th.
var diskFaults = flag.Int("diskfaults", 10, "1 lets every disk fault happen at every step in TestDiskFaultAtEveryStepLosesNothingSilently")

func (rec *recorder) client() *http.Client { return &http.Client{Transport: rec} }

// faultyFS is a disk that fails as told, and counts what it is asked for.
type faultyFS struct {
	spoolFS
	private bool // nothing is shared: stores must be written, as on systems without mapping

	mu     sync.Mutex // guards all below
	calls  map[string]int
	steps  int
	failAt int // the step that fails, from 1; 0: none
	lasts  int // how many steps after it fail, too
	err    error
	broken error // everything fails
}

func (d *faultyFS) step(op string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.calls == nil {
		d.calls = make(map[string]int)
	}
	d.calls[op]++
	d.steps++
	if d.broken != nil {
		return d.broken
	}
	if d.failAt > 0 && d.steps >= d.failAt && d.steps <= d.failAt+d.lasts {
		return fmt.Errorf("%s: %w", op, d.err)
	}
	return nil
}

func (d *faultyFS) count(op string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[op]
}

// break_ makes everything fail from now on, or nothing.
func (d *faultyFS) break_(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

func (d *faultyFS) create(name string, size int) (spoolFile, error) {
	if err := d.step("create"); err != nil {
		return nil, err
	}
	f, err := d.spoolFS.create(name, size)
	return d.wrap(f, err)
}

func (d *faultyFS) open(name string) (spoolFile, error) {
	if err := d.step("open"); err != nil {
		return nil, err
	}
	f, err := d.spoolFS.open(name)
	return d.wrap(f, err)
}

func (d *faultyFS) wrap(f spoolFile, err error) (spoolFile, error) {
	if err != nil {
		return nil, err
	}
	return &faultyFile{spoolFile: f, disk: d}, nil
}

func (d *faultyFS) remove(name string) error {
	if err := d.step("remove"); err != nil {
		return err
	}
	return d.spoolFS.remove(name)
}

func (d *faultyFS) rename(from, to string) error {
	if err := d.step("rename"); err != nil {
		return err
	}
	return d.spoolFS.rename(from, to)
}

func (d *faultyFS) syncDir() error {
	if err := d.step("syncDir"); err != nil {
		return err
	}
	return d.spoolFS.syncDir()
}

type faultyFile struct {
	spoolFile
	disk *faultyFS
}

func (f *faultyFile) memory(size int) ([]byte, bool, error) {
	if err := f.disk.step("memory"); err != nil {
		return nil, false, err
	}
	if !f.disk.private {
		return f.spoolFile.memory(size)
	}
	mapped, _, err := f.spoolFile.memory(size)
	return append([]byte(nil), mapped...), false, err
}

// writeAt writes half of it when it fails.
func (f *faultyFile) writeAt(p []byte, off int) error {
	if err := f.disk.step("write"); err != nil {
		f.spoolFile.writeAt(p[:len(p)/2], off)
		return errors.Join(io.ErrShortWrite, err)
	}
	return f.spoolFile.writeAt(p, off)
}

func (f *faultyFile) sync() error {
	if err := f.disk.step("sync"); err != nil {
		return err
	}
	return f.spoolFile.sync()
}

func (f *faultyFile) close() error {
	err := f.spoolFile.close() // it is gone either way
	return errors.Join(f.disk.step("close"), err)
}

func faultyClient(t testing.TB, disk *faultyFS, dir string, rec *recorder, change func(*Config)) *Client {
	t.Helper()
	c, err := openFaulty(disk, dir, rec, change)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func openFaulty(disk *faultyFS, dir string, rec *recorder, change func(*Config)) (*Client, error) {
	cfg := Config{ProjectID: "p1", APIKey: "k", SpoolDir: dir, Logger: discard, HTTPClient: rec.client(), IdleTimeout: -1}
	if change != nil {
		change(&cfg)
	}
	return newClientWith(cfg, func(string) spoolFS { return disk })
}

// faultScenario is two lives of a client on a disk that fails at one step: the first is killed, the second delivers
// everything.
func faultScenario(t *testing.T, failAt, lasts int, fault error, private bool) (steps int) {
	dir := t.TempDir()
	disk := &faultyFS{spoolFS: osFS{dir}, private: private, failAt: failAt, lasts: lasts, err: fault}
	change := func(cfg *Config) {
		cfg.MaxContentBytes, cfg.SpoolMaxBytes = 8<<10, 1<<20
		cfg.BatchEvents, cfg.FlushInterval = 5, 100*time.Millisecond
		cfg.IdleTimeout = time.Hour
	}
	rec := &recorder{answer: func(n int, _ request) answer {
		if n%3 == 1 {
			return answer{loses: true}
		}
		return answer{}
	}}
	c, err := openFaulty(disk, dir, rec, change)
	if err != nil {
		return disk.steps // it says so: nothing was accepted
	}
	record := func(from, n int) {
		for i := range n {
			m := Message{SessionID: "s1", Index: from + i, Role: RoleUser, Content: fmt.Sprintf("%07000d", i)}
			if err := c.CreateMessage(bg, m); err != nil {
				t.Fatalf("step %d: %v", failAt, err)
			}
			if i%10 == 9 {
				time.Sleep(300 * time.Millisecond)
				checkInvariant(t, c.Stats())
			}
		}
	}
	record(1, 40)
	rec.mu.Lock()
	rec.answer = func(int, request) answer { return answer{status: 503} }
	rec.mu.Unlock()
	record(41, 20)
	err = c.Close(within(t, 10*time.Second))
	s := c.Stats()
	checkInvariant(t, s)
	if s.Accepted != 60 {
		t.Errorf("step %d: %+v", failAt, s)
	}
	var de *DeliveryError
	if err != nil && !errors.As(err, &de) {
		t.Errorf("step %d: Close says %v", failAt, err)
	}
	rec.mu.Lock()
	rec.answer = nil
	rec.mu.Unlock()
	next, err := openFaulty(disk, dir, rec, change)
	if err != nil {
		if next, err = openFaulty(disk, dir, rec, change); err != nil { // the fault was at this step
			t.Fatalf("step %d: %v", failAt, err)
		}
	}
	if err := next.Close(within(t, time.Minute)); err != nil {
		t.Errorf("step %d: the second Close says %v", failAt, err)
	}
	again := next.Stats()
	checkInvariant(t, again)
	// A file that could not be opened is there for the third.
	last, err := openFaulty(&faultyFS{spoolFS: osFS{dir}, private: private}, dir, rec, change)
	if err != nil {
		t.Fatal(err)
	}
	if err := last.Close(within(t, time.Minute)); err != nil {
		t.Errorf("step %d: the third Close says %v", failAt, err)
	}
	checkInvariant(t, last.Stats())
	third := last.Stats()
	ids := make(map[string]bool)
	for _, e := range rec.delivered() {
		if e.Properties.GetMessageProperties() != nil {
			ids[e.Id] = true
		}
	}
	counted := s.dropped() + again.dropped() + third.dropped()
	if uint64(len(ids))+counted < 60 {
		t.Errorf("step %d of %d (%v): %d of 60 arrived, %d counted as dropped; %v, %v", failAt, disk.steps, fault, len(ids), counted, s, again)
	}
	if counted > 0 && fault != nil && lasts == 0 && s.Dropped[DropCorrupt] > 0 {
		t.Errorf("step %d: lost though the disk failed once: %v", failAt, s.Dropped)
	}
	return disk.steps
}

func TestDiskFaultAtEveryStepLosesNothingSilently(t *testing.T) {
	every := max(*diskFaults, 1)
	for _, private := range []bool{false, true} {
		var steps int
		synctest.Test(t, func(t *testing.T) { steps = faultScenario(t, 0, 0, nil, private) })
		t.Logf("%d steps", steps)
		faults := []error{errors.New("no space left on device"), errors.New("input/output error")}
		for _, fault := range faults {
			for _, lasts := range []int{25, 0} {
				if lasts == 0 && fault == faults[1] && every > 1 {
					continue // one kind of fault will do
				}
				for n := 1; n <= steps; n++ {
					if lasts > 0 && n%every != 0 {
						continue
					}
					synctest.Test(t, func(t *testing.T) { faultScenario(t, n, lasts, fault, private) })
					if t.Failed() {
						t.Fatalf("private %v, %v at step %d of %d, and %d more", private, fault, n, steps, lasts)
					}
				}
			}
		}
	}
}

// A file that can never be opened again holds up what is behind it for a while, not for good.
func TestFileThatCannotBeOpenedIsPutAsideInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := spoolClient(t, dir, down(), nil)
		for i := range 3 {
			say(t, c, "s1", i+1)
		}
		giveUp(t, c)

		rec := &recorder{}
		disk := &faultyFS{}
		cfg := Config{ProjectID: "p", APIKey: "k", Logger: discard, SpoolDir: dir, IdleTimeout: -1, HTTPClient: rec.client()}
		c, err := newClientWith(cfg, func(dir string) spoolFS { disk.spoolFS = osFS{dir}; return &unopenable{disk} })
		if err != nil {
			t.Fatal(err)
		}
		say(t, c, "s2", 1)
		time.Sleep(time.Hour)
		s := c.Stats()
		if s.Dropped[DropCorrupt] != 3 || s.Delivered != 1 || s.Pending != 0 {
			t.Errorf("%+v", s)
		}
		checkInvariant(t, s)
		finish(t, c)
		if aside, err := filepath.Glob(filepath.Join(dir, "*"+corruptSuffix)); err != nil || len(aside) != 1 {
			t.Errorf("%v, %v", aside, err)
		}
	})
}

// unopenable is a disk that opens each file once.
type unopenable struct{ *faultyFS }

func (d *unopenable) open(name string) (spoolFile, error) {
	if d.count("open "+name) > 0 {
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EIO}
	}
	if err := d.step("open " + name); err != nil {
		return nil, err
	}
	return d.faultyFS.open(name)
}
