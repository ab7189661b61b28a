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
	resp, err := e.client.Do(r)
	if err != nil {
		return nil, e.fail(&Failure{Kind: Unreachable})
	}
	if refusal := e.judge(resp); refusal != nil {
		resp.Body.Close() // unread: what it says may quote what was said
		return nil, e.fail(refusal)
	}
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
