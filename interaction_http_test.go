package align_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

// An answer without text, one that never came and one that was cut are all as the contract has them.
func TestInteractionsKeepTheWireContract(t *testing.T) { // AG-15
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t) // fails the test for what breaks the contract
		client := srv.Client(t, func(cfg *align.Config) { cfg.MaxContentBytes = 256 })
		ctx := t.Context()
		begin := func() *align.Interaction {
			return client.Begin(align.InteractionStart{UserID: "u1", ConversationID: "s1", Input: "q"})
		}
		long := begin()
		for range 100 {
			long.WriteString("€ € € ")
		}
		_, err := client.Track(ctx, align.TrackedInteraction{})
		if err := errors.Join(err, begin().End(ctx, "a"), begin().Fail(ctx, nil), long.End(ctx, "")); err != nil {
			t.Fatal(err)
		}
		begin().FirstToken()
		if err := client.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if n := len(srv.Session("s1").Messages); n != 8 {
			t.Errorf("%d messages", n)
		}
	})
}
