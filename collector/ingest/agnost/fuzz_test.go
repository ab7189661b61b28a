package agnost_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/openalign/align/collector/ingest/agnost"
	"github.com/openalign/align/collector/ingest/internal/ingesttest"
)

// FuzzCapture sends any body to either path. The answer is 200, 400 or 422, and with 200 there is something to show for it: a
// session, or one or two messages.
func FuzzCapture(f *testing.F) {
	for _, body := range []string{
		`{"session_id":"s","user_data":{"user_id":"u","email":"a@b","plan":null,"x":[1]},"metadata":{"a":{}},"timestamp":1773489600000,"tools":["t"],"ip":"::1"}`,
		`{"event_id":"e","session_id":"s","primitive_name":"a","args":"hello","result":"\ud800\u0000","success":false,"latency":1.5,"timestamp":9007199254740992,"metadata":{"model":"m","cost":"1e400"}}`,
		`{"session_id":"s","primitive_type":"tool","args":{"a":1},"parent_id":"p","checkpoints":[{}]}`,
		`{"session_id":7,"latency":"x"}`, `{}`, `[]`, `{`,
	} {
		f.Add(body, true)
		f.Add(body, false)
	}
	f.Fuzz(func(t *testing.T, body string, isEvent bool) {
		s := new(ingesttest.Store)
		h := agnost.New(s.Taker(), map[string]string{"org": "shop"})
		r := httptest.NewRequest(http.MethodPost, agnost.EventPath, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Org-Id", "ORG")
		w := httptest.NewRecorder()
		if isEvent {
			h.Event(w, r)
		} else {
			h.Session(w, r)
		}
		s.Check(t, w.Code)
		var answer struct{ Error, SessionID, EventID string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		switch w.Code {
		case http.StatusOK:
			if n := len(s.Facts); n < 1 || n > 2 || answer.Error != "" {
				t.Fatalf("%d facts, %s", n, w.Body)
			}
		case http.StatusBadRequest, http.StatusUnprocessableEntity:
			if answer.Error == "" {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		default:
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}
