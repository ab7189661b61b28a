package export

import (
	"encoding/json"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/outcome"
)

// outcomes fills in what package outcome finds of an episode's messages.
func outcomes(row *Row, c *collector.Conversation, messages []collector.Message, opts outcome.Options) error {
	o := outcome.Of(c, messages, opts)
	row.ConversationStatus = string(o.Status)
	row.LastResolution = string(o.Resolution)
	replies, err := json.Marshal(append([]string{}, o.Replies...))
	if err != nil {
		return err
	}
	row.TriggeredReplies = string(replies)
	for _, intent := range o.Intents {
		row.TriggeredIntentReplies = append(row.TriggeredIntentReplies, Intent{intent.Name, MomentOf(intent.Time), intent.NotMeaningful})
	}
	row.IsLLMConversation = o.IsLLM
	row.LLMNotUnderstoodCount = int64(o.LLM.NotUnderstood)
	row.LLMResponseGeneratedCount = int64(o.LLM.ResponseGenerated)
	row.LLMErrorOccurredCount = int64(o.LLM.ErrorOccurred)
	row.LLMEscalationCount = int64(o.LLM.EscalationRequired)
	row.LLMFallbackCount = int64(o.LLM.Fallback)
	row.BotMessagesCount = int64(o.Bot)
	row.VisitorMessagesCount = int64(o.Visitor)
	row.NotUnderstoodCount = int64(o.NotUnderstood)
	return nil
}
