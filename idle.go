package align

import "time"

// idleTracker knows when each open session was last active, and which have gone quiet. It is a list in order of last
// activity with an index by session id: touching and expiring cost the same however many sessions are open, and one
// timer, set to the head's turn, serves them all. It has no clock, no lock and no goroutine.
type idleTracker struct {
	slots []idleSlot
	byID  map[string]uint32
	free  uint32 // head of the chain of empty slots, linked by next
}

// idleSlot is one session. Slot 0 is the list's sentinel: its next is the quietest session, its prev the liveliest.
type idleSlot struct {
	id         string
	seen       int64 // when its activity was recorded, Unix nanoseconds: the order of the list
	activity   int64 // when its latest activity happened by its own account, Unix nanoseconds
	prev, next uint32
}

func newIdleTracker() *idleTracker {
	return &idleTracker{slots: make([]idleSlot, 1), byID: make(map[string]uint32)}
}

// quiet is a session that has gone quiet, with the time of its last activity.
type quiet struct {
	id       string
	activity time.Time
}

// touch notes activity of a session that was recorded now and happened at activity; zero means now.
// It reports whether the tracker was empty before.
func (t *idleTracker) touch(id string, now, activity time.Time) (first bool) {
	if activity.IsZero() || activity.Year() < 1700 || activity.Year() > 2200 { // int64 nanoseconds end there
		activity = now
	}
	i, ok := t.byID[id]
	if ok {
		t.unlink(i)
	} else {
		first = len(t.byID) == 0
		i = t.allocate()
		t.slots[i] = idleSlot{id: id, activity: activity.UnixNano()}
		t.byID[id] = i
	}
	s := &t.slots[i]
	s.activity = max(s.activity, activity.UnixNano())
	// Callers read the clock before they come here, so two may arrive out of order: the list must not.
	s.seen = max(now.UnixNano(), t.slots[t.slots[0].prev].seen)
	t.linkBefore(i, 0)
	return first
}

// forget stops following a session.
func (t *idleTracker) forget(id string) {
	if i, ok := t.byID[id]; ok {
		t.unlink(i)
		t.release(i)
	}
}

// expired appends to dst sessions without activity since deadline, at most as many as dst has room for, and forgets them.
func (t *idleTracker) expired(dst []quiet, deadline time.Time) []quiet {
	for len(dst) < cap(dst) {
		i := t.slots[0].next
		if i == 0 || t.slots[i].seen > deadline.UnixNano() {
			break
		}
		dst = append(dst, quiet{t.slots[i].id, time.Unix(0, t.slots[i].activity)})
		t.unlink(i)
		t.release(i)
	}
	return dst
}

// restore takes back a session that expired but could not be closed yet. It stays due, unless it was touched meanwhile.
func (t *idleTracker) restore(q quiet) {
	if _, ok := t.byID[q.id]; ok {
		return
	}
	i := t.allocate()
	t.slots[i] = idleSlot{id: q.id, activity: q.activity.UnixNano()}
	t.byID[q.id] = i
	t.linkBefore(i, t.slots[0].next)
}

// next returns when the quietest session was last seen; false when none is open.
func (t *idleTracker) next() (time.Time, bool) {
	i := t.slots[0].next
	return time.Unix(0, t.slots[i].seen), i != 0
}

// open returns how many sessions are followed.
func (t *idleTracker) open() int { return len(t.byID) }

func (t *idleTracker) allocate() uint32 {
	if i := t.free; i != 0 {
		t.free = t.slots[i].next
		return i
	}
	t.slots = append(t.slots, idleSlot{})
	return uint32(len(t.slots) - 1)
}

func (t *idleTracker) release(i uint32) {
	delete(t.byID, t.slots[i].id)
	t.slots[i] = idleSlot{next: t.free}
	t.free = i
}

func (t *idleTracker) unlink(i uint32) {
	s := &t.slots[i]
	t.slots[s.prev].next = s.next
	t.slots[s.next].prev = s.prev
}

func (t *idleTracker) linkBefore(i, next uint32) {
	prev := t.slots[next].prev
	t.slots[i].prev, t.slots[i].next = prev, next
	t.slots[prev].next, t.slots[next].prev = i, i
}
