package align

import (
	"context"
	"time"
)

// sender empties one lane, a batch at a time, so that the lane's events leave in the order they were recorded.
type sender struct {
	lane      int
	buf       *buffer
	gate      *gate
	transport *transport
	interval  time.Duration
	dropped   func([]Drop)

	// suspects is the sequence number behind a group of events, at the front of the lane, that the collector refused as
	// one batch: at least one of them is poison. Zero when there is no such group.
	suspects uint64
}

// run sends until ctx ends, or until the buffer is closed and the lane is empty.
func (s *sender) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		ready, wait := s.buf.ready(s.lane, time.Now(), s.interval)
		if ready {
			if b := s.buf.cut(s.lane, s.size(), requestID()); b != nil && s.deliver(ctx, b) != nil {
				return nil // what is in flight stays pending; Close accounts for it
			}
			continue
		}
		if s.buf.drained(s.lane) {
			return nil
		}
		var due <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-s.buf.lanes[s.lane].wake:
		case <-due:
		case <-ctx.Done():
			return nil
		}
	}
}

// deliver makes attempts with one batch until it is settled or split. It returns ctx's error if that comes first.
func (s *sender) deliver(ctx context.Context, b *batch) error {
	body := newBody(b, s.transport.gzip)
	defer body.release()
	for {
		if err := s.gate.enter(ctx); err != nil {
			return err
		}
		out := s.transport.send(ctx, body)
		s.gate.report(out)
		switch out.verdict {
		case accepted:
			s.buf.delivered(s.lane)
			return nil
		case refused:
			s.split(b, out.err)
			return nil
		case aborted:
			return out.err
		}
	}
}

// size is how many events the next batch may have. While a group is suspect, half of it goes: if that is refused, it is
// the new, smaller group; if it is accepted, the poison is in the other half. A culprit among n costs at most
// ⌈log₂ n⌉ such batches and one with it alone; nothing is dropped that was not refused alone.
func (s *sender) size() int {
	if s.suspects == 0 {
		return s.buf.batchEvents
	}
	n := s.buf.count(s.lane, s.suspects)
	if n == 0 {
		s.suspects = 0
		return s.buf.batchEvents
	}
	return (n + 1) / 2
}

// split answers a refusal: a lone event is dropped, anything larger goes back to be halved.
func (s *sender) split(b *batch, cause error) {
	if b.events == 1 {
		s.suspects = 0
		s.dropped(s.buf.drop(s.lane, DropRejected, cause))
		return
	}
	s.suspects = b.end()
	s.buf.putBack(s.lane)
}
