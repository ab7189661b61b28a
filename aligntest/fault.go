package aligntest

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Fault is how the server answers one request. The zero Fault is [OK]: no fault at all.
//
// A Fault is a value: its methods return a changed copy. Whether the server stores what the request carried is part of
// it, because losing an answer and losing the events are different faults:
//
//	                              stored   acknowledged
//	OK, Slow, Garbage, HalfAnswer   yes        yes        a 2xx was said, if badly
//	Status(2xx)                     yes        yes
//	ResetAfter                      yes        no         the next attempt is a duplicate
//	Status(other), Hang             no         no
//	ResetBefore                     no         no         the body is not even read
//	any of them with Storing        yes        as before
//
// A request that a reset breaks off on a kept connection is repeated by net/http itself, at once, for a client that
// allows it, as package align does. The server sees the repetition as one more request, and it takes the next fault.
type Fault struct {
	name    string // how it was written, for failure messages
	kind    kind
	status  int // 0 means 200
	header  http.Header
	body    *string // nil means what suits the status
	delay   time.Duration
	backoff func(now time.Time) string // the Retry-After header, nil for none
	storing bool
	unread  bool
}

// kind says how an exchange ends.
type kind int

const (
	answer kind = iota // with a whole answer
	half               // with part of the answer
	reset              // with a closed connection
	hang               // when the client leaves or the server closes
)

// OK answers 200 with an empty body, as a healthy collector does. In a script it stands for a request without fault.
func OK() Fault { return Fault{} }

// Status answers with an HTTP status from 200 to 599 and, above 299, with the error body of a Connect server. The events
// are stored if the status is 2xx. It panics on any other code.
func Status(code int) Fault {
	if code < 200 || code > 599 {
		panic(fmt.Sprintf("aligntest: Status(%d): want 200 to 599", code))
	}
	return Fault{name: fmt.Sprintf("Status(%d)", code), status: code}
}

// Slow answers 200, but only after d. It reads the request at once and stores its events at the end, if the client is
// still there; Slow(d).Storing() stores them at the beginning.
func Slow(d time.Duration) Fault { return Fault{name: fmt.Sprintf("Slow(%v)", d), delay: d} }

// Hang reads the request and never answers: it ends when the client leaves or the server closes. Nothing is stored.
// Hang().Unread() does not read the body either.
func Hang() Fault { return Fault{name: "Hang()", kind: hang} }

// ResetBefore closes the connection without reading the body. Nothing is stored.
func ResetBefore() Fault { return Fault{name: "ResetBefore()", kind: reset, unread: true} }

// ResetAfter reads the request, stores its events and closes the connection without an answer: the classic maker of
// duplicates, because the client cannot tell it from [ResetBefore].
func ResetAfter() Fault { return Fault{name: "ResetAfter()", kind: reset, storing: true} }

// HalfAnswer stores the events and answers 200, but closes the connection halfway through the body that its
// Content-Length promised. The client has seen a 200, so the events count as acknowledged.
func HalfAnswer() Fault {
	f := OK().Body("half of the answer, and then noth")
	f.name, f.kind = "HalfAnswer()", half
	return f
}

// Garbage stores the events and answers 200 with a body that is not a protobuf message.
func Garbage() Fault {
	f := OK().Body("\xff\xff\x00<!doctype html>").Header("Content-Type", contentType)
	f.name = "Garbage()"
	return f
}

// Delay does what f does after d. The request is read before the delay, unless f is Unread; if the client leaves
// meanwhile, the rest does not happen.
func (f Fault) Delay(d time.Duration) Fault {
	f.delay += d
	return f.named("Delay(%v)", d)
}

// RetryAfter adds a Retry-After header in seconds, rounded up.
func (f Fault) RetryAfter(d time.Duration) Fault {
	f.backoff = func(time.Time) string {
		return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
	}
	return f.named("RetryAfter(%v)", d)
}

// RetryAfterDate adds a Retry-After header in its other form, as an HTTP date: d after the moment of the answer. HTTP
// dates have whole seconds, so it is rounded up.
func (f Fault) RetryAfterDate(d time.Duration) Fault {
	f.backoff = func(now time.Time) string {
		return now.Add(d + time.Second - 1).UTC().Format(http.TimeFormat)
	}
	return f.named("RetryAfterDate(%v)", d)
}

// Body answers with this text, as text/plain unless Header says otherwise.
func (f Fault) Body(text string) Fault {
	f.body = &text
	return f.named("Body(%d bytes)", len(text))
}

// Header adds a header to the answer, such as the Location of a redirect.
func (f Fault) Header(key, value string) Fault {
	f.header = f.header.Clone()
	if f.header == nil {
		f.header = make(http.Header)
	}
	f.header.Set(key, value)
	return f.named("Header(%s)", key)
}

// Storing stores the events as soon as they are read, whatever the client is told afterwards.
func (f Fault) Storing() Fault {
	f.storing, f.unread = true, false
	return f.named("Storing()")
}

// Unread leaves the body unread, so that nothing of the request but its headers is known, checked or recorded. It has no
// effect on a fault that stores the events, nor on one from [Server.Respond], which has seen them already.
//
// An answer to an unread body works as in any net/http server: a rest of less than 256 KiB is drained first, and behind
// a larger one the connection is closed.
func (f Fault) Unread() Fault {
	f.unread = true
	return f.named("Unread()")
}

// String returns the fault as it was written in Go.
func (f Fault) String() string {
	if f.name == "" {
		return "OK()"
	}
	return f.name
}

// named appends a call to the fault's name.
func (f Fault) named(format string, args ...any) Fault {
	f.name = f.String() + "." + fmt.Sprintf(format, args...)
	return f
}

// acknowledges reports whether the client is told, with a 2xx, that its events are in good hands.
func (f Fault) acknowledges() bool {
	return (f.kind == answer || f.kind == half) && f.code() < 300
}

// reads reports whether the request's body is read.
func (f Fault) reads() bool {
	return !f.unread || f.storing || f.acknowledges()
}

// code returns the status of the answer.
func (f Fault) code() int {
	if f.status == 0 {
		return http.StatusOK
	}
	return f.status
}

// write writes the answer, or as much of it as the fault allows.
func (f Fault) write(w http.ResponseWriter, now time.Time) {
	typ, body := contentType, ""
	switch {
	case f.body != nil:
		typ, body = "text/plain; charset=utf-8", *f.body
	case f.code() >= 300:
		typ, body = "application/json", connectError(f.code())
	}
	header := w.Header()
	header.Set("Content-Type", typ)
	for key, values := range f.header {
		header[key] = values
	}
	if f.backoff != nil {
		header.Set("Retry-After", f.backoff(now))
	}
	if f.kind == half {
		header.Set("Content-Length", strconv.Itoa(2*len(body)))
	}
	// An error means that the client has left, or that the status allows no body: nothing more can be said to it.
	w.WriteHeader(f.code())
	_, _ = io.WriteString(w, body)
	if f.kind == half {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// connectError returns the body with which a Connect server explains a status.
func connectError(status int) string {
	code, ok := connectCodes[status]
	if !ok {
		code = "unknown"
	}
	return fmt.Sprintf(`{"code":%q,"message":%q}`, code, "aligntest: "+http.StatusText(status))
}

var connectCodes = map[int]string{
	http.StatusBadRequest:            "invalid_argument",
	http.StatusUnauthorized:          "unauthenticated",
	http.StatusForbidden:             "permission_denied",
	http.StatusNotFound:              "unimplemented",
	http.StatusConflict:              "aborted",
	http.StatusRequestEntityTooLarge: "resource_exhausted",
	http.StatusUnsupportedMediaType:  "invalid_argument",
	http.StatusUnprocessableEntity:   "invalid_argument",
	http.StatusTooManyRequests:       "resource_exhausted",
	http.StatusInternalServerError:   "internal",
	http.StatusNotImplemented:        "unimplemented",
	http.StatusServiceUnavailable:    "unavailable",
	http.StatusGatewayTimeout:        "deadline_exceeded",
}

// Repeat returns f n times over, for [Server.Script]:
//
//	srv.Script(aligntest.Repeat(3, aligntest.Status(503))...)
func Repeat(n int, f Fault) []Fault {
	faults := make([]Fault, n)
	for i := range faults {
		faults[i] = f
	}
	return faults
}

// Flap returns a function for [Server.Respond] that plays f for n requests, is healthy for the next n, and so on without
// end. The first request it sees gets f. It panics if n is less than 1.
func Flap(n int, f Fault) func(Request) Fault {
	if n < 1 {
		panic(fmt.Sprintf("aligntest: Flap(%d): want at least 1", n))
	}
	var before atomic.Int64 // requests seen so far; they may come at once
	return func(Request) Fault {
		if (before.Add(1)-1)/int64(n)%2 == 0 {
			return f
		}
		return OK()
	}
}

// Poison returns a function for [Server.Respond] that plays f for every request that carries an event for which match
// returns true, and is healthy otherwise:
//
//	srv.Respond(aligntest.Poison(aligntest.Status(400), func(e aligntest.Event) bool { return e.SessionID == "s7" }))
func Poison(f Fault, match func(Event) bool) func(Request) Fault {
	return func(r Request) Fault {
		for _, e := range r.Events {
			if match(e) {
				return f
			}
		}
		return OK()
	}
}
