package align

import (
	"cmp"
	"slices"
	"sync"
)

// The default budget of a [History].
const (
	DefaultHistoryMessages = 100
	DefaultHistoryBytes    = 64 << 10
)

// Line is one message of a conversation as an agent reads it.
type Line struct {
	Role Role
	Text string
}

// History is what was said in one conversation, in memory, for the agent of [Client.Converse]. It keeps the newest
// messages within its budget and drops the oldest first. Where it has dropped any, it begins with a message of the user's:
// an answer without its question is dropped, too.
//
// The app keeps a History as long as the conversation matters to it. It belongs to one process; one that goes on
// elsewhere or later is filled with [History.Add] first. Instructions for the model belong to the agent, not in here, where
// they would be the first to go.
//
// The zero History is empty and has the default budget. It is safe for concurrent use, must not be copied, and its fields
// must not change once it is in use.
type History struct {
	// MaxMessages is how many messages are kept. Zero means 100; negative means any number.
	MaxMessages int
	// MaxBytes is how long their texts may be, all together. Zero means 64 KiB; negative means any length.
	MaxBytes int

	mu    sync.Mutex // guards all below
	lines []Line
	bytes int // of their texts
	total int // lines ever added
}

// Add adds messages that were said, in order: those of a conversation that is gone on with, all of them, so that
// [Client.Converse] knows how many there are. What the budget drops it counts.
func (h *History) Add(lines ...Line) { h.extend(lines) }

// Lines returns the messages that are kept, in order.
func (h *History) Lines() []Line {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines)
}

// Dropped returns how many messages were dropped to keep to the budget.
func (h *History) Dropped() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.total - len(h.lines)
}

// extend adds lines and returns what an agent is to read then: what is kept, and those lines in any case. before is how
// many there were. A nil History keeps nothing.
func (h *History) extend(lines []Line) (said []Line, before int) {
	if h == nil {
		return lines, 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before = h.total
	h.total += len(lines)
	h.lines = append(h.lines, lines...)
	for _, l := range lines {
		h.bytes += len(l.Text)
	}
	h.trim()
	if len(h.lines) < len(lines) {
		return lines, before
	}
	return slices.Clone(h.lines), before
}

// trim drops the oldest lines until the rest keeps to the budget and begins with the user.
func (h *History) trim() {
	most, bytes := cmp.Or(h.MaxMessages, DefaultHistoryMessages), cmp.Or(h.MaxBytes, DefaultHistoryBytes)
	drop, cut := 0, h.total > len(h.lines)
	for drop < len(h.lines) && (most >= 0 && len(h.lines)-drop > most || bytes >= 0 && h.bytes > bytes ||
		(cut || drop > 0) && h.lines[drop].Role != RoleUser) {
		h.bytes -= len(h.lines[drop].Text)
		drop++
	}
	h.lines = slices.Delete(h.lines, 0, drop) // lets go of the texts
}
