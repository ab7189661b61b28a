package conversations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// Changing: conversations that begin, what is said of them, and tags.

// Limits in code points, as the schema promises them and the SDK has them.
const (
	maxID     = 64
	maxSource = 64
	maxTitle  = 256
	maxTag    = 64
	maxTags   = 100
)

// recordTimeout bounds how long it takes to store something, whether or not its client stays.
const recordTimeout = 15 * time.Second

// append stores facts of a request that was read in full: it is brought to its end whether or not the client waits.
func (s *Service) append(ctx context.Context, project string, facts ...collector.Fact) error {
	storing, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	select {
	case s.writers <- struct{}{}:
		defer func() { <-s.writers }()
	case <-storing.Done():
		return s.unstored(ctx, collector.ErrBusy)
	}
	if _, err := s.store.Append(storing, project, collector.Batch{Facts: facts}); err != nil {
		return s.unstored(ctx, err)
	}
	return nil
}

// CreateConversation begins a conversation: the opening of a session.
func (s *Service) CreateConversation(ctx context.Context, req *connect.Request[alignv1.CreateConversationRequest],
) (*connect.Response[alignv1.CreateConversationResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeChat)
	if err != nil {
		return nil, err
	}
	m := req.Msg
	if err := cmp.Or(atMost("source", m.GetSource(), maxSource), atMost("user_id", m.GetUserId(), maxID),
		atMost("assistant_id", m.GetAssistantId(), maxID), atMost("title", m.GetTitle(), maxTitle)); err != nil {
		return nil, err
	}
	now := time.Now()
	opening := &ingestionv1alpha.EventProperties_SessionProperties{
		SessionId: newID(), SessionTitle: keepable(m.GetTitle()), SessionStartTime: timestamppb.New(now), UserId: keepable(m.GetUserId()),
		AssistantId: keepable(m.GetAssistantId()), Source: keepable(m.GetSource()),
	}
	if m.Data != nil {
		if opening.Data, err = dataText(m.GetData()); err != nil {
			return nil, err
		}
	}
	if err := s.append(ctx, key.Project, sessionFact(collector.TypeSessionOpen, key.Project, now, opening)); err != nil {
		return nil, err
	}
	c, err := s.find(ctx, key.Project, opening.GetSessionId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&alignv1.CreateConversationResponse{Conversation: s.conversation(&c, now)}), nil
}

// UpdateConversation replaces what is said of a conversation.
func (s *Service) UpdateConversation(ctx context.Context, req *connect.Request[alignv1.UpdateConversationRequest],
) (*connect.Response[alignv1.UpdateConversationResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeChat)
	if err != nil {
		return nil, err
	}
	m := req.Msg
	update := &ingestionv1alpha.EventProperties_SessionProperties{SessionId: m.GetConversationId()}
	for _, field := range []struct {
		name, cleared string
		value         *structpb.Value
		set           func(*structpb.Value) error
	}{
		{"data", "data", m.Data, func(v *structpb.Value) (err error) {
			object, ok := v.GetKind().(*structpb.Value_StructValue)
			if !ok {
				return invalid("data is neither an object nor null")
			}
			update.Data, err = dataText(object.StructValue)
			return err
		}},
		{"source", "source", m.Source, textInto("source", maxSource, &update.Source)},
		{"title", "session_title", m.Title, textInto("title", maxTitle, &update.SessionTitle)},
	} {
		if field.value == nil {
			continue
		}
		if _, null := field.value.GetKind().(*structpb.Value_NullValue); null {
			update.Cleared = append(update.Cleared, field.cleared)
		} else if err := field.set(field.value); err != nil {
			return nil, err
		}
	}
	c, err := s.find(ctx, key.Project, m.GetConversationId())
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if m.Data != nil || m.Source != nil || m.Title != nil {
		if err := s.append(ctx, key.Project, sessionFact(collector.TypeSessionUpdate, key.Project, now, update)); err != nil {
			return nil, err
		}
		if c, err = s.find(ctx, key.Project, m.GetConversationId()); err != nil {
			return nil, err
		}
	}
	return connect.NewResponse(&alignv1.UpdateConversationResponse{Conversation: s.conversation(&c, now)}), nil
}

// textInto reads a text that must not be empty: on the wire of facts an empty one says nothing.
func textInto(field string, most int, to *string) func(*structpb.Value) error {
	return func(v *structpb.Value) error {
		text, ok := v.GetKind().(*structpb.Value_StringValue)
		if !ok {
			return invalid("%s is neither a string nor null", field)
		}
		if text.StringValue == "" {
			return invalid("%s is empty; null takes it away", field)
		}
		*to = keepable(text.StringValue)
		return atMost(field, *to, most)
	}
}

// AddTags adds tags to a conversation or to a run of it.
func (s *Service) AddTags(ctx context.Context, req *connect.Request[alignv1.AddTagsRequest]) (*connect.Response[alignv1.AddTagsResponse], error) {
	m := req.Msg
	tags, err := s.changeTags(ctx, m.GetConversationId(), m.GetRunId(), m.GetTags(), true)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&alignv1.AddTagsResponse{Tags: tags}), nil
}

// RemoveTags takes tags away from a conversation or from a run of it.
func (s *Service) RemoveTags(ctx context.Context, req *connect.Request[alignv1.RemoveTagsRequest]) (*connect.Response[alignv1.RemoveTagsResponse], error) {
	m := req.Msg
	tags, err := s.changeTags(ctx, m.GetConversationId(), m.GetRunId(), m.GetTags(), false)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&alignv1.RemoveTagsResponse{Tags: tags}), nil
}

// changeTags makes tags be there or not, and returns those that are. What changes nothing is not recorded.
func (s *Service) changeTags(ctx context.Context, conversation, runID string, tags []string, add bool) ([]string, error) {
	key, err := keys.Allowed(ctx, collector.ScopeChat)
	if err != nil {
		return nil, err
	}
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	for i := range tags {
		tags[i] = keepable(tags[i])
	}
	before, err := s.tags(ctx, key.Project, conversation, runID)
	if err != nil {
		return nil, err
	}
	changed := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(tags))), func(tag string) bool {
		return slices.Contains(before, tag) == add
	})
	if len(changed) == 0 {
		return before, nil
	}
	update := &ingestionv1alpha.EventProperties_SessionProperties{SessionId: conversation, RunId: runID}
	if add {
		if n := len(before) + len(changed); n > maxTags {
			return nil, invalid("tags: there would be %d; there can be %d", n, maxTags)
		}
		update.TagsAdded = changed
	} else {
		update.TagsRemoved = changed
	}
	if err := s.append(ctx, key.Project, sessionFact(collector.TypeSessionUpdate, key.Project, time.Now(), update)); err != nil {
		return nil, err
	}
	return s.tags(ctx, key.Project, conversation, runID)
}

func checkTags(tags []string) error {
	if len(tags) == 0 || len(tags) > maxTags {
		return invalid("tags has %d entries; it can have 1 to %d", len(tags), maxTags)
	}
	for i, tag := range tags {
		if strings.TrimSpace(tag) == "" {
			return invalid("tags[%d] is blank", i)
		}
		if err := atMost(fmt.Sprintf("tags[%d]", i), tag, maxTag); err != nil {
			return err
		}
	}
	return nil
}

// tags returns those of a conversation, or of a run of it.
func (s *Service) tags(ctx context.Context, project, conversation, runID string) ([]string, error) {
	c, err := s.find(ctx, project, conversation)
	if err != nil || runID == "" {
		return c.Tags, err
	}
	for token, more := "", true; more; more = token != "" {
		var runs []collector.Run
		if runs, token, err = s.store.Runs(ctx, project, conversation, collector.Page{Size: maxRuns, Token: token}); err != nil {
			return nil, s.failed(ctx, err)
		}
		for i := range runs {
			if runs[i].ID == runID {
				return runs[i].Tags, nil
			}
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("the conversation has no such run"))
}
