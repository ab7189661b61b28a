package collector

import (
	"context"
	"time"
)

// Query says which conversations are wanted; all of what is set must hold. The zero value wants all of them, newest first.
type Query struct {
	// Text is what a message of the conversation must say, in the language of package search: one message, all of it.
	Text string
	// UserID, AssistantID, Source, Channel, Language, Status, Tag and Label are matched as they are; empty is any.
	UserID, AssistantID, Source, Channel, Language, Status, Tag, Label string
	// Metadata is what custom properties, or the top level of the conversation's data, must hold, key by key. Of the data,
	// numbers, true and false are told by their text.
	Metadata map[string]string
	// Vote is that of the whole conversation, or of any of its messages; VoteNone is any.
	Vote Vote
	// From and To bound the start of the conversation: From ≤ start < To. Zero is no bound.
	From, To time.Time
	// State is nil for any. At and Idle say as of when, and after what time without activity a conversation is closed; see
	// [Conversation.State].
	State *State
	At    time.Time
	Idle  time.Duration
	// Reversed lists the oldest first.
	Reversed bool
	// Ranked lists those first whose messages say it best, instead of the newest; only with Text, and not with Reversed.
	Ranked bool
}

// Hit is a conversation that was found.
type Hit struct {
	Conversation
	// Snippets are from the messages that say what was asked for, the best first and few; none without Text.
	Snippets []Snippet
}

// Snippet is a piece of a message around what was found in it.
type Snippet struct {
	Index int32 // of the message
	Role  string
	Text  string
	// Marks are the places in Text that were asked for: pairs of byte offsets, from and to.
	Marks [][2]int
}

// Run is one invocation of an agent: the messages of a conversation that share a run id.
type Run struct {
	ID        string
	Agent     string // who answered, with its version
	Model     string
	StartTime time.Time
	EndTime   time.Time
	Messages  int
	// Detail has the sums of tokens and cost, the latency of the last answer, and success and error of what went wrong last.
	Detail Detail
	Tags   []string // sorted
}

// MaxOffset is how many conversations a search can leave out. Page tokens go as deep as there are conversations.
const MaxOffset = 10_000

// Searcher finds conversations. What it looks through for a Text is filled behind what is stored; [Store.Stats] says how far.
// So what was said a moment ago may not be found yet, but nothing is found that is not there any more. All else is always up
// to date.
type Searcher interface {
	// Search lists the conversations a query wants, after the first offset of them, and the next page's token, empty on the
	// last page. ErrQuery when the text cannot be understood, when the offset is below 0 or beyond [MaxOffset], and when a query
	// without text is to be ranked.
	Search(ctx context.Context, project string, query Query, page Page, offset int) ([]Hit, string, error)
	// Count counts them, up to a limit of its own; exact says that there are no more.
	Count(ctx context.Context, project string, query Query) (n int, exact bool, err error)
	// Conversation returns one, or ErrNotFound.
	Conversation(ctx context.Context, project, id string) (Conversation, error)
	// CatchUp returns when all that was stored before it can be found by its text.
	CatchUp(ctx context.Context) error
	// Runs lists the runs of a conversation, oldest first, and the next page's token. ErrNotFound when there is no such
	// conversation.
	Runs(ctx context.Context, project, conversation string, page Page) ([]Run, string, error)
}
