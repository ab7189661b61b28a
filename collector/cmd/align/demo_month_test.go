package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/cmd/align/internal/month"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

func TestDemoPlaysAMonthAndTheNumbersAgree(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &interrupter{word: "New conversations", interrupt: cancel}
	var diagnostics bytes.Buffer
	if status := runDemo(t, ctx, streams{out, &diagnostics}, "--conversations", "200", "--seed", "9"); status != 0 {
		t.Fatalf("status %d\n%s\n%s", status, out, &diagnostics)
	}
	for _, want := range []string{"Playing a month of 200 conversations", "+ 0 dropped + 0 pending", "sessions        200      200", "removes its data"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if want := "  25 %: 50 of 200 conversations\n  50 %: 100 of 200 conversations\n  75 %: 150 of 200 conversations\n 100 %: 200 of 200 conversations\n"; diagnostics.String() != want {
		t.Errorf("said %q, want %q", &diagnostics, want)
	}
}

// What is stored is what was said, word by word, and when it was.
func TestAMonthArrivesAsItHappened(t *testing.T) {
	host, err := (&demoCommand{Data: t.TempDir()}).startHost(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer host.close()
	m := month.New(11, time.Now(), 150)
	client, err := align.New(align.Config{ProjectID: demoProject, APIKey: host.ingestKey, Host: host.url})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(t.Context())
	if err := recordMonth(t.Context(), client, m, noProgress{}); err != nil {
		t.Fatal(err)
	}
	if err := compareMonth(t.Context(), io.Discard, host, client.Stats(), m); err != nil {
		t.Error(err)
	}
	if err := compareMonth(t.Context(), io.Discard, host, client.Stats(), month.New(11, m.To, 149)); !errors.Is(err, errDisagree) {
		t.Errorf("another month: %v, want %v", err, errDisagree)
	}

	stored := make(map[string]*alignv1.Conversation)
	page, err := host.conversations().SearchConversations(t.Context(), connect.NewRequest(&alignv1.SearchConversationsRequest{PageSize: 500}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range page.Msg.Conversations {
		stored[c.Id] = c
	}
	for _, c := range m.Conversations {
		checkStored(t, host, stored[c.ID], c)
	}
}

// checkStored holds a stored conversation against the one that was played.
func checkStored(t *testing.T, host *demoHost, got *alignv1.Conversation, want month.Conversation) {
	t.Helper()
	current := make(map[int32]month.Event)
	reason := ""
	var last, start time.Time
	for _, e := range want.Events {
		switch {
		case e.Session != nil:
			last, reason = e.At, ""
			if start.IsZero() {
				start = e.At
			}
		case e.Message != nil:
			last, reason = e.At, ""
			current[int32(e.Message.Index)] = e
		case e.SessionEnd != nil:
			if reason = string(e.SessionEnd.Reason); reason == "" {
				reason = string(align.CloseExplicit)
			}
		}
	}
	if reason == "" && got != nil && got.CloseReason == collector.CloseIdle {
		got.CloseReason, got.EndTime = "", nil // its time came meanwhile
	}
	if got == nil || got.CloseReason != reason || !got.StartTime.AsTime().Equal(start) || reason != "" && !got.EndTime.AsTime().Equal(last) {
		t.Errorf("stored %v, want one from %v to %v, closed %q", got, start, last, reason)
		return
	}
	list, err := host.conversations().ListMessages(t.Context(), connect.NewRequest(&alignv1.ListMessagesRequest{ConversationId: want.ID, PageSize: 1000}))
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Msg.Messages) != len(current) {
		t.Errorf("%s: %d messages stored, %d played", want.ID, len(list.Msg.Messages), len(current))
	}
	for _, m := range list.Msg.Messages {
		e := current[m.Index]
		if e.Message == nil || m.Content != e.Message.Content || m.Role != string(e.Message.Role) || !m.CreateTime.AsTime().Equal(e.At) {
			t.Errorf("%s: message %d is not what was played, or of another time", want.ID, m.Index)
		}
	}
}

func TestDemoKeepsItsDataWhereAskedAndPlaysOneMonth(t *testing.T) {
	data := filepath.Join(t.TempDir(), "kept")
	for _, want := range []string{"Playing a month of 30 conversations", "has 30 conversations already"} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &interrupter{word: "Ctrl-C", interrupt: cancel}
		var diagnostics bytes.Buffer
		status := runDemo(t, ctx, streams{out, &diagnostics}, "--conversations", "30", "--quiet", "--data", data)
		cancel()
		if status != 0 || beside(&diagnostics) != "" || !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "keeps its data") {
			t.Fatalf("status %d, want %q\n%s\n%s", status, want, out, &diagnostics)
		}
	}
	if _, err := os.Stat(filepath.Join(data, databaseFile)); err != nil {
		t.Error(err)
	}
	store, err := dataFlag{Data: data}.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if totals, err := store.Totals(t.Context(), demoProject); err != nil || totals.Conversations != 30 {
		t.Errorf("%+v, %v", totals, err)
	}
}

// A few a minute, each in its own time.
func TestLiveConversationsComeNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, srv := aligntest.Client(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		m := month.New(5, time.Now(), 100)
		var out bytes.Buffer
		liven(ctx, &out, client, m)
		if err := client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		opened := make(map[string]bool)
		for _, e := range srv.Events() {
			if e.CreateTime.Before(m.To) || e.CreateTime.After(time.Now()) {
				t.Errorf("a %s happened at %v, not while it was watched", e.Type, e.CreateTime)
			}
			if e.Type == align.EventOpenSession {
				opened[e.SessionID] = true
			}
		}
		if n := len(opened); n < 15 || n > 80 {
			t.Errorf("%d conversations in ten minutes", n)
		}
		if lines := strings.Count(out.String(), "\n"); lines < len(opened) {
			t.Errorf("told of %d lines for %d conversations", lines, len(opened))
		}
	})
}

func TestIdleClosesCountsThoseOfThePastAlone(t *testing.T) {
	host, err := (&demoCommand{Data: ""}).startHost(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer host.close()
	now := time.Now()
	client, err := align.New(align.Config{ProjectID: demoProject, APIKey: host.ingestKey, Host: host.url})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(t.Context())
	for id, ago := range map[string]time.Duration{"long ago": 2 * collector.DefaultIdleTimeout, "just now": collector.DefaultIdleTimeout + time.Second} {
		if err := client.OpenSession(align.WithTime(t.Context(), now.Add(-ago)), align.Session{ID: id, UserID: "u"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := idleCloses(t.Context(), host, now.Add(-collector.DefaultIdleTimeout-time.Minute)); n != 1 || err != nil {
		t.Errorf("%d, %v; want the one that ended before", n, err)
	}
}
