package align

import (
	"context"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// record is the one path of every event: normalize, validate, redact, encode once, append to the buffer.
func (c *Client) record(ctx context.Context, p payload) error {
	if c == nil || c.buf == nil || c.closing.Load() {
		return ErrClosed
	}
	return c.admit(ctx, p)
}

// admit is record for what must not be parted by a Close that begins meanwhile.
func (c *Client) admit(ctx context.Context, p payload) error {
	now := c.clock.now()
	if c.cfg.Disabled {
		c.drop(ctx, p, DropDisabled, now)
		return nil
	}
	if err := c.refusing(untimely(ctx)); err != nil {
		return err
	}
	dateBy(ctx, p)
	sign := signOf(p) // before a hook gives the session another name: its end will go through that hook, too
	err := c.accept(ctx, p, now)
	if err == nil {
		c.follow(sign, now)
	}
	return err
}

// accept is record without the bookkeeping: what the client records on its own account comes this way, too.
func (c *Client) accept(ctx context.Context, p payload, now time.Time) error {
	left, reason, cut, err := c.prepare(p)
	if err != nil {
		return err
	}
	if reason != "" {
		c.drop(ctx, p, reason, now)
		return nil
	}
	err = c.enqueue(ctx, left, now)
	if cut && err == nil {
		c.truncated.Add(1)
	}
	return err
}

// prepare returns what is left of p to be encoded, or why nothing is.
func (c *Client) prepare(p payload) (left payload, reason DropReason, cut bool, err error) {
	if err := c.check(p); err != nil {
		return nil, "", false, err
	}
	if c.cfg.Redact != 0 {
		c.redact(p)
	}
	if c.cfg.BeforeSend != nil {
		if left, reason = c.beforeSend(p); reason != "" {
			return nil, reason, false, nil
		}
		p = left
		if err := c.check(p); err != nil {
			return nil, "", false, err
		}
	}
	return p, "", c.withhold(p), nil
}

// check puts p into its normal form and holds it against the limits. What breaks them is counted.
func (c *Client) check(p payload) error {
	p.normalize()
	return c.refusing(c.rules.problems(p), c.strictly(p.beyondBase))
}

// strictly returns a problem for each field in use that the base schema has no word for, where only that may be sent.
func (c *Client) strictly(beyondBase func() []string) (problems []error) {
	if c.cfg.Strict {
		for _, field := range beyondBase() {
			problems = append(problems, &FieldError{Field: field, Rule: "strict"})
		}
	}
	return problems
}

// fieldUse says whether a field is used.
type fieldUse struct {
	name string
	used bool
}

// inUse names the fields of a struct that are used.
func inUse(of string, fields ...fieldUse) (names []string) {
	for _, f := range fields {
		if f.used {
			names = append(names, of+f.name)
		}
	}
	return names
}

// refusing counts the call whose problems these are, if there are any, and returns them joined. A disabled client accepts
// everything.
func (c *Client) refusing(problems ...[]error) error {
	all := slices.Concat(problems...)
	if c.cfg.Disabled {
		return nil
	}
	if len(all) > 0 {
		c.buf.refuse()
	}
	return errors.Join(all...)
}

// drop accounts for an event that is accepted and dropped before it has become bytes.
func (c *Client) drop(ctx context.Context, p payload, reason DropReason, now time.Time) {
	c.buf.vanish(reason)
	if r := receiptFrom(ctx); r != nil {
		r.add()
		r.settle(&DropError{Reason: reason})
	}
	if c.cfg.OnDrop == nil && reason != DropUnsupported {
		return // nobody asks, and the log has no line for what the app itself decides
	}
	id := c.ids.next(now)
	c.tell([]Drop{{EventID: hex.EncodeToString(id[:]), EventType: p.kind(), SessionID: sessionOf(p), Reason: reason}})
}

// recordPlain is record for the call that an app makes most, as far as nobody looks at the message on its way: the same
// steps, but the message and its map stay on the caller's stack, and the map is read once. Not done means that nothing
// has happened.
func (c *Client) recordPlain(ctx context.Context, m *Message) (done bool, err error) {
	if c == nil || !c.plain || c.closing.Load() || len(m.Content) > c.cfg.MaxContentBytes {
		return false, nil
	}
	var room [DefaultLimitProperties]property
	custom, ok := m.keeps(c.rules, room[:0])
	if !ok {
		return false, nil
	}
	if _, told := timeFrom(ctx); told {
		return false, nil
	}
	now := c.clock.now()
	scratch := scratchPool.Get().(*[]byte)
	entry, e := beginEvent((*scratch)[:0], EventCreateMessage, c.ids.next(now), now, len(m.SessionID)+len(m.Content))
	entry = m.appendFields(entry)
	entry = endEvent(entry, e, custom, c.cfg.ProjectID)
	if err := c.push(ctx, m.SessionID, scratch, entry, now); err != nil {
		return true, err
	}
	if c.follows {
		c.sight(m.SessionID, now, m.CreateTime, false)
	}
	return true, nil
}

// enqueue encodes an event and hands it to the buffer. It keeps nothing of p.
func (c *Client) enqueue(ctx context.Context, p payload, now time.Time) error {
	if c.assembler != nil {
		return c.assemble(ctx, now, false, p)
	}
	scratch := scratchPool.Get().(*[]byte)
	entry := appendEvent((*scratch)[:0], c.cfg.ProjectID, c.ids.next(now), eventTime(ctx, now), p)
	return c.push(ctx, p.lane(), scratch, entry, now)
}

// push hands an entry, encoded in scratch, to the buffer, and scratch back to its pool.
func (c *Client) push(ctx context.Context, lane string, scratch *[]byte, entry []byte, now time.Time) error {
	dropped, err := c.buf.push(ctx, c.laneOf(lane), entry, now, receiptFrom(ctx))
	if cap(entry) <= maxScratch {
		*scratch = entry
		scratchPool.Put(scratch)
	}
	c.tell(dropped)
	return err
}

// scratchPool holds buffers to encode in before the buffer's lock is taken, so that it is held for one copy only.
var scratchPool = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

// maxScratch keeps one large message from staying in the pool for good.
const maxScratch = 64 << 10

// laneOf spreads sessions over the senders, each session always to the same one.
func (c *Client) laneOf(key string) int {
	if len(c.buf.lanes) == 1 {
		return 0
	}
	return int(maphash.String(c.seed, key) % uint64(len(c.buf.lanes)))
}

func sessionOf(p payload) string {
	if p.kind() == EventIdentify {
		return ""
	}
	return p.lane()
}

// redact masks personal data in everything of p that people write.
func (c *Client) redact(p payload) {
	p.redact(c.cfg.Redact.Redact)
	if props := p.properties(); props != nil && len(*props) > 0 {
		masked := make(Properties, len(*props)) // the old one is the caller's
		for k, v := range *props {
			masked[k] = clip(c.cfg.Redact.Redact(v), c.cfg.Limits.PropertyValue)
		}
		*props = masked
	}
}

// beforeSend asks the hook and returns what it has left of the event, or why the event is to be dropped.
func (c *Client) beforeSend(p payload) (left payload, reason DropReason) {
	defer func() {
		if r := recover(); r != nil {
			c.cfg.Logger.Error("align: Config.BeforeSend panicked, event dropped", "event_type", p.kind())
			left, reason = nil, DropPanic
		}
	}()
	p.own()
	event := Event{Type: p.kind()}
	p.attach(&event)
	if !c.cfg.BeforeSend(&event) {
		return nil, DropBeforeSend
	}
	if left = event.payload(p); left == nil {
		return nil, DropBeforeSend
	}
	return left, ""
}

// withhold leaves out what may not leave the process, and cuts what is too long to. It reports whether it cut.
func (c *Client) withhold(p payload) (cut bool) {
	if c.cfg.NoContent {
		if w, ok := p.(interface{ withholdContent() }); ok {
			w.withholdContent()
		}
	}
	m, ok := p.(*Message)
	if !ok {
		return false
	}
	m.shortened = m.shortened && m.Content == "" // else the hook has put text in its place
	cut = m.cut(c.cfg.MaxContentBytes)
	m.shortened = m.shortened && !c.cfg.Strict // the marker says it, too
	return cut
}

// tell passes drops on to Config.OnDrop, and the first of each kind to the log.
func (c *Client) tell(drops []Drop) {
	if len(drops) == 0 {
		return
	}
	if d := drops[0]; c.isNews(d) {
		c.cfg.Logger.Warn("align: dropping events", "reason", d.Reason, "event_type", d.EventType, "error", d.Err)
	}
	if c.cfg.OnDrop == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			c.cfg.Logger.Error("align: Config.OnDrop panicked")
		}
	}()
	for _, d := range drops {
		c.cfg.OnDrop(d)
	}
}

// isNews reports whether the log was not told of such a drop yet. What the app itself decided is none.
func (c *Client) isNews(d Drop) bool {
	switch d.Reason {
	case DropDisabled, DropBeforeSend, DropPanic, DropClosed: // DropClosed has a line of its own
		return false
	}
	kind := string(d.Reason)
	if d.Err != nil {
		kind += kindOf(d.Err)
	}
	_, told := c.told.LoadOrStore(kind, true)
	return !told
}
