package export

import "github.com/openalign/align/collector"

const roleAssistant = "assistant"

func outcomes(row *Row, c *collector.Candidate, messages []collector.Message) {
	row.TriggeredReplies = "[]"
	for i := range messages {
		m := &messages[i]
		switch m.Role {
		case "user":
			row.VisitorMessagesCount++
		case roleAssistant:
			row.BotMessagesCount++
		}
		if m.Detail.Intent != "" {
			row.TriggeredIntentReplies = append(row.TriggeredIntentReplies, Intent{m.Detail.Intent, MomentOf(m.Time), m.Detail.IntentNotMeaningful})
		}
	}
	row.ConversationStatus, row.LastResolution = c.Status, c.Resolution
}
