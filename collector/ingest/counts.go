package ingest

import (
	"maps"
	"sync"

	"github.com/openalign/align/collector"
)

// Counts is what a handler has taken in. Stored + Duplicate + SetAside is every event of every request answered with
// success.
type Counts struct {
	Requests  int // answered with success
	Stored    int
	Duplicate int
	SetAside  map[Reason]int
	// Foreign counts facts that named another project than their key's. They are stored, in the key's.
	Foreign int
	// Ignored counts items of requests that the dialect understood and has no use for: of OpenTelemetry, what is not about
	// generative AI.
	Ignored int
	// Refused counts requests that a dialect other than Align's did not take, by status.
	Refused map[int]int
	// Unknown counts members of requests that the dialect does not know, where it counts them.
	Unknown int
}

// Add adds what another handler has taken in.
func (c *Counts) Add(o Counts) {
	c.Requests += o.Requests
	c.Stored += o.Stored
	c.Duplicate += o.Duplicate
	c.Foreign += o.Foreign
	c.Ignored += o.Ignored
	c.Unknown += o.Unknown
	addTo(&c.SetAside, o.SetAside)
	addTo(&c.Refused, o.Refused)
}

func addTo[K comparable](sum *map[K]int, more map[K]int) {
	for key, count := range more {
		if *sum == nil {
			*sum = make(map[K]int)
		}
		(*sum)[key] += count
	}
}

// counters is a Counts that many requests add to.
type counters struct {
	mu     sync.Mutex
	counts Counts // guarded by mu
}

func (c *counters) add(appended collector.Appended, reasons map[Reason]int, foreign int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Requests++
	c.counts.Stored += appended.Stored
	c.counts.Duplicate += appended.Duplicate
	c.counts.Foreign += foreign
	addTo(&c.counts.SetAside, reasons)
}

func (c *counters) read() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	counts.SetAside, counts.Refused = maps.Clone(counts.SetAside), maps.Clone(counts.Refused)
	return counts
}
