// Package conversations is the ConversationService of align/v1: it finds and shows what was recorded, begins conversations,
// changes what is said of them, and has agents answer in them.
//
// It keeps nothing itself. What it is told becomes facts like those of any client, and what it shows are the views that the
// store derives from facts, so a conversation that was made here counts like any other.
package conversations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/rpc"
)

// Store is what is read from and written to; a [collector.Store] does.
type Store interface {
	collector.Searcher
	Messages(ctx context.Context, project, conversation string, page collector.Page) ([]collector.Message, string, error)
	Append(ctx context.Context, project string, batch collector.Batch) (collector.Appended, error)
}

// Options are the settings of a [Service]. The zero value has no agents.
type Options struct {
	// IdleTimeout is after what time without activity a conversation counts as closed; zero or less is never.
	IdleTimeout time.Duration
	// Agents are those that can be chatted with. Nil is none.
	Agents *agents.Set
	// Logger hears what clients are not told. Nil means [slog.Default].
	Logger *slog.Logger
}

// Service is the ConversationService.
type Service struct {
	store  Store
	idle   time.Duration
	agents *agents.Set
	log    *slog.Logger

	turns   turns
	room    chan struct{} // holds as many as there are chats
	writers chan struct{} // holds as many as write at once
}

var _ alignv1connect.ConversationServiceHandler = (*Service)(nil)

// maxChats bounds the chats that are under way, or wait for their turn; maxWriters those who write at once. To be written, an
// answer takes several times the room that it takes as a text, and the store writes one after the other anyway.
const maxChats, maxWriters = 1000, 16

// New returns a service of store.
func New(store Store, opts Options) *Service {
	return &Service{
		store: store, idle: opts.IdleTimeout, agents: cmp.Or(opts.Agents, new(agents.Set)),
		log: cmp.Or(opts.Logger, slog.Default()), room: make(chan struct{}, maxChats),
		writers: make(chan struct{}, maxWriters),
	}
}

// Handler returns the service's path prefix and its handler, which must stand behind [keys.Require] for reading. What needs
// more than that it asks for itself.
func (s *Service) Handler() (string, http.Handler) {
	path, handler := alignv1connect.NewConversationServiceHandler(s, rpc.StrictJSON(), connect.WithConditionalHandlerOptions(
		func(spec connect.Spec) []connect.HandlerOption {
			return []connect.HandlerOption{connect.WithReadMaxBytes(forms[spec.Procedure].MaxBytes())}
		}))
	return path, rpc.Answerable(forms, s.patient(handler))
}

var forms = map[string]rpc.Form{
	alignv1connect.ConversationServiceSearchConversationsProcedure: rpc.GetOrPost,
	alignv1connect.ConversationServiceListMessagesProcedure:        rpc.GetOrPost,
	alignv1connect.ConversationServiceGetConversationProcedure:     rpc.GetOrPost,
	alignv1connect.ConversationServiceListRunsProcedure:            rpc.GetOrPost,
	alignv1connect.ConversationServiceCreateConversationProcedure:  rpc.PostOnly,
	alignv1connect.ConversationServiceUpdateConversationProcedure:  rpc.PostOnly,
	alignv1connect.ConversationServiceAddTagsProcedure:             rpc.PostOnly,
	alignv1connect.ConversationServiceRemoveTagsProcedure:          rpc.PostOnly,
	alignv1connect.ConversationServiceChatProcedure:                rpc.PostLarge,
	alignv1connect.ConversationServiceChatStreamProcedure:          rpc.PostStream,
}

// Close waits until the chats under way are recorded, or ctx ends. Once their clients are cut off, that is soon. There are
// none after it.
func (s *Service) Close(ctx context.Context) error {
	for range cap(s.room) {
		select {
		case s.room <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("chats are under way: %w", ctx.Err())
		}
	}
	return nil
}

// patient gives chats the time that agents take. A server's own deadlines are for requests that take none.
func (s *Service) patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if form := forms[r.URL.Path]; form == rpc.PostLarge || form == rpc.PostStream {
			until := time.Now().Add(s.turnPatience() + s.agents.Longest() + 2*recordTimeout)
			control := http.NewResponseController(w)
			// A connection that has no deadlines, in a test, needs none.
			_ = control.SetReadDeadline(until)
			_ = control.SetWriteDeadline(until)
		}
		next.ServeHTTP(w, r)
	})
}

// failed turns an error of the store into one for the client. What the store says is for the log.
func (s *Service) failed(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, collector.ErrNotFound):
		return connect.NewError(connect.CodeNotFound, errors.New("there is no such conversation"))
	case errors.Is(err, collector.ErrPageToken):
		return invalid("page_token was not made by this call")
	case errors.Is(err, collector.ErrQuery):
		return invalid("text: %s", strings.TrimPrefix(err.Error(), collector.ErrQuery.Error()+": ")) // which never quotes the query
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		s.log.WarnContext(ctx, "reading conversations took too long")
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("that takes too long: ask for less, by user_id, tag, start_from or start_before"))
	}
	s.log.ErrorContext(ctx, "reading conversations failed", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("conversations cannot be read right now; try again"))
}

// unstored is failed for what was to be written.
func (s *Service) unstored(ctx context.Context, err error) error {
	if errors.Is(err, collector.ErrBusy) {
		busy := connect.NewError(connect.CodeResourceExhausted, errors.New("too much is waiting to be stored; try again"))
		busy.Meta().Set("Retry-After", "1")
		return busy
	}
	s.log.ErrorContext(ctx, "storing what a conversation was told failed", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("nothing can be stored right now; try again"))
}

// invalid is an error about a field, which it names.
func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}
