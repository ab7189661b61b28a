package reply_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector/reply"
)

// wrapped is a writer as a middleware may put around the one it was given.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// What the middleware refuses comes in the other words, with its status and headers; what it lets through is left alone, also
// where it wraps the writer.
func TestInsteadAnswersOnlyForTheMiddleware(t *testing.T) {
	middleware := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Header.Get("case") {
			case "refused":
				w.Header().Set("Retry-After", "7")
				reply.Error(w, http.StatusTooManyRequests, connect.CodeResourceExhausted, "slow down")
			case "refused without a word":
				w.WriteHeader(http.StatusForbidden)
			case "wrapped":
				next.ServeHTTP(wrapped{w}, r)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
	h := reply.Instead(middleware, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "own")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("next"))
	}), func(w http.ResponseWriter, _ *http.Request, status int, message string) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte("refused: " + message))
	})
	for name, want := range map[string]struct {
		status                  int
		body, media, retryAfter string
	}{
		"refused":                {http.StatusTooManyRequests, "refused: slow down", "", "7"},
		"refused without a word": {http.StatusForbidden, "refused: Forbidden", "", ""},
		"wrapped":                {http.StatusTeapot, "next", "own", ""},
		"let through":            {http.StatusTeapot, "next", "own", ""},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("case", name)
		h.ServeHTTP(w, r)
		if w.Code != want.status || w.Body.String() != want.body || w.Header().Get("Retry-After") != want.retryAfter ||
			want.media != "" && w.Header().Get("Content-Type") != want.media {
			t.Errorf("%s: %d %q %v, want %+v", name, w.Code, w.Body, w.Header(), want)
		}
	}
}
