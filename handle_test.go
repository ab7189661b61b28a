package align

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

type wireMessage = ingestionv1alpha.EventProperties_MessageProperties

// messages are the messages of a session among what was delivered, in the order in which they left.
func messages(rec *recorder, session string) (list []*wireMessage) {
	for _, e := range rec.delivered() {
		if m := e.Properties.GetMessageProperties(); m.GetSessionId() == session {
			list = append(list, m)
		}
	}
	return list
}

// handleTest runs f on a client in a bubble, closes it, and checks its accounts.
func handleTest(t *testing.T, change func(*Config), f func(c *Client, rec *recorder)) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, change)
		f(c, rec)
		if err := c.Close(bg); err != nil {
			t.Error(err)
		}
		checkInvariant(t, c.Stats())
	})
}

func wantIndex(t *testing.T, want int) func(int, error) {
	return func(got int, err error) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("index %d (%v), want %d", got, err, want)
		}
	}
}

func TestHandleGivesIndexesInOrder(t *testing.T) { // AL-46
	handleTest(t, nil, func(c *Client, rec *recorder) {
		s := c.Session("s1")
		if s.ID() != "s1" || s.NextIndex() != 1 {
			t.Errorf("%s at %d", s.ID(), s.NextIndex())
		}
		wantIndex(t, 1)(s.User(bg, "Where is my order?"))
		wantIndex(t, 2)(s.Assistant(bg, "On its way."))
		wantIndex(t, 10)(s.Add(bg, Message{SessionID: "is filled in", Index: 10, Role: RoleTool, Content: "{}"}))
		wantIndex(t, 11)(s.User(bg, "Thanks.")) // past the given one
		wantIndex(t, 3)(s.Add(bg, Message{Index: 3, Role: RoleHuman, Content: "Late."}))
		wantIndex(t, 12)(s.User(bg, "Bye.")) // and never back
		s.Continue(5)
		wantIndex(t, 13)(s.User(bg, "Still here."))
		s.Continue(100)
		wantIndex(t, 100)(s.User(bg, "After a move."))
		if err := s.End(bg, SessionEnd{SessionID: "is filled in", Status: StatusBotHandled}); err != nil {
			t.Fatal(err)
		}
		c.Flush(bg)
		var got []int32
		for _, m := range messages(rec, "s1") {
			got = append(got, m.MessageIndexHint)
		}
		if want := []int32{1, 2, 10, 11, 3, 12, 13, 100}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if end := closes(rec); len(end) != 1 || end[0].Properties.GetSessionProperties().SessionId != "s1" {
			t.Error(end)
		}
	})
}

func TestHandleFromManyGoroutinesGivesUniqueGaplessIndexesInOrder(t *testing.T) { // AL-46
	const goroutines, each = 64, 50
	handleTest(t, nil, func(c *Client, rec *recorder) {
		var mu sync.Mutex
		given := make(map[int]bool)
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				s := c.Session("s1") // some share a handle, some the session only
				for i := range each {
					var index int
					var err error
					if g%2 == 0 {
						index, err = s.User(bg, fmt.Sprint(g, i))
					} else {
						index, err = s.Assistant(bg, fmt.Sprint(g, i))
					}
					mu.Lock()
					if err != nil || given[index] {
						t.Errorf("index %d again (%v)", index, err)
					}
					given[index] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		c.Flush(bg)
		got := messages(rec, "s1")
		if len(got) != goroutines*each || len(given) != goroutines*each {
			t.Fatalf("%d arrived, %d indexes", len(got), len(given))
		}
		for i, m := range got {
			if m.MessageIndexHint != int32(i+1) {
				t.Fatalf("message %d left with index %d", i+1, m.MessageIndexHint)
			}
		}
	})
}

func TestIndexIsUsedUpOnlyWhenItsMessageWasAccepted(t *testing.T) {
	handleTest(t, func(cfg *Config) { cfg.BufferEvents = 2 }, func(c *Client, rec *recorder) {
		s := c.Session("s1")
		if index, err := s.User(bg, " "); index != 0 || err == nil {
			t.Error(index, err)
		}
		wantIndex(t, 1)(s.User(bg, "one"))
		wantIndex(t, 2)(s.User(bg, "two"))
		if index, err := s.User(bg, "full"); index != 0 || !errors.Is(err, ErrBufferFull) {
			t.Error(index, err)
		}
		c.Flush(bg)
		wantIndex(t, 3)(s.User(bg, "three"))
		s.Continue(1 << 40)
		if _, err := s.User(bg, "past the last index"); err == nil {
			t.Error("no error")
		}
	})
}

// Whoever waits behind a message that waits for room can give up, and the others keep their order.
func TestHandleUnderOverflowBlockWaitsNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(int, request) answer { return answer{takes: 9 * time.Second} }}
		c := newClient(t, rec, func(cfg *Config) {
			cfg.BufferEvents, cfg.BatchEvents, cfg.Overflow = 1, 1, OverflowBlock
		})
		s := c.Session("s1")
		wantIndex(t, 1)(s.User(bg, "fills the buffer"))
		var wg sync.WaitGroup
		wg.Go(func() { wantIndex(t, 2)(s.User(bg, "waits for room")) })
		synctest.Wait()
		start := time.Now()
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		_, err := s.User(ctx, "waits for its turn")
		if !errors.Is(err, ErrBufferFull) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if n := s.NextIndex(); n != 2 {
			t.Errorf("next is %d", n)
		}
		wg.Wait()
		ended, cancel := context.WithCancel(bg)
		cancel()
		if _, err := s.User(ended, "no room"); !errors.Is(err, ErrBufferFull) {
			t.Error(err)
		}
		if s := c.Stats(); s.Full != 2 {
			t.Errorf("%d calls turned away", s.Full)
		}
		c.Close(bg)
	})
}

func TestThumbsGoToTheLatestAnswerOrElseToTheSession(t *testing.T) {
	handleTest(t, nil, func(c *Client, rec *recorder) {
		s := c.Session("s1")
		s.User(bg, "Hello?")
		if err := s.Feedback(bg, MessageFeedback{Type: ThumbsUp}); err == nil {
			t.Error("feedback on an answer that is not there")
		}
		must(t, s.ThumbsDown(bg), second(s.Assistant(bg, "Hello!")), second(s.User(bg, "Thanks.")),
			c.Session("s1").ThumbsUp(bg), // another handle
			s.Feedback(bg, MessageFeedback{SessionID: "is filled in", Type: ThumbsDown, Comment: "slow"}),
			s.Feedback(bg, MessageFeedback{Index: 7, Type: ThumbsDown}),
			s.SessionFeedback(bg, SessionFeedback{Type: ThumbsUp}), c.Flush(bg))
		var got []string
		for _, e := range rec.delivered() {
			if f := e.Properties.GetFeedbackProperties(); f != nil {
				got = append(got, fmt.Sprint(f.SessionId, " ", f.MessageIndexHint, " ", f.Type))
			}
		}
		want := []string{"s1 0 thumbs_down", "s1 2 thumbs_up", "s1 2 thumbs_down", "s1 7 thumbs_down", "s1 0 thumbs_up"}
		if !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

func TestStartSessionMakesAnIDAndOpens(t *testing.T) {
	handleTest(t, nil, func(c *Client, rec *recorder) {
		s, err := c.StartSession(bg, Session{UserID: "u1", AssistantID: "support"})
		if err != nil || len(s.ID()) != 32 {
			t.Fatalf("%q, %v", s.ID(), err)
		}
		named, err := c.StartSession(bg, Session{ID: "s2", UserID: "u1"})
		if err != nil || named.ID() != "s2" {
			t.Fatal(named.ID(), err)
		}
		nobodys, err := c.StartSession(bg, Session{ID: "s3"})
		if problem, ok := errors.AsType[*FieldError](err); !ok || problem.Field != "Session.UserID" {
			t.Error(err)
		}
		wantIndex(t, 1)(nobodys.User(bg, "recorded all the same"))
		c.Flush(bg)
		opened := rec.delivered()[0].Properties.GetSessionProperties()
		if opened.GetSessionId() != s.ID() || opened.GetAssistantId() != "support" {
			t.Error(opened)
		}
	})
}

func TestRegistryRemembersTheSessionsUsedLast(t *testing.T) {
	const limit = 100
	r := newSessionRegistry(limit)
	first := r.of("first")
	first.advance(7)
	for i := range 50 * limit {
		r.of(fmt.Sprint("s", i))
		if i%limit == limit-1 && r.of("first") != first {
			t.Fatalf("forgotten after %d others, though in use", i)
		}
		if n := len(r.young) + len(r.old); n > 2*limit {
			t.Fatalf("%d sessions are kept", n)
		}
	}
	for i := 49 * limit; i < 50*limit; i++ {
		if name := fmt.Sprint("s", i); r.young[name] == nil && r.old[name] == nil {
			t.Fatalf("%s is forgotten, one of the last %d", name, limit)
		}
	}
	for i := range 3 * limit {
		r.of(fmt.Sprint("t", i))
	}
	if r.young["first"] != nil || r.old["first"] != nil {
		t.Error("kept for good")
	}
	r.keep("first", first) // a handle was kept
	if r.of("first") != first {
		t.Error("a handle in use is not known")
	}
	again := r.of("second")
	r.keep("second", newSessionState())
	if r.of("second") != again {
		t.Error("two handles of one session take it from each other")
	}
}

func TestHandleOfNobodyIsInert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := newClient(t, &recorder{}, nil)
		closed.Close(bg)
		var none *Client
		for name, s := range map[string]*SessionHandle{
			"nil handle": nil, "zero handle": {}, "nil client": none.Session("s1"), "zero client": new(Client).Session("s1"),
			"closed client": closed.Session("s1"), "no handle in context": FromContext(bg),
		} {
			for _, err := range []error{
				second(s.User(bg, "x")), second(s.Assistant(bg, "x")), second(s.Add(bg, Message{Role: RoleUser, Content: "x"})),
				s.ThumbsUp(bg), s.ThumbsDown(bg), s.Close(bg), s.End(bg, SessionEnd{}),
				s.Feedback(bg, MessageFeedback{Index: 1, Type: ThumbsUp}), s.SessionFeedback(bg, SessionFeedback{Type: ThumbsUp}),
			} {
				if !errors.Is(err, ErrClosed) {
					t.Errorf("%s: %v", name, err)
				}
			}
			s.Continue(2)
			_, _ = s.ID(), s.NextIndex()
		}
		for _, c := range []*Client{nil, {}, closed} {
			if s, err := c.StartSession(bg, Session{UserID: "u1"}); s == nil || !errors.Is(err, ErrClosed) {
				t.Error(s, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestContextCarriesTheHandle(t *testing.T) {
	s := new(Client).Session("s1")
	ctx := NewContext(bg, s)
	if FromContext(ctx) != s || FromContext(bg) != nil {
		t.Error("not the one that was put in")
	}
	if FromContext(NewContext(ctx, nil)) != nil {
		t.Error("nil does not cover what is there")
	}
}

func TestHandleOfAnInvalidIDSaysSo(t *testing.T) {
	handleTest(t, nil, func(c *Client, _ *recorder) {
		for _, id := range []string{"", " ", "a\x00", fmt.Sprintf("%065d", 1)} {
			_, err := c.Session(id).User(bg, "x")
			if problem, ok := errors.AsType[*FieldError](err); !ok || problem.Field != "Message.SessionID" {
				t.Errorf("%v", err)
			}
		}
		if n := len(c.sessions.young); n != 0 {
			t.Errorf("%d ids that nobody can use are kept", n)
		}
	})
}

func TestHandleCostsNoMoreAllocationsThanTheCall(t *testing.T) {
	c := newClient(t, &recorder{answer: func(int, request) answer { return answer{hangs: true} }}, func(cfg *Config) {
		cfg.BatchEvents, cfg.CloseTimeout = 100_000, time.Nanosecond
	})
	s := c.Session("s1")
	n := testing.AllocsPerRun(1000, func() {
		if _, err := s.User(bg, "Where is my order?"); err != nil {
			t.Fatal(err)
		}
	})
	if n > 1 {
		t.Errorf("%v allocations", n)
	}
	c.Close(bg)
}

// Handles shared by many goroutines, interactions and plain calls, against a collector with moods: the accounts balance,
// and what arrives of a session is in the order of its indexes.
func TestHandlesKeepTheAccountingUnderRandomFaults(t *testing.T) {
	for seed := range someSchedules(4) {
		t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seed)
				w.converse(t)
			})
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (w *world) converse(t *testing.T) {
	var wg sync.WaitGroup
	tell := func(err error) {
		if err != nil && !errors.Is(err, ErrBufferFull) && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	for g := range 1 << w.roll(5) {
		wg.Go(func() {
			s := w.client.Session(fmt.Sprint("shared", g%3))
			for i := range 1 + w.roll(20) {
				ctx, cancel := context.WithTimeout(bg, time.Duration(w.roll(2000))*time.Millisecond)
				switch w.roll(6) {
				case 0:
					tell(second(s.User(ctx, "x")))
				case 1:
					tell(second(s.Assistant(ctx, "x")))
				case 2:
					tell(w.client.CreateMessage(ctx, Message{SessionID: fmt.Sprint("own", g), Index: i + 1, Role: RoleUser, Content: "x"}))
				case 3:
					in := w.client.Begin(InteractionStart{ConversationID: s.ID(), UserID: "u1", Input: "x"})
					if w.roll(3) > 0 { // else nobody ends it
						in.WriteString("x")
						tell(in.End(ctx, ""))
					}
				case 4:
					tell(second(w.client.Track(ctx, TrackedInteraction{Input: "x", Output: "x", ConversationID: s.ID()})))
				case 5:
					tell(s.ThumbsUp(ctx))
				}
				cancel()
				time.Sleep(time.Duration(w.roll(3000)) * time.Millisecond)
			}
		})
	}
	if w.roll(2) == 0 {
		wg.Wait()
	}
	time.Sleep(time.Duration(w.roll(30)) * time.Second)
	ctx, cancel := context.WithTimeout(bg, time.Duration(w.roll(30))*time.Second)
	err := w.client.Close(ctx)
	cancel()
	wg.Wait()
	w.end(t, err)
}

// BenchmarkSessionHandle is BenchmarkCreateMessage with the index counted.
func BenchmarkSessionHandle(b *testing.B) {
	c := benchClient(b, "")
	s := c.Session("0199a3c4d5e67f8091a2b3c4d5e6f708")
	m := benchMessage(200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Add(bg, m); err != nil {
			b.Fatal(err)
		}
	}
}
