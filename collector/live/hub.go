// Package live shows what a collector stores, as it happens: to people who watch, in a terminal or a browser.
//
// Nothing waits for those who watch. Each has a bounded queue, and what does not fit is counted and not sent. While nobody
// watches a project, an event of it costs one look at a map.
package live

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
)

// queueSize is how many events may wait for one who watches.
const queueSize = 512

// maxWatchers is how many may watch at once.
const maxWatchers = 200

// Errors of watching.
var (
	ErrFull   = errors.New("live: too many watch already")
	ErrClosed = errors.New("live: the hub is closed")
)

// Event is something that was stored.
type Event struct {
	ID           string
	Type         string // as the ingestion schema names it
	Time         time.Time
	Conversation string
	User         string // of openings, users and votes, where the client told
	Index        int32  // of messages and votes on them; 0 where the client does not count
	Title        string // of openings and updates, where the client told
	Role         string // of messages
	Text         string // of messages, or the comment of a vote, cut to MaxText
	Vote         collector.Vote
	CloseReason  string
	Latency      time.Duration // of answers; 0 where the client did not tell
	Error        string        // of answers
	Concerns     []Concern
}

// MaxText is how much of a text an [Event] has, in code points.
const MaxText = 4000

// Hub hands events to those who watch. It is safe for concurrent use.
type Hub struct {
	closed   chan struct{}
	mu       sync.RWMutex
	projects map[string]*project // that are watched; guarded by mu
	watchers int                 // guarded by mu
}

// NewHub returns a hub that nobody watches.
func NewHub() *Hub { return &Hub{closed: make(chan struct{}), projects: map[string]*project{}} }

// Close ends all watching, now and later.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.isClosed() {
		close(h.closed)
	}
}

func (h *Hub) isClosed() bool {
	select {
	case <-h.closed:
		return true
	default:
		return false
	}
}

// project is one that is watched.
type project struct {
	mu       sync.Mutex
	watchers map[*Watcher]struct{}
	judge    judge
	seen     recent // event ids, so that what a client sends again is not shown again
}

// Watcher receives the events of a project.
type Watcher struct {
	hub     *Hub
	project string
	events  chan Event

	mu     sync.Mutex
	missed int64 // since the last event that was received
}

// Watch begins to receive the events of a project. It returns ErrFull or ErrClosed where that is not possible. Whoever watches
// must Close.
func (h *Hub) Watch(name string) (*Watcher, error) {
	w := &Watcher{hub: h, project: name, events: make(chan Event, queueSize)}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.isClosed():
		return nil, ErrClosed
	case h.watchers >= maxWatchers:
		return nil, ErrFull
	}
	h.watchers++
	p := h.projects[name]
	if p == nil {
		p = &project{watchers: map[*Watcher]struct{}{}, judge: newJudge()}
		h.projects[name] = p
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers[w] = struct{}{}
	return w, nil
}

// Close ends it; it must be called once. What waits is forgotten, and so is what the hub remembers of the project when nobody
// else watches it.
func (w *Watcher) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	w.hub.watchers--
	p := w.hub.projects[w.project]
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watchers, w)
	if len(p.watchers) == 0 {
		delete(w.hub.projects, w.project)
	}
}

// Next waits for an event, and says how many were missed before it. It returns an error only when ctx ends, or ErrClosed.
func (w *Watcher) Next(ctx context.Context) (event Event, missed int64, err error) {
	select {
	case event = <-w.events:
		w.mu.Lock()
		defer w.mu.Unlock()
		missed, w.missed = w.missed, 0
		return event, missed, nil
	case <-ctx.Done():
		return Event{}, 0, ctx.Err()
	case <-w.hub.closed:
		return Event{}, 0, ErrClosed
	}
}

// publish hands facts that were stored to those who watch their project.
func (h *Hub) publish(name string, facts []collector.Fact) {
	h.mu.RLock()
	p := h.projects[name]
	h.mu.RUnlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range facts {
		if !p.seen.add(facts[i].ID) {
			continue
		}
		event, ok := eventOf(&facts[i])
		if !ok {
			continue
		}
		event.Concerns = p.judge.concerns(&facts[i], &event)
		for w := range p.watchers {
			select {
			case w.events <- event:
			default:
				w.mu.Lock()
				w.missed++
				w.mu.Unlock()
			}
		}
	}
}

// told tells a hub what was stored.
type told struct {
	ingest.Appender
	hub *Hub
}

// Told returns an appender that does what next does, and tells the hub what was stored.
func (h *Hub) Told(next ingest.Appender) ingest.Appender { return told{next, h} }

func (s told) Append(ctx context.Context, project string, batch collector.Batch) (collector.Appended, error) {
	got, err := s.Appender.Append(ctx, project, batch)
	if err == nil && got.Stored > 0 {
		s.hub.publish(project, batch.Facts)
	}
	return got, err
}

// recent is a set of the ids that came last.
type recent struct {
	known map[string]struct{}
	ring  []string
	next  int
}

// recentSize is how many ids are remembered of a project that is watched.
const recentSize = 8192

// add adds an id, and reports whether it was not there.
func (r *recent) add(id string) bool {
	if _, ok := r.known[id]; ok {
		return false
	}
	if r.known == nil {
		r.known, r.ring = make(map[string]struct{}), make([]string, recentSize)
	}
	delete(r.known, r.ring[r.next])
	r.known[id], r.ring[r.next] = struct{}{}, id
	r.next = (r.next + 1) % recentSize
	return true
}
