package conversations

import (
	"context"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/rpc"
	"github.com/openalign/align/collector/search"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// Reading: one conversation, its messages and runs, and finding some of them.

// Page sizes and limits, as align/v1/conversations.proto promises them.
const (
	defaultConversations, maxConversations = 50, 500
	defaultMessages, maxMessages           = 1000, 1000
	defaultRuns, maxRuns                   = 100, 1000

	maxText            = search.MaxRunes
	maxFilter          = 256
	maxMetadataFilters = 10
)

// GetConversation returns one conversation.
func (s *Service) GetConversation(ctx context.Context, req *connect.Request[alignv1.GetConversationRequest],
) (*connect.Response[alignv1.GetConversationResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return nil, err
	}
	c, err := s.find(ctx, key.Project, req.Msg.GetConversationId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&alignv1.GetConversationResponse{Conversation: s.conversation(&c, time.Now())}), nil
}

// find returns a conversation that a request names.
func (s *Service) find(ctx context.Context, project, id string) (collector.Conversation, error) {
	if id == "" {
		return collector.Conversation{}, errNoConversation()
	}
	c, err := s.store.Conversation(ctx, project, id)
	if err != nil {
		return collector.Conversation{}, s.failed(ctx, err)
	}
	return c, nil
}

func errNoConversation() error { return invalid("conversation_id is missing") }

// SearchConversations lists the project's conversations that are wanted.
func (s *Service) SearchConversations(ctx context.Context, req *connect.Request[alignv1.SearchConversationsRequest],
) (*connect.Response[alignv1.SearchConversationsResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	query, err := s.query(req.Msg, now)
	if err != nil {
		return nil, err
	}
	page, err := searchPage(req.Msg)
	if err != nil {
		return nil, err
	}
	found, next, err := s.store.Search(ctx, key.Project, query, page, int(req.Msg.GetOffset()))
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	answer := &alignv1.SearchConversationsResponse{NextPageToken: next}
	for i := range found {
		c := s.conversation(&found[i].Conversation, now)
		c.Snippets = snippets(found[i].Snippets)
		answer.Conversations = append(answer.Conversations, c)
	}
	if req.Msg.GetCount() {
		n, exact, err := s.store.Count(ctx, key.Project, query)
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		answer.Total, answer.TotalAtLeast = new(int64(n)), !exact
	}
	return connect.NewResponse(answer), nil
}

// searchPage reads which page of a search is wanted.
func searchPage(req *alignv1.SearchConversationsRequest) (collector.Page, error) {
	size, name := req.GetPageSize(), "page_size"
	if limit := req.GetLimit(); limit != 0 {
		if size != 0 {
			return collector.Page{}, invalid("page_size and limit are the same thing: give one of them")
		}
		size, name = limit, "limit"
	}
	if offset := req.GetOffset(); offset < 0 || offset > collector.MaxOffset {
		return collector.Page{}, invalid("offset is %d; it can be 0 to %d, and page_token goes deeper", offset, collector.MaxOffset)
	}
	return rpc.Page(name, size, req.GetPageToken(), defaultConversations, maxConversations)
}

// query reads what is wanted.
func (s *Service) query(req *alignv1.SearchConversationsRequest, now time.Time) (collector.Query, error) {
	q := collector.Query{
		Text: req.GetText(), UserID: req.GetUserId(), AssistantID: req.GetAssistantId(), Source: req.GetSource(), Channel: req.GetChannel(),
		Language: req.GetLanguage(), Status: req.GetStatus(), Tag: req.GetTag(), Label: req.GetLabel(), Metadata: req.GetMetadata(),
		Reversed: req.GetReversed(), Ranked: req.GetRanked(), At: now, Idle: s.idle,
	}
	for _, field := range []struct {
		name, value string
		most        int
	}{
		{"text", q.Text, maxText}, {"user_id", q.UserID, maxFilter}, {"assistant_id", q.AssistantID, maxFilter}, {"source", q.Source, maxFilter},
		{"channel", q.Channel, maxFilter}, {"language", q.Language, maxFilter}, {"status", q.Status, maxFilter}, {"tag", q.Tag, maxFilter},
		{"label", q.Label, maxFilter},
	} {
		if err := atMost(field.name, field.value, field.most); err != nil {
			return q, err
		}
	}
	if len(q.Metadata) > maxMetadataFilters {
		return q, invalid("metadata has %d entries; it can have %d", len(q.Metadata), maxMetadataFilters)
	}
	for _, name := range slices.Sorted(maps.Keys(q.Metadata)) {
		if name == "" || utf8.RuneCountInString(name) > maxFilter || utf8.RuneCountInString(q.Metadata[name]) > maxFilter {
			return q, invalid("metadata has a key that is not 1 to %d characters long, or a value of more than %[1]d", maxFilter)
		}
	}
	if q.Ranked && q.Text == "" {
		return q, invalid("ranked goes with text only")
	}
	if q.Ranked && q.Reversed {
		return q, invalid("ranked and reversed are two orders: give one of them")
	}
	var err error
	if q.From, err = moment("start_from", req.GetStartFrom()); err != nil {
		return q, err
	}
	if q.To, err = moment("start_before", req.GetStartBefore()); err != nil {
		return q, err
	}
	if q.Vote, err = known("vote", req.GetVote(), votes); err != nil {
		return q, err
	}
	if req.GetState() != alignv1.Conversation_STATE_UNSPECIFIED {
		state, err := known("state", req.GetState(), states)
		if err != nil {
			return q, err
		}
		q.State = &state
	}
	return q, nil
}

// moment reads a time; zero is none.
func moment(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, invalid("%s is no time", field)
	}
	if t.AsTime().IsZero() {
		return t.AsTime().Add(1), nil // the first moment of the year 1 is none in Go, and nothing began there
	}
	return t.AsTime(), nil
}

// known returns what a word of the schema stands for.
func known[K, V comparable](field string, word V, words map[K]V) (meaning K, err error) {
	var none V
	for meaning, known := range words {
		if known == word {
			return meaning, nil
		}
	}
	if word != none {
		return meaning, invalid("%s has a value that is not known", field)
	}
	return meaning, nil
}

// atMost checks a length in code points.
func atMost(field, value string, most int) error {
	if n := utf8.RuneCountInString(value); n > most {
		return invalid("%s has %d characters; it can have %d", field, n, most)
	}
	return nil
}

// ListMessages lists the current messages of one conversation in order.
func (s *Service) ListMessages(ctx context.Context, req *connect.Request[alignv1.ListMessagesRequest],
) (*connect.Response[alignv1.ListMessagesResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return nil, err
	}
	id := req.Msg.GetConversationId()
	if id == "" {
		return nil, errNoConversation()
	}
	page, err := rpc.Page("page_size", req.Msg.GetPageSize(), req.Msg.GetPageToken(), defaultMessages, maxMessages)
	if err != nil {
		return nil, err
	}
	found, next, err := s.store.Messages(ctx, key.Project, id, page)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	answer := &alignv1.ListMessagesResponse{NextPageToken: next}
	for i := range found {
		answer.Messages = append(answer.Messages, message(id, &found[i]))
	}
	return connect.NewResponse(answer), nil
}

// ListRuns lists the runs of one conversation, oldest first.
func (s *Service) ListRuns(ctx context.Context, req *connect.Request[alignv1.ListRunsRequest],
) (*connect.Response[alignv1.ListRunsResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return nil, err
	}
	if req.Msg.GetConversationId() == "" {
		return nil, errNoConversation()
	}
	page, err := rpc.Page("page_size", req.Msg.GetPageSize(), req.Msg.GetPageToken(), defaultRuns, maxRuns)
	if err != nil {
		return nil, err
	}
	found, next, err := s.store.Runs(ctx, key.Project, req.Msg.GetConversationId(), page)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	answer := &alignv1.ListRunsResponse{NextPageToken: next}
	for i := range found {
		answer.Runs = append(answer.Runs, run(&found[i]))
	}
	return connect.NewResponse(answer), nil
}
