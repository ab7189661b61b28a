package align

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 30 * time.Second
	// Somebody must change something before a blocked client gets through: ask rarely.
	minBlockedBackoff = time.Minute
	maxBlockedBackoff = 5 * time.Minute
	// Close spends its deadline retrying, so it waits less between attempts.
	maxClosingBackoff = time.Second
	// After an outage of this length or more, each sender makes one attempt in the first rampTime, then all is open.
	rampTime = time.Second
)

// gate is the backoff that all senders share. While the collector is well everybody passes. After a failure nobody does
// for a while, then one sender goes first, as a probe; its answer opens the gate, a little at first, or shuts it for
// longer. The very first attempt is a probe, too. So however many senders there are and however much waits, a collector
// that comes back is not run over, and a wrong key is found out with one request.
type gate struct {
	log     *slog.Logger
	senders int

	mu       sync.Mutex      // guards all below
	well     bool            // the last attempt was answered
	failures int             // in a row, since it was
	since    time.Time       // when the first of them was
	cause    error           // the last of them
	warned   bool            // the log was told of this outage
	known    map[string]bool // kinds of causes the log was told of
	until    time.Time       // nobody passes before, but for passes
	passes   int             // how many may, while the gate opens
	probing  bool            // one sender is out
	closing  bool
	changed  chan struct{} // closed whenever any of it changes
}

func newGate(log *slog.Logger, senders int) *gate {
	return &gate{log: log, senders: senders, changed: make(chan struct{}), known: make(map[string]bool)}
}

// enter waits until its caller may make an attempt, and then the caller must report how that went.
// It returns ctx's error if that comes first.
func (g *gate) enter(ctx context.Context) error {
	for {
		pass, wait, changed := g.tryEnter()
		if pass {
			return ctx.Err()
		}
		if err := await(ctx, changed, wait); err != nil {
			return err
		}
	}
}

// await waits for a change, for a time (zero: for ever), or for ctx to end, whose error it then returns.
func await(ctx context.Context, changed <-chan struct{}, wait time.Duration) error {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
	case <-changed:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// tryEnter lets the caller pass, or says how long to wait: zero when only a change can help.
func (g *gate) tryEnter() (pass bool, wait time.Duration, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait = time.Until(g.until)
	switch {
	case g.probing:
		return false, 0, g.changed
	case wait <= 0:
		g.probing = !g.well
		return true, 0, nil
	case g.passes > 0:
		g.passes--
		return true, 0, nil
	}
	return false, wait, g.changed
}

// report notes the outcome of an attempt.
func (g *gate) report(out outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.announce()
	switch out.verdict {
	case accepted, refused: // it answers: it is well, whatever it thinks of this batch
		g.recover()
	case aborted:
		g.probing = false
	default:
		g.fail(out)
	}
}

func (g *gate) recover() {
	g.well, g.probing = true, false
	if g.failures == 0 {
		return
	}
	outage := time.Since(g.since)
	if g.warned {
		g.log.Info("align: delivering again", "after", outage.Round(time.Millisecond), "failed_attempts", g.failures)
	}
	if outage >= rampTime { // else it flaps, and would fill the log
		clear(g.known)
	}
	g.failures, g.cause, g.warned = 0, nil, false
	if outage >= rampTime && !g.closing {
		g.until, g.passes = time.Now().Add(rampTime), g.senders
	}
}

func (g *gate) fail(out outcome) {
	if !g.well && !g.probing {
		return // was under way when another sender found out
	}
	if g.failures == 0 {
		g.since = time.Now()
	}
	g.failures++
	g.well, g.probing = false, false
	g.cause = out.err
	g.passes = 0
	g.until = time.Now().Add(g.delay(out))
	if kind := kindOf(out.err); !g.known[kind] { // one line for each distinct cause, not for each attempt
		g.log.Warn("align: cannot deliver, will retry", "error", out.err)
		g.known[kind] = true
		g.warned = true
	}
}

// kindOf says what is the same of causes that differ in details: ports, say, or the id of a request.
func kindOf(err error) string {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return strconv.Itoa(status.Code)
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err.Error()
}

// delay is how long to stay away after a failure: what the collector asked for, else a random time below a bound that
// doubles with each failure in a row ("full jitter").
func (g *gate) delay(out outcome) time.Duration {
	lo, hi := minBackoff, maxBackoff
	switch {
	case out.retryAfter > 0:
		return out.retryAfter
	case g.closing:
		hi = maxClosingBackoff
	case out.verdict == blocked:
		lo, hi = minBlockedBackoff, maxBlockedBackoff
	}
	bound := min(lo<<min(g.failures, 20), hi)
	return lo + rand.N(bound-lo+1)
}

// hurry ends the wait under way and shortens those to come: the client is closing.
func (g *gate) hurry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
	g.until = time.Now()
	g.announce()
}

func (g *gate) announce() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// health returns nil, or a *[HealthError].
func (g *gate) health() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures == 0 {
		return nil
	}
	return &HealthError{Since: g.since, Attempts: g.failures, Err: g.cause}
}
