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
type buffer struct {
	maxEvents, maxBytes     int
	batchEvents, batchBytes int
	overflow                Overflow
	conversations           bool // entries are conversations, each of any number of events; see acro.go

	mu     sync.Mutex // guards all below
	lanes  []lane
	free   []*segment // empty segments, last in first out: the one most likely still in the processor's cache
	space  chan struct{}
	closed bool
	tally  tally
}

// tally is what [Stats] and the invariant accepted = delivered + dropped + pending are made of.
type tally struct {
	accepted, delivered uint64
	dropped             map[DropReason]uint64
	full, invalid       uint64 // calls that returned an error: never accepted
	events, bytes       int    // pending: waiting and in flight
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

// maxFreeSegments bounds what an empty buffer keeps for the next burst: 1 MiB. One that is in use keeps all it once
// needed, within its budget, so that a steady load makes no garbage.
const maxFreeSegments = 16

type segment struct {
	data []byte // capacity never changes: bytes written stay where they are
	refs int    // runs that point here, and a lane whose tail this is
}

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
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed && !b.fits(len(entry)) {
		for j := range b.lanes { // a batch that fills the buffer is full, whatever its size
			b.lanes[j].hurry()
		}
		if err := b.makeRoom(ctx, len(entry), &dropped); err != nil {
			b.tally.full++
			return dropped, err
		}
	}
	if b.closed {
		return dropped, ErrClosed
	}
	l := &b.lanes[i]
	if receipt != nil {
		l.expect(receipt)
	}
	b.append(l, entry, now)
	return dropped, nil
}

// makeRoom does what the overflow rule says, once: there may be room afterwards. An error means that there will be none.
func (b *buffer) makeRoom(ctx context.Context, size int, dropped *[]Drop) error {
	switch {
	case size > b.maxBytes: // never fits
	case b.overflow == OverflowDropOldest && b.evict(dropped):
		return nil
	case b.overflow == OverflowBlock:
		return b.awaitSpace(ctx)
	}
	return ErrBufferFull
}

// halfFull reports whether half of either budget is used up.
func (b *buffer) halfFull() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tally.events > b.maxEvents/2 || b.tally.bytes > b.maxBytes/2
}

func (b *buffer) fits(size int) bool {
	return b.tally.events < b.maxEvents && b.tally.bytes+size <= b.maxBytes
}

// awaitSpace gives up the lock until something was settled. Everybody who waits is woken: whoever finds no room left
// waits again.
func (b *buffer) awaitSpace(ctx context.Context) error {
	if b.space == nil {
		b.space = make(chan struct{})
	}
	space := b.space
	b.mu.Unlock()
	defer b.mu.Lock()
	select {
	case <-space:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBufferFull, ctx.Err())
	}
}

func (b *buffer) announceSpace() {
	if b.space != nil {
		close(b.space)
		b.space = nil
	}
}

// append copies an entry to the end of a lane.
func (b *buffer) append(l *lane, entry []byte, now time.Time) {
	seg := b.segmentFor(l, len(entry))
	from := len(seg.data)
	seg.data = append(seg.data, entry...)
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
	l.bytes += len(entry)
	b.tally.accepted++
	b.tally.events++
	b.tally.bytes += len(entry)
	// The sender looks when the first event arrives, to set its timer, and when a batch is full. Past that it is busy.
	if l.events == 1 || l.events == b.batchEvents || l.bytes >= b.batchBytes && l.bytes-len(entry) < b.batchBytes || l.urgent == l.next {
		l.signal()
	}
}

// segmentFor returns where an entry of that size goes: the lane's tail, or, lest it leave much of a segment empty, a
// segment of its own.
func (b *buffer) segmentFor(l *lane, size int) *segment {
	if size > segmentSize/8 {
		return &segment{data: make([]byte, 0, size)}
	}
	if l.tail == nil || cap(l.tail.data)-len(l.tail.data) < size {
		if l.tail != nil {
			b.unref(l.tail)
		}
		l.tail = b.newSegment()
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
	if seg.refs == 0 && cap(seg.data) == segmentSize && b.tally.bytes+(len(b.free)+1)*segmentSize <= b.maxBytes {
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
	case l.events == 0:
		return false, 0
	case l.events >= b.batchEvents, l.bytes >= b.batchBytes, l.runs[0].first < l.urgent, b.closed:
		return true, 0
	}
	wait = interval - now.Sub(l.runs[0].since)
	return wait <= 0, max(wait, 0)
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
// It returns nil when nothing waits: what did may have been dropped to make room. None may be in flight.
func (b *buffer) cut(i, maxEvents int, id string) *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &b.lanes[i]
	if l.events == 0 {
		return nil
	}
	out := &batch{id: id}
	maxEvents = min(maxEvents, b.batchEvents)
	for len(l.runs) > 0 && out.events < maxEvents {
		part := l.runs[0].prefix(maxEvents-out.events, b.batchBytes-out.bytes)
		if part.events == 0 && out.events == 0 {
			part = l.runs[0].prefix(1, b.maxBytes) // larger than a batch: goes alone
		}
		if part.events == 0 {
			break
		}
		part.seg.refs++
		out.runs = append(out.runs, part)
		out.chunks = append(out.chunks, part.data())
		out.events += part.events
		out.bytes += part.size()
		b.advance(l, part)
	}
	l.flying = out
	return out
}

// advance takes a prefix of the front run off a lane.
func (b *buffer) advance(l *lane, part run) {
	front := &l.runs[0]
	front.from = part.to
	front.first += uint64(part.events)
	front.events -= part.events
	l.events -= part.events
	l.bytes -= part.size()
	if front.events == 0 {
		b.unref(front.seg)
		*front = run{} // what is behind the slice's start is still in memory
		if l.runs = l.runs[1:]; len(l.runs) == 0 {
			l.runs = nil
		}
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

// drop settles the batch in flight as lost.
func (b *buffer) drop(i int, reason DropReason, cause error) []Drop {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &b.lanes[i]
	var drops []Drop
	for _, r := range l.flying.runs {
		drops = b.lose(drops, l, r, reason, cause)
	}
	b.land(l)
	return drops
}

// land frees what the batch in flight held.
func (b *buffer) land(l *lane) {
	f := l.flying
	l.flying = nil
	events := 0
	for _, r := range f.runs {
		events += b.weight(r)
	}
	b.settled(l, events, f.bytes)
	for _, r := range f.runs { // off the budget first, or a full buffer would have no room for its own empty segments
		b.unref(r.seg)
	}
	b.trim(l)
}

// settled takes events off the budget and tells whoever waits for that.
func (b *buffer) settled(l *lane, events, bytes int) {
	b.tally.events -= events
	b.tally.bytes -= bytes
	b.announceSpace()
	low := l.low()
	l.barriers = slices.DeleteFunc(l.barriers, func(w *barrier) bool {
		if w.end > low {
			return false
		}
		close(w.done)
		return true
	})
}

// trim gives back what an empty lane and an empty buffer need not hold.
func (b *buffer) trim(l *lane) {
	if l.events == 0 && l.flying == nil && l.tail != nil && l.tail.refs == 1 {
		l.tail.data = l.tail.data[:0] // nobody else looks at it: begin again at its start
	}
	if b.tally.events == 0 && len(b.free) > maxFreeSegments {
		clear(b.free[maxFreeSegments:])
		b.free = b.free[:maxFreeSegments]
	}
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

// evict drops the oldest waiting event of all lanes. It reports false when everything is in flight.
func (b *buffer) evict(drops *[]Drop) bool {
	var oldest *lane
	for i := range b.lanes {
		l := &b.lanes[i]
		if l.events > 0 && (oldest == nil || l.runs[0].since.Before(oldest.runs[0].since)) {
			oldest = l
		}
	}
	if oldest == nil {
		return false
	}
	victim := oldest.runs[0].prefix(1, math.MaxInt)
	*drops = b.lose(*drops, oldest, victim, DropOverflow, nil)
	events := b.weight(victim)
	b.advance(oldest, victim)
	b.settled(oldest, events, victim.size())
	b.trim(oldest)
	return true
}

// lose counts the events of a run as dropped and appends what may be told of them.
func (b *buffer) lose(drops []Drop, l *lane, r run, reason DropReason, cause error) []Drop {
	b.tally.dropped[reason] += uint64(b.weight(r))
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
	l.acknowledge(r, &DropError{Reason: reason, Err: cause})
	return drops
}

// abandon drops everything, waiting and in flight: the client is closed and out of time.
func (b *buffer) abandon() (drops []Drop) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.lanes {
		l := &b.lanes[i]
		if f := l.flying; f != nil {
			for _, r := range f.runs {
				drops = b.lose(drops, l, r, DropClosed, nil)
			}
			b.land(l)
		}
		for len(l.runs) > 0 {
			r := l.runs[0]
			drops = b.lose(drops, l, r, DropClosed, nil)
			events := b.weight(r)
			b.advance(l, r)
			b.settled(l, events, r.size())
		}
		l.tail = nil
	}
	b.free = nil
	return drops
}

// close ends acceptance and makes everything that waits ready to send.
func (b *buffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.announceSpace()
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

// hurry makes everything in the lane ready to send.
func (l *lane) hurry() {
	l.urgent = l.next
	l.signal()
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

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
		Delivered:    b.tally.delivered,
		Dropped:      maps.Clone(b.tally.dropped),
		Pending:      uint64(b.tally.events),
		PendingBytes: uint64(b.tally.bytes),
		Full:         b.tally.full,
		Invalid:      b.tally.invalid,
	}
}
