package align

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	collectPath = "/ingestion.v1alpha.IngestionService/CollectEvents"

	maxRetryAfter   = 5 * time.Minute
	maxErrorText    = 1 << 10
	maxDrainedBytes = 64 << 10 // past this a new connection is cheaper than reading on
)

// verdict classifies what became of one attempt.
type verdict int

const (
	accepted verdict = iota // 2xx: the collector has the batch
	refused                 // 400, 413, 422: this batch will never be taken as it is
	failed                  // network errors, 408, 425, 429, 5xx: the same batch may be taken later
	blocked                 // 401, 403, 404 and the like: nothing will be taken until somebody changes something
	aborted                 // our own context ended
)

// outcome is a verdict with its details.
type outcome struct {
	verdict    verdict
	err        error
	retryAfter time.Duration
}

// transport delivers one batch once. It keeps no state and decides no retries.
type transport struct {
	client  *http.Client
	owned   bool // the client's transport is ours to close
	url     string
	key     string
	timeout time.Duration
}

func newTransport(cfg *Config) *transport {
	t := &transport{url: cfg.Host + collectPath, key: cfg.APIKey, timeout: cfg.AttemptTimeout}
	client := http.Client{}
	if cfg.HTTPClient != nil {
		client = *cfg.HTTPClient
	} else {
		rt := http.DefaultTransport.(*http.Transport).Clone()
		rt.MaxIdleConnsPerHost = cfg.Senders
		client.Transport = rt
		t.owned = true
	}
	// A redirect would turn the POST into a GET or take the key to another host: it is an answer like any other.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.client = &client
	return t
}

func (t *transport) close() {
	if t.owned {
		t.client.CloseIdleConnections()
	}
}

// send makes one attempt. When it returns, nothing reads the batch any more.
func (t *transport) send(ctx context.Context, b *batch) outcome {
	attempt, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	parts := newParts(b)
	defer parts.detach()
	req, err := http.NewRequestWithContext(attempt, http.MethodPost, t.url, parts.reader())
	if err != nil {
		return outcome{verdict: blocked, err: err}
	}
	req.ContentLength = parts.size
	req.GetBody = func() (io.ReadCloser, error) { return parts.reader(), nil }
	req.Header.Set("Content-Type", "application/proto")
	req.Header.Set("Connect-Protocol-Version", "1")
	req.Header.Set("Authorization", "Bearer "+t.key)
	// Lets net/http replay the request when a kept connection turns out dead. A nil value is not sent.
	req.Header["Idempotency-Key"] = nil

	resp, err := t.client.Do(req)
	switch {
	case err == nil:
		defer resp.Body.Close()
		return t.classify(resp)
	case ctx.Err() != nil:
		return outcome{verdict: aborted, err: ctx.Err()}
	case errors.Is(err, context.DeadlineExceeded):
		return outcome{verdict: failed, err: errAttemptTimeout}
	}
	return outcome{verdict: failed, err: err}
}

var errAttemptTimeout = errors.New("align: the collector did not answer in time")

func (t *transport) classify(resp *http.Response) outcome {
	code := resp.StatusCode
	if code/100 == 2 {
		io.CopyN(io.Discard, resp.Body, maxDrainedBytes) // so that the connection can be used again
		return outcome{verdict: accepted}
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
	io.CopyN(io.Discard, resp.Body, maxDrainedBytes)
	err := &StatusError{
		Code:       code,
		Message:    t.clean(text),
		RetryAfter: min(retryAfter(resp.Header.Get("Retry-After"), time.Now()), maxRetryAfter),
	}
	out := outcome{verdict: blocked, err: err, retryAfter: err.RetryAfter}
	switch {
	case code == 400, code == 413, code == 422:
		out.verdict = refused
	case code == 408, code == 425, code == 429, code >= 500:
		out.verdict = failed
	}
	return out
}

// clean makes an answer's text fit for a log: one line, without our key, whatever the server put there.
func (t *transport) clean(text []byte) string {
	s := strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(string(text), "")))
	s = strings.ReplaceAll(s, t.key, "[key]")
	// The limit may have cut an echoed key: what is left of it at the end goes, too.
	for n := min(len(t.key)-1, len(s)); n >= 4; n-- {
		if strings.HasSuffix(s, t.key[:n]) {
			return s[:len(s)-n] + "[key]"
		}
	}
	return s
}

// retryAfter reads both forms of the header, seconds and a date. Zero means that it asks for nothing we understand; more
// than maxRetryAfter in seconds is maxRetryAfter.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header != "" && strings.Trim(header, "0123456789") == "" {
		seconds, err := strconv.ParseUint(header, 10, 64)
		if err != nil { // out of range
			return maxRetryAfter
		}
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	if date, err := http.ParseTime(header); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}

// parts is the body of a request: the request_id, then the batch's bytes where they lie. net/http may still read a body
// after the call that sent it has returned; detach ends that, so that the bytes can be given back to the buffer.
type parts struct {
	mu     sync.Mutex // guards chunks, and every copy out of them
	chunks [][]byte   // nil once detached
	size   int64
}

func newParts(b *batch) *parts {
	head := protowire.AppendTag(nil, fieldRequestID, protowire.BytesType)
	head = protowire.AppendString(head, b.id)
	return &parts{
		chunks: append([][]byte{head}, b.chunks...),
		size:   int64(len(head) + b.bytes),
	}
}

func (p *parts) detach() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chunks = nil
}

func (p *parts) reader() io.ReadCloser { return &partsReader{parts: p} }

// partsReader reads parts from the start.
type partsReader struct {
	parts       *parts
	chunk, from int // where the next byte is
}

var errDetached = errors.New("align: the attempt is over")

func (r *partsReader) Read(dst []byte) (n int, err error) {
	r.parts.mu.Lock()
	defer r.parts.mu.Unlock()
	if r.parts.chunks == nil {
		return 0, errDetached
	}
	for n < len(dst) && r.chunk < len(r.parts.chunks) {
		chunk := r.parts.chunks[r.chunk]
		copied := copy(dst[n:], chunk[r.from:])
		n += copied
		if r.from += copied; r.from == len(chunk) {
			r.chunk, r.from = r.chunk+1, 0
		}
	}
	if n == 0 && len(dst) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *partsReader) Close() error { return nil }
