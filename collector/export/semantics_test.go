package export_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

type messageProps = ingestionv1alpha.EventProperties_MessageProperties

func TestUL20AFileIsTheSameBytesForEver(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 20 {
			id := fmt.Sprint("s", i)
			w.open(id, "ada", func(s *sessionProps) { s.Labels = []string{"vip"}; s.Data = `{"plan":"pro"}` })
			w.say(id, 1, "Where is my order?", 0)
			w.say(id, 2, "On its way.", 0)
		}
		w.until("2026-03-02 02:00")
		before := w.all("2026-03-01")
		check := func(when string) {
			t.Helper()
			for name, bytes := range w.all("2026-03-01") {
				if bytes != before[name] {
					t.Errorf("%s: %s changed", when, name)
				}
			}
			if _, differ, err := w.Verify(context.Background(), project, day("2026-03-01")); err != nil || differ != nil {
				t.Errorf("%s: verify: %v %v", when, differ, err)
			}
		}
		w.say("s1", 3, "It is late.", 24*time.Hour)
		w.vote("s2", 2, "thumbs_down")
		w.replace("s3", 1)
		w.open("s4", "eve", nil)
		w.say("s5", 3, "I am back.", 0)
		w.update("s6", func(s *sessionProps) { s.Labels = []string{"other"}; s.Outcome = "agent" })
		check("after late events")
		w.until("2026-03-04 02:00")
		w.all("2026-03-03")
		check("after later days")
		if _, err := w.store.Replay(context.Background()); err != nil {
			t.Fatal(err)
		}
		check("after a replay")
		if _, err := w.store.Retain(context.Background(), collector.Retention{ContentBefore: time.Now(), FactsBefore: time.Now().Add(-time.Hour)}); err != nil {
			t.Fatal(err)
		}
		check("after retention")
		if _, err := w.store.Erase(context.Background(), project, "ada", "test"); err != nil {
			t.Fatal(err)
		}
		check("after an erasure")
		w.Exporter = export.New(w.store, export.Config{IdleTimeout: time.Minute})
		check("with another idle timeout")
	})
}

// all returns the files of a day in every format and compression, the late ones too.
func (w *world) all(date string) map[string]string {
	w.t.Helper()
	return w.files(date, []bool{false, true}, "", export.CompressionGzip, export.CompressionZstd)
}

// plain returns the files of a day in every format, the late ones too, of which all others are made.
func (w *world) plain(date string) map[string]string {
	w.t.Helper()
	return w.files(date, []bool{false}, "")
}

func (w *world) files(date string, compat []bool, compressions ...export.Compression) map[string]string {
	w.t.Helper()
	files := map[string]string{}
	for _, late := range []bool{false, true} {
		for _, format := range export.Formats {
			for _, compression := range compressions {
				for _, compatible := range compat {
					v := export.Variant{Day: day(date), Late: late, Format: format, Compression: compression, Ultimate: compatible}
					files[v.Name()] = string(w.bytesOf(v))
				}
			}
		}
	}
	return files
}

func TestUL3AManifestCountsRowsAndHasTheSumsOfTheFiles(t *testing.T) {
	inWorld(t, func(w *world) {
		w.say("a", 1, "Hello", 0)
		w.say("b", 1, "Hello", 0)
		w.until("2026-03-03 02:00")
		for date, rows := range map[string]int64{"2026-03-01": 2, "2026-03-02": 0} {
			m, err := w.Manifest(context.Background(), project, day(date))
			if err != nil || m.Rows != rows || m.SchemaVersion != export.SchemaVersion || m.GeneratedAt != "2026-03-03T02:00:00Z" || m.IdleTimeout != 1800 || len(m.Files) != 8 {
				t.Errorf("%s: %+v %v", date, m, err)
				continue
			}
			for _, f := range m.Files {
				v, err := export.ParseName(f.Name)
				if err != nil {
					t.Fatal(err)
				}
				content := w.bytesOf(v)
				if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != f.SHA256 || int64(len(content)) != f.Bytes {
					t.Errorf("%s is not what the manifest says", f.Name)
				}
				if want := rows; v.Late && f.Rows != 0 || !v.Late && f.Rows != want {
					t.Errorf("%s has %d rows", f.Name, f.Rows)
				}
			}
		}
		if got := string(w.bytesOf(export.Variant{Day: day("2026-03-02")})); got != "[\n]\n" {
			t.Errorf("a day without conversations: %q", got)
		}
	})
}

func TestUL22ARowHasAllDataEvenFromEarlierDays(t *testing.T) {
	inWorld(t, func(w *world) {
		w.open("short", "ada", nil)
		w.until("2026-03-01 23:50")
		w.open("s", "ada", nil)
		w.say("s", 1, "Where is my order?", 0)
		w.until("2026-03-02 00:10")
		w.say("s", 2, "On its way.", 0)
		w.until("2026-03-02 00:20")
		w.say("s", 3, "Thank you", 0)
		w.until("2026-03-03 02:00")
		if got := ids(w.rows("2026-03-01")); got != "short" {
			t.Errorf("it has not ended on its first day: %v", got)
		}
		got := w.rows("2026-03-02")
		if len(got) != 1 || got[0].VisitorMessagesCount != 2 || got[0].BotMessagesCount != 1 || got[0].ConversationStartTime.String() != "2026-03-01T23:50:00.000000Z" {
			t.Errorf("%+v", got)
		}
	})
}

func TestUL23StartsOnReadsAsManyDaysAsTheLongestConversationNeeds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.open("long", "ada", nil)
		w.open("short", "ada", nil)
		for range 2 { // days, on which it never stands still for longer than the idle timeout
			w.sleep(24 * time.Hour)
			for ago := 24*time.Hour - 15*time.Minute; ago >= 0; ago -= 15 * time.Minute {
				w.tell(collector.TypeSessionOpen, ago, &props{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: &sessionProps{SessionId: "long", AssistantId: "support"}}})
			}
		}
		w.open("other day", "ada", nil)
		span := func() (export.Span, string) {
			var rows []export.Row
			if err := json.Unmarshal(w.bytesOf(export.Variant{Day: day("2026-03-01"), StartsOn: true}), &rows); err != nil {
				t.Fatal(err)
			}
			got, err := w.StartsOn(context.Background(), project, day("2026-03-01"))
			if err != nil {
				t.Fatal(err)
			}
			return got, ids(rows)
		}
		if got, list := span(); got.After != 0 || list != "short" {
			t.Errorf("while the long one goes on: %+v %s", got, list)
		}
		w.until("2026-03-05 02:00")
		w.rows("2026-03-04")
		if got, list := span(); got != (export.Span{After: 2, Complete: true}) || list != "short long" {
			t.Errorf("%+v %s, want 2 days after the first, all final, and both", got, list)
		}
	})
}

func TestUL24ADaysFileLeavesOutWhatStillGoesOn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.until("2026-03-01 23:45")
		w.say("goes on", 1, "Hello", 0)
		w.say("ended", 1, "Hello", 0)
		w.until("2026-03-02 00:05")
		w.say("goes on", 2, "Hello", 0)
		w.until("2026-03-02 01:00")
		list, _, err := w.store.Conversations(context.Background(), project, collector.Page{})
		if err != nil || len(list) != 2 {
			t.Fatal(list, err)
		}
		if got := ids(w.rows("2026-03-01")); got != "ended" {
			t.Errorf("%q: logs have both, the file what has ended", got)
		}
	})
}

func TestUL25ConversationsWithoutAnswersAreInTheFileAndCanBeFilteredOut(t *testing.T) {
	inWorld(t, func(w *world) {
		w.say("unanswered", 1, "Hello", 0)
		w.say("answered", 1, "Hello", 0)
		w.say("answered", 2, "Hello", 0)
		w.until("2026-03-02 01:00")
		rows := w.rows("2026-03-01")
		if len(rows) != 2 {
			t.Fatal(rows)
		}
		rows = slices.DeleteFunc(rows, func(r export.Row) bool { return r.BotMessagesCount == 0 })
		if ids(rows) != "answered" {
			t.Error(ids(rows))
		}
	})
}

func TestUL31AReopenedSessionIsAnEpisodeOfTheLaterDay(t *testing.T) {
	inWorld(t, func(w *world) {
		w.open("s", "ada", nil)
		w.say("s", 1, "Where is my order?", 0)
		w.say("s", 2, "On its way.", 0)
		w.until("2026-03-03 10:00")
		w.rows("2026-03-01")
		w.say("s", 3, "It never came.", 0)
		w.until("2026-03-04 01:00")
		first, second := w.rows("2026-03-01"), w.rows("2026-03-03")
		if len(first) != 1 || first[0].ConversationID != "s" || first[0].Episode != 1 || first[0].Continues != "" || first[0].VisitorMessagesCount != 1 {
			t.Errorf("%+v", first)
		}
		if len(second) != 1 || second[0].ConversationID != "s#2" || second[0].PlatformConversationID != "s" || second[0].Episode != 2 || second[0].Continues != "s#1" ||
			second[0].VisitorMessagesCount != 1 || second[0].BotMessagesCount != 0 || second[0].ConversationStartTime.String() != "2026-03-03T10:00:00.000000Z" {
			t.Errorf("%+v", second)
		}
		if got := w.late("2026-03-03"); len(got) != 0 {
			t.Errorf("the first episode has not changed: %+v", got)
		}
	})
}

func TestUL31WhatChangesLaterIsInTheLateFileWithTheReason(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, id := range []string{"vote", "words", "transcript", "outcome", "labels", "same"} {
			w.open(id, "ada", nil)
			w.say(id, 1, "Where is my order?", 0)
			w.say(id, 2, "On its way.", 0)
		}
		w.until("2026-03-02 01:00")
		w.rows("2026-03-01")
		w.until("2026-03-02 10:00")
		w.vote("vote", 2, "thumbs_up")
		w.say("words", 3, "Written yesterday.", 20*time.Hour)
		w.replace("transcript", 1)
		w.update("outcome", func(s *sessionProps) { s.Transfer = proto.Bool(true) })
		w.update("labels", func(s *sessionProps) { s.Labels = []string{"vip"} })
		w.open("same", "ada", func(s *sessionProps) { s.SessionStartTime = nil; s.AssistantId = "" })
		w.say("offline", 1, "Sent when the phone was online again.", 20*time.Hour)
		w.until("2026-03-03 01:00")
		got := map[string]string{}
		for _, row := range w.late("2026-03-02") {
			if row.Day != "2026-03-01" {
				t.Errorf("%s belongs to %s", row.ConversationID, row.Day)
			}
			got[row.ConversationID] = strings.Join(row.Reasons, " ")
		}
		want := map[string]string{"vote": "outcome_changed feedback_changed", "words": "messages_changed", "transcript": "messages_changed",
			"outcome": "outcome_changed", "labels": "details_changed", "offline": "arrived_late"}
		for id, reasons := range want {
			if !strings.Contains(got[id], strings.Fields(reasons)[len(strings.Fields(reasons))-1]) {
				t.Errorf("%s: %q, want %q", id, got[id], reasons)
			}
			delete(got, id)
		}
		if len(got) > 0 {
			t.Errorf("more are late: %v", got)
		}
		if again := w.late("2026-03-02"); len(again) != len(want) {
			t.Error(again)
		}
		w.until("2026-03-05 01:00")
		for _, date := range []string{"2026-03-03", "2026-03-04"} {
			if again := w.late(date); len(again) != 0 {
				t.Errorf("%s tells it again: %v", date, again)
			}
		}
	})
}

// A day is made final by the program that serves, on time, and after it did not run those that were missed.
func TestTheSchedulerMakesDaysFinalOnTimeAndCatchesUp(t *testing.T) {
	inWorld(t, func(w *world) {
		final := func() (list []string) {
			days, err := w.Days(context.Background(), project, day("2026-01-01"), day("2027-01-01"), 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range days {
				list = append(list, m.Day+" at "+m.GeneratedAt)
			}
			return list
		}
		w.pinned = true
		run := func() (stop func()) {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() { w.Run(ctx); close(done) }()
			return func() { cancel(); <-done }
		}
		stop := run()
		w.say("s", 1, "Hello", 0)
		w.until("2026-03-02 00:59")
		if got := final(); got != nil {
			t.Errorf("too early: %v", got)
		}
		w.until("2026-03-02 01:01")
		synctest.Wait()
		if got := fmt.Sprint(final()); got != "[2026-03-01 at 2026-03-02T01:00:00Z]" {
			t.Errorf("on time: %s", got)
		}
		stop()
		w.pinned = false
		w.until("2026-03-05 12:00")
		w.pinned = true
		stop = run()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := fmt.Sprint(final()); got != "[2026-03-01 at 2026-03-02T01:00:00Z 2026-03-02 at 2026-03-05T12:00:00Z 2026-03-03 at 2026-03-05T12:00:00Z 2026-03-04 at 2026-03-05T12:00:00Z]" {
			t.Errorf("after it did not run: %s", got)
		}
		stop()
	})
}

func TestUL30TheIdleTimeoutAndGraceSayWhenADayIsFinal(t *testing.T) {
	e := export.New(nil, export.Config{IdleTimeout: 2 * time.Hour, Grace: 15 * time.Minute, Logger: slog.New(slog.DiscardHandler)})
	if got := e.FinalTime(day("2026-03-01")); !got.Equal(time.Date(2026, 3, 2, 2, 15, 0, 0, time.UTC)) {
		t.Error(got)
	}
	never := export.New(nil, export.Config{IdleTimeout: -1})
	if got := never.FinalTime(day("2026-03-01")); !got.Equal(time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)) {
		t.Errorf("where sessions never close: %s", got)
	}
}
