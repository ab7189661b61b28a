// Package rpc stands before Connect's handlers of small calls, and answers what Connect would answer with no Connect error
// at all, or with one that clients misread.
package rpc

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector/reply"
)

// Bounds of a request, also once decompressed. Most hold ids, tokens and numbers; some hold what people write.
const (
	MaxRequestBytes = 64 << 10
	MaxLargeBytes   = 1 << 20
)

// Form says how a procedure may be called.
type Form int

const (
	PostOnly   Form = iota + 1
	GetOrPost       // Connect has a form for GET where nothing is changed
	PostLarge       // with a request of up to MaxLargeBytes
	PostStream      // likewise, in the form that Connect has for answers that stream
)

// MaxBytes bounds a request of the form.
func (f Form) MaxBytes() int {
	if f == PostLarge || f == PostStream {
		return MaxLargeBytes
	}
	return MaxRequestBytes
}

// Answerable lets calls of some procedures through to next, Connect's handler of their service. It calls a body that is too
// large 413 rather than 429, which says to come again. Everything else is left to Connect.
func Answerable(procedures map[string]Form, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form := procedures[r.URL.Path]
		if form == 0 {
			reply.Error(w, http.StatusNotFound, connect.CodeUnimplemented, "the service has no such method")
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
				unsupported(w, form)
				return
			}
			next.ServeHTTP(w, r)
			return
		default:
			allow := "POST"
			if form == GetOrPost {
				allow = "GET, POST"
			}
			w.Header().Set("Allow", allow)
			reply.Error(w, http.StatusMethodNotAllowed, connect.CodeUnimplemented, "use POST")
			return
		}
		mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		switch {
		case err == nil && slices.Contains(framed, mediaType):
			next.ServeHTTP(w, r) // frames of its own, bounded by Connect
			return
		case err != nil || !slices.Contains(accepted(form), mediaType):
			unsupported(w, form)
			return
		}
		limit := form.MaxBytes()
		body, err := io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
		if err != nil {
			reply.Error(w, http.StatusBadRequest, connect.CodeInvalidArgument, "body cannot be read: it ends early")
			return
		}
		if len(body) > limit || zipped(r) && len(body) > 0 && unzipsToMore(body, limit) {
			reply.Error(w, http.StatusRequestEntityTooLarge, connect.CodeResourceExhausted, fmt.Sprintf("request too large: the limit is %d KiB", limit>>10))
			return
		}
		read := r.WithContext(r.Context())
		read.Header = r.Header.Clone()
		read.Header.Set("Content-Type", mediaType) // Connect knows few parameters
		read.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, read)
	})
}

// accepted are the media types of Connect's own protocol.
func accepted(form Form) []string {
	if form == PostStream {
		return []string{"application/connect+json", "application/connect+proto"}
	}
	return []string{"application/json", "application/proto"}
}

func unsupported(w http.ResponseWriter, form Form) {
	types := accepted(form)
	w.Header().Set("Accept-Post", strings.Join(types, ", "))
	reply.Error(w, http.StatusUnsupportedMediaType, connect.CodeUnimplemented, "send "+strings.Join(types, " or "))
}

// framed are the media types of the other protocols that Connect speaks.
var framed = []string{
	"application/grpc", "application/grpc+proto", "application/grpc+json",
	"application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json",
}

func zipped(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") }

// unzipsToMore reports whether a body becomes too large. One that cannot be decompressed is for Connect to refuse.
func unzipsToMore(body []byte, limit int) bool {
	plain, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return false
	}
	n, _ := io.Copy(io.Discard, io.LimitReader(plain, int64(limit)+1)) // damage is for Connect to find
	return n > int64(limit)
}
