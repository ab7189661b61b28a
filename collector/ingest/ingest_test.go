package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
	"github.com/openalign/align/collector/keys"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// store is an Appender in memory. It is for one request at a time.
type store struct {
	err     error
	facts   map[string]collector.Fact
	aside   []collector.SetAside
	project string
	calls   int
}

func (s *store) Append(_ context.Context, project string, batch collector.Batch) (collector.Appended, error) {
	s.calls++
	if s.err != nil {
		return collector.Appended{}, s.err
	}
	s.project = project
	if s.facts == nil {
		s.facts = make(map[string]collector.Fact)
	}
	var appended collector.Appended
	for _, fact := range batch.Facts {
		if _, here := s.facts[fact.ID]; here {
			appended.Duplicate++
			continue
		}
		s.facts[fact.ID] = fact
		appended.Stored++
	}
	s.aside = append(s.aside, batch.SetAside...)
	appended.SetAside = len(batch.SetAside)
	return appended, nil
}

// KeyByHash implements keys.Finder: there is one key.
func (s *store) KeyByHash(_ context.Context, hash [32]byte) (collector.Key, error) {
	if hash != keys.Hash(testKey) {
		return collector.Key{}, collector.ErrNotFound
	}
	return collector.Key{Hash: hash, Project: "shop", Scope: collector.ScopeIngest}, nil
}

// UseKey implements keys.Finder.
func (s *store) UseKey([32]byte, time.Time) {}

const testKey = "align_ingest_test"

// collect sends one request through key check and handler.
func collect(h *ingest.Handler, s *store, mediaType string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, ingest.Path, body)
	r.Header.Set("Content-Type", mediaType)
	r.Header.Set("Authorization", "Bearer "+testKey)
	w := httptest.NewRecorder()
	keys.Require(collector.ScopeIngest, s, slog.New(slog.DiscardHandler), h).ServeHTTP(w, r)
	return w
}

const (
	oneEvent = `{"events":[{"id":"e1","type":"session_close","createTime":"2026-03-14T12:00:00Z","properties":{"sessionProperties":{"sessionId":"s1"}}}]}`
	badEvent = `{"id":"bad","type":"message_create","projectId":"other","properties":{"messageProperties":{"sessionId":"s-secret","messageIndexHint":0,"messageContent":"secret words"}}}`
)

func TestBusyStoreMakesTheClientComeAgain(t *testing.T) {
	s := &store{err: fmt.Errorf("wrapped: %w", collector.ErrBusy)}
	w := collect(ingest.New(s, slog.New(slog.DiscardHandler)), s, "application/json", strings.NewReader(oneEvent))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" {
		t.Errorf("status %d, Retry-After %q; want 429, 1", w.Code, w.Header().Get("Retry-After"))
	}
	if want := `{"code":"resource_exhausted","message":"too much is waiting to be stored; try again"}`; w.Body.String() != want {
		t.Errorf("body %s, want %s", w.Body, want)
	}
}

func TestStoreThatFailsIsUnavailableAndSaysNoMore(t *testing.T) {
	var log bytes.Buffer
	s := &store{err: errors.New("disk /var/align is full")}
	w := collect(ingest.New(s, slog.New(slog.NewTextHandler(&log, nil))), s, "application/proto", bytes.NewReader(closings(1)))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", w.Code)
	}
	if want := `{"code":"unavailable","message":"events cannot be stored right now; try again"}`; w.Body.String() != want {
		t.Errorf("body %s, want %s", w.Body, want)
	}
	if !strings.Contains(log.String(), "disk /var/align is full") {
		t.Errorf("the operator is not told why: %s", &log)
	}
}

func TestRequestWithoutEventsDoesNotTroubleTheStore(t *testing.T) {
	s := &store{err: errors.New("not to be called")}
	h := ingest.New(s, slog.New(slog.DiscardHandler))
	for _, body := range []string{`{}`, `{"events":[]}`, `{"events":null,"requestId":7}`, ` { "future": [1, {"events": 2}] } `} {
		if w := collect(h, s, "application/json", strings.NewReader(body)); w.Code != http.StatusOK || w.Body.String() != "{}" {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if s.calls != 0 {
		t.Errorf("the store was called %d times", s.calls)
	}
}

func TestProjectIsThatOfTheKey(t *testing.T) {
	s := new(store)
	h := ingest.New(s, slog.New(slog.DiscardHandler))
	body := strings.Replace(oneEvent, `"id":"e1"`, `"id":"e1","projectId":"other"`, 1)
	if w := collect(h, s, "application/json", strings.NewReader(body)); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if s.project != "shop" {
		t.Errorf("stored in project %q, want the key's", s.project)
	}
	if got := h.Counts().Foreign; got != 1 {
		t.Errorf("%d foreign facts counted, want 1", got)
	}
}

func TestCountsAccountForEveryEvent(t *testing.T) {
	s := new(store)
	h := ingest.New(s, slog.New(slog.DiscardHandler))
	body := `{"events":[` + badEvent + `,null,` + strings.TrimSuffix(strings.TrimPrefix(oneEvent, `{"events":[`), `]}`) + `]}`
	for range 2 {
		if w := collect(h, s, "application/json", strings.NewReader(body)); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	got := h.Counts()
	if got.Requests != 2 || got.Stored != 1 || got.Duplicate != 1 {
		t.Errorf("counts %+v, want 2 requests, 1 stored, 1 duplicate", got)
	}
	if want := map[ingest.Reason]int{ingest.Unreadable: 2, ingest.IndexOutOfRange: 2}; !maps.Equal(got.SetAside, want) {
		t.Errorf("set aside %v, want %v", got.SetAside, want)
	}
}

func TestLogSaysReasonsAndNeverContentOrKeys(t *testing.T) {
	var log bytes.Buffer
	s := new(store)
	h := ingest.New(s, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if w := collect(h, s, "application/json", strings.NewReader(`{"events":[`+badEvent+`]}`)); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), `"reasons":{"index_out_of_range":1}`) {
		t.Errorf("the log does not say why: %s", &log)
	}
	for _, secret := range []string{"secret", testKey} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %q: %s", secret, &log)
		}
	}
}

func TestMoreEventsThanAllowedAreRefusedWhole(t *testing.T) {
	s := new(store)
	h := ingest.New(s, slog.New(slog.DiscardHandler))
	if w := collect(h, s, "application/proto", bytes.NewReader(bytes.Repeat([]byte{0x12, 0}, ingest.MaxEvents+1))); w.Code != http.StatusBadRequest {
		t.Errorf("status %d, want 400", w.Code)
	}
	if s.calls != 0 {
		t.Error("some of it was stored")
	}
	if w := collect(h, s, "application/proto", bytes.NewReader(bytes.Repeat([]byte{0x12, 0}, ingest.MaxEvents))); w.Code != http.StatusOK {
		t.Errorf("as many as allowed: status %d, want 200", w.Code)
	}
}

func TestClientThatHangsUpIsNotTakenHalf(t *testing.T) {
	s := new(store)
	h := ingest.New(s, slog.New(slog.DiscardHandler))
	whole := closings(2)
	cut := io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), failing{})
	if w := collect(h, s, "application/proto", cut); w.Code != http.StatusBadRequest {
		t.Errorf("status %d, want 400", w.Code)
	}
	if s.calls != 0 {
		t.Error("some of it was stored")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestIDsOfEitherFormAreOne(t *testing.T) {
	const canonical = "0190f3c2a5b47c6d8e9f0a1b2c3d4e5f"
	for id, want := range map[string]string{
		canonical:                                       canonical,
		"0190f3c2-a5b4-7c6d-8e9f-0a1b2c3d4e5f":          canonical,
		"0190F3C2-A5B4-7C6D-8E9F-0A1B2C3D4E5F":          canonical,
		"{0190f3c2-a5b4-7c6d-8e9f-0a1b2c3d4e5f}":        canonical,
		"urn:uuid:0190f3c2-a5b4-7c6d-8e9f-0a1b2c3d4e5f": canonical,
		"(0190f3c2-a5b4-7c6d-8e9f-0a1b2c3d4e5f)":        "(0190f3c2-a5b4-7c6d-8e9f-0a1b2c3d4e5f)",
		"0190f3c2-a5b4-7c6d-8e9f-0a1b2c3d4e5":           "0190f3c2-a5b4-7c6d-8e9f-0a1b2c3d4e5",
		"Order 17":                                      "Order 17",
	} {
		s := new(store)
		body := strings.Replace(oneEvent, `"e1"`, `"`+id+`"`, 1)
		collect(ingest.New(s, slog.New(slog.DiscardHandler)), s, "application/json", strings.NewReader(body))
		if _, ok := s.facts[want]; !ok || len(s.facts) != 1 {
			t.Errorf("%s was stored as %v, want %s", id, s.facts, want)
		}
	}
}

func TestTimesThatCannotBeKeptAreOutOfTheEventToo(t *testing.T) {
	bad := &timestamppb.Timestamp{Seconds: 1, Nanos: -1}
	ahead := timestamppb.New(time.Now().Add(48 * time.Hour))
	soon := timestamppb.New(time.Now().Add(time.Hour))
	event := &ingestionv1alpha.Event{Id: "e", Type: "session_close", CreateTime: ahead,
		Properties: &ingestionv1alpha.EventProperties{
			ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
				SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{
					SessionId: "s1", SessionStartTime: bad, SessionEndTime: soon}}}}
	raw, err := proto.Marshal(&ingestionv1alpha.CollectEventsRequest{Events: []*ingestionv1alpha.Event{event}})
	if err != nil {
		t.Fatal(err)
	}
	s := new(store)
	collect(ingest.New(s, slog.New(slog.DiscardHandler)), s, "application/proto", bytes.NewReader(raw))
	fact := s.facts["e"]
	if !fact.Time.Equal(fact.ReceiveTime) {
		t.Errorf("time %v, want that of receipt, %v: two days ahead is no clock", fact.Time, fact.ReceiveTime)
	}
	kept := fact.Event.GetProperties().GetSessionProperties()
	if kept.GetSessionStartTime() != nil {
		t.Errorf("the event still holds a time that is none: %v", fact.Event)
	}
	if !proto.Equal(fact.Event.CreateTime, ahead) {
		t.Errorf("create time %v, want %v as sent: it is a time, though no one goes by it", fact.Event.CreateTime, ahead)
	}
	if !proto.Equal(kept.GetSessionEndTime(), soon) {
		t.Errorf("end time %v, want %v as sent: an hour ahead is a clock", kept.GetSessionEndTime(), soon)
	}
}

func TestEveryTimeOfAnEventIsMended(t *testing.T) {
	for name, zero := range map[string]string{"the year 10000": `"+010000-01-01T00:00:00Z"`, "1970": `"1970-01-01T00:00:00Z"`} {
		s := new(store)
		body := strings.ReplaceAll(`{"events":[
			{"id":"open","type":"session_open","createTime":AT,"properties":{"sessionProperties":{"sessionId":"s1","sessionStartTime":AT,"sessionEndTime":AT}}},
			{"id":"user","type":"user_recognize","createTime":AT,"properties":{"userProperties":{"userId":"u1","userCreateTime":AT}}},
			{"id":"message","type":"message_create","createTime":AT,"properties":{"messageProperties":{"sessionId":"s1","messageIndexHint":1,"messageRole":"ROLE_USER","messageContent":"hi","messageCreateTime":AT}}},
			{"id":"placed","type":"message_create","createTime":AT,"properties":{"messageProperties":{"sessionId":"s1","place":{"time":AT,"turn":"t"},"messageRole":"ROLE_USER","messageContent":"hi","messageCreateTime":AT}}}
		]}`, "AT", zero)
		collect(ingest.New(s, slog.New(slog.DiscardHandler)), s, "application/json", strings.NewReader(body))
		if len(s.facts) != 4 {
			t.Fatalf("%s: %d facts, set aside %v", name, len(s.facts), s.aside)
		}
		session := s.facts["open"].Event.GetProperties().GetSessionProperties()
		user := s.facts["user"].Event.GetProperties().GetUserProperties()
		message := s.facts["message"].Event.GetProperties().GetMessageProperties()
		if session.SessionStartTime != nil || session.SessionEndTime != nil || user.UserCreateTime != nil || message.MessageCreateTime != nil {
			t.Errorf("%s is left in %v, %v or %v", name, session, user, message)
		}
		if place := s.facts["placed"].Event.GetProperties().GetMessageProperties().GetPlace(); place == nil || place.Time != nil {
			t.Errorf("%s is left in place %v", name, place)
		}
		for id, fact := range s.facts {
			if fact.Event.CreateTime != nil || !fact.Time.Equal(fact.ReceiveTime) {
				t.Errorf("%s: %s has time %v", name, id, fact.Time)
			}
		}
	}
}

func TestEventsOfOneMomentKeepTheirOrder(t *testing.T) {
	at := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	var all []*ingestionv1alpha.Event
	for _, id := range []string{"c", "b", "a"} { // the ids say the opposite
		event := voteOf("")
		event.Id, event.CreateTime = id, timestamppb.New(at)
		all = append(all, event)
	}
	s := new(store)
	collect(ingest.New(s, slog.New(slog.DiscardHandler)), s, "application/proto", bytes.NewReader(requestOf(t, all...)))
	for n, id := range []string{"c", "b", "a"} {
		if got, want := s.facts[id].Time, at.Add(time.Duration(n)); !got.Equal(want) {
			t.Errorf("event %d at %v, want %v", n+1, got, want)
		}
	}
}

func TestFieldsOfTheFutureAreKept(t *testing.T) {
	event := &ingestionv1alpha.Event{Id: "e", Type: "session_close", Properties: &ingestionv1alpha.EventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
			SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{SessionId: "s1"}}}}
	event.ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, 0x01}) // field 1023
	raw, err := proto.Marshal(&ingestionv1alpha.CollectEventsRequest{Events: []*ingestionv1alpha.Event{event}})
	if err != nil {
		t.Fatal(err)
	}
	s := new(store)
	collect(ingest.New(s, slog.New(slog.DiscardHandler)), s, "application/proto", bytes.NewReader(raw))
	if got := s.facts["e"].Event; !proto.Equal(got, event) {
		t.Errorf("stored %v, want %v", got, event)
	}
}

// closings is a binary request of n events.
func closings(n int) []byte {
	req := new(ingestionv1alpha.CollectEventsRequest)
	for i := range n {
		req.Events = append(req.Events, &ingestionv1alpha.Event{Id: fmt.Sprint("e", i), Type: "session_close",
			Properties: &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
				SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{SessionId: "s1"}}}})
	}
	raw, err := proto.Marshal(req)
	if err != nil {
		panic(err)
	}
	return raw
}
