package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest/otlp"
)

const typeOTLP = "application/x-protobuf"

// attrs makes attributes of names and values by turns: string, int, float64, or a value of its own.
func attrs(pairs ...any) (list []*commonv1.KeyValue) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, &commonv1.KeyValue{Key: pairs[i].(string), Value: valueOf(pairs[i+1])})
	}
	return list
}

func valueOf(v any) *commonv1.AnyValue {
	switch v := v.(type) {
	case string:
		return &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: v}}
	case int:
		return &commonv1.AnyValue{Value: &commonv1.AnyValue_IntValue{IntValue: int64(v)}}
	case float64:
		return &commonv1.AnyValue{Value: &commonv1.AnyValue_DoubleValue{DoubleValue: v}}
	case []any:
		list := new(commonv1.ArrayValue)
		for _, each := range v {
			list.Values = append(list.Values, valueOf(each))
		}
		return &commonv1.AnyValue{Value: &commonv1.AnyValue_ArrayValue{ArrayValue: list}}
	case map[string]any:
		object := new(commonv1.KeyValueList)
		for name, each := range v {
			object.Values = append(object.Values, &commonv1.KeyValue{Key: name, Value: valueOf(each)})
		}
		return &commonv1.AnyValue{Value: &commonv1.AnyValue_KvlistValue{KvlistValue: object}}
	}
	panic(fmt.Sprintf("no value of a %T", v))
}

func traceID(n int) []byte { return []byte(fmt.Sprintf("trace-%010d", n)) }
func spanID(n int) []byte  { return []byte(fmt.Sprintf("span-%03d", n)) }

func nanos(seconds float64) uint64 {
	return uint64(noon.Add(time.Duration(seconds * float64(time.Second))).UnixNano())
}

// operation is a span of a model, n seconds after noon, of the conversation "chat".
func operation(n int, more ...any) *tracev1.Span {
	return &tracev1.Span{TraceId: traceID(1), SpanId: spanID(n), Name: "chat gpt", StartTimeUnixNano: nanos(float64(n)), EndTimeUnixNano: nanos(float64(n) + 1.5),
		Attributes: append(attrs("gen_ai.operation.name", "chat", "gen_ai.conversation.id", "chat", "gen_ai.provider.name", "openai",
			"gen_ai.request.model", "gpt", "gen_ai.usage.input_tokens", 52, "gen_ai.usage.output_tokens", 47,
			"gen_ai.response.id", fmt.Sprint("chatcmpl-", n)), attrs(more...)...)}
}

func traces(spans ...*tracev1.Span) *tracev1.TracesData {
	return &tracev1.TracesData{ResourceSpans: []*tracev1.ResourceSpans{{ScopeSpans: []*tracev1.ScopeSpans{{Spans: spans}}}}}
}

func logs(records ...*logsv1.LogRecord) *logsv1.LogsData {
	return &logsv1.LogsData{ResourceLogs: []*logsv1.ResourceLogs{{ScopeLogs: []*logsv1.ScopeLogs{{LogRecords: records}}}}}
}

// exported is what an exporter sends.
func exported(t *testing.T, path string, data proto.Message) exchange {
	t.Helper()
	raw, err := proto.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return exchange{path: path, body: string(raw), status: http.StatusOK,
		header: map[string]string{"Content-Type": typeOTLP, "Authorization": "Bearer {ingest key}"}}
}

func messageOf(role, text string) string {
	return fmt.Sprintf(`{"role":%q,"parts":[{"type":"text","content":%q}]}`, role, text)
}

// Two turns, the second with a tool between: histories grow, each message is told once.
func chatSpans() []*tracev1.Span {
	question, call, result := messageOf("user", "Weather in Paris?"),
		`{"role":"assistant","parts":[{"type":"tool_call","id":"call_1","name":"get_weather","arguments":{"location":"Paris"}}],"finish_reason":"tool_call"}`,
		`{"role":"tool","parts":[{"type":"tool_call_response","id":"call_1","response":"rainy, 57°F"}]}`
	return []*tracev1.Span{
		operation(1, "user.id", "u1", "gen_ai.agent.name", "helper", "gen_ai.system_instructions", `[{"type":"text","content":"You help."}]`,
			"gen_ai.input.messages", `[`+messageOf("user", "Hello")+`]`, "gen_ai.output.messages", `[`+messageOf("assistant", "Hi!")+`]`),
		operation(10, "gen_ai.system_instructions", `[{"type":"text","content":"You help."}]`,
			"gen_ai.input.messages", `[`+messageOf("user", "Hello")+`,`+messageOf("assistant", "Hi!")+`,`+question+`]`, "gen_ai.output.messages", `[`+call+`]`),
		operation(12, "gen_ai.input.messages", `[`+messageOf("user", "Hello")+`,`+messageOf("assistant", "Hi!")+`,`+question+`,`+call+`,`+result+`]`,
			"gen_ai.output.messages", `[{"role":"assistant","parts":[{"type":"reasoning","content":"hm"},{"type":"text","content":"Rain."},{"type":"text","content":"57°F."}],"finish_reason":"stop"}]`),
	}
}

var chatShown = []string{"1 system: You help.", "2 user: Hello", "3 assistant: Hi!", "4 user: Weather in Paris?", "5 assistant: ",
	"6 tool: rainy, 57°F", "7 assistant: Rain.\n57°F."}

func TestOTLPTraces(t *testing.T) {
	spans := chatSpans()
	spans = append(spans,
		&tracev1.Span{TraceId: traceID(1), SpanId: spanID(98), Name: "GET /"},
		&tracev1.Span{TraceId: traceID(1), SpanId: spanID(99), Attributes: attrs("gen_ai.operation.name", "execute_tool", "gen_ai.tool.name", "get_weather")},
		&tracev1.Span{TraceId: traceID(1), SpanId: spanID(97), Attributes: attrs("gen_ai.operation.name", "invoke_agent", "gen_ai.output.messages", `[`+messageOf("assistant", "Rain.")+`]`)})
	binary := exported(t, otlp.TracesPath, traces(spans...))
	asJSON, err := protojson.Marshal(traces(spans...))
	if err != nil {
		t.Fatal(err)
	}
	inJSON := binary
	inJSON.header = map[string]string{"Content-Type": "application/json", "Authorization": "Bearer {ingest key}"}
	inJSON.body, inJSON.want = hexIDs(string(asJSON)), "{}"
	packed := binary
	packed.header = map[string]string{"Content-Type": typeOTLP, "Authorization": "Bearer {ingest key}", "Content-Encoding": "gzip"}
	packed.body = zipped(t, binary.body)

	dumps := map[string]bool{}
	for name, e := range map[string]exchange{"protobuf": binary, "JSON": inJSON, "gzip": packed} {
		w := newWorld(t)
		for range 2 { // exporters repeat what was not answered
			w.exchange(t, e)
		}
		same(t, name, w.shown(t, "chat"), chatShown)
		if got, want := w.totals(t), (collector.Totals{Facts: 8, Conversations: 1, Users: 1, Messages: 7}); got != want {
			t.Errorf("%s: stored %+v, want %+v", name, got, want)
		}
		if got := w.server.IngestedByDialect()["otlp"]; got.Ignored != 6 {
			t.Errorf("%s: %d spans ignored, want 3 twice", name, got.Ignored)
		}
		c := w.conversation(t, "chat")
		if c.UserID != "u1" || c.AssistantID != "helper" || !c.StartTime.Equal(noon.Add(time.Second)) || !c.LastActivity.Equal(noon.Add(13500*time.Millisecond)) {
			t.Errorf("%s: conversation %+v", name, c)
		}
		dumps[w.dump(t)] = true
		for _, fact := range w.store.batches[0].Facts {
			if m := fact.Event.GetProperties().GetMessageProperties(); m.GetMessageContent() == "Hi!" {
				if m.GetLatency().AsDuration() != 1500*time.Millisecond || m.GetModel() != "gpt" || m.GetInputTokens() != 52 || m.GetOutputTokens() != 47 ||
					!m.GetSuccess() || m.GetError() != "" || m.GetRunId() != fmt.Sprintf("%x", traceID(1)) {
					t.Errorf("answer %v", m)
				}
			} else if len(m.GetToolCalls()) > 0 && m.GetMessageContent() == "" {
				if call := m.GetToolCalls()[0]; call.GetId() != "call_1" || call.GetName() != "get_weather" || call.GetArguments() != `{"location":"Paris"}` {
					t.Errorf("call %v", call)
				}
			}
		}
	}
	if len(dumps) != 1 {
		t.Errorf("protobuf, JSON and gzip show %d different things", len(dumps))
	}
}

// hexIDs writes ids as OTLP's JSON does; protojson writes base64.
func hexIDs(text string) string {
	for n := range 100 {
		for _, id := range [][]byte{traceID(n), spanID(n)} {
			raw, _ := protojson.Marshal(&tracev1.Span{TraceId: id})
			encoded := strings.Split(strings.ReplaceAll(string(raw), " ", ""), `"`)[3]
			text = strings.ReplaceAll(text, `"`+encoded+`"`, fmt.Sprintf(`"%X"`, id))
		}
	}
	return text
}

// Each span is a request of its own, and so is each vote.
func TestOTLPOrderOfArrivalDoesNotMatter(t *testing.T) {
	var exchanges []exchange
	for _, span := range chatSpans() {
		exchanges = append(exchanges, exported(t, otlp.TracesPath, traces(span)))
	}
	exchanges = append(exchanges,
		exported(t, otlp.LogsPath, logs(evaluation(40, "gen_ai.conversation.id", "chat", "gen_ai.response.id", "chatcmpl-12", "gen_ai.evaluation.score.label", "thumbs_down"))),
		exported(t, otlp.LogsPath, logs(evaluation(50, "gen_ai.conversation.id", "chat", "gen_ai.response.id", "chatcmpl-12", "gen_ai.evaluation.score.label", "thumbs_up"))),
		exported(t, otlp.LogsPath, logs(evaluation(60, "gen_ai.conversation.id", "chat", "gen_ai.evaluation.score.value", 0))))
	anyOrder(t, exchanges)
}

func evaluation(n int, more ...any) *logsv1.LogRecord {
	return &logsv1.LogRecord{EventName: "gen_ai.evaluation.result", TimeUnixNano: nanos(float64(n)),
		Attributes: append(attrs("gen_ai.evaluation.name", "user_feedback"), attrs(more...)...)}
}

func TestOTLPUserFeedbackIsAVote(t *testing.T) {
	w := newWorld(t)
	w.exchange(t, exported(t, otlp.LogsPath, logs(
		evaluation(30, "gen_ai.conversation.id", "chat", "gen_ai.response.id", "chatcmpl-1", "gen_ai.evaluation.score.value", 1, "gen_ai.evaluation.explanation", "quick"),
		evaluation(31, "gen_ai.conversation.id", "chat", "gen_ai.response.id", "chatcmpl-12", "gen_ai.evaluation.score.value", 0.2),
		evaluation(32, "gen_ai.conversation.id", "chat", "gen_ai.evaluation.score.label", "Thumbs_Up", "user.id", "u1"),
		&logsv1.LogRecord{EventName: "gen_ai.evaluation.result", TimeUnixNano: nanos(30), Attributes: attrs("gen_ai.evaluation.name", "relevance", "gen_ai.evaluation.score.value", 1)})))
	w.exchange(t, exported(t, otlp.TracesPath, traces(chatSpans()...)))
	want := append([]string(nil), chatShown...)
	want[2] += " +quick"
	want[6] += " -"
	same(t, "messages", w.shown(t, "chat"), want)
	if c := w.conversation(t, "chat"); c.Vote != collector.VoteUp {
		t.Errorf("vote on the conversation %v", c.Vote)
	}
	if got := w.server.IngestedByDialect()["otlp"]; got.Ignored != 1 {
		t.Errorf("%d ignored, want the other evaluation", got.Ignored)
	}

	// A response without an id is known by its span; the vote may be an event of it.
	w = newWorld(t)
	span := operation(1, "gen_ai.response.id", "", "gen_ai.output.messages", `[`+messageOf("assistant", "Hi!")+`]`)
	span.Events = []*tracev1.Span_Event{{Name: "gen_ai.evaluation.result", TimeUnixNano: nanos(5),
		Attributes: attrs("gen_ai.evaluation.name", "user_feedback", "gen_ai.evaluation.score.label", "👎")}}
	w.exchange(t, exported(t, otlp.TracesPath, traces(span)))
	same(t, "vote on a span", w.shown(t, "chat"), []string{"1 assistant: Hi! -"})
	later := evaluation(9, "gen_ai.conversation.id", "chat", "gen_ai.evaluation.score.label", "up")
	later.TraceId, later.SpanId = traceID(1), spanID(1)
	w.exchange(t, exported(t, otlp.LogsPath, logs(later)))
	same(t, "a change of mind", w.shown(t, "chat"), []string{"1 assistant: Hi! +"})
}

// The forms in which messages come: structured attributes of a log record, events of older conventions on a span and as logs.
func TestOTLPForms(t *testing.T) {
	text := func(role, text string) any {
		return map[string]any{"role": role, "parts": []any{map[string]any{"type": "text", "content": text}}}
	}
	record := func(name string, at float64, body any) *logsv1.LogRecord {
		return &logsv1.LogRecord{EventName: name, TimeUnixNano: nanos(at), TraceId: traceID(1), SpanId: spanID(1), Body: valueOf(body), Attributes: attrs("session.id", "chat")}
	}
	old := operation(1)
	old.Events = []*tracev1.Span_Event{
		{Name: "gen_ai.system.message", Attributes: attrs("content", "You help.")},
		{Name: "gen_ai.user.message", Attributes: attrs("content", "Hello", "role", "user")},
		{Name: "gen_ai.choice", Attributes: attrs("index", 0, "finish_reason", "stop", "message", `{"role":"assistant","content":"Hi!"}`)},
		{Name: "exception", Attributes: attrs("exception.message", "x")},
	}
	older := operation(1)
	older.Events = []*tracev1.Span_Event{
		{Name: "gen_ai.content.prompt", Attributes: attrs("gen_ai.prompt", `[{"role":"system","content":"You help."},{"role":"user","content":[{"type":"text","text":"Hello"}]}]`)},
		{Name: "gen_ai.content.completion", Attributes: attrs("gen_ai.completion", `[{"role":"assistant","content":"Hi!"}]`)},
	}
	details := operation(1)
	details.Events = []*tracev1.Span_Event{{Name: "gen_ai.client.inference.operation.details", Attributes: attrs(
		"gen_ai.input.messages", []any{text("system", "You help."), text("user", "Hello")}, "gen_ai.output.messages", []any{text("assistant", "Hi!")})}}
	for name, e := range map[string]exchange{
		"a log record with structured values": exported(t, otlp.LogsPath, logs(&logsv1.LogRecord{
			EventName: "gen_ai.client.inference.operation.details", TimeUnixNano: nanos(1), TraceId: traceID(1), SpanId: spanID(1),
			Attributes: attrs("gen_ai.conversation.id", "chat", "gen_ai.operation.name", "chat",
				"gen_ai.input.messages", []any{text("system", "You help."), text("user", "Hello")}, "gen_ai.output.messages", []any{text("assistant", "Hi!")})})),
		"a log record for each message": exported(t, otlp.LogsPath, logs(
			record("gen_ai.choice", 2, map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": "Hi!"}}),
			record("gen_ai.system.message", 1, map[string]any{"content": "You help."}),
			record("gen_ai.user.message", 1.5, map[string]any{"content": "Hello"}),
			&logsv1.LogRecord{Body: valueOf("plain log line"), TimeUnixNano: nanos(1)})),
		"an event for each message": exported(t, otlp.TracesPath, traces(old)),
		"prompt and completion":     exported(t, otlp.TracesPath, traces(older)),
		"messages spread over attributes": exported(t, otlp.TracesPath, traces(operation(1, "gen_ai.prompt.0.role", "system", "gen_ai.prompt.0.content", "You help.",
			"gen_ai.prompt.1.role", "user", "gen_ai.prompt.1.content", "Hello", "gen_ai.completion.0.role", "assistant", "gen_ai.completion.0.content", "Hi!",
			"gen_ai.completion.0.finish_reason", "stop"))),
		"details on a span": exported(t, otlp.TracesPath, traces(details)),
	} {
		w := newWorld(t)
		w.exchange(t, e)
		same(t, name, w.shown(t, "chat"), []string{"1 system: You help.", "2 user: Hello", "3 assistant: Hi!"})
	}
}

func TestOTLPErrorsAndTraceAsConversation(t *testing.T) {
	w := newWorld(t)
	failed := &tracev1.Span{TraceId: traceID(7), SpanId: spanID(7), StartTimeUnixNano: nanos(1), EndTimeUnixNano: nanos(2),
		Status:     &tracev1.Status{Code: tracev1.Status_STATUS_CODE_ERROR, Message: "overloaded"},
		Attributes: attrs("gen_ai.operation.name", "chat", "gen_ai.input.messages", "Hello", "error.type", "529")}
	w.exchange(t, exported(t, otlp.TracesPath, traces(failed)))
	conversation := fmt.Sprintf("%x", traceID(7))
	same(t, "messages", w.shown(t, conversation), []string{"1 user: Hello", "2 assistant: "})
	for _, fact := range w.store.batches[0].Facts {
		if m := fact.Event.GetProperties().GetMessageProperties(); m.Success != nil && (m.GetSuccess() || m.GetError() != "overloaded" || m.GetOutcome() != "error") {
			t.Errorf("failed answer %v", m)
		}
	}
}

// The answers of the OTLP specification, in the media type of the request.
func TestOTLPAnswers(t *testing.T) {
	w := newWorld(t)
	good := operation(1, "gen_ai.output.messages", `[`+messageOf("assistant", "Hi!")+`]`)
	bad := operation(2, "gen_ai.output.messages", `[`+messageOf("assistant", "Hi!")+`]`)
	bad.Attributes[1] = attrs("gen_ai.conversation.id", strings.Repeat("x", 257))[0]
	e := exported(t, otlp.TracesPath, traces(good, bad))
	const why = "no good, see the collector's data quality"
	partial := append([]byte{0x08, 1, 0x12, byte(len(why))}, why...)
	e.want = string(append([]byte{0x0a, byte(len(partial))}, partial...))
	e.name = "partial success in protobuf"
	w.exchange(t, e)
	if got, want := w.totals(t), (collector.Totals{Facts: 1, SetAside: 1, Conversations: 1, Messages: 1}); got != want {
		t.Errorf("stored %+v, want %+v", got, want)
	}
	key := map[string]string{"Authorization": "Bearer {ingest key}"}
	vote := `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"eventName":"gen_ai.evaluation.result","timeUnixNano":"1773489600000000000","attributes":[
		{"key":"gen_ai.evaluation.name","value":{"stringValue":"user_feedback"}},{"key":"gen_ai.conversation.id","value":{"stringValue":"chat"}}]}]}]}]}`
	for _, c := range []exchange{
		{name: "partial success in JSON", path: otlp.LogsPath, header: key, body: vote, status: 200,
			want: `{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"` + why + `"}}`},
		{name: "nothing", path: otlp.LogsPath, header: key, body: "{}", status: 200, want: "{}"},
		{name: "unknown members", path: otlp.TracesPath, header: key, body: `{"future":[{}]}`, status: 200, want: "{}"},
		{name: "no JSON", path: otlp.LogsPath, header: key, body: "{", status: 400, want: `{"code":3,"message":"the body is not an OTLP export request"}`},
		{name: "no protobuf", path: otlp.LogsPath, header: map[string]string{"Authorization": "Bearer {ingest key}", "Content-Type": typeOTLP}, body: "\xff", status: 400,
			want: "\x08\x03\x12\x26the body is not an OTLP export request"},
		{name: "too many values", path: otlp.LogsPath, header: key, body: `{"x":[` + strings.Repeat("{},", otlp.MaxValues) + `{}]}`, status: 400,
			want: fmt.Sprintf(`{"code":3,"message":"more than %d spans, records, attributes and values in a request"}`, otlp.MaxValues)},
		{name: "too many values in protobuf", path: otlp.TracesPath, header: map[string]string{"Authorization": "Bearer {ingest key}", "Content-Type": typeOTLP},
			body: strings.Repeat("\x0a\x00", otlp.MaxValues), status: 400, want: fmt.Sprintf("more than %d spans", otlp.MaxValues)},
		{name: "no key", path: otlp.TracesPath, body: "{}", status: 401, want: `{"code":16,"message":"an API key is needed: send it as Authorization: Bearer KEY"}`},
		{name: "a key that may not send", path: otlp.TracesPath, header: map[string]string{"Authorization": "Bearer {read key}"}, body: "{}", status: 403, want: `{"code":7,`},
		{name: "GET", method: http.MethodGet, path: otlp.TracesPath, header: key, status: 405, want: `{"code":12,`},
		{name: "another type", path: otlp.TracesPath, header: map[string]string{"Authorization": "Bearer {ingest key}", "Content-Type": "text/plain"}, status: 415, want: `{"code":3,`},
		{name: "too large", path: otlp.TracesPath, header: key, body: strings.Repeat(" ", otlp.MaxWireBytes+1), status: 413, want: `{"code":3,`},
		{name: "too large once unzipped", path: otlp.TracesPath, header: map[string]string{"Authorization": "Bearer {ingest key}", "Content-Encoding": "gzip"},
			body: zipped(t, strings.Repeat(" ", otlp.MaxBodyBytes+1)), status: 413, want: "after decompression"},
	} {
		w.exchange(t, c)
	}
	for path, media := range map[string]string{otlp.TracesPath: typeOTLP, otlp.LogsPath: "application/json"} {
		_, header, _ := w.do(t, exchange{path: path, header: map[string]string{"Content-Type": media, "Authorization": "Bearer {ingest key}"}, body: map[string]string{typeOTLP: "", "application/json": "{}"}[media]})
		if got := header.Get("Content-Type"); got != media {
			t.Errorf("Content-Type %q of an answer to %q", got, media)
		}
	}
}
