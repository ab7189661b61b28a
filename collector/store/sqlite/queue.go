package sqlite

import (
	"context"
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
	done  chan error // capacity 1, so the writer never waits for a caller who left
}

// queue holds jobs for the writer. It is bounded: what waits, and what is being written, counts until it is answered.
type queue struct {
	maxEvents, maxBytes int
	wake                chan struct{} // capacity 1: a job came, or the queue was closed

	mu            sync.Mutex
	jobs          []*job // waiting
	waiting       int    // events in jobs
	events, bytes int    // not answered yet
	closed        bool
}

func newQueue(maxEvents, maxBytes int) *queue {
	return &queue{maxEvents: maxEvents, maxBytes: maxBytes, wake: make(chan struct{}, 1)}
}

// push adds a job, or returns collector.ErrBusy when there is no room for it. A job larger than the bounds is taken when
// nothing else is there, or it would never be; a job without events, such as a new key, always is.
func (q *queue) push(j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return errClosed
	case j.events > 0 && q.events > 0 && (q.events+j.events > q.maxEvents || q.bytes+j.bytes > q.maxBytes):
		return collector.ErrBusy
	}
	q.jobs = append(q.jobs, j)
	q.waiting += j.events
	q.events += j.events
	q.bytes += j.bytes
	q.signal()
	return nil
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
	taken := q.jobs[:n:n]
	q.jobs = q.jobs[n:]
	q.waiting -= sum
	return taken
}

// answer tells a job's caller how it went, and makes room.
func (q *queue) answer(j *job, err error) {
	q.mu.Lock()
	q.events -= j.events
	q.bytes -= j.bytes
	q.mu.Unlock()
	j.done <- err
}

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
