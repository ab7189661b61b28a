package align

import (
	"context"
	"time"
)

type timeKey struct{}

// WithTime returns a context for recording calls about what happened at another time than now: an import, a queue that
// waited, a month of history. t is when what they record happened: the time of a vote, of a close and of what is said of a
// user, which have no other, and of a message or an opening that says none itself. Of two things that override each other
// the later one counts by that time, whichever was recorded first; a close speaks for it, and a message after it opens the
// session again.
//
//	client.CreateMessageFeedback(align.WithTime(ctx, vote.Time), align.MessageFeedback{…})
//
// The zero time means the moment of the call. One outside the years 1 to 9999 is a *[FieldError] of the call. A collector
// orders events of more than a day ahead or ten years ago by when it receives them.
//
// How long a session may be quiet before the client closes it counts from the call, whatever t is. Close what is over, with
// [CloseIdle] and its end where nobody else did.
func WithTime(ctx context.Context, t time.Time) context.Context {
	return context.WithValue(ctx, timeKey{}, t)
}

// timeFrom returns the time that ctx says things happened at, if it says one.
func timeFrom(ctx context.Context) (t time.Time, told bool) {
	t, _ = ctx.Value(timeKey{}).(time.Time)
	return t, !t.IsZero()
}

// eventTime is when what is recorded with ctx at now happened.
func eventTime(ctx context.Context, now time.Time) time.Time {
	if t, told := timeFrom(ctx); told {
		return t
	}
	return now
}

// dateBy gives what p has no time for, but could, the time that ctx says.
func dateBy(ctx context.Context, p payload) {
	t, told := timeFrom(ctx)
	if !told {
		return
	}
	switch p := p.(type) {
	case *Message:
		if p.CreateTime.IsZero() && !p.undated {
			p.CreateTime = t
		}
	case *Session:
		if p.StartTime.IsZero() {
			p.StartTime = t
		}
	}
}

// untimely returns the problem with the time that ctx says, if there is one.
func untimely(ctx context.Context) []error {
	if t, _ := timeFrom(ctx); !isTimestamp(t) {
		return []error{&FieldError{Field: "WithTime", Rule: "time"}}
	}
	return nil
}
