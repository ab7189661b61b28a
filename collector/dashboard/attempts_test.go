package dashboard

import (
	"fmt"
	"testing"
	"time"
)

func TestFailuresRunOutAndComeBackByAddress(t *testing.T) {
	var a attempts
	now := time.Unix(1_770_000_000, 0)
	const here, neighbour, elsewhere = "[2001:db8::1]:1234", "[2001:db8::ffff]:99", "192.0.2.7:1234"
	for i := range failuresAtOnce {
		if wait := a.wait(here, now); wait != 0 {
			t.Fatalf("attempt %d waits %s", i+1, wait)
		}
		a.failed(here, now)
	}
	for address, want := range map[string]time.Duration{here: failuresEvery, neighbour: failuresEvery, elsewhere: 0, "[::ffff:192.0.2.7]:1": 0} {
		if wait := a.wait(address, now); wait != want {
			t.Errorf("%s waits %s, want %s", address, wait, want)
		}
	}
	if wait := a.wait(here, now.Add(failuresEvery)); wait != 0 {
		t.Errorf("after a while: %s", wait)
	}
}

// Strangers with many addresses must not fill the memory, nor shut out those who failed no attempt.
func TestAddressesThatFailedAreBounded(t *testing.T) {
	var a attempts
	now := time.Unix(1_770_000_000, 0)
	for i := range maxAddresses + 100 {
		a.failed(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), now)
	}
	if len(a.by) != maxAddresses {
		t.Errorf("%d addresses are kept", len(a.by))
	}
	if wait := a.wait("192.0.2.1:1", now); wait == 0 {
		t.Error("addresses beyond that can try without end")
	}
	now = now.Add(time.Hour)
	a.failed("192.0.2.1:1", now)
	if len(a.by) > 1 {
		t.Errorf("%d addresses are kept that are as good as new", len(a.by))
	}
}
