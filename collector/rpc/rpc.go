// Package rpc stands before Connect's handlers of small calls, and answers what Connect would answer with no Connect error
// at all, or with one that clients misread.
package rpc

import (
	"bytes"
	"compress/gzip"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector/reply"
)

// MaxRequestBytes bounds a request, which holds an id, a token and a number, also once decompressed.
const MaxRequestBytes = 64 << 10

// Form says how a procedure may be called.
type Form int

const (
	PostOnly  Form = iota + 1
	GetOrPost      // Connect has a form for GET where nothing is changed
	Stream         // a POST whose answer comes in parts, as long as the client stays
)

// Answerable lets calls of some procedures through to next, Connect's handler of their service. It calls a body that is too
// large 413 rather than 429, which says to come again. Everything else is left to Connect.
func Answerable(procedures map[string]Form, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form := procedures[r.URL.Path]
		if form == 0 {
			reply.Error(w, http.StatusNotFound, connect.CodeUnimplemented, "the service has no such method")
			return
		}
		if form == Stream && r.Method == http.MethodPost {
			stream(w, r, next)
			return
		}
		if r.Method == http.MethodGet && form != GetOrPost {
			w.Header().Set("Allow", "POST")
			reply.Error(w, http.StatusMethodNotAllowed, connect.CodeUnimplemented, "use POST")
			return
		}
		switch r.Method {
		case http.MethodPost:
		case http.MethodGet:
			if encoding := r.URL.Query().Get("encoding"); encoding != "proto" && encoding != "json" {
				unsupported(w)
				return
			}
			next.ServeHTTP(w, r)
			return
		default:
			w.Header().Set("Allow", map[Form]string{PostOnly: "POST", GetOrPost: "GET, POST", Stream: "POST"}[form])
			reply.Error(w, http.StatusMethodNotAllowed, connect.CodeUnimplemented, "use POST")
			return
		}
		mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		switch {
		case err == nil && slices.Contains(framed, mediaType):
			next.ServeHTTP(w, r) // frames of its own, bounded by Connect
			return
		case err != nil || mediaType != "application/proto" && mediaType != "application/json":
			unsupported(w)
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, MaxRequestBytes+1))
		if err != nil {
			reply.Error(w, http.StatusBadRequest, connect.CodeInvalidArgument, "body cannot be read: it ends early")
			return
		}
		if len(body) > MaxRequestBytes || zipped(r) && len(body) > 0 && unzipsToMore(body) {
			reply.Error(w, http.StatusRequestEntityTooLarge, connect.CodeResourceExhausted, "request too large: the limit is 64 KiB")
			return
		}
		read := r.WithContext(r.Context())
		read.Header = r.Header.Clone()
		read.Header.Set("Content-Type", mediaType) // Connect knows few parameters
		read.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, read)
	})
}

// stream lets a call through whose answer comes in parts. The server's deadlines are for requests that are over soon: here
// each write has its own, so that only a client that does not read is given up.
func stream(w http.ResponseWriter, r *http.Request, next http.Handler) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(framed, mediaType) && !slices.Contains(streamed, mediaType) {
		w.Header().Set("Accept-Post", strings.Join(streamed, ", "))
		reply.Error(w, http.StatusUnsupportedMediaType, connect.CodeUnimplemented, "this call streams: send "+strings.Join(streamed, " or "))
		return
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // where there is no deadline, none need be taken away
	next.ServeHTTP(&patientWriter{w, control}, r)
}

// streamed are the media types of Connect's streams.
var streamed = []string{"application/connect+json", "application/connect+proto"}

// writeWithin is how long one write to a client may take.
const writeWithin = 30 * time.Second

// patientWriter gives each write its own deadline.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w *patientWriter) Write(b []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(writeWithin))
	return w.ResponseWriter.Write(b)
}

// Flush is for Connect, which asks for it by this method.
func (w *patientWriter) Flush() { _ = w.control.Flush() }

// Unwrap is for [http.ResponseController].
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func unsupported(w http.ResponseWriter) {
	w.Header().Set("Accept-Post", "application/json, application/proto")
	reply.Error(w, http.StatusUnsupportedMediaType, connect.CodeUnimplemented, "send application/json or application/proto")
}

// framed are the media types of the other protocols that Connect speaks.
var framed = []string{
	"application/grpc", "application/grpc+proto", "application/grpc+json",
	"application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json",
}

func zipped(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") }

// unzipsToMore reports whether a body becomes too large. One that cannot be decompressed is for Connect to refuse.
func unzipsToMore(body []byte) bool {
	plain, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return false
	}
	n, _ := io.Copy(io.Discard, io.LimitReader(plain, MaxRequestBytes+1)) // damage is for Connect to find
	return n > MaxRequestBytes
}
