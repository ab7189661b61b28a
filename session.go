package align

import (
	"context"
	"maps"
	"slices"
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

	// Channel is ChannelChat or ChannelTicket. Empty means not said.
	Channel Channel `validate:"omitempty,oneof=chat ticket"`
	// Source is where the session came from, such as a site's name: at most 64 Unicode code points.
	Source string `validate:"omitempty,text,max=64"`
	// Language is a BCP 47 tag, such as "de" or "pt-BR", of at most 64 Unicode code points.
	Language string `validate:"omitempty,max=64,bcp47_language_tag"`
	// Labels are the app's own, at most 20, each 1 to 64 Unicode code points.
	Labels []string `validate:"max=20,dive,nonblank,text,max=64"`
	// TestMode marks a session that is no real conversation.
	TestMode bool
	// Data is anything else the app wants to keep with the session: a JSON object of at most 16 KiB.
	Data map[string]any `validate:"data"`
}

// Channel is what kind of conversation a session is. The zero Channel says nothing.
type Channel string

const (
	ChannelChat   Channel = "chat"   // both sides are there
	ChannelTicket Channel = "ticket" // answers may take their time
)

// DefaultAssistantID stands for the assistant of a [Session] that names none.
const DefaultAssistantID = "DEFAULT"

// OpenSession records that a session began. Opening it again merges its properties and counts as activity; opening it
// after it closed opens it again. Without further activity it closes by itself after [Config.IdleTimeout].
//
// Errors: *[FieldError] for every field that breaks its limits, [ErrBufferFull], [ErrClosed].
func (c *Client) OpenSession(ctx context.Context, session Session) error {
	return c.record(ctx, &session)
}

func (s *Session) kind() EventType         { return EventOpenSession }
func (s *Session) lane() string            { return s.ID }
func (s *Session) properties() *Properties { return &s.Properties }
func (s *Session) attach(e *Event)         { e.Session = s }

func (s *Session) own() {
	s.Properties, s.Labels, s.Data = maps.Clone(s.Properties), slices.Clone(s.Labels), cloneData(s.Data)
}

func (s *Session) redact(mask func(string) string) {
	s.Title = clip(mask(s.Title), 256)
	s.Data = redactData(s.Data, mask)
}

func (s *Session) withholdContent() { s.Title = "" }

func (s *Session) beyondBase() []string {
	return inUse("Session.",
		fieldUse{"Channel", s.Channel != ""}, fieldUse{"Source", s.Source != ""}, fieldUse{"Language", s.Language != ""},
		fieldUse{"Labels", len(s.Labels) > 0}, fieldUse{"TestMode", s.TestMode}, fieldUse{"Data", len(s.Data) > 0},
	)
}

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
	b = appendString(b, fieldSessionAssistantID, s.AssistantID)
	for _, label := range s.Labels {
		b = appendString(b, fieldLabels, label)
	}
	b = appendString(b, fieldChannel, string(s.Channel))
	b = appendString(b, fieldSource, s.Source)
	b = appendString(b, fieldLanguage, s.Language)
	if s.TestMode {
		b = appendOptionalUint(b, fieldTestMode, 1)
	}
	data, _ := encodeData(s.Data) // was checked
	return appendString(b, fieldData, data)
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

	// Status says how the conversation ended, as the app knows it. Empty leaves it to the collector's rules.
	Status SessionStatus `validate:"omitempty,oneof=botHandled email agent customEscalation failedEscalation"`
	// Resolution says what became of the user's concern. Empty leaves it to the collector's rules.
	Resolution Resolution `validate:"omitempty,oneof=informed resolved escalated undefined"`
	// Transfer says whether the session was handed to a human, Completed whether it served its purpose. Nil means unknown.
	Transfer, Completed *bool
	// Labels are the app's own, at most 20, each 1 to 64 Unicode code points; they replace those of the opening.
	Labels []string `validate:"max=20,dive,nonblank,text,max=64"`
}

// SessionStatus says how a conversation ended.
type SessionStatus string

const (
	StatusBotHandled       SessionStatus = "botHandled"       // by the assistant alone
	StatusEmail            SessionStatus = "email"            // goes on by email
	StatusAgent            SessionStatus = "agent"            // handed to a human
	StatusCustomEscalation SessionStatus = "customEscalation" // handed on in a way of the app's own
	StatusFailedEscalation SessionStatus = "failedEscalation" // should have been handed on, and nobody was there
)

// Resolution says what became of a user's concern. The zero Resolution says nothing.
type Resolution string

const (
	ResolutionInformed  Resolution = "informed"  // the user got information
	ResolutionResolved  Resolution = "resolved"  // the concern was dealt with
	ResolutionEscalated Resolution = "escalated" // it was handed on
	ResolutionUndefined Resolution = "undefined" // the app cannot tell
)

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

func (s *SessionEnd) own() {
	s.Transfer, s.Completed, s.Labels = clone(s.Transfer), clone(s.Completed), slices.Clone(s.Labels)
}

func (s *SessionEnd) beyondBase() []string {
	return inUse("SessionEnd.",
		fieldUse{"Reason", s.Reason != CloseExplicit}, fieldUse{"EndTime", !s.EndTime.IsZero()}, fieldUse{"Status", s.Status != ""},
		fieldUse{"Resolution", s.Resolution != ""}, fieldUse{"Transfer", s.Transfer != nil}, fieldUse{"Completed", s.Completed != nil},
		fieldUse{"Labels", len(s.Labels) > 0},
	)
}

func (s *SessionEnd) normalize() {
	if s.Reason == "" {
		s.Reason = CloseExplicit
	}
}

func (s *SessionEnd) appendFields(b []byte) []byte {
	b = appendString(b, fieldSessionID, s.SessionID)
	b = appendUint(b, fieldCloseReason, wireCloseReason(s.Reason))
	b = appendTimestamp(b, fieldSessionEndTime, s.EndTime)
	b = appendString(b, fieldSessionStatus, string(s.Status))
	b = appendString(b, fieldResolution, string(s.Resolution))
	b = appendBool(b, fieldTransfer, s.Transfer)
	b = appendBool(b, fieldCompleted, s.Completed)
	for _, label := range s.Labels {
		b = appendString(b, fieldLabels, label)
	}
	return b
}
