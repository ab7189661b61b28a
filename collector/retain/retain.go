// Package retain takes out of a store what is older than it is to be kept.
package retain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/openalign/align/collector"
)

const (
	// sweepEvery is how often old data is looked for: nothing is kept longer than promised by more than this.
	sweepEvery = time.Hour
	// compactEvery is how often the file is written anew after something was taken out.
	compactEvery = 24 * time.Hour
)

// Policy says how long data is kept, from the time its event names. Zero is for ever.
type Policy struct {
	Content time.Duration
	Facts   time.Duration
}

// Store is what old data is taken out of; a [collector.Store] does.
type Store interface {
	Retain(ctx context.Context, keep collector.Retention) (collector.Retained, error)
	Compact(ctx context.Context) error
}

// Run applies a policy every hour, at once for the first time, until ctx ends. Once a day, if anything was taken out, it
// has the store remove what traces of it are left.
func Run(ctx context.Context, store Store, policy Policy, log *slog.Logger) {
	if policy == (Policy{}) {
		return
	}
	sweeps := time.NewTicker(sweepEvery)
	defer sweeps.Stop()
	traces, compacted := false, time.Now()
	for {
		traces = sweep(ctx, store, policy, log) || traces
		if traces && time.Since(compacted) >= compactEvery {
			if err := store.Compact(ctx); err != nil {
				log.ErrorContext(ctx, "removing traces of old data failed", "error", err)
			} else {
				traces = false
			}
			compacted = time.Now()
		}
		select {
		case <-sweeps.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweep reports whether it took anything out.
func sweep(ctx context.Context, store Store, policy Policy, log *slog.Logger) bool {
	now := time.Now()
	var keep collector.Retention
	if policy.Content > 0 {
		keep.ContentBefore = now.Add(-policy.Content)
	}
	if policy.Facts > 0 {
		keep.FactsBefore = now.Add(-policy.Facts)
	}
	got, err := store.Retain(ctx, keep)
	if err != nil && ctx.Err() == nil {
		log.ErrorContext(ctx, "taking out old data failed", "error", err)
	}
	if got == (collector.Retained{}) {
		return false
	}
	log.InfoContext(ctx, "old data taken out", "contents", got.Contents, "facts", got.Facts, "set_aside", got.SetAside)
	return true
}

// Age is a duration that may be given in days: 90d.
type Age time.Duration

// errAge says how an age is written.
var errAge = errors.New("want days or hours, such as 90d or 36h")

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *Age) UnmarshalText(text []byte) error {
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > 36_500 {
			return errAge
		}
		*a = Age(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return errAge
	}
	if d <= 0 {
		return fmt.Errorf("%w: it must be more than nothing", errAge)
	}
	*a = Age(d)
	return nil
}
