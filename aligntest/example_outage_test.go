package aligntest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align/aligntest"
)

// An app's own test of an outage of an hour, which takes no time in a bubble: answers stay as fast as ever, and all of
// them are recorded in the end.
func TestShopAnswersDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, srv := aligntest.Client(t)
		shop := &Shop{analytics: client}
		srv.Always(aligntest.Status(503))

		start := time.Now()
		if _, err := shop.Ask(t.Context(), "s1", "Where is my order?"); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("Ask took %v, want no time", took)
		}

		time.Sleep(time.Hour)
		if got := srv.Session("s1").Messages; len(got) != 0 {
			t.Errorf("messages during the outage = %v, want none", got)
		}
		srv.Always(aligntest.OK())
		time.Sleep(time.Minute) // at most one backoff
		want := "user: Where is my order?\nassistant: It is on its way.\n"
		if got := srv.Session("s1").Transcript(); got != want {
			t.Errorf("transcript = %q, want %q", got, want)
		}
	})
}
