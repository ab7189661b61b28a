package agents

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxRetryAfter bounds what an agent can tell to wait.
const maxRetryAfter = time.Hour

// newTransport is the default one with bounds for who answers.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		WriteBufferSize:        4 << 10,
		ReadBufferSize:         4 << 10,
	}
}

// exchange is one request and its answer. It stands below the protocol's client, which reads as much as comes, and sees what
// the client does not tell.
type exchange struct {
	client    *http.Client
	streams   bool
	maxAnswer int

	failure *Failure // the first thing that went wrong
	body    *boundedBody
}

// Do implements [option.HTTPClient].
func (e *exchange) Do(r *http.Request) (*http.Response, error) {
	sent := holdBody(r)
	resp, err := e.client.Do(r)
	if err != nil {
		return nil, e.fail(&Failure{Kind: Unreachable})
	}
	if refusal := e.judge(resp); refusal != nil {
		resp.Body.Close() // unread: what it says may quote what was said
		return nil, e.fail(refusal)
	}
	sent.release() // an answer refers to its request as long as it streams
	e.body = &boundedBody{ReadCloser: resp.Body, exchange: e, limit: eventLimit(e.maxAnswer)}
	resp.Body = e.body
	return resp, nil
}

// judge returns why an answer is none, seen from its head.
func (e *exchange) judge(resp *http.Response) *Failure {
	if resp.StatusCode != http.StatusOK {
		return &Failure{Kind: Refused, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	}
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || e.streams != (mediaType == "text/event-stream") {
		return &Failure{Kind: Unreadable}
	}
	if !e.streams && resp.ContentLength > int64(eventLimit(e.maxAnswer)) {
		return tooLarge(e.maxAnswer)
	}
	return nil
}

// heldBody is the body of a request, which may be read more than once until it is released.
type heldBody struct {
	mu   sync.Mutex
	text []byte // guarded by mu
	busy int    // readers that are not at the end; guarded by mu
}

// holdBody makes a request's body one that can be let go.
func holdBody(r *http.Request) *heldBody {
	h := &heldBody{}
	if r.GetBody == nil {
		return h
	}
	body, err := r.GetBody()
	if err != nil {
		return h
	}
	if h.text, err = io.ReadAll(body); err != nil { // from memory
		return h
	}
	r.Body.Close()
	r.GetBody = func() (io.ReadCloser, error) { return h.reader(), nil }
	r.Body = h.reader()
	return h
}

func (h *heldBody) reader() io.ReadCloser {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy++
	return &heldReader{held: h}
}

// release lets the text go, unless it is still being sent: an agent may answer before it has read everything.
func (h *heldBody) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy == 0 {
		h.text = nil
	}
}

type heldReader struct {
	held *heldBody
	at   int
	over bool
}

// Read implements [io.Reader].
func (r *heldReader) Read(p []byte) (int, error) {
	r.held.mu.Lock()
	defer r.held.mu.Unlock()
	if r.over {
		return 0, io.EOF
	}
	n := copy(p, r.held.text[r.at:])
	if r.at += n; r.at == len(r.held.text) {
		r.end()
	}
	return n, nil
}

// Close implements [io.Closer].
func (r *heldReader) Close() error {
	r.held.mu.Lock()
	defer r.held.mu.Unlock()
	r.end()
	return nil
}

func (r *heldReader) end() {
	if !r.over {
		r.over = true
		r.held.busy--
	}
}

func (e *exchange) fail(f *Failure) error {
	if e.failure == nil {
		e.failure = f
	}
	return e.failure
}

// done reports whether a stream said that it is.
func (e *exchange) done() bool { return e.body != nil && e.body.done }

func tooLarge(limit int) *Failure {
	return &Failure{Kind: TooLarge, limit: fmt.Sprint(limit, " bytes")}
}

// eventLimit bounds an event of a stream, or an answer that is not streamed, which may bring all of an answer, escaped as
// some do, between much else.
func eventLimit(maxAnswer int) int { return 3*maxAnswer + 64<<10 }

// boundedBody bounds what the client holds at once: all since the last empty line.
type boundedBody struct {
	io.ReadCloser
	exchange *exchange
	limit    int
	size     int    // since the last empty line of a stream, or of all
	line     []byte // the beginning of the current line
	done     bool   // a line said so
}

var doneLine = []byte("data: [DONE]")

// Read implements [io.Reader].
func (b *boundedBody) Read(p []byte) (n int, err error) {
	n, err = b.ReadCloser.Read(p)
	if b.exchange.streams {
		b.scan(p[:n])
	} else {
		b.size += n
	}
	if b.size > b.limit {
		return 0, b.exchange.fail(tooLarge(b.exchange.maxAnswer))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.exchange.fail(&Failure{Kind: Broken})
	}
	return n, err
}

// scan goes through lines.
func (b *boundedBody) scan(p []byte) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		b.size += len(part) + 1
		if room := len(doneLine) - len(b.line); room > 0 {
			b.line = append(b.line, part[:min(room, len(part))]...)
		}
		if end < 0 {
			return
		}
		line := bytes.TrimRight(b.line, "\r")
		b.done = b.done || bytes.Equal(line, doneLine) || bytes.Equal(line, []byte("data:[DONE]"))
		if len(line) == 0 {
			b.size = 0
		}
		b.line = b.line[:0]
		p = p[end+1:]
	}
}

// retryAfter reads a Retry-After header, in seconds or as a date, within bounds; 0 is none.
func retryAfter(header string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.Atoi(header); err == nil {
		wait = time.Duration(min(max(seconds, 0), int(maxRetryAfter/time.Second))) * time.Second
	} else if date, err := http.ParseTime(header); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
