package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// Taker is what the handlers of all dialects but Align's do alike: they read bodies, make facts of what these say, store
// them and count. Each dialect has one of its own; all share the room there is for bodies. It is safe for concurrent use.
type Taker struct {
	store    Appender
	log      *slog.Logger
	room     room
	counters counters
	dialect  string
}

// Taker returns a taker for another dialect, which stores where h does and shares h's room.
func (h *Handler) Taker(dialect string) *Taker {
	return &Taker{store: h.store, log: h.log.With("dialect", dialect), room: h.room, dialect: dialect}
}

// Dialect is the name it was made with.
func (t *Taker) Dialect() string { return t.dialect }

// Log is where the dialect says what it refuses: never content, never keys.
func (t *Taker) Log() *slog.Logger { return t.log }

// Counts returns what has been taken in since the taker was made.
func (t *Taker) Counts() Counts { return t.counters.read() }

// Ignore counts what the dialect understood and has no use for.
func (t *Taker) Ignore(items int) {
	t.counters.mu.Lock()
	defer t.counters.mu.Unlock()
	t.counters.counts.Ignored += items
}

// Refuse counts a request that was not taken.
func (t *Taker) Refuse(status int) {
	t.counters.mu.Lock()
	defer t.counters.mu.Unlock()
	addTo(&t.counters.counts.Refused, map[int]int{status: 1})
}

// Unknown counts members of a request that the dialect does not know.
func (t *Taker) Unknown(members int) {
	t.counters.mu.Lock()
	defer t.counters.mu.Unlock()
	t.counters.counts.Unknown += members
}

// Limits bound a body: as it comes over the wire, and once decompressed.
type Limits struct{ Wire, Body int64 }

// Refusal is an answer of 400 or more, in no dialect's words yet.
type Refusal struct {
	Status  int
	Message string // for the sender: it quotes neither content nor keys
	// RetryAfter says that the same request may succeed in a moment.
	RetryAfter bool
}

func (r *Refusal) Error() string { return r.Message }

// refusal is err as an answer. What it does not know is the server's fault.
func refusal(err error) *Refusal {
	var refused *Refusal
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, errTooLarge):
		return &Refusal{Status: http.StatusRequestEntityTooLarge, Message: err.Error()}
	case errors.Is(err, errEncoding):
		return &Refusal{Status: http.StatusUnsupportedMediaType, Message: err.Error()}
	case errors.Is(err, errNoRoom):
		return &Refusal{Status: http.StatusTooManyRequests, Message: err.Error(), RetryAfter: true}
	case errors.Is(err, errBroken):
		return &Refusal{Status: http.StatusBadRequest, Message: err.Error()}
	case errors.Is(err, collector.ErrBusy):
		return &Refusal{Status: http.StatusTooManyRequests, Message: "too much is waiting to be stored; try again", RetryAfter: true}
	}
	return &Refusal{Status: http.StatusServiceUnavailable, Message: "this cannot be stored right now; try again", RetryAfter: true}
}

// ReadBody reads a body and undoes its compression, identity or gzip, both bounded. It waits until there is room. The caller
// calls done when it needs the body no more.
func (t *Taker) ReadBody(r *http.Request, limits Limits) (body []byte, done func(), refused *Refusal) {
	streamed, done, err := t.room.readBody(r, limits)
	if err != nil {
		return nil, nil, refusal(err)
	}
	if body, err = streamed.bytes(); err != nil {
		done()
		return nil, nil, refusal(err)
	}
	return body, done, nil
}

// Hold waits until there is room to decode a body of so many items: all that are being decoded, or stored, at once are
// bounded. The caller calls done when nothing of them is left.
func (t *Taker) Hold(ctx context.Context, items int) (done func(), refused *Refusal) {
	n := min(int64(items), itemRoom)
	waiting, cancel := patience(ctx)
	defer cancel()
	if t.room.items.Acquire(waiting, n) != nil {
		return nil, refusal(errNoRoom)
	}
	return func() { t.room.items.Release(n) }, nil
}

// Items is a bound on how many values a body of JSON has, or the JSON in the text of another body.
func Items(body []byte) int {
	return 1 + bytes.Count(body, []byte("{")) + bytes.Count(body, []byte("[")) + bytes.Count(body, []byte(","))
}

// Store stores a batch, all of it or nothing, counts what became of it, and returns when it is durable. It does so whether or
// not its client stays: the request was read in full.
func (t *Taker) Store(ctx context.Context, project string, batch collector.Batch) *Refusal {
	var appended collector.Appended
	if len(batch.Facts)+len(batch.SetAside) > 0 {
		storing, cancel := patience(ctx)
		defer cancel()
		var err error
		if appended, err = t.store.Append(storing, project, batch); err != nil {
			if !errors.Is(err, collector.ErrBusy) {
				t.log.ErrorContext(ctx, "storing events failed", "project", project, "error", err)
			}
			return refusal(err)
		}
	}
	in := intake{batch: batch}
	reasons := in.reasons()
	t.counters.add(appended, reasons, 0)
	t.log.DebugContext(ctx, "events taken in",
		"project", project, "stored", appended.Stored, "duplicate", appended.Duplicate, "set_aside", len(batch.SetAside))
	if len(reasons) > 0 {
		t.log.WarnContext(ctx, "events set aside", "project", project, "count", len(batch.SetAside), "reasons", reasons)
	}
	return nil
}

// Fact makes a fact of an event that a dialect has written, mending what no store can keep; or says why it is none.
func Fact(event *ingestionv1alpha.Event, now time.Time) (collector.Fact, Reason) {
	mendText(event.ProtoReflect())
	mendTimes(event)
	if reason := check(event); reason != "" {
		return collector.Fact{}, reason
	}
	return collector.Fact{ID: canonicalID(event.GetId()), Event: event, Time: timeOf(event, now), ReceiveTime: now}, ""
}

// SetAside is an item of a request that became no fact, with its bytes.
func SetAside(id string, reason Reason, raw []byte, now time.Time) collector.SetAside {
	return collector.SetAside{EventID: keepable(id), Reason: string(reason), Raw: raw, ReceiveTime: now}
}

// EventID makes the id of an event whose client gives none: a UUID of version 8, that is 48 bits of milliseconds since 1970
// and then a hash of parts. Who says the same again says it under the same id, so at must be part of what is said; a zero
// time is fine, but ids in order of time are cheaper to keep.
func EventID(at time.Time, parts ...string) string {
	var all []byte
	for _, part := range parts {
		all = binary.AppendUvarint(all, uint64(len(part)))
		all = append(all, part...)
	}
	sum := sha256.Sum256(all)
	id := sum[:16]
	if ms := at.UnixMilli(); !at.IsZero() && ms > 0 {
		var stamp [8]byte
		binary.BigEndian.PutUint64(stamp[:], uint64(ms))
		copy(id, stamp[2:])
	}
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return hex.EncodeToString(id)
}
