// Package digest says in numbers what metrics need of a conversation. A digest is a pure function of the conversation's
// current view, so it can be made again at any time; it holds no text that anybody wrote.
//
// Whether a conversation has ended depends on when one asks and after which idle time, so a digest does not say.
package digest

import (
	"math"
	"slices"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/outcome"
)

// Version is that of the numbers. Digests of another version are made again.
const Version = 2*1000 + outcome.Version

// Null stands for a number that is not known. It is no zero: sums, averages and percentiles leave it out.
const Null = math.MinInt64

// Column is a number of a digest.
type Column int

// The numbers, in the order in which they are kept.
const (
	UserMessages Column = iota
	AssistantMessages
	HumanMessages
	NotUnderstood // user messages that were not understood
	Detected      // of these, those that only the detector says so of
	Fallbacks
	LLMNotUnderstood
	LLMResponseGenerated
	LLMErrorOccurred
	LLMEscalationRequired
	LLMFallback
	IsLLM
	Status     // a number into outcome.Statuses
	Resolution // a number into outcome.Resolutions
	StatusRecorded
	ResolutionRecorded
	Meaningful
	Answered
	AskedHuman
	Transferred
	Unfinished
	Confirmed
	Assumed
	Autonomous
	VotesUp          // on assistant messages, one for each voter and message
	VotesDown        // likewise
	Rated            // assistant messages with a vote
	SessionVotes     // on the conversation as a whole, one for each voter
	SessionPositive  // of these, thumbs up, or scores in the upper quarter of their scale
	KnownTurns       // assistant messages of which it is known whether they failed, as said or by their outcome
	FailedTurns      // of these, those that did
	Regenerated      // assistant messages with more than one version
	Edited           // user messages with more than one version
	Rephrased        // user messages that nearly repeat the one before
	Rephrasable      // user messages with one before
	Cost             // in billionths of a US dollar
	InputTokens      //
	OutputTokens     //
	FirstResponse    // milliseconds from the first user message to the first assistant message after it
	CloseTime        // nanoseconds since 1970
	CloseReason      // a number into CloseReasons
	TestMode         //
	Intents          // triggered intents
	MeaningfulIntent // a triggered intent that is meaningful
	UnderstoodShare  // of the user messages, in millionths; null without any
	Columns          = iota
)

// Names are those of the columns, as the view digests has them.
var Names = [Columns]string{
	"user_messages", "assistant_messages", "human_messages", "not_understood", "detected", "fallbacks",
	"llm_not_understood", "llm_response_generated", "llm_error_occurred", "llm_escalation_required", "llm_fallback", "is_llm",
	"status", "resolution", "status_recorded", "resolution_recorded", "meaningful", "answered", "asked_human", "transferred",
	"unfinished", "confirmed", "assumed", "autonomous", "votes_up", "votes_down", "rated", "session_votes", "session_positive",
	"known_turns", "failed_turns", "regenerated", "edited", "rephrased", "rephrasable", "cost", "input_tokens", "output_tokens",
	"first_response", "close_time", "close_reason", "test_mode", "intents", "meaningful_intent", "understood_share",
}

// CloseReasons are those that CloseReason counts; the first is none.
var CloseReasons = []string{"", collector.CloseExplicit, collector.CloseIdle, collector.CloseShutdown, collector.CloseTransfer}

// Sample is a list of numbers of a digest, of which there can be any number.
type Sample int

const (
	Latencies         Sample = iota // milliseconds from question to answer, of answers that did not fail
	FailedLatencies                 // of those that did
	HumanLatencies                  // of people's
	TimesToFirstToken               // milliseconds, of answers that were streamed
	Days                            // days since 1970, UTC, on which the user wrote
	Pauses                          // see Digest.Pauses
	Samples           = iota
)

// SampleNames are those of the samples, as the view digests has them.
var SampleNames = [Samples]string{"latencies", "failed_latencies", "human_latencies", "ttfts", "days", "pauses"}

// LeastPause is the shortest time without a message that a digest remembers. Shorter idle times count as this one where it
// matters when a conversation went on again.
const LeastPause = time.Minute

// Digest is a conversation in numbers.
type Digest struct {
	ID          string
	UserID      string // empty where unknown
	Start, Last int64  // nanoseconds since 1970
	Numbers     [Columns]int64
	// Samples hold what there is more than one of. Pauses has three numbers each, in order of time: after how many
	// milliseconds since the start it began, how many it took, and 1 if the conversation was resolved autonomously by then.
	Samples [Samples][]int64
	Groups  Groups
}

// Clone returns a copy that shares nothing which d would change.
func (d *Digest) Clone() *Digest {
	c := *d
	for i := range c.Samples {
		c.Samples[i] = slices.Clone(d.Samples[i])
	}
	return &c
}

// Groups is what conversations are grouped and filtered by, beside their user.
type Groups struct {
	Assistant string   `json:"assistant,omitempty"`
	Version   string   `json:"version,omitempty"` // of the assistant
	Channel   string   `json:"channel,omitempty"`
	Source    string   `json:"source,omitempty"`
	Language  string   `json:"language,omitempty"`
	Labels    []string `json:"labels,omitempty"`
	// Intents by name: of the first and last triggered, and of the first and last that is meaningful.
	FirstIntent           string `json:"first_intent,omitempty"`
	LastIntent            string `json:"last_intent,omitempty"`
	FirstMeaningfulIntent string `json:"first_meaningful_intent,omitempty"`
	LastMeaningfulIntent  string `json:"last_meaningful_intent,omitempty"`
}

// Message is a message and what is needed of it beside its view.
type Message struct {
	collector.Message
	// Key tells the message from others of its conversation, whatever else comes before it.
	Key int64
	// Taken says that its text was there and is gone.
	Taken bool
	// Votes are the current ones, one for each voter.
	Votes []Vote
}

// Vote is one voter's.
type Vote struct {
	Vote  collector.Vote
	Score *collector.Score
}

// Signs are the signs of messages by their keys.
type Signs map[int64]outcome.Sign

// Options are the settings of [Of]. The zero value is the rules as documented.
type Options struct {
	DisableDetector bool
}

// Of returns the digest of a conversation with these current messages in order, and these votes on the whole of it. known
// are the signs of messages whose texts were taken; it returns all of them as they are now.
func Of(c *collector.Conversation, messages []Message, votes []Vote, known Signs, opts Options) (d Digest, signs Signs) {
	d.ID, d.UserID = c.ID, c.UserID
	d.Start, d.Last = c.StartTime.UnixNano(), c.LastActivity.UnixNano()
	plain := make([]collector.Message, len(messages))
	kept := map[int32]outcome.Sign{}
	for i := range messages {
		plain[i] = messages[i].Message
		if sign, ok := known[messages[i].Key]; ok && messages[i].Taken {
			kept[plain[i].Index] = sign
		}
	}
	o := outcome.Of(c, plain, outcome.Options{DisableDetector: opts.DisableDetector, Signs: kept})
	signs = Signs{}
	for i, sign := range o.Signs {
		if sign != 0 {
			signs[messages[i].Key] = sign
		}
	}
	d.takeOutcome(&o)
	d.takeConversation(c, votes)
	d.takeMessages(messages, o.Signs)
	d.takePauses(c, plain, kept, opts)
	d.Groups = groupsOf(c, &o)
	d.Numbers[MeaningfulIntent] = bit(d.Groups.FirstMeaningfulIntent != "")
	return d, signs
}

func (d *Digest) takeOutcome(o *outcome.Outcome) {
	n := &d.Numbers
	n[UserMessages], n[AssistantMessages], n[HumanMessages] = int64(o.Visitor), int64(o.Bot), int64(o.Human)
	n[NotUnderstood], n[Detected], n[Fallbacks] = int64(o.NotUnderstood), int64(o.Detected), int64(o.Fallbacks)
	n[LLMNotUnderstood], n[LLMResponseGenerated], n[LLMErrorOccurred] = int64(o.LLM.NotUnderstood), int64(o.LLM.ResponseGenerated), int64(o.LLM.ErrorOccurred)
	n[LLMEscalationRequired], n[LLMFallback] = int64(o.LLM.EscalationRequired), int64(o.LLM.Fallback)
	n[Status], n[Resolution] = position(outcome.Statuses, o.Status), position(outcome.Resolutions, o.Resolution)
	n[UnderstoodShare] = Null
	if o.Visitor > 0 {
		n[UnderstoodShare] = int64(math.Round(1e6 * float64(o.Visitor-o.NotUnderstood) / float64(o.Visitor)))
	}
	n[Intents] = int64(len(o.Intents))
	for column, yes := range map[Column]bool{
		IsLLM: o.IsLLM, StatusRecorded: o.StatusRule == outcome.RuleRecorded, ResolutionRecorded: o.ResolutionRule == outcome.RuleRecorded,
		Meaningful: o.Meaningful, Answered: o.Answered, AskedHuman: o.AskedHuman, Transferred: o.Transferred || o.Status.Escalated(), Unfinished: o.Unfinished,
		Confirmed: o.Confirmed, Assumed: o.Assumed, Autonomous: o.Autonomous(),
	} {
		n[column] = bit(yes)
	}
}

func (d *Digest) takeConversation(c *collector.Conversation, votes []Vote) {
	n := &d.Numbers
	n[CloseTime] = Null
	if !c.CloseTime.IsZero() {
		n[CloseTime], n[CloseReason] = c.CloseTime.UnixNano(), position(CloseReasons, c.CloseReason)
	}
	n[TestMode] = bit(c.TestMode)
	for _, v := range votes {
		if v.Vote != collector.VoteNone {
			n[SessionVotes]++
			n[SessionPositive] += bit(v.positive())
		}
	}
}

// positive reports whether a vote on a conversation is: a score of 4 or 5 of 1 to 5, or as high on another scale; a thumb
// where there is no score on a scale.
func (v Vote) positive() bool {
	if s := v.Score; s != nil && s.Max > s.Min {
		return (s.Value-s.Min)/(s.Max-s.Min) >= 0.75
	}
	return v.Vote == collector.VoteUp
}

func (d *Digest) takeMessages(messages []Message, signs []outcome.Sign) {
	n := &d.Numbers
	n[Cost], n[InputTokens], n[OutputTokens], n[FirstResponse] = Null, Null, Null, Null
	var firstUser, question time.Time // when the user asked first, and asked what was not answered yet
	days := map[int64]bool{}
	for i := range messages {
		m := &messages[i]
		switch m.Role {
		case "user":
			if firstUser.IsZero() {
				firstUser = m.Time
			} else {
				n[Rephrasable]++
				n[Rephrased] += bit(signs[i].Has(outcome.SignRephrase))
			}
			if day := floorDay(m.Time.UnixNano()); !days[day] {
				days[day] = true
				d.Samples[Days] = append(d.Samples[Days], day)
			}
			question = m.Time
			n[Edited] += bit(m.Versions > 1)
		case "assistant":
			if !firstUser.IsZero() && n[FirstResponse] == Null && !m.Time.Before(firstUser) {
				n[FirstResponse] = m.Time.Sub(firstUser).Milliseconds()
			}
			d.takeAnswer(m, question)
			question = time.Time{}
		case "human":
			if !question.IsZero() && !m.Time.Before(question) {
				d.Samples[HumanLatencies] = append(d.Samples[HumanLatencies], m.Time.Sub(question).Milliseconds())
			}
			question = time.Time{}
		}
		add(&n[InputTokens], m.Detail.InputTokens)
		add(&n[OutputTokens], m.Detail.OutputTokens)
		if cost := m.Detail.Cost; cost != nil {
			add(&n[Cost], new(int64(math.Round(max(min(*cost, 1e6), -1e6)*1e9))))
		}
	}
}

// takeAnswer counts an assistant message; question is when the user asked, zero where somebody answered since.
func (d *Digest) takeAnswer(m *Message, question time.Time) {
	n := &d.Numbers
	failed := m.Detail.Success != nil && !*m.Detail.Success || m.Detail.Error != "" || m.Detail.Outcome == "error"
	if failed || m.Detail.Success != nil || outcome.Made(m.Detail.Outcome) {
		n[KnownTurns]++
		n[FailedTurns] += bit(failed)
	}
	latency := int64(Null)
	switch {
	case m.Detail.Latency != nil:
		latency = m.Detail.Latency.Milliseconds()
	case !question.IsZero() && !m.Time.Before(question):
		latency = m.Time.Sub(question).Milliseconds()
	}
	if latency != Null {
		sample := Latencies
		if failed {
			sample = FailedLatencies
		}
		d.Samples[sample] = append(d.Samples[sample], latency)
	}
	if first := m.Detail.TimeToFirstToken; first != nil {
		d.Samples[TimesToFirstToken] = append(d.Samples[TimesToFirstToken], first.Milliseconds())
	}
	n[Regenerated] += bit(m.Versions > 1)
	rated := false
	for _, v := range m.Votes {
		n[VotesUp] += bit(v.Vote == collector.VoteUp)
		n[VotesDown] += bit(v.Vote == collector.VoteDown)
		rated = rated || v.Vote != collector.VoteNone
	}
	n[Rated] += bit(rated)
}

// takePauses finds where the conversation stood still, and whether it was resolved by then.
func (d *Digest) takePauses(c *collector.Conversation, messages []collector.Message, kept map[int32]outcome.Sign, opts Options) {
	before := c.StartTime
	for i := range messages {
		m := &messages[i]
		if pause := m.Time.Sub(before); pause >= LeastPause && len(d.Samples[Pauses]) < maxPauses*3 {
			then := outcome.Of(c, messages[:i], outcome.Options{DisableDetector: opts.DisableDetector, Signs: kept})
			d.Samples[Pauses] = append(d.Samples[Pauses], before.Sub(c.StartTime).Milliseconds(), pause.Milliseconds(), bit(then.Autonomous()))
		}
		if m.Time.After(before) {
			before = m.Time
		}
	}
}

// maxPauses is how many pauses a digest remembers, the first ones: of more than these, nobody asks when it went on.
const maxPauses = 32

func groupsOf(c *collector.Conversation, o *outcome.Outcome) Groups {
	g := Groups{Assistant: c.AssistantID, Version: VersionOf(c), Channel: c.Channel, Source: c.Source, Language: c.Language, Labels: c.Labels}
	if n := len(o.Intents); n > 0 {
		g.FirstIntent, g.LastIntent = o.Intents[0].Name, o.Intents[n-1].Name
	}
	var first, last *outcome.Intent
	for i := range o.Intents {
		in := &o.Intents[i]
		if in.NotMeaningful {
			continue
		}
		if first == nil || in.Time.Before(first.Time) {
			first = in
		}
		if last == nil || !in.Time.Before(last.Time) {
			last = in
		}
	}
	if first != nil {
		g.FirstMeaningfulIntent, g.LastMeaningfulIntent = first.Name, last.Name
	}
	return g
}

func position[T comparable](list []T, one T) int64 {
	for i := range list {
		if list[i] == one {
			return int64(i)
		}
	}
	return 0
}

func bit(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

// add adds what is known to a sum.
func add(sum *int64, n *int64) {
	switch {
	case n == nil:
	case *sum == Null:
		*sum = *n
	default:
		*sum += *n
	}
}

// floorDay returns the UTC day of a moment, in days since 1970.
func floorDay(ns int64) int64 {
	const day = int64(24 * time.Hour)
	d := ns / day
	if ns%day < 0 {
		d--
	}
	return d
}
