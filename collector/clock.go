package collector

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

const (
	// MaxAhead is how far a client's clock may be ahead. A time further in the future would be the latest for good: nothing
	// could override it, and its session would never go idle.
	MaxAhead = 24 * time.Hour
	// MaxBehind is how far back an event may lie, which is wide, as spools and imports come from there.
	MaxBehind = 10 * 365 * 24 * time.Hour
	// SkewAhead is from where a clock that is ahead is worth a word. Behind it is every event that waited to be sent.
	SkewAhead = 5 * time.Minute
)

// Plausible reports whether a client's time can be ordered by, seen from when the collector read it. One that cannot is
// kept in the fact and used for nothing.
func Plausible(t, received time.Time) bool {
	return received.IsZero() || !t.After(received.Add(MaxAhead)) && !t.Before(received.Add(-MaxBehind))
}

// Clock is what the times of an event say about its client's clock.
type Clock int

const (
	ClockFine    Clock = iota
	ClockAhead         // by more than SkewAhead; its time stands
	ClockRefused       // a time is not plausible, and the time of receipt stands instead
)

// ClockOf judges the clock behind an event.
func ClockOf(e *ingestionv1alpha.Event, received time.Time) Clock {
	clock := ClockFine
	session, message := e.GetProperties().GetSessionProperties(), e.GetProperties().GetMessageProperties()
	for _, t := range []*timestamppb.Timestamp{e.GetCreateTime(), session.GetSessionStartTime(), session.GetSessionEndTime(), message.GetMessageCreateTime(), message.GetPlace().GetTime()} {
		switch {
		case t == nil || received.IsZero():
		case !Plausible(t.AsTime(), received):
			return ClockRefused
		case t.AsTime().After(received.Add(SkewAhead)):
			clock = ClockAhead
		}
	}
	return clock
}
