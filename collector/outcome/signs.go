package outcome

import (
	"github.com/openalign/align/collector"
)

// Sign is what the text of a message shows beside what it says, as bits. It is all that is kept of a text.
type Sign uint16

const (
	SignGreeting Sign = 1 << iota // nothing but a greeting
	SignThanks                    // nothing but thanks or agreement
	SignRepeat                    // a near repeat of the user's message before, after an answer to that
	SignRephrase                  // a near repeat of the user's message before, answered or not
	SignSame                      // the assistant's answer before, again
	SignAskHuman                  // the user asks for a human
	SignQuestion                  // ends with a question, other than whether there is anything else
	SignKnown                     // a text was there to be read
)

// Has reports whether s has all signs of o.
func (s Sign) Has(o Sign) bool { return s&o == o }

// turn is a user message and what was made of it.
type turn struct {
	recorded       bool // the app said something of the answer
	misunderstood  bool // and it was that it did not understand
	repeated, same bool // the user asked again; the answer was the one before
	human          bool // the user asked for a human next
	answered       bool // by the assistant
	handed         bool // a human was there first
}

// verdict says whether the message was not understood, and whether nobody but the detector says so.
func (t *turn) verdict() (notUnderstood, detected bool) {
	if t.recorded || t.handed {
		return t.misunderstood, false
	}
	detected = t.answered && (t.repeated || t.same || t.human)
	return detected, detected
}

// answer is a message of a model's, and the turn it belongs to, or -1.
type answer struct {
	detail collector.Detail
	turn   int
}

// tally is what was seen of a conversation up to a message. Messages only ever add to it, in order.
type tally struct {
	opts    Options
	signs   []Sign
	turns   []turn
	answers []answer
	intents []Intent
	replies []string

	visitor, bot, human, fallbacks   int
	isLLM                            bool
	meaningfulIntent, meaningfulText bool
	answered                         bool // an answer that did not fail, after a user message
	required, asked                  bool
	lastVote                         collector.Vote // of the last answer that has one

	// Of the last message that counts.
	unanswered        bool // it is the user's
	question          bool // it is the assistant's question
	lastFallback      bool
	lastMisunderstood bool           // of the last assistant message
	answerVote        collector.Vote // likewise
	affirmed          bool           // the user's last message is thanks or agreement

	lastUser, lastBot text // of the messages before
}

func (t *tally) add(m *collector.Message) {
	sign := t.read(m)
	t.signs = append(t.signs, sign)
	if m.Detail.Intent != "" {
		intent := Intent{Name: m.Detail.Intent, Time: m.Time, NotMeaningful: m.Detail.IntentNotMeaningful || isIdleIntent(m.Detail.Intent)}
		t.intents = append(t.intents, intent)
		t.meaningfulIntent = t.meaningfulIntent || !intent.NotMeaningful
	}
	switch m.Role {
	case "user":
		t.addUser(sign)
	case "assistant":
		t.addAssistant(m, sign)
	case "human":
		t.human++
		t.unanswered, t.question, t.lastFallback, t.affirmed = false, false, false, false
		if n := len(t.turns); n > 0 && !t.turns[n-1].answered {
			t.turns[n-1].handed = true
		}
		t.lastBot = text{}
	}
}

func (t *tally) addUser(sign Sign) {
	t.visitor++
	detect := !t.opts.DisableDetector
	if n := len(t.turns); n > 0 && detect {
		before := &t.turns[n-1]
		before.repeated = sign.Has(SignRepeat)
		before.human = sign.Has(SignAskHuman)
	}
	t.turns = append(t.turns, turn{})
	t.asked = t.asked || detect && sign.Has(SignAskHuman)
	t.meaningfulText = t.meaningfulText || sign&(SignGreeting|SignThanks|SignAskHuman) == 0
	t.affirmed = sign.Has(SignThanks)
	t.unanswered, t.question, t.lastFallback = !t.affirmed || !t.answered, false, false // nobody must answer thanks
}

func (t *tally) addAssistant(m *collector.Message, sign Sign) {
	d := &m.Detail
	t.bot++
	if m.Properties["reply"] != "" {
		t.replies = append(t.replies, m.Properties["reply"])
	}
	if d.Outcome == answerFallback {
		t.fallbacks++
	}
	t.required = t.required || d.Outcome == answerEscalation
	t.lastMisunderstood = misunderstood(d)
	t.lastFallback = d.Outcome == answerFallback
	t.unanswered, t.question = false, sign.Has(SignQuestion)
	if t.answerVote = m.Vote; m.Vote != collector.VoteNone {
		t.lastVote = m.Vote
	}
	current := -1
	if n := len(t.turns); n > 0 {
		t.answered = t.answered || !failed(d)
		before := &t.turns[n-1]
		// The next message of the assistant's speaks for the turn; what follows it adds to it.
		if !before.answered && !before.handed {
			before.answered = true
			before.recorded = d.Outcome != "" || failed(d)
			before.misunderstood = d.Outcome == answerNotUnderstood || d.Outcome == answerFallback
			before.same = sign.Has(SignSame) && !t.opts.DisableDetector
		}
		current = n - 1
	}
	if byModel(d) {
		t.isLLM = true
		kept := *d
		kept.ToolCalls = nil
		t.answers = append(t.answers, answer{kept, current})
	}
}

// read finds the signs of a message; where its text is gone, those that were found while it was there.
func (t *tally) read(m *collector.Message) Sign {
	known, kept := t.opts.Signs[m.Index]
	if m.Role != "user" && m.Role != "assistant" {
		return 0
	}
	said := newText(m.Content)
	if said.empty() {
		if m.Role == "user" {
			t.lastUser = text{}
		} else {
			t.lastBot = text{}
		}
		if kept {
			return known
		}
		return 0
	}
	sign := SignKnown
	if m.Role == "user" {
		switch said.smallTalk() {
		case greeting:
			sign |= SignGreeting
		case thanks:
			sign |= SignThanks
		}
		if said.asksForHuman() {
			sign |= SignAskHuman
		}
		if sign == SignKnown && said.repeats(t.lastUser) {
			sign |= SignRephrase
			if n := len(t.turns); n > 0 && t.turns[n-1].answered {
				sign |= SignRepeat
			}
		}
		t.lastUser = said
		return sign
	}
	if said.isQuestion() && !said.isOffer() {
		sign |= SignQuestion
	}
	if said.same(t.lastBot) {
		sign |= SignSame
	}
	t.lastBot = said
	return sign
}

func isIdleIntent(name string) bool {
	w := word(name)
	for _, idle := range idleIntents {
		if w == idle {
			return true
		}
	}
	return false
}
