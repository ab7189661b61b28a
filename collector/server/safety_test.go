package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/server"
)

// keyring is a store that knows keys, takes everything and keeps nothing.
type keyring struct {
	ready
	keys map[[32]byte]collector.Key
}

func newKeyring() *keyring { return &keyring{keys: make(map[[32]byte]collector.Key)} }

func (k *keyring) add(t *testing.T, scope collector.Scope) (secret string) {
	t.Helper()
	secret, key, err := keys.New(project, scope)
	if err != nil {
		t.Fatal(err)
	}
	k.keys[key.Hash] = key
	return secret
}

func (k *keyring) KeyByHash(_ context.Context, hash [32]byte) (collector.Key, error) {
	key, ok := k.keys[hash]
	if !ok {
		return key, collector.ErrNotFound
	}
	return key, nil
}

func (k *keyring) UseKey([32]byte, time.Time) {}

func (k *keyring) Append(_ context.Context, _ string, batch collector.Batch) (collector.Appended, error) {
	return collector.Appended{Stored: len(batch.Facts), SetAside: len(batch.SetAside)}, nil
}

func (k *keyring) Stats() collector.StoreStats {
	commits := collector.NewHistogram()
	commits.Observe(3 * time.Millisecond)
	return collector.StoreStats{QueuedEvents: 17, UnindexedMessages: 12, IndexLag: 1500 * time.Millisecond, Commits: commits}
}

// do sends a request as if from an address.
func do(h http.Handler, method, path, key, from string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, body)
	r.RemoteAddr = from
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const far = "192.0.2.7:1234"

func TestEachKeyHasItsRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newKeyring()
		busy, other := store.add(t, collector.ScopeIngest), store.add(t, collector.ScopeIngest)
		s := server.New(store, server.Options{Logger: slog.New(slog.DiscardHandler), RateLimit: 2})
		for range 4 { // a burst
			if w := do(s, http.MethodPost, procedure, busy, far, strings.NewReader("{}")); w.Code != http.StatusOK {
				t.Fatalf("within the limit: %d %s", w.Code, w.Body)
			}
		}
		w := do(s, http.MethodPost, procedure, busy, far, strings.NewReader("{}"))
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "resource_exhausted") {
			t.Errorf("past the limit: %d, Retry-After %q, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		if w := do(s, http.MethodPost, procedure, other, far, strings.NewReader("{}")); w.Code != http.StatusOK {
			t.Errorf("another key: %d", w.Code)
		}
		time.Sleep(time.Second)
		if w := do(s, http.MethodPost, procedure, busy, far, strings.NewReader("{}")); w.Code != http.StatusOK {
			t.Errorf("after Retry-After: %d", w.Code)
		}
	})
}

// The limit and browsers' leave are the same in every dialect, and a refusal is in the dialect's own words.
func TestSafetyIsTheSameInEveryDialect(t *testing.T) {
	const page = "https://chat.example"
	for name, c := range map[string]struct{ path, body, refusal string }{
		"acro":   {"/" + project + "/conversation", tell("", twoLines).body, `{"error":"this API key makes too many requests; try again","requestId":"ID"}`},
		"traces": {"/v1/traces", "{}", `{"code":8,"message":"this API key makes too many requests; try again"}`},
		"logs":   {"/v1/logs", "{}", `{"code":8,"message":"this API key makes too many requests; try again"}`},
		"agnost": {"/api/v1/capture-session", `{"session_id":"s"}`, ""}, // without a key
	} {
		store := newKeyring()
		key := store.add(t, collector.ScopeIngest)
		var log strings.Builder
		s := server.New(store, server.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), RateLimit: 0.1, CORSOrigins: []string{page}, AccessLog: true,
			Agnost: map[string]string{"org-1": project}})
		leave := do(s, http.MethodOptions, c.path, "", far, nil, "Origin", page, "Access-Control-Request-Method", "POST")
		if leave.Code != http.StatusNoContent || leave.Header().Get("Access-Control-Allow-Origin") != page {
			t.Errorf("%s: leave %d %v", name, leave.Code, leave.Header())
		}
		if evil := do(s, http.MethodOptions, c.path, "", far, nil, "Origin", page+".evil.net", "Access-Control-Request-Method", "POST"); evil.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: leave for another page %d %v", name, evil.Code, evil.Header())
		}
		send := func() *httptest.ResponseRecorder {
			return do(s, http.MethodPost, c.path, key, far, strings.NewReader(c.body), "Origin", page, "X-Org-Id", "org-1")
		}
		if w := send(); w.Code != http.StatusOK || w.Header().Get("Access-Control-Allow-Origin") != page {
			t.Errorf("%s: %d %s %v", name, w.Code, w.Body, w.Header())
		}
		if !strings.Contains(log.String(), "status=200") {
			t.Errorf("%s: the access log lacks a request that was taken: %s", name, log.String())
		}
		if c.refusal == "" {
			continue
		}
		w := send()
		if body := requestIDs.ReplaceAllString(w.Body.String(), "ID"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || body != c.refusal {
			t.Errorf("%s past the limit: %d, Retry-After %q, %s", name, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != page {
			t.Errorf("%s past the limit: a page cannot read it: %v", name, w.Header())
		}
	}
}

// reading counts what is read of a body, which is past the parts that a refusal has any use for.
type reading struct {
	io.Reader
	read int
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.read += n
	return n, err
}

func TestRefusedBodyIsReadToItsEnd(t *testing.T) {
	store := newKeyring()
	key := store.add(t, collector.ScopeIngest)
	s := server.New(store, server.Options{Logger: slog.New(slog.DiscardHandler), RateLimit: 0.1})
	for want := http.StatusOK; ; want = http.StatusTooManyRequests {
		body := &reading{Reader: strings.NewReader(`{"events":[]}` + strings.Repeat(" ", 100_000))}
		w := do(s, http.MethodPost, procedure, key, far, body)
		if w.Code != want || body.read != 100_013 {
			t.Errorf("status %d after %d bytes, want %d after all", w.Code, body.read, want)
		}
		if want != http.StatusOK {
			return
		}
	}
}

func TestBrowsersOfOtherOriginsAreRefusedUnlessAllowed(t *testing.T) {
	store := newKeyring()
	key := store.add(t, collector.ScopeIngest)
	const page, evil = "https://chat.example", "https://chat.example.evil.net"
	preflight := func(s http.Handler, origin string) *httptest.ResponseRecorder {
		return do(s, http.MethodOptions, procedure, "", far, nil, "Origin", origin, "Access-Control-Request-Method", "POST")
	}
	for _, c := range []struct {
		allowed []string
		origin  string
		want    bool
	}{
		{nil, page, false},
		{[]string{page}, page, true},
		{[]string{page}, evil, false},
		{[]string{"*"}, evil, true},
	} {
		s := server.New(store, server.Options{Logger: slog.New(slog.DiscardHandler), CORSOrigins: c.allowed})
		leave := preflight(s, c.origin)
		if (leave.Code == http.StatusNoContent) != c.want || (leave.Header().Get("Access-Control-Allow-Origin") == c.origin) != c.want {
			t.Errorf("%v, from %s: leave %d %v, want %v", c.allowed, c.origin, leave.Code, leave.Header(), c.want)
		}
		answer := do(s, http.MethodPost, procedure, key, far, strings.NewReader("{}"), "Origin", c.origin)
		if answer.Code != http.StatusOK || (answer.Header().Get("Access-Control-Allow-Origin") == c.origin) != c.want {
			t.Errorf("%v, from %s: %d %v, want it to be readable there: %v", c.allowed, c.origin, answer.Code, answer.Header(), c.want)
		}
		if answer.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Error("credentials are allowed")
		}
		if w := do(s, http.MethodPost, "/align.v1.ConversationService/SearchConversations", "", far, nil, "Origin", c.origin); w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Error("conversations may be read from a browser's page")
		}
	}
}

func TestMetricsAreForThisMachineAndAdmins(t *testing.T) {
	store := newKeyring()
	admin, read := store.add(t, collector.ScopeAdmin), store.add(t, collector.ScopeRead)
	s := server.New(store, server.Options{Logger: slog.New(slog.DiscardHandler)})
	for _, c := range []struct {
		key, from string
		header    []string
		url       string
		status    int
	}{
		{"", "127.0.0.1:99", nil, "http://localhost:7311/metrics", 200},
		{"", "[::1]:99", nil, "http://[::1]:7311/metrics", 200},
		{"", "127.0.0.1:99", []string{"X-Forwarded-For", "192.0.2.7"}, "http://localhost/metrics", 401},
		{"", "127.0.0.1:99", nil, "http://evil.example/metrics", 401},
		{"", far, nil, "http://localhost/metrics", 401},
		{read, far, nil, "/metrics", 403},
		{admin, far, nil, "/metrics", 200},
	} {
		if w := do(s, http.MethodGet, c.url, c.key, c.from, nil, c.header...); w.Code != c.status {
			t.Errorf("%+v: %d", c, w.Code)
		}
	}
}

func TestMetricsCountWithoutContent(t *testing.T) {
	store := newKeyring()
	ingest, admin := store.add(t, collector.ScopeIngest), store.add(t, collector.ScopeAdmin)
	s := server.New(store, server.Options{Logger: slog.New(slog.DiscardHandler)})
	do(s, http.MethodPost, procedure, ingest, far, strings.NewReader(
		`{"events":[{"id":"secret","type":"secret"},{"id":"e","type":"session_open","properties":{"sessionProperties":{"sessionId":"secret"}}}]}`))
	do(s, http.MethodGet, "/secret", "", far, nil)
	do(s, http.MethodPost, "/"+project+"/conversation", ingest, far, strings.NewReader(
		`{"conversationId":"`+conversationID+`","start":"2026-03-14T12:00:00Z","secret":1,"lines":[`+twoLines+`]}`))
	do(s, http.MethodPost, "/v1/traces", "", far, strings.NewReader("{}"))
	said := do(s, http.MethodGet, "/metrics", admin, far, nil).Body.String()
	for _, want := range []string{
		`align_events_total{dialect="align",result="stored"} 1`, `align_events_set_aside_total{dialect="align",reason="type_unknown"} 1`,
		`align_events_total{dialect="acro",result="stored"} 4`, `align_members_unknown_total{dialect="acro"} 1`, `align_dialect_requests_refused_total{dialect="otlp",status="401"} 1`, "align_store_queue_events 17", "align_search_unindexed_messages 12", "align_search_lag_seconds 1.5",
		"align_store_commit_duration_seconds_count 1", `align_http_request_duration_seconds_count{route="/",status="404"} 1`,
		`align_http_request_duration_seconds_count{route="/{application}/conversation",status="200"} 1`, "go_goroutines",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if strings.Contains(said, "secret") || strings.Contains(said, ingest) {
		t.Errorf("holds content:\n%s", said)
	}
}

// writeCertificate puts a new certificate for a name into two files.
func writeCertificate(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func presented(t *testing.T, config *tls.Config) string {
	t.Helper()
	cert, err := config.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.Subject.CommonName
}

func TestCertificateIsLoadedAgainWhenItsFilesChange(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := server.TLS(certFile, keyFile, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error without files")
	}
	synctest.Test(t, func(t *testing.T) {
		writeCertificate(t, certFile, keyFile, "first.example")
		config, err := server.TLS(certFile, keyFile, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(certFile, []byte("half a certif"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if name := presented(t, config); name != "first.example" {
			t.Errorf("while the file is being written: %s", name)
		}
		writeCertificate(t, certFile, keyFile, "the-second.example")
		time.Sleep(time.Minute)
		if name := presented(t, config); name != "the-second.example" {
			t.Errorf("once it was written: %s", name)
		}
	})
}
