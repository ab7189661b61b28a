package conversations

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/keys"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// Limits of what is said at once.
const (
	maxUserMessages = 32
	maxUserBytes    = 256 << 10
)

// Chat sends what the user says to an agent, and returns its answer.
func (s *Service) Chat(ctx context.Context, req *connect.Request[alignv1.ChatRequest]) (*connect.Response[alignv1.ChatResponse], error) {
	answer, err := s.chat(ctx, req.Msg, func(*alignv1.ChatStreamResponse) error { return nil })
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(answer), nil
}

// ChatStream is Chat, with the answer as it comes.
func (s *Service) ChatStream(ctx context.Context, req *connect.Request[alignv1.ChatRequest], stream *connect.ServerStream[alignv1.ChatStreamResponse]) error {
	answer, err := s.chat(ctx, req.Msg, stream.Send)
	if err != nil {
		return err
	}
	return stream.Send(&alignv1.ChatStreamResponse{Event: &alignv1.ChatStreamResponse_Done{Done: answer}})
}

// teller tells the client how a chat goes on, and fails once it has gone.
type teller func(*alignv1.ChatStreamResponse) error

// chat is both.
func (s *Service) chat(ctx context.Context, req *alignv1.ChatRequest, tell teller) (*alignv1.ChatResponse, error) {
	key, err := keys.Allowed(ctx, collector.ScopeChat)
	if err != nil {
		return nil, err
	}
	agent, err := s.checkChat(req)
	if err != nil {
		return nil, err
	}
	select {
	case s.room <- struct{}{}:
		defer func() { <-s.room }()
	default:
		return nil, full("too many chats are under way; try again")
	}
	leave, err := s.takeTurn(ctx, place{key.Project, req.GetConversationId()})
	if err != nil {
		return nil, err
	}
	defer leave()

	found, err := s.find(ctx, key.Project, req.GetConversationId())
	if err != nil {
		return nil, err
	}
	before, err := s.history(ctx, key.Project, req.GetConversationId(), agent.History())
	if err != nil {
		return nil, err
	}
	e := &exchange{service: s, project: key.Project, conversation: req.GetConversationId(), agent: agent, before: &before, count: found.MessageCount, runID: newID()}
	for _, m := range req.GetMessages() {
		e.said = append(e.said, keepable(m.GetContent()))
	}
	return e.run(ctx, tell)
}

// checkChat returns the agent that a request wants, or what is wrong with the request.
func (s *Service) checkChat(req *alignv1.ChatRequest) (*agents.Agent, error) {
	if req.GetConversationId() == "" {
		return nil, errNoConversation()
	}
	if n := len(req.GetMessages()); n < 1 || n > maxUserMessages {
		return nil, invalid("messages has %d entries; it can have 1 to %d", n, maxUserMessages)
	}
	size := 0
	for i, m := range req.GetMessages() {
		if strings.TrimSpace(m.GetContent()) == "" {
			return nil, invalid("messages[%d].content is blank", i)
		}
		size += len(m.GetContent())
	}
	if size > maxUserBytes {
		return nil, invalid("messages have %d bytes of content; they can have %d", size, maxUserBytes)
	}
	if req.GetAgent() == "" {
		return nil, invalid("agent is missing")
	}
	agent, ok := s.agents.Find(req.GetAgent())
	if !ok {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("agent: the collector's configuration has none of that name"))
	}
	return agent, nil
}

// full is the error of a chat that there is no room for.
func full(why string) error {
	err := connect.NewError(connect.CodeResourceExhausted, errors.New(why))
	err.Meta().Set("Retry-After", "1")
	return err
}

// turnPatience is how long a chat waits for those before it: as long as one of them may take.
func (s *Service) turnPatience() time.Duration { return s.agents.Longest() + 2*recordTimeout }

func (s *Service) takeTurn(ctx context.Context, at place) (leave func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, s.turnPatience())
	defer cancel()
	leave, err = s.turns.take(waiting, at)
	if errors.Is(err, errLongLine) {
		return nil, full("too many chats wait in this conversation; nothing was recorded, try again")
	}
	if err != nil && ctx.Err() == nil {
		return nil, connect.NewError(connect.CodeAborted, errors.New("others speak in this conversation; nothing was recorded, try again"))
	}
	return leave, err
}

// exchange is one chat, in its turn.
type exchange struct {
	service               *Service
	project, conversation string
	agent                 *agents.Agent
	before                *history
	count                 int // messages before
	said                  []string
	runID                 string

	begun        time.Time // when the user's messages were recorded
	asked, first time.Time // first is zero until something of the answer came
}

// run records what the user says, asks the agent, and records its answer.
func (e *exchange) run(ctx context.Context, tell teller) (*alignv1.ChatResponse, error) {
	if err := e.recordUser(ctx, tell); err != nil {
		return nil, err
	}
	e.asked = time.Now()
	request := agents.Request{History: e.before.lines, Messages: e.said}
	historyCount := len(e.before.lines)
	e.before.lines = nil // not to be held while the agent answers
	answer, failure := e.agent.Ask(ctx, request, func(piece string) error {
		if e.first.IsZero() {
			e.first = time.Now()
		}
		return tell(&alignv1.ChatStreamResponse{Event: &alignv1.ChatStreamResponse_Delta{Delta: keepable(piece)}})
	})
	answer.Text, answer.Model = keepable(answer.Text), keepable(answer.Model)
	for i := range answer.ToolCalls {
		call := &answer.ToolCalls[i]
		call.ID, call.Name, call.Arguments = keepable(call.ID), keepable(call.Name), keepable(call.Arguments)
	}
	recorded, err := e.recordAnswer(ctx, &answer, failure)
	if failure != nil {
		return nil, e.failed(ctx, failure) // also where that could not be recorded, which is in the log
	}
	if err != nil {
		return nil, err
	}
	if e.first.IsZero() { // an agent that does not stream
		if err := tell(&alignv1.ChatStreamResponse{Event: &alignv1.ChatStreamResponse_Delta{Delta: answer.Text}}); err != nil {
			return nil, err
		}
	}
	return &alignv1.ChatResponse{RunId: e.runID, Messages: []*alignv1.Message{recorded},
		HistoryCount: int32(historyCount), HistoryLeftOut: int32(min(e.before.leftOut, math.MaxInt32))}, nil
}

// recordUser records what the user says, and tells so.
func (e *exchange) recordUser(ctx context.Context, tell teller) error {
	now := time.Now()
	e.begun = now
	started := &alignv1.ChatStreamResponse_Started{RunId: e.runID, Agent: e.agent.Label()}
	var facts []collector.Fact
	for i, text := range e.said {
		m := e.message(i, now)
		m.MessageRole = ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER
		m.MessageContent = text
		facts = append(facts, messageFact(e.project, now, m))
		started.Messages = append(started.Messages, message(e.conversation, &collector.Message{Index: e.index(i), Role: "user", Content: text,
			Time: now, Versions: 1, Detail: collector.Detail{RunID: e.runID}}))
	}
	if err := e.service.append(ctx, e.project, facts...); err != nil {
		return err
	}
	// Whoever has gone by now is noticed by the agent's call, which is recorded in any case.
	_ = tell(&alignv1.ChatStreamResponse{Event: &alignv1.ChatStreamResponse_Started_{Started: started}})
	return nil
}

// recordAnswer records what came of the agent, and returns it as it will be shown.
func (e *exchange) recordAnswer(ctx context.Context, answer *agents.Answer, failure error) (*alignv1.Message, error) {
	now := time.Now()
	d := collector.Detail{
		Latency: new(now.Sub(e.asked)), Success: new(failure == nil), Incomplete: answer.Incomplete, Outcome: "response_generated",
		Agent: e.agent.Label(), Model: answer.Model, RunID: e.runID, InputTokens: answer.InputTokens, OutputTokens: answer.OutputTokens,
	}
	if !e.first.IsZero() {
		d.TimeToFirstToken = new(e.first.Sub(e.asked))
	}
	if f, ok := errors.AsType[*agents.Failure](failure); ok {
		d.Error, d.Outcome = f.Reason(), "error"
	}
	m, index := e.message(len(e.said), now), e.index(len(e.said))
	if !e.before.placed {
		index = e.indexNow(ctx)
		m.MessageIndexHint = index
	}
	m.MessageRole = ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT
	m.MessageContent = answer.Text
	if answer.Text == "" {
		m.ContentLength = new(int64(0)) // nothing was there to be kept
	}
	m.Latency, m.TimeToFirstToken = durationpb.New(*d.Latency), duration(d.TimeToFirstToken)
	m.Success, m.Incomplete, m.Error, m.Outcome, m.Agent, m.Model = d.Success, d.Incomplete, d.Error, d.Outcome, d.Agent, d.Model
	m.InputTokens, m.OutputTokens = d.InputTokens, d.OutputTokens
	for _, call := range answer.ToolCalls {
		m.ToolCalls = append(m.ToolCalls, &ingestionv1alpha.EventProperties_MessageProperties_ToolCall{Id: call.ID, Name: call.Name, Arguments: call.Arguments})
		d.ToolCalls = append(d.ToolCalls, collector.ToolCall{ID: call.ID, Name: call.Name, Arguments: call.Arguments})
	}
	if err := e.service.append(ctx, e.project, messageFact(e.project, now, m)); err != nil {
		return nil, err
	}
	return message(e.conversation, &collector.Message{Index: index, Role: "assistant", Content: answer.Text, Time: now, Versions: 1, Detail: d}), nil
}

// index is that of the nth message of the chat.
func (e *exchange) index(n int) int32 {
	return int32(min(int64(e.before.last)+int64(n)+1, math.MaxInt32))
}

// indexNow is that of the answer: after all that others have said while the agent was asked, such as a person who took over,
// and not in its place.
func (e *exchange) indexNow(ctx context.Context) int32 {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	next := e.index(len(e.said))
	c, err := e.service.store.Conversation(ctx, e.project, e.conversation)
	if err != nil || c.MessageCount == e.count+len(e.said) {
		return next
	}
	now, err := e.service.history(ctx, e.project, e.conversation, agents.Budget{})
	if err != nil {
		return next // where something else may be, and then stays as a version
	}
	return max(next, int32(min(int64(now.last)+1, math.MaxInt32)))
}

// message begins the nth message of the chat. Where messages of the conversation have places instead of indexes, it gets a
// place after them.
func (e *exchange) message(n int, at time.Time) *ingestionv1alpha.EventProperties_MessageProperties {
	m := &ingestionv1alpha.EventProperties_MessageProperties{SessionId: e.conversation, MessageCreateTime: timestamppb.New(at), RunId: e.runID}
	if e.before.placed {
		m.Place = &ingestionv1alpha.EventProperties_MessageProperties_Place{Time: timestamppb.New(e.begun), Turn: e.runID, Part: int32(n), Answer: n == len(e.said)}
	} else {
		m.MessageIndexHint = e.index(n)
	}
	return m
}

// failed is what a client is told of an agent that failed.
func (e *exchange) failed(ctx context.Context, err error) error {
	failure, ok := errors.AsType[*agents.Failure](err)
	if !ok {
		return connect.NewError(connect.CodeInternal, errors.New("the agent failed"))
	}
	e.service.log.WarnContext(ctx, "agent failed", "project", e.project, "agent", failure.Agent, "kind", string(failure.Kind), "status", failure.Status,
		"run", e.runID, "duration", time.Since(e.asked))
	told := connect.NewError(codeOf(ctx, failure), fmt.Errorf("%w; the user's messages are recorded", failure))
	if failure.RetryAfter > 0 {
		told.Meta().Set("Retry-After", strconv.Itoa(int(math.Ceil(failure.RetryAfter.Seconds()))))
	}
	detail, err := connect.NewErrorDetail(&alignv1.ChatFailure{RunId: e.runID, Agent: failure.Agent, Kind: string(failure.Kind), Status: int32(failure.Status)})
	if err == nil {
		told.AddDetail(detail)
	}
	return told
}

// codeOf says whether it is worth coming again.
func codeOf(ctx context.Context, failure *agents.Failure) connect.Code {
	switch failure.Kind {
	case agents.Timeout:
		return connect.CodeDeadlineExceeded
	case agents.Canceled:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return connect.CodeDeadlineExceeded
		}
		return connect.CodeCanceled
	case agents.Unreachable, agents.Broken:
		return connect.CodeUnavailable
	case agents.Refused:
		switch {
		case failure.Status == 429:
			return connect.CodeResourceExhausted
		case failure.Status >= 500:
			return connect.CodeUnavailable
		}
	}
	return connect.CodeInternal
}
