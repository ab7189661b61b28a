// Package worlds makes up projects for tests of numbers: conversations of all kinds over some weeks, as facts. The same seed
// gives the same world.
//
// Every world has conversations that are reopened after hours or days, go on over midnight, are in test mode, have no user
// message or no message at all, or of which an app records nothing, everything, or words that nobody knows.
package worlds

import (
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// Start is when worlds begin, and Days how many days conversations start on.
var Start = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

const Days = 40

type (
	properties = ingestionv1alpha.EventProperties
	session    = ingestionv1alpha.EventProperties_SessionProperties
	message    = ingestionv1alpha.EventProperties_MessageProperties
	feedback   = ingestionv1alpha.EventProperties_FeedbackProperties
	custom     = ingestionv1alpha.EventProperties_CustomPropertyValue
)

// maker makes the facts of one conversation.
type maker struct {
	r     *rand.Rand
	id    string
	facts []collector.Fact
	at    time.Time
	index int32
	n     int
}

// Facts calls yield with the facts of each of so many conversations, in the order of their starts.
func Facts(seed uint64, conversations int, yield func([]collector.Fact) error) error {
	for i := range conversations {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		m := &maker{r: r, id: fmt.Sprintf("w%d-%07d", seed, i)}
		span := Days * 24 * time.Hour
		m.at = Start.Add(span / time.Duration(conversations) * time.Duration(i)).Add(time.Duration(r.IntN(1000)) * time.Millisecond)
		m.conversation(i, conversations)
		if err := yield(m.facts); err != nil {
			return err
		}
	}
	return nil
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (m *maker) chance(percent int) bool { return m.r.IntN(100) < percent }

func (m *maker) wait(most time.Duration) { m.at = m.at.Add(time.Duration(m.r.Int64N(int64(most)))) }

func (m *maker) fact(kind string, p *properties) {
	m.n++
	id := fmt.Sprintf("%s-%03d", m.id, m.n)
	e := &ingestionv1alpha.Event{Id: id, Type: kind, CreateTime: timestamppb.New(m.at), Properties: p}
	m.facts = append(m.facts, collector.Fact{ID: id, Event: e, Time: m.at, ReceiveTime: m.at})
}

func (m *maker) session(kind string, s *session, custom map[string]*custom) {
	s.SessionId = m.id
	m.fact(kind, &properties{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: s}, CustomProperties: custom})
}

func (m *maker) message(msg *message) {
	m.index++
	msg.SessionId, msg.MessageIndexHint, msg.MessageCreateTime = m.id, m.index, timestamppb.New(m.at)
	m.fact(collector.TypeMessageCreate, &properties{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: msg}})
}

func (m *maker) vote(f *feedback) {
	f.SessionId = m.id
	m.fact(collector.TypeFeedbackCreate, &properties{ReservedProperties: &ingestionv1alpha.EventProperties_FeedbackProperties_{FeedbackProperties: f}})
}

var (
	questions = []string{"Where is my order %d?", "I want to return item %d", "How do I reset my password", "can I change the delivery address", "배송은 언제 오나요", "¿Dónde está mi pedido?", "注文はどこですか", "What does plan %d cost a month", "the app crashes when I open it"}
	answers   = []string{"It left our house on Monday.", "You can do that in your account.", "Please tell me your number?", "I am sorry, could you say that in other words?", "That costs 9 euros a month.", "배송은 내일입니다.", "Is there anything else I can help you with?"}
	closings  = []string{"Thanks a lot!", "thank you", "ok great", "Vielen Dank", "감사합니다", "no that's all, thanks"}
)

func (m *maker) conversation(i, all int) {
	r := m.r
	user := ""
	if !m.chance(8) {
		user = fmt.Sprintf("user-%d", r.IntN(max(all/4, 1)))
	}
	if user != "" && m.chance(20) {
		m.fact(collector.TypeUserRecognize, &properties{ReservedProperties: &ingestionv1alpha.EventProperties_UserProperties_{
			UserProperties: &ingestionv1alpha.EventProperties_UserProperties{UserId: user,
				UserLocation: &ingestionv1alpha.EventProperties_UserProperties_Location{CountryCode: pick(r, "KR", "SE", "DE")},
				Company:      &ingestionv1alpha.EventProperties_UserProperties_Company{Id: pick(r, "", "acme", "globex")}}}})
	}
	open := &session{UserId: user, AssistantId: pick(r, "support", "sales", "DEFAULT"), Channel: pick(r, "chat", "chat", "ticket", ""),
		Source: pick(r, "web", "app", ""), Language: pick(r, "en", "ko", "de", ""), TestMode: m.chance(5)}
	if m.chance(30) {
		open.Labels = pick(r, []string{"vip"}, []string{"vip", "refund"}, []string{"refund"}, []string{"custom escalation"}, []string{"email"})
	}
	var version map[string]*custom
	if m.chance(70) {
		version = map[string]*custom{"agent_version": {StringValue: pick(r, "1.4", "1.5")}}
	} else if m.chance(50) {
		open.Data = pick(r, `{"agentVersion":"1.5","cart":{"items":2}}`, `{"cart":1}`)
	}
	m.session(collector.TypeSessionOpen, open, version)
	kind := r.IntN(100)
	switch {
	case kind < 4: // opened, and nothing
	case kind < 10: // the assistant greets, and nobody answers
		m.wait(time.Second)
		m.message(&message{MessageRole: ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT, MessageContent: "Hello! How can I help?"})
	default:
		m.talk(1 + r.IntN(6))
	}
	for m.chance(12) { // it is taken up again, after minutes, hours or days
		m.end()
		m.at = m.at.Add(pick(r, 20*time.Minute, 31*time.Minute, 5*time.Hour, 26*time.Hour, 9*24*time.Hour))
		m.talk(1 + r.IntN(3))
	}
	m.end()
	if m.chance(12) {
		m.wait(time.Hour)
		f := &feedback{FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION, Type: pick(r, "thumbs_up", "thumbs_down", "thumbs_up", "")}
		if m.chance(50) {
			f.Score, f.ScoreMin, f.ScoreMax = proto.Float64(float64(1+r.IntN(5))), 1, 5
		}
		m.vote(f)
	}
	if m.chance(10) {
		m.session(collector.TypeSessionUpdate, &session{LastResolution: pick(r, "informed", "resolved", "undefined", "escalated", "whatever"), Language: pick(r, "", "en")}, nil)
	}
}

// talk is some turns.
func (m *maker) talk(turns int) {
	r := m.r
	for range turns {
		m.wait(4 * time.Minute)
		text := pick(r, questions...)
		if m.chance(10) {
			text = pick(r, "hi", "Guten Tag", "안녕하세요")
		}
		if m.chance(3) {
			text = "I want to talk to a human"
		}
		ask := &message{MessageRole: ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER, MessageContent: format(text, r)}
		if m.chance(40) {
			ask.Intent = &ingestionv1alpha.EventProperties_MessageProperties_Intent{Name: pick(r, "Order status", "Refund", "Greeting", "Talk to a human/agent", "Password"), NotMeaningful: m.chance(10)}
		}
		m.message(ask)
		asked := m.index
		if m.chance(4) {
			m.at = m.at.Add(time.Second)
			m.index = asked - 1 // edited
			m.message(&message{MessageRole: ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER, MessageContent: format(text, r) + " (corrected)", Intent: ask.Intent})
		}
		if m.chance(5) {
			continue // nobody answers
		}
		m.wait(20 * time.Second)
		if m.chance(2) {
			m.message(&message{MessageRole: ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT,
				ExtendedRole: ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_HUMAN, MessageContent: "This is Eve, let me see."})
			continue
		}
		m.answer()
	}
	if m.chance(25) {
		m.wait(time.Minute)
		m.message(&message{MessageRole: ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER, MessageContent: pick(r, closings...)})
	}
}

func format(text string, r *rand.Rand) string {
	for i := range len(text) - 1 {
		if text[i:i+2] == "%d" {
			return text[:i] + fmt.Sprint(1000+r.IntN(50)) + text[i+2:]
		}
	}
	return text
}

func (m *maker) answer() {
	r := m.r
	a := &message{MessageRole: ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT, MessageContent: pick(r, answers...)}
	if m.chance(60) { // a model, of which something is known
		a.Model = pick(r, "m1", "m2")
		a.Outcome = pick(r, "", "", "response_generated", "response_generated", "response_generated", "not_understood", "fallback", "error", "escalation_required", "whatever")
		if m.chance(70) {
			a.Latency = durationpb.New(time.Duration(200+r.IntN(9000)) * time.Millisecond)
			a.TimeToFirstToken = durationpb.New(time.Duration(r.IntN(900)) * time.Millisecond)
			a.InputTokens, a.OutputTokens = proto.Int64(int64(r.IntN(2000))), proto.Int64(int64(r.IntN(400)))
			a.Cost = proto.Float64(float64(r.IntN(9000)) / 1e6)
		}
		if m.chance(70) {
			a.Success = proto.Bool(a.Outcome != "error" && !m.chance(3))
		}
	}
	m.message(a)
	if m.chance(3) { // answered again
		m.index--
		m.at = m.at.Add(time.Second)
		again := proto.CloneOf(a)
		again.MessageContent += " Again."
		m.message(again)
	}
	for m.chance(14) {
		m.at = m.at.Add(time.Second)
		m.vote(&feedback{FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE, MessageIndexHint: m.index,
			Type: pick(r, "thumbs_up", "thumbs_up", "thumbs_down", ""), UserId: pick(r, "", "", "ada")})
	}
}

// end closes the conversation, or does not.
func (m *maker) end() {
	r := m.r
	if m.chance(50) {
		return
	}
	m.wait(time.Minute)
	s := &session{CloseReason: ingestionv1alpha.EventProperties_SessionProperties_CloseReason(r.IntN(4))}
	if m.chance(3) {
		s.CloseReason = ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_TRANSFER
	}
	if m.chance(25) {
		s.Outcome = pick(r, "botHandled", "bot_handled", "email", "agent", "customEscalation", "failedEscalation", "NULL", "noStatus")
	}
	if m.chance(20) {
		s.LastResolution = pick(r, "informed", "resolved", "escalated", "undefined")
	}
	if m.chance(20) {
		s.Transfer, s.Completed = pick(r, nil, proto.Bool(true), proto.Bool(false)), pick(r, nil, proto.Bool(true), proto.Bool(false))
	}
	m.session(collector.TypeSessionClose, s, nil)
}

// Append stores a world, in requests of some hundred facts.
func Append(seed uint64, conversations int, store func(collector.Batch) error) error {
	var batch collector.Batch
	err := Facts(seed, conversations, func(facts []collector.Fact) error {
		if batch.Facts = append(batch.Facts, facts...); len(batch.Facts) < 2000 {
			return nil
		}
		err := store(batch)
		batch = collector.Batch{}
		return err
	})
	if err != nil || len(batch.Facts) == 0 {
		return err
	}
	return store(batch)
}
