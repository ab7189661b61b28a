// Package export makes the daily export: for each project and UTC day one file with all conversations that ended on it,
// and one with what became known late of days before.
//
// A day is final after its midnight, the idle timeout and a grace, and its files never change from then on. They are kept
// in the store as lines of NDJSON; every other form is made from those lines, the same bytes each time. Of a
// conversation that changes after its file is final, the late file of a later day tells, with the reason; one that goes on
// on a later day is told of once more in that day's file, as another episode. docs/export.md is what users read.
package export

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/openalign/align/collector"
)

// DefaultGrace is how long after the midnight and the idle timeout events are waited for that come late. With the
// usual timeout a day is final at 01:00 UTC.
const DefaultGrace = 30 * time.Minute

// NotFinalError says that a day's files are not made yet, and when they will be.
type NotFinalError struct {
	Day   collector.Day
	Final time.Time
}

// Error says what and when.
func (e *NotFinalError) Error() string {
	return fmt.Sprintf("not_final: the files of %s are final at %s", e.Day, e.Final.Format(time.RFC3339))
}

// ErrNoFiles says of a day that is over that it has no files, and that reading makes none: it comes before the days that
// become final as time goes by. [Exporter.Finalize] makes them.
var ErrNoFiles = errors.New("no_files: the day comes before those that become final; align export makes its files")

// Config are the settings of an [Exporter].
type Config struct {
	// IdleTimeout is after how long without activity a conversation has ended. Zero or less means
	// [collector.DefaultIdleTimeout]: also where sessions never close by themselves, days do.
	IdleTimeout time.Duration
	// Grace is how long late events are waited for after that; zero means [DefaultGrace], negative not at all.
	Grace time.Duration
	// Logger is where the scheduler says what it did. Nil means [slog.Default].
	Logger *slog.Logger
}

// Exporter makes the files of days, and reads them. It is safe for concurrent use.
type Exporter struct {
	store       collector.ExportStore
	idle, grace time.Duration
	log         *slog.Logger

	mu sync.Mutex // one day at a time is enough
}

// New returns an exporter of what a store holds.
func New(store collector.ExportStore, config Config) *Exporter {
	e := &Exporter{store: store, idle: config.IdleTimeout, grace: config.Grace, log: cmp.Or(config.Logger, slog.Default())}
	if e.idle <= 0 {
		e.idle = collector.DefaultIdleTimeout
	}
	e.grace = max(0, cmp.Or(e.grace, DefaultGrace))
	return e
}

// FinalTime is when the files of a day can be made.
func (e *Exporter) FinalTime(day collector.Day) time.Time { return day.End().Add(e.idle + e.grace) }

// lastDue is the last day whose files can be made at a moment.
func (e *Exporter) lastDue(now time.Time) collector.Day {
	return collector.DayOf(now.Add(-e.idle-e.grace)) - 1
}

// Manifest returns the manifest of a final day. One whose turn has come is made final first, as [Exporter.Run] would. It
// returns a [NotFinalError] before, and [ErrNoFiles] for a day whose turn does not come: whoever may read cannot choose what
// becomes final.
func (e *Exporter) Manifest(ctx context.Context, project string, day collector.Day) (*Manifest, error) {
	switch m, err := e.manifest(ctx, project, day); {
	case !errors.Is(err, collector.ErrNotFound):
		return m, err
	case day > e.lastDue(time.Now()):
		return nil, &NotFinalError{day, e.FinalTime(day)}
	}
	switch next, ok, err := e.turn(ctx, project); {
	case err != nil:
		return nil, err
	case !ok || day < next:
		return nil, ErrNoFiles
	}
	if err := e.Finalize(ctx, project, day); err != nil {
		return nil, err
	}
	return e.manifest(ctx, project, day)
}

// turn returns the day that becomes final next, in days that are over or the one after them; false where there is none yet,
// as nothing is known that ended on a day that is over.
func (e *Exporter) turn(ctx context.Context, project string) (next collector.Day, ok bool, err error) {
	if err := e.store.NoteNews(ctx); err != nil {
		return 0, false, err
	}
	due := e.lastDue(time.Now())
	last, err := e.store.ExportDays(ctx, project, math.MinInt32, math.MaxInt32, -1)
	if err != nil {
		return 0, false, err
	}
	if len(last) == 0 {
		switch oldest, err := e.store.OldestNews(ctx, project); {
		case errors.Is(err, collector.ErrNotFound) || err == nil && collector.DayOf(oldest) > due:
			return 0, false, nil
		case err != nil:
			return 0, false, err
		}
	}
	next, err = e.nextDay(ctx, project, due)
	return next, err == nil, err
}

// manifest returns the manifest of a day that is final, or ErrNotFound.
func (e *Exporter) manifest(ctx context.Context, project string, day collector.Day) (*Manifest, error) {
	list, err := e.Days(ctx, project, day, day, 1)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, collector.ErrNotFound
	}
	return list[0], nil
}

// Days returns the manifests of final days, in order: of the first limit of them from one day to another, or the last where
// limit is negative.
func (e *Exporter) Days(ctx context.Context, project string, from, to collector.Day, limit int) ([]*Manifest, error) {
	days, err := e.store.ExportDays(ctx, project, from, to, limit)
	if err != nil {
		return nil, err
	}
	list := make([]*Manifest, len(days))
	for i, d := range days {
		list[i] = new(Manifest)
		if err := json.Unmarshal(d.Manifest, list[i]); err != nil {
			return nil, fmt.Errorf("export: the manifest of %s: %w", d.Day, err)
		}
	}
	return list, nil
}

// Finalize makes all days up to one final that are not, in order, or only that one where it comes before all that are final.
// A day on which nothing is known to have ended becomes final too: what is told of it later is late.
func (e *Exporter) Finalize(ctx context.Context, project string, upto collector.Day) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if due := e.lastDue(time.Now()); upto > due {
		return &NotFinalError{upto, e.FinalTime(upto)}
	}
	if err := e.store.NoteNews(ctx); err != nil {
		return err
	}
	day, err := e.nextDay(ctx, project, upto)
	if err != nil {
		return err
	}
	for ; day <= upto; day++ {
		if err := e.finalize(ctx, project, day); err != nil {
			return fmt.Errorf("export of %s: %w", day, err)
		}
	}
	return nil
}

// mostEmptyDays is how long a stretch may be on which nothing ended, for its days to be made final one by one. The days of
// a longer one are made when they are asked for: or a request for a day long ago would be hundreds of thousands of files.
const mostEmptyDays = 366

// nextDay returns the day after the last that is final, or where nothing ended for a very long time after that, the one on
// which something did. Before there is any, it is the one on which a conversation first ended; a day before all that are
// final is one of its own, on which nothing that was told of ended.
func (e *Exporter) nextDay(ctx context.Context, project string, upto collector.Day) (collector.Day, error) {
	last, err := e.store.ExportDays(ctx, project, math.MinInt32, math.MaxInt32, -1)
	if err != nil {
		return 0, err
	}
	if len(last) > 0 && upto < last[0].Day {
		return upto, nil
	}
	first := upto
	switch oldest, err := e.store.OldestNews(ctx, project); {
	case errors.Is(err, collector.ErrNotFound):
	case err != nil:
		return 0, err
	default:
		first = min(collector.DayOf(oldest), upto)
	}
	if len(last) > 0 && first-last[0].Day <= mostEmptyDays {
		return last[0].Day + 1, nil
	}
	return first, nil
}
