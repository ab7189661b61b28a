package agents

import (
	"fmt"
	"time"
)

// Kind is what went wrong with an agent, in a word that does not change.
type Kind string

const (
	Timeout     Kind = "timeout"     // no whole answer in its time
	Refused     Kind = "refused"     // a status that is no success
	Unreachable Kind = "unreachable" // no answer at all
	Broken      Kind = "broken"      // the answer broke off
	Unreadable  Kind = "unreadable"  // no answer of the protocol
	TooLarge    Kind = "too_large"   // beyond max_answer_bytes
	NoAnswer    Kind = "no_answer"   // an answer without text
	Canceled    Kind = "canceled"    // whoever asked has gone
)

// Failure is the error of an agent. It names the agent and what is wrong, never what was said or a key.
type Failure struct {
	Agent string
	Kind  Kind
	// Status is that of the agent's answer where it refused.
	Status int
	// RetryAfter is when it says to come again; 0 where it does not.
	RetryAfter time.Duration

	limit string // that was passed
}

// Reason is what is wrong, without the agent's name.
func (f *Failure) Reason() string {
	switch f.Kind {
	case Timeout:
		return "timeout: no whole answer within " + f.limit
	case Refused:
		return fmt.Sprintf("refused: status %d", f.Status)
	case Unreachable:
		return "unreachable: no connection, or none that brought an answer"
	case Unreadable:
		return "unreadable: its answer is not of the chat completions protocol"
	case TooLarge:
		return "too_large: its answer is larger than " + f.limit
	case NoAnswer:
		return "no_answer: its answer has no text"
	case Canceled:
		return "canceled: whoever asked has gone"
	}
	return "broken: its answer broke off"
}

func (f *Failure) Error() string { return fmt.Sprintf("agent %q: %s", f.Agent, f.Reason()) }
