package align

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxSegmentFile = 4 << 20
	minSegmentFile = 64 << 10
	// spoolExtraFiles is how many files there may be beside the one each sender's lane writes to: spares, and the journal.
	spoolExtraFiles = 3
	// maxSpares bounds the empty files kept ahead of need. A file that was written before costs less than a new one: its
	// pages are there.
	maxSpares = 2
	// maxSealedMaps bounds the waiting segments that stay mapped though nobody writes or sends them just now: enough that a
	// steady load maps nothing twice.
	maxSealedMaps = 2
	// spoolRetry is how long a spool that failed is left alone.
	spoolRetry = time.Second
	// numberStep leaves room between the numbers of segments for those that Close makes of what was in memory.
	numberStep = 1 << 20
)

// spool keeps the buffer's segments in files. The buffer decides what goes where; two goroutines do what takes time: one
// makes, maps away and removes files, one syncs them. Neither they nor anybody else holds the buffer's lock meanwhile.
type spool struct {
	fs       spoolFS
	dir      string
	lock     *os.File // nil in tests of the file layer
	log      *slog.Logger
	buf      *buffer
	maxBytes int64
	segBytes int // size of a file, but for entries larger than that
	interval time.Duration
	epoch    uint32     // this process's
	sessions []*segment // journals of former processes

	wake, wakeSync chan struct{} // capacity 1
	stopping       chan struct{}
	stopped        sync.WaitGroup

	// The buffer's lock guards all below.
	bytes    int64  // of all files that are in use, spares, or being made
	number   uint64 // of the last segment
	file     uint64 // of the last file name
	mapped   int    // segments
	spares   []*segment
	wanted   bool // somebody waits for a spare, or it is time to try again
	making   bool
	large    []*largeRequest
	done     []*segment // settled: to become spares or to be removed
	surplus  []*segment // to be unmapped
	dirty    []*segment // to be synced
	newNames bool       // the directory is to be synced
	changed  chan struct{}
	round    *syncRound // the next sync, if somebody waits for it
	trouble  *SpoolError
	retryAt  time.Time
	told     error        // what the log was told of trouble
	closing  []*segment   // journal segments that stay when the spool is closed
	old      []epochCount // events of former processes, unsettled, oldest process first
}

// epochCount is how many events of a process are not settled.
type epochCount struct {
	epoch  uint32
	events int
}

// largeRequest asks for a segment for one entry.
type largeRequest struct {
	bytes int
	seg   *segment // nil: could not be had
	done  chan struct{}
}

// syncRound is closed when everything stored before it began is synced, or could not be.
type syncRound struct{ done chan struct{} }

// recovered is what a former process has left.
type recovered struct {
	segments []*segment
	content  []segmentContent // of each
	corrupt  int              // events in segments of which nothing can be read
}

// openSpool takes the directory and reads what is in there.
func openSpool(cfg *Config, files func(dir string) spoolFS) (*spool, *recovered, error) {
	if err := os.MkdirAll(cfg.SpoolDir, 0o700); err != nil {
		return nil, nil, &SpoolError{"create", err}
	}
	lock, err := lockSpool(cfg.SpoolDir)
	if err != nil {
		if errors.Is(err, ErrSpoolLocked) {
			return nil, nil, err
		}
		return nil, nil, &SpoolError{"lock", err}
	}
	s := newSpool(cfg, files(cfg.SpoolDir))
	s.lock = lock
	left, err := s.recover()
	if err != nil {
		return nil, nil, errors.Join(err, unlockSpool(lock))
	}
	return s, left, nil
}

func newSpool(cfg *Config, dir spoolFS) *spool {
	files := int64(4 * (cfg.Senders + spoolExtraFiles))
	size := min(max(cfg.SpoolMaxBytes/files, minSegmentFile), maxSegmentFile)
	return &spool{
		fs: dir, dir: cfg.SpoolDir, log: cfg.Logger,
		maxBytes: cfg.SpoolMaxBytes, segBytes: int(size) / pageBytes * pageBytes, interval: cfg.SpoolSync,
		wake: make(chan struct{}, 1), wakeSync: make(chan struct{}, 1), stopping: make(chan struct{}), changed: make(chan struct{}),
	}
}

// recover reads the segments of former processes. What is not a segment is left alone; a segment nothing is left of is
// removed.
func (s *spool) recover() (*recovered, error) {
	names, err := s.fs.list()
	if err != nil {
		return nil, &SpoolError{"open", err}
	}
	left := new(recovered)
	var empty []string
	for _, name := range names {
		file, ok := segmentNumber(strings.TrimSuffix(name, corruptSuffix))
		if !ok {
			continue
		}
		s.file = max(s.file, file)
		if strings.HasSuffix(name, corruptSuffix) { // its name is not given again, lest another be put aside over it
			continue
		}
		f := &segmentFile{name: name}
		var c segmentContent
		switch err := s.load(f, &c, nil); {
		case errors.Is(err, ErrSpoolVersion):
			return nil, fmt.Errorf("align: spool: %s in %s: %w", name, s.dir, err)
		case errors.Is(err, errNoSegment), err == nil && c.number == 0:
			empty = append(empty, name)
			continue
		case errors.Is(err, errBadHeader):
			left.corrupt += c.corrupt
			err := s.fs.rename(name, name+corruptSuffix) // or it would be counted again at the next start
			s.log.Warn("align: spool: a file cannot be read and is put aside", "file", name, "events", c.corrupt, "error", err)
			continue
		case err != nil:
			s.trouble = &SpoolError{"open", err}
			s.log.Warn("align: spool: a file cannot be read and is left for the next start", "file", name, "error", err)
			continue
		}
		s.number = max(s.number, c.number)
		s.epoch = max(s.epoch, c.epoch)
		f.segmentHeader, f.events, f.end, f.storedTo = c.segmentHeader, c.events, c.end, c.acked
		if c.batch != nil && c.batch.first == c.acked && c.acked+c.batch.events <= c.events && c.batch.events > 0 {
			f.resend = c.batch
		}
		seg := &segment{file: f}
		s.bytes += int64(f.bytes)
		if c.kind != kindEvents {
			s.sessions = append(s.sessions, seg)
			continue
		}
		left.segments = append(left.segments, seg)
		left.content = append(left.content, c)
	}
	for _, name := range empty {
		if err := s.fs.remove(name); err != nil {
			s.log.Warn("align: spool: a file cannot be removed", "file", name, "error", err)
		}
	}
	s.epoch++
	s.number = (s.number/numberStep + 1) * numberStep
	return left, nil
}

// load opens and reads a file and closes it again.
func (s *spool) load(f *segmentFile, c *segmentContent, visit func(i int, entry []byte)) (err error) {
	file, mem, _, err := s.openFile(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.close()) }()
	if !guard(func() { err = readSegment(mem, c, visit) }) {
		return errFault
	}
	return err
}

func (s *spool) openFile(f *segmentFile) (file spoolFile, mem []byte, shared bool, err error) {
	if file, err = s.fs.open(f.name); err != nil {
		return nil, nil, false, err
	}
	if f.bytes, err = file.size(); err == nil && f.bytes < headerBytes+frameBytes {
		err = errNoSegment // mapping nothing is an error
	}
	if err == nil {
		mem, shared, err = file.memory(f.bytes)
	}
	if err != nil {
		return nil, nil, false, errors.Join(err, file.close())
	}
	return file, mem, shared, nil
}

func segmentName(file uint64) string { return fmt.Sprintf("%020d%s", file, segmentSuffix) }

// segmentNumber reads the number from a file's name; false if it is no name of ours.
func segmentNumber(name string) (file uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	_, err := fmt.Sscanf(digits, "%d", &file)
	return file, err == nil && segmentName(file) == name
}

// adopt puts what former processes left into the lanes, in order.
func (b *buffer) adopt(s *spool, left *recovered) (drops []Drop) {
	b.spool, s.buf = s, b
	order := make([]int, len(left.segments))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := left.content[i], left.content[j]
		return compareSegments(a.epoch, a.number, b.epoch, b.number)
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	corrupt := left.corrupt
	for _, i := range order {
		seg, c := left.segments[i], left.content[i]
		corrupt += c.corrupt
		waiting := c.events - c.acked
		if waiting == 0 {
			seg.refs = 1
			b.unref(seg)
			continue
		}
		l := &b.lanes[c.lane%uint32(len(b.lanes))]
		seg.file.first = l.next - uint64(c.acked)
		seg.refs = 1
		l.runs = append(l.runs, run{seg: seg, from: c.from, to: c.end, events: waiting, first: l.next})
		l.next += uint64(waiting)
		l.events += waiting
		l.bytes += c.end - c.from
		b.tally.accepted += uint64(waiting)
		b.tally.recovered += uint64(waiting)
		b.tally.events += waiting
		b.tally.bytes += c.end - c.from
		if n := len(s.old); n == 0 || s.old[n-1].epoch != c.epoch {
			s.old = append(s.old, epochCount{epoch: c.epoch})
		}
		s.old[len(s.old)-1].events += waiting
	}
	for range corrupt {
		b.tally.accepted++
		b.tally.recovered++
		b.tally.dropped[DropCorrupt]++
		drops = append(drops, Drop{Reason: DropCorrupt})
	}
	return drops
}

// compareSegments is the order of segments: process by process.
func compareSegments(epochA uint32, numberA uint64, epochB uint32, numberB uint64) int {
	return cmp.Or(cmp.Compare(epochA, epochB), cmp.Compare(numberA, numberB))
}

// start begins the work in the background. The first spares are made here, so that a spool that cannot be written is
// known from the start.
func (s *spool) start() {
	s.want()
	for s.step() {
	}
	s.report()
	s.stopped.Go(s.run)
	if s.interval != SyncNever {
		s.stopped.Go(s.runSync)
	}
}

func (s *spool) want() {
	s.buf.mu.Lock()
	defer s.buf.mu.Unlock()
	s.wanted = true
}

func (s *spool) run() {
	for {
		for s.step() {
			s.report()
		}
		s.report()
		select {
		case <-s.wake:
		case <-s.stopping:
			for s.step() { // nobody may go on waiting for a file
			}
			s.report()
			return
		}
	}
}

// report tells the log when the spool begins to fail or works again.
func (s *spool) report() {
	s.buf.mu.Lock()
	var now error
	if s.trouble != nil {
		now = s.trouble
	}
	before := s.told
	s.told = now
	s.buf.mu.Unlock()
	switch {
	case now != nil && before == nil:
		s.log.Warn("align: the spool fails, events go to memory", "error", now)
	case now == nil && before != nil:
		s.log.Info("align: the spool works again")
	}
}

// step does the next piece of work and reports whether there was any. Room is made before it is taken.
func (s *spool) step() bool {
	mu := &s.buf.mu
	mu.Lock()
	defer mu.Unlock()
	if i := slices.IndexFunc(s.done, func(seg *segment) bool { return seg.file.pins == 0 }); i >= 0 {
		seg := s.done[i]
		s.done = slices.Delete(s.done, i, i+1)
		s.finish(seg)
		return true
	}
	s.surplus = slices.DeleteFunc(s.surplus, func(seg *segment) bool { return !seg.file.surplus })
	if i := slices.IndexFunc(s.surplus, func(seg *segment) bool { return seg.file.pins == 0 }); i >= 0 {
		f := s.surplus[i].file
		f.surplus = false
		s.unmap(f)
		return true
	}
	if len(s.large) > 0 {
		r := s.large[0]
		s.large = s.large[1:]
		if s.trouble == nil && !s.buf.closed && s.bytes+int64(r.bytes) <= s.maxBytes {
			r.seg = s.make(r.bytes)
		}
		close(r.done)
		return true
	}
	if s.wanted && (s.trouble != nil || len(s.spares) == 0) {
		s.wanted = false
		s.making = true
		s.makeSpare()
		s.making = false
		s.announce()
		return true
	}
	s.wanted = false
	return false
}

// finish makes a spare of a segment nobody needs any more, or removes it. It gives up the lock meanwhile.
func (s *spool) finish(seg *segment) {
	f := seg.file
	f.surplus = false
	if len(s.spares) < maxSpares && f.bytes == s.segBytes && f.file != nil && !f.suspect && s.trouble == nil && s.bytes+int64(f.bytes) <= s.maxBytes {
		s.bytes += int64(f.bytes)
		s.buf.mu.Unlock()
		err := f.clear()
		s.buf.mu.Lock()
		if err == nil {
			s.spares = append(s.spares, seg)
			s.announce()
			return
		}
		s.bytes -= int64(f.bytes)
		s.fail("write", err)
	}
	// If it cannot be removed, what is in there must not come again.
	s.acknowledge(seg, f.events)
	s.unmap(f)
	s.buf.mu.Unlock()
	err := s.fs.remove(f.name)
	s.buf.mu.Lock()
	if err != nil {
		s.fail("remove", err)
	}
}

// unmap lets go of a file. It gives up the lock meanwhile.
func (s *spool) unmap(f *segmentFile) {
	file := f.file
	if file == nil {
		return
	}
	f.file, f.mem = nil, nil
	s.mapped--
	s.buf.mu.Unlock()
	err := file.close()
	s.buf.mu.Lock()
	if err != nil {
		s.fail("write", err) // some systems say here that what was written is not
	}
}

// makeSpare makes a spare, or fails. After a failure the disk has to prove itself. It gives up the lock meanwhile.
func (s *spool) makeSpare() {
	failing := s.trouble != nil
	if len(s.spares) == 0 {
		if s.bytes+int64(s.segBytes) > s.maxBytes {
			return
		}
		seg := s.make(s.segBytes)
		if seg == nil {
			return
		}
		s.spares = append(s.spares, seg)
	}
	if failing {
		file := s.spares[0].file.file
		s.buf.mu.Unlock()
		err := file.sync()
		s.buf.mu.Lock()
		if err != nil {
			s.fail("sync", err)
			return
		}
		s.trouble = nil
	}
}

// make makes a segment without a number, or fails and returns nil. It gives up the lock meanwhile.
func (s *spool) make(bytes int) *segment {
	s.bytes += int64(bytes)
	s.file++
	name := segmentName(s.file)
	s.buf.mu.Unlock()
	f, err := s.newFile(name, bytes)
	s.buf.mu.Lock()
	if err != nil {
		s.bytes -= int64(bytes)
		s.fail("create", err)
		return nil
	}
	s.mapped++
	s.newNames = true
	return &segment{file: f}
}

func (s *spool) newFile(name string, bytes int) (*segmentFile, error) {
	file, err := s.fs.create(name, bytes)
	if err != nil {
		return nil, err
	}
	f := &segmentFile{name: name, bytes: bytes, file: file}
	if f.mem, f.shared, err = file.memory(bytes); err == nil {
		err = f.store(f.encode(), 0)
	}
	if err != nil {
		return nil, errors.Join(err, file.close(), s.fs.remove(name))
	}
	return f, nil
}

// fail notes that the disk does not do what it should. The buffer's lock is held.
func (s *spool) fail(op string, err error) {
	s.trouble = &SpoolError{op, err}
	s.retryAt = time.Now().Add(spoolRetry)
	s.announce()
	signal(s.wake) // tells the log
}

// announce wakes everybody who waits for a spare.
func (s *spool) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// usable reports whether new segments can be had. After a failure the disk is tried now and then, behind the caller's
// back.
func (s *spool) usable(now time.Time) bool {
	if s.trouble == nil {
		return true
	}
	if !s.wanted && !s.making && !now.Before(s.retryAt) {
		s.wanted = true
		signal(s.wake)
	}
	return false
}

// take returns a spare as the next segment of a lane, nil if there is none. The caller has the only reference and a pin.
func (s *spool) take(kind segmentKind, lane int, now time.Time) (*segment, error) {
	if len(s.spares) == 0 {
		return nil, nil
	}
	seg := s.spares[0]
	s.spares = slices.Delete(s.spares, 0, 1)
	if len(s.spares) == 0 && s.bytes+int64(s.segBytes) <= s.maxBytes { // the next one, ahead of need
		s.wanted = true
		signal(s.wake)
	}
	return seg, s.begin(seg, kind, lane, s.next(), now)
}

func (s *spool) next() uint64 {
	s.number += numberStep
	return s.number
}

// begin gives a new segment its place. If that fails the segment is given back.
func (s *spool) begin(seg *segment, kind segmentKind, lane int, number uint64, now time.Time) error {
	f := seg.file
	f.segmentHeader = segmentHeader{epoch: s.epoch, number: number, lane: uint32(lane), kind: kind, created: now}
	seg.refs, f.pins = 1, 1
	if err := f.begin(); err != nil {
		f.suspect = true
		f.pins--
		s.buf.unref(seg)
		s.fail("write", err)
		return err
	}
	return nil
}

// release takes back a segment nobody refers to.
func (s *spool) release(seg *segment) {
	s.bytes -= int64(seg.file.bytes)
	s.done = append(s.done, seg)
	s.buf.announceSpace() // the last reference may be a sync's
	signal(s.wake)
}

// unpin ends a use that kept the segment mapped.
func (s *spool) unpin(seg *segment) {
	if f := seg.file; f.pins > 0 {
		f.pins--
	}
	if seg.refs == 0 {
		signal(s.wake)
	}
}

// seal ends a lane's tail. It stays mapped if few are: it may be next.
func (s *spool) seal(seg *segment) {
	s.unpin(seg)
	if s.mapped > len(s.buf.lanes)+maxSpares+maxSealedMaps && seg.refs > 0 {
		seg.file.surplus = true
		s.surplus = append(s.surplus, seg)
		signal(s.wake)
	}
}

// written notes that there is something to sync and returns the round to wait for, if the caller has to.
func (s *spool) written(seg *segment) *syncRound {
	if s.interval == SyncNever {
		return nil
	}
	if !seg.file.dirty {
		seg.file.dirty = true
		s.dirty = append(s.dirty, seg)
		signal(s.wakeSync)
	}
	if s.interval != SyncAlways || s.trouble != nil {
		return nil
	}
	if s.round == nil {
		s.round = &syncRound{make(chan struct{})}
		signal(s.wakeSync)
	}
	return s.round
}

func (s *spool) runSync() {
	for {
		select {
		case <-s.wakeSync:
		case <-s.stopping:
			s.syncDirty()
			return
		}
		if s.interval > 0 {
			timer := time.NewTimer(s.interval)
			select {
			case <-timer.C:
			case <-s.stopping:
			}
			timer.Stop()
		}
		s.syncDirty()
	}
}

// syncDirty syncs everything stored so far. A segment that cannot be synced is not written to any more. Its events stay
// where they are, and are sent from there.
func (s *spool) syncDirty() {
	mu := &s.buf.mu
	mu.Lock()
	defer mu.Unlock()
	round := s.round
	s.round = nil
	if round != nil {
		defer close(round.done)
	}
	names := s.newNames
	s.newNames = false
	segs := s.dirty
	s.dirty = nil
	for _, seg := range segs {
		seg.file.dirty = false
	}
	if names {
		mu.Unlock()
		err := s.fs.syncDir()
		mu.Lock()
		if err != nil {
			s.newNames = true
			s.fail("sync", err)
		}
	}
	for _, seg := range segs {
		if seg.refs > 0 { // else it is settled
			s.syncSegment(seg)
		}
	}
}

// syncSegment syncs one segment, wherever it is by now: only while it is its turn is it kept where it is, lest a slow disk
// keep all of them in memory. It gives up the lock meanwhile.
func (s *spool) syncSegment(seg *segment) {
	f := seg.file
	file := f.file
	seg.refs++ // it must not be removed meanwhile
	if file != nil {
		f.pins++
	}
	s.buf.mu.Unlock()
	var err error
	if file != nil {
		err = file.sync()
	} else {
		err = s.syncUnmapped(f.name)
	}
	s.buf.mu.Lock()
	if file != nil {
		s.unpin(seg)
	}
	if err != nil {
		s.fail("sync", err)
		s.buf.sealTail(seg)
	}
	s.buf.unref(seg)
	if len(s.surplus) > 0 {
		signal(s.wake)
	}
}

// syncUnmapped syncs a file that is not open.
func (s *spool) syncUnmapped(name string) error {
	file, err := s.fs.open(name)
	if err != nil {
		return err
	}
	return errors.Join(file.sync(), file.close())
}

// acknowledge stores how many events from the segment's start are settled. That it fails is no loss: they may be sent
// again.
func (s *spool) acknowledge(seg *segment, events int) {
	f := seg.file
	if f.mem == nil || events <= f.storedTo {
		return
	}
	if err := f.store(ackedField(events), ackedAt); err != nil {
		f.suspect = true
		s.fail("write", err)
		return
	}
	f.storedTo = events
}

// settled counts events of former processes down. When those of one are gone, it is the next one's turn.
func (s *spool) settled(epoch uint32, events int) (turn bool) {
	for i := range s.old {
		if s.old[i].epoch == epoch {
			s.old[i].events -= events
		}
	}
	for len(s.old) > 0 && s.old[0].events == 0 {
		s.old = s.old[1:]
		turn = true
	}
	return turn
}

// turn is the process whose events are to be sent now.
func (s *spool) turn() uint32 {
	if len(s.old) > 0 {
		return s.old[0].epoch
	}
	return s.epoch
}

// health returns nil while the spool can be written.
func (s *spool) health() error {
	s.buf.mu.Lock()
	defer s.buf.mu.Unlock()
	if s.trouble == nil {
		return nil
	}
	return s.trouble
}

// stop ends the work in the background.
func (s *spool) stop() {
	close(s.stopping)
	s.stopped.Wait()
}

// close syncs and closes what is left, removes what is empty and lets go of the directory. Nobody else uses the spool or
// its buffer any more.
func (s *spool) close() error {
	var problems []error
	s.buf.mu.Lock()
	segs := slices.Concat(s.spares, s.done)
	s.spares, s.done = nil, nil
	s.buf.mu.Unlock()
	for _, seg := range segs {
		s.buf.mu.Lock()
		s.acknowledge(seg, seg.file.events)
		s.unmap(seg.file)
		s.buf.mu.Unlock()
		problems = append(problems, s.fs.remove(seg.file.name))
	}
	if s.interval != SyncNever {
		s.syncDirty()
	}
	s.buf.mu.Lock()
	for i := range s.buf.lanes {
		for _, r := range s.buf.lanes[i].runs {
			if r.seg.file != nil {
				s.unmap(r.seg.file)
			}
		}
	}
	for _, seg := range s.closing {
		s.unmap(seg.file)
	}
	s.buf.mu.Unlock()
	if s.lock != nil {
		problems = append(problems, unlockSpool(s.lock))
	}
	return errors.Join(problems...)
}

// isGone reports whether an error means that a file is not there any more, or is no segment any more.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoSegment) || errors.Is(err, errBadHeader) || errors.Is(err, errFault)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// noteBatch notes the request a batch of a file goes in. That it fails is no loss: after a restart the request is another.
func (s *spool) noteBatch(b *batch) {
	r := b.runs[0]
	f := r.seg.file
	if len(b.id) != batchID {
		return
	}
	note := batchRecord{id: b.id, first: f.index(r.first), events: r.events}
	if err := f.store(note.encode(f.number), batchAt); err != nil {
		s.fail("write", err)
	}
}

// rescue moves the events of a lane that are in memory to files, in their place in the lane's order, as far as the disk
// takes them. It runs when nothing else does.
func (s *spool) rescue(i int) {
	l := &s.buf.lanes[i]
	number := uint64(s.epoch) // of the file before
	var into *segment
	for k := 0; k < len(l.runs); k++ {
		if f := l.runs[k].seg.file; f != nil {
			if into = nil; f.epoch == s.epoch {
				number = f.number
			}
			continue
		}
		r := l.runs[k]
		var moved []run
		for rest := r; rest.events > 0; {
			part := rest.prefix(1, rest.size())
			entry := part.data()
			if into == nil || into.file.room() < len(entry) {
				number++
				if into = s.rescueFile(max(s.segBytes, fileBytes(len(entry))), i, number); into == nil {
					break
				}
				into.file.first = part.first
				moved = append(moved, run{seg: into, first: part.first, since: r.since})
			} else if len(moved) == 0 {
				moved = append(moved, run{seg: into, from: into.file.end, to: into.file.end, first: part.first, since: r.since})
				into.refs++
			}
			if err := into.file.put(entry, checksum(entry)); err != nil {
				s.fail("write", err)
				break
			}
			m := &moved[len(moved)-1]
			m.to = into.file.end
			m.events++
			rest.from = part.to
			rest.first++
			rest.events--
		}
		for _, m := range moved {
			m.seg.file.dirty = true
			s.dirty = append(s.dirty, m.seg)
			m.seg.data = m.seg.file.mem[headerBytes : headerBytes+m.seg.file.end]
			if m.events == 0 {
				s.buf.unref(m.seg)
				continue
			}
			s.buf.tally.count(r.seg, -m.events, -m.size())
			s.buf.tally.count(m.seg, m.events, m.size())
			l.runs[k].from += m.size()
			l.runs[k].first += uint64(m.events)
			l.runs[k].events -= m.events
			l.runs = slices.Insert(l.runs, k, m)
			k++
		}
		if l.runs[k].events > 0 {
			return // the disk does not take more
		}
		s.buf.unref(r.seg)
		l.runs = slices.Delete(l.runs, k, k+1)
		k--
	}
}

// rescueFile makes a segment for what was in memory.
func (s *spool) rescueFile(bytes, lane int, number uint64) *segment {
	if s.bytes+int64(bytes) > s.maxBytes {
		return nil
	}
	seg := s.make(bytes)
	if seg == nil || s.begin(seg, kindEvents, lane, number, time.Now()) != nil {
		return nil
	}
	seg.file.pins--
	return seg
}

var errTorn = errors.New("align: the spool's file is torn or was changed")
