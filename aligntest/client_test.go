package aligntest_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

// say records one message of session s1.
func say(t *testing.T, client *align.Client, index int, content string) {
	t.Helper()
	err := client.CreateMessage(t.Context(), align.Message{SessionID: "s1", Index: index, Role: align.RoleUser, Content: content})
	if err != nil {
		t.Fatal(err)
	}
}

func TestClientIsWiredToItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, srv := aligntest.Client(t)
		ctx := t.Context()
		for _, err := range []error{
			client.IdentifyUser(ctx, align.User{ID: "u1", DisplayName: "Ada", CountryCode: "kr", Properties: align.Properties{"plan": "pro"}}),
			client.OpenSession(ctx, align.Session{ID: "s1", UserID: "u1", Title: "An order"}),
			client.CreateMessage(ctx, align.Message{SessionID: "s1", Index: 1, Role: align.RoleUser, Content: "Where is my order?"}),
			client.CreateMessage(ctx, align.Message{SessionID: "s1", Index: 2, Role: align.RoleAssistant, Content: "On its way."}),
			client.CreateMessageFeedback(ctx, align.MessageFeedback{SessionID: "s1", Index: 2, Type: align.ThumbsDown, Comment: "late"}),
			client.CreateSessionFeedback(ctx, align.SessionFeedback{SessionID: "s1", Type: align.ThumbsUp}),
			client.CloseSession(ctx, align.SessionEnd{SessionID: "s1"}),
			client.Flush(ctx),
		} {
			if err != nil {
				t.Error(err)
			}
		}

		wantUser := aligntest.User{
			ID: "u1", DisplayName: "Ada", CountryCode: "KR", Properties: align.Properties{"plan": "pro"}, Identified: true,
		}
		if got := srv.User("u1"); !reflect.DeepEqual(got, wantUser) {
			t.Errorf("user = %+v\nwant %+v", got, wantUser)
		}
		got := srv.Session("s1")
		if want := "user: Where is my order?\nassistant: On its way.\n"; got.Transcript() != want {
			t.Errorf("transcript = %q, want %q", got.Transcript(), want)
		}
		wantFeedback := []aligntest.Feedback{{Index: 2, Type: align.ThumbsDown, Comment: "late"}, {Type: align.ThumbsUp}}
		if !reflect.DeepEqual(got.Feedback, wantFeedback) {
			t.Errorf("feedback = %+v, want %+v", got.Feedback, wantFeedback)
		}
		if got.UserID != "u1" || got.AssistantID != align.DefaultAssistantID || got.Title != "An order" || got.CloseReason != align.CloseExplicit {
			t.Errorf("session = %+v", got)
		}
		if e := srv.Events()[0]; e.ProjectID != aligntest.ProjectID || e.Type != align.EventIdentify {
			t.Errorf("event = %+v", e)
		}
		if got := srv.Requests()[0].Header.Get("Authorization"); got != "Bearer "+aligntest.APIKey {
			t.Errorf("Authorization = %q", got)
		}
	})
}

func TestEventsLeftAreDeliveredWhenTheTestEnds(t *testing.T) {
	var srv *aligntest.Server
	synctest.Test(t, func(t *testing.T) {
		var client *align.Client
		client, srv = aligntest.Client(t)
		say(t, client, 1, "hi")
	})
	if got := len(srv.Events()); got != 1 {
		t.Errorf("%d events, want 1", got)
	}
}

func TestClientOfADeadServerEndsWithTheTest(t *testing.T) {
	for _, fault := range []aligntest.Fault{aligntest.Status(503), aligntest.Hang(), aligntest.ResetBefore(), aligntest.Status(401)} {
		t.Run(fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, srv := aligntest.Client(t)
				srv.Always(fault)
				say(t, client, 1, "hi")
			})
		})
	}
}

func TestClientMayBeClosedEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, srv := aligntest.Client(t)
		say(t, client, 1, "hi")
		if err := client.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := len(srv.Events()); got != 1 {
			t.Errorf("%d events, want 1", got)
		}
	})
}

func TestConfigureChangesTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		srv.SetLimits(aligntest.Limits{BatchEvents: 2})
		client := srv.Client(t, func(cfg *align.Config) {
			cfg.ProjectID = "shop"
			cfg.BatchEvents = 2
		})
		for i := range 5 {
			say(t, client, i+1, "hi")
		}
		if err := client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		var sizes []int
		for _, r := range srv.Requests() {
			sizes = append(sizes, len(r.Events))
		}
		if want := []int{2, 2, 1}; !slices.Equal(sizes, want) {
			t.Errorf("requests carry %v events, want %v", sizes, want)
		}
		if got := srv.Events()[0].ProjectID; got != "shop" {
			t.Errorf("project = %q, want shop", got)
		}
	})
}

func TestWrongConfigEndsTheTest(t *testing.T) {
	tb := &fatal{failures: failures{TB: t}}
	srv := aligntest.NewServer(tb)
	defer func() {
		if recover() != any(tb) {
			t.Error("the test did not end")
		}
		wantFailure(t, tb.String(), "Config.ProjectID")
	}()
	srv.Client(tb, func(cfg *align.Config) { cfg.ProjectID = "\x00" })
}

// fatal is a testing.TB whose Fatalf panics with it.
type fatal struct{ failures }

func (f *fatal) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	panic(f)
}

func TestAppMayMakeItsOwnClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		client, err := align.New(srv.Config())
		if err != nil {
			t.Fatal(err)
		}
		say(t, client, 1, "hi")
		if err := client.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := srv.Session("s1").Transcript(); got != "user: hi\n" {
			t.Errorf("transcript = %q", got)
		}
	})
}

func TestClientLogsToTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := &logged{failures: failures{TB: t}}
		srv := aligntest.NewServer(tb)
		log := srv.Config().Logger
		log.Info("before")
		srv.Close()
		log.Info("after")
		if got := tb.String(); !strings.Contains(got, "before") || strings.Contains(got, "after") {
			t.Errorf("log = %q, want only what came before Close", got)
		}
	})
}

// logged is a testing.TB that keeps its log among the failures.
type logged struct{ failures }

func (l *logged) Log(args ...any) { l.Errorf("%v", args...) }

// TestClientSurvivesEveryFault is a whole path through both packages: each fault meets one delivery, and nothing is lost,
// doubled or out of order.
func TestClientSurvivesEveryFault(t *testing.T) {
	for _, fault := range []aligntest.Fault{
		aligntest.OK(),
		aligntest.Status(202),
		aligntest.Status(408),
		aligntest.Status(429).RetryAfter(2 * time.Second),
		aligntest.Status(503).RetryAfterDate(2 * time.Second),
		aligntest.Status(500).Storing(),
		aligntest.Slow(5 * time.Second),
		aligntest.Slow(time.Minute).Storing(),
		aligntest.Hang(),
		aligntest.Hang().Unread(),
		aligntest.ResetBefore(),
		aligntest.ResetAfter(),
		aligntest.HalfAnswer(),
		aligntest.Garbage(),
	} {
		t.Run(fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, srv := aligntest.Client(t)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for i := range 3 {
					srv.Script(fault)
					say(t, client, i+1, "hi")
					if err := client.Flush(ctx); err != nil {
						t.Fatal(err)
					}
				}
				var indexes []int
				for _, e := range srv.Events() {
					indexes = append(indexes, e.Index)
				}
				if want := []int{1, 2, 3}; !slices.Equal(indexes, want) {
					t.Errorf("messages = %v, want %v", indexes, want)
				}
			})
		})
	}
}

func TestPoisonLosesOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		srv.Respond(aligntest.Poison(aligntest.Status(http.StatusBadRequest), func(e aligntest.Event) bool { return e.Content == "bad" }))
		var drops []align.Drop
		client := srv.Client(t, func(cfg *align.Config) { cfg.OnDrop = func(d align.Drop) { drops = append(drops, d) } })
		for i, content := range []string{"a", "b", "bad", "c", "d"} {
			say(t, client, i+1, content)
		}
		if err := client.Flush(t.Context()); err != nil {
			var delivery *align.DeliveryError
			if !errors.As(err, &delivery) || delivery.Dropped != 1 {
				t.Fatal(err)
			}
		}
		if got, want := srv.Session("s1").Transcript(), "user: a\nuser: b\nuser: c\nuser: d\n"; got != want {
			t.Errorf("transcript = %q, want %q", got, want)
		}
		if len(drops) != 1 || drops[0].Reason != align.DropRejected {
			t.Errorf("drops = %+v, want one, rejected", drops)
		}
	})
}
