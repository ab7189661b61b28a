package align

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Client records what happens in a chat app and delivers it to a collector. It is safe for concurrent use. A zero Client
// is a closed one: recording returns [ErrClosed] and nothing panics.
type Client struct {
	cfg     Config // defaults applied; read-only after New
	plain   bool   // nothing in cfg looks at an event between the call and its encoding
	follows bool   // which sessions are open is of interest
	rules   *rules
	seed    maphash.Seed
	ids     idSource
	clock   clock

	feedback *feedbackKeys

	buf       *buffer    // nil in a zero client
	assembler *assembler // nil but for an Acro endpoint
	gate      *gate
	transport *transport
	group     errgroup.Group     // the senders and the idle watch
	ctx       context.Context    // ends when Close is out of time
	cancel    context.CancelFunc // ends ctx

	sessions     *sessionRegistry // what handles of one session share
	interactions openInteractions
	incomplete   atomic.Uint64
	conversing   turns // of conversations, by id

	idleMu    sync.Mutex // guards idle; see lockIdle
	idle      *idleTracker
	sightings sightings
	idleWake  chan struct{}   // capacity 1: the tracker is to be looked after
	idleCtx   context.Context // ends when Close begins
	idleStop  context.CancelFunc
	idleDone  chan struct{}   // closed when the idle watch has ended
	journal   *sessionJournal // nil without a spool; idleMu guards it

	told      sync.Map // kinds of drops that the log was told of
	closing   atomic.Bool
	closed    chan struct{} // closed when Close is done
	truncated atomic.Uint64
	idled     atomic.Uint64
}

// New returns a client that sends to the collector of cfg. Wrong settings are returned as *[FieldError], all of them
// joined, and then nothing was started. [Client.Close] ends what New starts.
func New(cfg Config) (*Client, error) {
	return newClientWith(cfg, func(dir string) spoolFS { return osFS{dir} })
}

// newClientWith is New with the spool's files as given.
func newClientWith(cfg Config, files func(dir string) spoolFS) (*Client, error) {
	cfg = cfg.withDefaults()
	if !cfg.Disabled {
		if err := cfg.validate(); err != nil {
			return nil, err
		}
	}
	feedback, err := newFeedbackKeys(&cfg)
	if err != nil {
		return nil, err
	}
	if cfg.SpoolDir != "" { // the app may change its directory
		if cfg.SpoolDir, err = filepath.Abs(cfg.SpoolDir); err != nil {
			return nil, &SpoolError{"open", err}
		}
	}
	c := &Client{
		cfg:      cfg,
		plain:    !cfg.Disabled && cfg.Redact == 0 && cfg.BeforeSend == nil && !cfg.NoContent && !cfg.isAcro(),
		follows:  cfg.IdleTimeout > 0 || cfg.CloseSessionsOnShutdown,
		rules:    newRules(cfg.Limits),
		seed:     maphash.MakeSeed(),
		sessions: newSessionRegistry(maxGeneration),
		idle:     newIdleTracker(time.Now()),
		idleWake: make(chan struct{}, 1),
		idleDone: make(chan struct{}),
		closed:   make(chan struct{}),
		feedback: feedback,
	}
	// What prints a client must not show these; who needs a key or a secret has it or what was derived from it.
	c.cfg.APIKey, c.cfg.FeedbackSecret, c.cfg.OtherFeedbackSecrets = "", "", nil
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.idleCtx, c.idleStop = context.WithCancel(c.ctx)
	c.gate = newGate(cfg.Logger, cfg.Senders)
	c.interactions.init(cfg.IdleTimeout > 0)
	if cfg.Disabled {
		c.buf = newBuffer(&Config{})
		close(c.idleDone)
		return c, nil
	}
	if cfg.isAcro() {
		c.buf = acroBuffer(cfg)
		c.assembler = newAssembler(c)
	} else {
		c.buf = newBuffer(&cfg)
	}
	if cfg.SpoolDir != "" {
		if err := c.openSpool(files); err != nil {
			c.cancel()
			return nil, err
		}
	}
	c.transport = newTransport(&cfg)
	for i := range cfg.Senders {
		s := &sender{lane: i, buf: c.buf, gate: c.gate, transport: c.transport, interval: cfg.FlushInterval, dropped: c.tell}
		c.group.Go(func() error { return s.run(c.ctx) })
	}
	if cfg.IdleTimeout > 0 {
		c.group.Go(c.watchIdle)
	} else {
		close(c.idleDone)
	}
	return c, nil
}

// openSpool begins with what former processes have left.
func (c *Client) openSpool(files func(dir string) spoolFS) error {
	s, left, err := openSpool(&c.cfg, files)
	if err != nil {
		return err
	}
	c.tell(c.buf.adopt(s, left))
	s.start()
	if c.cfg.IdleTimeout > 0 {
		c.journal = openJournal(s, c.idle, c.cfg.IdleTimeout, time.Now())
	}
	return nil
}

// sign is what an event means for how long its session stays open: activity at a time, or the end. None names no session.
type sign struct {
	session string
	at      time.Time
	end     bool
}

func signOf(p payload) sign {
	switch p := p.(type) {
	case *Message:
		return sign{session: p.SessionID, at: p.CreateTime}
	case *Session:
		return sign{session: p.ID, at: p.StartTime}
	case *SessionEnd:
		return sign{session: p.SessionID, end: true}
	}
	return sign{}
}

// follow tells the idle tracker what an accepted event means for its session.
func (c *Client) follow(s sign, now time.Time) {
	if s.session != "" && c.follows {
		c.sight(s.session, now, s.at, s.end)
	}
}

// sight tells the idle tracker that a session was active, or has ended, by and by: at once where the spool remembers open
// sessions, because that must be on disk when a call returns.
func (c *Client) sight(session string, now, activity time.Time, end bool) {
	if c.cfg.SpoolDir == "" {
		taken, wake := c.sightings.put(session, c.idle.since(now), activityNanos(now, activity), end)
		if wake {
			signal(c.idleWake)
		}
		if taken {
			return
		}
	}
	c.lockIdle()
	defer c.idleMu.Unlock()
	if end {
		c.idle.forget(session)
		return
	}
	first := c.idle.touch(session, now, activity)
	if first || c.journal != nil && c.journal.due(c.idle.open) {
		signal(c.idleWake)
	}
}

// lockIdle takes the tracker's lock, and the tracker knows all that was recorded before.
func (c *Client) lockIdle() {
	c.idleMu.Lock()
	c.sightings.tell(c.idle)
}

// watchIdle ends interactions and closes sessions that have gone quiet, with one timer for all of them.
func (c *Client) watchIdle() error {
	defer close(c.idleDone)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.idleWake:
		case <-c.idleCtx.Done():
			return nil
		}
		c.noteSessions()
		wait, any := c.endSilent() // first: what it records belongs to sessions
		if next, open := c.closeIdle(); open && (!any || next < wait) {
			wait, any = next, true
		}
		if any {
			timer.Reset(wait)
		}
	}
}

// noteSessions begins the session journal anew if it is time to, a few sessions at a time, so that no recording call waits
// for it.
func (c *Client) noteSessions() {
	for more := c.journal != nil; more && c.idleCtx.Err() == nil; {
		c.idleMu.Lock()
		more = c.journal.due(c.idle.open) && c.journal.copy(c.idle)
		c.idleMu.Unlock()
	}
}

// idleRetry is how long the watch leaves a buffer without room alone.
const idleRetry = 100 * time.Millisecond

// closeIdle closes every session that is due and returns how long until the next one is; false if none is open.
func (c *Client) closeIdle() (wait time.Duration, any bool) {
	for {
		switch closed, ok := c.closeDue(time.Now().Add(-c.cfg.IdleTimeout), CloseIdle); {
		case c.idleCtx.Err() != nil:
			return 0, false
		case !ok:
			return idleRetry, true
		case closed > 0:
			continue
		}
		c.idleMu.Lock()
		defer c.idleMu.Unlock()
		c.sightings.settle(c.idle)
		next, any := c.idle.next()
		return max(time.Until(next.Add(c.cfg.IdleTimeout)), 0), any
	}
}

// maxClosed is how many sessions are looked up at once to be closed.
const maxClosed = 256

// closeDue closes some sessions without activity since deadline: few at a time, so that no recording call waits for the
// tracker. A session leaves the tracker when its end is recorded, not before. It returns how many were closed; not ok
// means that the buffer has no room: what the app records goes first, so a million sessions that go quiet at once take no
// more than half of it.
func (c *Client) closeDue(deadline time.Time, reason CloseReason) (closed int, ok bool) {
	c.lockIdle()
	due := c.idle.due(maxClosed, deadline)
	c.idleMu.Unlock()
	if len(due) == 0 {
		return 0, true
	}
	never, cancel := context.WithCancel(context.Background())
	cancel() // never wait for room
	for _, q := range due {
		if c.assembler == nil && c.buf.halfFull() { // there, closing makes room
			return closed, false
		}
		now := time.Now()
		end := &SessionEnd{SessionID: q.id, Reason: reason, EndTime: q.activity}
		if c.cfg.Strict {
			end = &SessionEnd{SessionID: q.id}
		}
		err := c.accept(never, end, now)
		if errors.Is(err, ErrBufferFull) {
			return closed, false
		}
		c.lockIdle()
		c.idle.forgetQuiet(q.id, deadline)
		c.idleMu.Unlock()
		if err == nil && reason == CloseIdle {
			c.idled.Add(1)
		}
		closed++
	}
	return closed, true
}

// Flush sends everything accepted before the call, without waiting for batches to fill, and returns nil when all of it is
// settled: acknowledged by the collector, or dropped, in [Stats] and told. Recording goes on meanwhile. When ctx ends first
// (or [Config.CloseTimeout], if ctx has no deadline) it returns a *[DeliveryError]; what is pending then stays in the buffer
// and is still retried.
func (c *Client) Flush(ctx context.Context) error {
	if c == nil || c.buf == nil || c.closing.Load() {
		return ErrClosed
	}
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	before := c.Stats()
	if c.assembler != nil {
		c.assembler.postOpen(ctx)
	}
	waits := c.buf.await()
	defer c.buf.leave(waits)
	for _, w := range waits {
		select {
		case <-w.done:
			if w.left {
				return c.deliveryError(before, ErrClosed)
			}
		case <-ctx.Done():
			return c.deliveryError(before, ctx.Err())
		}
	}
	if after := c.Stats(); after.Dropped[DropClosed] > 0 {
		return c.deliveryError(before, ErrClosed)
	}
	return nil
}

// Wait is [Client.Flush] under the name that goes with [Receipt.Wait].
func (c *Client) Wait(ctx context.Context) error { return c.Flush(ctx) }

// Close sends what is left, retrying until ctx ends (or for [Config.CloseTimeout], if ctx has no deadline), and stops:
// when it returns no goroutine, timer or connection of the client's is left. Hooks and an HTTPClient that do not return hold
// it; connections of an HTTPClient of the app's are left to it. If something could not be delivered it returns a
// *[DeliveryError]: that stays in the spool for the next client, or without [Config.SpoolDir] is dropped, under
// [DropClosed]. Interactions that nobody ended are recorded as incomplete. Open sessions stay open, unless
// [Config.CloseSessionsOnShutdown] says otherwise. Every later call returns [ErrClosed], but Close itself: nil.
//
// At shutdown pass a fresh context: the one that told you to stop has ended.
func (c *Client) Close(ctx context.Context) error {
	if c == nil || c.buf == nil {
		return nil
	}
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	if !c.closing.CompareAndSwap(false, true) {
		select {
		case <-c.closed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer close(c.closed)
	before := c.Stats()
	c.idleStop()
	c.gate.hurry()
	<-c.idleDone
	c.endOpenInteractions(ctx)
	if c.cfg.CloseSessionsOnShutdown {
		c.closeOpenSessions(ctx)
	}
	if c.assembler != nil {
		c.assembler.postOpen(ctx)
	}
	c.buf.close()
	stop := context.AfterFunc(ctx, c.cancel)
	c.group.Wait()
	stop()
	c.cancel()
	if c.transport != nil {
		c.transport.close()
	}
	lost := c.closeBuffer()
	if c.assembler != nil {
		unposted, unsupported := c.assembler.abandon()
		c.tell(unsupported)
		lost = append(lost, unposted...)
	}
	c.tell(lost)
	if len(lost) > 0 || c.buf.stats().Pending > 0 {
		err := c.deliveryError(before, ctx.Err())
		c.cfg.Logger.Error("align: closed before everything was delivered", "error", err)
		return err
	}
	return nil
}

// closeBuffer ends what is left in the buffer and returns what is lost.
func (c *Client) closeBuffer() (lost []Drop) {
	s := c.buf.spool
	if s != nil {
		s.stop()
	}
	lost = c.buf.abandon()
	if s == nil {
		return lost
	}
	if c.journal != nil {
		c.idleMu.Lock()
		c.journal.close(c.idle.open)
		c.journal, c.idle.journal = nil, nil // a call that Close overtook may still come by
		c.idleMu.Unlock()
	}
	if err := s.close(); err != nil {
		c.cfg.Logger.Warn("align: closing the spool", "error", err)
	}
	return lost
}

// closeOpenSessions closes every session that is still open, as room in the buffer allows, until ctx ends.
func (c *Client) closeOpenSessions(ctx context.Context) {
	for now := time.Now(); ; {
		closed, ok := c.closeDue(now, CloseShutdown)
		if ok && closed == 0 {
			return
		}
		if !ok && await(ctx, nil, idleRetry) != nil {
			c.lockIdle()
			left := c.idle.open
			c.idleMu.Unlock()
			c.cfg.Logger.Warn("align: sessions left open at shutdown: no room to say so", "sessions", left)
			return
		}
	}
}

func (c *Client) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.cfg.CloseTimeout)
}

func (c *Client) deliveryError(before Stats, cause error) *DeliveryError {
	if health := c.gate.health(); health != nil {
		cause = fmt.Errorf("%w: %w", cause, health)
	}
	now := c.Stats()
	return &DeliveryError{
		Delivered: now.Delivered - before.Delivered,
		Dropped:   now.dropped() - before.dropped(),
		Pending:   now.Pending,
		SpoolDir:  c.cfg.SpoolDir,
		Err:       cause,
	}
}

// Health returns nil while the collector takes what it is sent, or when nothing was sent yet, and else a *[HealthError]:
// wrapping [ErrUnauthorized] when the key is refused, a [*StatusError] for other answers, a network error where there
// was none. While the spool cannot be written it returns a *[SpoolError], joined with that.
func (c *Client) Health() error {
	if c == nil || c.buf == nil || c.closing.Load() {
		return ErrClosed
	}
	if c.buf.spool == nil {
		return c.gate.health()
	}
	switch delivery, spool := c.gate.health(), c.buf.spool.health(); {
	case delivery == nil:
		return spool
	case spool == nil:
		return delivery
	default:
		return errors.Join(delivery, spool)
	}
}

// GoString is String: %#v does not look inside either.
func (c *Client) GoString() string { return c.String() }

// Stats are a client's counts, in events unless they say otherwise, since New. At any moment
// Accepted = Delivered + all of Dropped + Pending.
type Stats struct {
	Accepted  uint64                // what calls recorded that returned nil, and what the client records itself
	Recovered uint64                // those of them that a former process accepted and left in Config.SpoolDir
	Delivered uint64                // acknowledged by the collector
	Dropped   map[DropReason]uint64 // accepted, but will not be delivered
	Pending   uint64                // waiting and in flight

	PendingBytes uint64 // bytes of Pending, as they go on the wire
	Full         uint64 // calls that returned ErrBufferFull
	Invalid      uint64 // calls that returned a *FieldError
	Unsaid       uint64 // events taken in of which a part has no word in the protocol of Config.Acro
	Truncated    uint64 // messages cut to Config.MaxContentBytes
	IdleCloses   uint64 // sessions the client closed because they went quiet
	OpenSessions uint64 // sessions it is watching now
	Incomplete   uint64 // interactions that nobody ended, recorded as incomplete
}

func (s *Stats) dropped() (n uint64) {
	for _, count := range s.Dropped {
		n += count
	}
	return n
}

// String says where the client delivers to.
func (c *Client) String() string {
	if c == nil || c.buf == nil {
		return "align.Client{}"
	}
	return fmt.Sprintf("align.Client{ProjectID: %q, Host: %q}", c.cfg.ProjectID, c.cfg.Host)
}

// Stats returns the client's counts, all of one moment. A zero Client's are zero.
func (c *Client) Stats() Stats {
	if c == nil || c.buf == nil {
		return Stats{}
	}
	s := c.buf.stats()
	if c.assembler != nil {
		s.Unsaid = c.assembler.unsaid.Load()
	}
	s.Truncated = c.truncated.Load()
	s.IdleCloses = c.idled.Load()
	s.Incomplete = c.incomplete.Load()
	c.lockIdle()
	s.OpenSessions = uint64(c.idle.open)
	c.idleMu.Unlock()
	return s
}
