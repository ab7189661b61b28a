package align

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// Overflow says what a recording call does when the buffer is full.
type Overflow int

const (
	// OverflowReject returns [ErrBufferFull] at once: a chat app never waits for its analytics.
	OverflowReject Overflow = iota
	// OverflowBlock waits for room until the call's context ends, then returns [ErrBufferFull] and the context's error.
	OverflowBlock
	// OverflowDropOldest makes room by dropping the oldest events that are not on their way. With several senders, whose
	// queues are compared by the first event of each 64 KiB, the oldest may be one of the oldest.
	OverflowDropOldest
)

// buffer holds every accepted event from the moment it is accepted until it is settled: delivered or dropped. It knows
// nothing of time limits, networks or goroutines; its lock is never held across I/O or a callback.
//
// Events lie as final bytes in segments of fixed size. What waits in a lane is a list of runs, each a stretch of one
// segment; a batch is runs taken off the front, so cutting one copies nothing, and putting one back after the collector
// refused it whole is cheap, too. Only bytes: the garbage collector has nothing to scan however many events wait.
//
// With a spool segments are files, mapped where the system can, and only what the disk does not take is in memory. A
// lane's runs are in order whatever their segments are; a batch is of one file or of memory.
type buffer struct {
	maxEvents, maxBytes     int // of what is in memory
	batchEvents, batchBytes int
	overflow                Overflow
	spool                   *spool // nil: there is none
	conversations           bool   // entries are conversations, each of any number of events; see acro.go

	mu        sync.Mutex // guards all below
	lanes     []lane
	free      []*segment // empty segments, last in first out: the one most likely still in the processor's cache
	space     chan struct{}
	closed    bool
	abandoned bool // nobody sends any more
	tally     tally
}

// tally is what [Stats] and the invariant accepted = delivered + dropped + pending are made of.
type tally struct {
	accepted, delivered uint64
	recovered           uint64 // accepted by a former process
	dropped             map[DropReason]uint64
	full, invalid       uint64 // calls that returned an error: never accepted
	events, bytes       int    // pending: waiting and in flight
	memEvents, memBytes int    // those of them in memory
}

// lane is a queue of its own order. Each has one sender.
type lane struct {
	runs          []run         // waiting, oldest first
	events, bytes int           // waiting
	tail          *segment      // where the next event goes; may be shared with runs
	flying        *batch        // taken by the sender, not settled
	next          uint64        // sequence number of the next event
	urgent        uint64        // events below this number do not wait for a full batch
	wake          chan struct{} // capacity 1: the sender has reason to look
	barriers      []*barrier
	receipts      []expected // by sequence number, ascending
}

const segmentSize = 64 << 10

// maxFreeSegments bounds what an empty buffer keeps for the next burst: half a MiB. One that is in use keeps all it once
// needed, within its budget, so that a steady load makes no garbage.
const maxFreeSegments = 8

type segment struct {
	data []byte       // capacity never changes: bytes written stay where they are
	refs int          // runs that point here, and a lane whose tail this is
	file *segmentFile // nil: in memory; else data is the file's, nil while that is not mapped
}

// readable reports whether data may be looked at, for what it is worth.
func (s *segment) readable() bool { return s.file == nil || s.file.mem != nil && !s.file.suspect }

// run is a stretch of whole entries in one segment, with consecutive sequence numbers.
type run struct {
	seg      *segment
	from, to int
	events   int
	first    uint64
	since    time.Time // when the first of them was recorded, or earlier
}

func (r *run) data() []byte { return r.seg.data[r.from:r.to] }
func (r *run) size() int    { return r.to - r.from }

// prefix is as much of the run as keeps both limits.
func (r run) prefix(maxEvents, maxBytes int) run {
	p := r
	if r.events <= maxEvents && r.size() <= maxBytes {
		return p
	}
	p.to, p.events = r.from, 0
	for p.events < min(r.events, maxEvents) {
		size := entrySize(r.seg.data[p.to:r.to])
		if p.size()+size > maxBytes {
			break
		}
		p.to += size
		p.events++
	}
	return p
}

// batch is what one request carries.
type batch struct {
	id            string // request_id, kept through all attempts
	runs          []run
	chunks        [][]byte // the runs' bytes: all that may be read without the buffer's lock
	events, bytes int
}

// first and end are the sequence numbers of its first event and after its last.
func (b *batch) first() uint64 { return b.runs[0].first }
func (b *batch) end() uint64   { last := b.runs[len(b.runs)-1]; return last.first + uint64(last.events) }

// barrier is closed once every event of its lane below end is settled.
type barrier struct {
	end  uint64
	done chan struct{}
	left bool // the client was closed first, with events below end in the spool
}

func newBuffer(cfg *Config) *buffer {
	b := &buffer{
		maxEvents: cfg.BufferEvents, maxBytes: cfg.BufferBytes,
		batchEvents: cfg.BatchEvents, batchBytes: cfg.BatchBytes,
		overflow: cfg.Overflow,
		lanes:    make([]lane, cfg.Senders),
		tally:    tally{dropped: make(map[DropReason]uint64)},
	}
	for i := range b.lanes {
		b.lanes[i].wake = make(chan struct{}, 1)
	}
	return b
}

// push accepts an event into a lane, or says why not. dropped are events that had to make room.
func (b *buffer) push(ctx context.Context, i int, entry []byte, now time.Time, receipt *Receipt) (dropped []Drop, err error) {
	var sum uint32
	if b.spool != nil {
		sum = checksum(entry)
	}
	b.mu.Lock()
	round, dropped, err := b.add(ctx, i, entry, sum, now, receipt)
	b.mu.Unlock()
	if round != nil {
		<-round.done
	}
	return dropped, err
}

// add is push under the lock, which it gives up while it waits. The sync it returns the caller waits for without it.
func (b *buffer) add(ctx context.Context, i int, entry []byte, sum uint32, now time.Time, receipt *Receipt) (round *syncRound, dropped []Drop, err error) {
	l := &b.lanes[i]
	for !b.closed {
		seg, where := b.place(i, len(entry), now)
		if seg == nil && where != inFuture {
			b.hurry()
			if err := b.makeRoom(ctx, len(entry), where, &dropped); err != nil {
				b.tally.full++
				return nil, dropped, err
			}
			continue
		}
		if seg == nil || !b.store(seg, entry, sum) {
			continue
		}
		if receipt != nil {
			l.expect(receipt)
		}
		b.append(l, seg, len(entry), now)
		if seg.file != nil {
			round = b.spool.written(seg)
		}
		return round, dropped, nil
	}
	return nil, dropped, ErrClosed
}

// item is one of several entries that are pushed together.
type item struct{ lane, size int }

// pushAll is push for several entries, which lie one after the other: it accepts all of them or none. What a spool has no
// room for after all, because somebody else was quicker or the disk failed half-way, is in memory, over its budget if need be.
func (b *buffer) pushAll(ctx context.Context, items []item, entries []byte, now time.Time, receipt *Receipt) (dropped []Drop, err error) {
	b.mu.Lock()
	round, dropped, err := b.addAll(ctx, items, entries, now, receipt)
	b.mu.Unlock()
	if round != nil {
		<-round.done
	}
	return dropped, err
}

// addAll is pushAll under the lock, which it gives up while it waits.
func (b *buffer) addAll(ctx context.Context, items []item, entries []byte, now time.Time, receipt *Receipt) (round *syncRound, dropped []Drop, err error) {
	for !b.closed {
		fits, ever, where := b.fitAll(len(items), len(entries), now)
		if fits {
			break
		}
		b.hurry()
		if !ever {
			err = ErrBufferFull
		} else {
			err = b.makeRoom(ctx, len(entries), where, &dropped)
		}
		if err != nil {
			b.tally.full++
			return nil, dropped, err
		}
	}
	if b.closed {
		return nil, dropped, ErrClosed
	}
	for _, it := range items {
		entry := entries[:it.size]
		entries = entries[it.size:]
		l, seg := &b.lanes[it.lane], b.storeAnywhere(it.lane, entry, now)
		if receipt != nil {
			l.expect(receipt)
		}
		b.append(l, seg, it.size, now)
		if b.abandoned { // while a file was waited for
			dropped = append(dropped, b.forsake(l)...)
		} else if seg.file != nil {
			round = cmp.Or(b.spool.written(seg), round)
		}
	}
	return round, dropped, nil
}

// fitAll reports whether there is room for so many events of so many bytes where they would go now, and whether there
// ever can be.
func (b *buffer) fitAll(events, size int, now time.Time) (fits, ever bool, where whereabouts) {
	s := b.spool
	if s == nil || !s.usable(now) {
		return b.fitInMemory(events, size), events <= b.maxEvents && size <= b.maxBytes, inMemory
	}
	files := (size+events*frameBytes)/capacity(s.segBytes) + 1
	free := s.maxBytes - s.bytes + int64(len(s.spares)*s.segBytes)
	need := int64(files) * int64(s.segBytes)
	return need <= free, need <= s.maxBytes, inSpool
}

// storeAnywhere stores an entry in a file if it can and else in memory, and returns where.
func (b *buffer) storeAnywhere(i int, entry []byte, now time.Time) *segment {
	for !b.closed {
		seg, where := b.place(i, len(entry), now)
		if seg == nil && where != inFuture {
			break
		}
		if seg != nil && b.store(seg, entry, checksum(entry)) {
			return seg
		}
	}
	seg := b.memorySegment(&b.lanes[i], len(entry))
	b.store(seg, entry, 0)
	return seg
}

// whereabouts says which budget an event is about.
type whereabouts int

const (
	inMemory whereabouts = iota
	inSpool
	inFuture // things have changed: look again
)

// place returns the segment the next event of a lane goes to, nil if the budget of where it would go is used up. It gives
// up the lock when it has to wait for a file.
func (b *buffer) place(i, size int, now time.Time) (seg *segment, where whereabouts) {
	l, s := &b.lanes[i], b.spool
	if s == nil {
		return b.placeInMemory(l, size), inMemory
	}
	if t := l.tail; t != nil && t.file != nil && t.file.room() >= size {
		return t, inSpool
	}
	bytes := s.segBytes
	large := size > capacity(bytes)
	if large {
		bytes = fileBytes(size)
	}
	switch {
	case !s.usable(now):
		return b.placeInMemory(l, size), inMemory
	case large || len(s.spares) == 0:
		if s.bytes+int64(bytes) > s.maxBytes && !s.making && !s.wanted {
			return nil, inSpool
		}
		return b.awaitFile(i, bytes, large, now), inFuture
	}
	seg, err := s.take(kindEvents, i, now)
	if err != nil {
		return nil, inFuture
	}
	b.setTail(l, seg)
	return seg, inSpool
}

// awaitFile gives up the lock until there is a spare, or a segment for one large event, or until it is clear that there
// will be none. Then it returns nil.
func (b *buffer) awaitFile(i, bytes int, large bool, now time.Time) *segment {
	s := b.spool
	if !large {
		s.wanted = true
		changed := s.changed
		signal(s.wake)
		b.mu.Unlock()
		<-changed
		b.mu.Lock()
		return nil
	}
	r := &largeRequest{bytes: bytes, done: make(chan struct{})}
	s.large = append(s.large, r)
	signal(s.wake)
	b.mu.Unlock()
	<-r.done
	b.mu.Lock()
	if r.seg == nil {
		return nil
	}
	if b.closed || s.begin(r.seg, kindEvents, i, s.next(), now) != nil {
		if b.closed {
			s.release(r.seg)
		}
		return nil
	}
	b.setTail(&b.lanes[i], r.seg)
	return r.seg
}

// setTail makes a segment, which comes with a reference, the one the lane's next events go to.
func (b *buffer) setTail(l *lane, seg *segment) {
	old := l.tail
	l.tail = seg
	if old == nil {
		return
	}
	if old.file != nil {
		b.spool.seal(old)
	}
	b.unref(old)
}

// sealTail keeps a file from being written to, if it is somebody's tail.
func (b *buffer) sealTail(seg *segment) {
	for i := range b.lanes {
		if l := &b.lanes[i]; l.tail == seg {
			b.setTail(l, nil)
		}
	}
}

// store puts an entry at the end of a segment. It reports false when the file does not take it: then nothing was stored,
// and nothing more will go to that file.
func (b *buffer) store(seg *segment, entry []byte, sum uint32) bool {
	if seg.file == nil {
		seg.data = append(seg.data, entry...)
		return true
	}
	f := seg.file
	if err := f.put(entry, sum); err != nil {
		f.suspect = f.suspect || err == errFault
		b.spool.fail("write", err)
		b.sealTail(seg)
		return false
	}
	if f.events == 1 {
		f.first = b.lanes[f.lane].next
	}
	seg.data = f.mem[headerBytes : headerBytes+f.end]
	return true
}

// makeRoom does what the overflow rule says, once: there may be room afterwards. An error means that there will be none.
func (b *buffer) makeRoom(ctx context.Context, size int, where whereabouts, dropped *[]Drop) error {
	switch {
	case where == inMemory && size > b.maxBytes, // never fits
		where == inSpool && int64(fileBytes(size)) > b.spool.maxBytes:
	case b.overflow == OverflowDropOldest && b.evict(where, dropped):
		return nil
	case b.overflow == OverflowBlock:
		return b.awaitSpace(ctx)
	}
	return ErrBufferFull
}

// halfFull reports whether half of a budget is used up.
func (b *buffer) halfFull() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.spool; s != nil && s.bytes-int64(len(s.spares)*s.segBytes) > s.maxBytes/2 {
		return true
	}
	return b.tally.memEvents > b.maxEvents/2 || b.tally.memBytes > b.maxBytes/2
}

// awaitSpace gives up the lock until something was settled. Everybody who waits is woken: whoever finds no room left
// waits again.
func (b *buffer) awaitSpace(ctx context.Context) error {
	space := b.nextSpace()
	b.mu.Unlock()
	defer b.mu.Lock()
	select {
	case <-space:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBufferFull, ctx.Err())
	}
}

// nextSpace is closed when something is settled.
func (b *buffer) nextSpace() <-chan struct{} {
	if b.space == nil {
		b.space = make(chan struct{})
	}
	return b.space
}

func (b *buffer) announceSpace() {
	if b.space != nil {
		close(b.space)
		b.space = nil
	}
}

// append puts the entry of that size that was just stored in a segment at the end of a lane.
func (b *buffer) append(l *lane, seg *segment, size int, now time.Time) {
	from := len(seg.data) - size
	// Runs end where full batches do, so that to cut one nobody has to count entries.
	endsHere := l.next%uint64(b.batchEvents) == 0
	if n := len(l.runs); n > 0 && !endsHere && l.runs[n-1].seg == seg && l.runs[n-1].to == from {
		l.runs[n-1].to = len(seg.data)
		l.runs[n-1].events++
	} else {
		seg.refs++
		l.runs = append(l.runs, run{seg: seg, from: from, to: len(seg.data), events: 1, first: l.next, since: now})
	}
	l.next++
	l.events++
	l.bytes += size
	b.tally.accepted++
	b.tally.count(seg, 1, size)
	// The sender looks when the first event arrives, to set its timer, and when a batch is full. Past that it is busy.
	if l.events == 1 || l.events == b.batchEvents || l.bytes >= b.batchBytes && l.bytes-size < b.batchBytes || l.urgent == l.next {
		l.signal()
	}
}

// count adds to what is pending, or takes off it.
func (t *tally) count(seg *segment, events, bytes int) {
	if seg.file == nil {
		t.countInMemory(events, bytes)
		return
	}
	t.events += events
	t.bytes += bytes
}

func (t *tally) countInMemory(events, bytes int) {
	t.events += events
	t.bytes += bytes
	t.memEvents += events
	t.memBytes += bytes
}

// placeInMemory returns where an entry of that size goes: the lane's tail, or, lest it leave much of a segment empty, a
// segment of its own. It returns nil when there is no room.
func (b *buffer) placeInMemory(l *lane, size int) *segment {
	if !b.fitInMemory(1, size) {
		return nil
	}
	return b.memorySegment(l, size)
}

func (b *buffer) fitInMemory(events, size int) bool {
	return b.tally.memEvents+events <= b.maxEvents && b.tally.memBytes+size <= b.maxBytes
}

// memorySegment is placeInMemory whatever the budget says.
func (b *buffer) memorySegment(l *lane, size int) *segment {
	if size > segmentSize/8 {
		if l.tail != nil && l.tail.file != nil { // a file's events have consecutive numbers: it ends here
			b.setTail(l, nil)
		}
		return &segment{data: make([]byte, 0, size)}
	}
	if l.tail == nil || l.tail.file != nil || cap(l.tail.data)-len(l.tail.data) < size {
		b.setTail(l, b.newSegment())
	}
	return l.tail
}

// newSegment returns an empty segment with one reference, the caller's.
func (b *buffer) newSegment() *segment {
	if n := len(b.free); n > 0 {
		seg := b.free[n-1]
		b.free = b.free[:n-1]
		seg.refs = 1
		return seg
	}
	return &segment{data: make([]byte, 0, segmentSize), refs: 1}
}

// unref gives up a reference. A segment nobody refers to is kept for the next events, as far as the budget allows.
func (b *buffer) unref(seg *segment) {
	seg.refs--
	if seg.refs == 0 && seg.file != nil {
		b.spool.release(seg)
		return
	}
	if seg.refs == 0 && cap(seg.data) == segmentSize && b.tally.memBytes+(len(b.free)+1)*segmentSize <= b.maxBytes {
		seg.data = seg.data[:0]
		b.free = append(b.free, seg)
	}
}

// ready reports whether the lane has a batch to send: a full one, one somebody waits for, or one whose first event has
// waited for interval. If not, it says how long until it will, zero when nothing waits.
func (b *buffer) ready(i int, now time.Time, interval time.Duration) (ok bool, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &b.lanes[i]
	switch {
	case l.events == 0, !b.hasTurn(l):
		return false, 0
	case l.events >= b.batchEvents, l.bytes >= b.batchBytes, l.runs[0].first < l.urgent, b.closed:
		return true, 0
	}
	wait = interval - now.Sub(l.runs[0].since)
	return wait <= 0, max(wait, 0)
}

// hasTurn reports whether the front of the lane may be sent: what former processes left goes first, one process after the
// other, because each spread its sessions over the lanes in its own way.
func (b *buffer) hasTurn(l *lane) bool {
	s := b.spool
	return s == nil || len(s.old) == 0 || l.runs[0].epoch(s) == s.turn()
}

// epoch is the process that recorded the run.
func (r *run) epoch(s *spool) uint32 {
	if r.seg.file != nil {
		return r.seg.file.epoch
	}
	return s.epoch
}

// drained reports whether the buffer is closed and the lane has nothing left to send.
func (b *buffer) drained(i int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed && b.lanes[i].events == 0
}

// count returns how many waiting events of a lane have sequence numbers below end.
func (b *buffer) count(i int, end uint64) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.lanes[i].runs {
		if r.first >= end {
			break
		}
		n += min(r.events, int(end-r.first))
	}
	return n
}

// cut takes the next batch off a lane, of at most maxEvents events and the batch size in bytes, but at least one event.
// It returns nil when nothing waits: what did may have been dropped to make room. None may be in flight. With a spool,
// prepare comes first, and nil may also mean that it has to come again.
//
// A batch of a file is noted in it, so that after a restart it is the same request with the same id.
func (b *buffer) cut(i, maxEvents int, id string) *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &b.lanes[i]
	if l.events == 0 || !b.hasTurn(l) || !l.runs[0].seg.readable() {
		return nil
	}
	out := &batch{id: id}
	maxEvents, maxBytes := min(maxEvents, b.batchEvents), b.batchBytes
	file := l.runs[0].seg.file
	if file != nil && file.resend != nil {
		if r := file.resend; file.index(l.runs[0].first) == r.first {
			out.id, maxEvents, maxBytes = r.id, r.events, math.MaxInt
		}
		file.resend = nil
	}
	for len(l.runs) > 0 && out.events < maxEvents && l.runs[0].seg.file == file {
		var part run
		if !guard(func() {
			part = l.runs[0].prefix(maxEvents-out.events, maxBytes-out.bytes)
			if part.events == 0 && out.events == 0 {
				part = l.runs[0].prefix(1, math.MaxInt) // larger than a batch: goes alone
			}
		}) {
			file.suspect = true
			return nil
		}
		if part.events == 0 {
			break
		}
		part.seg.refs++
		if file != nil {
			file.pins++
		}
		out.runs = append(out.runs, part)
		out.chunks = append(out.chunks, part.data())
		out.events += part.events
		out.bytes += part.size()
		b.advance(l, 0, part)
		if file != nil { // a run of memory may follow in another segment, one of a file may not
			b.spool.noteBatch(out)
			break
		}
	}
	l.flying = out
	return out
}

// prepare makes the front of a lane readable, if it is in a file. Events that turn out to be lost are dropped and
// returned. An error means that the disk fails just now.
func (b *buffer) prepare(i int) (drops []Drop, err error) {
	if b.spool == nil {
		return nil, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &b.lanes[i]
	for len(l.runs) > 0 && !l.runs[0].seg.readable() && err == nil {
		err = b.load(l, l.runs[0].seg, &drops)
	}
	return drops, err
}

// maxOpenTries is how often a file is tried, about a second apart, before what waits behind it goes first.
const maxOpenTries = 30

// load maps a segment whose events wait, and checks it: meanwhile the file was anybody's. It gives up the lock.
func (b *buffer) load(l *lane, seg *segment, drops *[]Drop) error {
	s, f := b.spool, seg.file
	f.surplus = false
	var c segmentContent
	var cause error
	if f.mem != nil { // reading it failed
		b.sealTail(seg)
		if !guard(func() { cause = readSegment(f.mem, &c, nil) }) {
			cause = errFault
		}
	} else {
		opened := &segmentFile{name: f.name}
		seg.refs++ // it must not be removed meanwhile
		b.mu.Unlock()
		opened.file, opened.mem, opened.shared, cause = s.openFile(opened)
		if cause == nil && !guard(func() { cause = readSegment(opened.mem, &c, nil) }) {
			cause = errFault
		}
		b.mu.Lock()
		if opened.file != nil && f.mem == nil && c.number == f.number && c.epoch == f.epoch {
			f.file, f.mem, f.shared, f.bytes = opened.file, opened.mem, opened.shared, opened.bytes
			seg.data = f.mem[headerBytes : headerBytes+c.end]
			s.mapped++
		} else if opened.file != nil {
			b.mu.Unlock()
			opened.file.close()
			b.mu.Lock()
		}
		b.unref(seg)
		if cause != nil && !isGone(cause) {
			s.fail("open", cause)
			if f.tries++; f.tries < maxOpenTries {
				return cause
			}
			// All that is behind it waits. It is put aside, for a person to look at, and its events are lost to us.
			b.mu.Unlock()
			s.fs.rename(f.name, f.name+corruptSuffix)
			b.mu.Lock()
		} else {
			f.tries = 0
		}
	}
	f.suspect = false
	if f.mem == nil || c.number != f.number || c.epoch != f.epoch {
		c = segmentContent{}
	}
	if c.events < f.events {
		f.events, f.end = c.events, c.end
		b.truncate(l, seg, cmp.Or(cause, errTorn), drops)
	}
	return nil
}

// truncate drops the waiting events of a file that are behind its end.
func (b *buffer) truncate(l *lane, seg *segment, cause error, drops *[]Drop) {
	f := seg.file
	for k := len(l.runs) - 1; k >= 0; k-- {
		r := &l.runs[k]
		if r.seg != seg || r.to <= f.end {
			continue
		}
		lost := *r
		if kept := f.events - f.index(r.first); kept > 0 {
			lost.from, lost.events, lost.first = f.end, r.events-kept, r.first+uint64(kept)
		}
		*drops = b.describe(*drops, lost, DropCorrupt, cause)
		b.lose(l, lost, DropCorrupt, cause)
		r.to, r.events = lost.from, r.events-lost.events
		l.events -= lost.events
		l.bytes -= lost.size()
		seg.refs++ // for settled to look at
		if r.events == 0 {
			b.unref(seg)
			l.runs = slices.Delete(l.runs, k, k+1)
		}
		b.settled(l, lost)
		b.unref(seg)
	}
}

// index is the place in the file of the event with that sequence number of its lane.
func (f *segmentFile) index(seq uint64) int { return int(seq - f.first) }

// advance takes a prefix of a run off a lane.
func (b *buffer) advance(l *lane, k int, part run) {
	r := &l.runs[k]
	r.from = part.to
	r.first += uint64(part.events)
	r.events -= part.events
	l.events -= part.events
	l.bytes -= part.size()
	if r.events > 0 {
		return
	}
	b.unref(r.seg)
	if k > 0 {
		l.runs = slices.Delete(l.runs, k, k+1)
		return
	}
	*r = run{} // what is behind the slice's start is still in memory
	if l.runs = l.runs[1:]; len(l.runs) == 0 {
		l.runs = nil
	}
}

// putBack returns the batch in flight to the front of its lane: it was refused as a whole and will go in parts, at once.
func (b *buffer) putBack(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &b.lanes[i]
	f := l.flying
	l.flying = nil
	l.runs = slices.Concat(f.runs, l.runs)
	l.events += f.events
	l.bytes += f.bytes
	l.urgent = max(l.urgent, f.end())
	for _, r := range f.runs {
		if r.seg.file != nil {
			b.spool.unpin(r.seg)
		}
	}
}

// doubt returns the batch in flight to the front of its lane: its file could not be read. prepare will say what is lost.
func (b *buffer) doubt(i int) {
	b.mu.Lock()
	for _, r := range b.lanes[i].flying.runs {
		if r.seg.file != nil {
			r.seg.file.suspect = true
		}
	}
	b.mu.Unlock()
	b.putBack(i)
}

// delivered settles the batch in flight.
func (b *buffer) delivered(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &b.lanes[i]
	for _, r := range l.flying.runs {
		b.tally.delivered += uint64(b.weight(r))
		l.acknowledge(r, nil)
	}
	b.land(l)
}

// drop settles the batch in flight as lost. Before it does, and without the lock, it passes what may be told to tell: who
// waits for the batch hears of its end last.
func (b *buffer) drop(i int, reason DropReason, cause error, tell func([]Drop)) {
	b.mu.Lock()
	l := &b.lanes[i]
	var drops []Drop
	for _, r := range l.flying.runs {
		drops = b.describe(drops, r, reason, cause)
	}
	b.mu.Unlock()
	tell(drops)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range l.flying.runs {
		b.lose(l, r, reason, cause)
	}
	b.land(l)
}

// land frees what the batch in flight held.
func (b *buffer) land(l *lane) {
	f := l.flying
	l.flying = nil
	for _, r := range f.runs {
		b.settled(l, r)
		if r.seg.file != nil {
			b.spool.unpin(r.seg)
		}
		b.unref(r.seg)
	}
	b.trim(l)
}

// trim begins again at the start of a tail in memory that nobody else looks at, and gives back what an empty buffer need
// not hold.
func (b *buffer) trim(l *lane) {
	if l.events == 0 && l.flying == nil && l.tail != nil && l.tail.refs == 1 && l.tail.file == nil {
		l.tail.data = l.tail.data[:0]
	}
	if b.tally.memEvents == 0 && len(b.free) > maxFreeSegments {
		clear(b.free[maxFreeSegments:])
		b.free = b.free[:maxFreeSegments]
	}
}

// settled takes a run that is no longer pending off the budget and tells whoever waits for that.
func (b *buffer) settled(l *lane, r run) {
	b.tally.count(r.seg, -b.weight(r), -r.size())
	b.announceSpace()
	low := l.low()
	if f := r.seg.file; f != nil {
		b.spool.acknowledge(r.seg, l.settledOf(f))
		if b.spool.settled(f.epoch, r.events) {
			for i := range b.lanes {
				b.lanes[i].signal()
			}
		}
	}
	l.barriers = slices.DeleteFunc(l.barriers, func(w *barrier) bool {
		if w.end > low {
			return false
		}
		close(w.done)
		return true
	})
}

// low is the sequence number of the oldest event not settled.
func (l *lane) low() uint64 {
	switch {
	case l.flying != nil:
		return l.flying.first()
	case len(l.runs) > 0:
		return l.runs[0].first
	}
	return l.next
}

// settledOf is how many events from a file's start are settled. In front of them others may wait, in memory.
func (l *lane) settledOf(f *segmentFile) int {
	if l.flying != nil && l.flying.runs[0].seg.file == f {
		return f.index(l.flying.first())
	}
	for _, r := range l.runs {
		if i := f.index(r.first); r.seg.file == f || i >= f.events {
			return min(i, f.events)
		}
	}
	return f.events
}

// evict drops the oldest waiting event of all lanes that is in memory, or in the spool. It reports false when there is
// none but in flight. It may give up the lock.
func (b *buffer) evict(where whereabouts, drops *[]Drop) bool {
	var oldest *lane
	var at int
	for i := range b.lanes {
		l := &b.lanes[i]
		k := slices.IndexFunc(l.runs, func(r run) bool { return (r.seg.file != nil) == (where == inSpool) })
		if k >= 0 && (oldest == nil || l.runs[k].since.Before(oldest.runs[at].since)) {
			oldest, at = l, k
		}
	}
	if oldest == nil {
		return false
	}
	seg := oldest.runs[at].seg
	if !seg.readable() {
		return b.load(oldest, seg, drops) == nil
	}
	var victim run
	if !guard(func() { victim = oldest.runs[at].prefix(1, math.MaxInt) }) {
		seg.file.suspect = true
		return true
	}
	*drops = b.describe(*drops, victim, DropOverflow, nil)
	b.lose(oldest, victim, DropOverflow, nil)
	seg.refs++ // for settled to look at
	b.advance(oldest, at, victim)
	b.settled(oldest, victim)
	b.unref(seg)
	b.trim(oldest)
	return true
}

// lose counts the events of a run as dropped.
func (b *buffer) lose(l *lane, r run, reason DropReason, cause error) {
	b.tally.dropped[reason] += uint64(b.weight(r))
	l.acknowledge(r, &DropError{Reason: reason, Err: cause})
}

// describe appends what may be told of a run's events.
func (b *buffer) describe(drops []Drop, r run, reason DropReason, cause error) []Drop {
	told := len(drops) + r.events
	if reason != DropCorrupt {
		guard(func() {
			for data := r.data(); len(data) > 0; {
				size := entrySize(data)
				if b.conversations {
					drops = appendConversationDrops(drops, data[:size], reason, cause)
				} else {
					id, kind, session := describe(data[:size])
					drops = append(drops, Drop{EventID: id, EventType: kind, SessionID: session, Reason: reason, Err: cause})
				}
				data = data[size:]
			}
		})
	}
	for len(drops) < told { // cannot be read
		drops = append(drops, Drop{Reason: reason, Err: cause})
	}
	return drops
}

// abandon ends everything that waits or is in flight: the client is closed and out of time. What is in the spool stays
// there, what is in memory goes there if it can, and the rest is dropped. Nobody sends or records any more.
func (b *buffer) abandon() (drops []Drop) {
	for i := range b.lanes {
		if b.lanes[i].flying != nil {
			b.putBack(i)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.lanes {
		l := &b.lanes[i]
		b.setTail(l, nil)
		if b.spool != nil {
			b.spool.rescue(i)
		}
		drops = append(drops, b.forsake(l)...)
		for _, w := range l.barriers {
			w.left = true
			close(w.done)
		}
		l.barriers = nil
	}
	b.free, b.abandoned = nil, true
	return drops
}

// forsake drops what of a lane is in memory. What is in files stays there.
func (b *buffer) forsake(l *lane) (drops []Drop) {
	for k := 0; k < len(l.runs); {
		r := l.runs[k]
		if r.seg.file != nil {
			l.acknowledge(r, ErrSpooled)
			k++
			continue
		}
		drops = b.describe(drops, r, DropClosed, nil)
		b.lose(l, r, DropClosed, nil)
		b.advance(l, k, r)
		b.settled(l, r)
	}
	return drops
}

// close ends acceptance and makes everything that waits ready to send.
func (b *buffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.announceSpace()
	if b.spool != nil {
		b.spool.announce()
	}
	for i := range b.lanes {
		b.lanes[i].signal()
	}
}

// await hurries everything accepted so far and returns the barriers to wait for.
func (b *buffer) await() (waits []*barrier) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.lanes {
		l := &b.lanes[i]
		if l.low() == l.next {
			continue
		}
		w := &barrier{end: l.next, done: make(chan struct{})}
		l.barriers = append(l.barriers, w)
		waits = append(waits, w)
		l.hurry()
	}
	return waits
}

// leave forgets barriers nobody waits for any more.
func (b *buffer) leave(waits []*barrier) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.lanes {
		l := &b.lanes[i]
		l.barriers = slices.DeleteFunc(l.barriers, func(w *barrier) bool { return slices.Contains(waits, w) })
	}
}

// hurry makes everything ready to send: a batch that fills the buffer is full, whatever its size.
func (b *buffer) hurry() {
	for i := range b.lanes {
		b.lanes[i].hurry()
	}
}

// hurry makes everything in the lane ready to send.
func (l *lane) hurry() {
	l.urgent = l.next
	l.signal()
}

func (l *lane) signal() { signal(l.wake) }

// expected is a receipt for the event with that sequence number.
type expected struct {
	seq     uint64
	receipt *Receipt
}

// expect ties a receipt to the lane's next event, and hurries that.
func (l *lane) expect(r *Receipt) {
	l.receipts = append(l.receipts, expected{l.next, r})
	l.urgent = l.next + 1
	r.add()
}

// acknowledge settles the receipts of a run's events. In front of them there are at most those of the batch in flight,
// so these make way, not the many behind.
func (l *lane) acknowledge(r run, err error) {
	seq := func(e expected, seq uint64) int { return cmp.Compare(e.seq, seq) }
	from, _ := slices.BinarySearchFunc(l.receipts, r.first, seq)
	to, _ := slices.BinarySearchFunc(l.receipts, r.first+uint64(r.events), seq)
	for _, e := range l.receipts[from:to] {
		e.receipt.settle(err)
	}
	n := to - from
	copy(l.receipts[n:to], l.receipts[:from])
	clear(l.receipts[:n])
	l.receipts = l.receipts[n:]
}

// refuse counts a call that broke the rules.
func (b *buffer) refuse() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.invalid++
}

// turnAway counts a call that gave up before it was its turn.
func (b *buffer) turnAway() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.full++
}

// vanish counts an event that was accepted and dropped at once.
func (b *buffer) vanish(reason DropReason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.accepted++
	b.tally.dropped[reason]++
}

// stats returns the counts that are the buffer's.
func (b *buffer) stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{
		Accepted:     b.tally.accepted,
		Recovered:    b.tally.recovered,
		Delivered:    b.tally.delivered,
		Dropped:      maps.Clone(b.tally.dropped),
		Pending:      uint64(b.tally.events),
		PendingBytes: uint64(b.tally.bytes),
		Full:         b.tally.full,
		Invalid:      b.tally.invalid,
	}
}
