package align

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// within is a context with a deadline, for the length of a test.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(bg, d)
	t.Cleanup(cancel)
	return ctx
}

// checkDelivered fails unless the messages of session are there exactly once each, from 1 to n, in order.
func checkDelivered(t testing.TB, rec *recorder, session string, n int) {
	t.Helper()
	var got []int32
	for _, e := range rec.delivered() {
		if m := e.Properties.GetMessageProperties(); m.GetSessionId() == session {
			got = append(got, m.MessageIndexHint)
		}
	}
	if len(got) != n {
		t.Errorf("%s: %d messages delivered, want %d", session, len(got), n)
		return
	}
	for i, index := range got {
		if index != int32(i+1) {
			t.Errorf("%s: message %d comes %dth", session, index, i+1)
			return
		}
	}
}

func TestFlushPastItsDeadlineKeepsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		rec := &recorder{answer: func(int, request) answer {
			if up.Load() {
				return answer{}
			}
			return answer{status: 503}
		}}
		c := newClient(t, rec, nil)
		for i := range 1200 {
			say(t, c, "s1", i+1)
		}
		start := time.Now()
		err := c.Flush(within(t, 2*time.Second))
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("Flush took %v", took)
		}
		var de *DeliveryError
		if !errors.As(err, &de) || de.Pending != 1200 || de.Delivered != 0 || de.Dropped != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v", err)
		}
		var status *StatusError
		if !errors.As(err, &status) || status.Code != 503 {
			t.Errorf("does not say what the collector answered: %v", err)
		}
		up.Store(true)
		time.Sleep(maxBackoff + 2*rampTime)
		synctest.Wait()
		checkDelivered(t, rec, "s1", 1200)
		if err := c.Close(bg); err != nil {
			t.Error(err)
		}
	})
}

func TestFlushDoesNotHoldRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(int, request) answer { return answer{takes: 5 * time.Second} }}
		c := newClient(t, rec, nil)
		say(t, c, "s1", 1)
		done := make(chan error)
		go func() { done <- c.Flush(within(t, time.Minute)) }()
		synctest.Wait()
		start := time.Now()
		say(t, c, "s1", 2)
		if took := time.Since(start); took != 0 {
			t.Errorf("recording waited %v for a Flush", took)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("Flush took %v: it must not wait for what came after it", took)
		}
		c.Close(within(t, time.Minute))
		checkDelivered(t, rec, "s1", 2)
	})
}

func TestCloseInBackoffRetriesUntilTheDeadlineNotPastIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(int, request) answer { return answer{status: 500} }}
		var told []Drop
		c := newClient(t, rec, func(cfg *Config) { cfg.OnDrop = func(d Drop) { told = append(told, d) }; cfg.IdleTimeout = -1 })
		say(t, c, "s1", 1)
		time.Sleep(time.Hour) // deep in backoff
		before := len(rec.all())
		start := time.Now()
		err := c.Close(within(t, 5*time.Second))
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("Close took %v", took)
		}
		if n := len(rec.all()) - before; n < 5 || n > 60 {
			t.Errorf("%d attempts in 5 s", n)
		}
		var de *DeliveryError
		if !errors.As(err, &de) || de.Dropped != 1 || de.Pending != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if len(told) != 1 || told[0].Reason != DropClosed || told[0].SessionID != "s1" || told[0].EventType != EventCreateMessage || len(told[0].EventID) != 32 {
			t.Errorf("told %+v", told)
		}
		checkInvariant(t, c.Stats())
		n := len(rec.all())
		time.Sleep(time.Hour)
		if len(rec.all()) != n {
			t.Error("attempts after Close")
		}
	})
}

func TestCloseDeliversWhenTheCollectorComesBackInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		rec := &recorder{answer: func(int, request) answer {
			if time.Since(start) < time.Hour+3*time.Second {
				return answer{err: errors.New("connection refused")}
			}
			return answer{}
		}}
		c := newClient(t, rec, func(cfg *Config) { cfg.BatchEvents = 100; cfg.IdleTimeout = -1 })
		for i := range 1050 {
			say(t, c, "s1", i+1)
		}
		time.Sleep(time.Hour)
		if err := c.Close(within(t, 10*time.Second)); err != nil {
			t.Error(err)
		}
		checkDelivered(t, rec, "s1", 1050)
		sizes := rec.sizes()
		if last := sizes[len(sizes)-11:]; fmt.Sprint(last) != "[100 100 100 100 100 100 100 100 100 100 50]" {
			t.Errorf("Close sent batches of %v", last)
		}
	})
}

func TestHungServerHoldsNeitherRecordingNorClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a goroutine left behind fails the test
		rec := &recorder{answer: func(int, request) answer { return answer{hangs: true} }}
		c := newClient(t, rec, nil)
		start := time.Now()
		for i := range 10_000 {
			say(t, c, "s1", i+1)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("recording took %v", took)
		}
		synctest.Wait()
		err := c.Close(bg) // no deadline: Config.CloseTimeout
		if took := time.Since(start); took != DefaultCloseTimeout {
			t.Errorf("Close took %v", took)
		}
		var de *DeliveryError
		if !errors.As(err, &de) || de.Dropped != 10_000 {
			t.Error(err)
		}
	})
}

// The same over real HTTP, whose sockets and goroutines must be gone, too.
func TestCloseAgainstAHungConnectionLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(map[net.Conn]bool)
		var mu sync.Mutex
		rt := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { // takes everything, answers nothing
				for b := make([]byte, 4096); ; {
					if _, err := theirs.Read(b); err != nil {
						mu.Lock()
						delete(open, theirs)
						mu.Unlock()
						return
					}
				}
			}()
			mu.Lock()
			open[theirs] = true
			mu.Unlock()
			return ours, nil
		}}
		c := newClient(t, nil, func(cfg *Config) { cfg.HTTPClient = &http.Client{Transport: rt}; cfg.Senders = 4 })
		for i := range 5000 {
			say(t, c, fmt.Sprint("s", i), 1)
		}
		synctest.Wait()
		start := time.Now()
		if err := c.Close(bg); err == nil {
			t.Error("everything delivered?")
		}
		if took := time.Since(start); took != DefaultCloseTimeout {
			t.Errorf("Close took %v", took)
		}
		synctest.Wait()
		if len(open) > 0 {
			t.Errorf("%d connections still open", len(open))
		}
	})
}

func TestBlockedClientAsksRarelyAndRecovers(t *testing.T) {
	for _, status := range []int{401, 403, 404, 405, 302, 301} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fixed atomic.Bool
				rec := &recorder{answer: func(int, request) answer {
					if fixed.Load() {
						return answer{}
					}
					return answer{status: status, header: http.Header{"Location": {"http://elsewhere.example.com/"}, "Retry-After": {"1"}}}
				}}
				var log logBuffer
				c := newClient(t, rec, func(cfg *Config) { cfg.Senders = 8; cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
				for i := range 600 { // one a second
					say(t, c, fmt.Sprint("s", i%50), i/50+1)
					time.Sleep(time.Second)
				}
				if n := len(rec.all()); n < 3 || n > 4 {
					t.Errorf("%d requests in 10 minutes", n)
				}
				err := c.Health()
				var he *HealthError
				var se *StatusError
				if !errors.As(err, &he) || !errors.As(err, &se) || se.Code != status || errors.Is(err, ErrUnauthorized) != (status == 401 || status == 403) {
					t.Errorf("Health is %v", err)
				}
				if n := strings.Count(log.String(), "\n"); n != 1 {
					t.Errorf("%d log lines for one cause:\n%s", n, &log)
				}
				if s := c.Stats(); s.Pending != 600 {
					t.Errorf("%+v", s)
				}
				fixed.Store(true)
				time.Sleep(maxBlockedBackoff + 2*rampTime)
				synctest.Wait()
				if err := c.Health(); err != nil {
					t.Error(err)
				}
				for i := range 50 {
					checkDelivered(t, rec, fmt.Sprint("s", i), 12)
				}
				c.Close(bg)
			})
		})
	}
}

func TestAny2xxIsDelivered(t *testing.T) {
	for _, status := range []int{200, 201, 202, 204, 299} {
		synctest.Test(t, func(t *testing.T) {
			rec := &recorder{answer: func(int, request) answer { return answer{status: status, body: "whatever"} }}
			c := newClient(t, rec, nil)
			say(t, c, "s1", 1)
			if err := c.Close(bg); err != nil {
				t.Error(err)
			}
			if s := c.Stats(); s.Delivered != 1 || len(rec.all()) != 1 {
				t.Errorf("%d: %+v after %d requests", status, s, len(rec.all()))
			}
		})
	}
}

func TestTemporaryFailuresAreRetriedWithTheSameBytes(t *testing.T) {
	faults := []answer{{status: 408}, {status: 425}, {status: 429}, {status: 500}, {status: 502}, {status: 503}, {status: 504}, {err: errors.New("reset")}, {hangs: true}}
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(n int, _ request) answer {
			if n < len(faults) {
				return faults[n]
			}
			return answer{}
		}}
		c := newClient(t, rec, nil)
		for i := range 10 {
			say(t, c, "s1", i+1)
		}
		if err := c.Flush(within(t, 10*time.Minute)); err != nil {
			t.Fatal(err)
		}
		requests := rec.all()
		if len(requests) != len(faults)+1 {
			t.Fatalf("%d requests", len(requests))
		}
		for _, r := range requests {
			if !bytes.Equal(r.body, requests[0].body) || len(r.id) != 32 {
				t.Errorf("request %q is not the first one's bytes", r.id)
			}
		}
		checkDelivered(t, rec, "s1", 10)
		c.Close(bg)
	})
}

func TestBackoffIsJitteredBetweenBounds(t *testing.T) {
	g := newGate(discard, 1)
	for failures := range 40 {
		g.failures = failures + 1
		bound := min(minBackoff<<min(failures+1, 20), maxBackoff)
		differ := false
		for range 100 {
			d := g.delay(outcome{verdict: failed})
			if d < minBackoff || d > bound {
				t.Fatalf("delay %v after %d failures, bound %v", d, failures+1, bound)
			}
			differ = differ || d != g.delay(outcome{verdict: failed})
		}
		if !differ {
			t.Errorf("no jitter after %d failures", failures+1)
		}
	}
}

func TestRetryAfterIsObeyedAndCapped(t *testing.T) {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // where bubbles begin
	for header, want := range map[string]time.Duration{
		"7": 7 * time.Second, " 90 ": 90 * time.Second,
		start.Add(40 * time.Second).Format(http.TimeFormat): 40 * time.Second,
		"86400": maxRetryAfter, "99999999999999999999": maxRetryAfter,
		start.Add(24 * time.Hour).Format(http.TimeFormat): maxRetryAfter,
	} {
		synctest.Test(t, func(t *testing.T) {
			rec := &recorder{answer: func(n int, _ request) answer {
				if n == 0 {
					return answer{status: 503, header: http.Header{"Retry-After": {header}}}
				}
				return answer{}
			}}
			c := newClient(t, rec, func(cfg *Config) { cfg.BatchEvents = 1; cfg.IdleTimeout = -1 })
			say(t, c, "s1", 1)
			time.Sleep(time.Hour)
			if r := rec.all(); len(r) != 2 || r[1].at.Sub(r[0].at) != want {
				t.Errorf("%q: second of %d requests after %v, want %v", header, len(r), r[1].at.Sub(r[0].at), want)
			}
			c.Close(bg)
		})
	}
}

func TestServersTextIsBoundedAndNeverShowsTheKey(t *testing.T) {
	const key = "key-secret" // newClient's
	for name, body := range map[string]string{
		"echo":        `{"code":"unauthenticated","message":"bad key ` + key + `"}`,
		"cut":         strings.Repeat("x", maxErrorText-5) + key,
		"long":        strings.Repeat(key, 10_000),
		"unprintable": "a\nb\x00c\x1b[31m\xff" + key,
	} {
		synctest.Test(t, func(t *testing.T) {
			var log logBuffer
			rec := &recorder{answer: func(int, request) answer { return answer{status: 401, body: body} }}
			c := newClient(t, rec, func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			say(t, c, "s1", 1)
			err := c.Close(bg)
			var se *StatusError
			if !errors.As(err, &se) {
				t.Fatal(err)
			}
			for _, text := range []string{log.String(), err.Error(), se.Message, fmt.Sprintf("%+v %#v", err, se)} {
				if strings.Contains(text, "key-") || strings.ContainsAny(text, "\x00\x1b") || !utf8.ValidString(text) {
					t.Errorf("%s: %q", name, text)
				}
			}
			if len(se.Message) > maxErrorText || strings.Contains(se.Message, "\n") {
				t.Errorf("%s: message of %d bytes", name, len(se.Message))
			}
		})
	}
}

// poison is an answer that refuses every batch with one of these messages, and says no more.
func poison(status int, indexes ...int32) func(int, request) answer {
	return func(_ int, r request) answer {
		for _, e := range r.events {
			if slices.Contains(indexes, e.Properties.GetMessageProperties().GetMessageIndexHint()) {
				return answer{status: status}
			}
		}
		return answer{}
	}
}

func TestPoisonIsFoundDroppedAndTheRestDelivered(t *testing.T) {
	const n = 500
	bound := bits.Len(n-1) + 1 // ⌈log₂ n⌉ halves, and the culprit alone
	for _, status := range []int{400, 413, 422} {
		for _, culprit := range []int32{1, 2, 3, 125, 249, 250, 251, 252, 375, 499, 500} {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{answer: poison(status, culprit)}
				var told []Drop
				c := newClient(t, rec, func(cfg *Config) { cfg.OnDrop = func(d Drop) { told = append(told, d) } })
				for i := range n {
					say(t, c, "s1", i+1)
				}
				if err := c.Flush(bg); err != nil {
					t.Fatal(err)
				}
				if s := c.Stats(); s.Delivered != n-1 || s.Dropped[DropRejected] != 1 || s.Pending != 0 {
					t.Errorf("culprit %d: %+v", culprit, s)
				}
				var se *StatusError
				if len(told) != 1 || told[0].Reason != DropRejected || !errors.As(told[0].Err, &se) || se.Code != status {
					t.Errorf("told %+v", told)
				}
				last := int32(0)
				for _, e := range rec.delivered() {
					if i := e.Properties.GetMessageProperties().MessageIndexHint; i <= last {
						t.Fatalf("message %d after %d", i, last)
					} else {
						last = i
					}
				}
				// Beside the batch that was refused and the one with all that was behind the culprit; and if that was the
				// first event ever sent, beside the control and the attempt that came before it.
				extra := len(rec.all()) - 2
				if culprit == 1 {
					extra -= 2
				}
				if extra > bound {
					t.Errorf("culprit %d: %d extra requests, sizes %v", culprit, extra, rec.sizes())
				}
				c.Close(bg)
			})
		}
	}
}

func TestManyPoisonEventsAreAllFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		culprits := []int32{1, 2, 250, 251, 499, 500, 501, 777, 1000}
		rec := &recorder{answer: poison(400, culprits...)}
		c := newClient(t, rec, nil)
		for i := range 1000 {
			say(t, c, "s1", i+1)
		}
		if err := c.Close(bg); err != nil {
			t.Fatal(err)
		}
		if s := c.Stats(); s.Dropped[DropRejected] != uint64(len(culprits)) || s.Delivered != 1000-uint64(len(culprits)) {
			t.Errorf("%+v", s)
		}
		if n := len(rec.all()); n > len(culprits)*11+3 {
			t.Errorf("%d requests", n)
		}
	})
}

// A collector that takes ten events at a time, and says so with a bare 413, must not cost an innocent event.
func TestTooLargeBatchIsSplitNotDropped(t *testing.T) {
	for _, status := range []int{400, 413} {
		synctest.Test(t, func(t *testing.T) {
			rec := &recorder{answer: func(_ int, r request) answer {
				if len(r.events) > 10 {
					return answer{status: status}
				}
				return answer{}
			}}
			c := newClient(t, rec, nil)
			for i := range 1000 {
				say(t, c, "s1", i+1)
			}
			if err := c.Close(bg); err != nil {
				t.Fatal(err)
			}
			checkDelivered(t, rec, "s1", 1000)
		})
	}
}

func TestEventLargerThanABatchGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.BatchBytes = 1000 })
		for i, size := range []int{10, 100_000, 10, 700, 700, 10} {
			if err := c.CreateMessage(bg, Message{SessionID: "s1", Index: i + 1, Role: RoleUser, Content: strings.Repeat("x", size)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(bg); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(rec.sizes()); got != "[1 1 2 2]" {
			t.Error(got)
		}
		checkDelivered(t, rec, "s1", 6)
	})
}

func TestFullBufferRejectsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(int, request) answer { return answer{hangs: true} }}
		c := newClient(t, rec, func(cfg *Config) { cfg.BufferEvents = 10; cfg.BatchEvents = 5 })
		for i := range 10 {
			say(t, c, "s1", i+1)
		}
		synctest.Wait() // five of them are in flight, and count
		for range 3 {
			if err := c.IdentifyUser(bg, User{ID: "u"}); err != ErrBufferFull {
				t.Error(err)
			}
		}
		if s := c.Stats(); s.Full != 3 || s.Accepted != 10 || s.Pending != 10 {
			t.Errorf("%+v", s)
		}
		c.Close(bg)
	})
}

func TestFullBufferDropsTheOldestWhenToldTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		rec := &recorder{answer: func(int, request) answer {
			if up.Load() {
				return answer{}
			}
			return answer{status: 503}
		}}
		var told []string
		c := newClient(t, rec, func(cfg *Config) {
			cfg.BufferEvents, cfg.BatchEvents, cfg.Overflow = 10, 5, OverflowDropOldest
			cfg.OnDrop = func(d Drop) { told = append(told, string(d.Reason)) }
		})
		for i := range 10 {
			say(t, c, "s1", i+1)
			synctest.Wait()
		}
		for i := range 7 {
			say(t, c, "s1", i+11)
		}
		s := c.Stats()
		checkInvariant(t, s)
		if s.Dropped[DropOverflow] != 7 || len(told) != 7 || s.Pending != 10 {
			t.Errorf("%+v, told %v", s, told)
		}
		up.Store(true)
		if err := c.Close(bg); err != nil {
			t.Error(err)
		}
		var got []int32
		for _, e := range rec.delivered() {
			got = append(got, e.Properties.GetMessageProperties().MessageIndexHint)
		}
		if fmt.Sprint(got) != "[1 2 3 4 5 13 14 15 16 17]" { // the first five were on their way
			t.Error(got)
		}
	})
}

func TestFullBufferBlocksUntilThereIsRoomOrContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(int, request) answer { return answer{takes: time.Second} }}
		c := newClient(t, rec, func(cfg *Config) {
			cfg.BufferEvents, cfg.BatchEvents, cfg.Overflow = 10, 5, OverflowBlock
		})
		start := time.Now()
		var late, in atomic.Int64
		var wg sync.WaitGroup
		for i := range 400 { // all at once, each with patience for 20 s: 5 a second get in
			wg.Go(func() {
				err := c.CreateMessage(within(t, 20*time.Second+time.Millisecond), Message{SessionID: fmt.Sprint("s", i), Index: 1, Role: RoleUser, Content: "x"})
				switch {
				case err == nil:
					in.Add(1)
				case errors.Is(err, ErrBufferFull) && errors.Is(err, context.DeadlineExceeded):
					late.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 21*time.Second {
			t.Errorf("the last caller came back after %v", took)
		}
		if in.Load() != 10+5*20 || late.Load() != 400-110 {
			t.Errorf("%d in, %d late", in.Load(), late.Load())
		}
		if err := c.Close(within(t, time.Minute)); err != nil {
			t.Error(err)
		}
		if n := len(rec.delivered()); n != int(in.Load()) {
			t.Errorf("%d delivered", n)
		}
	})
}

func TestCloseReleasesBlockedCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(int, request) answer { return answer{hangs: true} }}
		c := newClient(t, rec, func(cfg *Config) { cfg.BufferEvents = 1; cfg.Overflow = OverflowBlock })
		say(t, c, "s1", 1)
		var wg sync.WaitGroup
		start := time.Now()
		for range 100 {
			wg.Go(func() {
				if err := c.IdentifyUser(bg, User{ID: "u"}); !errors.Is(err, ErrClosed) || time.Since(start) > 0 {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			})
		}
		synctest.Wait()
		c.Close(bg)
		wg.Wait()
	})
}

func TestSessionsKeepTheirOrderAcrossSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(int, request) answer {
			if rand.N(3) == 0 {
				return answer{status: 503, takes: rand.N(time.Second)}
			}
			return answer{takes: rand.N(time.Second)}
		}}
		c := newClient(t, rec, func(cfg *Config) { cfg.Senders = 8; cfg.BatchEvents = 7 })
		for i := range 100 {
			for s := range 20 {
				say(t, c, fmt.Sprint("s", s), i+1)
			}
		}
		if err := c.Close(within(t, 24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		for s := range 20 {
			checkDelivered(t, rec, fmt.Sprint("s", s), 100)
		}
		if n := len(c.buf.lanes); n != 8 {
			t.Errorf("%d lanes", n)
		}
	})
}

func TestSendersWorkInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(int, request) answer { return answer{takes: time.Second} }}
		c := newClient(t, rec, func(cfg *Config) { cfg.Senders = 16; cfg.BatchEvents = 10 })
		for i := range 16_000 {
			say(t, c, fmt.Sprint("s", i%1000), i/1000+1)
		}
		start := time.Now()
		if err := c.Flush(within(t, time.Hour)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 200*time.Second { // one sender would need 1,600 s
			t.Errorf("took %v", took)
		}
		c.Close(bg)
	})
}

func TestHourOfOutageStaysWithinBudgetAndResumesGently(t *testing.T) {
	for _, senders := range []int{1, 8} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			down := time.Hour
			rec := &recorder{answer: func(int, request) answer {
				if time.Since(start) < down {
					return answer{status: 503}
				}
				return answer{}
			}}
			c := newClient(t, rec, func(cfg *Config) { cfg.Senders = senders; cfg.BufferEvents = 20_000 })
			accepted := 0
			for time.Since(start) < down {
				for s := range 10 {
					if err := c.CreateMessage(bg, Message{SessionID: fmt.Sprint("s", s), Index: 1, Role: RoleUser, Content: "x"}); err == nil {
						accepted++
					} else if err != ErrBufferFull {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Second)
			}
			s := c.Stats()
			checkInvariant(t, s)
			if s.Pending != 20_000 || s.PendingBytes > DefaultBufferBytes || s.Full != 36_000-20_000 {
				t.Errorf("%+v", s)
			}
			before := len(rec.all())
			time.Sleep(maxBackoff + 2*rampTime)
			synctest.Wait()
			back := rec.all()[before:]
			if len(back) == 0 || back[0].at.Sub(start) > down+maxBackoff {
				t.Fatalf("%d requests within one backoff of the return", len(back))
			}
			first := 0
			for _, r := range back {
				if r.at.Sub(back[0].at) < time.Second {
					first++
				}
			}
			if first > senders+1 {
				t.Errorf("%d requests in the first second, %d senders", first, senders)
			}
			if n := c.Stats().Delivered; int(n) != accepted {
				t.Errorf("%d of %d delivered", n, accepted)
			}
			c.Close(bg)
		})
	}
}

func TestReceiptReturnsWhenItsEventIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(int, request) answer { return answer{takes: time.Second} }}
		c := newClient(t, rec, func(cfg *Config) { cfg.Senders = 8 })
		for i := range 100 {
			say(t, c, fmt.Sprint("other", i), 1)
		}
		ctx, receipt := WithReceipt(bg)
		if err := receipt.Wait(bg); err != nil {
			t.Errorf("nothing recorded yet: %v", err)
		}
		start := time.Now()
		if err := c.CreateMessageFeedback(ctx, MessageFeedback{SessionID: "s1", Index: 1, Type: ThumbsDown}); err != nil {
			t.Fatal(err)
		}
		if err := receipt.Wait(within(t, time.Minute)); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != time.Second { // one request, no waiting for the batch to fill
			t.Errorf("took %v", took)
		}
		if s := c.Stats(); s.Pending == 0 {
			t.Error("everything was flushed")
		}
		c.Close(within(t, time.Minute))
	})
}

func TestReceiptSaysWhatBecameOfItsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: poison(422, 2)}
		c := newClient(t, rec, nil)
		ctx, receipt := WithReceipt(bg)
		for i := range 3 {
			c.CreateMessage(ctx, Message{SessionID: "s1", Index: i + 1, Role: RoleUser, Content: "x"})
		}
		err := receipt.Wait(within(t, time.Minute))
		var de *DropError
		if !errors.As(err, &de) || de.Reason != DropRejected {
			t.Errorf("%v", err)
		}
		ctx, receipt = WithReceipt(bg)
		if err := c.CreateMessage(ctx, Message{}); err == nil {
			t.Error("accepted")
		}
		if err := receipt.Wait(bg); err != nil {
			t.Errorf("a refused call is not waited for: %v", err)
		}
		rec.answer = func(int, request) answer { return answer{status: 503} }
		c.CreateMessage(ctx, Message{SessionID: "s1", Index: 9, Role: RoleUser, Content: "x"})
		if err := receipt.Wait(within(t, time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		c.Close(bg)
		if err := receipt.Wait(bg); !errors.As(err, &de) || de.Reason != DropClosed {
			t.Errorf("%v", err)
		}
	})
}

func TestConcurrentFlushAndCloseAllReturn(t *testing.T) {
	for _, fault := range []answer{{}, {status: 503}, {hangs: true}, {takes: time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			rec := &recorder{answer: func(int, request) answer { return fault }}
			c := newClient(t, rec, func(cfg *Config) { cfg.Senders = 4 })
			for i := range 100 {
				say(t, c, fmt.Sprint("s", i), 1)
			}
			start := time.Now()
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * 100 * time.Millisecond)
					c.Flush(within(t, 10*time.Second))
				})
			}
			for range 3 {
				wg.Go(func() { time.Sleep(time.Second); c.Close(within(t, 3*time.Second)) })
			}
			wg.Wait()
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("%+v: the last came back after %v", fault, took)
			}
			s := c.Stats()
			checkInvariant(t, s)
			if s.Pending != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestFlushReportsWhatAConcurrentCloseGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(int, request) answer { return answer{hangs: true} }}
		c := newClient(t, rec, nil)
		say(t, c, "s1", 1)
		done := make(chan error)
		go func() { done <- c.Flush(within(t, time.Hour)) }()
		synctest.Wait()
		c.Close(within(t, time.Second))
		var de *DeliveryError
		if err := <-done; !errors.As(err, &de) || de.Dropped != 1 || !errors.Is(err, ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

func TestBatchGoesThreeSecondsAfterItsFirstEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, nil)
		time.Sleep(time.Minute)
		start := time.Now()
		for i := range 5 {
			say(t, c, "s1", i+1)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if r := rec.all(); len(r) != 1 || r[0].at.Sub(start) != 3*time.Second {
			t.Errorf("%d requests, sizes %v", len(r), rec.sizes())
		}
		c.Close(bg)
	})
}

func TestBatchGoesAtOnceWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, nil)
		for i := range DefaultBatchEvents {
			say(t, c, "s1", i+1)
		}
		synctest.Wait()
		if got := fmt.Sprint(rec.sizes()); got != "[500]" {
			t.Error(got)
		}
		for i := range 6 { // 600 KiB
			c.CreateMessage(bg, Message{SessionID: "s2", Index: i + 1, Role: RoleUser, Content: strings.Repeat("x", 100<<10)})
		}
		synctest.Wait()
		if got := fmt.Sprint(rec.sizes()); got != "[500 5]" {
			t.Error(got)
		}
		c.Close(bg)
	})
}

func TestBeforeSendCanRedactAndDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		var told []Drop
		c := newClient(t, rec, func(cfg *Config) {
			cfg.BeforeSend = func(e *Event) bool {
				switch {
				case e.Message != nil && e.Message.Content == "panic":
					panic("a bug in the hook")
				case e.Message != nil && e.Message.Content == "blank":
					e.Message.Content = ""
				case e.Message != nil && e.Message.Content == "drop":
					return false
				case e.Message != nil:
					e.Message.Content = strings.ToUpper(e.Message.Content)
					e.Message.Properties["seen"] = "yes"
				case e.MessageFeedback != nil:
					e.MessageFeedback.Reasons[0] = "masked"
				}
				return true
			}
			cfg.OnDrop = func(d Drop) { told = append(told, d) }
		})
		props := Properties{"a": "b"}
		for i, content := range []string{"keep", "drop", "panic"} {
			if err := c.CreateMessage(bg, Message{SessionID: "s1", Index: i + 1, Role: RoleUser, Content: content, Properties: props}); err != nil {
				t.Error(err)
			}
		}
		if err := c.CreateMessage(bg, Message{SessionID: "s1", Index: 4, Role: RoleUser, Content: "blank", Properties: props}); fmt.Sprint(problems(t, err)) != "[Message.Content required]" {
			t.Error(err)
		}
		reasons := []string{"private"}
		if err := c.CreateMessageFeedback(bg, MessageFeedback{SessionID: "s1", Index: 1, Type: ThumbsUp, Reasons: reasons}); err != nil {
			t.Error(err)
		}
		if err := c.Close(bg); err != nil {
			t.Error(err)
		}
		got := rec.delivered()
		if len(got) != 2 || got[0].Properties.GetMessageProperties().MessageContent != "KEEP" || got[0].Properties.CustomProperties["seen"] == nil || got[1].Properties.GetFeedbackProperties().Reasons[0] != "masked" {
			t.Errorf("%v", got)
		}
		if len(props) != 1 || reasons[0] != "private" {
			t.Errorf("the caller's own values were changed: %v %v", props, reasons)
		}
		s := c.Stats()
		checkInvariant(t, s)
		if s.Dropped[DropBeforeSend] != 1 || s.Dropped[DropPanic] != 1 || s.Invalid != 1 || len(told) != 2 || told[0].SessionID != "s1" || len(told[0].EventID) != 32 {
			t.Errorf("%+v, told %+v", s, told)
		}
	})
}

func TestNoContentKeepsLengthsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const marker = "zebra"
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.NoContent = true })
		for _, err := range []error{
			c.OpenSession(bg, Session{ID: "s1", UserID: "u1", Title: marker}),
			c.CreateMessage(bg, Message{SessionID: "s1", Index: 1, Role: RoleUser, Content: "é" + marker}),
			c.CreateMessageFeedback(bg, MessageFeedback{SessionID: "s1", Index: 1, Type: ThumbsUp, Comment: marker, Reasons: []string{marker}}),
			c.CreateSessionFeedback(bg, SessionFeedback{SessionID: "s1", Type: ThumbsUp, Comment: marker, Reasons: []string{marker}}),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		c.Close(bg)
		for _, r := range rec.all() {
			if bytes.Contains(r.body, []byte(marker)) {
				t.Error("content left the process")
			}
		}
		if m := rec.delivered()[1].Properties.GetMessageProperties(); m.GetContentLength() != 6 || m.MessageContent != "" {
			t.Error(m)
		}
	})
}

func TestRedactMasksWhatPeopleWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const secret = "ada@example.com"
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.Redact = RedactAll })
		props := Properties{"note": "ask " + secret}
		for _, err := range []error{
			c.OpenSession(bg, Session{ID: "s1", UserID: "u1", Title: "for " + secret, Properties: props}),
			c.CreateMessage(bg, Message{SessionID: "s1", Index: 1, Role: RoleUser, Content: "I am " + secret + "."}),
			c.CreateMessageFeedback(bg, MessageFeedback{SessionID: "s1", Index: 1, Type: ThumbsUp, Comment: secret, Reasons: []string{secret}}),
			c.CreateSessionFeedback(bg, SessionFeedback{SessionID: "s1", Type: ThumbsUp, Comment: secret, Reasons: []string{secret}}),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		if err := c.IdentifyUser(bg, User{ID: "u1", Email: secret}); err != nil { // a field that is for it
			t.Error(err)
		}
		c.Close(bg)
		for _, e := range rec.delivered() {
			if leaks := strings.Contains(e.String(), secret); leaks != (e.Type == string(EventIdentify)) {
				t.Error(e)
			}
		}
		if props["note"] != "ask "+secret {
			t.Error("the caller's map was changed")
		}
	})
}

func TestPanicInOnDropIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, &recorder{answer: poison(400, 1)}, func(cfg *Config) { cfg.OnDrop = func(Drop) { panic("x") } })
		say(t, c, "s1", 1)
		say(t, c, "s1", 2)
		if err := c.Close(bg); err != nil {
			t.Error(err)
		}
		if s := c.Stats(); s.Delivered != 1 || s.Dropped[DropRejected] != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestSimultaneousFailuresCountAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(n int, _ request) answer {
			if n == 0 {
				return answer{}
			}
			return answer{status: 503, takes: time.Second}
		}}
		c := newClient(t, rec, func(cfg *Config) { cfg.Senders = 16; cfg.BatchEvents = 1 })
		say(t, c, "s0", 1)
		synctest.Wait()
		for i := range 200 {
			say(t, c, fmt.Sprint("s", i), 1)
		}
		time.Sleep(time.Second + time.Nanosecond)
		var he *HealthError
		if err := c.Health(); !errors.As(err, &he) || he.Attempts != 1 || len(rec.all()) != 1+16 {
			t.Errorf("%v after %d simultaneous requests", err, len(rec.all())-1)
		}
		c.Close(within(t, time.Second))
	})
}

// lateReader answers before it has read the body and reads on afterwards, as net/http may.
type lateReader struct{ body chan io.Reader }

func (l lateReader) RoundTrip(req *http.Request) (*http.Response, error) {
	l.body <- req.Body
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
}

func TestBodyIsNotReadAfterItsBytesWentBackToTheBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := lateReader{make(chan io.Reader, 1)}
		c := newClient(t, nil, func(cfg *Config) { cfg.HTTPClient = &http.Client{Transport: late} })
		say(t, c, "s1", 1)
		if err := c.Close(bg); err != nil {
			t.Fatal(err)
		}
		if n, err := (<-late.body).Read(make([]byte, 100)); n != 0 || err == nil {
			t.Errorf("read %d bytes that belong to other events by now", n)
		}
	})
}

func TestRefusedBatchIsSplitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: poison(400, 3)}
		c := newClient(t, rec, func(cfg *Config) { cfg.BatchEvents = 10 })
		for i := range 10 {
			say(t, c, "s1", i+1)
		}
		synctest.Wait() // no time passes: the halves do not wait for a batch to fill
		if s := c.Stats(); s.Delivered != 9 || s.Dropped[DropRejected] != 1 {
			t.Errorf("%+v", s)
		}
		c.Close(bg)
	})
}

func TestCompressedBatchIsTheSameBytesOnEveryAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(n int, _ request) answer {
			if n%3 < 2 {
				return answer{status: 503}
			}
			return answer{}
		}}
		c := newClient(t, rec, func(cfg *Config) { cfg.Compression = CompressionGzip; cfg.Senders = 2 })
		for i := range 2000 {
			say(t, c, fmt.Sprint("s", i%4), i/4+1)
		}
		if err := c.Close(within(t, time.Hour)); err != nil {
			t.Fatal(err)
		}
		for s := range 4 {
			checkDelivered(t, rec, fmt.Sprint("s", s), 500)
		}
		bodies := make(map[string][]byte)
		for _, r := range rec.all() {
			if first, again := bodies[r.id]; again && !bytes.Equal(first, r.body) {
				t.Errorf("batch %s was compressed anew", r.id)
			}
			bodies[r.id] = r.body
			if r.header.Get("Content-Encoding") != "gzip" || len(r.body) > 40*len(r.events) { // of about 100 bytes each
				t.Errorf("%d bytes for %d events, encoding %q", len(r.body), len(r.events), r.header.Get("Content-Encoding"))
			}
		}
	})
}

func TestCompressionIsForOtherMachinesAndLargeBodies(t *testing.T) {
	for _, test := range []struct {
		host        string
		compression Compression
		events      int
		want        string
	}{
		{"http://127.0.0.1:7311", CompressionAuto, 100, ""},
		{"https://collector.example.com", CompressionAuto, 100, "gzip"},
		{"https://collector.example.com", CompressionAuto, 1, ""}, // fits into a packet anyway
		{"https://collector.example.com", CompressionNone, 100, ""},
		{"http://localhost", CompressionGzip, 100, "gzip"},
	} {
		synctest.Test(t, func(t *testing.T) {
			rec := &recorder{}
			c := newClient(t, rec, func(cfg *Config) { cfg.Host, cfg.Compression = test.host, test.compression })
			for i := range test.events {
				say(t, c, "s1", i+1)
			}
			c.Close(bg)
			if got := rec.all()[0].header.Get("Content-Encoding"); got != test.want {
				t.Errorf("%+v: encoding %q", test, got)
			}
			checkDelivered(t, rec, "s1", test.events)
		})
	}
}

func TestCreateMessageAllocatesOnce(t *testing.T) {
	c := newClient(t, &recorder{answer: func(int, request) answer { return answer{hangs: true} }}, func(cfg *Config) {
		cfg.BatchEvents = 100_000
		cfg.BatchBytes = 64 << 20
		cfg.CloseTimeout = time.Nanosecond
	})
	m := Message{SessionID: "s1", Index: 1, Role: RoleUser, Content: strings.Repeat("x", 200), Properties: Properties{"a": "b", "c": "d", "e": "f"}}
	n := testing.AllocsPerRun(1000, func() {
		if err := c.CreateMessage(bg, m); err != nil {
			t.Fatal(err)
		}
	})
	if n > 1 { // the message itself, which validation looks at through an interface
		t.Errorf("%v allocations", n)
	}
	c.Close(bg)
}

func TestLogHasOneLineForEachDistinctCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		start := time.Now()
		rec := &recorder{answer: func(n int, _ request) answer {
			switch since := time.Since(start); {
			case since > 2*time.Hour:
				return answer{}
			case n%3 == 0: // another port every time
				return answer{err: &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: n}, Err: syscall.ECONNRESET}}
			case n%3 == 1:
				return answer{status: 503, body: fmt.Sprint("request ", n)}
			}
			return answer{hangs: true}
		}}
		c := newClient(t, rec, func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)); cfg.IdleTimeout = -1 })
		say(t, c, "s1", 1)
		time.Sleep(3 * time.Hour)
		if n := len(rec.all()); n < 100 {
			t.Errorf("%d attempts", n)
		}
		if warned, recovered := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "level=INFO"); warned != 3 || recovered != 1 {
			t.Errorf("%d warnings and %d recoveries:\n%s", warned, recovered, &log)
		}
		c.Close(bg)
	})
}

// A plain-HTTP request to a TLS port, a proxy that dislikes us: 400 to everything says nothing about the events.
func TestCollectorThatRefusesEverythingCostsNoEvent(t *testing.T) {
	for _, senders := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			var fixed atomic.Bool
			var log logBuffer
			rec := &recorder{answer: func(int, request) answer {
				if fixed.Load() {
					return answer{}
				}
				return answer{status: 400}
			}}
			c := newClient(t, rec, func(cfg *Config) {
				cfg.Senders, cfg.IdleTimeout = senders, -1
				cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			})
			for i := range 1000 {
				say(t, c, fmt.Sprint("s", i%10), i/10+1)
			}
			time.Sleep(time.Hour)
			if n := len(rec.all()); n > senders*12+40 { // each finds a lone suspect, then a pair of requests every five minutes
				t.Errorf("%d requests in an hour", n)
			}
			var se *StatusError
			if err := c.Health(); !errors.As(err, &se) || se.Code != 400 {
				t.Errorf("Health is %v", err)
			}
			if s := c.Stats(); s.Pending != 1000 {
				t.Errorf("%+v", s)
			}
			if n := strings.Count(log.String(), "\n"); n != 1 {
				t.Errorf("%d log lines:\n%s", n, &log)
			}
			fixed.Store(true)
			time.Sleep(time.Hour)
			for s := range 10 {
				checkDelivered(t, rec, fmt.Sprint("s", s), 100)
			}
			if err := c.Health(); err != nil {
				t.Error(err)
			}
			c.Close(bg)
		})
	}
}

func TestCollectorWithoutGzipGetsPlainBodies(t *testing.T) {
	for _, status := range []int{400, 415} {
		synctest.Test(t, func(t *testing.T) {
			rec := &recorder{answer: func(_ int, r request) answer {
				if r.header.Get("Content-Encoding") != "" {
					return answer{status: status}
				}
				return answer{}
			}}
			c := newClient(t, rec, func(cfg *Config) { cfg.Compression = CompressionGzip })
			for i := range 2000 {
				say(t, c, "s1", i+1)
			}
			if err := c.Close(bg); err != nil {
				t.Fatal(err)
			}
			checkDelivered(t, rec, "s1", 2000)
			if got := fmt.Sprint(rec.sizes()); got != "[500 500 500 500 500]" { // one in vain
				t.Error(got)
			}
		})
	}
}

func TestHookMayPutAnotherEventInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) {
			cfg.BeforeSend = func(e *Event) bool {
				switch {
				case e.Message != nil && e.Message.Index == 1:
					e.Message = &Message{SessionID: "s1", Index: 1, Role: RoleUser, Content: "masked"}
				case e.Message != nil:
					e.Message = nil
				case e.Session != nil:
					*e.Session = Session{ID: "s1", UserID: "u2"}
				}
				return true
			}
		})
		c.OpenSession(bg, Session{ID: "s1", UserID: "u1"})
		say(t, c, "s1", 1)
		say(t, c, "s1", 2)
		c.Close(bg)
		got := rec.delivered()
		if len(got) != 2 || c.Stats().Dropped[DropBeforeSend] != 1 {
			t.Fatalf("%v", got)
		}
		if s := got[0].Properties.GetSessionProperties(); s.UserId != "u2" || s.AssistantId != DefaultAssistantID {
			t.Error(s)
		}
		if m := got[1].Properties.GetMessageProperties(); m.MessageContent != "masked" || m.ContentLength != nil {
			t.Error(m)
		}
	})
}

func TestFullBufferIsSentAtOnce(t *testing.T) { // AL-5
	for _, overflow := range []Overflow{OverflowReject, OverflowBlock, OverflowDropOldest} {
		synctest.Test(t, func(t *testing.T) {
			rec := &recorder{}
			c := newClient(t, rec, func(cfg *Config) {
				cfg.BufferEvents, cfg.Senders, cfg.FlushInterval, cfg.Overflow = 100, 8, time.Hour, overflow
			})
			start := time.Now()
			for i := range 1000 {
				c.CreateMessage(bg, Message{SessionID: fmt.Sprint("s", i%20), Index: i + 1, Role: RoleUser, Content: "x"})
				if i%100 == 99 {
					c.CreateMessage(bg, Message{SessionID: "s", Index: i + 1, Role: RoleUser, Content: "one too many"})
					synctest.Wait()
				}
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("overflow %d: waited %v for a healthy collector", overflow, took)
			}
			if n := len(rec.delivered()); n < 900 {
				t.Errorf("overflow %d: %d delivered", overflow, n)
			}
			c.Close(bg)
		})
	}
}

func TestCloseKeepsIdleClosesThatAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) {
			cfg.CloseSessionsOnShutdown = true
			cfg.BeforeSend = func(e *Event) bool {
				if e.SessionEnd != nil {
					time.Sleep(100 * time.Millisecond)
				}
				return true
			}
		})
		for i := range 10 {
			say(t, c, fmt.Sprint("s", i), 1)
		}
		time.Sleep(DefaultIdleTimeout + 250*time.Millisecond) // in the third of them
		if err := c.Close(bg); err != nil {
			t.Error(err)
		}
		idle := 0
		for _, e := range closes(rec) {
			if e.Properties.GetSessionProperties().CloseReason == 2 {
				idle++
			}
		}
		if n := len(closes(rec)); n != 10 || uint64(idle) != c.Stats().IdleCloses {
			t.Errorf("%d closes, %d of them idle, %d counted", n, idle, c.Stats().IdleCloses)
		}
	})
}

// heapAfter is how much more is on the heap after f.
func heapAfter(f func()) int {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int(after.HeapAlloc) - int(before.HeapAlloc)
}

func TestDeliveredEventsLeaveNoMemoryBehind(t *testing.T) {
	cfg := Config{ProjectID: "p", APIKey: "k"}.withDefaults()
	b := newBuffer(&cfg)
	grown := heapAfter(func() {
		entry := modelEntry("x", 1<<20)
		for range 20 {
			if _, err := b.push(bg, 0, entry, time.Time{}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.push(bg, 0, modelEntry("y", 1), time.Time{}, nil); err != nil { // and this one waits on
			t.Fatal(err)
		}
		for range 20 {
			b.cut(0, 1, "id")
			b.delivered(0)
		}
	})
	if grown > 4<<20 {
		t.Errorf("%d bytes after 20 MiB were delivered", grown)
	}
	runtime.KeepAlive(b)
}

func TestBufferStaysWithinItsBytesWhateverTheSizeOfEvents(t *testing.T) {
	for _, size := range []int{100, 5_000, 9_000, 33_000, 70_000} {
		cfg := Config{ProjectID: "p", APIKey: "k", BufferBytes: 16 << 20, BufferEvents: 1 << 20}.withDefaults()
		b := newBuffer(&cfg)
		entry := modelEntry("x", size)
		grown := heapAfter(func() {
			for range 2 { // the second time with what the first left behind
				for {
					if _, err := b.push(bg, 0, entry, time.Time{}, nil); err != nil {
						break
					}
				}
				for i := 0; i < 100; i++ {
					if b.cut(0, 500, "id") != nil {
						b.delivered(0)
					}
				}
			}
		})
		if grown > cfg.BufferBytes*5/4 {
			t.Errorf("events of %d bytes: %d bytes for a budget of %d", size, grown, cfg.BufferBytes)
		}
		runtime.KeepAlive(b)
	}
}

func TestReceiptsTellOfEveryEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(int, request) answer { return answer{takes: time.Second} }}
		c := newClient(t, rec, func(cfg *Config) {
			cfg.BufferEvents, cfg.BatchEvents, cfg.Overflow, cfg.Senders = 50, 7, OverflowDropOldest, 3
			cfg.BeforeSend = func(e *Event) bool { return e.Message.Index != 13 }
		})
		receipts := make([]*Receipt, 300)
		for i := range receipts {
			var ctx context.Context
			ctx, receipts[i] = WithReceipt(bg)
			if err := c.CreateMessage(ctx, Message{SessionID: fmt.Sprint("s", i%5), Index: i + 1, Role: RoleUser, Content: "x"}); err != nil {
				t.Fatal(err)
			}
			if i%40 == 0 {
				time.Sleep(time.Second)
			}
		}
		told := make(map[DropReason]uint64)
		delivered := uint64(0)
		for _, r := range receipts {
			var de *DropError
			if err := r.Wait(within(t, time.Minute)); err == nil {
				delivered++
			} else if errors.As(err, &de) {
				told[de.Reason]++
			} else {
				t.Error(err)
			}
		}
		s := c.Stats()
		if delivered != s.Delivered || told[DropOverflow] != s.Dropped[DropOverflow] || told[DropBeforeSend] != 1 || told[DropOverflow] == 0 {
			t.Errorf("receipts say %d delivered, dropped %v; counted %+v", delivered, told, s)
		}
		c.Close(bg)
	})
}

func TestOneReceiptForEventsThatSettleApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(n int, _ request) answer { return answer{takes: time.Duration(n+1) * time.Second} }}
		c := newClient(t, rec, func(cfg *Config) { cfg.BatchEvents = 1 })
		ctx, receipt := WithReceipt(bg)
		start := time.Now()
		for i := range 3 {
			c.CreateMessage(ctx, Message{SessionID: "s1", Index: i + 1, Role: RoleUser, Content: "x"})
		}
		if err := receipt.Wait(within(t, time.Minute)); err != nil || time.Since(start) != 6*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		c.Close(bg)
	})
}

func TestLateFailureNeitherEndsTheProbeNorLosesItsRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(discard, 3)
		enter := func() ticket {
			t.Helper()
			pass, err := g.enter(within(t, time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			return pass
		}
		g.report(enter(), outcome{verdict: accepted})
		first, second, third := enter(), enter(), enter()
		down := outcome{verdict: failed, err: errors.New("reset")}
		g.report(first, down)
		probe := enter()
		if !probe.probe {
			t.Fatal("not a probe")
		}
		g.report(second, down)
		if pass, _, _, _ := g.tryEnter(); pass {
			t.Error("a second probe while the first is out")
		}
		start := time.Now()
		g.report(third, outcome{verdict: failed, err: errors.New("busy"), retryAfter: time.Minute})
		g.report(probe, outcome{verdict: aborted})
		enter()
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("went again after %v", waited)
		}
	})
}

// endless is a body that never ends.
type endless struct{ done <-chan struct{} }

func (e endless) Read([]byte) (int, error) { <-e.done; return 0, context.Canceled }
func (e endless) Close() error             { return nil }

type endlessAnswer int

func (status endlessAnswer) RoundTrip(req *http.Request) (*http.Response, error) {
	io.Copy(io.Discard, req.Body)
	return &http.Response{StatusCode: int(status), ContentLength: -1, Header: http.Header{}, Body: endless{req.Context().Done()}}, nil
}

func TestBodyThatDoesNotEndDoesNotHoldTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, nil, func(cfg *Config) { cfg.HTTPClient = &http.Client{Transport: endlessAnswer(200)} })
		say(t, c, "s1", 1)
		start := time.Now()
		if err := c.Flush(bg); err != nil || time.Since(start) > maxBodyWait {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		c.Close(bg)
	})
}

func TestMaskedTextKeepsItsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) {
			cfg.Redact = RedactAll
			cfg.BeforeSend = func(*Event) bool { return true } // checks again
		})
		short := func(n int) string { return strings.Repeat("a@b.co ", 400)[:n-1] + "x" }
		for _, err := range []error{
			c.OpenSession(bg, Session{ID: "s1", UserID: "u1", Title: short(256), Properties: Properties{"a": short(256)}}),
			c.CreateSessionFeedback(bg, SessionFeedback{SessionID: "s1", Type: ThumbsUp, Comment: short(2000), Reasons: []string{short(64)}}),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		c.Close(bg)
		if title := rec.delivered()[0].Properties.GetSessionProperties().SessionTitle; len(title) != 256 {
			t.Errorf("title of %d", len(title))
		}
	})
}

func TestCloseTriesInSpiteOfRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		rec := &recorder{answer: func(int, request) answer {
			if time.Since(start) < time.Second {
				return answer{status: 503, header: http.Header{"Retry-After": {"30"}}}
			}
			return answer{}
		}}
		c := newClient(t, rec, nil)
		say(t, c, "s1", 1)
		if err := c.Close(within(t, 5*time.Second)); err != nil {
			t.Error(err)
		}
	})
}

func TestRejectedAndOverflowingEventsAreLoggedOncePerKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		const marker = "zebra"
		rec := &recorder{answer: func(_ int, r request) answer {
			a := poison(422, 3, 5, 7)(0, r)
			a.body = `{"code":"invalid_argument","message":"cannot take ` + marker + `"}`
			return a
		}}
		c := newClient(t, rec, func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		for i := range 10 {
			say(t, c, "s1", i+1)
		}
		c.Close(bg)
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "422 (invalid_argument)") || strings.Contains(text, marker) {
			t.Errorf("log:\n%s", text)
		}
	})
}
