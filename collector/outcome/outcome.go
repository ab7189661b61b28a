// Package outcome says what became of a conversation: its status and resolution, what was understood, and how its answers
// fared. What the app recorded stands. Where it recorded nothing, rules stand in, and each value says which; they are in
// status.go and signs.go, in plain Go, and depend on nothing but the conversation. Texts are read only to find signs
// (see [Sign]): near repeats, greetings, calls for a human, in several languages.
package outcome

import (
	"time"

	"github.com/openalign/align/collector"
)

// Version is that of the rules. It is kept with what they found, which is found anew when it changes.
const Version = 2

// Status says how a conversation ended, or stands. It is never empty.
type Status string

const (
	StatusNone             Status = "noStatus"
	StatusBotHandled       Status = "botHandled"       // by the assistant alone
	StatusEmail            Status = "email"            // goes on by email
	StatusAgent            Status = "agent"            // handed to a human
	StatusCustomEscalation Status = "customEscalation" // handed on in a way of the app's own
	StatusFailedEscalation Status = "failedEscalation" // should have been handed on, and nobody was there
)

// Statuses lists them all.
var Statuses = []Status{StatusNone, StatusBotHandled, StatusEmail, StatusAgent, StatusCustomEscalation, StatusFailedEscalation}

// Escalated reports whether a conversation of this status was handed on to people.
func (s Status) Escalated() bool {
	return s == StatusEmail || s == StatusAgent || s == StatusCustomEscalation
}

// Resolution says what became of the user's concern. It is never empty.
type Resolution string

const (
	ResolutionUndefined Resolution = "undefined" // nobody can tell
	ResolutionInformed  Resolution = "informed"  // the user got an answer, and left
	ResolutionResolved  Resolution = "resolved"  // the app or the user says so
	ResolutionEscalated Resolution = "escalated" // handed on to people
)

// Resolutions lists them all.
var Resolutions = []Resolution{ResolutionUndefined, ResolutionInformed, ResolutionResolved, ResolutionEscalated}

// Rule names what a value rests on: what the app recorded, or a rule of this package.
type Rule string

const (
	RuleRecorded   Rule = "recorded"            // the app said so
	RuleTransfer   Rule = "transfer"            // the app recorded a transfer, or closed for one
	RuleHuman      Rule = "human answered"      // a message of role human
	RuleLabel      Rule = "label"               // a label that stands for a status
	RuleRequired   Rule = "escalation required" // an answer said that a human was needed, and none came
	RuleAsked      Rule = "asked for a human"   // the user did, and none came
	RuleUnderstood Rule = "understood"          // a meaningful request, an answer, and no misunderstanding at the end
	RuleCompleted  Rule = "completed"           // the app recorded whether the purpose was met
	RuleThumb      Rule = "thumb"               // the last vote
	RuleAffirmed   Rule = "affirmed"            // the user's last word was thanks or agreement, after an answer
	RuleAnswered   Rule = "answered"            // the last word was an answer that was no question and not misunderstood
	RuleStatus     Rule = "status"              // follows from the status
	RuleNone       Rule = "none"                // nothing else applied
)

// Options are the settings of [Of]. The zero value is the rules as documented.
type Options struct {
	// DisableDetector leaves misunderstandings and calls for a human to what the app recorded.
	DisableDetector bool
	// Signs are those of messages whose text is gone, by index, as they were found while it was there.
	Signs map[int32]Sign
}

// Intent is a triggered intent.
type Intent struct {
	Name          string
	Time          time.Time // of the message that had it
	NotMeaningful bool      // the app said so, or its name is one of greeting, thanks, goodbye or a call for a human
}

// Answers counts answers of a model by what they were. Each is counted once, under what was recorded of it; else as an
// error where it failed, as not understood where the detector says so, and as generated otherwise.
type Answers struct {
	NotUnderstood, ResponseGenerated, ErrorOccurred, EscalationRequired, Fallback int
}

// Outcome is what became of a conversation.
type Outcome struct {
	Status         Status
	StatusRule     Rule
	Resolution     Resolution
	ResolutionRule Rule

	// Visitor, Bot and Human count messages of users, assistants and people of the app's. System and tool messages are none.
	Visitor, Bot, Human int
	// NotUnderstood counts user messages that were not understood, of which Detected only by the detector: the app
	// recorded nothing of their answers.
	NotUnderstood, Detected int
	// Fallbacks counts assistant messages that were recorded as fallback.
	Fallbacks int

	LLM Answers
	// IsLLM says that at least one answer was a model's: it has a model, tokens, a time to first token or an outcome.
	IsLLM bool

	Intents []Intent // in order of messages
	// Replies are the names of the replies that were triggered, in order: custom property "reply" of assistant messages.
	Replies []string

	Engaged     bool // at least one user message
	Meaningful  bool // a meaningful intent; without intents, a user message beyond greetings and thanks
	Answered    bool // at least one assistant message that did not fail, to something meaningful
	AskedHuman  bool // the user asked for a human, or an answer said that one was needed
	Transferred bool // handed to people: a transfer was recorded, or a human wrote
	// Unfinished says that the last word was the user's, unanswered, or a question or fallback of the assistant's; or that
	// the app recorded that the purpose was not met. Such a conversation that closes idle was abandoned.
	Unfinished bool
	// Confirmed says that the last vote was up, or that the user's last word was thanks or agreement after an answer that
	// nobody voted against.
	Confirmed bool
	// Assumed says that nobody called for a human, that the last question was understood and answered, and that nobody voted
	// against that answer or the whole.
	Assumed bool

	// Signs are those of each message, in the order of messages.
	Signs []Sign
}

// Autonomous reports whether the concern was dealt with, and by the assistant alone.
func (o *Outcome) Autonomous() bool {
	return !o.Status.Escalated() && (o.Resolution == ResolutionInformed || o.Resolution == ResolutionResolved)
}

// Of returns the outcome of a conversation with these messages, which are its current ones in order. Of the conversation it
// looks at what was recorded, labels, the close and the vote; not at times, so a conversation that goes on has an outcome
// too: the one it would have if nothing more came.
func Of(c *collector.Conversation, messages []collector.Message, opts Options) Outcome {
	var t tally
	t.opts = opts
	for i := range messages {
		t.add(&messages[i])
	}
	return t.outcome(c)
}

// Abandoned reports whether the user walked away from a conversation: it was engaged and left unfinished, nobody was handed
// it, and it closed because nothing more came. now and idle are those of [collector.Conversation.State].
func (o *Outcome) Abandoned(c *collector.Conversation, now time.Time, idle time.Duration) bool {
	state, _, reason := c.State(now, idle)
	return o.Engaged && o.Unfinished && !o.Transferred && state == collector.StateClosed && reason == collector.CloseIdle
}
