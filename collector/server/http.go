package server

import (
	"log/slog"
	"net/http"
	"time"
)

// HTTP returns an [http.Server] of handler, with bounds on what a slow or hostile client can hold.
func HTTP(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute, // 5 MB at 1 Mbit/s, 8 MiB at 1.2
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute, // longer than a client's flush interval, so connections are reused
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
