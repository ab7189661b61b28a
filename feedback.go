package align

import (
	"context"
	"slices"
)

// FeedbackType is a thumb.
type FeedbackType string

const (
	ThumbsUp   FeedbackType = "thumbs_up"
	ThumbsDown FeedbackType = "thumbs_down"
)

// MessageFeedback is a thumb on one message.
type MessageFeedback struct {
	// SessionID identifies the session: 1 to 64 Unicode code points.
	SessionID string `validate:"nonblank,text,max=64"`
	// Index is that of the message, from 1 to 2147483647. The message may arrive later.
	Index int `validate:"min=1,max=2147483647"`
	// Type is ThumbsUp or ThumbsDown.
	Type FeedbackType `validate:"oneof=thumbs_up thumbs_down"`
	// Comment is what the voter wrote, at most 2,000 Unicode code points.
	Comment string `validate:"omitempty,text,max=2000"`
	// Reasons are what the voter ticked: at most 10, each 1 to 64 Unicode code points.
	Reasons []string `validate:"max=10,dive,nonblank,text,max=64"`
	// UserID is the voter, at most 64 Unicode code points. Empty means the session's user. Each voter has one current
	// vote on a message: the last.
	UserID string `validate:"omitempty,nonblank,text,max=64"`
}

// CreateMessageFeedback records a thumb on a message. It is no activity: it neither keeps a session open nor opens it
// again.
//
// Errors: *[FieldError] for every field that breaks its limits, [ErrBufferFull], [ErrClosed].
func (c *Client) CreateMessageFeedback(ctx context.Context, feedback MessageFeedback) error {
	return c.record(ctx, &feedback)
}

func (f *MessageFeedback) kind() EventType         { return EventFeedback }
func (f *MessageFeedback) lane() string            { return f.SessionID }
func (f *MessageFeedback) properties() *Properties { return nil }
func (f *MessageFeedback) attach(e *Event)         { e.MessageFeedback = f }
func (f *MessageFeedback) normalize()              {}
func (f *MessageFeedback) own()                    { f.Reasons = slices.Clone(f.Reasons) }

func (f *MessageFeedback) beyondBase() []string {
	return votesBeyondBase("MessageFeedback.", f.Comment, f.Reasons, f.UserID)
}

func (f *MessageFeedback) redact(mask func(string) string) {
	f.Comment, f.Reasons = clip(mask(f.Comment), 2000), redactAll(f.Reasons, mask)
}

func (f *MessageFeedback) withholdContent() { f.Comment, f.Reasons = "", nil }

func (f *MessageFeedback) appendFields(b []byte) []byte {
	b = appendString(b, fieldFeedbackSessionID, f.SessionID)
	b = appendUint(b, fieldFeedbackIndex, uint64(f.Index))
	b = appendUint(b, fieldFeedbackTarget, targetMessage)
	return appendVote(b, f.Type, f.Comment, f.Reasons, f.UserID)
}

// SessionFeedback is a thumb on a whole session.
type SessionFeedback struct {
	// SessionID identifies the session: 1 to 64 Unicode code points.
	SessionID string `validate:"nonblank,text,max=64"`
	// Type is ThumbsUp or ThumbsDown.
	Type FeedbackType `validate:"oneof=thumbs_up thumbs_down"`
	// Comment is what the voter wrote, at most 2,000 Unicode code points.
	Comment string `validate:"omitempty,text,max=2000"`
	// Reasons are what the voter ticked: at most 10, each 1 to 64 Unicode code points.
	Reasons []string `validate:"max=10,dive,nonblank,text,max=64"`
	// UserID is the voter, at most 64 Unicode code points. Empty means the session's user.
	UserID string `validate:"omitempty,nonblank,text,max=64"`
}

// CreateSessionFeedback records a thumb on a whole session. Like [Client.CreateMessageFeedback] it is no activity.
//
// Errors: *[FieldError] for every field that breaks its limits, [ErrBufferFull], [ErrClosed].
func (c *Client) CreateSessionFeedback(ctx context.Context, feedback SessionFeedback) error {
	return c.record(ctx, &feedback)
}

func (f *SessionFeedback) kind() EventType         { return EventFeedback }
func (f *SessionFeedback) lane() string            { return f.SessionID }
func (f *SessionFeedback) properties() *Properties { return nil }
func (f *SessionFeedback) attach(e *Event)         { e.SessionFeedback = f }
func (f *SessionFeedback) normalize()              {}
func (f *SessionFeedback) own()                    { f.Reasons = slices.Clone(f.Reasons) }

func (f *SessionFeedback) beyondBase() []string {
	return votesBeyondBase("SessionFeedback.", f.Comment, f.Reasons, f.UserID)
}

func (f *SessionFeedback) redact(mask func(string) string) {
	f.Comment, f.Reasons = clip(mask(f.Comment), 2000), redactAll(f.Reasons, mask)
}

func (f *SessionFeedback) withholdContent() { f.Comment, f.Reasons = "", nil }

func (f *SessionFeedback) appendFields(b []byte) []byte {
	b = appendString(b, fieldFeedbackSessionID, f.SessionID)
	b = appendUint(b, fieldFeedbackTarget, targetSession)
	return appendVote(b, f.Type, f.Comment, f.Reasons, f.UserID)
}

// votesBeyondBase names what the base schema has no word for in a vote.
func votesBeyondBase(of, comment string, reasons []string, userID string) (fields []string) {
	if comment != "" {
		fields = append(fields, of+"Comment")
	}
	if len(reasons) > 0 {
		fields = append(fields, of+"Reasons")
	}
	if userID != "" {
		fields = append(fields, of+"UserID")
	}
	return fields
}

func appendVote(b []byte, vote FeedbackType, comment string, reasons []string, userID string) []byte {
	b = appendString(b, fieldFeedbackType, string(vote))
	b = appendString(b, fieldFeedbackComment, comment)
	for _, reason := range reasons {
		b = appendString(b, fieldFeedbackReasons, reason)
	}
	return appendString(b, fieldFeedbackUserID, userID)
}

// clip cuts s to at most n code points: a mask may be longer than what it hides.
func clip(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// redactAll returns reasons masked, in a new slice: the old one is the caller's.
func redactAll(reasons []string, mask func(string) string) []string {
	masked := make([]string, len(reasons))
	for i, reason := range reasons {
		masked[i] = clip(mask(reason), 64)
	}
	return masked
}
