package align

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"
)

// turns puts in order what must not happen at once under one key: first come, first served. A key that nobody has or
// waits for takes no memory. The zero turns is ready.
type turns struct {
	mu    sync.Mutex // guards all below; never held while a turn lasts
	byKey map[string]*queue
}

// queue is whoever has a key's turn and those who wait for it.
type queue struct {
	turn    *semaphore.Weighted // of weight 1
	callers int                 // turns.mu guards it
}

// take waits until it is the caller's turn, or ctx ends. Without an error the caller must leave.
func (t *turns) take(ctx context.Context, key string) (leave func(), err error) {
	t.mu.Lock()
	q := t.byKey[key]
	if q == nil {
		if t.byKey == nil {
			t.byKey = make(map[string]*queue)
		}
		q = &queue{turn: semaphore.NewWeighted(1)}
		t.byKey[key] = q
	}
	q.callers++
	t.mu.Unlock()
	if err := q.turn.Acquire(ctx, 1); err != nil {
		t.forget(key, q)
		return nil, fmt.Errorf("align: waiting for another call on the conversation: %w", err)
	}
	return func() {
		q.turn.Release(1)
		t.forget(key, q)
	}, nil
}

// forget takes a caller out of the queue, and the queue away with the last one.
func (t *turns) forget(key string, q *queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.callers--; q.callers == 0 {
		delete(t.byKey, key)
	}
}
