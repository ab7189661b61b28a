package live_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
	"github.com/openalign/align/collector/live"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

type (
	properties = ingestionv1alpha.EventProperties
	message    = ingestionv1alpha.EventProperties_MessageProperties
	feedback   = ingestionv1alpha.EventProperties_FeedbackProperties
)

const (
	user      = ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER
	assistant = ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT
)

// kept is a store that stores nothing, and says that all of it was new.
type kept struct{ ingest.Appender }

func (kept) Append(_ context.Context, _ string, batch collector.Batch) (collector.Appended, error) {
	return collector.Appended{Stored: len(batch.Facts)}, nil
}

// teller appends messages, each under an id of its own.
type teller struct {
	t     *testing.T
	store ingest.Appender
	n     int
}

func newTeller(t *testing.T, hub *live.Hub) *teller { return &teller{t: t, store: hub.Told(kept{})} }

func (s *teller) append(project string, facts ...collector.Fact) {
	s.t.Helper()
	if _, err := s.store.Append(s.t.Context(), project, collector.Batch{Facts: facts}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *teller) fact(m *message) collector.Fact {
	s.n++
	return collector.Fact{ID: fmt.Sprint("e", s.n), Time: time.Unix(int64(s.n), 0), Event: &ingestionv1alpha.Event{Type: collector.TypeMessageCreate,
		Properties: &properties{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: m}}}}
}

func watch(t *testing.T, hub *live.Hub, project string) *live.Watcher {
	t.Helper()
	w, err := hub.Watch(project)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// next returns the event that waits, and how many were missed before it.
func next(t *testing.T, w *live.Watcher) (live.Event, int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, missed, err := w.Next(ctx)
	if err != nil {
		t.Fatal("nothing came")
	}
	return e, missed
}

// nothing checks that no event waits.
func nothing(t *testing.T, w *live.Watcher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if e, _, err := w.Next(ctx); err == nil {
		t.Errorf("came: %+v", e)
	}
}

func TestWatchersSeeWhatTheirProjectStoresOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := live.NewHub()
		s := newTeller(t, hub)
		s.append("shop", s.fact(&message{SessionId: "s", MessageIndexHint: 1, MessageRole: user, MessageContent: "before anyone watched"}))
		one, two, other := watch(t, hub, "shop"), watch(t, hub, "shop"), watch(t, hub, "bank")
		first := s.fact(&message{SessionId: "s", MessageIndexHint: 2, MessageRole: user, MessageContent: "hello"})
		second := s.fact(&message{SessionId: "s", MessageIndexHint: 3, MessageRole: assistant, MessageContent: "hi", Latency: durationpb.New(time.Second)})
		s.append("shop", first, second)
		s.append("shop", second, first) // sent again
		for _, w := range []*live.Watcher{one, two} {
			if e, missed := next(t, w); e.Text != "hello" || e.Role != "user" || e.Conversation != "s" || e.Index != 2 || missed != 0 {
				t.Errorf("first %+v, missed %d", e, missed)
			}
			if e, _ := next(t, w); e.Text != "hi" || e.Latency != time.Second {
				t.Errorf("second %+v", e)
			}
			nothing(t, w)
		}
		nothing(t, other)
		one.Close()
		s.append("shop", s.fact(&message{SessionId: "s", MessageIndexHint: 4, MessageRole: user, MessageContent: "more"}))
		nothing(t, one)
		if e, _ := next(t, two); e.Text != "more" {
			t.Errorf("%+v", e)
		}
	})
}

func TestSlowWatcherMissesAndIsToldHowMuchWhileNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := live.NewHub()
		s, w := newTeller(t, hub), watch(t, hub, "shop")
		const all = 2000
		for range all {
			s.append("shop", s.fact(&message{SessionId: "s", MessageIndexHint: 1, MessageRole: user, MessageContent: "x"}))
		}
		received, missed := 0, int64(0)
		for received+int(missed) < all {
			_, m := next(t, w)
			received, missed = received+1, missed+m
		}
		if missed == 0 || received+int(missed) != all {
			t.Errorf("received %d, missed %d of %d", received, missed, all)
		}
	})
}

func TestTextsAreCutAtCodePoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := live.NewHub()
		s, w := newTeller(t, hub), watch(t, hub, "shop")
		s.append("shop", s.fact(&message{SessionId: "s", MessageIndexHint: 1, MessageRole: user, MessageContent: strings.Repeat("é", 5000)}))
		if e, _ := next(t, w); e.Text != strings.Repeat("é", live.MaxText) {
			t.Errorf("%d bytes", len(e.Text))
		}
	})
}

func TestConcernsNameWhatSomebodyShouldLookAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := live.NewHub()
		s, w := newTeller(t, hub), watch(t, hub, "shop")
		said := func(session, text string) *message {
			return &message{SessionId: session, MessageRole: user, MessageIndexHint: 1, MessageContent: text}
		}
		answer := func(took time.Duration) *message {
			return &message{SessionId: "s", MessageRole: assistant, MessageIndexHint: 2, MessageContent: "a", Latency: durationpb.New(took)}
		}
		check := func(m *message, want ...live.Concern) {
			t.Helper()
			s.append("shop", s.fact(m))
			if e, _ := next(t, w); !slices.Equal(e.Concerns, want) {
				t.Errorf("%q: concerns %v, want %v", m.MessageContent, e.Concerns, want)
			}
		}
		check(said("s", "Where is my order, please?"))
		check(said("other", "Where is my order, please?"))
		check(said("s", "where is MY order now please"), live.Rephrased)
		check(said("s", "Thanks, that is all"))
		check(said("s", "Thanks, bye"))
		check(said("ja", "注文はどこですか"))
		check(said("ja", "私の注文はどこですか"), live.Rephrased)

		check(&message{SessionId: "s", MessageRole: assistant, MessageContent: "x", Success: proto.Bool(false)}, live.Failed)
		check(&message{SessionId: "s", MessageRole: assistant, MessageContent: "x", Outcome: "fallback"}, live.NotUnderstood)
		check(&message{SessionId: "s", MessageRole: assistant, MessageContent: "x", Error: "timeout", Outcome: "not_understood"}, live.Failed, live.NotUnderstood)

		check(answer(time.Minute)) // nobody knows yet what is slow
		for range 30 {
			check(answer(time.Second))
		}
		check(answer(5*time.Second), live.Slow)
		check(answer(3 * time.Second))

		vote := collector.Fact{ID: "v", Event: &ingestionv1alpha.Event{Type: collector.TypeFeedbackCreate,
			Properties: &properties{ReservedProperties: &ingestionv1alpha.EventProperties_FeedbackProperties_{FeedbackProperties: &feedback{
				SessionId: "s", MessageIndexHint: 2, FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE, Type: "thumbs_down", Comment: "no"}}}}}
		s.append("shop", vote)
		if e, _ := next(t, w); !slices.Equal(e.Concerns, []live.Concern{live.ThumbsDown}) || e.Index != 2 || e.Text != "no" || e.Vote != collector.VoteDown {
			t.Errorf("%+v", e)
		}
	})
}

func TestHubIsBoundedAndEndsWithItsClose(t *testing.T) {
	hub := live.NewHub()
	var watchers []*live.Watcher
	for {
		w, err := hub.Watch("shop")
		if errors.Is(err, live.ErrFull) {
			break
		}
		if watchers = append(watchers, w); err != nil || len(watchers) > 10_000 {
			t.Fatal(len(watchers), err)
		}
	}
	watchers[0].Close()
	w := watch(t, hub, "bank") // there is room again
	hub.Close()
	hub.Close()
	if _, _, err := w.Next(t.Context()); !errors.Is(err, live.ErrClosed) {
		t.Errorf("watching: %v", err)
	}
	w.Close()
	if _, err := hub.Watch("shop"); !errors.Is(err, live.ErrClosed) {
		t.Errorf("watch after close: %v", err)
	}
}
