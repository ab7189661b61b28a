package sqlite

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/openalign/align/collector"
)

// job is a piece of work for the writer.
type job struct {
	ctx    context.Context // of the caller: once it has ended, the writer may skip the job
	events int
	bytes  int
	// apply may be called again after a transaction that was rolled back.
	apply func(*transaction) error
	// maintain, instead of apply, is called outside of any transaction.
	maintain func(*writer) error
	// proves says that the disk takes appends when this is written, though it is none itself.
	proves bool
	done   chan error // capacity 1, so the writer never waits for a caller who left
}

// lineFactor is how many times what the queue has room for may stand in line for it.
const lineFactor = 2

// queue holds jobs for the writer. It is bounded: what waits, and what is being written, counts until it is answered.
// Jobs for which there is no room stand in line. The line is bounded too, as they hold their batches meanwhile.
type queue struct {
	room, lineRoom quantity
	wake           chan struct{} // capacity 1: a job came, or the queue was closed

	mu      sync.Mutex
	jobs    []*job   // waiting for the writer
	waiting int      // events in jobs
	held    quantity // not answered yet
	line    []*job   // waiting for room, first come first served; empty when nothing is held
	lined   quantity // in line
	closed  bool
}

// quantity measures jobs.
type quantity struct{ events, bytes int }

func (q *quantity) add(j *job)    { q.events, q.bytes = q.events+j.events, q.bytes+j.bytes }
func (q *quantity) remove(j *job) { q.events, q.bytes = q.events-j.events, q.bytes-j.bytes }

// fits reports whether a job may join what is there. One larger than the whole room may when nothing else is there, or it
// would never be; one without events, such as a new key, always may.
func (q *quantity) fits(j *job, room quantity) bool {
	return j.events == 0 || q.events == 0 || q.events+j.events <= room.events && q.bytes+j.bytes <= room.bytes
}

func newQueue(maxEvents, maxBytes int) *queue {
	return &queue{
		room:     quantity{maxEvents, maxBytes},
		lineRoom: quantity{lineFactor * maxEvents, lineFactor * maxBytes},
		wake:     make(chan struct{}, 1),
	}
}

// push adds a job, at the end of the line when there is no room for it yet, and says whether it stands there. It returns
// collector.ErrBusy when there is no room in line either.
func (q *queue) push(j *job) (inLine bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return false, errClosed
	case j.events == 0 || len(q.line) == 0 && q.held.fits(j, q.room):
		q.admit(j)
		return false, nil
	case q.lined.fits(j, q.lineRoom):
		q.line = append(q.line, j)
		q.lined.add(j)
		return true, nil
	}
	return false, collector.ErrBusy
}

// leave takes a job out of the line, and reports whether it still stood there.
func (q *queue) leave(j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.line, j)
	if i < 0 {
		return false
	}
	q.line = slices.Delete(q.line, i, i+1)
	q.lined.remove(j)
	q.advance() // those behind it may be smaller
	return true
}

// admit gives a job to the writer. The caller holds the lock, as for advance.
func (q *queue) admit(j *job) {
	q.jobs = append(q.jobs, j)
	q.waiting += j.events
	q.held.add(j)
	q.signal()
}

// advance admits from the line as long as there is room for who is next.
func (q *queue) advance() {
	n := 0
	for n < len(q.line) && q.held.fits(q.line[n], q.room) {
		q.lined.remove(q.line[n])
		q.admit(q.line[n])
		n++
	}
	q.line = slices.Delete(q.line, 0, n)
}

// wait returns true when a job is there, and false when the queue is closed and empty.
func (q *queue) wait() bool {
	for {
		jobs, _, closed := q.state()
		if jobs > 0 {
			return true
		}
		if closed {
			return false
		}
		<-q.wake
	}
}

// gather waits until there are as many jobs as wanted or enough events for a whole group, no longer than limit.
func (q *queue) gather(want, events int, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		if jobs, waiting, closed := q.state(); jobs >= want || waiting >= events || closed {
			return
		}
		select {
		case <-q.wake:
		case <-timer.C:
			return
		}
	}
}

// take removes the oldest jobs up to a number of events, and at least one.
func (q *queue) take(events int) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, sum := 0, 0
	for n < len(q.jobs) && (n == 0 || sum+q.jobs[n].events <= events) {
		sum += q.jobs[n].events
		n++
	}
	taken := slices.Clone(q.jobs[:n])
	q.jobs = slices.Delete(q.jobs, 0, n) // which also lets go of them: an idle queue must not keep the last batches
	q.waiting -= sum
	return taken
}

// answer tells a job's caller how it went, and makes room.
func (q *queue) answer(j *job, err error) {
	q.mu.Lock()
	q.held.remove(j)
	q.advance()
	q.mu.Unlock()
	j.done <- err
}

// close refuses what comes from now on. Whoever stands in line is still served.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) state() (jobs, events int, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.jobs), q.waiting, q.closed
}

// holds returns what was not answered yet, and what stands in line.
func (q *queue) holds() (held, lined quantity) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held, q.lined
}
