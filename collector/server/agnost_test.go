package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest/agnost"
	"github.com/openalign/align/collector/server"
)

const chat = "a3f9c182-7d4e-4b6a-9e21-c5d8f0b4e731"

// capture is an Agnost request; members are those of its body.
func capture(path, members string) exchange {
	return exchange{path: path, header: map[string]string{"X-Org-Id": "ORG-1"}, body: "{" + members + "}", status: http.StatusOK}
}

// turn is a capture-event of a turn, n seconds after noon.
func turn(id string, n int, members string) exchange {
	return capture(agnost.EventPath, fmt.Sprintf(`"session_id":%q,"event_id":%q,"primitive_name":"support-agent","timestamp":%d,%s`,
		chat, id, noon.Add(time.Duration(n)*time.Second).UnixMilli(), members))
}

// AG-15, AG-16: statuses and the shape of errors.
func TestAgnostStatuses(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name   string
		edit   func(*exchange)
		status int
		want   string
	}{
		{"a turn", func(*exchange) {}, 200, `{"event_id":"e1","success":true}`},
		{"again", func(*exchange) {}, 200, `{"event_id":"e1","success":true}`},
		{"GET", func(e *exchange) { e.method = http.MethodGet }, 405, `{"error":"use POST"}`},
		{"no organisation", func(e *exchange) { e.header["X-Org-Id"] = "" }, 401, `{"error":"send the organisation's id as x-org-id"}`},
		{"another organisation", func(e *exchange) { e.header["X-Org-Id"] = "org-2" }, 403, `{"error":"this organisation is not known here"}`},
		{"another type", func(e *exchange) { e.header["Content-Type"] = "text/plain" }, 415, `{"error":"send application/json"}`},
		{"too large", func(e *exchange) { e.body += strings.Repeat(" ", agnost.MaxBytes) }, 413, `{"error":"request too large: the limit is 4194304 bytes"}`},
		{"no JSON", func(e *exchange) { e.body = `{"session_id"` }, 400, `{"error":"the body must be a JSON object"}`},
		{"no session", func(e *exchange) { e.body = `{"event_id":"e2","args":"x"}` }, 422, `{"error":"session_id is required"}`},
		{"a session that is no string", func(e *exchange) { e.body = `{"session_id":7}` }, 422, `{"error":"session_id must be a string"}`},
		{"a negative latency (AG-7)", func(e *exchange) { e.body = `{"session_id":"s","latency":-1}` }, 422, `{"error":"latency must be a number of milliseconds that is not negative"}`},
		{"a time that is no number", func(e *exchange) { e.body = `{"session_id":"s","timestamp":"soon"}` }, 422, `{"error":"timestamp must be a number of milliseconds that is not negative"}`},
		{"success that is no boolean", func(e *exchange) { e.body = `{"session_id":"s","success":"yes"}` }, 422, `{"error":"success must be a boolean"}`},
		{"metadata that is no object", func(e *exchange) { e.body = `{"session_id":"s","metadata":[]}` }, 422, `{"error":"metadata must be an object"}`},
		{"a session id that is too long", func(e *exchange) { e.body = `{"session_id":"` + strings.Repeat("x", 257) + `"}` }, 422, `{"error":"it cannot be kept: session_id_too_long"}`},
	} {
		e := turn("e1", 0, `"args":"hello","result":"hi"`)
		c.edit(&e)
		status, _, body := w.do(t, e)
		if status != c.status || body != c.want {
			t.Errorf("%s: %d %s, want %d %s", c.name, status, body, c.status, c.want)
		}
	}
	if got, want := w.totals(t), (collector.Totals{Facts: 2, Conversations: 1, Messages: 2}); got != want {
		t.Errorf("stored %+v, want %+v", got, want)
	}
}

// An organisation's id is no secret: without the operator's word there is no such dialect.
func TestAgnostIsOffByDefault(t *testing.T) {
	for _, path := range []string{agnost.SessionPath, agnost.EventPath} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}"))
		r.Header.Set("X-Org-Id", "org-1")
		server.New(ready{}, server.Options{}).ServeHTTP(w, r)
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, w.Code)
		}
	}
}

// AG-3, AG-13, AG-15, AG-19: a session, its turns, a tool, and an error.
func TestAgnostConversation(t *testing.T) {
	w := newWorld(t)
	w.exchange(t, exchange{
		path: agnost.SessionPath, header: map[string]string{"x-org-id": "org-1"}, status: 200, want: `{"session_id":"` + chat + `"}`,
		body: `{"session_id":"` + chat + `","user_data":{"user_id":"u1","email":"ada@example.com","name":"Ada","plan":"pro","seats":3},
			"metadata":{"surface":"web","nested":{"a": 1}},"timestamp":1773489590000,"client_config":"my-app/1.4"}`})
	w.exchange(t, turn("t1", 10, `"args":"Where is my order?","result":"It ships tomorrow.","latency":1200,"metadata":{"model":"gpt","cost":"0.002","input_tokens":12}`))
	w.exchange(t, turn("tool", 8, `"parent_id":"t1","args":{"order": 1042},"result":"{\"status\":\"shipped\"}"`))
	w.exchange(t, turn("t2", 20, `"args":"Cancel it","result":"timeout","success":false`))
	w.exchange(t, turn("t3", 30, `"result":"Anything else?"`))
	w.exchange(t, turn("t4", 40, `"args":"No"`))
	w.exchange(t, turn("t5", 50, `"args":"Hello?","success":false`))
	same(t, "messages", w.shown(t, chat), []string{
		"1 tool: {\"status\":\"shipped\"}",
		"2 user: Where is my order?", "3 assistant: It ships tomorrow.",
		"4 user: Cancel it", "5 assistant: timeout",
		"6 assistant: Anything else?",
		"7 user: No",
		"8 user: Hello?", "9 assistant: "})
	c := w.conversation(t, chat)
	if c.UserID != "u1" || c.Properties["surface"] != "web" || c.Properties["nested"] != `{"a":1}` || c.Properties["client_config"] != "my-app/1.4" || c.MessageCount != 9 {
		t.Errorf("conversation %+v", c)
	}
	u, err := w.store.User(t.Context(), project, "u1")
	if err != nil || u.Email != "ada@example.com" || u.DisplayName != "Ada" || u.Properties["plan"] != "pro" || u.Properties["seats"] != "3" {
		t.Errorf("user %+v, %v", u, err)
	}
	messages, _, err := w.store.Messages(t.Context(), project, chat, collector.Page{})
	if err != nil {
		t.Fatal(err)
	}
	if m := messages[2]; m.Properties["model"] != "gpt" || m.Properties["agent_name"] != "support-agent" || !m.Time.Equal(noon.Add(11200*time.Millisecond)) {
		t.Errorf("answer %+v", m)
	}
	if m := messages[0]; m.Properties["parent_id"] != "t1" {
		t.Errorf("tool %+v", m)
	}
	for _, batch := range w.store.batches {
		for _, fact := range batch.Facts {
			m := fact.Event.GetProperties().GetMessageProperties()
			switch m.GetMessageContent() {
			case "It ships tomorrow.":
				if m.GetLatency().AsDuration() != 1200*time.Millisecond || !m.GetSuccess() || m.GetModel() != "gpt" || m.GetCost() != 0.002 || m.GetInputTokens() != 12 {
					t.Errorf("answer %v", m)
				}
			case "timeout":
				if m.Latency != nil || m.GetSuccess() || m.GetError() != "timeout" { // AG-3, AG-8
					t.Errorf("failed answer %v", m)
				}
			case `{"status":"shipped"}`:
				if call := m.GetToolCalls()[0]; call.GetName() != "support-agent" || call.GetArguments() != `{"order":1042}` || call.GetId() != "tool" {
					t.Errorf("call %v", call)
				}
			}
		}
	}
}

// The older revision: sessions and events without ids, tools of MCP servers, whose input and output may be left out.
func TestAgnostOlderRevision(t *testing.T) {
	w := newWorld(t)
	status, _, body := w.do(t, capture(agnost.SessionPath, `"session_id":"my-session","user_data":{"userId":"u2","role":"admin"},"client_config":"vscode","connection_type":"http","ip":"192.0.2.1","tools":["search_web","get_weather"]`))
	if status != 200 || body != `{"session_id":"my-session"}` {
		t.Errorf("session: %d %s", status, body)
	}
	for range 2 { // two calls that are alike
		status, _, body = w.do(t, capture(agnost.EventPath, `"session_id":"my-session","primitive_type":"tool","primitive_name":"search_web","latency":342,"success":true,"checkpoints":[{"name":"x","timestamp":5}]`))
		if status != 200 || !strings.HasPrefix(body, `{"event_id":"`) {
			t.Errorf("event: %d %s", status, body)
		}
	}
	same(t, "messages", w.shown(t, "my-session"), []string{"1 tool: ", "2 tool: "})
	if c := w.conversation(t, "my-session"); c.UserID != "u2" || c.Properties["tools"] != `["search_web","get_weather"]` || c.Properties["connection_type"] != "http" {
		t.Errorf("conversation %+v", c)
	}
	if u, err := w.store.User(t.Context(), project, "u2"); err != nil || u.IP != "192.0.2.1" || u.Properties["role"] != "admin" {
		t.Errorf("user %+v, %v", u, err)
	}
	status, _, body = w.do(t, capture(agnost.SessionPath, `"user_data":{}`))
	if status != 200 || len(body) != len(`{"session_id":"`+chat+`"}`) {
		t.Errorf("session without an id: %d %s", status, body)
	}
}

// The place of a message is read off its own event, so no order of arrival and no restart can move it.
func TestAgnostOrderOfArrivalDoesNotMatter(t *testing.T) {
	anyOrder(t, []exchange{
		capture(agnost.SessionPath, `"session_id":"`+chat+`","timestamp":1773489590000,"user_data":{"user_id":"u1"}`),
		turn("t1", 10, `"args":"one","result":"1","latency":500`),
		turn("t2", 20, `"args":"two","result":"2","latency":50000`),
		turn("t3", 30, `"args":"three","result":"3"`),
		turn("t3b", 30, `"args":"at the same time","result":"3b"`),
		turn("tool", 15, `"parent_id":"t2","args":"x","result":"y"`),
		turn("t4", 40, `"result":"unasked"`),
	})
}
