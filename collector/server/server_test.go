package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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

// asked is a store that counts how often it is asked whether it is ready, and answers when it is let.
type asked struct {
	collector.Store
	times  atomic.Int32
	answer chan error
}

func (a *asked) Ready(ctx context.Context) error {
	a.times.Add(1)
	select {
	case err := <-a.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// To ask the store is to write to the disk, and anybody may call /readyz.
func TestReadyzAsksTheStoreOnceASecondForEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &asked{answer: make(chan error, 1)}
		s := server.New(store, server.Options{Logger: slog.New(slog.DiscardHandler)})
		statuses := make(chan int)
		probe := func(ctx context.Context) {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/readyz", nil))
			statuses <- w.Code
		}
		first, hangUp := context.WithCancel(t.Context())
		go probe(first)
		synctest.Wait()
		for range 99 {
			go probe(t.Context())
		}
		synctest.Wait()
		hangUp() // is not the others' business
		if status := <-statuses; status != http.StatusServiceUnavailable {
			t.Errorf("who hung up: status %d", status)
		}
		store.answer <- nil
		for range 99 {
			if status := <-statuses; status != http.StatusOK {
				t.Errorf("at once: status %d", status)
			}
		}
		time.Sleep(999 * time.Millisecond)
		go probe(t.Context())
		if status := <-statuses; status != http.StatusOK || store.times.Load() != 1 {
			t.Errorf("within a second: status %d, the store was asked %d times", status, store.times.Load())
		}
		time.Sleep(time.Millisecond)
		store.answer <- errors.New("disk full")
		for range 2 { // that it cannot write stands as long
			go probe(t.Context())
			if status := <-statuses; status != http.StatusServiceUnavailable || store.times.Load() != 2 {
				t.Errorf("after a second: status %d, the store was asked %d times", status, store.times.Load())
			}
		}
		time.Sleep(time.Second)
		go probe(t.Context()) // and a store that says nothing is not ready
		if status := <-statuses; status != http.StatusServiceUnavailable || store.times.Load() != 3 {
			t.Errorf("no answer: status %d, the store was asked %d times", status, store.times.Load())
		}
	})
}

func TestNothingButHealthIsOpen(t *testing.T) {
	s := server.New(ready{}, server.Options{Logger: slog.New(slog.DiscardHandler)})
	for path, want := range map[string]int{
		"/ingestion.v1alpha.IngestionService/CollectEvents":      http.StatusUnauthorized,
		"/align.v1.ConversationService/SearchConversations":      http.StatusUnauthorized,
		"/align.v1.ConversationService/ListMessages":             http.StatusUnauthorized,
		"//align.v1.ConversationService///SearchConversations":   http.StatusUnauthorized,
		"/align.v1.ConversationService/./SearchConversations":    http.StatusUnauthorized,
		"/x/../align.v1.ConversationService/SearchConversations": http.StatusUnauthorized,
		"/%2e/align.v1.ConversationService/SearchConversations":  http.StatusUnauthorized,
		"/./ingestion.v1alpha.IngestionService/CollectEvents":    http.StatusUnauthorized,
		"/align.v1.ConversationService":                          http.StatusUnauthorized,
		"/align.v1.ConversationService/":                         http.StatusUnauthorized,
		"/align.v1.ConversationService/Other":                    http.StatusUnauthorized,
		"/align.v1.QualityService/GetQuality":                    http.StatusUnauthorized,
		"/align.v1.QualityService":                               http.StatusUnauthorized,
		"/align.v1.AdminService/EraseUser":                       http.StatusUnauthorized,
		"/align.v1.AdminService/":                                http.StatusUnauthorized,
		"/metrics":                                               http.StatusUnauthorized,
		"/":                                                      http.StatusNotFound,
		"/debug/pprof":                                           http.StatusNotFound,
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
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() {
		t.Error("the client was asked for a body that is refused")
		feed.Close() // or it would wait for what to send
	}})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.addr+procedure, pipe)
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

// Clients of the base schema send a refused batch once and never again.
func TestLargeMessagesInParallelAreAllAccepted(t *testing.T) {
	w := newWorld(t)
	var large wireCase
	for _, c := range wireCases() {
		if c.name == "node-5mb-message" {
			large = c
		}
	}
	var sending sync.WaitGroup
	for range 16 {
		sending.Go(func() {
			if status, _, body := w.send(t, large); status != http.StatusOK {
				t.Errorf("status %d %s", status, body)
			}
		})
	}
	sending.Wait()
}
