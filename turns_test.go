package align

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurnsAreTakenInTheOrderOfComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		leave, err := all.take(bg, "a")
		must(t, err)
		var order []int
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				ctx := bg
				if i%2 == 1 { // gives up
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(bg, time.Second)
					defer cancel()
				}
				leave, err := all.take(ctx, "a")
				if i%2 == 1 {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
					return
				}
				must(t, err)
				defer leave()
				order = append(order, i)
			})
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		leave()
		wg.Wait()
		if !slices.Equal(order, []int{0, 2, 4, 6, 8}) {
			t.Errorf("order %v", order)
		}
	})
}

func TestTurnsOfIdleKeysTakeNoMemory(t *testing.T) {
	var all turns
	for _, key := range []string{"a", "b", "c"} {
		leave, err := all.take(bg, key)
		must(t, err)
		ended, cancel := context.WithCancel(bg)
		cancel()
		if _, err := all.take(ended, key); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if len(all.byKey) != 1 {
			t.Errorf("%d keys while one is in use", len(all.byKey))
		}
		leave()
	}
	if len(all.byKey) != 0 {
		t.Errorf("%d keys left", len(all.byKey))
	}
}
