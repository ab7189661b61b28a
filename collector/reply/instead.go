package reply

import (
	"encoding/json"
	"net/http"
)

// Instead wraps next in middleware that refuses with [Error], such as the check of a key, and has answer say what it refuses
// in the words of another dialect: with the same status, and the same headers but for Content-Type.
func Instead(middleware func(next http.Handler) http.Handler, next http.Handler,
	answer func(w http.ResponseWriter, r *http.Request, status int, message string)) http.Handler {
	checked := middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for inner := w; inner != nil; { // the middleware may have wrapped it
			if held, ok := inner.(*heldAnswer); ok {
				held.passed = true
				break
			}
			wrapped, ok := inner.(interface{ Unwrap() http.ResponseWriter })
			if !ok {
				break
			}
			inner = wrapped.Unwrap()
		}
		next.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		held := &heldAnswer{ResponseWriter: w}
		checked.ServeHTTP(held, r)
		if held.passed || held.status == 0 {
			return
		}
		var refused struct{ Message string }
		if json.Unmarshal(held.body, &refused) != nil || refused.Message == "" {
			refused.Message = http.StatusText(held.status)
		}
		w.Header().Del("Content-Type")
		answer(w, r, held.status, refused.Message)
	})
}

// heldAnswer keeps what is answered before the request was let through.
type heldAnswer struct {
	http.ResponseWriter
	passed bool
	status int
	body   []byte
}

func (h *heldAnswer) WriteHeader(status int) {
	if h.passed {
		h.ResponseWriter.WriteHeader(status)
	} else if h.status == 0 {
		h.status = status
	}
}

func (h *heldAnswer) Write(p []byte) (int, error) {
	if h.passed {
		return h.ResponseWriter.Write(p)
	}
	h.WriteHeader(http.StatusOK)
	h.body = append(h.body, p...)
	return len(p), nil
}

// Unwrap is for [http.ResponseController].
func (h *heldAnswer) Unwrap() http.ResponseWriter { return h.ResponseWriter }
