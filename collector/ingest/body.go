package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
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
	errDamaged  = fmt.Errorf("%w: it ends early or is damaged", errBroken)
	errNoRoom   = errors.New("too many requests are being read; try again")
)

// readBody reads a body and undoes its compression, both bounded: nothing is decompressed beyond the limit, not even to
// find out how large it is. It waits until there is room. The caller calls done when it needs the body no more.
func (r room) readBody(req *http.Request, limits Limits) (b body, done func(), err error) {
	if req.ContentLength > limits.Wire {
		return body{}, nil, tooLarge(limits.Wire, "")
	}
	zipped := false
	switch strings.ToLower(req.Header.Get("Content-Encoding")) {
	case "", "identity":
	case "gzip", "x-gzip":
		zipped = true
	default:
		return body{}, nil, errEncoding
	}
	most := limits.Wire + 1 // what may come of a body whose length is not said, to see that it is too much
	if req.ContentLength >= 0 {
		most = req.ContentLength
	}
	share, err := r.take(req.Context(), min(most, smallBytes))
	if err != nil {
		return body{}, nil, errNoRoom
	}
	defer func() {
		if err != nil {
			share.keep(0)
		}
	}()
	wire, err := share.readWire(req, most, zipped, limits)
	if err != nil {
		return body{}, nil, err
	}
	b = body{bytes.NewReader(wire), int64(len(wire)), wire, share}
	if zipped && len(wire) > 0 {
		if b, err = share.unzip(req.Context(), wire, limits); err != nil {
			return body{}, nil, err
		}
		share.keep(int64(len(wire)) + b.size) // who reads it holds both
	} else {
		share.keep(b.size)
	}
	return b, func() { share.keep(0) }, nil
}

// body is a plain body that is known to be whole.
type body struct {
	io.Reader
	size  int64
	whole []byte // what Reader reads, where it is in memory anyway
	share *share
}

// bytes returns all of a body of which nothing was read yet, for those who need it at once. Room for it was taken.
func (b body) bytes() ([]byte, error) {
	if b.whole != nil {
		return b.whole, nil
	}
	whole := make([]byte, b.size)
	if _, err := io.ReadFull(b, whole); err != nil {
		return nil, errDamaged
	}
	b.share.keep(b.size) // what came over the wire is of no more use
	return whole, nil
}

// readWire reads a body of at most most bytes as it comes over the wire. When it is more than small, room for what it will
// be decompressed is taken with that for the rest of it.
func (s *share) readWire(req *http.Request, most int64, zipped bool, limits Limits) ([]byte, error) {
	first, err := io.ReadAll(io.LimitReader(req.Body, s.small))
	if err != nil {
		return nil, errDamaged
	}
	if int64(len(first)) < s.small || most == s.small {
		return first, nil
	}
	more := most - s.small
	if zipped {
		more += limits.Body
	}
	if s.takeLarge(req.Context(), more) != nil {
		return nil, errNoRoom
	}
	return readAtMost(io.MultiReader(bytes.NewReader(first), req.Body), limits.Wire, "")
}

// unzip returns what a body that came in full becomes: its client has done its part and may hang up. It is measured first
// and decompressed again as it is read, since it is never held whole then but where it is needed; and a bomb takes no
// memory at all.
func (s *share) unzip(ctx context.Context, wire []byte, limits Limits) (body, error) {
	size, err := measure(wire, limits.Body)
	if err != nil {
		return body{}, err
	}
	if s.large == 0 {
		ctx, cancel := patience(ctx)
		defer cancel()
		if s.takeLarge(ctx, size) != nil {
			return body{}, errNoRoom
		}
	}
	plain, err := gzip.NewReader(bytes.NewReader(wire))
	if err != nil {
		return body{}, fmt.Errorf("%w: not gzip", errBroken)
	}
	return body{plain, size, nil, s}, nil
}

// measure returns how large a body is once decompressed, at most limit, and holds none of it.
func measure(wire []byte, limit int64) (int64, error) {
	plain, err := gzip.NewReader(bytes.NewReader(wire))
	if err != nil {
		return 0, fmt.Errorf("%w: not gzip", errBroken)
	}
	size, err := io.Copy(io.Discard, io.LimitReader(plain, limit+1))
	switch {
	case size > limit:
		return 0, tooLarge(limit, " after decompression")
	case err != nil:
		return 0, errDamaged
	}
	return size, nil
}

func readAtMost(from io.Reader, limit int64, when string) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, limit+1))
	switch {
	case int64(len(body)) > limit:
		return nil, tooLarge(limit, when)
	case err != nil:
		return nil, errDamaged
	}
	return body, nil
}

func tooLarge(limit int64, when string) error {
	return fmt.Errorf("%w: the limit is %d bytes%s", errTooLarge, limit, when)
}

// refuse answers a body that readBody refused. Never 408: clients would send the same again.
func refuse(w http.ResponseWriter, err error) {
	refused := refusal(err)
	if refused.RetryAfter {
		w.Header().Set("Retry-After", "1")
	}
	code := connect.CodeInvalidArgument
	switch refused.Status {
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests:
		code = connect.CodeResourceExhausted
	case http.StatusUnsupportedMediaType:
		w.Header().Set("Accept-Encoding", "gzip")
		code = connect.CodeUnimplemented
	}
	reply.Error(w, refused.Status, code, refused.Message)
}

// withBody is r as Connect is to see it: one plain body of a bare media type.
func withBody(r *http.Request, mediaType string, b body) *http.Request {
	plain := r.WithContext(r.Context())
	plain.Header = r.Header.Clone()
	plain.Header.Set("Content-Type", mediaType)
	plain.Header.Del("Content-Encoding")
	plain.ContentLength = b.size
	plain.Body = io.NopCloser(b)
	return plain
}
