package align

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// spoolClient is a client with a spool, and no idle closes but those a test asks for.
func spoolClient(t testing.TB, dir string, rec *recorder, change func(*Config)) *Client {
	t.Helper()
	return newClient(t, rec, func(cfg *Config) {
		cfg.SpoolDir = dir
		cfg.IdleTimeout = -1
		if change != nil {
			change(cfg)
		}
	})
}

// down is a collector that takes nothing.
func down() *recorder {
	return &recorder{answer: func(int, request) answer { return answer{status: 503} }}
}

// snapshot returns a copy of the directory: what the next process would find if this one died now.
func snapshot(t testing.TB, dir string) string {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return copied
}

func segmentsIn(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// finish closes a client that has nothing to hide.
func finish(t testing.TB, c *Client) {
	t.Helper()
	if err := c.Close(bg); err != nil {
		t.Error(err)
	}
	checkInvariant(t, c.Stats())
}

// giveUp closes a client whose collector is away.
func giveUp(t testing.TB, c *Client) *DeliveryError {
	t.Helper()
	var de *DeliveryError
	if err := c.Close(within(t, time.Second)); !errors.As(err, &de) {
		t.Fatalf("Close says %v", err)
	}
	checkInvariant(t, c.Stats())
	return de
}

func TestSpooledEventsOutliveTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := spoolClient(t, dir, down(), nil)
		for i := range 3000 {
			say(t, c, fmt.Sprint("s", i%3), i/3+1)
		}
		after := snapshot(t, dir)
		giveUp(t, c)

		rec := &recorder{}
		next := spoolClient(t, after, rec, func(cfg *Config) { cfg.Senders = 2 })
		if s := next.Stats(); s.Recovered != 3000 || s.Accepted != 3000 || s.Pending+s.Delivered != 3000 || len(s.Dropped) != 0 {
			t.Errorf("%+v", s)
		}
		finish(t, next)
		for i := range 3 {
			checkDelivered(t, rec, fmt.Sprint("s", i), 1000)
		}
		if left := segmentsIn(t, after); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestRetryAfterRestartIsTheSameRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		lost := down()
		c := spoolClient(t, dir, lost, func(cfg *Config) { cfg.BatchEvents = 10 })
		for i := range 25 {
			say(t, c, "s1", i+1)
		}
		synctest.Wait()
		after := snapshot(t, dir)
		giveUp(t, c)
		rec := &recorder{}
		finish(t, spoolClient(t, after, rec, nil))
		before, again := lost.all()[0], rec.all()[0]
		if before.id != again.id || !bytes.Equal(before.body, again.body) {
			t.Errorf("request %s with %d events came again as %s with %d", before.id, len(before.events), again.id, len(again.events))
		}
		checkDelivered(t, rec, "s1", 25)
	})
}

func TestAcknowledgedEventsDoNotComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		rec := &recorder{answer: func(n int, _ request) answer {
			if n < 2 {
				return answer{}
			}
			return answer{status: 503}
		}}
		c := spoolClient(t, dir, rec, func(cfg *Config) { cfg.BatchEvents = 10 })
		for i := range 35 {
			say(t, c, "s1", i+1)
		}
		synctest.Wait()
		after := snapshot(t, dir)
		giveUp(t, c)
		next := spoolClient(t, after, rec, nil)
		if n := next.Stats().Recovered; n != 15 {
			t.Errorf("%d recovered, want 15", n)
		}
		giveUp(t, next)
		rec.answer = nil
		finish(t, spoolClient(t, after, rec, nil))
		checkDelivered(t, rec, "s1", 35)
	})
}

// Each process spreads sessions over its senders in its own way, and there may be several to clear up after.
func TestOrderHoldsAcrossRestartsWithSeveralSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		const sessions, processes = 20, 4
		for p := range processes {
			c := spoolClient(t, dir, down(), func(cfg *Config) { cfg.Senders = 1 + p })
			for i := range sessions * 10 {
				say(t, c, fmt.Sprint("s", i%sessions), p*10+i/sessions+1)
			}
			synctest.Wait()
			dir2 := snapshot(t, dir)
			giveUp(t, c)
			dir = dir2
		}
		rec := &recorder{answer: func(n int, _ request) answer { return answer{takes: time.Duration(n%7) * time.Second} }}
		c := spoolClient(t, dir, rec, func(cfg *Config) { cfg.Senders = 8; cfg.BatchEvents = 7 })
		for i := range sessions {
			say(t, c, fmt.Sprint("s", i), processes*10+1)
		}
		if err := c.Close(within(t, time.Hour)); err != nil {
			t.Error(err)
		}
		for i := range sessions {
			checkDelivered(t, rec, fmt.Sprint("s", i), processes*10+1)
		}
	})
}

func TestTornRecordEndsItsSegmentAndIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := spoolClient(t, dir, down(), func(cfg *Config) { cfg.Senders = 2 })
		for i := range 100 { // one lane each
			say(t, c, fmt.Sprint("s", i), 1)
		}
		after := snapshot(t, dir)
		giveUp(t, c)
		var in, whole int // events in the file that is to be torn, and before the flipped bit
		for _, name := range segmentsIn(t, after) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var content segmentContent
			var at int
			if err := readSegment(data, &content, func(i int, entry []byte) {
				if i == 20 {
					at = bytes.Index(data, entry) + len(entry)/2
				}
			}); err != nil || content.events <= 20 {
				continue
			}
			data[at] ^= 4
			in, whole = content.events, 20
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			break
		}
		var told []Drop
		var log logBuffer
		rec := &recorder{}
		next := spoolClient(t, after, rec, func(cfg *Config) {
			cfg.OnDrop = func(d Drop) { told = append(told, d) }
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		finish(t, next)
		s := next.Stats()
		if lost := in - whole; s.Dropped[DropCorrupt] != uint64(lost) || len(told) != lost || s.Delivered != uint64(100-lost) || s.Recovered != 100 {
			t.Errorf("want %d lost: %+v, told %d", lost, s, len(told))
		}
		if !strings.Contains(log.String(), "reason=corrupt") {
			t.Errorf("the log says %q", log.String())
		}
	})
}

func TestUnknownFormatVersionIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	data := append([]byte(segmentMagic), 2, 0, 0, 0)
	data = append(data, make([]byte, 1000)...)
	name := filepath.Join(dir, segmentName(7))
	stranger := filepath.Join(dir, "notes.txt")
	for _, file := range []string{name, stranger} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := New(Config{ProjectID: "p1", APIKey: "k", SpoolDir: dir, Logger: discard})
	if !errors.Is(err, ErrSpoolVersion) || !strings.Contains(err.Error(), "version 2") || !strings.Contains(err.Error(), filepath.Base(name)) {
		t.Errorf("New says %v", err)
	}
	for _, file := range []string{name, stranger} {
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, data) {
			t.Errorf("%s was touched: %v", file, err)
		}
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	finish(t, spoolClient(t, dir, &recorder{}, nil)) // the lock was given back
	if _, err := os.Stat(stranger); err != nil {
		t.Error(err)
	}
}

func TestSecondClientIsToldWhoHasTheSpool(t *testing.T) {
	dir := t.TempDir()
	c := spoolClient(t, dir, &recorder{}, nil)
	_, err := New(Config{ProjectID: "p1", APIKey: "k", SpoolDir: dir, Logger: discard})
	if !errors.Is(err, ErrSpoolLocked) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("New says %v", err)
	}
	finish(t, c)
	finish(t, spoolClient(t, dir, &recorder{}, nil))
}

func TestSpoolFilesAreTheUsersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	c := spoolClient(t, dir, down(), nil)
	say(t, c, "s1", 1)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 2 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	giveUp(t, c)
}

func TestCloseLeavesEventsToTheNextClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := spoolClient(t, dir, down(), nil)
		ctx, receipt := WithReceipt(bg)
		if err := c.CreateMessage(ctx, Message{SessionID: "s1", Index: 1, Role: RoleUser, Content: "x"}); err != nil {
			t.Fatal(err)
		}
		for i := range 99 {
			say(t, c, "s1", i+2)
		}
		flushed := make(chan error)
		go func() { flushed <- c.Flush(within(t, time.Hour)) }()
		synctest.Wait()
		de := giveUp(t, c)
		if de.Pending != 100 || de.Dropped != 0 || de.SpoolDir != dir || !strings.Contains(de.Error(), "100 pending in "+dir) {
			t.Errorf("Close says %v", de)
		}
		if err := <-flushed; !errors.Is(err, ErrClosed) {
			t.Errorf("Flush says %v", err)
		}
		if err := receipt.Wait(bg); !errors.Is(err, ErrSpooled) {
			t.Errorf("the receipt says %v", err)
		}
		rec := &recorder{}
		finish(t, spoolClient(t, dir, rec, nil))
		checkDelivered(t, rec, "s1", 100)
	})
}

func TestFullSpoolMeetsTheOverflowRule(t *testing.T) {
	for _, rule := range []Overflow{OverflowReject, OverflowBlock, OverflowDropOldest} {
		t.Run(fmt.Sprint(rule), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				rec := down()
				var told int
				c := spoolClient(t, dir, rec, func(cfg *Config) {
					cfg.Overflow = rule
					cfg.MaxContentBytes = 8 << 10
					cfg.SpoolMaxBytes = 1 << 20
					cfg.OnDrop = func(Drop) { told++ }
				})
				m := Message{SessionID: "s1", Role: RoleUser, Content: strings.Repeat("x", 8<<10)}
				taken := 0
				for i := range 300 { // more than two megabytes
					m.Index = i + 1
					err := c.CreateMessage(within(t, time.Millisecond), m)
					switch {
					case err == nil:
						taken++
					case !errors.Is(err, ErrBufferFull):
						t.Fatal(err)
					case rule == OverflowBlock && !errors.Is(err, context.DeadlineExceeded):
						t.Errorf("did not wait: %v", err)
					}
					if used := diskUse(t, dir); used > 1<<20 {
						t.Fatalf("%d bytes on the disk", used)
					}
				}
				s := c.Stats()
				if rule == OverflowDropOldest {
					if taken != 300 || s.Dropped[DropOverflow] < 150 || told != int(s.Dropped[DropOverflow]) {
						t.Errorf("taken %d, %+v, told %d", taken, s, told)
					}
				} else if taken < 80 || taken > 130 || s.Full != uint64(300-taken) {
					t.Errorf("taken %d, %+v", taken, s)
				}
				checkInvariant(t, s)
				rec.mu.Lock()
				rec.answer = nil
				rec.mu.Unlock()
				finish(t, c)
			})
		})
	}
}

// diskUse is the size of all segments in a directory.
func diskUse(t testing.TB, dir string) (bytes int64) {
	for _, name := range segmentsIn(t, dir) {
		if info, err := os.Stat(name); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

func TestEventLargerThanASegmentHasAFileOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		change := func(cfg *Config) { cfg.MaxContentBytes = 4 << 20; cfg.SpoolMaxBytes = 32 << 20 }
		c := spoolClient(t, dir, down(), change)
		for i := range 5 {
			m := Message{SessionID: "s1", Index: i + 1, Role: RoleUser, Content: "small"}
			if i%2 == 1 {
				m.Content = strings.Repeat("x", 3<<20)
			}
			if err := c.CreateMessage(bg, m); err != nil {
				t.Fatal(err)
			}
		}
		after := snapshot(t, dir)
		giveUp(t, c)
		for _, dir := range []string{dir, after} {
			rec := &recorder{}
			finish(t, spoolClient(t, dir, rec, change))
			checkDelivered(t, rec, "s1", 5)
		}
	})
}

// A session is as old after a restart as it was before, and the time in between counts.
func TestIdleCloseSurvivesARestart(t *testing.T) {
	for name, downtime := range map[string]time.Duration{"overdue": time.Hour, "not yet": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				idle := func(cfg *Config) { cfg.IdleTimeout = 0 }
				rec := &recorder{}
				c := spoolClient(t, dir, rec, idle)
				say(t, c, "quiet", 1)
				say(t, c, "ended", 1)
				if err := c.CloseSession(bg, SessionEnd{SessionID: "ended"}); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				time.Sleep(10 * time.Minute)
				say(t, c, strings.Repeat("long", 16), 1)
				synctest.Wait()
				after := snapshot(t, dir)
				finish(t, c)

				time.Sleep(downtime)
				rec = &recorder{}
				next := spoolClient(t, after, rec, idle)
				if n := next.Stats().OpenSessions; n != 2 && downtime < time.Hour {
					t.Errorf("%d sessions known", n)
				}
				time.Sleep(max(time.Until(began.Add(30*time.Minute)), 0) + DefaultFlushInterval + time.Second)
				synctest.Wait()
				ends := closes(rec)
				if len(ends) == 0 || ends[0].Properties.GetSessionProperties().GetSessionId() != "quiet" {
					t.Fatalf("closed: %v", ends)
				}
				if want := map[bool]int{true: 2, false: 1}[downtime == time.Hour]; len(ends) != want {
					t.Errorf("%d closes, want %d", len(ends), want)
				}
				time.Sleep(10 * time.Minute)
				finish(t, next)
				if n := len(closes(rec)); n != 2 {
					t.Errorf("%d closes in the end", n)
				}
				if left := segmentsIn(t, after); len(left) > 0 {
					t.Errorf("no session is open, and left behind are %v", left)
				}
			})
		})
	}
}

func TestSessionJournalStaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		rec := &recorder{}
		c := spoolClient(t, dir, rec, func(cfg *Config) { cfg.IdleTimeout = 0 })
		say(t, c, "stays", 1)
		for i := range 30_000 {
			id := fmt.Sprint("session-", i)
			if err := c.OpenSession(bg, Session{ID: id, UserID: "u1"}); err != nil {
				t.Fatal(err)
			}
			if err := c.CloseSession(bg, SessionEnd{SessionID: id}); err != nil {
				t.Fatal(err)
			}
			if i%5000 == 0 {
				synctest.Wait()
			}
		}
		say(t, c, "stays", 2)
		synctest.Wait()
		c.idleMu.Lock()
		records := c.journal.records
		c.idleMu.Unlock()
		if records > 25_000 {
			t.Errorf("%d records for one open session", records)
		}
		if err := c.Close(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		next := spoolClient(t, dir, rec, func(cfg *Config) { cfg.IdleTimeout = 0 })
		if n := next.Stats().OpenSessions; n != 1 {
			t.Errorf("%d sessions open after the restart", n)
		}
		finish(t, next)
	})
}

// A file that somebody cuts short under a mapping is a SIGBUS for whoever touches it.
func TestFileCutShortIsCountedAndCrashesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		rec := down()
		var mu sync.Mutex
		told := 0
		c := spoolClient(t, dir, rec, func(cfg *Config) {
			cfg.OnDrop = func(Drop) { mu.Lock(); told++; mu.Unlock() }
			cfg.BatchEvents = 50
		})
		for i := range 500 {
			say(t, c, "s1", i+1)
		}
		synctest.Wait()
		for _, name := range segmentsIn(t, dir) {
			if err := os.Truncate(name, pageBytes); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 100 { // recording goes on, in memory
			say(t, c, "s1", 501+i)
		}
		var se *SpoolError
		if err := c.Health(); !errors.As(err, &se) || se.Op != "write" {
			t.Errorf("Health says %v", err)
		}
		rec.mu.Lock()
		rec.answer = nil
		rec.mu.Unlock()
		if err := c.Close(within(t, time.Hour)); err != nil {
			t.Error(err)
		}
		s := c.Stats()
		checkInvariant(t, s)
		mu.Lock()
		defer mu.Unlock()
		if lost := s.Dropped[DropCorrupt]; lost == 0 || lost+s.Delivered != 600 || s.Delivered < 100 || told != int(lost) {
			t.Errorf("%+v, told %d", s, told)
		}
	})
}

func TestSyncAlwaysReturnsAfterTheSync(t *testing.T) {
	dir := t.TempDir()
	disk := &faultyFS{spoolFS: osFS{dir}}
	c, err := newClientWith(Config{ProjectID: "p1", APIKey: "k", SpoolDir: dir, SpoolSync: SyncAlways, Logger: discard, HTTPClient: (&recorder{}).client(), IdleTimeout: -1},
		func(string) spoolFS { return disk })
	if err != nil {
		t.Fatal(err)
	}
	before := disk.count("sync")
	say(t, c, "s1", 1)
	if disk.count("sync") == before {
		t.Error("returned before a sync")
	}
	before = disk.count("sync")
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for i := range 10 {
				say(t, c, fmt.Sprint("g", g), i+1)
			}
		})
	}
	wg.Wait()
	if n := disk.count("sync") - before; n >= 640 {
		t.Errorf("%d syncs for 640 calls: none was shared", n)
	}
	finish(t, c)
}

// slowDisk is a disk that takes no sync until it is told to.
type slowDisk struct {
	spoolFS
	goOn chan struct{}
}

func (d slowDisk) create(name string, size int) (spoolFile, error) {
	f, err := d.spoolFS.create(name, size)
	return slowFile{f, d}, err
}

type slowFile struct {
	spoolFile
	disk slowDisk
}

func (f slowFile) sync() error {
	<-f.disk.goOn
	return f.spoolFile.sync()
}

func TestDeliveredFilesGoWhileTheDiskIsSlowToSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		disk := slowDisk{osFS{dir}, make(chan struct{})}
		var up atomic.Bool
		rec := &recorder{answer: func(int, request) answer {
			if up.Load() {
				return answer{}
			}
			return answer{status: 503}
		}}
		c, err := newClientWith(Config{
			ProjectID: "p1", APIKey: "k", SpoolDir: dir, SpoolMaxBytes: 4 << 20, Logger: discard, HTTPClient: rec.client(), IdleTimeout: -1,
		}, func(string) spoolFS { return disk })
		if err != nil {
			t.Fatal(err)
		}
		const events = 600
		for i := range events {
			m := Message{SessionID: "s1", Index: i + 1, Role: RoleUser, Content: strings.Repeat("long ", 1000)}
			if err := c.CreateMessage(bg, m); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * DefaultSpoolSync) // the sync of all of them has begun
		up.Store(true)
		time.Sleep(time.Hour)
		if n := c.Stats().Delivered; n != events {
			t.Errorf("%d events delivered, want %d", n, events)
		}
		s := c.buf.spool
		s.buf.mu.Lock()
		mapped := s.mapped
		s.buf.mu.Unlock()
		if most := len(s.buf.lanes) + maxSpares + maxSealedMaps; mapped > most {
			t.Errorf("%d files are in memory, want at most %d", mapped, most)
		}
		close(disk.goOn)
		finish(t, c)
	})
}

func TestEventsInMemoryGoToTheSpoolAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		disk := &faultyFS{spoolFS: osFS{dir}}
		c := faultyClient(t, disk, dir, down(), nil)
		for i := range 10 {
			say(t, c, "s1", i+1)
		}
		disk.break_(errors.New("read-only file system"))
		c.buf.mu.Lock()
		c.buf.spool.fail("write", errors.New("read-only file system"))
		c.buf.sealTail(c.buf.lanes[0].tail)
		c.buf.mu.Unlock()
		for i := range 2000 { // several segments of memory
			say(t, c, "s1", i+11)
		}
		disk.break_(nil)
		time.Sleep(2 * spoolRetry)
		say(t, c, "s1", 2011) // finds out that the disk is back
		synctest.Wait()
		for i := range 10 {
			say(t, c, "s1", i+2012)
		}
		if c.buf.lanes[0].tail.file == nil {
			t.Error("the spool did not come back")
		}
		if de := giveUp(t, c); de.Pending != 2021 || de.Dropped != 0 {
			t.Error(de)
		}
		rec := &recorder{}
		finish(t, spoolClient(t, dir, rec, nil))
		checkDelivered(t, rec, "s1", 2021)
	})
}

// A large event that the disk does not take goes to memory, and small ones after it must not go on in the file before:
// what a file says is acknowledged counts its own events.
func TestFileIsNotContinuedBehindAnEventInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		rec := &recorder{answer: func(n int, _ request) answer {
			if n < 3 {
				return answer{}
			}
			return answer{status: 503}
		}}
		disk := &faultyFS{spoolFS: osFS{dir}}
		c := faultyClient(t, disk, dir, rec, func(cfg *Config) {
			cfg.SpoolMaxBytes, cfg.MaxContentBytes, cfg.BatchEvents = 8<<20, 1<<20, 5
			cfg.Senders = 1
		})
		size := c.buf.spool.segBytes
		for i := range 5 {
			say(t, c, "s1", i+1)
		}
		c.buf.mu.Lock()
		c.buf.spool.fail("create", errors.New("no space left on device"))
		c.buf.mu.Unlock()
		disk.break_(errors.New("no space left on device"))
		if err := c.CreateMessage(bg, Message{SessionID: "s1", Index: 6, Role: RoleUser, Content: strings.Repeat("x", size)}); err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			say(t, c, "s1", i+7)
		}
		synctest.Wait()
		disk.break_(nil)
		giveUp(t, c)
		rec.mu.Lock()
		rec.answer = nil
		rec.mu.Unlock()
		next := spoolClient(t, dir, rec, func(cfg *Config) { cfg.SpoolMaxBytes = 8 << 20 })
		finish(t, next)
		checkDelivered(t, rec, "s1", 18)
	})
}

// Where not even the process id fits, the lock still holds.
func TestFullDiskDoesNotKeepAClientFromStarting(t *testing.T) {
	dir := t.TempDir()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink("/dev/full", filepath.Join(dir, lockName)); err != nil {
		t.Skip(err)
	}
	c, err := New(Config{ProjectID: "p1", APIKey: "k", SpoolDir: dir, Logger: discard, IdleTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	c.Close(bg)
}

// A file may be held by its sync when its last event is delivered: who waits for room hears of it when the sync is over.
func TestBlockedCallHearsOfRoomThatASyncHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := spoolClient(t, dir, &recorder{}, func(cfg *Config) { cfg.Overflow = OverflowBlock })
		say(t, c, "s1", 1)
		b := c.buf
		b.mu.Lock()
		seg := b.lanes[0].tail
		seg.refs++ // as syncDirty has it
		b.setTail(&b.lanes[0], nil)
		b.mu.Unlock()
		if err := c.Flush(bg); err != nil {
			t.Fatal(err)
		}
		woken := make(chan error, 1)
		go func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			woken <- b.awaitSpace(within(t, time.Minute))
		}()
		synctest.Wait()
		b.mu.Lock()
		b.unref(seg)
		b.mu.Unlock()
		if err := <-woken; err != nil {
			t.Error(err)
		}
		finish(t, c)
	})
}

// Who looks has the lock for a moment.
func TestLookingAtASpoolKeepsNobodyFromOpeningIt(t *testing.T) {
	dir := t.TempDir()
	f, err := tryLock(filepath.Join(dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(2*time.Millisecond, func() { releaseLock(f) })
	finish(t, spoolClient(t, dir, &recorder{}, nil))
}

func TestFilePutAsideIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, segmentName(3)+corruptSuffix)
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := spoolClient(t, dir, &recorder{}, nil)
	for _, name := range segmentsIn(t, dir) {
		if filepath.Base(name) <= segmentName(3) {
			t.Errorf("%s may be put aside over %s", name, old)
		}
	}
	finish(t, c)
}

// What was dropped to make room in the spool is dropped for good, also behind events in memory.
func TestEventDroppedFromTheSpoolDoesNotComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		rec := down()
		c := spoolClient(t, dir, rec, func(cfg *Config) { cfg.Overflow = OverflowDropOldest })
		b := c.buf
		b.mu.Lock()
		b.spool.fail("write", errors.New("input/output error"))
		b.mu.Unlock()
		for i := range 10 {
			say(t, c, "s1", i+1)
		}
		time.Sleep(2 * spoolRetry)
		say(t, c, "s1", 11) // finds out that the disk is back
		synctest.Wait()
		for i := range 10 {
			say(t, c, "s1", i+12)
		}
		time.Sleep(time.Minute)
		var drops []Drop
		b.mu.Lock()
		for range 4 {
			if !b.evict(inSpool, &drops) {
				t.Error("nothing to drop")
			}
		}
		b.mu.Unlock()
		if de := giveUp(t, c); de.Pending != 17 || len(drops) != 4 {
			t.Errorf("%v, %d dropped", de, len(drops))
		}
		next := spoolClient(t, dir, &recorder{}, nil)
		if n := next.Stats().Recovered; n != 17 {
			t.Errorf("%d recovered, 17 were left", n)
		}
		finish(t, next)
	})
}
