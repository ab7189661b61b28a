package export

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/outcome"
)

// outcomes fills in what became of a conversation as of an episode, of which list has all up to it. Status and resolution
// are those of the whole conversation until then. What is counted is what the episode added, so that counts of episodes
// add up to those of the conversation.
func outcomes(row *Row, c *collector.Candidate, list []stretch) error {
	own := &list[len(list)-1]
	so := outcomeOf(c, list)
	before := outcomeOf(c, list[:len(list)-1])
	alone := so
	if len(list) > 1 {
		alone = outcomeOf(c, list[len(list)-1:])
	}
	row.ConversationStatus, row.LastResolution = string(so.Status), string(so.Resolution)
	if !own.newest && own.told != nil {
		// What the app says of the conversation now, it says of a later episode.
		row.ConversationStatus, row.LastResolution = own.told.Status, own.told.Resolution
	}
	replies, err := json.Marshal(append([]string{}, alone.Replies...))
	if err != nil {
		return err
	}
	row.TriggeredReplies = string(replies)
	row.TriggeredIntentReplies = []Intent{}
	for _, intent := range alone.Intents {
		row.TriggeredIntentReplies = append(row.TriggeredIntentReplies, Intent{intent.Name, MomentOf(intent.Time), intent.NotMeaningful})
	}
	row.IsLLMConversation = so.IsLLM
	row.BotMessagesCount, row.VisitorMessagesCount = int64(alone.Bot), int64(alone.Visitor)
	// A later message can show that an answer of the episode before was none: that is counted where it was found, and takes
	// nothing away.
	added := func(now, then int) int64 { return int64(max(0, now-then)) }
	row.NotUnderstoodCount = added(so.NotUnderstood, before.NotUnderstood)
	row.LLMNotUnderstoodCount = added(so.LLM.NotUnderstood, before.LLM.NotUnderstood)
	row.LLMResponseGeneratedCount = added(so.LLM.ResponseGenerated, before.LLM.ResponseGenerated)
	row.LLMErrorOccurredCount = added(so.LLM.ErrorOccurred, before.LLM.ErrorOccurred)
	row.LLMEscalationCount = added(so.LLM.EscalationRequired, before.LLM.EscalationRequired)
	row.LLMFallbackCount = added(so.LLM.Fallback, before.LLM.Fallback)
	return nil
}

// outcomeOf returns the outcome of some episodes together.
func outcomeOf(c *collector.Candidate, list []stretch) outcome.Outcome {
	if len(list) == 0 {
		return outcome.Outcome{}
	}
	messages, signs := list[0].messages, list[0].signs
	if len(list) > 1 {
		messages, signs = nil, map[int32]outcome.Sign{}
		for i := range list {
			messages = append(messages, list[i].messages...)
			for index, sign := range list[i].signs {
				signs[index] = sign
			}
		}
		slices.SortFunc(messages, func(a, b collector.Message) int { return cmp.Compare(a.Index, b.Index) })
	}
	return outcome.Of(&c.Conversation, messages, outcome.Options{DisableDetector: c.NoDetector, Signs: signs})
}
