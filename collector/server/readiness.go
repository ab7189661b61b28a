package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// readyTimeout bounds how long /readyz waits for the store: a probe that hangs says less than one that fails.
	readyTimeout = 2 * time.Second
	// readyFor is how long an answer of the store stands. Asking it means a write to the disk, and /readyz is open to all.
	readyFor = time.Second
)

// readiness asks a store whether it is ready, once for all who want to know at about the same time.
type readiness struct {
	ask    func(context.Context) error
	log    *slog.Logger
	flight singleflight.Group

	mu    sync.Mutex // guards the answer
	known bool
	at    time.Time
	err   error
}

// read returns what the store said, or that ctx has ended.
func (r *readiness) read(ctx context.Context) error {
	if fresh, err := r.last(); fresh {
		return err
	}
	answer := r.flight.DoChan("", func() (any, error) {
		if fresh, err := r.last(); fresh { // whoever was before this one has asked
			return nil, err
		}
		// Not the context of whoever happened to be first: it asks for all of them.
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
		defer cancel()
		err := r.ask(asking)
		if err != nil {
			r.log.WarnContext(asking, "store not ready", "error", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.known, r.at, r.err = true, time.Now(), err
		return nil, err
	})
	select {
	case said := <-answer:
		return said.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// last returns what the store said last, while that stands.
func (r *readiness) last() (fresh bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known && time.Since(r.at) < readyFor, r.err
}
