package ingest

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// Bodies of all requests together are bounded, since what one request may bring is far less than what many may bring at
// once. Decoding and storing a body holds it some six times over, so it takes less than 1 GiB to serve the worst.
const (
	// smallBytes is what a request of unknown length may bring before anyone asks how much more will come. Nearly all
	// requests are smaller, and they never wait for large ones.
	smallBytes = 256 << 10
	smallRoom  = 32 << 20
	// largeRoom is for the rest of larger bodies, and for what compressed ones become.
	largeRoom = 96 << 20
	// itemRoom is for what dialects decode as a whole: values of JSON, or of a schema, which take some 250 bytes each once
	// they are decoded and turned into facts, and as little as two before.
	itemRoom = 250_000
)

// room is the memory there is for bodies. A request takes of small first and then, at most once, of large. Who has of large
// never waits for more, so nobody waits for each other.
type room struct{ small, large, items *semaphore.Weighted }

func newRoom() room {
	return room{semaphore.NewWeighted(smallRoom), semaphore.NewWeighted(largeRoom), semaphore.NewWeighted(itemRoom)}
}

// share is what one request holds of a room.
type share struct {
	room         room
	small, large int64
}

// take waits until there is room for n bytes, up to smallBytes, or ctx ends.
func (r room) take(ctx context.Context, n int64) (*share, error) {
	if err := r.small.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return &share{room: r, small: n}, nil
}

// takeLarge waits until there is room for n more bytes, or ctx ends. It is called once at most.
func (s *share) takeLarge(ctx context.Context, n int64) error {
	if err := s.room.large.Acquire(ctx, n); err != nil {
		return err
	}
	s.large = n
	return nil
}

// keep gives back all but n bytes.
func (s *share) keep(n int64) {
	large := min(s.large, n)
	small := min(s.small, n-large)
	s.room.large.Release(s.large - large)
	s.room.small.Release(s.small - small)
	s.large, s.small = large, small
}
