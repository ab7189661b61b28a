package outcome

import (
	"cmp"
	"slices"
	"strings"

	"github.com/openalign/align/collector"
)

// Outcomes of an answer, as the wire schema names them.
const (
	answerGenerated     = "response_generated"
	answerNotUnderstood = "not_understood"
	answerError         = "error"
	answerEscalation    = "escalation_required"
	answerFallback      = "fallback"
)

// Labels that stand for a status, as letters in lower case.
var labelled = map[string]Status{
	"email": StatusEmail, "emailed": StatusEmail, "mailed": StatusEmail,
	"customescalation": StatusCustomEscalation, "escalation": StatusCustomEscalation, "escalated": StatusCustomEscalation,
	"failedescalation": StatusFailedEscalation, "escalationfailed": StatusFailedEscalation,
}

// Names of intents that ask for nothing an assistant could do: those of the export document, and their like.
var idleIntents = []string{"greeting", "greetings", "hello", "welcome", "thanks", "thankyou", "goodbye", "talktoahumanagent",
	"talktoahuman", "talktoanagent", "talktohuman", "talktoagent", "humanagent"}

// word is a name in letters and digits of lower case, so that "Bot handled", bot_handled and botHandled are one.
func word(name string) string {
	return strings.Join(tokens(name), "")
}

// recordedStatus returns the status that an app said, if it is one.
func recordedStatus(said string) (Status, bool) {
	if said == "" {
		return "", false
	}
	for _, s := range Statuses {
		if word(said) == word(string(s)) {
			return s, true
		}
	}
	return "", false
}

func recordedResolution(said string) (Resolution, bool) {
	if said == "" {
		return "", false
	}
	for _, r := range Resolutions {
		if word(said) == string(r) {
			return r, true
		}
	}
	return "", false
}

// misunderstood reports whether an answer was recorded as one that does not answer.
func misunderstood(d *collector.Detail) bool {
	switch d.Outcome {
	case answerNotUnderstood, answerFallback, answerError:
		return true
	}
	return failed(d)
}

// Made reports whether the outcome that was recorded of an answer says that one was made, however good.
func Made(said string) bool {
	switch said {
	case answerGenerated, answerNotUnderstood, answerEscalation, answerFallback:
		return true
	}
	return false
}

// failed reports whether an answer was recorded as failed.
func failed(d *collector.Detail) bool {
	return d.Success != nil && !*d.Success || d.Error != "" || d.Outcome == answerError
}

// byModel reports whether a model made an answer.
func byModel(d *collector.Detail) bool {
	return d.Model != "" || d.InputTokens != nil || d.OutputTokens != nil || d.TimeToFirstToken != nil || d.Outcome != ""
}

// count counts an answer of a model.
func (a *Answers) count(d *collector.Detail, notUnderstood bool) {
	switch {
	case d.Outcome == answerNotUnderstood:
		a.NotUnderstood++
	case d.Outcome == answerGenerated:
		a.ResponseGenerated++
	case d.Outcome == answerEscalation:
		a.EscalationRequired++
	case d.Outcome == answerFallback:
		a.Fallback++
	case failed(d):
		a.ErrorOccurred++
	case notUnderstood:
		a.NotUnderstood++
	default:
		a.ResponseGenerated++
	}
}

// outcome adds up what was seen so far with what is recorded of the conversation.
func (t *tally) outcome(c *collector.Conversation) Outcome {
	o := Outcome{
		Visitor: t.visitor, Bot: t.bot, Human: t.human, Fallbacks: t.fallbacks,
		IsLLM: t.isLLM, Intents: slices.Clip(t.intents), Replies: slices.Clip(t.replies), Signs: t.signs,
		Engaged:     t.visitor > 0,
		Meaningful:  t.meaningfulIntent || len(t.intents) == 0 && t.meaningfulText,
		AskedHuman:  t.required || t.asked,
		Transferred: t.human > 0 || c.Transfer != nil && *c.Transfer || c.CloseReason == collector.CloseTransfer,
	}
	o.Answered = t.answered && o.Meaningful
	for i := range t.turns {
		turn := &t.turns[i]
		notUnderstood, detected := turn.verdict()
		if notUnderstood {
			o.NotUnderstood++
		}
		if detected {
			o.Detected++
		}
	}
	for i := range t.answers {
		a := &t.answers[i]
		detected := false
		if a.turn >= 0 {
			_, detected = t.turns[a.turn].verdict()
		}
		o.LLM.count(&a.detail, detected)
	}
	t.decide(c, &o)
	return o
}

// decide finds status and resolution, in the order of precedence of the documented rules.
func (t *tally) decide(c *collector.Conversation, o *Outcome) {
	o.Status, o.StatusRule = t.status(c, o)
	vote := c.Vote
	if vote == collector.VoteNone {
		vote = t.lastVote
	}
	lastNotUnderstood := t.lastMisunderstood
	if n := len(t.turns); n > 0 {
		if notUnderstood, _ := t.turns[n-1].verdict(); notUnderstood {
			lastNotUnderstood = true
		}
	}
	affirmed := t.affirmed && t.answered
	against := cmp.Or(c.Vote, t.answerVote) == collector.VoteDown // a vote on an answer before says nothing of the last
	o.Confirmed = t.answered && (vote == collector.VoteUp || affirmed && !against)
	o.Assumed = t.answered && !t.unanswered && !against && !o.AskedHuman && !lastNotUnderstood
	switch {
	case o.Transferred:
	case c.Completed != nil:
		o.Unfinished = !*c.Completed
	default:
		o.Unfinished = t.unanswered || t.question || t.lastFallback
	}
	o.Resolution, o.ResolutionRule = t.resolution(c, o, vote, affirmed)
}

func (t *tally) status(c *collector.Conversation, o *Outcome) (Status, Rule) {
	if s, ok := recordedStatus(c.Status); ok {
		return s, RuleRecorded
	}
	switch {
	case c.Transfer != nil && *c.Transfer || c.CloseReason == collector.CloseTransfer:
		return StatusAgent, RuleTransfer
	case t.human > 0:
		return StatusAgent, RuleHuman
	}
	for _, status := range []Status{StatusEmail, StatusCustomEscalation, StatusFailedEscalation} {
		for _, label := range c.Labels {
			if labelled[word(label)] == status {
				return status, RuleLabel
			}
		}
	}
	switch {
	case t.required:
		return StatusFailedEscalation, RuleRequired
	case t.asked:
		return StatusFailedEscalation, RuleAsked
	}
	understood := t.answered && !t.lastMisunderstood && !t.unanswered
	if n := len(t.turns); n > 0 && understood {
		notUnderstood, _ := t.turns[n-1].verdict()
		understood = !notUnderstood
	}
	switch {
	case c.Completed != nil && !*c.Completed:
		return StatusNone, RuleCompleted
	case c.Completed != nil && understood:
		return StatusBotHandled, RuleCompleted
	case o.Meaningful && understood:
		return StatusBotHandled, RuleUnderstood
	}
	return StatusNone, RuleNone
}

func (t *tally) resolution(c *collector.Conversation, o *Outcome, vote collector.Vote, affirmed bool) (Resolution, Rule) {
	if r, ok := recordedResolution(c.Resolution); ok {
		return r, RuleRecorded
	}
	switch {
	case o.Status.Escalated():
		return ResolutionEscalated, RuleStatus
	case o.Status == StatusFailedEscalation:
		return ResolutionUndefined, RuleStatus
	case c.Completed != nil && *c.Completed:
		return ResolutionResolved, RuleCompleted
	case c.Completed != nil:
		return ResolutionUndefined, RuleCompleted
	case vote == collector.VoteUp && t.answered:
		return ResolutionResolved, RuleThumb
	case vote == collector.VoteDown:
		return ResolutionUndefined, RuleThumb
	case affirmed && o.Answered && o.Assumed:
		return ResolutionResolved, RuleAffirmed
	case o.Answered && o.Assumed && !o.Unfinished:
		return ResolutionInformed, RuleAnswered
	}
	return ResolutionUndefined, RuleNone
}
