// Package conversations gives back what was recorded: conversations and their messages, under a read key.
package conversations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// Page sizes, as align/v1/conversations.proto promises them.
const (
	defaultConversations, maxConversations = 50, 500
	defaultMessages, maxMessages           = 100, 1000
)

// Store is what is read from; a [collector.Store] does.
type Store interface {
	Conversations(ctx context.Context, project string, page collector.Page) ([]collector.Conversation, string, error)
	Messages(ctx context.Context, project, conversation string, page collector.Page) ([]collector.Message, string, error)
}

// Service is the ConversationService of align/v1.
type Service struct {
	store Store
	idle  time.Duration
	log   *slog.Logger
}

var _ alignv1connect.ConversationServiceHandler = (*Service)(nil)

// New returns the service's path prefix and its handler, which must stand behind [keys.Require]. A conversation without
// activity for idle counts as closed; a negative idle means never.
func New(store Store, idle time.Duration, log *slog.Logger) (string, http.Handler) {
	path, handler := alignv1connect.NewConversationServiceHandler(&Service{store: store, idle: idle, log: log},
		connect.WithReadMaxBytes(rpc.MaxRequestBytes))
	return path, rpc.Answerable(map[string]rpc.Form{
		alignv1connect.ConversationServiceSearchConversationsProcedure: rpc.GetOrPost,
		alignv1connect.ConversationServiceListMessagesProcedure:        rpc.GetOrPost,
	}, handler)
}

// SearchConversations lists the project's conversations, newest first.
func (s *Service) SearchConversations(ctx context.Context, req *connect.Request[alignv1.SearchConversationsRequest],
) (*connect.Response[alignv1.SearchConversationsResponse], error) {
	key, ok := keys.FromContext(ctx)
	if !ok {
		return nil, errNoKey
	}
	page, err := pageOf(req.Msg, defaultConversations, maxConversations)
	if err != nil {
		return nil, err
	}
	found, next, err := s.store.Conversations(ctx, key.Project, page)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	now := time.Now()
	answer := &alignv1.SearchConversationsResponse{NextPageToken: next}
	for i := range found {
		answer.Conversations = append(answer.Conversations, s.conversation(&found[i], now))
	}
	return connect.NewResponse(answer), nil
}

// ListMessages lists the current messages of one conversation in order.
func (s *Service) ListMessages(ctx context.Context, req *connect.Request[alignv1.ListMessagesRequest],
) (*connect.Response[alignv1.ListMessagesResponse], error) {
	key, ok := keys.FromContext(ctx)
	if !ok {
		return nil, errNoKey
	}
	if req.Msg.GetConversationId() == "" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("conversation_id is missing"))
	}
	page, err := pageOf(req.Msg, defaultMessages, maxMessages)
	if err != nil {
		return nil, err
	}
	found, next, err := s.store.Messages(ctx, key.Project, req.Msg.GetConversationId(), page)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	answer := &alignv1.ListMessagesResponse{NextPageToken: next}
	for i := range found {
		answer.Messages = append(answer.Messages, message(&found[i]))
	}
	return connect.NewResponse(answer), nil
}

var errNoKey = connect.NewError(connect.CodeUnauthenticated, errors.New("an API key is needed"))

// failed turns an error of the store into one for the client. What the store says is for the log.
func (s *Service) failed(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, collector.ErrNotFound):
		return connect.NewError(connect.CodeNotFound, errors.New("there is no such conversation"))
	case errors.Is(err, collector.ErrPageToken):
		return connect.NewError(connect.CodeInvalidArgument, errors.New("page_token was not made by this call"))
	case ctx.Err() != nil:
		return ctx.Err()
	}
	s.log.ErrorContext(ctx, "reading conversations failed", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("conversations cannot be read right now; try again"))
}

// pageOf reads a request's page; page_size 0 means standard.
func pageOf(req interface {
	GetPageSize() int32
	GetPageToken() string
}, standard, most int) (collector.Page, error) {
	size := int(req.GetPageSize())
	if size == 0 {
		size = standard
	}
	if size < 1 || size > most {
		return collector.Page{}, connect.NewError(connect.CodeInvalidArgument,
			fmt.Errorf("page_size is %d; it can be 1 to %d, or 0 for %d", size, most, standard))
	}
	return collector.Page{Size: size, Token: req.GetPageToken()}, nil
}

func (s *Service) conversation(c *collector.Conversation, now time.Time) *alignv1.Conversation {
	state, end, reason := c.State(now, s.idle)
	return &alignv1.Conversation{
		Id:           c.ID,
		UserId:       c.UserID,
		AssistantId:  c.AssistantID,
		Title:        c.Title,
		StartTime:    timestamp(c.StartTime),
		EndTime:      timestamp(end),
		State:        states[state],
		CloseReason:  reason,
		MessageCount: int32(c.MessageCount),
		Vote:         votes[c.Vote],
		Properties:   c.Properties,
	}
}

func message(m *collector.Message) *alignv1.Message {
	return &alignv1.Message{
		Index:      m.Index,
		Role:       m.Role,
		Content:    m.Content,
		CreateTime: timestamp(m.Time),
		Vote:       votes[m.Vote],
		Versions:   int32(m.Versions),
		Properties: m.Properties,
		Comment:    m.Comment,
	}
}

var states = map[collector.State]alignv1.Conversation_State{
	collector.StateOpen:   alignv1.Conversation_STATE_OPEN,
	collector.StateClosed: alignv1.Conversation_STATE_CLOSED,
}

var votes = map[collector.Vote]alignv1.Vote{
	collector.VoteUp:   alignv1.Vote_VOTE_UP,
	collector.VoteDown: alignv1.Vote_VOTE_DOWN,
}

// timestamp leaves out a time that is not known.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
