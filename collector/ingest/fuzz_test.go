package ingest_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/openalign/align/collector/ingest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// FuzzCollect sends any body as either media type. Whatever it is:
//
//   - the answer is 200 or 400: nobody's bytes are the server's fault, and nothing panics;
//   - with 400 the store was not called, with 200 every event of the request is a fact or set aside: never half a batch;
//   - every fact can be kept by any database: text is UTF-8 without NUL, times are times, ids are there;
//   - where the generated code can read the request, so can ingest, and finds as many events.
func FuzzCollect(f *testing.F) {
	bodies, err := filepath.Glob("../../testdata/wire/requests/*")
	if err != nil || len(bodies) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range bodies {
		if ext := filepath.Ext(file); ext != ".bin" && ext != ".json" || strings.HasSuffix(file, ".case.json") || strings.Contains(file, "gzip") {
			continue
		}
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body, filepath.Ext(file) == ".json")
	}
	log := slog.New(slog.DiscardHandler)

	f.Fuzz(func(t *testing.T, body []byte, isJSON bool) {
		mediaType := "application/proto"
		if isJSON {
			mediaType = "application/json"
		}
		s := new(store)
		h := ingest.New(s, log)
		w := collect(h, s, mediaType, bytes.NewReader(body))

		switch w.Code {
		case http.StatusBadRequest:
			if s.calls != 0 {
				t.Fatalf("refused, and yet the store was called")
			}
			var refusal struct{ Code, Message string }
			if err := json.Unmarshal(w.Body.Bytes(), &refusal); err != nil || refusal.Code != "invalid_argument" {
				t.Fatalf("no Connect error: %s", w.Body)
			}
		case http.StatusOK:
		default:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}

		counts := h.Counts()
		taken := counts.Stored + counts.Duplicate
		for _, n := range counts.SetAside {
			taken += n
		}
		if isJSON {
			var lenient struct {
				Events []json.RawMessage `json:"events"`
			}
			if json.Unmarshal(body, &lenient) == nil && oneMemberEvents(body) && w.Code == http.StatusOK && taken != len(lenient.Events) {
				t.Fatalf("%d of %d events accounted for", taken, len(lenient.Events))
			}
		} else {
			var strict ingestionv1alpha.CollectEventsRequest
			if proto.Unmarshal(body, &strict) == nil && (w.Code != http.StatusOK || taken != len(strict.GetEvents())) {
				t.Fatalf("status %d, %d of %d events accounted for", w.Code, taken, len(strict.GetEvents()))
			}
		}
		for _, fact := range s.facts {
			checkKeepable(t, fact.Event)
			if fact.ID == "" || fact.Time.IsZero() || fact.Time.After(time.Now().Add(25*time.Hour)) {
				t.Fatalf("fact %q at %v", fact.ID, fact.Time)
			}
		}
		for _, aside := range s.aside {
			if aside.Reason == "" || !utf8.ValidString(aside.EventID) || strings.Contains(aside.EventID, "\x00") {
				t.Fatalf("set aside %q for %q", aside.EventID, aside.Reason)
			}
		}
	})
}

// oneMemberEvents reports whether "events" stands in body once, in its own spelling: encoding/json, which is the oracle
// here, is lax about both.
func oneMemberEvents(body []byte) bool {
	return bytes.Count(bytes.ToLower(body), []byte("events")) == 1 && bytes.Contains(body, []byte(`"events"`))
}

func checkKeepable(t *testing.T, event *ingestionv1alpha.Event) {
	t.Helper()
	err := protorange.Range(event.ProtoReflect(), func(p protopath.Values) error {
		if text, ok := p.Index(-1).Value.Interface().(string); ok && (!utf8.ValidString(text) || strings.Contains(text, "\x00")) {
			t.Fatalf("%v holds %q", p.Path, text)
		}
		if step := p.Index(-1).Step; step.Kind() == protopath.MapIndexStep {
			if key, ok := step.MapIndex().Interface().(string); ok && strings.Contains(key, "\x00") {
				t.Fatalf("%v has the key %q", p.Path, key)
			}
		}
		if m, ok := p.Index(-1).Value.Interface().(protoreflect.Message); ok && m.Descriptor().FullName() == "google.protobuf.Timestamp" {
			if err := m.Interface().(interface{ CheckValid() error }).CheckValid(); err != nil {
				t.Fatalf("%v: %v", p.Path, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
