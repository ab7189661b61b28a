package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/server"
)

// unready is a store that cannot write.
type unready struct{ collector.Store }

func (unready) Ready(context.Context) error { return errors.New("disk /var/align is full") }

// ready is a store that can.
type ready struct{ collector.Store }

func (ready) Ready(context.Context) error { return nil }

func get(h http.Handler, path string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestReadyzFollowsTheStoreAndDraining(t *testing.T) {
	s := server.New(ready{}, server.Options{Logger: slog.New(slog.DiscardHandler)})
	if status, said := get(s, "/readyz"); status != http.StatusOK || said != "ok" {
		t.Errorf("%d %s", status, said)
	}
	s.Drain()
	if status, said := get(s, "/readyz"); status != http.StatusServiceUnavailable || said != "draining" {
		t.Errorf("draining: %d %s", status, said)
	}
	if status, said := get(s, "/healthz"); status != http.StatusOK || said != "ok" {
		t.Errorf("draining, the process is fine: %d %s", status, said)
	}

	var log bytes.Buffer
	s = server.New(unready{}, server.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if status, said := get(s, "/readyz"); status != http.StatusServiceUnavailable || strings.Contains(said, "disk") {
		t.Errorf("%d %s", status, said)
	}
	if !strings.Contains(log.String(), "disk /var/align is full") {
		t.Errorf("the operator is not told why: %s", &log)
	}
	if status, _ := get(s, "/healthz"); status != http.StatusOK {
		t.Errorf("the process is fine: %d", status)
	}
}

func TestNothingButHealthIsOpen(t *testing.T) {
	s := server.New(ready{}, server.Options{Logger: slog.New(slog.DiscardHandler)})
	for path, want := range map[string]int{
		"/ingestion.v1alpha.IngestionService/CollectEvents":    http.StatusUnauthorized,
		"/align.v1.ConversationService/SearchConversations":    http.StatusUnauthorized,
		"/align.v1.ConversationService/ListMessages":           http.StatusUnauthorized,
		"//align.v1.ConversationService///SearchConversations": http.StatusUnauthorized,
		"/":            http.StatusNotFound,
		"/debug/pprof": http.StatusNotFound,
	} {
		if status, said := get(s, path); status != want || !strings.HasPrefix(said, `{"code":`) {
			t.Errorf("%s: %d %s, want %d and a Connect error", path, status, said, want)
		}
	}
}

func TestClientThatWaitsToBeAskedIsNotAskedForARefusedBody(t *testing.T) {
	w := newWorld(t)
	pipe, feed := io.Pipe() // never written to: reading it would hang
	defer feed.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.addr+procedure, pipe)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Expect", "100-continue")
	r.Header.Set("Content-Type", typeProto)
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 1 << 40}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %s, want 401", resp.Status)
	}
}

func TestLogOfRequestsHoldsNoContentPathsOrKeys(t *testing.T) {
	w := newWorld(t)
	for _, c := range wireCases() {
		if c.name == "edge-conversation" || c.name == "hostile-every-reason" || c.name == "refused-path" {
			w.send(t, c)
		}
	}
	log := w.log.String()
	for _, want := range []string{"events taken in", "events set aside", "status=404"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	for _, secret := range []string{"Where is my order", "warehouse", "Ada", "CollectEventss", w.keys.Replace("{ingest key}")} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q:\n%s", secret, log)
		}
	}
}
