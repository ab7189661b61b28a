package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
)

// call posts JSON to a procedure with one of the world's keys.
func (w *world) call(t *testing.T, key, procedure, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://"+w.addr+procedure, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+w.keys.Replace(key))
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(content)
}

// TestScopesAndFieldsAreEnforcedForEveryProcedure asks for each with each kind of key, and with a misspelt field: what is
// not understood must not look like an answer to it.
func TestScopesAndFieldsAreEnforcedForEveryProcedure(t *testing.T) {
	w := newWorld(t)
	const conversations, quality, admin = "/align.v1.ConversationService/", "/align.v1.QualityService/", "/align.v1.AdminService/"
	const numbers, exports = "/align.v1.MetricsService/", "/align.v1.ExportService/"
	for path, c := range map[string]struct {
		body    string
		allowed []collector.Scope
	}{
		procedure:                             {`{}`, []collector.Scope{"ingest", "admin"}},
		conversations + "SearchConversations": {`{}`, []collector.Scope{"read", "admin"}},
		conversations + "ListMessages":        {`{"conversationId":"s"}`, []collector.Scope{"read", "admin"}},
		quality + "GetQuality":                {`{}`, []collector.Scope{"read", "admin"}},
		quality + "ListFindings":              {`{"kind":"KIND_INDEX_GAP"}`, []collector.Scope{"read", "admin"}},
		quality + "ListSetAside":              {`{}`, []collector.Scope{"read", "admin"}},
		numbers + "GetMetrics":                {`{}`, []collector.Scope{"read", "admin"}},
		numbers + "ListMetrics":               {`{}`, []collector.Scope{"read", "admin"}},
		numbers + "ExplainMetric":             {`{"name":"error_rate"}`, []collector.Scope{"read", "admin"}},
		exports + "ListExports":               {`{}`, []collector.Scope{"read", "admin"}},
		admin + "EraseUser":                   {`{"userId":"nobody"}`, []collector.Scope{"admin"}},
		admin + "ListAudit":                   {`{}`, []collector.Scope{"admin"}},
	} {
		for _, scope := range []collector.Scope{"", "ingest", "read", "admin"} {
			want := http.StatusForbidden
			key := fmt.Sprintf("{%s key}", scope)
			if scope == "" {
				key, want = "", http.StatusUnauthorized
			}
			for _, allowed := range c.allowed {
				if scope == allowed {
					want = http.StatusOK
				}
			}
			status, answer := w.call(t, key, path, c.body)
			if status != want && !(want == http.StatusOK && status == http.StatusNotFound && strings.HasSuffix(path, "ListMessages")) {
				t.Errorf("%s with scope %q: status %d %s, want %d", path, scope, status, answer, want)
			}
		}
		if path == procedure {
			continue // clients may be newer than the collector
		}
		if status, answer := w.call(t, "{admin key}", path, `{"private":1}`); status != http.StatusBadRequest || strings.Contains(answer, "private") {
			t.Errorf("%s with a field that there is not: status %d %s, want 400 that does not repeat it", path, status, answer)
		}
	}
}

func TestContentOfWhatWasSetAsideIsForAdmins(t *testing.T) {
	w := newWorld(t)
	if status, answer := w.call(t, "{ingest key}", procedure, `{"events":[{"id":"e1","type":"secret"}]}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	const list = "/align.v1.QualityService/ListSetAside"
	for _, c := range []struct {
		key, body string
		status    int
		content   bool
	}{
		{"{read key}", `{}`, http.StatusOK, false},
		{"{read key}", `{"content":true}`, http.StatusForbidden, false},
		{"{admin key}", `{}`, http.StatusOK, false},
		{"{admin key}", `{"content":true}`, http.StatusOK, true},
	} {
		status, answer := w.call(t, c.key, list, c.body)
		if status != c.status || strings.Contains(answer, `"content"`) != c.content || strings.Contains(answer, "e1") && !c.content {
			t.Errorf("%s %s: %d %s", c.key, c.body, status, answer)
		}
	}
	status, answer := w.call(t, "{read key}", "/align.v1.QualityService/GetQuality", `{}`)
	if status != http.StatusOK || !strings.Contains(strings.ReplaceAll(answer, " ", ""), `"setAside":[{"reason":"type_unknown","count":"1","bytes":"27"}]`) {
		t.Errorf("%d %s", status, answer)
	}
}

func TestEraseUserOverHTTP(t *testing.T) {
	w := newWorld(t)
	const event = `{"events":[{"id":"e1","type":"session_open","properties":{"sessionProperties":{"sessionId":"s1","userId":"Xq7"}}}]}`
	for range 2 {
		if status, answer := w.call(t, "{ingest key}", procedure, event); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		status, answer := w.call(t, "{admin key}", "/align.v1.AdminService/EraseUser", `{"userId":"Xq7"}`)
		if status != http.StatusOK {
			t.Errorf("%d %s", status, answer)
		}
		status, answer = w.call(t, "{read key}", "/align.v1.ConversationService/SearchConversations", `{}`)
		if status != http.StatusOK || strings.Contains(answer, "Xq7") || !strings.Contains(answer, "erased-") {
			t.Errorf("%d %s; want the session of somebody erased", status, answer)
		}
	}
	status, answer := w.call(t, "{admin key}", "/align.v1.AdminService/ListAudit", `{}`)
	if status != http.StatusOK || strings.Contains(answer, "Xq7") || strings.Count(answer, "erase") != 2 {
		t.Errorf("%d %s; want two lines without the user", status, answer)
	}
	if status, _ := w.call(t, "{admin key}", "/align.v1.AdminService/EraseUser", `{}`); status != http.StatusBadRequest {
		t.Errorf("without a user: %d", status)
	}
	if strings.Contains(w.log.String(), "Xq7") {
		t.Error("the log names the user")
	}
}
