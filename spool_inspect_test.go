package align

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestInspectSpoolCountsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		began := time.Now()
		c := spoolClient(t, dir, down(), func(cfg *Config) { cfg.IdleTimeout = 0 })
		if err := c.OpenSession(bg, Session{ID: "s1", UserID: "u1"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for i := range 20 {
			say(t, c, "s1", i+1)
		}
		info, err := InspectSpool(dir) // while the client has it
		if err != nil {
			t.Fatal(err)
		}
		if info.LockedBy != os.Getpid() || info.Events != 21 || info.OpenSessions != 1 || len(info.Segments) != 1 || info.Corrupt != 0 ||
			info.ByType[EventOpenSession] != 1 || info.ByType[EventCreateMessage] != 20 || info.EventBytes != int64(c.Stats().PendingBytes) {
			t.Errorf("%+v", info)
		}
		if info.Oldest.Sub(began).Abs() > time.Millisecond || info.Newest.Sub(began.Add(time.Minute)).Abs() > time.Millisecond {
			t.Errorf("from %v to %v", info.Oldest, info.Newest)
		}
		n := 0
		for entry, err := range info.Entries() {
			if err != nil || !isEntry(entry) {
				t.Fatalf("%x, %v", entry, err)
			}
			n++
		}
		if n != 21 {
			t.Errorf("%d entries", n)
		}
		giveUp(t, c)
		if info, err := InspectSpool(dir); err != nil || info.LockedBy != 0 || info.Events != 21 {
			t.Errorf("%+v, %v", info, err)
		}
	})
}

// segmentOf is the content of a segment file with these entries.
func segmentOf(tb testing.TB, entries ...[]byte) []byte {
	f := &segmentFile{segmentHeader: segmentHeader{epoch: 3, number: numberStep, created: time.Unix(1, 0)}, bytes: 16 << 10, shared: true}
	f.mem = make([]byte, f.bytes)
	if err := f.begin(); err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		if err := f.put(e, checksum(e)); err != nil {
			tb.Fatal(err)
		}
	}
	return f.mem
}

// FuzzSegment reads arbitrary files, and intact ones with some bytes changed: no panic, nothing that is not there, and
// of an intact file everything before the first change.
func FuzzSegment(f *testing.F) {
	entries := [][]byte{modelEntry("event1", 10), modelEntry("event2", 3000), modelEntry("event3", 0)}
	good := segmentOf(f, entries...)
	f.Add(good, 0, byte(0))
	f.Add(good, headerBytes+5, byte(1))
	f.Add(good, len(good)-3, byte(255))
	f.Add([]byte(segmentMagic), 0, byte(0))
	f.Add(binary.LittleEndian.AppendUint32([]byte(segmentMagic), 9), 3, byte(1))
	f.Fuzz(func(t *testing.T, data []byte, at int, flip byte) {
		var c segmentContent
		var total int
		err := readSegment(data, &c, func(_ int, entry []byte) { total += len(entry) })
		if c.events < c.acked || c.end != total || c.from > c.end || headerBytes+c.end+frameBytes*c.events > max(len(data), headerBytes) || c.corrupt > len(data)/frameBytes {
			t.Fatalf("%+v of %d bytes, %v", c, len(data), err)
		}
		changed := bytes.Clone(good)
		at = max(at, 0) % len(changed)
		changed[at] ^= flip
		intact := len(entries)
		if flip != 0 {
			end := headerBytes
			for i, e := range entries {
				start := end
				if end += len(e); at >= start && at < end || at >= len(changed)-frameBytes*(i+1) && at < len(changed)-frameBytes*i {
					intact = i
				}
			}
			if at < ackedAt {
				intact = 0
			}
		}
		i := 0
		readSegment(changed, &c, func(_ int, entry []byte) {
			if i < len(entries) && !bytes.Equal(entry, entries[i]) {
				t.Fatalf("entry %d was changed at %d and passes", i, at)
			}
			i++
		})
		if i < intact {
			t.Fatalf("%d entries read, %d are intact", i, intact)
		}
		if i > len(entries) {
			t.Fatalf("%d entries read, there are %d", i, len(entries))
		}
	})
}

// A client that meets such files does not fail on them, either.
func TestGarbageInTheSpoolIsSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		torn := segmentOf(t, modelEntry("event1", 10), modelEntry("event2", 10))
		torn[createdEnd] ^= 1
		for i, data := range [][]byte{nil, []byte("x"), make([]byte, 100_000), torn, segmentOf(t, []byte("no entry")), segmentOf(t, modelEntry("event3", 10))} {
			if err := os.WriteFile(filepath.Join(dir, segmentName(uint64(i+1))), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := spoolClient(t, dir, &recorder{}, nil)
		finish(t, c)
		if s := c.Stats(); s.Recovered != 4 || s.Dropped[DropCorrupt] != 3 || s.Delivered != 1 {
			t.Errorf("%+v", s)
		}
		if aside, err := filepath.Glob(filepath.Join(dir, "*"+corruptSuffix)); err != nil || len(aside) != 1 {
			t.Errorf("put aside: %v, %v", aside, err)
		}
	})
}

// A file whose very first bytes are changed is no less a file of events.
func TestFlippedMagicIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		data := segmentOf(t, modelEntry("event1", 10), modelEntry("event2", 10))
		data[3] ^= 1
		os.WriteFile(filepath.Join(dir, segmentName(1)), data, 0o600)
		c := spoolClient(t, dir, &recorder{}, nil)
		finish(t, c)
		if s := c.Stats(); s.Dropped[DropCorrupt] != 2 {
			t.Errorf("%+v", s)
		}
		if aside, err := filepath.Glob(filepath.Join(dir, "*"+corruptSuffix)); err != nil || len(aside) != 1 {
			t.Errorf("put aside: %v, %v", aside, err)
		}
	})
}

// What a frame says may be any number, and an int may have 32 bits.
func TestFrameBeyondAnyFileIsCorrupt(t *testing.T) {
	data := segmentOf(t, modelEntry("event1", 10))
	binary.LittleEndian.PutUint32(data[24:], math.MaxUint32) // lane
	binary.LittleEndian.PutUint32(data[createdEnd:], headerSum(data))
	binary.LittleEndian.PutUint64(data[len(data)-2*frameBytes:], 1<<32|math.MaxInt32)
	var c segmentContent
	if err := readSegment(data, &c, nil); err != nil || c.events != 1 || c.corrupt != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, segmentName(1)), data, 0o600); err != nil {
		t.Fatal(err)
	}
	c2 := spoolClient(t, dir, &recorder{}, nil)
	finish(t, c2)
	if s := c2.Stats(); s.Delivered != 1 || s.Dropped[DropCorrupt] != 1 {
		t.Errorf("%+v", s)
	}
}

// A client that records meanwhile stores entries and their frames while they are read.
func TestInspectSpoolFindsNothingCorruptInAFileThatIsWritten(t *testing.T) {
	dir := t.TempDir()
	c := spoolClient(t, dir, down(), nil)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; i < 200_000; i++ {
			select {
			case <-stop:
				return
			default:
				say(t, c, "s1", i)
			}
		}
	})
	for range 10 {
		if info, err := InspectSpool(dir); err != nil || info.Corrupt > 0 {
			t.Errorf("%v, %d cannot be read", err, info.Corrupt)
			break
		}
	}
	close(stop)
	wg.Wait()
	giveUp(t, c)
}
