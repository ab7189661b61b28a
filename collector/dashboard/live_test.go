package dashboard_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/keys"
)

type stream struct {
	t      testing.TB
	lines  *bufio.Scanner
	cancel func()
}

// watch opens the stream of events and waits until it is ready.
func (b *browser) watch(query string) *stream {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	r := b.request(http.MethodGet, "/dashboard/live/events"+query, "").WithContext(ctx)
	response, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		cancel()
		response.Body.Close()
	})
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		b.t.Fatalf("%d %s", response.StatusCode, response.Header.Get("Content-Type"))
	}
	s := &stream{b.t, bufio.NewScanner(response.Body), cancel}
	if ready := s.next(); ready["id"] != nil {
		b.t.Fatalf("first came %v", ready)
	}
	return s
}

// next is what the next event says; nil at the end of the stream.
func (s *stream) next() (event map[string]any) {
	s.t.Helper()
	for s.lines.Scan() {
		if data, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			err := json.Unmarshal([]byte(data), &event)
			if err != nil && !s.lines.Scan() { // cut off in the middle: no browser takes that for an event
				return nil
			}
			if err != nil {
				s.t.Fatal(err)
			}
			return event
		}
	}
	return nil
}

func TestWhatIsStoredIsToldToWhoWatchesItsProject(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	ours := w.browser().signIn(w.key(collector.ScopeRead)).watch("")
	bank := w.browser().signIn(w.keyOf("bank", collector.ScopeRead)).watch("")
	ingest, theirs := w.key(collector.ScopeIngest), w.keyOf("bank", collector.ScopeIngest)
	w.ingest(ingest, "s1", "ada", "line\nline \u2028 <b>&\u202e")
	w.ingest(ingest, "s1", "ada", "line\nline \u2028 <b>&\u202e") // again: nothing new
	w.ingest(theirs, "s2", "bob", "elsewhere")
	w.ingest(ingest, "s3", "ada", "next")
	var got []string
	for range 4 {
		e := ours.next()
		got = append(got, fmt.Sprint(e["conversation"], " ", e["type"], " ", e["role"], " ", e["text"]))
	}
	want := "s1 session_open <nil> <nil>|s1 message_create user line\nline \u2028 <b>&\u202e|s3 session_open <nil> <nil>|s3 message_create user next"
	if strings.Join(got, "|") != want {
		t.Errorf("got  %q\nwant %q", strings.Join(got, "|"), want)
	}
	if e := bank.next(); e["conversation"] != "s2" {
		t.Errorf("another project is told of %v", e)
	}
}

func TestOneConversationCanBeWatched(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	s := w.browser().signIn(w.key(collector.ScopeRead)).watch("?conversation=s2")
	ingest := w.key(collector.ScopeIngest)
	for _, session := range []string{"s1", "s2", "s22"} {
		w.ingest(ingest, session, "ada", "hello")
	}
	w.voted("s2", 1, "ada", "thumbs_down", "no", time.Now())
	if _, err := w.watched.Append(t.Context(), project, collector.Batch{Facts: w.facts}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"session_open <nil> <nil>", "message_create 1 <nil>", "feedback_create 1 down"} {
		if e := s.next(); e["conversation"] != "s2" || fmt.Sprint(e["type"], " ", e["index"], " ", e["vote"]) != want {
			t.Errorf("event %d is %v, want %s", i+1, e, want)
		}
	}
}

func TestWatchingEndsWithTheServer(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	b := w.browser().signIn(w.key(collector.ScopeRead))
	s := b.watch("")
	w.server.Drain()
	if e := s.next(); e != nil {
		t.Errorf("told of %v", e)
	}
	if status, _ := b.get("/dashboard/live/events"); status != http.StatusServiceUnavailable {
		t.Errorf("watching a server that stops: %d", status)
	}
}

// A browser that does not read must hold up nobody, nor fill the memory.
func TestSlowBrowsersAreDropped(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: not with -short")
	}
	w := newWorld(t, dashboard.Options{})
	s := w.browser().signIn(w.key(collector.ScopeRead)).watch("")
	for i := range 40 {
		w.facts = nil
		for n := range 1000 {
			w.said(fmt.Sprintf("s%d", i), int32(n+1), "user", strings.Repeat("x", 190), time.Unix(int64(1_770_000_000+n), 0))
		}
		if _, err := w.watched.Append(t.Context(), project, collector.Batch{Facts: w.facts}); err != nil {
			t.Fatal(err)
		}
	}
	told := 0
	for s.next() != nil {
		told++
	}
	if told >= 40_000 {
		t.Errorf("all %d events waited for a browser that did not read", told)
	}
}

func TestWhoMayNotLookAnyMoreIsToldNothingMore(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	key := w.key(collector.ScopeRead)
	b := w.browser().signIn(key)
	if err := w.store.ExpireKey(t.Context(), keys.Hash(key), time.Now()); err != nil {
		t.Fatal(err)
	}
	if status, _ := b.get("/dashboard/live/events"); status != http.StatusUnauthorized {
		t.Errorf("with a revoked key: %d", status)
	}
}
