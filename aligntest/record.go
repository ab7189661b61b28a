package aligntest

import (
	"bytes"
	"net/http"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// Request is one HTTP request that reached the server, whatever became of it.
type Request struct {
	// Number counts requests from 1 in order of arrival.
	Number int
	// Time is when its headers had arrived.
	Time time.Time
	// Header holds its headers, among them the API key.
	Header http.Header
	// ID is its request_id: the same for all attempts at one batch. Empty if the body was not read, or not readable;
	// the same goes for the fields below.
	ID string
	// Attempt counts the requests with this ID, from 1.
	Attempt int
	// Body is the protobuf message, uncompressed.
	Body []byte
	// Events are what it carried, in its order.
	Events []Event

	// Fault is what the server played.
	Fault Fault
	// Status is what the server answered; zero if it did not, or has not yet.
	Status int
}

// Event is one event as it arrived, with what a test most often asks of it. Proto has all of it.
type Event struct {
	// ID identifies the event: the same in every request that carries it.
	ID string
	// Type is one of align's, such as align.EventCreateMessage.
	Type align.EventType
	// ProjectID is the project it belongs to.
	ProjectID string
	// CreateTime is when it was recorded, by the client's clock. Zero if not said.
	CreateTime time.Time
	// SessionID is empty for a user event.
	SessionID string
	// UserID is the user of a user event or of a session, the voter of a feedback; else empty.
	UserID string
	// Index is the place of the message it is or is about; zero if neither.
	Index int
	// Content is the text of a message, else empty.
	Content string

	// Deliveries counts the readable requests that carried it so far.
	Deliveries int
	// Stored says that the collector keeps it. A client need not know: see [ResetAfter].
	Stored bool
	// Acknowledged says that a request that carried it was answered 2xx.
	Acknowledged bool

	msg *ingestionv1alpha.Event // never changed
}

// Proto returns a copy of the event as the schema has it. It is nil for the zero Event.
func (e Event) Proto() *ingestionv1alpha.Event { return proto.CloneOf(e.msg) }

func newEvent(msg *ingestionv1alpha.Event) *Event {
	p := msg.GetProperties()
	session, message := p.GetSessionProperties(), p.GetMessageProperties()
	user, feedback := p.GetUserProperties(), p.GetFeedbackProperties()
	// At most one of the four is there, and the others' getters return zero.
	return &Event{
		ID:         msg.GetId(),
		Type:       align.EventType(msg.GetType()),
		ProjectID:  msg.GetProjectId(),
		CreateTime: asTime(msg.GetCreateTime()),
		SessionID:  session.GetSessionId() + message.GetSessionId() + feedback.GetSessionId(),
		UserID:     session.GetUserId() + user.GetUserId() + feedback.GetUserId(),
		Index:      int(message.GetMessageIndexHint() + feedback.GetMessageIndexHint()),
		Content:    message.GetMessageContent(),
		msg:        msg,
	}
}

// record is everything the server knows of what came in. It has no lock: the server's guards it.
type record struct {
	requests     []*request
	batches      map[string]*batch // by request_id: what it first carried
	events       map[string]*Event // by event id
	seen         []*Event          // in order of first arrival
	acknowledged []*Event          // in order of first acknowledgement
}

// request is a Request under way.
type request struct {
	Request
	batch *batch // nil until the body has been read and understood
}

// batch is what a readable request carried. Attempts with the same bytes share one.
type batch struct {
	body     []byte
	events   []*Event
	attempts int
}

func newRecord() record {
	return record{batches: make(map[string]*batch), events: make(map[string]*Event)}
}

// arrive begins a request.
func (r *record) arrive(header http.Header, now time.Time) *request {
	req := &request{Request: Request{Number: len(r.requests) + 1, Time: now, Header: header.Clone()}}
	r.requests = append(r.requests, req)
	return req
}

// receive gives a request what it carried, and returns how that contradicts what came before: a request_id and an event
// id always mean the same.
func (r *record) receive(req *request, msg *ingestionv1alpha.CollectEventsRequest, body []byte) violations {
	var v violations
	req.ID = msg.GetRequestId()
	first := r.batches[req.ID]
	switch {
	case first == nil:
		req.batch = &batch{body: body, events: r.deliver(msg.GetEvents(), &v)}
		r.batches[req.ID] = req.batch
		first = req.batch
	case bytes.Equal(first.body, body):
		req.batch = first
		for _, e := range first.events {
			e.Deliveries++
		}
	default:
		v.add("request_id was used before with other bytes: %d then, %d now", len(first.body), len(body))
		req.batch = &batch{body: body, events: r.deliver(msg.GetEvents(), &v)}
	}
	first.attempts++
	req.Attempt = first.attempts
	return v
}

// deliver returns the records of events, making those that are new.
func (r *record) deliver(msgs []*ingestionv1alpha.Event, v *violations) []*Event {
	events := make([]*Event, len(msgs))
	for i, msg := range msgs {
		e := r.events[msg.GetId()]
		if e == nil {
			e = newEvent(msg)
			r.events[e.ID] = e
			r.seen = append(r.seen, e)
		} else if !proto.Equal(e.msg, msg) {
			v.add("event %d (%s): id was used before for another event", i+1, msg.GetType())
		}
		e.Deliveries++
		events[i] = e
	}
	return events
}

// events returns what the request carried, as far as it is known.
func (req *request) events() []*Event {
	if req.batch == nil {
		return nil
	}
	return req.batch.events
}

// store keeps what the request carried.
func (req *request) store() {
	for _, e := range req.events() {
		e.Stored = true
	}
}

// acknowledge notes that the client is about to be told that all is well.
func (r *record) acknowledge(req *request) {
	req.store()
	for _, e := range req.events() {
		if !e.Acknowledged {
			e.Acknowledged = true
			r.acknowledged = append(r.acknowledged, e)
		}
	}
}

// snapshot returns a copy that shares nothing with the record.
func (req *request) snapshot() Request {
	c := req.Request
	c.Header = c.Header.Clone()
	if req.batch != nil {
		c.Body = slices.Clone(req.batch.body)
		c.Events = snapshots(req.batch.events)
	}
	return c
}

func snapshots(events []*Event) []Event {
	c := make([]Event, len(events))
	for i, e := range events {
		c[i] = *e
	}
	return c
}
