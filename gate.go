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
	doubt    bool            // nothing was accepted since an event was dropped as refused, or ever
	warned   bool            // the log was told of this outage
	known    map[string]bool // kinds of causes the log was told of
	until    time.Time       // nobody passes before, but for passes
	passes   int             // how many may, while the gate opens
	probing  bool            // one sender is out
	closing  bool
	changed  chan struct{} // closed whenever any of it changes
}

func newGate(log *slog.Logger, senders int) *gate {
	return &gate{log: log, senders: senders, changed: make(chan struct{}), doubt: true, known: make(map[string]bool)}
}

// ticket is leave to make one attempt, to be handed in with its outcome.
type ticket struct {
	probe    bool
	doubtful bool // the gate's doubt, at that time
}

// enter waits until its caller may make an attempt, and then the caller must report how that went.
// It returns ctx's error if that comes first.
func (g *gate) enter(ctx context.Context) (ticket, error) {
	for {
		pass, t, wait, changed := g.tryEnter()
		if pass {
			return t, nil
		}
		if err := await(ctx, changed, wait); err != nil {
			return ticket{}, err
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
func (g *gate) tryEnter() (pass bool, t ticket, wait time.Duration, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait, t.doubtful = time.Until(g.until), g.doubt
	switch {
	case g.probing:
		return false, t, 0, g.changed
	case wait <= 0:
		g.probing = !g.well
		t.probe = g.probing
		return true, t, 0, nil
	case g.passes > 0:
		g.passes--
		return true, t, 0, nil
	}
	return false, t, wait, g.changed
}

// report notes the outcome of an attempt.
func (g *gate) report(t ticket, out outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.announce()
	if t.probe {
		g.probing = false
	}
	switch out.verdict {
	case accepted:
		g.doubt = false
		g.recover()
	case refused: // it answers: it is well, whatever it thinks of this batch, unless it has never liked one
		if !g.doubt {
			g.recover()
		}
	case failed, blocked:
		g.fail(t, out)
	}
}

// convicted notes that an event was dropped because the collector refused it.
func (g *gate) convicted() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doubt = true
}

// doubtful reports whether a refusal may be the collector's fault: it has accepted nothing since it refused an event.
func (g *gate) doubtful() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.doubt
}

func (g *gate) recover() {
	g.well = true
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

func (g *gate) fail(t ticket, out outcome) {
	if !g.well && !t.probe { // was under way when another sender found out
		if later := time.Now().Add(out.retryAfter); out.retryAfter > 0 && later.After(g.until) && !g.closing {
			g.until = later
		}
		return
	}
	if g.failures == 0 {
		g.since = time.Now()
	}
	g.failures++
	g.well = false
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
	hi := maxBackoff
	switch {
	case g.closing: // the last chance
		hi = maxClosingBackoff
	case out.verdict == blocked:
		bound := min(minBlockedBackoff<<min(g.failures, 20), maxBlockedBackoff)
		return max(out.retryAfter, bound-rand.N(bound/4))
	case out.retryAfter > 0:
		return out.retryAfter
	}
	bound := min(minBackoff<<min(g.failures, 20), hi)
	return minBackoff + rand.N(bound-minBackoff+1)
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
