package ingest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
	"github.com/openalign/align/collector/keys"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// reasonOf is why an event is set aside, in either form; "" when it is a fact.
func reasonOf(t *testing.T, event *ingestionv1alpha.Event) string {
	t.Helper()
	s := new(store)
	w := collect(ingest.New(s, discard()), s, "application/proto", bytes.NewReader(requestOf(t, event)))
	if w.Code != http.StatusOK || len(s.facts)+len(s.aside) != 1 {
		t.Fatalf("status %d, %d facts, %d set aside", w.Code, len(s.facts), len(s.aside))
	}
	if len(s.aside) == 0 {
		return ""
	}
	return s.aside[0].Reason
}

func requestOf(t *testing.T, events ...*ingestionv1alpha.Event) []byte {
	t.Helper()
	raw, err := proto.Marshal(&ingestionv1alpha.CollectEventsRequest{Events: events})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

type properties = map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue

func sessionEvent(id, session string, custom properties) *ingestionv1alpha.Event {
	return &ingestionv1alpha.Event{Id: id, Type: "session_close", Properties: &ingestionv1alpha.EventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
			SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{SessionId: session}},
		CustomProperties: custom}}
}

func voteOf(voter string) *ingestionv1alpha.Event {
	return &ingestionv1alpha.Event{Id: "e", Type: "feedback_create", Properties: &ingestionv1alpha.EventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_FeedbackProperties_{
			FeedbackProperties: &ingestionv1alpha.EventProperties_FeedbackProperties{SessionId: "s", Type: "thumbs_up", UserId: voter,
				FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION}}}}
}

func many(n int) properties {
	custom := make(properties)
	for i := range n {
		custom[fmt.Sprint("k", i)] = nil
	}
	return custom
}

func one(key, value string) properties {
	return properties{key: {StringValue: value}}
}

// Lengths are code points: 𝒳 is one, in four bytes or two UTF-16 units.
func TestLengthsAreCodePoints(t *testing.T) {
	wide := func(n int) string { return strings.Repeat("𝒳", n) }
	for _, c := range []struct {
		event *ingestionv1alpha.Event
		want  string
	}{
		{sessionEvent(wide(256), "s", nil), ""},
		{sessionEvent(wide(257), "s", nil), "id_too_long"},
		{sessionEvent("e", wide(256), nil), ""},
		{sessionEvent("e", wide(257), nil), "session_id_too_long"},
		{voteOf(wide(256)), ""},
		{voteOf(wide(257)), "user_id_too_long"},
		{sessionEvent("e", "s", one(wide(256), "")), ""},
		{sessionEvent("e", "s", one(wide(257), "")), "property_key_too_long"},
		{sessionEvent("e", "s", one("k", wide(65_536))), ""},
		{sessionEvent("e", "s", one("k", wide(65_537))), "property_value_too_long"},
		{sessionEvent("e", "s", many(256)), ""},
		{sessionEvent("e", "s", many(257)), "properties_too_many"},
	} {
		if got := reasonOf(t, c.event); got != c.want {
			t.Errorf("%.60v: set aside for %q, want %q", c.event, got, c.want)
		}
	}
}

func TestTooManyPropertiesOfJSONAreCountedBeforeTheyAreDecoded(t *testing.T) {
	for n, want := range map[int]string{256: "", 257: "properties_too_many"} {
		for _, name := range []string{"customProperties", "custom_properties", `custom\u0050roperties`} {
			var custom strings.Builder
			for i := range n {
				fmt.Fprintf(&custom, `,"k%d":{"stringValue":"v"}`, i)
			}
			s := new(store)
			collect(ingest.New(s, discard()), s, "application/json", strings.NewReader(
				`{"events":[{"id":"e1","type":"session_close","properties":{"`+name+`":{`+custom.String()[1:]+`},"sessionProperties":{"sessionId":"s1"}}}]}`))
			if want == "" && len(s.facts) != 1 || want != "" && (len(s.aside) != 1 || s.aside[0].Reason != want || s.aside[0].EventID != "e1") {
				t.Errorf("%d %s: %d facts, set aside %v; want %q", n, name, len(s.facts), s.aside, want)
			}
		}
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// What was decoded into maps took forty times its size; nothing here takes more than a body's few copies.
func TestHostileEventsTakeNoMoreThanAFewTimesTheirSize(t *testing.T) {
	const size = 1 << 20
	const rest = `"id":"e1","type":"session_close","createTime":"+010000-01-01T00:00:00Z","properties":{"sessionProperties":{"sessionId":"s1"}`
	fill := func(part string) string { return strings.Repeat(part, size/len(part)) }
	var entries []byte // custom properties without names, in binary
	for len(entries) < size {
		entries = append(entries, 0x52, 0)
	}
	event := append([]byte{0x0a, 1, 'e', 0x22}, varint(len(entries))...)
	event = append(event, entries...)
	request := append(append([]byte{0x12}, varint(len(event))...), event...)

	for name, c := range map[string]struct {
		mediaType string
		body      []byte
		facts     int
	}{
		"unknown lists":   {"application/json", []byte(`{"events":[{"x":[` + fill("[],") + `0],` + rest + `}}]}`), 1},
		"unknown objects": {"application/json", []byte(`{"events":[{"x":[` + fill(`{"":0},`) + `0],` + rest + `}}]}`), 1},
		"properties":      {"application/json", []byte(`{"events":[{` + rest + `,"customProperties":{` + fill(`"":{},`) + `"":{}}}}]}`), 0},
		"binary entries":  {"application/proto", request, 0},
	} {
		s := new(store)
		h := ingest.New(s, discard())
		got := allocated(func() {
			if w := collect(h, s, c.mediaType, bytes.NewReader(c.body)); w.Code != http.StatusOK {
				t.Errorf("%s: status %d", name, w.Code)
			}
		})
		if len(s.facts) != c.facts || len(s.aside) != 1-c.facts {
			t.Errorf("%s: %d facts, %d set aside", name, len(s.facts), len(s.aside))
		}
		if most := uint64(20 * size); got > most {
			t.Errorf("%s: %d MiB allocated for a body of %d MiB", name, got>>20, size>>20)
		}
	}
}

func varint(n int) (text []byte) {
	for ; n >= 0x80; n >>= 7 {
		text = append(text, byte(n)|0x80)
	}
	return append(text, byte(n))
}

func TestWhatIsNoJSONSpoilsItsEventAlone(t *testing.T) {
	good := strings.TrimSuffix(strings.TrimPrefix(oneEvent, `{"events":[`), `]}`)
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for name, c := range map[string]struct{ event, reason string }{
		// Members that the schema does not know are no reason: but for them, these would be events without a type.
		"deep":         {`{"x":` + deep + `,"id":"bad"}`, "type_unknown"},
		"a word":       {`{"id":"bad","x":nothing}`, "type_unknown"},
		"deep, known":  {`{"createTime":"+010000-01-01T00:00:00Z","id":"bad","properties":` + deep + `}`, "unreadable"},
		"deep, inside": {`{"id":"bad","properties":{"customProperties":{"k":` + deep + `}}}`, "unreadable"},
		"no colon":     {`{"id":"bad","x" 5}`, "unreadable"},
		"escape":       {`{"id":"bad","type":"\q"}`, "unreadable"},
	} {
		s := new(store)
		w := collect(ingest.New(s, discard()), s, "application/json", strings.NewReader(`{"events":[`+c.event+`,`+good+`]}`))
		if w.Code != http.StatusOK || len(s.facts) != 1 || len(s.aside) != 1 || s.aside[0].Reason != c.reason || s.aside[0].EventID != "bad" {
			t.Errorf("%s: %d, %d facts, set aside %.200v", name, w.Code, len(s.facts), s.aside)
		}
	}
	// Around the events: skipped, however deep; and a byte order mark.
	for _, body := range []string{`{"x":` + deep + `,"events":[` + good + `]}`, "\uFEFF" + oneEvent, " \n" + oneEvent + "\r\n"} {
		s := new(store)
		if w := collect(ingest.New(s, discard()), s, "application/json", strings.NewReader(body)); w.Code != http.StatusOK || len(s.facts) != 1 {
			t.Errorf("%.40q: %d %s", body, w.Code, w.Body)
		}
	}
	for _, body := range []string{`{"events":[` + good + `]`, `{"events":[` + good + ` ` + good + `]}`, `{"events":[` + good + `,]}`, `{"events":[,` + good + `]}`,
		`{"events":[` + good + `]}{}`, `{"events" [` + good + `]}`, `{"events":}`, `{events:[]}`, `{"events":"`, `{"a":1 "b":2}`, `"events"`, `{"\q":1}`, "\uFEFF\uFEFF{}"} {
		s := new(store)
		if w := collect(ingest.New(s, discard()), s, "application/json", strings.NewReader(body)); w.Code != http.StatusBadRequest || s.calls != 0 {
			t.Errorf("%s: %d %s, want 400", body, w.Code, w.Body)
		}
	}
}

func TestOfMembersOfOneNameTheLastStands(t *testing.T) {
	s := new(store)
	body := `{"events":[{"id":"e0","id":"e1","type":"session_open","createTime":"2026-03-14T12:00:00Z","createTime":"2026-03-14T13:00:00Z",
		"properties":{"sessionProperties":{"sessionId":"s0"}},
		"properties":{"sessionProperties":{"sessionId":"s0","sessionId":"s1","sessionTitle":"cut \ud83d and \ud83d\udce6 and \\ud83d"},
			"customProperties":{"k":{"stringValue":"a"},"k":{"stringValue":"a","stringValue":"b"}}}}]}`
	collect(ingest.New(s, discard()), s, "application/json", strings.NewReader(body))
	fact, ok := s.facts["e1"]
	if !ok {
		t.Fatalf("facts %v, set aside %v", s.facts, s.aside)
	}
	session := fact.Event.GetProperties().GetSessionProperties()
	if session.GetSessionId() != "s1" || fact.Time.Hour() != 13 || fact.Event.GetProperties().GetCustomProperties()["k"].GetStringValue() != "b" {
		t.Errorf("event %v at %v", fact.Event, fact.Time)
	}
	if want := "cut \uFFFD and 📦 and \\ud83d"; session.GetSessionTitle() != want {
		t.Errorf("title %q, want %q", session.GetSessionTitle(), want)
	}
}

// gate is a store that lets nobody through until it is opened, and knows how many are in it.
type gate struct {
	store
	mu           sync.Mutex
	inside, most int
	open         chan struct{}
}

func (g *gate) Append(ctx context.Context, _ string, batch collector.Batch) (collector.Appended, error) {
	g.mu.Lock()
	g.inside++
	g.most = max(g.most, g.inside)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.inside--
		g.mu.Unlock()
	}()
	select {
	case <-g.open:
	case <-ctx.Done():
		return collector.Appended{}, ctx.Err()
	}
	return collector.Appended{Stored: len(batch.Facts)}, ctx.Err()
}

func request(ctx context.Context, mediaType string, body io.Reader) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, ingest.Path, body)
	r.Header.Set("Content-Type", mediaType)
	r.Header.Set("Authorization", "Bearer "+testKey)
	return r
}

func zip(raw []byte) []byte {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, _ = zip.Write(raw)
	_ = zip.Close()
	return packed.Bytes()
}

// However many come at once, what is held of them is bounded, and all of them are taken. In a bubble, so that "all who can
// are in the store" is a moment that can be waited for.
func TestBodiesOfAllRequestsTogetherAreBounded(t *testing.T) {
	large := closings(1)
	large = append(large, append(append([]byte{0x9a, 0x06}, varint(30<<20)...), make([]byte, 30<<20)...)...) // field 99
	zipped := zip(large)
	plain := append(closings(1), append(append([]byte{0x9a, 0x06}, varint(5<<20)...), make([]byte, 5<<20)...)...)
	for name, c := range map[string]struct {
		encoding string
		body     []byte
		length   bool
		requests int
		most     int // as many as fit
	}{
		"30 MiB in gzip": {"gzip", zipped, true, 5, 3},
		"5 MiB":          {"", plain, true, 22, 20},
		"5 MiB, chunked": {"", plain, false, 22, 20},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := &gate{open: make(chan struct{})}
			h := keys.Require(collector.ScopeIngest, g, discard(), ingest.New(g, discard()))
			statuses := make(chan int, c.requests+1)
			send := func(encoding string, body []byte, length bool) {
				var reader io.Reader = bytes.NewReader(body)
				if !length {
					reader = io.MultiReader(reader)
				}
				r := request(t.Context(), "application/proto", reader)
				r.Header.Set("Content-Encoding", encoding)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				statuses <- w.Code
			}
			for range c.requests {
				go send(c.encoding, c.body, c.length)
			}
			synctest.Wait()
			if g.inside == 0 || g.inside > c.most {
				t.Errorf("%s: %d bodies are held at once, want 1 to %d", name, g.inside, c.most)
			}
			before := g.inside
			go send("", closings(1), false)
			synctest.Wait()
			if g.inside != before+1 {
				t.Errorf("%s: a small request waits for the large ones", name)
			}
			close(g.open)
			for range c.requests + 1 {
				if status := <-statuses; status != http.StatusOK {
					t.Errorf("%s: status %d", name, status)
				}
			}
		})
	}
}

func TestBatchReceivedInFullIsStoredThoughItsClientHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		h := ingest.New(g, discard())
		ctx, hangUp := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			keys.Require(collector.ScopeIngest, g, discard(), h).ServeHTTP(httptest.NewRecorder(), request(ctx, "application/proto", bytes.NewReader(closings(2))))
		}()
		synctest.Wait() // it waits for the store
		hangUp()
		synctest.Wait()
		close(g.open)
		<-done
		if got := h.Counts().Stored; got != 2 {
			t.Errorf("%d stored, want 2", got)
		}
	})
}

func TestStoreThatHangsIsGivenUpBeforeClientsDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		w := httptest.NewRecorder()
		keys.Require(collector.ScopeIngest, g, discard(), ingest.New(g, discard())).ServeHTTP(w, request(t.Context(), "application/proto", bytes.NewReader(closings(1))))
		if w.Code != http.StatusServiceUnavailable { // in the bubble's time; without a bound the test would end in a deadlock
			t.Errorf("status %d, want 503", w.Code)
		}
	})
}

func TestContentEncodings(t *testing.T) {
	raw := closings(1)
	for _, c := range []struct {
		encoding string
		body     []byte
		status   int
		facts    int
	}{
		{"identity", raw, 200, 1},
		{"Identity", raw, 200, 1},
		{"gzip", zip(raw), 200, 1},
		{"x-gzip", zip(raw), 200, 1},
		{"GZIP", zip(raw), 200, 1},
		{"gzip", nil, 200, 0},
		{"gzip", zip(nil), 200, 0},
		{"gzip", raw, 400, 0},
		{"deflate", raw, 415, 0},
		{"gzip, gzip", zip(zip(raw)), 415, 0},
	} {
		for _, length := range []bool{true, false} {
			s := new(store)
			var body io.Reader = bytes.NewReader(c.body)
			if !length {
				body = io.MultiReader(body)
			}
			r := request(t.Context(), "application/proto", body)
			r.Header.Set("Content-Encoding", c.encoding)
			w := httptest.NewRecorder()
			keys.Require(collector.ScopeIngest, s, discard(), ingest.New(s, discard())).ServeHTTP(w, r)
			if w.Code != c.status || len(s.facts) != c.facts {
				t.Errorf("%s: status %d with %d facts, want %d with %d", c.encoding, w.Code, len(s.facts), c.status, c.facts)
			}
		}
	}
}
