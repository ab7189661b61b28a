package acro_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest/acro"
	"github.com/openalign/align/collector/ingest/internal/ingesttest"
)

// FuzzConversation sends any body. The answer is 200 or 400, has the dialect's shape, and with 200 the whole transcript is
// there: an opening, a close, and a message for each line, numbered from 1; with 400 nothing.
func FuzzConversation(f *testing.F) {
	const id = `"conversationId":"6f1d0a2b-3c4d-4e5f-8a9b-00000000c0de"`
	for _, body := range []string{
		`{` + id + `,"start":"2026-03-14T12:00:00Z","lines":[]}`,
		`{` + id + `,"start":"2026-03-14","end":1773489600000,"duration":1e2,"customerId":"c","customerEmail":"a@b.c","lines":[{"role":"USER","content":null,"timestamp":"2026-03-14T12:00:00.000005"},{"role":"system","content":"\ud800\u0000"}]}`,
		`{` + id + `,"start":"0001-01-01T00:00:00","transfer":true,"completed":null,"textUrl":"https://x/","externalCompanyName":"Acme","lines":[{"role":"TOOL","content":"x","more":[1]}],"lines":[{"role":"tool","content":""}]}`,
		`{` + id + `,"start":"9999-12-31T23:59:59","lines":{}}`, `[]`, `{`, ``,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		s := new(ingesttest.Store)
		mux := http.NewServeMux()
		mux.Handle(acro.Pattern, acro.New(s.Taker(), s, s.Require))
		r := httptest.NewRequest(http.MethodPost, "/shop/conversation", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+ingesttest.Key)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		s.Check(t, w.Code)
		var answer struct{ ConversationID, RequestID, Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.RequestID == "" || (answer.Error == "") != (w.Code == http.StatusOK) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if w.Code != http.StatusOK {
			if w.Code != http.StatusBadRequest {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			return
		}
		kinds := make(map[string]int32)
		for _, fact := range s.Facts {
			kinds[fact.Event.GetType()]++
			properties := fact.Event.GetProperties()
			if m := properties.GetMessageProperties(); m != nil && m.GetMessageIndexHint() != kinds[collector.TypeMessageCreate] {
				t.Fatalf("message %d has index %d", kinds[collector.TypeMessageCreate], m.GetMessageIndexHint())
			}
		}
		for _, fact := range s.Facts {
			if m := fact.Event.GetProperties().GetSessionProperties(); m != nil && (m.MessageCount == nil || m.GetMessageCount() != kinds[collector.TypeMessageCreate]) {
				t.Fatalf("%d messages, and the end is at %d", kinds[collector.TypeMessageCreate], m.GetMessageCount())
			}
		}
		if kinds[collector.TypeSessionOpen] != 1 || kinds[collector.TypeSessionClose] != 1 || len(s.Aside) != 0 {
			t.Fatalf("half a transcript: %v, %d set aside", kinds, len(s.Aside))
		}
	})
}
