package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// server is every peer's service at once: each under its own route and in its own wire format. It decodes what arrives,
// compares it with what was sent and counts, then answers.
type server struct {
	work    *workload
	mux     *http.ServeMux
	counted atomic.Pointer[counts] // of the run under way
	buffers sync.Pool              // of *bytes.Buffer
	gzips   sync.Pool              // of *gzip.Reader
}

const (
	beginRoute = "/bench/begin"
	tallyRoute = "/bench/tally"
)

// run is what the server is told before a run.
type run struct {
	Events int
	Delay  time.Duration // before every answer
}

// tally is what the server has counted in a run.
type tally struct {
	Delivered  int   // different messages that arrived unchanged
	Duplicates int   // arrived again
	Damaged    int   // arrived changed, or were not of this run
	Disordered int   // arrived after a later one of their session
	Requests   int   // with events in them
	Conns      int   // connections that carried them
	Wire       int64 // bytes of request bodies, as they came
	Last       int64 // when the last new message was counted, Unix nanoseconds
}

func newServer() *server {
	s := &server{work: newWorkload(), mux: http.NewServeMux()}
	s.buffers.New = func() any { return new(bytes.Buffer) }
	s.gzips.New = func() any { return new(gzip.Reader) }
	s.counted.Store(newCounts(run{}))
	s.mux.HandleFunc("POST "+beginRoute, s.begin)
	s.mux.HandleFunc("GET "+tallyRoute, s.tally)
	for _, p := range peers {
		if p.decode != nil {
			s.mux.Handle("POST "+p.route, s.take(p))
		}
	}
	return s
}

// serve runs the server on a listener until ctx ends.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s.mux, ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, new(conn))
	}}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// conn is what is known of a connection: the last run it carried a request of.
type conn struct{ run *counts }

type connKey struct{}

func (s *server) begin(w http.ResponseWriter, r *http.Request) {
	var next run
	if err := json.NewDecoder(r.Body).Decode(&next); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.counted.Store(newCounts(next))
}

func (s *server) tally(w http.ResponseWriter, _ *http.Request) {
	c := s.counted.Load()
	c.underWay.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	json.NewEncoder(w).Encode(&c.total)
}

// take is a peer's service.
func (s *server) take(p *peer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := s.counted.Load()
		c.underWay.Add(1)
		defer c.underWay.Done()
		body := s.buffers.Get().(*bytes.Buffer)
		defer s.buffers.Put(body)
		wire, err := s.read(body, r)
		if err == nil {
			err = c.count(wire, body.Bytes(), p.decode, s.work, r.Context().Value(connKey{}).(*conn))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if c.delay > 0 {
			time.Sleep(c.delay)
		}
		if p.answer.contentType != "" {
			w.Header().Set("Content-Type", p.answer.contentType)
		}
		w.WriteHeader(p.answer.status)
		io.WriteString(w, p.answer.body)
	}
}

// read fills body with a request's body, decompressed, and returns how many bytes came over the wire.
func (s *server) read(body *bytes.Buffer, r *http.Request) (wire int64, err error) {
	body.Reset()
	if r.Header.Get("Content-Encoding") != "gzip" {
		return body.ReadFrom(r.Body)
	}
	raw := s.buffers.Get().(*bytes.Buffer)
	defer s.buffers.Put(raw)
	raw.Reset()
	if wire, err = raw.ReadFrom(r.Body); err != nil {
		return wire, err
	}
	z := s.gzips.Get().(*gzip.Reader)
	defer s.gzips.Put(z)
	if err = z.Reset(raw); err == nil {
		_, err = body.ReadFrom(z)
	}
	return wire, err
}

// counts are what one run has brought so far.
type counts struct {
	delay    time.Duration
	underWay sync.WaitGroup // requests

	mu    sync.Mutex // guards all below
	seen  []bool     // by index
	last  []int32    // by session: the highest index
	total tally
}

func newCounts(r run) *counts {
	return &counts{delay: r.Delay, seen: make([]bool, r.Events+1), last: make([]int32, sessions)}
}

// arrivals are the indexes in one request, 0 for what was damaged: decoding needs no lock.
var arrivals = sync.Pool{New: func() any { return new([]int32) }}

func (c *counts) count(wire int64, body []byte, decode decoder, work *workload, from *conn) error {
	pooled := arrivals.Get().(*[]int32)
	defer arrivals.Put(pooled)
	got := (*pooled)[:0]
	var want message
	err := decode(body, func(e *event) {
		index := e.index
		if index < 1 || index >= len(c.seen) {
			index = 0
		} else if work.message(index-1, &want); !e.matches(&want) {
			index = 0
		}
		got = append(got, int32(index))
	})
	*pooled = got
	if err != nil {
		return fmt.Errorf("undecodable request: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total.Wire += wire
	if len(got) == 0 {
		return nil
	}
	c.total.Requests++
	if from.run != c {
		from.run = c
		c.total.Conns++
	}
	before := c.total.Delivered
	for _, index := range got {
		c.arrived(index)
	}
	if c.total.Delivered > before {
		c.total.Last = time.Now().UnixNano()
	}
	return nil
}

func (c *counts) arrived(index int32) {
	switch {
	case index == 0:
		c.total.Damaged++
		return
	case c.seen[index]:
		c.total.Duplicates++
		return
	}
	c.seen[index] = true
	c.total.Delivered++
	session := (index - 1) % sessions
	if index < c.last[session] {
		c.total.Disordered++
	}
	c.last[session] = max(c.last[session], index)
}
