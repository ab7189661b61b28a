package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Metrics over plain HTTP: what just arrived is counted behind ingest, of the key's project alone, with null for what is
// not known, and every number can be explained.
func TestMetricsOverHTTP(t *testing.T) {
	w := newWorld(t)
	now := time.Now().UTC().Format(time.RFC3339)
	event := func(id, kind, properties string) string {
		return `{"id":"` + id + `","type":"` + kind + `","createTime":"` + now + `","properties":{` + properties + `}}`
	}
	events := strings.Join([]string{
		event("e1", "session_open", `"sessionProperties":{"sessionId":"s1","userId":"ada","channel":"chat"}`),
		event("e2", "message_create", `"messageProperties":{"sessionId":"s1","messageIndexHint":1,"messageRole":"ROLE_USER","messageContent":"Where is my order?"}`),
		event("e3", "message_create", `"messageProperties":{"sessionId":"s1","messageIndexHint":2,"messageRole":"ROLE_ASSISTANT","messageContent":"It left our house."}`),
		event("e4", "session_open", `"sessionProperties":{"sessionId":"s2","testMode":true}`),
	}, ",")
	if status, answer := w.call(t, "{ingest key}", procedure, `{"events":[`+events+`]}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	if err := w.store.Store.(interface{ DigestAll(context.Context) error }).DigestAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	status, answer := w.call(t, "{read key}", "/align.v1.MetricsService/GetMetrics",
		`{"scope":{"to":"2029-01-01T00:00:00Z","from":"2020-01-01T00:00:00Z"},"names":["bot_handled_rate","thumbs_up_rate"],"groupBy":"channel"}`)
	type value struct {
		Name                   string
		Numerator, Denominator float64
		Value                  *float64
	}
	var got struct {
		Values []value
		Groups []struct {
			Value  string
			Values []value
		}
		Detector bool
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	if len(got.Values) != 2 || len(got.Groups) != 1 || got.Groups[0].Value != "chat" || !got.Detector {
		t.Fatalf("%s", answer)
	}
	if v := got.Values[0]; v.Denominator != 1 || v.Value == nil || *v.Value != 1 {
		t.Errorf("bot handled: %+v", v)
	}
	if v := got.Values[1]; v.Denominator != 0 || v.Value != nil {
		t.Errorf("thumbs without a vote: %+v", v)
	}
	status, answer = w.call(t, "{read key}", "/align.v1.MetricsService/ExplainMetric", `{"name":"bot_handled_rate","scope":{"to":"2029-01-01T00:00:00Z","from":"2020-01-01T00:00:00Z"}}`)
	var explained struct {
		Value, BySql value
		NumeratorIds []string
		LeftOut      []struct{ Reason, Conversations string }
		Sql          string
	}
	if err := json.Unmarshal([]byte(answer), &explained); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	if len(explained.NumeratorIds) != 1 || explained.NumeratorIds[0] != "s1" || explained.BySql.Numerator != 1 || len(explained.LeftOut) != 1 ||
		explained.LeftOut[0].Reason != "test mode" || explained.LeftOut[0].Conversations != "1" || !strings.Contains(explained.Sql, "FROM digests") {
		t.Errorf("%s", answer)
	}
	for _, wrong := range []string{`{"names":["secret"]}`, `{"groupBy":"secret"}`, `{"maxGroups":-1}`, `{"scope":{"from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z"}}`} {
		if status, answer := w.call(t, "{read key}", "/align.v1.MetricsService/GetMetrics", wrong); status != http.StatusBadRequest || strings.Contains(answer, "secret") {
			t.Errorf("%s: %d %s", wrong, status, answer)
		}
	}
}
