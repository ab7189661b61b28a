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
			lost, err := s.buf.prepare(s.lane)
			s.dropped(lost)
			if err != nil {
				if await(ctx, nil, spoolRetry) != nil {
					return nil
				}
				continue
			}
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
	body := s.transport.newBody(b, s.transport.gzip.Load())
	defer func() { body.release() }()
	for {
		out, err := s.attempt(ctx, body)
		if err != nil {
			return err
		}
		if out.refusesPacked() && body.packed != nil && !s.transport.gzipProven.Load() {
			// Perhaps it is the packing that it does not like.
			body.release()
			body = s.transport.newBody(b, false)
			if out, err = s.attempt(ctx, body); err != nil {
				return err
			}
			if out.verdict == accepted {
				s.transport.gzip.Store(false)
			}
		}
		switch {
		case out.verdict == accepted:
			s.buf.delivered(s.lane)
			return nil
		case out.verdict == torn:
			s.buf.doubt(s.lane)
			return nil
		case out.verdict == refused && b.events > 1:
			s.suspects = b.end()
			s.buf.putBack(s.lane)
			return nil
		case out.verdict == refused && (out.doubtful || s.gate.doubtful()) && !isAcroAnswer(out.err):
			// An Acro endpoint that refuses in its own words has read the request: it is well.
			if err := s.control(ctx, out.err); err != nil {
				return err
			}
		case out.verdict == refused:
			s.suspects = 0
			s.gate.convicted()
			s.buf.drop(s.lane, DropRejected, out.err, s.dropped)
			return nil
		}
	}
}

// attempt sends once the gate lets it.
func (s *sender) attempt(ctx context.Context, body *body) (outcome, error) {
	pass, err := s.gate.enter(ctx)
	if err != nil {
		return outcome{}, err
	}
	out := s.transport.send(ctx, body)
	s.gate.report(pass, out)
	out.doubtful = pass.doubtful
	if out.verdict == aborted {
		return out, out.err
	}
	return out, nil
}

// control sends a request without events. One was refused alone, but the collector has accepted nothing since it last
// refused one, so it may refuse everything, as a wrong port or a proxy does. If it refuses this, too, it is the collector
// that is not well, for the reason that it gave; if not, the next refusal is about the event.
func (s *sender) control(ctx context.Context, cause error) error {
	pass, err := s.gate.enter(ctx)
	if err != nil {
		return err
	}
	out := s.transport.send(ctx, s.transport.newBody(&batch{id: requestID()}, false))
	switch {
	case out.verdict == refused && isAcroAnswer(out.err): // an Acro endpoint takes no request without events
		out = outcome{verdict: accepted}
	case out.verdict == refused:
		out = outcome{verdict: blocked, err: cause}
	}
	s.gate.report(pass, out)
	if out.verdict == aborted {
		return out.err
	}
	return nil
}

// size is how many events the next batch may have. While a group is suspect, half of it goes: if that is refused, it is
// the new, smaller group; if it is accepted, the poison is in the other half. A culprit among n costs at most
// ⌈log₂ n⌉ such batches and one with it alone: nothing is dropped that was not refused alone. Two more, a control and a
// second attempt, while the collector has accepted nothing.
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
