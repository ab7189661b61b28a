package align

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var schedules = flag.Int("schedules", 2000, "how many random schedules TestInvariantHoldsUnderRandomFaults plays; a quarter with -short")

// someSchedules is a share of all random schedules that a test run plays, less with -short, which is for the race detector.
func someSchedules(share int) uint64 {
	n := uint64(*schedules / share)
	if testing.Short() {
		n /= 4
	}
	return n
}

// world is one random schedule: a collector with moods, a client with settings, and what was told of it.
type world struct {
	rng    *rand.Rand
	rngMu  sync.Mutex // guards rng, which every goroutine of the schedule draws from
	rec    *recorder
	client *Client
	cfg    Config // the client's
	former Stats  // of clients whose spool this client has

	mu      sync.Mutex            // guards all below
	outcome map[string]DropReason // by event id, as OnDrop told
	lost    map[string]string     // session by event id, of the messages among them
	twice   []string              // event ids told of more than once
}

func (w *world) roll(n int) int {
	w.rngMu.Lock()
	defer w.rngMu.Unlock()
	return w.rng.IntN(n)
}

// mood draws a fault for one request. How likely faults are is drawn once for each schedule.
func (w *world) mood(faulty int, poisonous bool) func(int, request) answer {
	return func(_ int, r request) answer {
		if poisonous {
			for _, e := range r.events { // an event the collector will never take: every 17th message
				if e.Properties.GetMessageProperties().GetMessageIndexHint()%17 == 16 {
					return answer{status: []int{400, 413, 422}[w.roll(3)]}
				}
			}
		}
		if w.roll(100) >= faulty {
			return answer{takes: time.Duration(w.roll(50)) * time.Millisecond}
		}
		switch w.roll(9) {
		case 0:
			return answer{status: 503}
		case 1:
			return answer{status: 429, header: http.Header{"Retry-After": {fmt.Sprint(w.roll(4))}}}
		case 2:
			return answer{err: errors.New("connection reset")}
		case 3:
			return answer{loses: true}
		case 4:
			return answer{hangs: true}
		case 5:
			return answer{takes: time.Duration(w.roll(15)) * time.Second}
		case 6:
			return answer{status: 401}
		case 7:
			return answer{status: 202, body: "garbage"}
		}
		return answer{status: 500}
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 0)), rec: &recorder{}, outcome: make(map[string]DropReason), lost: make(map[string]string)}
	w.rec.answer = w.mood(w.roll(101), w.roll(3) == 0)
	w.client = newClient(t, w.rec, func(cfg *Config) {
		defer func() { w.cfg = *cfg }()
		if w.roll(6) == 0 {
			cfg.SpoolDir = t.TempDir()
			cfg.SpoolMaxBytes = 4 << 20
			cfg.SpoolSync = []time.Duration{SyncNever, SyncAlways, 0}[w.roll(3)]
			cfg.MaxContentBytes = 256
		}
		cfg.BatchEvents = 1 + w.roll(20)
		cfg.BatchBytes = 200 + w.roll(5000)
		cfg.BufferEvents = 10 + w.roll(200)
		cfg.Overflow = Overflow(w.roll(3))
		cfg.Senders = 1 + w.roll(8)
		cfg.FlushInterval = time.Duration(1+w.roll(3000)) * time.Millisecond
		cfg.AttemptTimeout = time.Duration(1+w.roll(10)) * time.Second
		cfg.IdleTimeout = time.Duration(1+w.roll(20)) * time.Second
		cfg.OnDrop = func(d Drop) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if _, told := w.outcome[d.EventID]; told {
				w.twice = append(w.twice, d.EventID)
			}
			w.outcome[d.EventID] = d.Reason
			if d.EventType == EventCreateMessage {
				w.lost[d.EventID] = d.SessionID
			}
		}
	})
	return w
}

// play runs the schedule to its end: goroutines that record, each its own sessions, in order, and somebody who looks at
// the counts, flushes, and closes in the middle of it all.
func (w *world) play(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 1 << w.roll(7) { // 1 to 64
		wg.Go(func() {
			session, accepted := fmt.Sprint("s", g), 0
			for i := range 1 + w.roll(30) {
				ctx, cancel := context.WithTimeout(bg, time.Duration(w.roll(2000))*time.Millisecond)
				err := w.client.CreateMessage(ctx, Message{SessionID: session, Index: i + 1, Role: RoleUser, Content: "x"})
				cancel()
				switch {
				case err == nil:
					accepted++
				case errors.Is(err, ErrClosed):
					return
				case !errors.Is(err, ErrBufferFull):
					t.Error(err)
				}
				if w.roll(4) == 0 {
					time.Sleep(time.Duration(w.roll(5000)) * time.Millisecond)
				}
				if w.roll(40) == 0 {
					ctx, cancel := context.WithTimeout(bg, time.Duration(w.roll(3000))*time.Millisecond)
					if w.client.Flush(ctx) == nil {
						time.Sleep(time.Nanosecond) // whoever has news for OnDrop gets to tell
						if settled := w.settled(session); settled != accepted {
							t.Errorf("after Flush %d of %d messages of %s are settled", settled, accepted, session)
						}
					}
					cancel()
				}
			}
		})
	}
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			checkInvariant(t, w.client.Stats())
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	if w.roll(2) == 0 {
		wg.Wait()
	}
	time.Sleep(time.Duration(w.roll(60)) * time.Second)
	ctx, cancel := context.WithTimeout(bg, time.Duration(w.roll(30))*time.Second)
	start := time.Now()
	err := w.client.Close(ctx)
	if deadline, _ := ctx.Deadline(); time.Now().After(deadline) {
		t.Errorf("Close took %v, past its deadline", time.Since(start))
	}
	cancel()
	wg.Wait()
	close(stop)
	watch.Wait()
	w.end(t, err)
}

// end checks what came of it all, after a Close that returned err.
func (w *world) end(t *testing.T, err error) {
	s := w.client.Stats()
	if left := s.Dropped[DropClosed] + s.Pending; (left > 0) != (err != nil) {
		t.Errorf("%d left at Close, which said %v", left, err)
	}
	w.restart(t)
	w.check(t)
}

// restart goes on with what is in the spool, once more with the same collector, then with one that is well.
func (w *world) restart(t *testing.T) {
	for life := 1; w.client.Stats().Pending > 0; life++ {
		if w.cfg.SpoolDir == "" || life > 2 {
			return // check will say so
		}
		w.former = w.all()
		w.former.Pending = 0
		patience := time.Duration(1+w.roll(300)) * time.Second
		if life == 2 {
			patience = time.Hour // whatever is left arrives one by one, if need be
			w.rec.mu.Lock()
			w.rec.answer = w.mood(0, false)
			w.rec.mu.Unlock()
		}
		w.cfg.Senders = 1 + w.roll(8)
		var err error
		if w.client, err = New(w.cfg); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(w.roll(10)) * time.Second)
		w.client.Close(within(t, patience))
		checkInvariant(t, w.client.Stats())
	}
}

// all are the counts of the client and of those before it.
func (w *world) all() Stats {
	s, f := w.client.Stats(), w.former
	s.Accepted += f.Accepted - s.Recovered
	s.Delivered += f.Delivered
	for reason, n := range f.Dropped {
		s.Dropped[reason] += n
	}
	return s
}

// settled counts the messages of a session that have arrived or were told of as dropped.
func (w *world) settled(session string) int {
	ids := make(map[string]bool)
	for _, e := range w.rec.delivered() {
		if e.Properties.GetMessageProperties().GetSessionId() == session {
			ids[e.Id] = true
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, of := range w.lost {
		if of == session {
			ids[id] = true
		}
	}
	return len(ids)
}

// check holds what was counted against what was told and what arrived.
func (w *world) check(t *testing.T) {
	s := w.all()
	checkInvariant(t, s)
	if s.Pending != 0 {
		t.Errorf("%d pending after Close", s.Pending)
	}
	if len(w.twice) > 0 {
		t.Errorf("told twice of %v", w.twice)
	}
	byReason := make(map[DropReason]uint64)
	for _, reason := range w.outcome {
		byReason[reason]++
	}
	for reason, n := range s.Dropped {
		if byReason[reason] != n {
			t.Errorf("%s: %d counted, %d told", reason, n, byReason[reason])
		}
	}
	arrived := make(map[string]bool)
	last := make(map[string]int32)
	for _, e := range w.rec.delivered() {
		if arrived[e.Id] {
			continue // a repetition after a lost answer
		}
		arrived[e.Id] = true
		if m := e.Properties.GetMessageProperties(); m != nil {
			if m.MessageIndexHint <= last[m.SessionId] {
				t.Errorf("%s: message %d after %d", m.SessionId, m.MessageIndexHint, last[m.SessionId])
			}
			last[m.SessionId] = m.MessageIndexHint
		}
	}
	// What counts as delivered has arrived. More may have: an answer that was lost, an event dropped on its way.
	delivered := 0
	for id := range arrived {
		if _, dropped := w.outcome[id]; !dropped {
			delivered++
		}
	}
	if uint64(delivered) != s.Delivered {
		t.Errorf("%d counted as delivered, %d arrived and were not dropped", s.Delivered, delivered)
	}
}

// A seed fixes a schedule's settings and the sequence of its draws; which goroutine draws when is the scheduler's.
func TestInvariantHoldsUnderRandomFaults(t *testing.T) {
	for seed := range someSchedules(1) {
		t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newWorld(t, seed).play(t) })
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
