package otlp_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector/ingest/internal/ingesttest"
	"github.com/openalign/align/collector/ingest/otlp"
)

// FuzzExport sends any body to either path as either media type. The answer is 200 or 400. What the schema's own code can
// read, so can otlp, within its bounds; and the same body again makes the same facts.
func FuzzExport(f *testing.F) {
	text := func(name, value string) *commonv1.KeyValue {
		return &commonv1.KeyValue{Key: name, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: value}}}
	}
	attributes := []*commonv1.KeyValue{
		text("gen_ai.operation.name", "chat"), text("gen_ai.conversation.id", "c"), text("user.id", "u"), text("gen_ai.response.id", "r"),
		text("gen_ai.system_instructions", `[{"type":"text","content":"s"}]`),
		text("gen_ai.input.messages", `[{"role":"assistant","parts":[{"type":"text","content":"a"}]},{"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":{"a":1}}]}]`),
		text("gen_ai.output.messages", `[{"role":"assistant","parts":[{"type":"tool_call","name":"n","arguments":{}},"x",null,7],"tool_calls":[{"function":{}}]},[],"y"]`),
		text("gen_ai.evaluation.name", "user_feedback"), text("gen_ai.evaluation.score.label", "up"),
	}
	spans := &tracev1.TracesData{ResourceSpans: []*tracev1.ResourceSpans{{ScopeSpans: []*tracev1.ScopeSpans{{Spans: []*tracev1.Span{{
		TraceId: make([]byte, 16), SpanId: make([]byte, 8), StartTimeUnixNano: 1773489600000000000, EndTimeUnixNano: 1<<64 - 1, Attributes: attributes,
		Events: []*tracev1.Span_Event{{Name: "gen_ai.choice", Attributes: attributes}, {Name: "gen_ai.evaluation.result", Attributes: attributes}},
		Status: &tracev1.Status{Code: tracev1.Status_STATUS_CODE_ERROR, Message: "m"},
	}}}}}}}
	var records []*logsv1.LogRecord
	for _, name := range []string{"gen_ai.client.inference.operation.details", "gen_ai.user.message", "gen_ai.choice", "gen_ai.evaluation.result", "other"} {
		records = append(records, &logsv1.LogRecord{EventName: name, TimeUnixNano: 1773489600000000000, Attributes: attributes, SpanId: make([]byte, 8), Body: attributes[5].Value})
	}
	logs := &logsv1.LogsData{ResourceLogs: []*logsv1.ResourceLogs{{ScopeLogs: []*logsv1.ScopeLogs{{LogRecords: records}}}}}
	for _, data := range []proto.Message{spans, logs} {
		binary, err := proto.Marshal(data)
		if err != nil {
			f.Fatal(err)
		}
		asJSON, err := protojson.Marshal(data)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(binary, data == spans, false)
		f.Add(asJSON, data == spans, true)
	}
	f.Add([]byte("{}"), true, true)
	f.Add([]byte("\x0a\x02\x12\x00"), false, false)

	f.Fuzz(func(t *testing.T, body []byte, isTraces, isJSON bool) {
		send := func() (*ingesttest.Store, *httptest.ResponseRecorder) {
			s := new(ingesttest.Store)
			traces, logs := otlp.New(s.Taker(), s.Require)
			r := httptest.NewRequest(http.MethodPost, otlp.TracesPath, bytes.NewReader(body))
			r.Header.Set("Content-Type", map[bool]string{true: "application/json", false: "application/x-protobuf"}[isJSON])
			r.Header.Set("Authorization", "Bearer "+ingesttest.Key)
			w := httptest.NewRecorder()
			if isTraces {
				traces.ServeHTTP(w, r)
			} else {
				logs.ServeHTTP(w, r)
			}
			s.Check(t, w.Code)
			return s, w
		}
		s, w := send()
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if !isJSON && len(body) < otlp.MaxValues {
			data := proto.Message(new(logsv1.LogsData))
			if isTraces {
				data = new(tracev1.TracesData)
			}
			readable := (proto.UnmarshalOptions{RecursionLimit: 90}).Unmarshal(body, data) == nil
			if readable && w.Code != http.StatusOK {
				t.Fatalf("can be read, and yet %d %s", w.Code, strings.ToValidUTF8(w.Body.String(), "?"))
			}
		}
		again, _ := send()
		if len(s.Facts) != len(again.Facts) {
			t.Fatalf("%d facts, and %d of the same body again", len(s.Facts), len(again.Facts))
		}
		for i := range s.Facts {
			if s.Facts[i].ID != again.Facts[i].ID {
				t.Fatalf("fact %d has the ids %s and %s", i, s.Facts[i].ID, again.Facts[i].ID)
			}
		}
	})
}
