package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector/reply"
)

// What one request may bring.
const (
	// MaxWireBytes bounds a body as it comes over the wire.
	MaxWireBytes = 8 << 20
	// MaxBodyBytes bounds a body once decompressed.
	MaxBodyBytes = 64 << 20
	// MaxEvents bounds the events of a request. The smallest real event has some 80 bytes, so no client that sends plain
	// bodies gets near; it is there because an empty event has two bytes on the wire and a hundred in memory.
	MaxEvents = 100_000
)

// Why a body is refused before anyone looks at what it says.
var (
	errTooLarge = errors.New("request too large")
	errEncoding = errors.New("content encoding not understood: send identity or gzip")
	errBroken   = errors.New("body cannot be read")
)

// readBody reads a body and undoes its compression, both bounded: nothing is decompressed beyond the limit, not even to
// find out how large it is.
func readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxWireBytes {
		return nil, tooLarge(MaxWireBytes, "")
	}
	wire, err := readAtMost(r.Body, MaxWireBytes, "")
	if err != nil {
		return nil, err
	}
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity":
		return wire, nil
	case "gzip", "x-gzip":
		if len(wire) == 0 {
			return wire, nil
		}
		unzip, err := gzip.NewReader(bytes.NewReader(wire))
		if err != nil {
			return nil, fmt.Errorf("%w: not gzip", errBroken)
		}
		return readAtMost(unzip, MaxBodyBytes, " after decompression")
	default:
		return nil, errEncoding
	}
}

func readAtMost(from io.Reader, limit int64, when string) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, limit+1))
	switch {
	case int64(len(body)) > limit:
		return nil, tooLarge(limit, when)
	case err != nil:
		return nil, fmt.Errorf("%w: it ends early or is damaged", errBroken)
	}
	return body, nil
}

func tooLarge(limit int64, when string) error {
	return fmt.Errorf("%w: the limit is %d bytes%s", errTooLarge, limit, when)
}

// refuse answers a body that readBody refused. Never 408: clients would send the same again.
func refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errTooLarge):
		reply.Error(w, http.StatusRequestEntityTooLarge, connect.CodeResourceExhausted, err.Error())
	case errors.Is(err, errEncoding):
		w.Header().Set("Accept-Encoding", "gzip")
		reply.Error(w, http.StatusUnsupportedMediaType, connect.CodeUnimplemented, err.Error())
	default:
		reply.Error(w, http.StatusBadRequest, connect.CodeInvalidArgument, err.Error())
	}
}

// withBody is r as Connect is to see it: one plain body of a bare media type.
func withBody(r *http.Request, mediaType string, body []byte) *http.Request {
	plain := r.WithContext(r.Context())
	plain.Header = r.Header.Clone()
	plain.Header.Set("Content-Type", mediaType)
	plain.Header.Del("Content-Encoding")
	plain.ContentLength = int64(len(body))
	plain.Body = io.NopCloser(bytes.NewReader(body))
	return plain
}
