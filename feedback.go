package align

import (
	"context"
	"slices"
)

// FeedbackType is a thumb. The zero FeedbackType is none of them, and an error: a vote is never taken back by accident.
type FeedbackType string

const (
	// ThumbsUp and ThumbsDown are the two votes.
	ThumbsUp   FeedbackType = "thumbs_up"
	ThumbsDown FeedbackType = "thumbs_down"
	// ThumbsNone takes the voter's vote back, with its comment, reasons and score: as if it had never been given.
	ThumbsNone FeedbackType = "none"
)

// Score is a rating on a scale: stars, say, or how satisfied someone is. The zero Score is none.
type Score struct {
	// Value is the rating, from Min to Max.
	Value float64 `validate:"finite,gtefield=Min,ltefield=Max"`
	// Min and Max are the ends of the scale, such as 1 and 5; Max is above Min.
	Min float64 `validate:"finite"`
	Max float64 `validate:"finite,omitempty,gtfield=Min"`
}

// MessageFeedback is a thumb on one message.
type MessageFeedback struct {
	// SessionID identifies the session: 1 to 64 Unicode code points.
	SessionID string `validate:"nonblank,text,max=64"`
	// Index is that of the message, from 1 to 2147483647. The message may arrive later.
	Index int `validate:"min=1,max=2147483647"`
	// Type is ThumbsUp, ThumbsDown, or ThumbsNone to take the vote back.
	Type FeedbackType `validate:"oneof=thumbs_up thumbs_down none"`
	// Comment is what the voter wrote, at most 2,000 Unicode code points.
	Comment string `validate:"omitempty,text,max=2000"`
	// Reasons are what the voter ticked: at most 10, each 1 to 64 Unicode code points.
	Reasons []string `validate:"max=10,dive,nonblank,text,max=64"`
	// Score rates the message beside the thumb. The zero Score is none.
	Score Score
	// UserID is the voter, at most 64 Unicode code points. Empty means the session's user. Each voter has one current
	// vote on a message: the last. Name the voter always or never: a named one and an unnamed one count as two.
	UserID string `validate:"omitempty,nonblank,text,max=64"`
}

// CreateMessageFeedback records a thumb on a message. It is no activity: it neither keeps a session open nor opens it
// again.
//
// Errors: *[FieldError] for every field that breaks its limits, [ErrBufferFull], [ErrClosed].
func (c *Client) CreateMessageFeedback(ctx context.Context, feedback MessageFeedback) error {
	return c.record(ctx, &feedback)
}

func (f *MessageFeedback) kind() EventType              { return EventFeedback }
func (f *MessageFeedback) lane() string                 { return f.SessionID }
func (f *MessageFeedback) properties() *Properties      { return nil }
func (f *MessageFeedback) attach(e *Event)              { e.MessageFeedback = f }
func (f *MessageFeedback) normalize()                   {}
func (f *MessageFeedback) words() words                 { return words{&f.Comment, &f.Reasons} }
func (f *MessageFeedback) own()                         { f.words().own() }
func (f *MessageFeedback) redact(m func(string) string) { f.words().redact(m) }
func (f *MessageFeedback) withholdContent()             { f.words().withhold() }

func (f *MessageFeedback) beyondBase() []string {
	return voteBeyondBase("MessageFeedback.", f.Type, f.words(), f.Score, f.UserID)
}

func (f *MessageFeedback) appendFields(b []byte) []byte {
	b = appendString(b, fieldFeedbackSessionID, f.SessionID)
	b = appendUint(b, fieldFeedbackIndex, uint64(f.Index))
	b = appendUint(b, fieldFeedbackTarget, targetMessage)
	return appendVote(b, f.Type, f.words(), f.Score, f.UserID)
}

// SessionFeedback is a thumb on a whole session.
type SessionFeedback struct {
	// SessionID identifies the session: 1 to 64 Unicode code points.
	SessionID string `validate:"nonblank,text,max=64"`
	// Type is ThumbsUp, ThumbsDown, or ThumbsNone to take the vote back.
	Type FeedbackType `validate:"oneof=thumbs_up thumbs_down none"`
	// Comment is what the voter wrote, at most 2,000 Unicode code points.
	Comment string `validate:"omitempty,text,max=2000"`
	// Reasons are what the voter ticked: at most 10, each 1 to 64 Unicode code points.
	Reasons []string `validate:"max=10,dive,nonblank,text,max=64"`
	// Score rates the session beside the thumb. The zero Score is none.
	Score Score
	// UserID is the voter, at most 64 Unicode code points. Empty means the session's user. Each voter has one current
	// vote on a session: the last. Name the voter always or never: a named one and an unnamed one count as two.
	UserID string `validate:"omitempty,nonblank,text,max=64"`
}

// CreateSessionFeedback records a thumb on a whole session. Like [Client.CreateMessageFeedback] it is no activity.
//
// Errors: *[FieldError] for every field that breaks its limits, [ErrBufferFull], [ErrClosed].
func (c *Client) CreateSessionFeedback(ctx context.Context, feedback SessionFeedback) error {
	return c.record(ctx, &feedback)
}

func (f *SessionFeedback) kind() EventType              { return EventFeedback }
func (f *SessionFeedback) lane() string                 { return f.SessionID }
func (f *SessionFeedback) properties() *Properties      { return nil }
func (f *SessionFeedback) attach(e *Event)              { e.SessionFeedback = f }
func (f *SessionFeedback) normalize()                   {}
func (f *SessionFeedback) words() words                 { return words{&f.Comment, &f.Reasons} }
func (f *SessionFeedback) own()                         { f.words().own() }
func (f *SessionFeedback) redact(m func(string) string) { f.words().redact(m) }
func (f *SessionFeedback) withholdContent()             { f.words().withhold() }

func (f *SessionFeedback) beyondBase() []string {
	return voteBeyondBase("SessionFeedback.", f.Type, f.words(), f.Score, f.UserID)
}

func (f *SessionFeedback) appendFields(b []byte) []byte {
	b = appendString(b, fieldFeedbackSessionID, f.SessionID)
	b = appendUint(b, fieldFeedbackTarget, targetSession)
	return appendVote(b, f.Type, f.words(), f.Score, f.UserID)
}

// voteBeyondBase names what the base schema has no word for in a vote.
func voteBeyondBase(of string, vote FeedbackType, w words, score Score, userID string) []string {
	return inUse(of,
		fieldUse{"Type", vote == ThumbsNone}, fieldUse{"Comment", *w.comment != ""}, fieldUse{"Reasons", len(*w.reasons) > 0},
		fieldUse{"Score", score != Score{}}, fieldUse{"UserID", userID != ""},
	)
}

// words are what a voter wrote and ticked, where a feedback keeps them: the two kinds of feedback have them in common.
type words struct {
	comment *string
	reasons *[]string
}

// redact masks in a new slice: the old one is the caller's.
func (w words) redact(mask func(string) string) {
	*w.comment = clip(mask(*w.comment), 2000)
	w.own()
	for i, reason := range *w.reasons {
		(*w.reasons)[i] = clip(mask(reason), 64)
	}
}

// own makes the slice the event's own.
func (w words) own() { *w.reasons = slices.Clone(*w.reasons) }

func (w words) withhold() { *w.comment, *w.reasons = "", nil }

func appendVote(b []byte, vote FeedbackType, w words, score Score, userID string) []byte {
	if vote != ThumbsNone { // the wire says it by saying nothing
		b = appendString(b, fieldFeedbackType, string(vote))
	}
	b = appendString(b, fieldFeedbackComment, *w.comment)
	for _, reason := range *w.reasons {
		b = appendString(b, fieldFeedbackReasons, reason)
	}
	if score != (Score{}) {
		b = appendOptionalDouble(b, fieldFeedbackScore, score.Value) // also when it is zero
		b = appendDouble(b, fieldFeedbackScoreMin, score.Min)
		b = appendDouble(b, fieldFeedbackScoreMax, score.Max)
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
