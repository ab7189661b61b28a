package live

import (
	"slices"
	"strings"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/outcome"
)

// Concern is why somebody should look at an event.
type Concern string

// All concerns there are.
const (
	ThumbsDown    Concern = "thumbs_down"
	Failed        Concern = "error"          // an answer without success
	NotUnderstood Concern = "not_understood" // the app says that an answer is one, or a fallback
	Rephrased     Concern = "rephrased"      // the user says nearly the same again
	Slow          Concern = "slow"           // an answer took far longer than answers do
)

const (
	// rememberedUsers is of how many conversations the user's last words are known.
	rememberedUsers = 4096
	// latencies is how many answers say how long answers take, and fewLatencies below how many nobody can tell.
	latencies, fewLatencies = 256, 20
	// An answer is slow that took slowFactor times as long as half of the last ones, and slowLeast or more.
	slowFactor, slowLeast = 4, 2 * time.Second
)

// judge finds what is of concern among the events of a project, in the order in which they come. Others judge a
// conversation as a whole, and better; this is what can be said at once.
type judge struct {
	asked map[string]string // by conversation, what the user said last
	order []string          // of its keys, the oldest first
	took  []time.Duration   // the last answers
	next  int
}

func newJudge() judge { return judge{asked: map[string]string{}} }

func (j *judge) concerns(f *collector.Fact, e *Event) (found []Concern) {
	if e.Vote == collector.VoteDown {
		found = append(found, ThumbsDown)
	}
	if e.Type != collector.TypeMessageCreate {
		return found
	}
	m := f.Event.GetProperties().GetMessageProperties()
	switch e.Role {
	case "user":
		if j.rephrased(e.Conversation, m.GetMessageContent()) {
			found = append(found, Rephrased)
		}
	case "assistant":
		if m.Success != nil && !m.GetSuccess() || m.GetError() != "" || m.GetOutcome() == "error" {
			found = append(found, Failed)
		}
		if m.GetOutcome() == "not_understood" || m.GetOutcome() == "fallback" {
			found = append(found, NotUnderstood)
		}
		if m.Latency != nil && j.slow(e.Latency) {
			found = append(found, Slow)
		}
	}
	return found
}

// rephrased reports whether a user says nearly what they said before, and remembers it.
func (j *judge) rephrased(conversation, text string) bool {
	before, known := j.asked[conversation]
	if !known {
		if len(j.order) == rememberedUsers {
			delete(j.asked, j.order[0])
			j.order = slices.Delete(j.order, 0, 1)
		}
		j.order = append(j.order, conversation)
	}
	j.asked[conversation] = strings.Clone(cut(text))
	return known && outcome.Rephrases(text, before)
}

// slow reports whether an answer took far longer than the last ones, and remembers it.
func (j *judge) slow(took time.Duration) bool {
	slow := false
	if len(j.took) >= fewLatencies {
		sorted := slices.Sorted(slices.Values(j.took))
		slow = took >= slowLeast && took >= slowFactor*sorted[len(sorted)/2]
	}
	if len(j.took) < latencies {
		j.took = append(j.took, took)
	} else {
		j.took[j.next] = took
		j.next = (j.next + 1) % latencies
	}
	return slow
}
