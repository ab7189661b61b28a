package align

import (
	"context"
	"errors"
	"sync"
)

// Receipt follows the events recorded with one context until the collector has acknowledged them.
// See [WithReceipt].
type Receipt struct {
	mu      sync.Mutex
	pending int
	errs    []error
	settled chan struct{} // closed while nothing is pending
}

type receiptKey struct{}

// WithReceipt returns a context for recording calls whose events must land: a thumbs-down, or all that a serverless
// handler records before it returns. Such events do not wait for a batch to fill, and Wait returns when the collector
// has acknowledged them, without waiting for anything else:
//
//	ctx, receipt := align.WithReceipt(ctx)
//	err := client.CreateMessageFeedback(ctx, feedback)
//	…
//	err = receipt.Wait(ctx)
//
// One receipt may serve any number of calls.
func WithReceipt(ctx context.Context) (context.Context, *Receipt) {
	r := &Receipt{settled: make(chan struct{})}
	close(r.settled)
	return context.WithValue(ctx, receiptKey{}, r), r
}

func receiptFrom(ctx context.Context) *Receipt {
	r, _ := ctx.Value(receiptKey{}).(*Receipt)
	return r
}

// Wait returns nil when every event recorded so far with the receipt's context is acknowledged, a *[DropError] for each
// that was dropped instead, joined, or ctx's error: then the events are still pending and still retried.
// [ErrSpooled] among them is an event that Close left to the next client with the same spool.
// An event that its recording call did not accept is not waited for.
func (r *Receipt) Wait(ctx context.Context) error {
	r.mu.Lock()
	settled := r.settled
	r.mu.Unlock()
	select {
	case <-settled:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.errs...)
}

func (r *Receipt) add() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == 0 {
		r.settled = make(chan struct{})
	}
	r.pending++
}

// settle notes that one event was delivered or, with an error, dropped.
func (r *Receipt) settle(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.errs = append(r.errs, err)
	}
	r.pending--
	if r.pending == 0 {
		close(r.settled)
	}
}
