package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	driver "modernc.org/sqlite"

	"github.com/openalign/align/collector"
)

// row is a fact in the form the writer needs. All that can be done before is done by then: the writer is one core.
// It shares no memory with the caller, who may leave before the writer comes to it.
type row struct {
	id, kind      string
	time, receive int64
	event         []byte
	clock         collector.Clock
	piece         piece
}

// asideRow is the same for an event that was set aside.
type asideRow struct {
	eventID, reason string
	receive         int64
	raw             []byte
	digest          [sha256.Size]byte
}

// Append stores a batch in a transaction it may share with others, and returns when that is on disk. While 100,000 events
// or 64 MiB wait already, it stands in line, first come first served. It returns [collector.ErrBusy] after 8 seconds in
// line, or at once when the line holds twice as much. When ctx ends first, the batch may be found stored or not; sending
// it again is safe.
func (s *Store) Append(ctx context.Context, project string, batch collector.Batch) (collector.Appended, error) {
	rows, size, err := encode(batch.Facts)
	if err != nil {
		return collector.Appended{}, err
	}
	aside, more := encodeAside(batch.SetAside)
	got, err := ask(ctx, s, &job{events: len(rows) + len(aside), bytes: size + more}, func(t *transaction) (collector.Appended, error) {
		return t.store(project, rows, aside)
	})
	if err != nil {
		return got, fmt.Errorf("sqlite: append: %w", err)
	}
	return got, nil
}

func encode(facts []collector.Fact) (rows []row, size int, err error) {
	rows = make([]row, len(facts))
	for i := range facts {
		f := &facts[i]
		// Not nil for an event without fields, which the driver would take for NULL.
		event, err := proto.MarshalOptions{}.MarshalAppend([]byte{}, f.Event)
		if err != nil {
			return nil, 0, fmt.Errorf("sqlite: fact %d of %d: %w", i+1, len(facts), err)
		}
		rows[i] = row{f.ID, f.Event.GetType(), unixNano(f.Time), unixNano(f.ReceiveTime), event, collector.ClockOf(f.Event, f.ReceiveTime), derive(f)}
		size += 2 * len(event) // a message is kept twice: as a fact, and as text
	}
	return rows, size, nil
}

func encodeAside(aside []collector.SetAside) (rows []asideRow, size int) {
	rows = make([]asideRow, len(aside))
	seen := map[[sha256.Size]byte]uint64{}
	for i, a := range aside {
		r := asideRow{a.EventID, a.Reason, unixNano(a.ReceiveTime), bytes.Clone(a.Raw), digest(a.EventID, a.Reason, string(a.Raw))}
		if r.raw == nil {
			r.raw = []byte{}
		}
		// The second of two equal events in one batch is a row of its own, but the same row when the batch comes again.
		n := seen[r.digest]
		seen[r.digest]++
		if n > 0 {
			r.digest = digest(string(r.digest[:]), string(binary.BigEndian.AppendUint64(nil, n)))
		}
		rows[i] = r
		size += len(r.raw)
	}
	return rows, size
}

// digest identifies a list of texts.
func digest(texts ...string) [sha256.Size]byte {
	var b []byte
	for _, t := range texts {
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
	}
	return sha256.Sum256(b)
}

// do hands a job to the writer and waits until it is durable, or ctx ends. What a job works with is the writer's from then
// on, whatever do returns; what it finds out is for [ask] to return.
func (s *Store) do(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.ctx, j.done = ctx, make(chan error, 1)
	inLine, err := s.queue.push(j)
	if err != nil {
		return err
	}
	var tired <-chan time.Time
	if inLine {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		tired = timer.C
	}
	for {
		select {
		case err := <-j.done:
			return err
		case <-tired: // once
			if s.queue.leave(j) {
				return collector.ErrBusy
			}
		case <-ctx.Done():
			s.queue.leave(j)
			return ctx.Err()
		}
	}
}

// ask does a job that has a result. It is nobody's before it is durable: the writer may be at work on the job still when ctx
// has ended and its caller is gone.
func ask[T any](ctx context.Context, s *Store, j *job, apply func(*transaction) (T, error)) (T, error) {
	var made, none T
	j.apply = func(t *transaction) (err error) {
		made, err = apply(t)
		return err
	}
	if err := s.do(ctx, j); err != nil {
		return none, err
	}
	return made, nil
}

// run is the writer's goroutine.
func (s *Store) run() {
	defer close(s.stopped)
	before := 0 // how many jobs the last group had
	for s.queue.wait() {
		if before > 1 {
			// Those who were answered together come back together. A store at rest never waits.
			s.queue.gather(before, maxGroupEvents, linger)
		}
		group := s.queue.take(maxGroupEvents)
		s.commit(group)
		before = len(group)
	}
}

// commit answers every job of a group.
func (s *Store) commit(group []*job) {
	live := group[:0:0]
	for _, j := range group {
		if err := j.ctx.Err(); err != nil {
			s.queue.answer(j, err) // nobody waits for it
		} else if j.maintain != nil {
			s.queue.answer(j, j.maintain(s.write))
		} else {
			live = append(live, j)
		}
	}
	err := s.timedCommit(live)
	if len(live) > 1 && errors.Is(err, errApply) {
		// One of them cannot be written; the others must not suffer for it.
		for _, j := range live {
			err := s.timedCommit([]*job{j})
			s.note(j, err)
			s.queue.answer(j, err)
		}
		return
	}
	for _, j := range live {
		s.note(j, err)
		s.queue.answer(j, err)
	}
}

// note keeps in mind whether the disk takes appends. What fails with a batch's own rows, before the database sees them,
// says nothing of the disk.
func (s *Store) note(j *job, err error) {
	var refused *driver.Error
	switch {
	case err == nil && (j.events > 0 || j.proves):
		s.refused = 0
		if j.events > 0 {
			s.digests.changed()
		}
	case err != nil && j.events > 0 && (errors.As(err, &refused) || !errors.Is(err, errApply)):
		s.refused = min(max(s.refused, j.bytes, leastBallast), mostBallast)
	}
}
