package align

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// SessionHandle records into one session and gives its messages their indexes: unique, without gaps, and in the order in
// which they were recorded, from any number of goroutines. Handles of one session of one client share the count. An index
// is used up only when its message was accepted.
//
// Messages of one session therefore wait for each other while they are recorded. That is microseconds, but under
// [OverflowBlock] with a full buffer it lasts until there is room for those in front, or until the call's own context ends,
// and then the call returns [ErrBufferFull]. [Config.BeforeSend] must not record through a handle of the session that it is
// shown an event of: it would wait for itself.
//
// A nil or zero handle is one of a closed client: recording returns [ErrClosed].
type SessionHandle struct {
	client *Client
	id     string
	state  *sessionState
}

// Session returns a handle of a session. It records nothing: a session need not have been opened, or by this client.
// An id that breaks the limits is found out when something is recorded.
//
// Counts begin at 1 and are this client's own: only what is recorded through handles and interactions moves them, not
// [Client.CreateMessage] and [Client.RecordTranscript]. It remembers those of the 500,000 sessions used last, at least, in about
// 250 bytes each; a handle that is kept remembers its own. Beyond that, in another process and after a restart the
// count begins anew, and a message at an index that is taken would count as a new version of the one there: tell such a
// handle with [SessionHandle.Continue] where to go on.
func (c *Client) Session(id string) *SessionHandle {
	if c == nil || c.buf == nil || !isID(id) { // nothing to share: nothing will be recorded
		return &SessionHandle{client: c, id: id, state: newSessionState()}
	}
	id = strings.Clone(id)
	return &SessionHandle{client: c, id: id, state: c.sessions.of(id)}
}

// StartSession records that a session began, as [Client.OpenSession] does, and returns a handle of it. Without an ID the
// session gets a new one: a UUIDv7 in 32 hex digits. The handle is there with an error, too, and can be used: what it
// records then belongs to a session that was not opened.
//
// Errors: *[FieldError] for every field that breaks its limits, [ErrBufferFull], [ErrClosed].
func (c *Client) StartSession(ctx context.Context, session Session) (*SessionHandle, error) {
	if session.ID == "" {
		session.ID = c.newID()
	}
	s := c.Session(session.ID)
	err := c.OpenSession(ctx, session)
	if err == nil {
		s.state.opened.Store(true)
	}
	return s, err
}

// newID names what the app leaves nameless: a UUIDv7 in 32 hex digits.
func (c *Client) newID() string {
	if c == nil || c.buf == nil {
		return ""
	}
	id := c.ids.next(time.Now())
	return hex.EncodeToString(id[:])
}

func (s *SessionHandle) none() bool { return s == nil || s.state == nil }

// ID returns the session's id; empty for a nil handle.
func (s *SessionHandle) ID() string {
	if s == nil {
		return ""
	}
	return s.id
}

// User records what the user said and returns the index of the message.
//
// Errors are those of [Client.CreateMessage]; the index is then 0.
func (s *SessionHandle) User(ctx context.Context, text string) (index int, err error) {
	return s.Add(ctx, Message{Role: RoleUser, Content: text})
}

// Assistant records what the assistant answered and returns the index of the message, for the thumb that may come later.
//
// Errors are those of [Client.CreateMessage]; the index is then 0.
func (s *SessionHandle) Assistant(ctx context.Context, text string) (index int, err error) {
	return s.Add(ctx, Message{Role: RoleAssistant, Content: text})
}

// Add records a message with everything that can be said of one and returns its index. SessionID is filled in. Index 0
// means the next; any other is respected, and moves the count past it if it is ahead.
//
// Errors are those of [Client.CreateMessage]; the index is then 0.
func (s *SessionHandle) Add(ctx context.Context, message Message) (index int, err error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.unlock()
	s.place(&message)
	if err := s.client.CreateMessage(ctx, message); err != nil {
		return 0, err
	}
	s.state.note(&message)
	return message.Index, nil
}

// NextIndex returns the index that the next message gets, unless another goroutine's comes first. It is 1 for a nil
// handle.
func (s *SessionHandle) NextIndex() int {
	if s.none() {
		return 1
	}
	return int(s.state.last.Load()) + 1
}

// Continue says which index comes next, where the session has messages that this client does not know of: one more than
// the length of its history. The count only moves forward; an index at or behind it changes nothing.
func (s *SessionHandle) Continue(next int) {
	if !s.none() {
		s.state.advance(next - 1)
	}
}

// ThumbsUp records a thumb on the latest assistant message recorded through a handle of this session, or on the session
// when there is none.
//
// Errors are those of [Client.CreateMessageFeedback].
func (s *SessionHandle) ThumbsUp(ctx context.Context) error { return s.thumb(ctx, ThumbsUp) }

// ThumbsDown is [SessionHandle.ThumbsUp] for the other thumb.
func (s *SessionHandle) ThumbsDown(ctx context.Context) error { return s.thumb(ctx, ThumbsDown) }

func (s *SessionHandle) thumb(ctx context.Context, thumb FeedbackType) error {
	if s.none() {
		return ErrClosed
	}
	if s.state.answer.Load() == 0 {
		return s.SessionFeedback(ctx, SessionFeedback{Type: thumb})
	}
	return s.Feedback(ctx, MessageFeedback{Type: thumb})
}

// Feedback records feedback on a message. SessionID is filled in. Index 0 means the latest assistant message recorded
// through a handle of this session; when there is none, that is a *[FieldError].
//
// Errors are those of [Client.CreateMessageFeedback].
func (s *SessionHandle) Feedback(ctx context.Context, feedback MessageFeedback) error {
	if s.none() {
		return ErrClosed
	}
	feedback.SessionID = s.id
	if feedback.Index == 0 {
		feedback.Index = int(s.state.answer.Load())
	}
	return s.client.CreateMessageFeedback(ctx, feedback)
}

// SessionFeedback records feedback on the whole session. SessionID is filled in.
//
// Errors are those of [Client.CreateSessionFeedback].
func (s *SessionHandle) SessionFeedback(ctx context.Context, feedback SessionFeedback) error {
	if s.none() {
		return ErrClosed
	}
	feedback.SessionID = s.id
	return s.client.CreateSessionFeedback(ctx, feedback)
}

// Close records that the session is over. The handle stays usable: a message opens the session again.
//
// Errors are those of [Client.CloseSession].
func (s *SessionHandle) Close(ctx context.Context) error { return s.End(ctx, SessionEnd{}) }

// End records that the session is over, and how it ended. SessionID is filled in.
//
// Errors are those of [Client.CloseSession].
func (s *SessionHandle) End(ctx context.Context, end SessionEnd) error {
	if s.none() {
		return ErrClosed
	}
	end.SessionID = s.id
	return s.client.CloseSession(ctx, end)
}

// lock waits until it is the caller's turn to record messages of the session. The caller must unlock it.
func (s *SessionHandle) lock(ctx context.Context) error {
	if s.none() || s.client == nil || s.client.buf == nil {
		return ErrClosed
	}
	s.client.sessions.keep(s.id, s.state)
	select {
	case s.state.turn <- struct{}{}:
		return nil
	default:
	}
	var done <-chan struct{}
	if s.client.cfg.Overflow == OverflowBlock { // else nobody in front waits for anything
		done = ctx.Done()
	}
	select {
	case s.state.turn <- struct{}{}:
		return nil
	case <-done:
		s.client.buf.turnAway()
		return fmt.Errorf("%w: %w", ErrBufferFull, ctx.Err())
	}
}

func (s *SessionHandle) unlock() { <-s.state.turn }

// place fills in where a message goes. It must be the caller's turn.
func (s *SessionHandle) place(m *Message) {
	m.SessionID = s.id
	if m.Index == 0 {
		m.Index = s.NextIndex()
	}
}

// sessionState is what all handles of a session share.
type sessionState struct {
	// turn holds an element while a message of the session is being recorded. It is no mutex: under OverflowBlock whoever
	// waits must be able to give up.
	turn   chan struct{}
	last   atomic.Int64 // the highest index in use
	answer atomic.Int64 // index of the latest assistant message, 0 for none
	opened atomic.Bool  // its opening was recorded
	seen   atomic.Int64 // the registry's generation that has it
}

func newSessionState() *sessionState { return &sessionState{turn: make(chan struct{}, 1)} }

// note keeps what an accepted message says of the session.
func (st *sessionState) note(m *Message) {
	st.advance(m.Index)
	if m.Role == RoleAssistant {
		st.answer.Store(int64(m.Index))
	}
}

// advance moves the count to an index, never back.
func (st *sessionState) advance(index int) {
	to := int64(min(index, math.MaxInt32))
	for {
		last := st.last.Load()
		if to <= last || st.last.CompareAndSwap(last, to) {
			return
		}
	}
}

// maxGeneration is how many sessions a generation of a [sessionRegistry] holds.
const maxGeneration = 500_000

// sessionRegistry finds the state of a session by its id. It has two generations: what is used moves to the young one,
// and when that is full, it becomes the old one, and the old one is forgotten. So it is bounded, the sessions used last
// are in there, and nothing has to be kept in order.
type sessionRegistry struct {
	limit int          // sessions in a generation
	gen   atomic.Int64 // number of the young generation, from 1

	mu         sync.Mutex // guards all below
	young, old map[string]*sessionState
}

func newSessionRegistry(limit int) *sessionRegistry {
	r := &sessionRegistry{limit: limit, young: make(map[string]*sessionState)}
	r.gen.Store(1)
	return r
}

// of returns the state of a session, a new one if it is not known.
func (r *sessionRegistry) of(id string) *sessionState {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.young[id]
	if st == nil {
		if st = r.old[id]; st == nil {
			st = newSessionState()
		}
		r.add(id, st)
	}
	return st
}

// keep notes that a session is in use. One that was forgotten meanwhile is known again, unless it began anew.
func (r *sessionRegistry) keep(id string, st *sessionState) {
	if st.seen.Load() == r.gen.Load() || !isID(id) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.young[id] == nil && (r.old[id] == nil || r.old[id] == st) {
		r.add(id, st)
	}
}

func (r *sessionRegistry) add(id string, st *sessionState) {
	if len(r.young) >= r.limit {
		r.old, r.young = r.young, make(map[string]*sessionState)
		r.gen.Add(1)
	}
	delete(r.old, id)
	r.young[id] = st
	st.seen.Store(r.gen.Load())
}

type sessionKey struct{}

// NewContext returns a context that carries a session handle, for code that answers without knowing of sessions.
func NewContext(ctx context.Context, s *SessionHandle) context.Context {
	return context.WithValue(ctx, sessionKey{}, s)
}

// FromContext returns the session handle that the context carries, nil if none. A nil handle can be used: its methods
// return [ErrClosed].
func FromContext(ctx context.Context) *SessionHandle {
	s, _ := ctx.Value(sessionKey{}).(*SessionHandle)
	return s
}
