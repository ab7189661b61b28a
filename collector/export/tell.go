package export

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/outcome"
)

// noData is conversations_data of which nothing is known.
const noData = "{}"

// stretch is one episode as it is now, told or to be told.
type stretch struct {
	told   *collector.Episode // as files tell of it; nil for one that none does
	number int
	upto   collector.Day
	newest bool // it has the conversation's last activity, and so what is said of the conversation as a whole
	end    time.Time

	messages []collector.Message
	signs    map[int32]outcome.Sign // of those whose texts are gone, by index
}

// stretches cuts a conversation into the episodes that a file of day has to look at. A message belongs to the first episode
// whose last day it is not after. What happened after the last of them belongs to one that has not ended yet.
func stretches(c *collector.Candidate, day collector.Day) []stretch {
	list := make([]stretch, 0, len(c.Episodes)+1)
	for i := range c.Episodes {
		e := &c.Episodes[i]
		list = append(list, stretch{told: e, number: e.Number, upto: e.Upto, end: e.End})
	}
	ended := collector.DayOf(c.LastActivity)
	if n := len(list); n == 0 || list[n-1].upto < ended {
		if ended > day {
			return list // it goes on
		}
		list = append(list, stretch{number: n + 1, upto: ended})
	}
	last := &list[len(list)-1]
	last.newest, last.end = true, c.LastActivity
	return list
}

// take gives messages to the stretches they belong to.
func take(list []stretch, next func() (*collector.ExportMessage, bool, error)) error {
	for {
		m, ok, err := next()
		if err != nil || !ok {
			return err
		}
		day := collector.DayOf(m.Time)
		i := slices.IndexFunc(list, func(s stretch) bool { return day <= s.upto })
		if i < 0 {
			continue
		}
		s := &list[i]
		s.messages = append(s.messages, m.Message)
		if m.Taken {
			if s.signs == nil {
				s.signs = map[int32]outcome.Sign{}
			}
			s.signs[m.Index] = outcome.Sign(m.Sign)
		}
		if m.Time.After(s.end) {
			s.end = m.Time // of an episode that is not the newest: it came late
		}
	}
}

// row tells a stretch of a conversation.
func (s *stretch) row(c *collector.Candidate) (Row, error) {
	start := c.StartTime
	if s.number > 1 {
		start = s.end
		for i := range s.messages {
			if s.messages[i].Time.Before(start) {
				start = s.messages[i].Time
			}
		}
	}
	row := Row{
		BotID:                  c.AssistantID,
		BotName:                c.AssistantID,
		ConversationID:         ConversationID(c.ID, s.number),
		PlatformConversationID: c.ID,
		ConversationStartTime:  MomentOf(start),
		ConversationEndTime:    MomentOf(s.end),
		Language:               c.Language,
		Channel:                channel(c.Channel),
		Labels:                 append([]string{}, c.Labels...),
		ConversationsData:      data(&c.Conversation),
		TestMode:               c.TestMode,
		Episode:                int64(s.number),
		TriggeredIntentReplies: []Intent{},
	}
	if s.number > 1 {
		row.Continues = c.ID + "#" + strconv.Itoa(s.number-1)
	}
	for i := range s.messages {
		m := &s.messages[i]
		switch m.Vote {
		case collector.VoteUp:
			row.ThumbsUp++
		case collector.VoteDown:
			row.ThumbsDown++
		}
		if m.Role == "assistant" && m.Detail.Agent != "" {
			row.BotName = m.Detail.Agent
		}
	}
	if s.newest {
		switch c.Vote {
		case collector.VoteUp:
			row.SessionRating = "thumbs_up"
		case collector.VoteDown:
			row.SessionRating = "thumbs_down"
		}
	}
	if err := outcomes(&row, &c.Conversation, s.messages, outcome.Options{DisableDetector: c.NoDetector, Signs: s.signs}); err != nil {
		return row, err
	}
	if !s.newest && s.told != nil {
		// What the app says of the conversation now, it says of a later episode.
		row.ConversationStatus, row.LastResolution = s.told.Status, s.told.Resolution
	}
	return row, nil
}

// channel is one of the two words that the export knows.
func channel(text string) string {
	switch text {
	case "ticket", "email", "mail", "form":
		return "ticket"
	}
	return "chat"
}

// data returns the session's parameters as a JSON object: the members of its data that are not null, and its custom
// properties, of which a member of the same name takes the place. Data that is no object is the member "data".
func data(c *collector.Conversation) string {
	members := map[string]json.RawMessage{}
	for name, value := range c.Properties {
		text, err := json.Marshal(value)
		if err != nil {
			continue // texts always marshal
		}
		members[name] = text
	}
	if c.Data != "" {
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(c.Data), &object); err != nil {
			text, _ := json.Marshal(c.Data)
			object = map[string]json.RawMessage{"data": text}
		}
		for name, value := range object {
			if string(value) != "null" {
				members[name] = value
			}
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if len(members) == 0 || e.Encode(members) != nil {
		return noData
	}
	return string(bytes.TrimSpace(b.Bytes()))
}

// A digest has a part for each reason why a row may differ from the one before, in this order.
const partBytes = 8

var digestReasons = []string{ReasonMessages, ReasonOutcome, ReasonFeedback, ReasonDetails}

// digest tells rows apart without saying what they hold: what is personal is under keys that go with it.
func digest(row *Row, keys collector.ExportKeys) (all []byte) {
	add := func(key []byte, values ...any) {
		text, _ := json.Marshal(values) // all of it marshals
		mac := hmac.New(sha256.New, key)
		mac.Write(text)
		all = append(all, mac.Sum(nil)[:partBytes]...)
	}
	add(nil, row.ConversationStartTime, row.ConversationEndTime, row.BotMessagesCount, row.VisitorMessagesCount)
	add(nil, row.ConversationStatus, row.LastResolution, row.TriggeredReplies, row.TriggeredIntentReplies, row.IsLLMConversation,
		row.LLMNotUnderstoodCount, row.LLMResponseGeneratedCount, row.LLMErrorOccurredCount, row.LLMEscalationCount, row.LLMFallbackCount,
		row.NotUnderstoodCount)
	add(nil, row.ThumbsUp, row.ThumbsDown, row.SessionRating)
	add(slices.Concat(keys.Labels, keys.Content), row.BotID, row.BotName, row.Language, row.Channel, row.TestMode, row.Labels, row.ConversationsData)
	return all
}

// reasons says why a row is to be told again; nothing where it need not be.
func (s *stretch) reasons(now []byte) (list []string) {
	for i, reason := range digestReasons {
		// Only the newest episode speaks for the conversation as a whole.
		if !s.newest && (reason == ReasonOutcome || reason == ReasonDetails) {
			continue
		}
		from, to := i*partBytes, (i+1)*partBytes
		if !bytes.Equal(now[from:to], s.told.Digest[from:to]) {
			list = append(list, reason)
		}
	}
	return list
}
