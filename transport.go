package align

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
)

const (
	collectPath = "/ingestion.v1alpha.IngestionService/CollectEvents"

	maxRetryAfter   = 5 * time.Minute
	maxErrorText    = 1 << 10
	maxDrainedBytes = 64 << 10 // past this a new connection is cheaper than reading on
	maxBodyWait     = 250 * time.Millisecond
)

// verdict classifies what became of one attempt.
type verdict int

const (
	accepted verdict = iota // 2xx: the collector has the batch
	refused                 // 400, 413, 422: this batch will never be taken as it is
	failed                  // network errors, 408, 425, 429, 5xx: the same batch may be taken later
	blocked                 // 401, 403, 404 and the like: nothing will be taken until somebody changes something
	aborted                 // our own context ended
	torn                    // the batch could not be read back from the spool
)

// outcome is a verdict with its details.
type outcome struct {
	verdict    verdict
	err        error
	retryAfter time.Duration
	doubtful   bool // when the attempt began, nothing had been accepted since the last refusal, see [gate]
}

// refusesPacked reports whether the answer may be about the body's compression.
func (o outcome) refusesPacked() bool {
	if status, ok := errors.AsType[*StatusError](o.err); ok {
		return o.verdict == refused || status.Code == http.StatusUnsupportedMediaType
	}
	return false
}

// transport delivers one batch once. It decides no retries, and all it remembers is how compression fares.
type transport struct {
	client  *http.Client
	owned   bool // the client's transport is ours to close
	url     string
	key     string
	timeout time.Duration
	acro    bool // the endpoint takes conversations, see acro.go

	gzip       atomic.Bool // compress
	gzipProven atomic.Bool // a compressed request was accepted
}

func newTransport(cfg *Config) *transport {
	t := &transport{url: cfg.Host + collectPath, key: cfg.APIKey, timeout: cfg.AttemptTimeout}
	if cfg.isAcro() {
		t.url, t.acro = cfg.Host+cfg.acroPath(), true
	}
	t.gzip.Store(cfg.compress())
	client := http.Client{}
	if cfg.HTTPClient != nil {
		client = *cfg.HTTPClient
	} else {
		rt := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second}
		if def, ok := http.DefaultTransport.(*http.Transport); ok { // apps replace it with wrappers
			rt = def.Clone()
		}
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

// send makes one attempt. When it returns, nothing reads the body any more.
func (t *transport) send(ctx context.Context, body *body) outcome {
	attempt, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	readers := &readers{chunks: body.chunks}
	defer readers.detach()
	req, err := http.NewRequestWithContext(attempt, http.MethodPost, t.url, readers.open())
	if err != nil {
		return outcome{verdict: blocked, err: err}
	}
	req.ContentLength = body.size
	req.GetBody = func() (io.ReadCloser, error) { return readers.open(), nil }
	if body.packed != nil {
		req.Header.Set("Content-Encoding", "gzip")
	}
	if t.acro {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.Header.Set("Content-Type", "application/proto")
		req.Header.Set("Connect-Protocol-Version", "1")
	}
	req.Header.Set("Authorization", "Bearer "+t.key)
	// Lets net/http replay the request when a kept connection turns out dead. A nil value is not sent.
	req.Header["Idempotency-Key"] = nil

	resp, err := t.client.Do(req)
	switch {
	case readers.isTorn():
		if err == nil {
			resp.Body.Close()
		}
		return outcome{verdict: torn, err: errFault}
	case err == nil:
		defer resp.Body.Close()
		// The status line says it all. A body that does not end must not hold the verdict.
		defer time.AfterFunc(maxBodyWait, cancel).Stop()
		out := t.classify(resp)
		if out.verdict == accepted && body.packed != nil {
			t.gzipProven.Store(true)
		}
		return out
	case ctx.Err() != nil:
		return outcome{verdict: aborted, err: ctx.Err()}
	case errors.Is(err, context.DeadlineExceeded):
		return outcome{verdict: failed, err: errAttemptTimeout}
	}
	return outcome{verdict: failed, err: &networkError{t.clean([]byte(err.Error())), err}}
}

// networkError is why there was no answer, in words fit for a log: a malformed answer is quoted in the error it causes.
type networkError struct {
	text string
	err  error
}

func (e *networkError) Error() string { return "align: " + e.text }
func (e *networkError) Unwrap() error { return e.err }

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
		Reason:     connectCode(text),
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
	if t.acro {
		classifyAcro(&out, err, text)
	}
	return out
}

// clean makes a text from elsewhere fit to be kept: one line of at most maxErrorText bytes, without our key.
func (t *transport) clean(text []byte) string {
	text = text[:min(len(text), maxErrorText)]
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

// connectCode returns the code of a Connect error, empty if the text is none.
func connectCode(text []byte) string {
	var e struct{ Code string }
	if json.Unmarshal(text, &e) != nil || len(e.Code) > 32 || strings.Trim(e.Code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return e.Code
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
