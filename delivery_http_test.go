package align_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

// These tests speak real HTTP to a collector that checks every request against the contract.

func record(t *testing.T, c *align.Client, session string, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := c.CreateMessage(context.Background(), align.Message{SessionID: session, Index: i, Role: align.RoleUser, Content: fmt.Sprint("message ", i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// A kept connection that the server has closed is found out when it is used: net/http then sends the request again by
// itself, on a new one, without a failed attempt and its backoff.
func TestDeadKeepAliveConnectionCostsNoBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		c := srv.Client(t)
		srv.Script(aligntest.OK(), aligntest.ResetBefore())
		start := time.Now()
		record(t, c, "s1", 1, 3)
		if err := c.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		record(t, c, "s1", 4, 6)
		if err := c.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v", waited)
		}
		if n := len(srv.Session("s1").Messages); n != 6 {
			t.Errorf("%d messages", n)
		}
	})
}

func TestEveryFaultOfTheWireEndsInDelivery(t *testing.T) {
	for _, fault := range []aligntest.Fault{
		aligntest.Status(503), aligntest.Status(429).RetryAfter(2 * time.Second), aligntest.Status(503).RetryAfterDate(3 * time.Second),
		aligntest.Slow(5 * time.Second), aligntest.Hang(), aligntest.ResetBefore(), aligntest.ResetAfter(), aligntest.HalfAnswer(),
		aligntest.Garbage(), aligntest.Status(401), aligntest.Status(500).Storing(),
	} {
		t.Run(fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := aligntest.NewServer(t)
				c := srv.Client(t, func(cfg *align.Config) {
					cfg.Senders = 3
					cfg.BatchEvents = 10
					cfg.Compression = align.CompressionGzip
				})
				srv.Respond(aligntest.Flap(2, fault))
				for s := range 5 {
					record(t, c, fmt.Sprint("s", s), 1, 30)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
				defer cancel()
				if err := c.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				for s := range 5 {
					if n := len(srv.Session(fmt.Sprint("s", s)).Messages); n != 30 {
						t.Errorf("s%d: %d messages", s, n)
					}
				}
			})
		})
	}
}

func TestPoisonAloneIsDroppedAfterAControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		c := srv.Client(t)
		srv.Respond(aligntest.Poison(aligntest.Status(422), func(e aligntest.Event) bool { return e.SessionID == "bad" }))
		record(t, c, "bad", 1, 4) // nothing was accepted yet, and nothing between them is
		if err := c.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		if s := c.Stats(); s.Dropped[align.DropRejected] != 4 || s.Pending != 0 {
			t.Errorf("%+v", s)
		}
		if err := c.Health(); err != nil {
			t.Error(err)
		}
	})
}
