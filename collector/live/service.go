package live

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/rpc"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// beat is how often something is sent though nothing happened, so that proxies keep the connection and a client that is
// gone is noticed.
const beat = 20 * time.Second

// service is the LiveService of align/v1.
type service struct {
	hub *Hub
}

// New returns the LiveService's path prefix and its handler, which must stand behind [keys.Require].
func New(hub *Hub) (string, http.Handler) {
	path, handler := alignv1connect.NewLiveServiceHandler(service{hub}, rpc.StrictJSON(), connect.WithReadMaxBytes(rpc.MaxRequestBytes))
	return path, rpc.Answerable(map[string]rpc.Form{alignv1connect.LiveServiceWatchProcedure: rpc.PostStream}, patient(handler))
}

// writeWithin is how long one write to a client may take.
const writeWithin = 30 * time.Second

// patient lets a stream go on as long as its client reads. The server's deadlines are for requests that are over soon.
func patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Time{}) // where there is no deadline, none need be taken away
		next.ServeHTTP(&patientWriter{w, control}, r)
	})
}

// patientWriter gives each write its own deadline.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w *patientWriter) Write(b []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(writeWithin))
	return w.ResponseWriter.Write(b)
}

// Flush implements [http.Flusher], which Connect asks for before it streams.
func (w *patientWriter) Flush() { _ = w.control.Flush() }

// Unwrap is for [http.ResponseController].
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Watch sends what happens until the client leaves.
func (s service) Watch(ctx context.Context, req *connect.Request[alignv1.WatchRequest], to *connect.ServerStream[alignv1.WatchResponse]) error {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return err
	}
	watcher, err := s.hub.Watch(key.Project)
	if errors.Is(err, ErrFull) {
		return connect.NewError(connect.CodeResourceExhausted, errors.New("too many watch already; try again later"))
	} else if err != nil {
		return errStops
	}
	defer watcher.Close()
	if err := to.Send(&alignv1.WatchResponse{}); err != nil { // now it is sure what will be seen
		return err
	}
	for missed := int64(0); ; {
		event, more, err := next(ctx, watcher)
		missed += more
		answer := &alignv1.WatchResponse{}
		switch {
		case errors.Is(err, ErrClosed):
			return errStops
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // nothing happened for a while
		case req.Msg.GetOnlyBad() && len(event.Concerns) == 0,
			req.Msg.GetConversationId() != "" && event.Conversation != req.Msg.GetConversationId():
			continue
		default:
			answer.Event, answer.Missed, missed = show(&event), missed, 0
		}
		if err := to.Send(answer); err != nil {
			return err
		}
	}
}

var errStops = connect.NewError(connect.CodeUnavailable, errors.New("the collector stops; watch again in a moment"))

// next waits for an event as long as nothing need be sent.
func next(ctx context.Context, watcher *Watcher) (Event, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, beat)
	defer cancel()
	return watcher.Next(ctx)
}

func show(e *Event) *alignv1.LiveEvent {
	shown := &alignv1.LiveEvent{
		Type:           e.Type,
		CreateTime:     timestamppb.New(e.Time),
		ConversationId: e.Conversation,
		UserId:         e.User,
		Index:          e.Index,
		Role:           e.Role,
		Text:           e.Text,
		Vote:           map[collector.Vote]alignv1.Vote{collector.VoteUp: alignv1.Vote_VOTE_UP, collector.VoteDown: alignv1.Vote_VOTE_DOWN}[e.Vote],
		CloseReason:    e.CloseReason,
		LatencyMs:      e.Latency.Milliseconds(),
		Error:          e.Error,
	}
	for _, concern := range e.Concerns {
		shown.Concerns = append(shown.Concerns, string(concern))
	}
	return shown
}
