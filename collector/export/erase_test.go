package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
)

const marker = "Xq7-marker-Xq7"

// found returns which files hold a text: those of the database, and every form of a day's.
func (w *world) found(text string, dates ...string) (in []string) {
	w.t.Helper()
	files, err := filepath.Glob(w.file + "*")
	if err != nil || len(files) == 0 {
		w.t.Fatal(files, err)
	}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			w.t.Fatal(err)
		}
		if bytes.Contains(content, []byte(text)) {
			in = append(in, filepath.Base(f))
		}
	}
	for _, date := range dates {
		for _, v := range []export.Variant{{}, {Late: true}, {StartsOn: true}} {
			for _, v.Open = range []bool{false, true} {
				for _, v.Format = range []export.Format{export.FormatJSON, export.FormatCSV} {
					v.Day = day(date)
					if bytes.Contains(w.bytesOf(v), []byte(text)) {
						in = append(in, v.Name())
					}
				}
			}
		}
	}
	return in
}

func (w *world) mark(id, user string) {
	w.t.Helper()
	w.open(id, user, func(s *sessionProps) { s.Labels = []string{marker}; s.Data = `{"` + marker + `":"` + marker + `"}` })
	w.say(id, 1, marker, 0)
}

func TestUL32ErasureMakesWhatFilesSayOfAUserUnreadableAndLeavesTheirBytes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.mark("hers", marker)
		w.mark("late", marker)
		w.open("his", "bob", func(s *sessionProps) { s.Labels = []string{"kept"} })
		w.until("2026-03-02 01:00")
		w.rows("2026-03-01")
		w.update("late", func(s *sessionProps) { s.Labels = []string{marker, "more"} })
		w.until("2026-03-03 01:00")
		w.late("2026-03-02")
		before := map[string]map[string]string{"2026-03-01": w.all("2026-03-01"), "2026-03-02": w.all("2026-03-02")}
		keys, err := w.store.OpenExports(context.Background(), project, []string{"hers", "late", "his"})
		if err != nil || len(keys) != 3 || keys["hers"].Labels == nil || keys["hers"].Content == nil {
			t.Fatal(keys, err)
		}
		in := strings.Join(w.found(marker, "2026-03-01", "2026-03-02"), " ")
		for _, name := range []string{"align.db", "2026-03-01.open.json", "2026-03-01.open.csv", "2026-03-01.starts_on.open.json", "2026-03-02.late.open.json"} {
			if !strings.Contains(in, name) {
				t.Fatalf("the marker is not in %s before it is erased: this proves nothing", name)
			}
		}
		if strings.Contains(in, "2026-03-01.json") || strings.Contains(in, "2026-03-02.late.csv") {
			t.Errorf("files that are not opened hold it: %s", in)
		}
		if _, err := w.store.Erase(context.Background(), project, marker, "test"); err != nil {
			t.Fatal(err)
		}
		if in := w.found(marker, "2026-03-01", "2026-03-02"); in != nil {
			t.Errorf("erased, it is still in %v", in)
		}
		for _, id := range []string{"hers", "late"} {
			for _, key := range [][]byte{keys[id].Labels, keys[id].Content} {
				if in := w.found(string(key)); in != nil {
					t.Errorf("a key of %s is still in %v", id, in)
				}
			}
		}
		for date, files := range before {
			for name, content := range w.all(date) {
				if content != files[name] {
					t.Errorf("%s changed", name)
				}
			}
		}
		for _, row := range w.rows("2026-03-01") {
			want := map[string]string{"hers": "[] {} 1", "late": "[] {} 1", "his": `["kept"] {} 0`}[row.ConversationID]
			labels, _ := json.Marshal(row.Labels)
			if got := string(labels) + " " + row.ConversationsData + " " + string(rune('0'+row.VisitorMessagesCount)); got != want {
				t.Errorf("%s: %s, want %s: what is erased is absent, counts stay", row.ConversationID, got, want)
			}
		}
		// It goes on after the erasure: what is new is readable, what was erased stays so.
		w.update("hers", func(s *sessionProps) { s.Labels = []string{"new"} })
		w.until("2026-03-04 01:00")
		rows := w.late("2026-03-03")
		if len(rows) != 1 || strings.Join(rows[0].Labels, " ") != "new" {
			t.Errorf("%+v", rows)
		}
		if row := w.rows("2026-03-01")[0]; len(row.Labels) != 0 {
			t.Errorf("%+v", row)
		}
	})
}

func TestUL32RetentionTakesContentOutOfFilesAndLeavesLabels(t *testing.T) {
	inWorld(t, func(w *world) {
		w.open("s", "ada", func(s *sessionProps) { s.Labels = []string{"vip"}; s.Data = `{"` + marker + `":1}` })
		w.until("2026-03-02 01:00")
		w.rows("2026-03-01")
		if _, err := w.store.Retain(context.Background(), collector.Retention{ContentBefore: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if in := w.found(marker, "2026-03-01"); in != nil {
			t.Errorf("still in %v", in)
		}
		if row := w.rows("2026-03-01")[0]; row.ConversationsData != "{}" || strings.Join(row.Labels, "") != "vip" {
			t.Errorf("%+v", row)
		}
	})
}

// crashing is a store in front of which a process dies after some calls, or meanwhile something happens.
type crashing struct {
	collector.ExportStore
	mu        sync.Mutex
	calls     int
	at        int // call that fails; later ones too
	meanwhile func()
}

var errCrash = errors.New("the process is gone")

func (c *crashing) step() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.calls == c.at && c.meanwhile != nil {
		c.meanwhile()
		return nil
	}
	if c.calls >= c.at && c.meanwhile == nil {
		return errCrash
	}
	return nil
}

func (c *crashing) BeginExport(ctx context.Context, project string, day collector.Day) ([]byte, error) {
	if err := c.step(); err != nil {
		return nil, err
	}
	return c.ExportStore.BeginExport(ctx, project, day)
}

func (c *crashing) AddToExport(ctx context.Context, project string, day collector.Day, build []byte, chunk collector.ExportChunk) error {
	if err := c.step(); err != nil {
		return err
	}
	return errors.Join(c.ExportStore.AddToExport(ctx, project, day, build, chunk), c.step())
}

func (c *crashing) FinishExport(ctx context.Context, project string, day collector.Day, build, manifest []byte, received time.Time) error {
	if err := c.step(); err != nil {
		return err
	}
	return errors.Join(c.ExportStore.FinishExport(ctx, project, day, build, manifest, received), c.step())
}

func TestAnAttemptThatDiesAnywhereLeavesNothingThatCounts(t *testing.T) {
	for at := 1; at <= 14; at++ {
		inWorld(t, func(w *world) {
			w.say("early", 1, "Hello", 0)
			w.until("2026-03-02 12:00")
			w.mark("a", "ada")
			w.say("b", 1, "Hello", 0)
			w.vote("early", 1, "thumbs_up")
			w.until("2026-03-03 01:00")
			dies := export.New(&crashing{ExportStore: w.store, at: at}, export.Config{})
			err := dies.Finalize(context.Background(), project, day("2026-03-02"))
			if died := err != nil; died && !errors.Is(err, errCrash) || !died && at < 9 {
				t.Fatalf("at %d: %v", at, err)
			}
			before := map[string]string{}
			if days, err := w.Days(context.Background(), project, 0, 1<<30, 10); err != nil {
				t.Fatal(err)
			} else {
				for _, m := range days {
					for name, content := range w.plain(m.Day) {
						before[name] = content
					}
				}
			}
			time.Sleep(time.Minute) // until then it could be at work
			if got := ids(w.rows("2026-03-01")) + " then " + ids(w.rows("2026-03-02")); got != "early then a b" {
				t.Errorf("at %d: %s", at, got)
			}
			if late := w.late("2026-03-02"); len(late) != 0 && at > 8 {
				t.Errorf("at %d: %+v", at, late)
			}
			for _, date := range []string{"2026-03-01", "2026-03-02"} {
				for name, content := range w.plain(date) {
					if was, ok := before[name]; ok && was != content {
						t.Errorf("at %d: %s was final and changed", at, name)
					}
				}
			}
		})
	}
}

func TestWhatIsErasedWhileFilesAreMadeIsNotInThem(t *testing.T) {
	for at := 1; at <= 4; at++ {
		inWorld(t, func(w *world) {
			w.mark("hers", marker)
			w.until("2026-03-02 01:00")
			store := &crashing{ExportStore: w.store, at: at}
			store.meanwhile = func() {
				if _, err := w.store.Erase(context.Background(), project, marker, "test"); err != nil {
					t.Error(err)
				}
			}
			if err := export.New(store, export.Config{}).Finalize(context.Background(), project, day("2026-03-01")); err != nil {
				t.Fatalf("at %d: %v", at, err)
			}
			if in := w.found(marker, "2026-03-01"); in != nil {
				t.Errorf("at %d: in %v", at, in)
			}
		})
	}
}

func TestOfTwoProcessesOneMakesADayFinal(t *testing.T) {
	inWorld(t, func(w *world) {
		w.say("s", 1, "Hello", 0)
		w.until("2026-03-02 01:00")
		if err := w.store.NoteNews(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.BeginExport(context.Background(), project, day("2026-03-01")); err != nil {
			t.Fatal(err)
		}
		if err := w.Finalize(context.Background(), project, day("2026-03-01")); !errors.Is(err, collector.ErrOvertaken) {
			t.Errorf("while another is at work: %v", err)
		}
		time.Sleep(time.Minute)
		if got := ids(w.rows("2026-03-01")); got != "s" {
			t.Errorf("after it died: %q", got)
		}
		if _, err := w.store.BeginExport(context.Background(), project, day("2026-03-01")); !errors.Is(err, collector.ErrOvertaken) {
			t.Errorf("when it is final: %v", err)
		}
	})
}

// What was counted of texts stays as it was counted when they are gone.
func TestALateRowAfterRetentionCountsWhatWasCountedBefore(t *testing.T) {
	inWorld(t, func(w *world) {
		for i, text := range []string{"Where is my order number seven?", "We have shops everywhere.", "Where is my order, number seven?", "We have shops everywhere."} {
			w.say("s", int32(i+1), text, 0)
		}
		w.until("2026-03-02 01:00")
		before := w.rows("2026-03-01")[0]
		if before.NotUnderstoodCount == 0 {
			t.Fatalf("%+v: nothing was not understood: this proves nothing", before)
		}
		if _, err := w.store.Retain(context.Background(), collector.Retention{ContentBefore: time.Now()}); err != nil {
			t.Fatal(err)
		}
		w.vote("s", 2, "thumbs_down")
		w.until("2026-03-03 01:00")
		late := w.late("2026-03-02")
		if len(late) != 1 || late[0].ThumbsDown != 1 || late[0].NotUnderstoodCount != before.NotUnderstoodCount {
			t.Errorf("%+v, want %d not understood", late, before.NotUnderstoodCount)
		}
	})
}
