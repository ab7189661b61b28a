package server

import (
	"io"
	"net/http"
)

// maxDrainBytes bounds what is read only so that a refusal gets through. The server's ReadTimeout bounds how long it takes.
const maxDrainBytes = 64 << 20

// readBeforeRefusing reads the rest of a request's body before an answer of 400 or more is sent. A client that is still
// sending when the connection closes sees a reset instead of the answer, takes it for a network error and sends it all
// again, three times.
func readBeforeRefusing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		body := &watchedBody{ReadCloser: r.Body, asked: r.Header.Get("Expect") == ""}
		read := r.WithContext(r.Context())
		read.Body = body
		next.ServeHTTP(&refusalWriter{ResponseWriter: w, body: body}, read)
	})
}

// watchedBody knows whether its client was asked to send.
type watchedBody struct {
	io.ReadCloser
	asked bool // false while a client with "Expect: 100-continue" still waits to be asked
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.asked = true
	return b.ReadCloser.Read(p)
}

type refusalWriter struct {
	http.ResponseWriter
	body *watchedBody
}

func (w *refusalWriter) WriteHeader(status int) {
	if status >= 400 && w.body.asked {
		_, _ = io.CopyN(io.Discard, w.body, maxDrainBytes) // whatever comes of it, the answer is next
	}
	w.ResponseWriter.WriteHeader(status)
}

// Flush implements [http.Flusher], which Connect asks for before it streams.
func (w *refusalWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush() // whoever has gone is noticed by the next write
}

// Unwrap is for [http.ResponseController].
func (w *refusalWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
