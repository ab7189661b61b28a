package align

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// closes are the session_close events among those delivered.
func closes(rec *recorder) (list []*ingestionv1alpha.Event) {
	for _, e := range rec.delivered() {
		if e.Type == string(EventCloseSession) {
			list = append(list, e)
		}
	}
	return list
}

// idleTest runs f on a client in a bubble and closes it.
func idleTest(t *testing.T, f func(c *Client, rec *recorder)) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.FlushInterval = time.Nanosecond })
		f(c, rec)
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// after sleeps and lets everything that is due happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestIdleSessionClosesOnceAtThirtyMinutes(t *testing.T) { // AL-52
	idleTest(t, func(c *Client, rec *recorder) {
		opened := time.Now()
		if err := c.OpenSession(context.Background(), Session{ID: "s1", UserID: "u1"}); err != nil {
			t.Fatal(err)
		}
		after(29*time.Minute + 59*time.Second + 999*time.Millisecond)
		if n := len(closes(rec)); n != 0 {
			t.Fatalf("closed at 29m59.999s")
		}
		after(time.Millisecond + time.Nanosecond) // and the flush interval
		if n := len(closes(rec)); n != 1 {
			t.Fatalf("%d closes at 30m", n)
		}
		got := closes(rec)[0]
		s := got.Properties.GetSessionProperties()
		if s.SessionId != "s1" || s.CloseReason != ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_IDLE {
			t.Error(got)
		}
		if end := s.SessionEndTime.AsTime(); !end.Equal(opened) {
			t.Errorf("ended %v, last activity was %v", end, opened)
		}
		if at := got.CreateTime.AsTime(); !at.Equal(opened.Add(30 * time.Minute)) {
			t.Errorf("closed at %v", at)
		}
		after(24 * time.Hour)
		if n := len(closes(rec)); n != 1 {
			t.Errorf("%d closes a day later", n)
		}
		if s := c.Stats(); s.IdleCloses != 1 || s.OpenSessions != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestMessageResetsTheIdleTimer(t *testing.T) {
	idleTest(t, func(c *Client, rec *recorder) {
		say(t, c, "s1", 1) // a session that some other process opened
		after(29*time.Minute + 59*time.Second)
		last := time.Now()
		say(t, c, "s1", 2)
		after(29*time.Minute + 59*time.Second)
		if n := len(closes(rec)); n != 0 {
			t.Fatal("closed in spite of a message")
		}
		after(2 * time.Second)
		if got := closes(rec); len(got) != 1 || !got[0].Properties.GetSessionProperties().SessionEndTime.AsTime().Equal(last) {
			t.Errorf("%v, last activity %v", got, last)
		}
	})
}

func TestExplicitCloseCancelsTheIdleClose(t *testing.T) {
	idleTest(t, func(c *Client, rec *recorder) {
		say(t, c, "s1", 1)
		if err := c.CloseSession(context.Background(), SessionEnd{SessionID: "s1"}); err != nil {
			t.Fatal(err)
		}
		after(time.Hour)
		if got := closes(rec); len(got) != 1 || got[0].Properties.GetSessionProperties().CloseReason != ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_UNSPECIFIED {
			t.Error(got)
		}
		say(t, c, "s1", 2) // opens it again
		after(time.Hour)
		if got := closes(rec); len(got) != 2 {
			t.Error(got)
		}
	})
}

func TestFeedbackAndIdentifyAreNoActivity(t *testing.T) {
	idleTest(t, func(c *Client, rec *recorder) {
		ctx := context.Background()
		say(t, c, "s1", 1)
		after(20 * time.Minute)
		for _, err := range []error{
			c.CreateMessageFeedback(ctx, MessageFeedback{SessionID: "s1", Index: 1, Type: ThumbsUp}),
			c.CreateSessionFeedback(ctx, SessionFeedback{SessionID: "s1", Type: ThumbsUp}),
			c.CreateSessionFeedback(ctx, SessionFeedback{SessionID: "s2", Type: ThumbsUp}),
			c.IdentifyUser(ctx, User{ID: "s1"}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		after(10*time.Minute + time.Second)
		if n := len(closes(rec)); n != 1 {
			t.Errorf("%d closes 30 minutes after the only message", n)
		}
		after(time.Hour)
		if n := len(closes(rec)); n != 1 {
			t.Errorf("%d closes: feedback began to follow a session", n)
		}
	})
}

func TestIdleCloseEndsAtTheActivitysOwnTime(t *testing.T) {
	idleTest(t, func(c *Client, rec *recorder) {
		lastYear := time.Now().AddDate(-1, 0, 0).UTC()
		for i, at := range []time.Time{lastYear, lastYear.Add(-time.Hour)} {
			err := c.CreateMessage(context.Background(), Message{SessionID: "s1", Index: i + 1, Role: RoleUser, Content: "x", CreateTime: at})
			if err != nil {
				t.Fatal(err)
			}
		}
		after(31 * time.Minute)
		if got := closes(rec); len(got) != 1 || !got[0].Properties.GetSessionProperties().SessionEndTime.AsTime().Equal(lastYear) {
			t.Error(got)
		}
	})
}

func TestIdleTimeoutCanBeSetAndTurnedOff(t *testing.T) {
	for timeout, want := range map[time.Duration]int{time.Minute: 1, -1: 0} {
		synctest.Test(t, func(t *testing.T) {
			rec := &recorder{}
			c := newClient(t, rec, func(cfg *Config) { cfg.IdleTimeout = timeout })
			say(t, c, "s1", 1)
			after(2 * time.Hour)
			if n := len(closes(rec)); n != want {
				t.Errorf("timeout %v: %d closes", timeout, n)
			}
			c.Close(context.Background())
		})
	}
}

func TestIdleCloseWaitsForRoomInAFullBuffer(t *testing.T) {
	for _, overflow := range []Overflow{OverflowReject, OverflowBlock} {
		synctest.Test(t, func(t *testing.T) {
			var down atomic.Bool
			rec := &recorder{answer: func(int, request) answer {
				if down.Load() {
					return answer{status: 503}
				}
				return answer{}
			}}
			c := newClient(t, rec, func(cfg *Config) { cfg.BufferEvents = 3; cfg.Overflow = overflow })
			ctx := context.Background()
			c.OpenSession(ctx, Session{ID: "s1", UserID: "u1"})
			c.OpenSession(ctx, Session{ID: "s2", UserID: "u1"})
			if err := c.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			down.Store(true)
			for range 2 {
				c.IdentifyUser(ctx, User{ID: "u1"})
			}
			after(time.Hour)
			if n := c.Stats().OpenSessions; n != 2 {
				t.Errorf("%d sessions followed while there is no room", n)
			}
			down.Store(false)
			after(10 * time.Minute)
			if n := len(closes(rec)); n != 2 {
				t.Errorf("%d closes once there is room", n)
			}
			checkInvariant(t, c.Stats())
			c.Close(ctx)
		})
	}
}

func TestCloseLeavesSessionsOpenUnlessToldOtherwise(t *testing.T) { // AL-54
	for shutdown, want := range map[bool]int{false: 0, true: 1000} {
		synctest.Test(t, func(t *testing.T) {
			rec := &recorder{}
			c := newClient(t, rec, func(cfg *Config) { cfg.CloseSessionsOnShutdown = shutdown })
			for i := range 1000 {
				say(t, c, fmt.Sprint("s", i), 1)
			}
			if err := c.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			got := closes(rec)
			if len(got) != want {
				t.Fatalf("%d closes", len(got))
			}
			if shutdown && got[0].Properties.GetSessionProperties().CloseReason != ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_SHUTDOWN {
				t.Error(got[0])
			}
		})
	}
}

func TestManySessionsEachCloseOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sessions = 100_000
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.BufferEvents = 2 * sessions })
		for i := range sessions {
			say(t, c, fmt.Sprint("s", i), 1)
		}
		after(time.Hour)
		seen := make(map[string]bool)
		for _, e := range closes(rec) {
			seen[e.Properties.GetSessionProperties().SessionId] = true
		}
		if len(seen) != sessions || len(closes(rec)) != sessions {
			t.Errorf("%d sessions closed by %d events", len(seen), len(closes(rec)))
		}
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestMillionSessionsAreSmallAndNothingToScan(t *testing.T) {
	const sessions = 1_000_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	tracker := newIdleTracker(time.Unix(0, 0))
	var id [36]byte
	for i := range sessions {
		hex.Encode(id[4:], binary.BigEndian.AppendUint64(nil, uint64(i)))
		tracker.touch(string(id[:]), time.Unix(int64(i), 0), time.Time{})
	}
	each := float64(heap()-before) / sessions
	if beyond := each - float64(len(id)); beyond > 100 {
		t.Errorf("%.0f bytes a session beyond its id", beyond)
	}
	runtime.KeepAlive(tracker)
	if kinds := pointers(reflect.TypeFor[idleSlot]()); len(kinds) > 0 {
		t.Errorf("slots hold pointers: %v", kinds)
	}
}

// pointers lists what in a struct the garbage collector would follow.
func pointers(typ reflect.Type) (list []string) {
	for i := range typ.NumField() {
		switch f := typ.Field(i); f.Type.Kind() {
		case reflect.Pointer, reflect.String, reflect.Slice, reflect.Map, reflect.Interface, reflect.Chan, reflect.Func:
			list = append(list, f.Name)
		}
	}
	return list
}

func TestIdleClosesLeaveHalfTheBufferToTheApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		rec := &recorder{answer: func(int, request) answer {
			if down.Load() {
				return answer{status: 503}
			}
			return answer{}
		}}
		c := newClient(t, rec, func(cfg *Config) { cfg.BufferEvents = 100 })
		for i := range 1000 {
			say(t, c, fmt.Sprint("s", i), 1)
			if i%50 == 49 {
				c.Flush(bg)
			}
		}
		down.Store(true)
		after(time.Hour)
		for i := range 49 {
			say(t, c, "s1", i+2)
		}
		down.Store(false)
		after(time.Hour)
		if n := len(closes(rec)); n != 1001 { // s1 went quiet twice
			t.Errorf("%d closes", n)
		}
		c.Close(bg)
	})
}

func TestShutdownClosesMoreSessionsThanTheBufferHolds(t *testing.T) {
	for _, status := range []int{200, 503} {
		synctest.Test(t, func(t *testing.T) {
			var now atomic.Int64
			now.Store(200)
			rec := &recorder{answer: func(int, request) answer { return answer{status: int(now.Load()), takes: time.Millisecond} }}
			c := newClient(t, rec, func(cfg *Config) { cfg.BufferEvents = 100; cfg.BatchEvents = 10; cfg.CloseSessionsOnShutdown = true })
			for i := range 1000 {
				say(t, c, fmt.Sprint("s", i), 1)
				if i%50 == 49 {
					c.Flush(bg)
				}
			}
			now.Store(int64(status))
			start := time.Now()
			err := c.Close(within(t, 30*time.Second))
			if took := time.Since(start); took > 30*time.Second || (err == nil) != (status == 200) {
				t.Errorf("%d: %v after %v", status, err, took)
			}
			if n := len(closes(rec)); status == 200 && n != 1000 {
				t.Errorf("%d closes", n)
			}
			checkInvariant(t, c.Stats())
		})
	}
}

// A timer, a goroutine or a list element for each session would be an allocation for each session.
func TestManySessionsUseOneTimer(t *testing.T) {
	const sessions = 100_000
	c := newClient(t, &recorder{}, nil)
	defer c.Close(context.Background())
	opened := make([]payload, sessions)
	for i := range opened {
		opened[i] = &Session{ID: fmt.Sprint("s", i)}
	}
	var before, after runtime.MemStats
	goroutines := runtime.NumGoroutine()
	runtime.ReadMemStats(&before)
	for range 3 {
		now := time.Now()
		for _, p := range opened {
			c.follow(signOf(p), now)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > sessions/20 {
		t.Errorf("%d allocations to follow %d sessions", n, sessions)
	}
	if n := runtime.NumGoroutine() - goroutines; n > 0 {
		t.Errorf("%d goroutines more", n)
	}
	if n := c.Stats().OpenSessions; n != sessions {
		t.Errorf("%d sessions followed", n)
	}
}

// What calls leave for the tracker to be told later leads to what it would know had each told it at once.
func TestSightingsComeToTheSameAsTellingTheTrackerAtOnce(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		now := time.Unix(1_000_000, 0)
		var told sightings
		later, atOnce := newIdleTracker(now), newIdleTracker(now)
		for range 2000 {
			now = now.Add(time.Duration(random.IntN(1000)) * time.Millisecond)
			id := fmt.Sprint("session-", random.IntN(50))
			end := random.IntN(10) == 0
			if taken, _ := told.put(id, later.since(now), activityNanos(now, time.Time{}), end); !taken {
				t.Fatal("no room between two looks")
			}
			if end {
				atOnce.forget(id)
			} else {
				atOnce.touch(id, now, time.Time{})
			}
			if random.IntN(100) == 0 || len(told.list) == maxSightings {
				told.tell(later)
			}
		}
		told.tell(later)
		if got, want := later.due(50, now), atOnce.due(50, now); !slices.Equal(got, want) {
			t.Fatalf("seed %d: the tracker knows\n%v, want\n%v", seed, got, want)
		}
	}
}

// The idle watch sees to them before calls have to.
func TestSightingsAreToldBeforeThereIsNoRoomForMore(t *testing.T) {
	idleTest(t, func(c *Client, rec *recorder) {
		for i := range 10 * manySightings {
			say(t, c, fmt.Sprint("s", i%7), i+1)
			synctest.Wait()
			c.sightings.mu.Lock()
			left := len(c.sightings.list)
			c.sightings.mu.Unlock()
			if left >= manySightings {
				t.Errorf("%d wait to be told", left)
				return
			}
		}
	})
}

// Who finds no room for a sighting takes all there are to the tracker: here nobody else ever would.
func TestSessionsAreFollowedWhenNobodyWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sessions = 5*maxSightings + 3
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.IdleTimeout, cfg.CloseSessionsOnShutdown = -1, true })
		for i := range sessions {
			say(t, c, fmt.Sprint("s", i), 1)
		}
		if got := c.Stats().OpenSessions; got != sessions {
			t.Errorf("%d sessions are open, want %d", got, sessions)
		}
		if err := c.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := len(closes(rec)); got != sessions {
			t.Errorf("%d closes, want %d", got, sessions)
		}
	})
}

// An id that is too long for a sighting goes to the tracker at once, but not past those that are on their way: their sessions
// would count as active when it came.
func TestSessionWithALongIDHoldsUpNoOther(t *testing.T) {
	idleTest(t, func(c *Client, rec *recorder) {
		say(t, c, "short", 1)
		after(time.Minute)
		say(t, c, "short", 2)
		last := time.Now()
		after(28 * time.Minute)
		say(t, c, strings.Repeat("long", 15), 1)
		after(2*time.Minute + time.Second)
		got := closes(rec)
		if len(got) != 1 || got[0].Properties.GetSessionProperties().SessionId != "short" || !got[0].Properties.GetSessionProperties().SessionEndTime.AsTime().Equal(last) {
			t.Errorf("closed half an hour after it was last active: %v", got)
		}
	})
}

// The tracker is left alone while no session is open, and looked after again from the next message on.
func TestSessionIsWatchedAfterAllOthersHaveEnded(t *testing.T) {
	idleTest(t, func(c *Client, rec *recorder) {
		for i := range 3 {
			session := fmt.Sprint("s", i)
			say(t, c, session, 1)
			after(time.Hour) // it closes, and then there is none for a while
			if got := closes(rec); len(got) != i+1 || got[i].Properties.GetSessionProperties().SessionId != session {
				t.Fatalf("closed after an hour of silence: %v, want %s last", got, session)
			}
		}
	})
}

// Ids of one hash share an entry of the index: here all do, by way of an index that knows one hash only.
func TestSessionsOfOneHashAreKeptApart(t *testing.T) {
	tracker := newIdleTracker(time.Unix(0, 0))
	now := time.Unix(1, 0)
	const hash = 42
	for _, id := range []string{"a", "b", "c", "d"} {
		tracker.linkBefore(tracker.add(hash, []byte(id), now.UnixNano()), 0)
	}
	unhash := func(id string) {
		i := tracker.find(hash, []byte(id))
		if i == 0 {
			t.Fatalf("%s is lost", id)
		}
		tracker.unlink(i)
		tracker.removeFrom(hash, i)
	}
	for _, id := range []string{"b", "d", "a"} { // from the middle, the front, the end
		unhash(id)
		if tracker.find(hash, []byte(id)) != 0 {
			t.Errorf("%s is still there", id)
		}
	}
	if tracker.find(hash, []byte("c")) == 0 || tracker.open != 1 {
		t.Errorf("c is lost, %d open", tracker.open)
	}
	unhash("c")
	if len(tracker.byID) != 0 {
		t.Error("the index keeps an entry for nothing")
	}
}

// FuzzIdle compares the tracker with a map that is searched from end to end.
func FuzzIdle(f *testing.F) {
	f.Add([]byte{0, 1, 2, 0x43, 4, 0x85, 6, 0xc7})
	f.Add([]byte{0x00, 0x02, 0x04, 0x3e, 0x3e, 0xc1, 0xf1, 0xf1, 0xf0}) // one speaks while it is being closed
	f.Add([]byte(strings.Repeat("\x01\x41\x81\xc1", 30)))
	f.Fuzz(func(t *testing.T, ops []byte) {
		tracker, model := newIdleTracker(time.Unix(0, 0)), make(map[string]time.Time)
		long := strings.Repeat("x", len(idleSlot{}.id)) // some ids do not fit into their slot
		now := time.Unix(1_000_000, 0)
		for _, op := range ops {
			id := fmt.Sprint(op & 0x0f)
			if op&1 == 1 {
				id += long
			}
			now = now.Add(time.Duration(op>>4&3) * time.Second)
			switch op >> 6 {
			case 0, 1:
				if first := tracker.touch(id, now, time.Time{}); first != (len(model) == 0) {
					t.Fatalf("first is %v with %d sessions", first, len(model))
				}
				model[id] = now
			case 2:
				tracker.forget(id)
				delete(model, id)
			case 3:
				deadline := now.Add(-5 * time.Second)
				due := tracker.due(3, deadline)
				var want []quiet
				for id, last := range model {
					if !last.After(deadline) {
						want = append(want, quiet{id, last})
					}
				}
				slices.SortFunc(want, func(a, b quiet) int { return a.activity.Compare(b.activity) })
				if len(due) != min(len(want), 3) {
					t.Fatalf("%d due, want %d of %d", len(due), min(len(want), 3), len(want))
				}
				for i, q := range due { // of those at one time, any may come first
					if !q.activity.Equal(want[i].activity) || !model[q.id].Equal(q.activity) {
						t.Fatalf("due %v, want %v", due, want)
					}
				}
				if op&2 == 2 {
					continue // as when the buffer is full
				}
				for i, q := range due {
					if i == 1 && op&1 == 1 { // speaks while it is being closed
						tracker.touch(q.id, now, time.Time{})
						model[q.id] = now
					} else {
						delete(model, q.id)
					}
					tracker.forgetQuiet(q.id, deadline)
				}
			}
			if tracker.open != len(model) {
				t.Fatalf("%d open, want %d", tracker.open, len(model))
			}
			next, any := tracker.next()
			if any != (len(model) > 0) {
				t.Fatalf("any is %v with %d sessions", any, len(model))
			}
			if any {
				oldest := slices.MinFunc(slices.Collect(maps.Values(model)), time.Time.Compare)
				if next.After(oldest) {
					t.Fatalf("next %v, but the quietest was seen %v", next, oldest)
				}
			}
		}
	})
}

func TestShutdownClosesSessionsThatNeverGoIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.IdleTimeout, cfg.CloseSessionsOnShutdown = -1, true })
		say(t, c, "s1", 1)
		say(t, c, "s2", 1)
		if err := errors.Join(c.OpenSession(bg, Session{ID: "s3", UserID: "u1"}), c.CloseSession(bg, SessionEnd{SessionID: "s2"})); err != nil {
			t.Fatal(err)
		}
		after(100 * time.Hour)
		if n := len(closes(rec)); n != 1 {
			t.Errorf("%d ends before the shutdown", n)
		}
		finish(t, c)
		if n := len(closes(rec)); n != 3 {
			t.Errorf("%d ends in all", n)
		}
	})
}

func TestIdleCloseOfASessionThatAHookRenames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) {
			cfg.BeforeSend = func(e *Event) bool {
				switch {
				case e.Message != nil:
					e.Message.SessionID = "hidden-" + e.Message.SessionID
				case e.SessionEnd != nil:
					e.SessionEnd.SessionID = "hidden-" + e.SessionEnd.SessionID
				}
				return true
			}
		})
		say(t, c, "s1", 1)
		after(31 * time.Minute)
		say(t, c, "s2", 1)
		if err := c.CloseSession(bg, SessionEnd{SessionID: "s2"}); err != nil {
			t.Fatal(err)
		}
		if n := c.Stats().OpenSessions; n != 0 {
			t.Errorf("%d sessions open", n)
		}
		finish(t, c)
		var ended []string
		for _, e := range closes(rec) {
			ended = append(ended, e.Properties.GetSessionProperties().GetSessionId())
		}
		if want := []string{"hidden-s1", "hidden-s2"}; !slices.Equal(ended, want) {
			t.Errorf("ended %q, want %q", ended, want)
		}
	})
}

func TestIdleTrackerCountsFromBeforeItsBaseToo(t *testing.T) {
	base := time.Unix(1_000_000, 0)
	tr := newIdleTracker(base)
	tr.touch("old", base.Add(-2*time.Hour), time.Time{})
	tr.touch("new", base.Add(time.Second), time.Time{})
	if due := tr.due(2, base.Add(-time.Hour)); len(due) != 1 || due[0].id != "old" {
		t.Errorf("due an hour before the base: %v, want the session from two hours before", due)
	}
}
