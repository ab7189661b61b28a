package aligntest

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// address is where clients believe the server to be: a loopback host, for which a client allows plain HTTP.
const address = "127.0.0.1:7311"

// Server is a collector in memory. It is safe for concurrent use. Make one with [NewServer].
type Server struct {
	// URL is the host for a client's configuration. Nothing listens on it: it is reached through [Server.HTTPClient].
	URL string

	t         testing.TB
	network   *network
	server    *http.Server
	transport *http.Transport
	closing   chan struct{}  // closed by Close: releases the handlers that wait
	running   sync.WaitGroup // server.Serve and whoever has joined

	// mu guards what follows. It is never held across I/O, a wait or a call to the test's code: a goroutine that waits
	// for a mutex stops the virtual time of testing/synctest.
	mu      sync.Mutex
	closed  bool
	script  []Fault
	respond func(Request) Fault
	limits  Limits
	record  record
}

// NewServer starts a server, healthy until told otherwise, and closes it when the test ends. In a testing/synctest
// bubble, make it inside the bubble, with the bubble's t.
//
// An example function has no t: pass nil, and close the server yourself. What would fail a test is then printed, so that
// the example's output is not the expected one.
func NewServer(t testing.TB) *Server {
	if t == nil {
		t = exampleTB{}
	}
	t.Helper()
	s := &Server{
		URL:     "http://" + address,
		t:       t,
		network: newNetwork(),
		closing: make(chan struct{}),
		respond: healthy,
		record:  newRecord(),
	}
	s.transport = &http.Transport{
		DialContext:         s.network.dial,
		MaxIdleConnsPerHost: 64, // the most senders that a client may have
	}
	s.server = &http.Server{
		Handler:     s,
		ConnContext: withLeft,
		ConnState:   s.connState,
		// What it logs are the faults' broken connections.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	s.running.Go(func() { _ = s.server.Serve(s.network) }) // always http.ErrServerClosed
	t.Cleanup(s.Close)
	return s
}

func healthy(Request) Fault { return OK() }

// HTTPClient returns a client that reaches the server, whatever host it is given. All of a server's clients share their
// connections. It has no timeout of its own.
func (s *Server) HTTPClient() *http.Client {
	return &http.Client{Transport: s.transport}
}

// Close stops the server, breaks off requests under way and returns when the last has ended. What was recorded can still
// be read. Closing again does nothing. NewServer has the test call it; close earlier to see a client without a server.
func (s *Server) Close() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		close(s.closing)
		_ = s.server.Close() // of a listener and connections in memory, whose Close cannot fail
		s.transport.CloseIdleConnections()
	}
	s.running.Wait()
}

// connState closes a connection that was accepted too late for the server's Close to know of it.
func (s *Server) connState(conn net.Conn, state http.ConnState) {
	if state == http.StateNew && s.isClosed() {
		_ = conn.Close()
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Script has the next requests meet these faults, one each, in order. It adds to what is left of earlier scripts. When
// all have been played, [Server.Respond] decides, and by default the server is healthy.
func (s *Server) Script(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, faults...)
}

// Always has every request meet this fault, once the script has been played. Always([OK]()) makes the server healthy.
func (s *Server) Always(f Fault) {
	s.Respond(func(Request) Fault { return f })
}

// Respond has a function choose the fault of every request, once the script has been played. The request has been read:
// its Events are known, its Fault and Status not yet. Requests that come at once call it at once, each in its goroutine;
// it may use the server, and must report failures with t.Errorf, not t.Fatalf. Nil means always healthy.
func (s *Server) Respond(choose func(Request) Fault) {
	if choose == nil {
		choose = healthy
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.respond = choose
}

// SetLimits sets what the contract check allows. It does not make the server refuse anything: for that there is
// [Server.Respond].
func (s *Server) SetLimits(limits Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = limits
}

// ServeHTTP serves one request. It makes the server an [http.Handler], for instance for httptest.NewServer where a test
// needs TCP. After Close it breaks every connection.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.join() {
		panic(http.ErrAbortHandler)
	}
	defer s.running.Done()
	defer s.reportPanic()

	req, fault, scripted := s.begin(r)
	problems, refusal := checkHeaders(r)
	if !scripted || fault.reads() {
		raw, err := io.ReadAll(r.Body)
		if err != nil { // the client left
			panic(http.ErrAbortHandler)
		}
		if refusal == 0 {
			var found violations
			found, refusal = s.receive(req, raw, r.Header.Get("Content-Encoding"))
			problems = append(problems, found...)
		}
	}
	s.report(req, problems)

	if !scripted {
		fault = s.choose(req)
	}
	if refusal != 0 && fault.acknowledges() {
		fault = Status(refusal) // nobody can acknowledge what nobody can read
	}
	s.play(fault, req, w, r)
}

// join has Close wait for a call of running.Done. It returns false if the server is closed.
func (s *Server) join() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

// begin takes a request in, with its fault if there is a script.
func (s *Server) begin(r *http.Request) (req *request, fault Fault, scripted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	req = s.record.arrive(r.Header, time.Now())
	if len(s.script) > 0 {
		fault, scripted = s.script[0], true
		s.script = s.script[1:]
		req.Fault = fault
	}
	return req, fault, scripted
}

// receive decodes, checks and records what a request carries. Where it cannot be decoded, refusal is the status with
// which any collector would answer.
func (s *Server) receive(req *request, raw []byte, encoding string) (v violations, refusal int) {
	body, err := decompress(raw, encoding)
	if err != nil {
		v.add("body is not gzip: %v", err)
		return v, http.StatusBadRequest
	}
	msg := new(ingestionv1alpha.CollectEventsRequest)
	if err := proto.Unmarshal(body, msg); err != nil {
		v.add("body is not a CollectEventsRequest: %v", err)
		return v, http.StatusBadRequest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v = checkBatch(msg, len(body), s.limits)
	return append(v, s.record.receive(req, msg, body)...), 0
}

// report fails the test for what breaks the wire contract.
func (s *Server) report(req *request, problems violations) {
	const most = 10 // a batch has hundreds of events, and they tend to have the same problem
	if len(problems) == 0 {
		return
	}
	lines := problems
	if len(lines) > most {
		lines = append(lines[:most:most], "…")
	}
	s.t.Errorf("aligntest: request %d breaks the wire contract in %d points:\n\t%s",
		req.Number, len(problems), strings.Join(lines, "\n\t"))
}

// choose asks the test's function for the fault.
func (s *Server) choose(req *request) Fault {
	s.mu.Lock()
	choose, snapshot := s.respond, req.snapshot()
	s.mu.Unlock()
	return choose(snapshot)
}

// play does to a request what its fault says.
func (s *Server) play(f Fault, req *request, w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	req.Fault = f
	if f.storing {
		req.store()
	}
	s.mu.Unlock()

	if f.delay > 0 && !s.wait(r, f.delay) {
		panic(http.ErrAbortHandler)
	}
	switch f.kind {
	case hang:
		s.wait(r, -1)
		panic(http.ErrAbortHandler)
	case reset:
		panic(http.ErrAbortHandler)
	}

	// Noted before it is said: whoever has the answer finds it in the record.
	s.mu.Lock()
	req.Status = f.code()
	if f.acknowledges() {
		s.record.acknowledge(req)
	}
	s.mu.Unlock()
	f.write(w, time.Now())
}

// wait waits for d, without end if that is negative. It returns false if the client leaves or the server closes before.
func (s *Server) wait(r *http.Request, d time.Duration) bool {
	left := clientLeft(r.Context())
	if left == nil {
		// Over TCP, net/http sees the client leave only once the body has been read.
		_, _ = io.Copy(io.Discard, r.Body)
	}
	var elapsed <-chan time.Time
	if d >= 0 {
		elapsed = time.After(d)
	}
	select {
	case <-elapsed:
		return true
	case <-left:
	case <-r.Context().Done():
	case <-s.closing:
	}
	return false
}

// reportPanic reports a panic of the test's function, which net/http would swallow. The connection breaks either way.
func (s *Server) reportPanic() {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		s.t.Errorf("aligntest: function given to Respond panicked: %v\n%s", p, debug.Stack())
	}
	panic(http.ErrAbortHandler)
}

// Requests returns all requests in order of arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, len(s.record.requests))
	for i, req := range s.record.requests {
		requests[i] = req.snapshot()
	}
	return requests
}

// AttemptTimes returns when each request arrived, in order: what a test of retries asks for.
func (s *Server) AttemptTimes() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := make([]time.Time, len(s.record.requests))
	for i, req := range s.record.requests {
		times[i] = req.Time
	}
	return times
}

// Events returns the events that were acknowledged, each once, in order of their first acknowledgement. Where a client
// gives up waiting in the moment of the answer, the server believes that it has acknowledged and the client does not.
func (s *Server) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return snapshots(s.record.acknowledged)
}

// Seen returns all events of readable requests, whatever became of them, each once, in order of their first arrival.
func (s *Server) Seen() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return snapshots(s.record.seen)
}
