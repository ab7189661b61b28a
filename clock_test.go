package align

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

func TestClockSaysWhatTheSystemSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		for range 10_000 {
			if got, want := c.now(), time.Now(); got != want { // both readings, the wall clock's and the monotonic one's
				t.Fatalf("%v, want %v", got, want)
			}
			time.Sleep(time.Duration(rand.ExpFloat64() * float64(anchorTrust) / 2))
		}
	})
}

// A wall clock that is set cannot be had in a test, but an anchor from before it was, can.
func TestClockBelievesAnAnchorNotForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		c.now()
		anchor := c.anchor.Load()
		time.Sleep(anchorTrust - time.Nanosecond)
		c.now()
		if c.anchor.Load() != anchor {
			t.Error("read the wall clock again within its trust")
		}
		time.Sleep(time.Nanosecond)
		c.now()
		if c.anchor.Load() == anchor {
			t.Error("did not read the wall clock again")
		}
	})
}
