package conversations

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/rpc"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// Views in the schema's words.

func (s *Service) conversation(c *collector.Conversation, now time.Time) *alignv1.Conversation {
	state, end, reason := c.State(now, s.idle)
	shown := &alignv1.Conversation{
		Id:           c.ID,
		UserId:       c.UserID,
		AssistantId:  c.AssistantID,
		Title:        c.Title,
		StartTime:    rpc.Timestamp(c.StartTime),
		EndTime:      rpc.Timestamp(end),
		State:        states[state],
		CloseReason:  reason,
		MessageCount: int32(c.MessageCount),
		Vote:         votes[c.Vote],
		Properties:   c.Properties,
		Source:       c.Source,
		Channel:      c.Channel,
		Language:     c.Language,
		Status:       c.Status,
		Resolution:   c.Resolution,
		Transfer:     c.Transfer,
		Completed:    c.Completed,
		TestMode:     c.TestMode,
		Labels:       c.Labels,
		Tags:         c.Tags,
		LastActivity: rpc.Timestamp(c.LastActivity),
		Comment:      c.Comment,
		Reasons:      c.Reasons,
		Score:        score(c.Score),
	}
	shown.Data, shown.DataText = object(c.Data)
	return shown
}

func message(conversation string, m *collector.Message) *alignv1.Message {
	d := &m.Detail
	shown := &alignv1.Message{
		ConversationId:      conversation,
		Index:               m.Index,
		Role:                m.Role,
		Content:             m.Content,
		CreateTime:          rpc.Timestamp(m.Time),
		Vote:                votes[m.Vote],
		Versions:            int32(m.Versions),
		Properties:          m.Properties,
		Comment:             m.Comment,
		Reasons:             m.Reasons,
		Score:               score(m.Score),
		RunId:               d.RunID,
		Agent:               d.Agent,
		Model:               d.Model,
		Latency:             duration(d.Latency),
		TimeToFirstToken:    duration(d.TimeToFirstToken),
		Success:             d.Success,
		Incomplete:          d.Incomplete,
		Error:               d.Error,
		Outcome:             d.Outcome,
		Intent:              d.Intent,
		IntentNotMeaningful: d.IntentNotMeaningful,
		InputTokens:         d.InputTokens,
		OutputTokens:        d.OutputTokens,
		Cost:                d.Cost,
	}
	for _, call := range d.ToolCalls {
		shown.ToolCalls = append(shown.ToolCalls, &alignv1.ToolCall{Id: call.ID, Name: call.Name, Arguments: call.Arguments, Result: call.Result})
	}
	return shown
}

func run(r *collector.Run) *alignv1.Run {
	d := &r.Detail
	return &alignv1.Run{
		Id:               r.ID,
		Agent:            r.Agent,
		Model:            r.Model,
		StartTime:        rpc.Timestamp(r.StartTime),
		EndTime:          rpc.Timestamp(r.EndTime),
		MessageCount:     int32(r.Messages),
		Latency:          duration(d.Latency),
		TimeToFirstToken: duration(d.TimeToFirstToken),
		Success:          d.Success,
		Error:            d.Error,
		Incomplete:       d.Incomplete,
		Outcome:          d.Outcome,
		InputTokens:      d.InputTokens,
		OutputTokens:     d.OutputTokens,
		Cost:             d.Cost,
		Tags:             r.Tags,
	}
}

// snippets cuts each text into what was searched for and what is around it.
func snippets(found []collector.Snippet) []*alignv1.Snippet {
	var shown []*alignv1.Snippet
	for i := range found {
		s := &found[i]
		one := &alignv1.Snippet{Index: s.Index, Role: s.Role}
		add := func(text string, match bool) {
			if text != "" {
				one.Parts = append(one.Parts, &alignv1.Snippet_Part{Text: text, Match: match})
			}
		}
		from := 0
		for _, mark := range s.Marks {
			add(s.Text[from:mark[0]], false)
			add(s.Text[mark[0]:mark[1]], true)
			from = mark[1]
		}
		add(s.Text[from:], false)
		shown = append(shown, one)
	}
	return shown
}

func score(s *collector.Score) *alignv1.Score {
	if s == nil {
		return nil
	}
	return &alignv1.Score{Value: s.Value, Min: s.Min, Max: s.Max}
}

var states = map[collector.State]alignv1.Conversation_State{
	collector.StateOpen:   alignv1.Conversation_STATE_OPEN,
	collector.StateClosed: alignv1.Conversation_STATE_CLOSED,
}

var votes = map[collector.Vote]alignv1.Vote{
	collector.VoteUp:   alignv1.Vote_VOTE_UP,
	collector.VoteDown: alignv1.Vote_VOTE_DOWN,
}

// duration leaves out a length of time that is not known.
func duration(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(*d)
}
