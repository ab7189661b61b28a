package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector/export"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

type sessionProps = ingestionv1alpha.EventProperties_SessionProperties

// bytesOf returns a file.
func (w *world) bytesOf(v export.Variant) []byte {
	w.t.Helper()
	var b bytes.Buffer
	if _, err := w.Write(context.Background(), &b, project, v); err != nil {
		w.t.Fatalf("%s: %v", v.Name(), err)
	}
	return b.Bytes()
}

// rows returns the rows of a day's file.
func (w *world) rows(date string) (rows []export.Row) {
	w.t.Helper()
	if err := json.Unmarshal(w.bytesOf(export.Variant{Day: day(date), Open: true}), &rows); err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// late returns the rows of a day's late file.
func (w *world) late(date string) (rows []export.LateRow) {
	w.t.Helper()
	if err := json.Unmarshal(w.bytesOf(export.Variant{Day: day(date), Late: true, Open: true}), &rows); err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// ids returns the conversation_ids of rows, joined.
func ids(rows []export.Row) string {
	var list []string
	for i := range rows {
		list = append(list, rows[i].ConversationID)
	}
	return strings.Join(list, " ")
}

func TestUL21AFileHoldsWhatEndedOnItsDayHalfOpen(t *testing.T) {
	inWorld(t, func(w *world) {
		w.say("before", 1, "Where is my order?", 0)
		w.until("2026-03-02 00:00")
		w.say("at midnight", 1, "Where is my order?", 0)
		w.until("2026-03-02 23:59")
		w.say("last minute", 1, "Where is my order?", 0)
		w.until("2026-03-03 00:00")
		w.say("next midnight", 1, "Where is my order?", 0)
		w.until("2026-03-05 12:00")
		for date, want := range map[string]string{"2026-03-01": "before", "2026-03-02": "at midnight last minute", "2026-03-03": "next midnight", "2026-03-04": ""} {
			if got := ids(w.rows(date)); got != want {
				t.Errorf("%s: %q, want %q", date, got, want)
			}
		}
	})
}

func TestUL30ADayIsFinalAtOneAndNotBefore(t *testing.T) {
	inWorld(t, func(w *world) {
		w.until("2026-03-01 23:50")
		w.open("s", "ada", nil)
		w.say("s", 1, "Where is my order?", 0)
		w.until("2026-03-02 00:59")
		_, err := w.Manifest(context.Background(), project, day("2026-03-01"))
		early, ok := errors.AsType[*export.NotFinalError](err)
		if !ok || !early.Final.Equal(time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)) || !strings.Contains(err.Error(), "not_final") {
			t.Fatalf("a minute before: %v, want not_final with 01:00", err)
		}
		time.Sleep(time.Minute)
		if got := ids(w.rows("2026-03-01")); got != "s" {
			t.Errorf("its idle close is of the next day, its last activity is not: %q", got)
		}
	})
}

// One request for a day long ago makes that day final, and not all that lie between.
func TestADayLongAgoMakesNoDaysBetweenFinal(t *testing.T) {
	inWorld(t, func(w *world) {
		w.say("a", 1, "Hello", 0)
		w.until("2026-03-02 02:00")
		ctx := context.Background()
		if err := w.Finalize(ctx, project, day("0001-01-01")); err != nil {
			t.Fatal(err)
		}
		if m, err := w.Manifest(ctx, project, day("0001-01-01")); err != nil || m.Rows != 0 {
			t.Fatalf("%+v %v", m, err)
		}
		if m, err := w.Manifest(ctx, project, day("2026-03-01")); err != nil || m.Rows != 1 {
			t.Fatalf("%+v %v", m, err)
		}
		w.until("2026-03-04 02:00")
		if _, err := w.Manifest(ctx, project, day("2026-03-03")); err != nil {
			t.Fatal(err)
		}
		list, err := w.Days(ctx, project, -1<<31, 1<<31-1, 1000)
		var days []string
		for _, m := range list {
			days = append(days, m.Day)
		}
		if want := []string{"0001-01-01", "2026-03-01", "2026-03-02", "2026-03-03"}; err != nil || !slices.Equal(days, want) {
			t.Errorf("final: %v %v, want %v", days, err, want)
		}
	})
}
