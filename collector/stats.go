package collector

import (
	"slices"
	"time"
)

// StoreStats says how a store is doing.
type StoreStats struct {
	QueuedEvents, QueuedBytes int // wait to be stored, or are being stored
	LineEvents                int // wait for room in the queue
	FileBytes, LogBytes       int64
	IndexBytes                int64         // of what search looks through, with its log
	UnindexedMessages         int           // cannot be found by their text yet
	IndexLag                  time.Duration // for how long the first of them cannot, as far as is known
	Commits                   Histogram
	// DigestsDue is how many sessions changed since they were digested for metrics, up to 10,000; DigestLag is since when
	// some wait, and DigestsFailed how many could not be made.
	DigestsDue    int
	DigestLag     time.Duration
	DigestsFailed uint64
}

// Histogram counts durations. Counts[i] is how many took no more than Bounds[i].
type Histogram struct {
	Bounds []time.Duration
	Counts []uint64
	Count  uint64
	Sum    time.Duration
}

// NewHistogram returns an empty histogram with bounds from half a millisecond to ten seconds.
func NewHistogram() Histogram {
	const ms = time.Millisecond
	bounds := []time.Duration{ms / 2, ms, 2 * ms, 5 * ms, 10 * ms, 20 * ms, 50 * ms, 100 * ms, 200 * ms, 500 * ms, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second}
	return Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds))}
}

// Observe counts a duration.
func (h *Histogram) Observe(d time.Duration) {
	for i := len(h.Bounds) - 1; i >= 0 && d <= h.Bounds[i]; i-- {
		h.Counts[i]++
	}
	h.Count++
	h.Sum += d
}

// Clone returns a copy that does not change.
func (h *Histogram) Clone() Histogram {
	return Histogram{slices.Clone(h.Bounds), slices.Clone(h.Counts), h.Count, h.Sum}
}
