package align

import (
	"context"
	"time"
)

// Session is one conversation between a user and an assistant.
type Session struct {
	// ID identifies the session in its project: 1 to 64 Unicode code points, never displayed.
	ID string `validate:"nonblank,text,max=64"`
	// UserID says whose session it is: 1 to 64 Unicode code points.
	UserID string `validate:"nonblank,text,max=64"`
	// AssistantID says which assistant answers. At most 64 Unicode code points; empty means "DEFAULT".
	AssistantID string `validate:"omitempty,nonblank,text,max=64"`
	// Title is shown on the dashboard. At most 256 Unicode code points.
	Title string `validate:"omitempty,text,max=256"`
	// StartTime is when the session began. Zero means the moment of the call.
	StartTime time.Time `validate:"timestamp"`
	// Properties merge key by key with those of earlier openings.
	Properties Properties `validate:"properties"`
}

// DefaultAssistantID stands for the assistant of a [Session] that names none.
const DefaultAssistantID = "DEFAULT"

// OpenSession records that a session began. Opening it again merges its properties and counts as activity; opening it
// after it closed opens it again. Without further activity it closes by itself after [Config.IdleTimeout].
//
// Errors: *[FieldError] for every field that breaks its limits, [ErrBufferFull], [ErrClosed].
func (c *Client) OpenSession(ctx context.Context, session Session) error {
	return c.record(ctx, &session)
}

func (s *Session) kind() EventType              { return EventOpenSession }
func (s *Session) lane() string                 { return s.ID }
func (s *Session) properties() *Properties      { return &s.Properties }
func (s *Session) attach(e *Event)              { e.Session = s }
func (s *Session) redact(f func(string) string) { s.Title = clip(f(s.Title), 256) }

func (s *Session) withholdContent() { s.Title = "" }

func (s *Session) normalize() {
	if s.AssistantID == "" {
		s.AssistantID = DefaultAssistantID
	}
}

func (s *Session) appendFields(b []byte) []byte {
	b = appendString(b, fieldSessionID, s.ID)
	b = appendString(b, fieldSessionTitle, s.Title)
	b = appendTimestamp(b, fieldSessionStartTime, s.StartTime)
	b = appendString(b, fieldSessionUserID, s.UserID)
	return appendString(b, fieldSessionAssistantID, s.AssistantID)
}

// CloseReason says why a session ended.
type CloseReason string

const (
	CloseExplicit CloseReason = "explicit" // the app said so; what the zero value means
	CloseIdle     CloseReason = "idle"     // no activity for [Config.IdleTimeout]
	CloseShutdown CloseReason = "shutdown" // the app stopped; see [Config.CloseSessionsOnShutdown]
	CloseTransfer CloseReason = "transfer" // handed to a human
)

// SessionEnd says that a session is over.
type SessionEnd struct {
	// SessionID identifies the session: 1 to 64 Unicode code points.
	SessionID string `validate:"nonblank,text,max=64"`
	// Reason says why. Empty means CloseExplicit.
	Reason CloseReason `validate:"omitempty,oneof=explicit idle shutdown transfer"`
	// EndTime is the session's last activity as far as the caller knows. Zero leaves it to the collector, which knows
	// every message.
	EndTime time.Time `validate:"timestamp"`
}

// CloseSession records that a session is over. It ends at its last activity, not at the moment of this call, and later
// activity opens it again. Closing a session that is unknown here is fine: another process may have opened it.
//
// Errors: *[FieldError] for every field that breaks its limits, [ErrBufferFull], [ErrClosed].
func (c *Client) CloseSession(ctx context.Context, end SessionEnd) error {
	return c.record(ctx, &end)
}

func (s *SessionEnd) kind() EventType            { return EventCloseSession }
func (s *SessionEnd) lane() string               { return s.SessionID }
func (s *SessionEnd) properties() *Properties    { return nil }
func (s *SessionEnd) attach(e *Event)            { e.SessionEnd = s }
func (s *SessionEnd) redact(func(string) string) {}

func (s *SessionEnd) normalize() {
	if s.Reason == "" {
		s.Reason = CloseExplicit
	}
}

func (s *SessionEnd) appendFields(b []byte) []byte {
	b = appendString(b, fieldSessionID, s.SessionID)
	b = appendUint(b, fieldCloseReason, wireCloseReason(s.Reason))
	return appendTimestamp(b, fieldSessionEndTime, s.EndTime)
}
