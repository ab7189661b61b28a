package align

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"time"
)

// idleTracker knows when each open session was last active, and which have gone quiet. It is a list in order of last
// activity with an index by session id: touching and expiring cost the same however many sessions are open, and one
// timer, set to the head's turn, serves them all. It has no clock, no lock and no goroutine.
//
// It is made for millions of sessions: slots lie in chunks that never move and link to each other by number, and ids are
// copied into them, so there is nothing for the garbage collector to scan, no moment at which everything is copied, and
// no string of the caller's kept alive.
type idleTracker struct {
	base   time.Time // what seen counts from; by the monotonic clock, so that a step of the wall clock closes nothing
	seed   maphash.Seed
	byID   map[uint64]uint32 // first slot of each hash of an id; further ones of the same hash are linked
	chunks [][]idleSlot
	used   uint32            // slots in chunks that were ever used, the sentinel included
	free   uint32            // head of the chain of empty slots, linked by next
	open   int               // sessions followed
	long   map[uint32]string // ids that do not fit into their slot

	journal *sessionJournal // nil: nothing is remembered beyond the process
}

// idleSlot is one session. Slot 0 is the list's sentinel: its next is the quietest session, its prev the liveliest.
type idleSlot struct {
	seen       int64 // when its activity was recorded, nanoseconds since base: the order of the list
	activity   int64 // when its latest activity happened by its own account, Unix nanoseconds
	prev, next uint32
	same       uint32 // next slot whose id has the same hash, 0 for none
	noted      uint32 // when the journal was told last, seconds since base and one; 0: never
	size       uint8  // bytes of id in use; more than there are: the id is in long
	id         [39]byte
}

const (
	slotsPerChunk  = 1 << 10
	longID         = 0xff
	maxNanoSeconds = math.MaxInt64 / 1_000_000_000 // what an int64 of nanoseconds can say, to either side of 1970
)

func newIdleTracker(base time.Time) *idleTracker {
	return &idleTracker{base: base, seed: maphash.MakeSeed(), byID: make(map[uint64]uint32), long: make(map[uint32]string)}
}

// quiet is a session that has gone quiet, with the time of its last activity.
type quiet struct {
	id       string
	activity time.Time
}

// touch notes activity of a session that was recorded now and happened at activity; zero means now.
// It reports whether the tracker was empty before.
func (t *idleTracker) touch(id string, now, activity time.Time) (first bool) {
	return t.see(maphash.String(t.seed, id), []byte(id), t.since(now), activityNanos(now, activity))
}

// activityNanos is when activity that was recorded now happened, in Unix nanoseconds: now if it says nothing, or a time that
// they cannot say.
func activityNanos(now, activity time.Time) int64 {
	if sec := activity.Unix(); activity.IsZero() || sec <= -maxNanoSeconds || sec >= maxNanoSeconds {
		return now.UnixNano()
	}
	return activity.UnixNano()
}

// see is touch in the tracker's own words. It keeps nothing of id.
func (t *idleTracker) see(hash uint64, id []byte, seen, activity int64) (first bool) {
	i := t.find(hash, id)
	if i == 0 {
		first = t.open == 0
		i = t.add(hash, id, activity)
		t.at(i).seen = seen // which may be before the base
		t.linkBefore(i, 0)
	} else if t.head().prev != i {
		t.unlink(i)
		t.linkBefore(i, 0)
	}
	s := t.at(i)
	s.activity = max(s.activity, activity)
	// Callers read the clock before they come here, so two may arrive out of order: the list must not.
	s.seen = max(s.seen, seen)
	if before := s.prev; before != 0 {
		s.seen = max(s.seen, t.at(before).seen)
	}
	if t.journal != nil && (s.noted == 0 || t.noteTime(s)-s.noted > uint32(t.journal.interval/time.Second)) {
		t.note(i)
	}
	return first
}

// noteTime is what noted says of a session that is noted now.
func (t *idleTracker) noteTime(s *idleSlot) uint32 {
	return uint32(max(s.seen, 0)/int64(time.Second)) + 1
}

// note tells the journal of a session. It reports whether the journal took it.
func (t *idleTracker) note(i uint32) bool {
	s := t.at(i)
	if !t.journal.put(sessionOpen, t.base.Add(time.Duration(s.seen)).UnixNano(), s.activity, t.idOf(i)) {
		return false
	}
	s.noted = t.noteTime(s)
	return true
}

// restore follows a session that a former process has followed. reorder must come after the last.
func (t *idleTracker) restore(id string, seen, activity int64) {
	hash := maphash.String(t.seed, id)
	i := t.find(hash, []byte(id))
	if i == 0 {
		i = t.add(hash, []byte(id), activity)
		t.linkBefore(i, 0)
	}
	t.at(i).seen = t.since(time.Unix(0, seen))
	t.at(i).activity = activity
}

// reorder puts the list in order.
func (t *idleTracker) reorder() {
	if t.open == 0 {
		return
	}
	order := make([]uint32, 0, t.open)
	for i := t.head().next; i != 0; i = t.at(i).next {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(i, j uint32) int { return cmp.Compare(t.at(i).seen, t.at(j).seen) })
	t.head().next, t.head().prev = 0, 0
	for _, i := range order {
		t.linkBefore(i, 0)
	}
}

// forget stops following a session.
func (t *idleTracker) forget(id string) { t.end(maphash.String(t.seed, id), []byte(id)) }

// end is forget in the tracker's own words. It keeps nothing of id.
func (t *idleTracker) end(hash uint64, id []byte) {
	if i := t.find(hash, id); i != 0 {
		t.drop(hash, i, id)
	}
}

// drop stops following the session in a slot, and tells the journal.
func (t *idleTracker) drop(hash uint64, i uint32, id []byte) {
	t.unlink(i)
	t.removeFrom(hash, i)
	if t.journal != nil {
		t.journal.put(sessionForget, 0, 0, string(id))
	}
}

// due returns sessions without activity since deadline, the quietest first, at most so many.
func (t *idleTracker) due(most int, deadline time.Time) (list []quiet) {
	if t.open == 0 {
		return nil
	}
	for i := t.head().next; i != 0 && len(list) < most; i = t.at(i).next {
		s := t.at(i)
		if s.seen > t.since(deadline) {
			break
		}
		if list == nil {
			list = make([]quiet, 0, min(most, t.open))
		}
		list = append(list, quiet{t.idOf(i), time.Unix(0, s.activity)})
	}
	return list
}

// forgetQuiet stops following a session, unless it was active after deadline.
func (t *idleTracker) forgetQuiet(id string, deadline time.Time) {
	hash := maphash.String(t.seed, id)
	if i := t.find(hash, []byte(id)); i != 0 && t.at(i).seen <= t.since(deadline) {
		t.drop(hash, i, []byte(id))
	}
}

// next returns when the quietest session was last seen; false when none is open.
func (t *idleTracker) next() (time.Time, bool) {
	if t.open == 0 {
		return time.Time{}, false
	}
	return t.base.Add(time.Duration(t.at(t.head().next).seen)), true
}

func (t *idleTracker) since(now time.Time) int64 { return int64(now.Sub(t.base)) }

func (t *idleTracker) at(i uint32) *idleSlot { return &t.chunks[i/slotsPerChunk][i%slotsPerChunk] }
func (t *idleTracker) head() *idleSlot       { return t.at(0) }

// find returns the slot of a session, 0 if it is not followed.
func (t *idleTracker) find(hash uint64, id []byte) uint32 {
	i := t.byID[hash]
	for i != 0 && !t.holds(i, id) {
		i = t.at(i).same
	}
	return i
}

func (t *idleTracker) holds(i uint32, id []byte) bool {
	s := t.at(i)
	if s.size == longID {
		return t.long[i] == string(id)
	}
	return bytes.Equal(s.id[:s.size], id)
}

func (t *idleTracker) idOf(i uint32) string {
	s := t.at(i)
	if s.size == longID {
		return t.long[i]
	}
	return string(s.id[:s.size])
}

// add takes a slot for a session that is not followed yet. The caller links it.
func (t *idleTracker) add(hash uint64, id []byte, activity int64) uint32 {
	i := t.allocate()
	s := t.at(i)
	*s = idleSlot{activity: activity, same: t.byID[hash]}
	if len(id) <= len(s.id) {
		s.size = uint8(copy(s.id[:], id))
	} else {
		s.size = longID
		t.long[i] = string(id)
	}
	t.byID[hash] = i
	t.open++
	return i
}

// removeFrom gives the slot of a session whose id has that hash back. The caller has unlinked it.
func (t *idleTracker) removeFrom(hash uint64, i uint32) {
	same := t.at(i).same
	if first := t.byID[hash]; first != i {
		for t.at(first).same != i {
			first = t.at(first).same
		}
		t.at(first).same = same
	} else if same != 0 {
		t.byID[hash] = same
	} else {
		delete(t.byID, hash)
	}
	if t.at(i).size == longID {
		delete(t.long, i)
	}
	*t.at(i) = idleSlot{next: t.free}
	t.free = i
	t.open--
}

func (t *idleTracker) allocate() uint32 {
	if i := t.free; i != 0 {
		t.free = t.at(i).next
		return i
	}
	if t.used%slotsPerChunk == 0 {
		t.chunks = append(t.chunks, make([]idleSlot, slotsPerChunk))
		if t.used == 0 {
			t.used++ // the sentinel
		}
	}
	t.used++
	return t.used - 1
}

func (t *idleTracker) unlink(i uint32) {
	s := t.at(i)
	t.at(s.prev).next = s.next
	t.at(s.next).prev = s.prev
}

func (t *idleTracker) linkBefore(i, next uint32) {
	prev := t.at(next).prev
	t.at(i).prev, t.at(i).next = prev, next
	t.at(prev).next, t.at(next).prev = i, i
}

// sightings are what recording calls say of sessions on its way to the tracker. To follow a session leads through memory that
// was last used when that session was, and a call would wait for it. To leave word takes the same few lines of memory each
// time, and the tracker catches up in one go.
type sightings struct {
	mu   sync.Mutex
	list []sighting
	// unwatched says that nobody looks after the tracker until there is a sighting, as no session is open.
	unwatched bool
	spare     []sighting // the list before; only for whoever holds the tracker
}

// sighting says that a session was active, or that it has ended. It is as large as a line of memory.
type sighting struct {
	seen     int64 // as of a slot
	activity int64 // as of a slot
	end      bool
	size     uint8
	id       [46]byte
}

const (
	// maxSightings is how many are on their way at most: whoever comes then takes them there.
	maxSightings = 256
	// manySightings is when somebody should see to them.
	manySightings = maxSightings / 4 * 3
)

// put takes a sighting in. It reports false when there is no room for it, nothing being taken then, and whether to wake
// whoever looks after the tracker.
func (l *sightings) put(id string, seen, activity int64, end bool) (taken, wake bool) {
	one := sighting{seen: seen, activity: activity, end: end}
	if len(id) > len(one.id) {
		return false, false
	}
	one.size = uint8(copy(one.id[:], id))
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) == maxSightings {
		return false, false
	}
	l.list = append(l.list, one)
	wake = l.unwatched || len(l.list) == manySightings
	l.unwatched = false
	return true, wake
}

// tell tells the tracker all of them, in their order. The caller holds the tracker.
func (l *sightings) tell(t *idleTracker) {
	l.mu.Lock()
	list := l.list
	if len(list) == 0 {
		l.mu.Unlock()
		return
	}
	l.list = l.spare
	l.mu.Unlock()
	for i := range list {
		s := &list[i]
		id := s.id[:s.size]
		if hash := maphash.Bytes(t.seed, id); s.end {
			t.end(hash, id)
		} else {
			t.see(hash, id, s.seen, s.activity)
		}
	}
	l.spare = list[:0]
}

// settle is tell for who looks after the tracker and goes to sleep now: while no session is open, the next sighting wakes it.
func (l *sightings) settle(t *idleTracker) {
	for {
		l.tell(t)
		l.mu.Lock()
		if len(l.list) == 0 {
			l.unwatched = t.open == 0
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}
