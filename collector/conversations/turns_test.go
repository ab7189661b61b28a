package conversations

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurnsComeInTheOrderInWhichTheyWereAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		at := place{"shop", "s1"}
		first, err := all.take(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var got []int
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				leave, err := all.take(t.Context(), at)
				if err != nil {
					t.Error(err)
					return
				}
				defer leave()
				mu.Lock()
				defer mu.Unlock()
				got = append(got, i)
			})
			synctest.Wait() // it stands in line
		}
		first()
		wg.Wait()
		if !slices.IsSorted(got) || len(got) != 10 {
			t.Errorf("order %v", got)
		}
		if len(all.lines) != 0 {
			t.Errorf("%d lines are left", len(all.lines))
		}
	})
}

func TestWhoeverLeavesTheLineLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		at := place{"shop", "s1"}
		leave, err := all.take(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := all.take(impatient, at); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waited: %v", err)
		}
		for _, other := range []place{{"shop", "s2"}, {"other", "s1"}} { // are not the same line
			done, err := all.take(t.Context(), other)
			if err != nil {
				t.Fatal(err)
			}
			done()
		}
		leave()
		if len(all.lines) != 0 {
			t.Errorf("%d lines are left", len(all.lines))
		}
	})
}

// A conversation in which too many wait takes no more of them, and others go on as before.
func TestLineHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		at := place{"shop", "s1"}
		leave, err := all.take(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range maxInLine {
			wg.Go(func() {
				if _, err := all.take(ctx, at); !errors.Is(err, context.Canceled) {
					t.Errorf("waited: %v", err)
				}
			})
		}
		synctest.Wait()
		if _, err := all.take(t.Context(), at); !errors.Is(err, errLongLine) {
			t.Errorf("one too many: %v", err)
		}
		other, err := all.take(t.Context(), place{"shop", "s2"})
		if err != nil {
			t.Fatal(err)
		}
		other()
		cancel()
		wg.Wait()
		leave()
		if len(all.lines) != 0 {
			t.Errorf("%d lines are left", len(all.lines))
		}
	})
}
