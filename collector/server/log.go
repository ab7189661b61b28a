package server

import (
	"log/slog"
	"net/http"
	"time"
)

// logged writes a line for every request: what was asked for, as the route and never the path, which may say anything, and
// what came of it. Refusals are worth a line in production, the rest is for debugging unless all is wanted.
func logged(log *slog.Logger, all bool, metrics *metrics, mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		mux.ServeHTTP(seen, r)
		took := time.Since(start)
		metrics.observe(r.Pattern, seen.status, took.Seconds())
		level := slog.LevelDebug
		if all || seen.status >= 400 {
			level = slog.LevelInfo
		}
		log.Log(r.Context(), level, "request", "route", r.Pattern, "status", seen.status,
			"remote", r.RemoteAddr, "duration", took)
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Flush implements [http.Flusher], which Connect asks for before it streams.
func (w *statusWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush() // whoever has gone is noticed by the next write
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
