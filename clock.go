package align

import (
	"sync/atomic"
	"time"
)

// clock tells the time for less than [time.Now], which asks the system twice, for the wall clock and for the monotonic one:
// within anchorTrust of a reading of both, the monotonic clock alone says what the wall clock says. A step of the wall clock
// is noticed that much later. The zero clock is ready to use.
type clock struct {
	anchor atomic.Pointer[time.Time] // the last reading of both
}

// anchorTrust is short, because a machine that sleeps may stop its monotonic clock: what is recorded within it before and
// after says the time before.
const anchorTrust = time.Millisecond

func (c *clock) now() time.Time {
	if anchor := c.anchor.Load(); anchor != nil {
		if passed := time.Since(*anchor); passed < anchorTrust {
			return anchor.Add(passed)
		}
	}
	now := time.Now()
	c.anchor.Store(&now)
	return now
}
