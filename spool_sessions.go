package align

import (
	"encoding/binary"
	"slices"
	"time"
)

// sessionJournal remembers in a spool which sessions are open, so that the next process closes those that go quiet. It is
// a list of records in segments of their own: a session is noted when it is first seen, again now and then while it is
// active, and when it ends. Once most records are about sessions that are gone, a new generation begins: the idle watch
// notes every open session again, a few at a time, and then the old files go.
//
// The lock of the idle tracker guards it. It takes the buffer's lock on its own account.
type sessionJournal struct {
	spool    *spool
	interval time.Duration // how old the last note of an active session may be
	segments []*segment    // of this generation; the last is written to, unless it is sealed
	tail     *segment
	old      []*segment // of generations before, until all is noted again
	records  int        // in this generation
	copying  uint32     // the tracker's slot to be noted next in this generation, 0: all are
	stale    bool       // a record could not be written
	record   []byte
}

const (
	sessionOpen   = 1
	sessionForget = 2

	// minGeneration spares small journals the copying.
	minGeneration = 4096
	// notesPerIdle is how often an active session is noted in the time it may be quiet.
	notesPerIdle = 30
	copySlice    = 256
)

// appendRecord encodes a record of the journal: what, when the session was seen last and by its own account active, which.
func appendRecord(b []byte, op byte, seen, activity int64, id string) []byte {
	b = append(b, op)
	b = binary.LittleEndian.AppendUint64(b, uint64(seen))
	b = binary.LittleEndian.AppendUint64(b, uint64(activity))
	return append(b, id...)
}

func decodeRecord(b []byte) (op byte, seen, activity int64, id string, ok bool) {
	if len(b) < 18 {
		return 0, 0, 0, "", false
	}
	return b[0], int64(binary.LittleEndian.Uint64(b[1:])), int64(binary.LittleEndian.Uint64(b[9:])), string(b[17:]), true
}

// openJournal reads what former processes have noted into the tracker. A session has been quiet since it was seen last,
// by the wall clock.
func openJournal(s *spool, t *idleTracker, idle time.Duration, now time.Time) *sessionJournal {
	j := &sessionJournal{spool: s, interval: idle / notesPerIdle}
	slices.SortFunc(s.sessions, func(a, b *segment) int {
		return compareSegments(a.file.epoch, a.file.number, b.file.epoch, b.file.number)
	})
	for _, seg := range s.sessions {
		seg.refs = 1
		var c segmentContent
		if err := s.load(&segmentFile{name: seg.file.name}, &c, func(_ int, record []byte) { t.replay(record, now) }); err != nil {
			s.log.Warn("align: spool: open sessions of a former process are lost", "file", seg.file.name, "error", err)
		}
	}
	t.reorder()
	j.old, s.sessions = s.sessions, nil
	if len(j.old) > 0 {
		j.copying = 1
	}
	t.journal = j
	return j
}

// replay does what a record says.
func (t *idleTracker) replay(record []byte, now time.Time) {
	switch op, seen, activity, id, ok := decodeRecord(record); {
	case !ok:
	case op == sessionOpen:
		t.restore(id, min(seen, now.UnixNano()), activity)
	case op == sessionForget:
		t.forget(id)
	}
}

// put adds a record. It reports false when the disk does not take it: then a generation begins when it does again.
func (j *sessionJournal) put(op byte, seen, activity int64, id string) bool {
	j.record = appendRecord(j.record[:0], op, seen, activity, id)
	s := j.spool
	s.buf.mu.Lock()
	defer s.buf.mu.Unlock()
	if j.tail == nil || j.tail.file.room() < len(j.record) {
		j.seal()
		now := time.Now()
		if s.usable(now) {
			seg, err := s.take(kindSessions, 0, now)
			if seg == nil {
				s.wanted = true
				signal(s.wake)
			} else if err == nil {
				j.tail = seg
				j.segments = append(j.segments, seg)
			}
		}
	}
	if j.tail == nil {
		j.stale = true
		return false
	}
	if err := j.tail.file.put(j.record, checksum(j.record)); err != nil {
		s.fail("write", err)
		j.seal()
		j.stale = true
		return false
	}
	s.written(j.tail)
	j.records++
	return true
}

// seal ends the segment that is written to. The buffer's lock is held.
func (j *sessionJournal) seal() {
	if j.tail == nil {
		return
	}
	s := j.spool
	s.unpin(j.tail)
	j.tail.file.surplus = true
	s.surplus = append(s.surplus, j.tail)
	signal(s.wake)
	j.tail = nil
}

// due reports whether there is something to copy, with that many sessions open.
func (j *sessionJournal) due(open int) bool {
	if j.copying == 0 && !j.stale && j.records <= max(2*open, minGeneration) {
		return false
	}
	s := j.spool
	s.buf.mu.Lock()
	defer s.buf.mu.Unlock()
	return s.usable(time.Now())
}

// copy notes some sessions again, as a new generation, and reports whether there are more to note.
func (j *sessionJournal) copy(t *idleTracker) (more bool) {
	s := j.spool
	if j.copying == 0 {
		s.buf.mu.Lock()
		j.seal()
		s.buf.mu.Unlock()
		j.old = append(j.old, j.segments...)
		j.segments, j.records, j.copying = nil, 0, 1
	}
	j.stale = false
	for end := j.copying + copySlice; j.copying < t.used; j.copying++ {
		if j.copying == end {
			return true
		}
		if t.at(j.copying).size > 0 && !t.note(j.copying) {
			return false // the disk does not take it: later
		}
	}
	j.copying = 0
	s.buf.mu.Lock()
	defer s.buf.mu.Unlock()
	for _, seg := range j.old {
		s.buf.unref(seg)
	}
	j.old = nil
	return false
}

// close ends the journal. If no session is open, nothing of it is left.
func (j *sessionJournal) close(open int) {
	s := j.spool
	s.buf.mu.Lock()
	defer s.buf.mu.Unlock()
	j.seal()
	if open > 0 {
		s.closing = slices.Concat(j.segments, j.old)
		return
	}
	for _, seg := range slices.Concat(j.segments, j.old) {
		s.buf.unref(seg)
	}
}
