package export

import (
	"context"
	"math"
	"time"

	"github.com/openalign/align/collector"
)

// Span says which files hold the conversations that began on a day.
type Span struct {
	// After is how many files after the day's own: as many days as the longest conversation lasted that ended on it or
	// later, begun ones counted whole.
	After int
	// Complete says that all of them are final. Until then more conversations may come.
	Complete bool
}

// StartsOn returns the span of a day that is final.
func (e *Exporter) StartsOn(ctx context.Context, project string, day collector.Day) (Span, error) {
	span, _, err := e.startsOn(ctx, project, day)
	return span, err
}

// startsOn also returns the days of files that hold any.
func (e *Exporter) startsOn(ctx context.Context, project string, day collector.Day) (span Span, hold []collector.Day, err error) {
	if _, err := e.Manifest(ctx, project, day); err != nil {
		return span, nil, err
	}
	list, err := e.Days(ctx, project, day, math.MaxInt32, math.MaxInt32)
	if err != nil {
		return span, nil, err
	}
	for _, m := range list {
		span.After = max(span.After, int((m.Longest+secondsADay-1)/secondsADay))
	}
	for _, m := range list {
		one, err := collector.ParseDay(m.Day)
		if err != nil {
			return span, nil, err
		}
		if one > day+collector.Day(span.After) {
			break
		}
		span.Complete = one == day+collector.Day(span.After)
		if m.EarliestStart != "" && m.EarliestStart < MomentOf(day.End()).String() {
			hold = append(hold, one)
		}
	}
	return span, hold, nil
}

const secondsADay = int64(24 * time.Hour / time.Second)
