package main

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align/collector"
)

func TestWithoutATerminalProgressIsALineEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		known, countless := showProgress(&out, 40_000, "facts"), showProgress(&out, unknown, "bytes")
		for range 40 {
			time.Sleep(time.Second)
			_ = known.Add(1000)
			_ = countless.Set(7000)
		}
		_, _ = known.Finish(), countless.Finish()
		want := "10,000 facts of 40,000, 25 %\n7,000 bytes\n20,000 facts of 40,000, 50 %\n7,000 bytes\n" +
			"30,000 facts of 40,000, 75 %\n7,000 bytes\n40,000 facts of 40,000, 100 %\n7,000 bytes\n"
		if out.String() != want {
			t.Errorf("%q, want %q", &out, want)
		}

		out.Reset()
		quick := showProgress(&out, 10, "steps")
		for range 10 {
			time.Sleep(900 * time.Millisecond)
			_ = quick.Add(1)
		}
		if out.Len() > 0 {
			t.Errorf("what takes nine seconds says %q", &out)
		}
	})
}

func TestProgressOfAStoreIsFollowedUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		ctx, finish := following(t.Context(), &out, "facts")
		tell := collector.Progress(ctx)
		tell(0, 0) // nothing to do
		tell(0, 100)
		time.Sleep(lineEvery)
		tell(70, 100)
		time.Sleep(lineEvery)
		tell(10, 100) // begun anew
		time.Sleep(lineEvery)
		tell(120, 100) // more came meanwhile
		finish()
		time.Sleep(lineEvery)
		tell(100, 100) // nobody looks any more
		if got, want := out.String(), "70 facts of 100, 70 %\n10 facts of 100, 10 %\n100 facts of 100, 100 %\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if collector.Progress(context.Background()) != nil {
			t.Error("somebody wants to know who did not ask")
		}
	})
}

// noted remembers how it was set.
type noted struct {
	mu       sync.Mutex
	last     int
	finished int
}

func (n *noted) Add(by int) error { return n.Set(n.last + by) }

func (n *noted) Set(to int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = to
	return nil
}

func (n *noted) Finish() error {
	n.finished++
	return nil
}

func TestWatchingAsksUntilItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, bar := time.Now(), new(noted)
		stop := watching(bar, func() int { return int(time.Since(begin) / time.Millisecond) })
		time.Sleep(550 * time.Millisecond)
		stop()
		if bar.last != 550 || bar.finished != 1 {
			t.Errorf("%d, finished %d times", bar.last, bar.finished)
		}
	})
}
