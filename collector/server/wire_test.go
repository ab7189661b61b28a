package server_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/server"
	"github.com/openalign/align/collector/store/sqlite"
)

const project = "shop"

// TestWire replays every golden request three times, byte by byte, against a server with a real store: each time the
// answer is exactly as described, and what is good in it is stored exactly once.
func TestWire(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenDir, "*.case.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden requests: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".case.json"), func(t *testing.T) {
			c := readCase(t, file)
			world := newWorld(t)
			for n := range 3 {
				status, header, body := world.send(t, c)
				checkAnswer(t, c.Want, status, header, body)
				if n == 0 {
					world.store.check(t, c.Want)
				}
			}
			world.checkKept(t, c.Want)
		})
	}
}

func readCase(t *testing.T, file string) wireCase {
	t.Helper()
	described, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c wireCase
	if err := json.Unmarshal(described, &c); err != nil {
		t.Fatal(err)
	}
	if c.body, err = os.ReadFile(filepath.Join(filepath.Dir(file), c.Request.Body)); err != nil {
		t.Fatal(err)
	}
	if c.Request.Gunzip {
		unzip, err := gzip.NewReader(bytes.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.body, err = io.ReadAll(unzip); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// world is a server on a socket, with a store in a file and a key of each scope.
type world struct {
	store  *recorder
	server *server.Server
	addr   string
	keys   *strings.Replacer // the placeholders of the golden requests
	log    *syncBuffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "align.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{store: &recorder{Store: store}, log: new(syncBuffer)}
	w.keys = strings.NewReplacer(
		"{ingest key}", newKey(t, store, collector.ScopeIngest),
		"{read key}", newKey(t, store, collector.ScopeRead),
		"{admin key}", newKey(t, store, collector.ScopeAdmin))
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.server = server.New(w.store, server.Options{Logger: log, Agnost: map[string]string{"Org-1": project}, Digests: store, Exports: export.New(store, export.Config{Logger: log})})
	web := httptest.NewUnstartedServer(w.server)
	web.Config = server.HTTP(web.Config.Handler, log)
	web.Start()
	t.Cleanup(web.Close) // before the store's
	w.addr = web.Listener.Addr().String()
	return w
}

func newKey(t *testing.T, store collector.Store, scope collector.Scope) string {
	t.Helper()
	secret, key, err := keys.New(project, scope)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.CreateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	return secret
}

// send writes the request as it stands, since no HTTP client would write all of them, and reads the answer.
func (w *world) send(t *testing.T, c wireCase) (status int, header http.Header, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", c.Request.Method, c.Request.Target, w.addr)
	for name, value := range c.Request.Header {
		fmt.Fprintf(&head, "%s: %s\r\n", name, w.keys.Replace(value))
	}
	framed := c.body
	switch c.Request.Framing {
	case "length":
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(c.body))
	case "chunked":
		head.WriteString("Transfer-Encoding: chunked\r\n")
		framed = []byte("0\r\n\r\n")
		if len(c.body) > 0 {
			framed = fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n\r\n", len(c.body), c.body)
		}
	default:
		t.Fatalf("framing %q", c.Request.Framing)
	}
	head.WriteString("\r\n")
	// Like Python's, this client reads nothing before it has written everything.
	if _, err := io.Copy(conn, io.MultiReader(strings.NewReader(head.String()), bytes.NewReader(framed))); err != nil {
		t.Fatalf("the server hung up on the request: %v", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(content)
}

func checkAnswer(t *testing.T, want wireWant, status int, header http.Header, body string) {
	t.Helper()
	if status != want.Status {
		t.Errorf("status %d, want %d", status, want.Status)
	}
	for name, value := range want.Header {
		if got := header.Values(name); !slices.Equal(got, []string{value}) {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if header.Get("Content-Encoding") != "" {
		t.Errorf("the answer is encoded: %q", header.Get("Content-Encoding"))
	}
	if body != want.Body {
		t.Errorf("body %q, want %q", body, want.Body)
	}
}

// recorder is a store that remembers what it was given.
type recorder struct {
	collector.Store
	mu      sync.Mutex
	batches []collector.Batch // guarded by mu
}

func (r *recorder) Append(ctx context.Context, project string, batch collector.Batch) (collector.Appended, error) {
	r.mu.Lock()
	r.batches = append(r.batches, batch)
	r.mu.Unlock()
	return r.Store.Append(ctx, project, batch)
}

// check compares what the first request brought with what was wanted, in order.
func (r *recorder) check(t *testing.T, want wireWant) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var facts []wireFact
	var asides []wireAside
	for _, batch := range r.batches {
		for _, fact := range batch.Facts {
			when := fact.Time.UTC().Format(time.RFC3339Nano)
			if fact.Time.Equal(fact.ReceiveTime) {
				when = "receive"
			}
			got := wireFact{fact.ID, fact.Event.GetType(), when}
			if !slices.Contains(facts, got) { // the same event again is the store's to see
				facts = append(facts, got)
			}
		}
		for _, aside := range batch.SetAside {
			asides = append(asides, wireAside{aside.EventID, aside.Reason})
			if len(aside.Raw) == 0 {
				t.Errorf("%s was set aside without its bytes", aside.EventID)
			}
		}
	}
	if !slices.Equal(facts, want.Facts) {
		t.Errorf("facts\n%v, want\n%v", facts, want.Facts)
	}
	if !slices.Equal(asides, want.SetAside) {
		t.Errorf("set aside\n%v, want\n%v", asides, want.SetAside)
	}
}

// checkKept compares what is in the store after all requests with what was wanted of one.
func (w *world) checkKept(t *testing.T, want wireWant) {
	t.Helper()
	totals, err := w.store.Totals(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	if totals.Facts != len(want.Facts) {
		t.Errorf("%d facts stored, want %d", totals.Facts, len(want.Facts))
	}
	if distinct := len(distinctAsides(w.store.batches)); totals.SetAside != distinct {
		t.Errorf("%d set aside, want %d", totals.SetAside, distinct)
	}
	bySession := make(map[string][]wireMessage)
	for _, message := range want.Messages {
		bySession[message.Session] = append(bySession[message.Session], message)
	}
	for session, want := range bySession {
		kept, _, err := w.store.Messages(t.Context(), project, session, collector.Page{Size: 1000})
		if err != nil {
			t.Errorf("messages of %q: %v", session, err)
			continue
		}
		var got []wireMessage
		for i, message := range kept {
			shown := wireMessage{Session: session, Index: message.Index, Role: message.Role, Content: message.Content,
				Vote: map[collector.Vote]string{collector.VoteUp: "up", collector.VoteDown: "down"}[message.Vote]}
			if i < len(want) && want[i].Length > 0 {
				shown.Content, shown.Length = "", utf8.RuneCountInString(message.Content)
			}
			got = append(got, shown)
		}
		if !slices.Equal(got, want) {
			t.Errorf("messages of %q\n%v, want\n%v", session, got, want)
		}
	}
}

// distinctAsides are the bytes and reasons that were set aside.
func distinctAsides(batches []collector.Batch) map[string]bool {
	distinct := make(map[string]bool)
	for _, batch := range batches {
		for _, aside := range batch.SetAside {
			distinct[aside.Reason+"\x00"+string(aside.Raw)] = true
		}
	}
	return distinct
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
