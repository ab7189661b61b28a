package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// peer is one SDK under test. There is a file for each.
type peer struct {
	name   string
	module string // for its version; a subject of ours has none

	slow       bool // takes its time in the firehose with its defaults: gets a fifth of the events
	serial     bool // sends one request at a time: gets a fiftieth behind a slow network
	compresses bool

	// defaults and tuned say how it is set up, for the report.
	defaults, tuned string

	open   func(setup) (client, error)
	route  string // where its requests arrive
	answer answer // what its own service says to a batch it took
	decode decoder
}

// setup is what a client is to be opened with.
type setup struct {
	URL   string
	Tuned bool // the best reasonable settings instead of the defaults: batches of 500, no artificial waits
	Gzip  bool
	Delay bool // the network is slow
	Spool bool // events survive the process, where the SDK can do that
}

// client is an SDK, ready to record. record is called by many goroutines, the rest by one when no record is under way.
type client interface {
	// record hands one message to the SDK. It waits or drops as the SDK does; an error means that the SDK said it did not
	// take the message.
	record(*message) error
	// close returns when the SDK has sent what it will ever send.
	close(context.Context) error
}

// flusher is a client that can be asked to send what it has. Not all can.
type flusher interface {
	client
	flush(context.Context) error
}

// answer is what a service replies with.
type answer struct {
	status      int
	contentType string
	body        string
}

// decoder reads one request in a peer's own wire format and calls emit for every message in it.
type decoder func(body []byte, emit func(*event)) error

// event is a message as it arrived; valid during emit only.
type event struct {
	session, role, content, model, channel, variant []byte
	index                                           int
}

// matches reports whether nothing was changed on the way.
func (e *event) matches(m *message) bool {
	return string(e.session) == m.session && string(e.role) == m.role && string(e.content) == m.content &&
		string(e.model) == m.model && string(e.channel) == m.channel && string(e.variant) == m.variant
}

// peers are compared in this order. The first is ours.
var peers = []*peer{alignPeer, posthogPeer, segmentPeer, otelPeer, launchdarklyPeer, sentryPeer, loopPeer}

func peerNamed(name string) (*peer, error) {
	for _, p := range peers {
		if p.name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no peer %q", name)
}

// loopPeer records nothing: what it costs is the benchmark's own share of every other row. Nothing is subtracted.
var loopPeer = &peer{
	name:     "(loop)",
	defaults: "records nothing: the benchmark's own share of every row",
	tuned:    "the same",
	open:     func(setup) (client, error) { return loop{}, nil },
}

type loop struct{}

func (loop) record(*message) error       { return nil }
func (loop) close(context.Context) error { return nil }

// windowed makes a client that drops when it is full one that waits: after every size events the goroutine that recorded
// the last one flushes, and the others wait for it. It is how an app that may not lose events would use an SDK that has
// no way to wait, and it puts the wait where it belongs, in the call.
type windowed struct {
	flusher
	size  int64
	count atomic.Int64
	mu    sync.RWMutex // held for writing while flushing
}

func (w *windowed) record(m *message) error {
	w.mu.RLock()
	err := w.flusher.record(m)
	w.mu.RUnlock()
	if w.count.Add(1)%w.size == 0 {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.flush(context.Background())
	}
	return err
}
