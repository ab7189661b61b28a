package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/store/sqlite"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// storeMessages puts messages of one session into a data folder, at minutes after its start.
func storeMessages(t *testing.T, data string, minutes ...int) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(data, "align.db"))
	if err != nil {
		t.Fatal(err)
	}
	var batch collector.Batch
	for i, minute := range minutes {
		event := messageEvent("s", i+1)
		at := time.Date(2026, 3, 1, 12, minute, 0, 0, time.UTC)
		batch.Facts = append(batch.Facts, collector.Fact{ID: event.Id, Event: withoutTime(event), Time: at, ReceiveTime: at})
	}
	if _, err := store.Append(t.Context(), "shop", batch); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

func withoutTime(event *ingestionv1alpha.Event) *ingestionv1alpha.Event {
	event.CreateTime = nil
	return event
}

func TestReplayIdleShowsHowSessionsWouldMove(t *testing.T) {
	data := t.TempDir()
	storeMessages(t, data, 0, 5, 25, 85)
	out, _ := runAlign(t, "replay", "--data", data, "--idle", "10m,2h")
	var rows []string
	for line := range strings.Lines(out) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"IDLE SESSIONS CLOSED OPEN REOPENED MEDIAN P90",
		"30m0s 1 1 0 1 0s 25m0s",
		"10m0s 1 1 0 2 0s 5m0s",
		"2h0m0s 1 1 0 0 1h25m0s 1h25m0s",
	}
	if len(rows) < len(want) || strings.Join(rows[:len(want)], "\n") != strings.Join(want, "\n") {
		t.Errorf("printed\n%s\nwant\n%s", out, strings.Join(want, "\n"))
	}
}

func TestReplayMakesViewsAgain(t *testing.T) {
	data := t.TempDir()
	storeMessages(t, data, 0, 5)
	if _, said := runAlign(t, "replay", "--data", data); !strings.Contains(said, "from 2 facts") {
		t.Errorf("said %q", said)
	}
}
