package conversations

import (
	"context"
	"math"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
)

// historyPage is how many messages are read at once.
const historyPage = 200

// history is what was said before, as an agent gets it.
type history struct {
	lines   []agents.Line
	leftOut int   // messages beyond the budget
	last    int32 // the highest index
	placed  bool  // messages are numbered as they stand: new ones get a place, or they would come before
}

// drop leaves out the oldest line, and returns its length.
func (h *history) drop() int {
	size := len(h.lines[0].Text)
	h.lines[0] = agents.Line{} // let its text go
	h.lines = h.lines[1:]
	h.leftOut++
	return size
}

// history reads a conversation through and keeps its end, as far as the budget goes. What was cut begins with the user: an
// answer without its question goes, too, as many models take no other beginning.
func (s *Service) history(ctx context.Context, project, conversation string, budget agents.Budget) (h history, err error) {
	size := 0
	for token, more := "", true; more; more = token != "" {
		var messages []collector.Message
		messages, token, err = s.store.Messages(ctx, project, conversation, collector.Page{Size: historyPage, Token: token})
		if err != nil {
			return history{}, s.failed(ctx, err)
		}
		for i := range messages {
			m := &messages[i]
			h.last = max(h.last, m.Index)
			h.placed = h.placed || m.Placed
			line, ok := lineOf(m)
			if !ok {
				continue
			}
			h.lines = append(h.lines, line)
			size += len(line.Text)
			for len(h.lines) > budget.Messages || size > budget.Bytes {
				size -= h.drop()
			}
		}
	}
	for h.leftOut > 0 && len(h.lines) > 0 && h.lines[0].Role != agents.User {
		h.drop()
	}
	h.placed = h.placed || h.last > math.MaxInt32-2*maxUserMessages
	return h, nil
}

// lineOf returns what a message says to an agent. What failed, and what has no words, says nothing; calls of tools and their
// results belong to the run that made them.
func lineOf(m *collector.Message) (agents.Line, bool) {
	if m.Content == "" || m.Detail.Success != nil && !*m.Detail.Success {
		return agents.Line{}, false
	}
	switch m.Role {
	case "user":
		return agents.Line{Role: agents.User, Text: m.Content}, true
	case "assistant", "human":
		return agents.Line{Role: agents.Assistant, Text: m.Content}, true
	case "system":
		return agents.Line{Role: agents.System, Text: m.Content}, true
	}
	return agents.Line{}, false
}
