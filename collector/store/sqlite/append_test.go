package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

func TestAppendIsBusyWhenTheQueueIsFull(t *testing.T) {
	const room, callers = 5, 12
	file := filepath.Join(t.TempDir(), "align.db")
	s, err := open(t.Context(), file, newQueue(room, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	unlock := lock(t, file)
	answers := make(chan error, callers)
	for n := range callers {
		go func() {
			_, err := s.Append(context.Background(), "shop", oneMessage(fmt.Sprint("e", n), int32(n+1)))
			answers <- err
		}()
	}
	// While nothing can be written, only those for whom there is no room are answered.
	for range callers - room {
		if err := <-answers; !errors.Is(err, collector.ErrBusy) {
			t.Errorf("Append to a full queue: %v, want ErrBusy", err)
		}
	}
	unlock()
	for range room {
		if err := <-answers; err != nil {
			t.Errorf("Append with room: %v", err)
		}
	}
	if got := facts(t, s); got != room {
		t.Errorf("stored %d facts, want %d", got, room)
	}
	if _, err := s.Append(t.Context(), "shop", oneMessage("later", 1)); err != nil {
		t.Errorf("Append once there is room again: %v", err)
	}
}

func TestQueueIsBoundedByEventsAndBytes(t *testing.T) {
	q := newQueue(10, 1000)
	push := func(events, bytes int) (*job, error) {
		j := &job{events: events, bytes: bytes, done: make(chan error, 1)}
		return j, q.push(j)
	}
	large, err := push(50, 5000)
	if err != nil {
		t.Fatalf("a job that never fits is refused by an empty queue: %v", err)
	}
	if _, err := push(1, 1); err != collector.ErrBusy {
		t.Errorf("push into a full queue: %v, want ErrBusy", err)
	}
	if _, err := push(0, 0); err != nil {
		t.Errorf("push of a job without events: %v", err)
	}
	if got := len(q.take(5)); got != 1 {
		t.Errorf("took %d jobs, want the large one alone", got)
	}
	if _, err := push(1, 1); err != collector.ErrBusy {
		t.Errorf("push while all room is being written: %v, want ErrBusy", err)
	}
	q.answer(large, nil)
	for _, j := range [][2]int{{4, 400}, {4, 400}} {
		if _, err := push(j[0], j[1]); err != nil {
			t.Errorf("push of %v: %v", j, err)
		}
	}
	if _, err := push(1, 300); err != collector.ErrBusy {
		t.Errorf("push of too many bytes: %v, want ErrBusy", err)
	}
	if _, err := push(3, 1); err != collector.ErrBusy {
		t.Errorf("push of too many events: %v, want ErrBusy", err)
	}
	if got := len(q.take(5)); got != 2 {
		t.Errorf("took %d jobs, want the empty one and one of four events", got)
	}
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
			Type: typeSessionOpen,
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
		if err := s.queue.push(jobs[i]); err != nil {
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
