package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// full returns a store in a bubble whose queue has room for so many events and bytes, all of it taken by one job until
// release is called.
func full(t *testing.T, events, bytes int) (s *Store, release func()) {
	t.Helper()
	s, err := open(t.Context(), filepath.Join(t.TempDir(), "align.db"), newQueue(events, bytes))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	released, answer := make(chan struct{}), make(chan error)
	go func() {
		answer <- s.do(context.Background(), &job{events: events, bytes: bytes, apply: func(*transaction) error { <-released; return nil }})
	}()
	synctest.Wait()
	return s, func() {
		close(released)
		if err := <-answer; err != nil {
			t.Error(err)
		}
	}
}

func TestAppendWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room, callers = 5, 10
		s, release := full(t, room, 1<<20)
		answers := make(chan error, callers)
		for n := range callers {
			go func() {
				_, err := s.Append(context.Background(), "shop", oneMessage(fmt.Sprint("e", n), int32(n+1)))
				answers <- err
			}()
		}
		time.Sleep(patience - 1)
		if len(answers) > 0 {
			t.Fatalf("Append while there is no room: %v, want it to wait", <-answers)
		}
		release()
		for range callers {
			if err := <-answers; err != nil {
				t.Errorf("Append once there is room: %v", err)
			}
		}
		if got := facts(t, s); got != callers {
			t.Errorf("stored %d facts, want %d", got, callers)
		}
	})
}

func TestAppendIsBusyWhenThereIsNoRoomForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := full(t, 5, 1<<20)
		start := time.Now()
		if _, err := s.Append(t.Context(), "shop", oneMessage("e1", 1)); !errors.Is(err, collector.ErrBusy) {
			t.Errorf("Append to a full queue: %v, want ErrBusy", err)
		}
		if waited := time.Since(start); waited != patience {
			t.Errorf("Append waited %v, want %v", waited, patience)
		}
		release()
		if _, err := s.Append(t.Context(), "shop", oneMessage("e2", 2)); err != nil {
			t.Errorf("Append once there is room again: %v", err)
		}
		if got := facts(t, s); got != 1 {
			t.Errorf("stored %d facts, want that of the second Append alone", got)
		}
	})
}

func TestAppendWaitsNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := full(t, 5, 1<<20)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Append(ctx, "shop", oneMessage("e1", 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Append whose context ends in line: %v, want %v", err, context.DeadlineExceeded)
		}
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("Append waited %v, want 1s", waited)
		}
		release()
		if got := facts(t, s); got != 0 {
			t.Errorf("stored %d facts, want none", got)
		}
	})
}

// Whoever leaves when its context ends shares nothing with the writer, which is at work on its job by then. The race detector
// is what sees it.
func TestWhoLeavesSharesNothingWithTheWriter(t *testing.T) {
	for name, call := range map[string]func(context.Context, *Store) error{
		"Append": func(ctx context.Context, s *Store) error {
			got, err := s.Append(ctx, "shop", oneMessage("e1", 1))
			if err != nil && got != (collector.Appended{}) {
				t.Errorf("Append that is not known to be durable returned %+v", got)
			}
			return err
		},
		"BeginExport": func(ctx context.Context, s *Store) error {
			_, err := s.BeginExport(ctx, "shop", 1)
			return err
		},
		"FinishExport": func(ctx context.Context, s *Store) error {
			return s.FinishExport(ctx, "shop", 1, nil, nil, time.Now())
		},
		"Erase": func(ctx context.Context, s *Store) error {
			_, err := s.Erase(ctx, "shop", "u1", "somebody")
			return err
		},
		"Replay": func(ctx context.Context, s *Store) error {
			_, err := s.Replay(ctx)
			return err
		},
		"Retain": func(ctx context.Context, s *Store) error {
			now := time.Now()
			_, err := s.Retain(ctx, collector.Retention{FactsBefore: now, ContentBefore: now})
			return err
		},
		"Ready": func(ctx context.Context, s *Store) error { return s.Ready(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := open(t.Context(), filepath.Join(t.TempDir(), "align.db"), newQueue(100, 1<<20))
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				for range 20 { // who is first is chance
					// While the writer is held the first time, the call joins a second one who holds it, so that both are one group.
					var gates [2]chan struct{}
					for i := range gates {
						gate := make(chan struct{})
						go s.do(context.Background(), &job{apply: func(*transaction) error { <-gate; return nil }})
						synctest.Wait()
						gates[i] = gate
					}
					ctx, cancel := context.WithCancel(t.Context())
					left := make(chan error)
					go func() { left <- call(ctx, s) }()
					synctest.Wait()
					close(gates[0])
					synctest.Wait()
					cancel()
					close(gates[1])
					if err := <-left; err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, collector.ErrNotFound) && !errors.Is(err, collector.ErrOvertaken) {
						t.Errorf("whoever left was told: %v", err)
					}
				}
			})
		})
	}
}

// The bytes of a batch count, and so does what was set aside: many large batches at a time wait for one another.
func TestAppendIsBoundedByBytes(t *testing.T) {
	large := func(n int) collector.Batch {
		batch := oneMessage(fmt.Sprint("e", n), int32(n+1))
		batch.Facts[0].Event.GetProperties().GetMessageProperties().MessageContent = strings.Repeat("x", 200)
		return batch
	}
	aside := func(n int) collector.Batch {
		return collector.Batch{SetAside: []collector.SetAside{{EventID: fmt.Sprint("e", n), Raw: make([]byte, 500)}}}
	}
	for name, batch := range map[string]func(int) collector.Batch{"facts": large, "set aside": aside} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, release := full(t, 100, 1000)
				answers := make(chan error, 8)
				for n := range cap(answers) {
					go func() {
						_, err := s.Append(context.Background(), "shop", batch(n))
						answers <- err
					}()
				}
				synctest.Wait()
				// The line has room for 2000 bytes, which is that of four.
				for range cap(answers) - 4 {
					select {
					case err := <-answers:
						if !errors.Is(err, collector.ErrBusy) {
							t.Errorf("Append when the line is full: %v, want ErrBusy", err)
						}
					default:
						t.Error("Append waits though the line is full")
					}
				}
				release()
				for range 4 {
					if err := <-answers; err != nil {
						t.Errorf("Append that stood in line: %v", err)
					}
				}
			})
		})
	}
}

func TestCloseServesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := full(t, 1, 1<<20)
		answers := make(chan error, 2)
		for n := range cap(answers) {
			go func() {
				_, err := s.Append(context.Background(), "shop", oneMessage(fmt.Sprint("e", n), int32(n+1)))
				answers <- err
			}()
		}
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		synctest.Wait()
		release()
		for range cap(answers) {
			if err := <-answers; err != nil {
				t.Errorf("Append that stood in line: %v", err)
			}
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func TestQueueIsBoundedByEventsAndBytes(t *testing.T) {
	q := newQueue(10, 1000)
	push := func(events, bytes int) (j *job, state string) {
		j = &job{events: events, bytes: bytes, done: make(chan error, 1)}
		switch inLine, err := q.push(j); {
		case errors.Is(err, collector.ErrBusy):
			return j, "busy"
		case err != nil:
			t.Fatal(err)
		case inLine:
			return j, "in line"
		}
		return j, "in"
	}
	must := func(what string, events, bytes int, want string) *job {
		t.Helper()
		j, got := push(events, bytes)
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
		return j
	}
	large := must("a job that never fits, to an empty queue", 50, 5000, "in")
	first := must("a job into a full queue", 4, 400, "in line")
	must("a job without events", 0, 0, "in")
	if got := len(q.take(5)); got != 1 {
		t.Errorf("took %d jobs, want the large one alone", got)
	}
	must("a job while all room is being written", 4, 400, "in line")
	q.answer(large, nil)
	if jobs, _, _ := q.state(); jobs != 3 || len(q.line) != 0 {
		t.Errorf("%d jobs, %d in line; want both to have moved up", jobs, len(q.line))
	}
	behind := must("too many bytes", 1, 300, "in line")
	small := must("one that would fit, behind one that does not", 1, 1, "in line")
	must("as many events as there is room for in line", 18, 1, "in line")
	must("too many events for the line", 1, 1, "busy")
	if !q.leave(behind) || q.leave(behind) {
		t.Error("a job does not leave the line exactly once")
	}
	if q.leave(small) {
		t.Error("a job still stands in line though the one before it left")
	}
	must("as many bytes as there is room for in line", 1, 1999, "in line")
	must("too many bytes for the line", 1, 1, "busy")
	if got := q.take(5); len(got) != 2 || got[1] != first {
		t.Errorf("took %d jobs, want the empty one and the first of four events", len(got))
	}
}

func TestQueueIsFirstComeFirstServed(t *testing.T) {
	q := newQueue(2, 1000)
	var want []*job
	for range 5 {
		j := &job{events: 1, bytes: 10, done: make(chan error, 1)}
		want = append(want, j)
		if _, err := q.push(j); err != nil {
			t.Fatal(err)
		}
	}
	for i, w := range want {
		j := q.take(1)[0]
		if j != w {
			t.Errorf("job %d is not the one that came %d", i, i)
		}
		q.answer(j, nil)
	}
	if q.held != (quantity{}) || q.lined != (quantity{}) || q.waiting != 0 {
		t.Errorf("an empty queue holds %v, %v in line", q.held, q.lined)
	}
}

func TestQueueLetsGoOfJobs(t *testing.T) {
	q := newQueue(1, 1000)
	var pointers []weak.Pointer[job]
	for range 3 {
		j := &job{events: 1, done: make(chan error, 1)}
		pointers = append(pointers, weak.Make(j))
		if _, err := q.push(j); err != nil {
			t.Fatal(err)
		}
	}
	for range pointers {
		q.answer(q.take(1)[0], nil)
	}
	runtime.GC()
	for i, p := range pointers {
		if p.Value() != nil {
			t.Errorf("job %d was answered and is still held by the empty queue", i)
		}
	}
	runtime.KeepAlive(q)
}

func TestQueueGathersNoLongerThanItMust(t *testing.T) {
	for name, test := range map[string]struct {
		push  int
		close bool
		want  time.Duration
	}{
		"until the limit":          {push: 1, want: time.Second},
		"until enough are there":   {push: 3, want: 0},
		"not when it is closed":    {push: 1, close: true, want: 0},
		"nor when events are many": {push: 2, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(100, 100)
				start := time.Now()
				go func() {
					for range test.push {
						events := 1
						if test.push == 2 {
							events = 5
						}
						q.push(&job{events: events})
					}
					if test.close {
						q.close()
					}
				}()
				q.wait()
				q.gather(3, 10, time.Second)
				if got := time.Since(start); got != test.want {
					t.Errorf("gathered for %v, want %v", got, test.want)
				}
			})
		})
	}
}

func TestBatchThatFailsDoesNotFailOthers(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	errPoison := errors.New("poison")
	var got [3]collector.Appended
	group := make([]*job, 4)
	for i, batch := range []collector.Batch{oneMessage("e0", 1), oneMessage("e0", 1), oneMessage("e2", 2)} {
		rows, _, err := encode(batch.Facts)
		if err != nil {
			t.Fatal(err)
		}
		group[i] = &job{apply: func(t *transaction) (err error) { got[i], err = t.store("shop", rows, nil); return err }}
	}
	group[3] = &job{apply: func(*transaction) error { return errPoison }}
	for _, j := range group {
		j.ctx, j.done = t.Context(), make(chan error, 1)
	}
	// The store is at rest, so that its writer is free to be used here.
	s.commit(group)
	for i, j := range group {
		err := <-j.done
		if i == 3 && !errors.Is(err, errPoison) || i != 3 && err != nil {
			t.Errorf("job %d: %v", i, err)
		}
	}
	if want := [3]collector.Appended{{Stored: 1}, {Duplicate: 1}, {Stored: 1}}; got != want {
		t.Errorf("told %v, want %v", got, want)
	}
	if n := facts(t, s); n != 2 {
		t.Errorf("stored %d facts, want 2", n)
	}
}

// What a batch said before its transaction was rolled back must not stay in the batches that are stored then.
func TestBatchThatFailsLeavesNothingInOthers(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	open := func(id string, second int64) []row {
		rows, _, err := encode([]collector.Fact{{ID: id, Time: time.Unix(second, 0), Event: &ingestionv1alpha.Event{
			Type: collector.TypeSessionOpen,
			Properties: &ingestionv1alpha.EventProperties{
				ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
					SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{SessionId: "s", SessionTitle: id}},
				CustomProperties: map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue{"said by": {StringValue: id}},
			}}}})
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	good, bad := open("good", 1), open("bad", 2)
	group := []*job{
		{apply: func(t *transaction) error { _, err := t.store("shop", good, nil); return err }},
		{apply: func(t *transaction) error {
			_, err := t.store("shop", bad, nil)
			return errors.Join(err, errors.New("poison"))
		}},
	}
	for _, j := range group {
		j.ctx, j.done = t.Context(), make(chan error, 1)
	}
	s.commit(group)
	if good, bad := <-group[0].done, <-group[1].done; good != nil || bad == nil {
		t.Errorf("the good batch: %v, the bad one: %v", good, bad)
	}
	list, _, err := s.Conversations(t.Context(), "shop", collector.Page{})
	if err != nil || len(list) != 1 {
		t.Fatalf("found %d conversations, %v; want 1", len(list), err)
	}
	if c := list[0]; c.Title != "good" || c.Properties["said by"] != "good" {
		t.Errorf("title %q, properties %v; want those of the good batch", c.Title, c.Properties)
	}
}

func TestCallerWhoLeavesDisturbsNobody(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	unlock := lock(t, file)
	ctx, leave := context.WithCancel(t.Context())
	left, stayed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.Append(ctx, "shop", oneMessage("leaves", 1))
		left <- err
	}()
	go func() {
		_, err := s.Append(t.Context(), "shop", oneMessage("stays", 2))
		stayed <- err
	}()
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("Append whose context ends: %v, want %v", err, context.Canceled)
	}
	unlock()
	if err := <-stayed; err != nil {
		t.Errorf("Append beside it: %v", err)
	}
	// What was left behind may be sent again.
	if _, err := s.Append(t.Context(), "shop", oneMessage("leaves", 1)); err != nil {
		t.Fatal(err)
	}
	if n := facts(t, s); n != 2 {
		t.Errorf("stored %d facts, want 2", n)
	}
}

func TestCloseWritesWhatWaits(t *testing.T) {
	const callers = 8
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	unlock := lock(t, file)
	jobs := make([]*job, callers)
	for i := range jobs {
		batch := oneMessage(fmt.Sprint("e", i), int32(i+1))
		rows, _, err := encode(batch.Facts)
		if err != nil {
			t.Fatal(err)
		}
		jobs[i] = &job{ctx: t.Context(), events: 1, done: make(chan error, 1),
			apply: func(t *transaction) error { _, err := t.store("shop", rows, nil); return err }}
		if _, err := s.queue.push(jobs[i]); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	unlock()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	for i, j := range jobs {
		if err := <-j.done; err != nil {
			t.Errorf("job %d: %v", i, err)
		}
	}
	if n := facts(t, openTest(t, file)); n != callers {
		t.Errorf("found %d facts, want %d", n, callers)
	}
}

// A disk that is full for requests has room for a row of a few bytes for long.
func TestReadyKnowsThatAppendsFail(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	// limit lets the file have so many pages more than it has.
	limit := func(more int) {
		t.Helper()
		if err := s.do(t.Context(), &job{apply: func(t *transaction) error {
			var pages int
			if err := t.conn.QueryRowContext(context.Background(), "PRAGMA page_count").Scan(&pages); err != nil {
				return err
			}
			_, err := t.conn.ExecContext(context.Background(), fmt.Sprint("PRAGMA max_page_count = ", pages+more))
			return err
		}}); err != nil {
			t.Fatal(err)
		}
	}
	// Each is larger than the one before, which may have left room in the file.
	large := func(n int) collector.Batch {
		batch := oneMessage(fmt.Sprint("e", n), int32(n+1))
		batch.Facts[0].Event.GetProperties().GetMessageProperties().MessageContent = strings.Repeat("x", n<<20)
		return batch
	}
	ready := func(what string, want bool) {
		t.Helper()
		if err := s.Ready(t.Context()); (err == nil) != want {
			t.Errorf("Ready %s: %v", what, err)
		}
	}
	fail := func(n int) {
		t.Helper()
		if _, err := s.Append(t.Context(), "shop", large(n)); err == nil {
			t.Fatal("Append to a full disk returned no error")
		}
	}
	ready("at first", true)
	limit(1)
	ready("when nothing has failed yet", true)
	fail(1)
	ready("after an append failed", false)
	ready("asked again", false)
	limit(5000)
	ready("once there is room", true)
	limit(1)
	fail(2)
	ready("when the disk is full again", false)
	limit(5000)
	if _, err := s.Append(t.Context(), "shop", large(3)); err != nil {
		t.Fatal(err)
	}
	limit(1)
	ready("after an append succeeded", true)

	// What is wrong with one batch says nothing of the disk.
	errPoison := errors.New("poison")
	if err := s.do(t.Context(), &job{events: 1, apply: func(*transaction) error { return errPoison }}); !errors.Is(err, errPoison) {
		t.Errorf("poison: %v", err)
	}
	ready("after a batch that could not be written", true)
}

func TestPagesHoldNoMoreThanTheMaximum(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	var batch collector.Batch
	for n := range maxPageSize + 1 {
		one, other := oneMessage(fmt.Sprint("a", n), int32(n+1)), oneMessage(fmt.Sprint("b", n), 1)
		other.Facts[0].Event.GetProperties().GetMessageProperties().SessionId = fmt.Sprint("s", n)
		batch.Facts = append(batch.Facts, one.Facts[0], other.Facts[0])
	}
	if _, err := s.Append(t.Context(), "shop", batch); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]int{-1: 100, 0: 100, 1: 1, maxPageSize - 1: maxPageSize - 1, maxPageSize + 1: 1000, 1 << 30: 1000} {
		messages, next, err := s.Messages(t.Context(), "shop", "s", collector.Page{Size: size})
		if err != nil || len(messages) != want || next == "" {
			t.Errorf("page of %d messages where %d were asked for, %v", len(messages), size, err)
		}
		conversations, next, err := s.Conversations(t.Context(), "shop", collector.Page{Size: size})
		if err != nil || len(conversations) != want || next == "" {
			t.Errorf("page of %d conversations where %d were asked for, %v", len(conversations), size, err)
		}
	}
}
