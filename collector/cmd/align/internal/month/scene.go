package month

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/openalign/align"
)

// This file has the ways in which a conversation can go. What is said comes from the texts, how long it takes and what an
// answer costs from answer.go.

// scene is a conversation being made up.
type scene struct {
	r       *rand.Rand
	month   *Month
	who     *person
	words   texts
	topic   string
	slots   map[string]string
	at      time.Time // the scene's clock: when the next thing happens
	hurried bool      // it is watched: nobody takes long, and nobody comes back tomorrow

	assistant string
	improved  bool // by the release

	told   Conversation
	index  int             // of the last message
	said   time.Time       // when that was
	heard  map[string]bool // all that was said
	asked  string          // the concern, as first put
	about  string          // what it is about
	closed bool
	voted  bool
}

var (
	sizes    = []string{"XS", "S", "M", "L", "XL"}
	carriers = []string{"Parcelo", "Swiftpost", "Hermelin", "DropBird"}
	intents  = map[string]string{
		"order_status": "Order status", "returns": "Return or refund", "delivery": "Change of delivery", "sizes": "Sizes",
		"advice": "Product advice", "complaint": "Complaint", "invoice": "Invoice", "password": "Sign-in",
	}
)

const (
	intentGreeting = "Greeting"
	intentThanks   = "Thanks"
	intentHuman    = "Talk to a human"
	intentOther    = "Small talk"
)

func newScene(r *rand.Rand, m *Month, who *person, at time.Time) *scene {
	s := &scene{r: r, month: m, who: who, words: scripts[who.country.language], at: at.UTC(), improved: m.improved(at), heard: make(map[string]bool)}
	s.told.ID = fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
	// Some topics are more common than others.
	s.topic = topics[min(r.IntN(len(topics)), r.IntN(len(topics)+2))]
	s.assistant = "mira"
	bot := "Mira"
	if s.topic == "invoice" || s.topic == "password" {
		s.assistant, bot = "otto", "Otto"
	}
	s.slots = map[string]string{
		"order":   fmt.Sprintf("TW-%05d", 10000+r.IntN(89999)),
		"invoice": fmt.Sprintf("INV-%d-%05d", at.Year(), r.IntN(99999)),
		"date":    s.day(at.AddDate(0, 0, -2-r.IntN(11))),
		"soon":    s.day(at.AddDate(0, 0, 1+r.IntN(5))),
		"price":   who.country.price(15 + r.ExpFloat64()*45),
		"gift":    who.country.price(9.5),
		"item":    pick(r, s.words.list("items")),
		"city":    pick(r, s.words.list("cities")),
		"agent":   pick(r, s.words.list("first")),
		"size":    pick(r, sizes),
		"carrier": pick(r, carriers),
		"name":    who.called,
		"bot":     bot,
	}
	return s
}

// day writes a date.
func (s *scene) day(t time.Time) string {
	return fill(s.words[common]["date"][0].text, map[string]string{"d": strconv.Itoa(t.Day()), "month": s.words.list("months")[t.Month()-1]})
}

// chance is true in that share of cases.
func (s *scene) chance(share float64) bool { return s.r.Float64() < share }

// play makes up one conversation of whatever kind.
func (s *scene) play() {
	switch x := s.r.Float64(); {
	case x < 0.02:
		s.tryOut()
	case x < 0.05:
		s.greetOnly()
	case x < 0.075:
		s.smallTalk()
	case x < 0.13 || s.who.source == "help desk" && x < 0.5:
		s.ticket()
	default:
		s.open()
		s.concern()
		if s.closed && s.chance(0.07) {
			s.comeBack()
		}
	}
}

// tryOut is somebody of the shop trying whether it works.
func (s *scene) tryOut() {
	s.open(func(session *align.Session) {
		session.TestMode, session.Title, session.Labels = true, "QA", []string{"qa"}
	})
	for range 1 + s.r.IntN(3) {
		s.user(s.say(common, "test"), intentOther)
		s.answer(s.say(common, "lost"), align.OutcomeNotUnderstood)
	}
	s.end(align.SessionEnd{})
}

// greetOnly is somebody who says hello and leaves.
func (s *scene) greetOnly() {
	s.open()
	s.greet()
	s.walkAway()
}

// smallTalk is somebody who wants to see what it says.
func (s *scene) smallTalk() {
	s.open()
	for range 1 + s.r.IntN(3) {
		s.user(s.say(common, "off"), intentOther)
		s.answer(s.say(common, pick(s.r, []string{"lost", "fallback"})), align.OutcomeFallback)
		s.vote(0.2, 0.4)
	}
	if s.chance(0.5) {
		s.walkAway()
		return
	}
	s.end(align.SessionEnd{})
}

// concern is somebody with a question, from the first word to the last.
func (s *scene) concern() {
	if s.chance(0.4) {
		s.greet()
	}
	s.ask()
	understood := 0.78
	if s.improved {
		understood = 0.91
	}
	for try := 1; ; try++ {
		if s.month.down(s.at) && s.chance(0.5) {
			if !s.fail() {
				return
			}
			continue
		}
		if s.chance(understood) {
			break
		}
		if s.chance(0.55) {
			s.answer(s.say(common, "lost"), align.OutcomeNotUnderstood)
		} else {
			s.answer(s.say(common, "fallback"), align.OutcomeFallback)
		}
		s.vote(0.1, 0.1)
		switch {
		case s.chance(0.14):
			s.walkAway()
			return
		case try > 2 || s.chance(0.15):
			s.escalate()
			return
		}
		s.user(s.rephrased(), intents[s.topic])
		understood += 0.1
	}
	if need, _ := s.sayOf(s.topic, "need", s.about); need != "" && s.chance(0.45) {
		s.answer(need, align.OutcomeResponseGenerated)
		if s.chance(0.08) {
			s.walkAway() // at a question
			return
		}
		s.user(s.say(s.topic, "give"), intents[s.topic])
	}
	if !s.solve() {
		return
	}
	s.farewell()
}

// solve answers the concern, well or not. It reports whether that went well.
func (s *scene) solve() bool {
	vague := 0.24
	if s.improved {
		vague = 0.11
	}
	if s.chance(vague) {
		s.answer(s.say(s.topic, "vague"), align.OutcomeFallback)
		s.vote(0.22, 0.15)
		switch x := s.r.Float64(); {
		case x < 0.25:
			s.walkAway()
			return false
		case x < 0.45:
			s.user(s.say(common, "angry"), intents[s.topic])
			s.escalate()
			return false
		}
		s.user(s.rephrased(), intents[s.topic])
	}
	s.solution()
	if s.chance(0.03) { // asked for another answer to the same
		s.index--
		s.solution()
	}
	s.vote(0.16, s.liked())
	for more := 0.5; s.chance(more); more /= 2 {
		question, about := s.sayOf(s.topic, "follow", "")
		s.user(question, intents[s.topic])
		if s.month.down(s.at) && s.chance(0.4) && !s.fail() {
			return false
		}
		then, _ := s.sayOf(s.topic, "then", about)
		s.answer(then, align.OutcomeResponseGenerated)
		s.vote(0.08, s.liked())
	}
	if s.topic == "complaint" && s.chance(0.3) {
		s.escalate()
		return false
	}
	return true
}

// solution is the answer to the concern.
func (s *scene) solution() {
	text, _ := s.sayOf(s.topic, "answer", s.about)
	s.answer(text, align.OutcomeResponseGenerated)
}

// liked is the share of thumbs up for good answers.
func (s *scene) liked() float64 {
	if s.improved {
		return 0.93
	}
	return 0.84
}

// farewell ends a conversation that went well.
func (s *scene) farewell() {
	if s.chance(0.62) {
		s.user(s.say(common, "thanks"), intentThanks)
		if s.chance(0.85) {
			s.answer(s.say(common, "bye"), align.OutcomeResponseGenerated)
		}
	}
	s.voteOnAll(0.14, s.liked())
	if s.chance(0.3) {
		s.walkAway()
		return
	}
	end := align.SessionEnd{Completed: new(true)}
	if s.chance(0.6) {
		end.Status = align.StatusBotHandled
		end.Resolution = pick(s.r, []align.Resolution{align.ResolutionInformed, align.ResolutionInformed, align.ResolutionResolved})
	}
	s.end(end)
}

// fail is an answer that was none. It reports whether the user asked again; else they left.
func (s *scene) fail() bool {
	s.answer(s.say(common, "failed"), align.OutcomeError)
	s.vote(0.15, 0.02)
	switch x := s.r.Float64(); {
	case x < 0.35 || s.who.patient < 0.3:
		s.walkAway()
		return false
	case x < 0.45:
		s.user(s.say(common, "nudge"), intents[s.topic])
		s.walkAway() // and nobody answered that
		return false
	}
	s.user(s.rephrased(), intents[s.topic])
	return true
}

// escalate is a human being asked for.
func (s *scene) escalate() {
	s.user(s.say(common, "human"), intentHuman)
	s.answer(s.say(common, "handing"), align.OutcomeEscalationRequired)
	office := s.at.Add(s.who.country.offset).Hour()
	if office < 8 || office > 19 || s.chance(0.15) {
		s.answer(s.say(common, "nobody"), align.OutcomeEscalationRequired)
		s.vote(0.2, 0.1)
		status := align.StatusFailedEscalation
		if s.chance(0.5) {
			status = align.StatusEmail
		}
		s.end(align.SessionEnd{Status: status, Resolution: align.ResolutionUndefined, Transfer: new(false), Completed: new(false)})
		return
	}
	if s.chance(0.3) && !s.hurried { // elsewhere: what is said there is not recorded here
		s.end(align.SessionEnd{Reason: align.CloseTransfer, Status: align.StatusAgent, Resolution: align.ResolutionEscalated, Transfer: new(true)})
		return
	}
	s.wait(90 * time.Second)
	s.message(align.RoleSystem, s.say(common, "joined"), nil, nil)
	s.colleague("agent_hi")
	if s.chance(0.5) {
		s.user(s.say(s.topic, "give"), intents[s.topic])
	}
	s.colleague("agent_fix")
	s.vote(0.25, 0.9)
	if s.chance(0.7) {
		s.user(s.say(common, "thanks"), intentThanks)
	}
	s.voteOnAll(0.2, 0.8)
	s.end(align.SessionEnd{Status: align.StatusAgent, Resolution: pick(s.r, []align.Resolution{align.ResolutionResolved, align.ResolutionEscalated}), Transfer: new(true), Completed: new(true)})
}

// ticket is a conversation that takes its time: days, mostly.
func (s *scene) ticket() {
	s.assistant = "help-desk"
	s.open(func(session *align.Session) { session.Channel = align.ChannelTicket })
	s.ask()
	s.colleague("agent_hi")
	for range 1 + s.r.IntN(3) {
		s.pause(2*time.Hour, 30*time.Hour)
		s.awake(7, 22)
		s.user(s.say(s.topic, pick(s.r, []string{"give", "follow"})), intents[s.topic])
		s.pause(time.Hour, 20*time.Hour)
		s.awake(8, 18)
		s.colleague("agent_fix")
	}
	s.vote(0.2, 0.85)
	s.voteOnAll(0.25, 0.8)
	s.end(align.SessionEnd{Status: align.StatusAgent, Resolution: align.ResolutionResolved, Transfer: new(true), Completed: new(true)})
}

// comeBack opens a conversation again that was over.
func (s *scene) comeBack() {
	s.pause(5*time.Hour, 4*24*time.Hour)
	s.open()
	s.user(s.say(common, "back"), intents[s.topic])
	s.answer(s.say(common, "back_bot"), align.OutcomeResponseGenerated)
	s.vote(0.2, 0.6)
	s.farewell()
}

// open opens the session.
func (s *scene) open(changes ...func(*align.Session)) {
	session := &align.Session{
		ID: s.told.ID, UserID: s.who.user.ID, AssistantID: s.assistant,
		Title:    s.say(s.topic, "title"),
		Channel:  align.ChannelChat,
		Source:   s.who.source,
		Language: s.who.country.tag,
		Labels:   []string{s.topic},
		Properties: align.Properties{
			"release": s.release(), "page": pick(s.r, []string{"/", "/orders", "/help", "/account", "/basket", "/product"}),
			"device": pick(s.r, []string{"phone", "phone", "phone", "desktop", "desktop", "tablet"}),
		},
		Data: map[string]any{align.DataAgentVersion: s.assistant + " " + s.release()},
	}
	if s.who.user.Properties["plan"] == "vip" {
		session.Labels = append(session.Labels, "vip")
	}
	for _, change := range changes {
		change(session)
	}
	s.add(align.Event{Type: align.EventOpenSession, Session: session})
	s.closed = false
}

// release is the version that answers.
func (s *scene) release() string {
	switch {
	case s.assistant == "help-desk":
		return "1.0"
	case s.assistant == "otto" && s.improved:
		return "1.9"
	case s.assistant == "otto":
		return "1.8"
	case s.improved:
		return "2.4"
	}
	return "2.3"
}

func (s *scene) greet() {
	s.user(s.say(common, "hello"), intentGreeting)
	s.answer(s.say(common, "hello_bot"), align.OutcomeResponseGenerated)
}

// ask puts the concern, for the first time.
func (s *scene) ask() {
	s.asked, s.about = s.sayOf(s.topic, "ask", "")
	s.user(s.asked, intents[s.topic])
	if s.chance(0.03) { // and changes a word of it
		s.index--
		s.user(s.asked+" "+s.slots["order"], intents[s.topic])
	}
}

// rephrased is the concern, put again.
func (s *scene) rephrased() string {
	s.slots["ask"] = s.asked
	return s.say(common, "again")
}

// say says something in the user's language.
func (s *scene) say(section, key string) string {
	text, _ := s.sayOf(section, key, "")
	return text
}

// sayOf says something that goes with what it is about, and returns what it turned out to be about. Nothing fits where it
// returns nothing. What was said before in this conversation is said again only where there is nothing else.
func (s *scene) sayOf(section, key, about string) (text, of string) {
	ways := s.words.fitting(section, key, about)
	if len(ways) == 0 {
		return "", ""
	}
	gist := ""
	for range 6 {
		w := pick(s.r, ways)
		text, of = tidy(fill(choose(s.r, w.text), s.slots)), w.about
		if gist = text; key == "follow" {
			gist = w.about // nobody asks the same in other words
		}
		if !s.heard[gist] {
			break
		}
	}
	s.heard[gist] = true
	return text, of
}

// user is something the user says, after a while of thinking and typing.
func (s *scene) user(text, intent string) {
	s.wait(6*time.Second + time.Duration(len(text))*120*time.Millisecond)
	notMeaningful := intent == intentGreeting || intent == intentThanks || intent == intentOther
	s.message(align.RoleUser, s.typed(text), &align.Intent{Name: intent, NotMeaningful: notMeaningful}, nil)
}

// typed is a text as people type it.
func (s *scene) typed(text string) string {
	switch x := s.r.Float64(); {
	case x < 0.15:
		runes := []rune(text)
		if unicode.IsUpper(runes[0]) && len(runes) > 1 && unicode.IsLower(runes[1]) {
			runes[0] = unicode.ToLower(runes[0])
		}
		return strings.TrimRight(string(runes), ".!。")
	case x < 0.18: // two letters the wrong way round
		runes := []rune(text)
		if i := 1 + s.r.IntN(max(len(runes)-2, 1)); i+1 < len(runes) && unicode.IsLower(runes[i]) && unicode.IsLower(runes[i+1]) {
			runes[i], runes[i+1] = runes[i+1], runes[i]
		}
		return string(runes)
	case x < 0.22:
		return text + " " + pick(s.r, []string{"😊", "🙈", "🤷", "😬", "📦", "❤️", "👀"})
	}
	return text
}

// colleague is something a human on the shop's side says.
func (s *scene) colleague(key string) {
	s.wait(time.Minute)
	s.message(align.RoleHuman, s.say(common, key), nil, nil)
}

// message is the next one.
func (s *scene) message(role align.Role, text string, intent *align.Intent, generation *align.Generation) {
	s.index++
	s.said, s.closed, s.voted = s.at, false, false
	s.add(align.Event{Type: align.EventCreateMessage, Message: &align.Message{
		SessionID: s.told.ID, Index: s.index, Role: role, Content: text, Intent: intent, Generation: generation,
	}})
}

// vote is a thumb on the last message, in a share of cases, and up in a share of those.
func (s *scene) vote(share, up float64) {
	if s.month.down(s.at) {
		up /= 2
	}
	if s.voted || !s.chance(share*1.3) {
		return
	}
	s.wait(5 * time.Second)
	thumb := align.ThumbsDown
	if s.chance(up) {
		thumb = align.ThumbsUp
	}
	vote := align.MessageFeedback{SessionID: s.told.ID, Index: s.index, Type: thumb}
	s.opinion(thumb, &vote.Comment, &vote.Reasons)
	s.add(align.Event{Type: align.EventFeedback, MessageFeedback: &vote})
	s.voted = true
	if s.chance(0.06) { // a change of mind
		s.wait(4 * time.Second)
		other := align.MessageFeedback{SessionID: s.told.ID, Index: s.index, Type: pick(s.r, []align.FeedbackType{align.ThumbsUp, align.ThumbsNone})}
		s.add(align.Event{Type: align.EventFeedback, MessageFeedback: &other})
	}
}

// voteOnAll is a vote on the whole session, with stars.
func (s *scene) voteOnAll(share, up float64) {
	if !s.chance(share) {
		return
	}
	s.wait(8 * time.Second)
	thumb, stars := align.ThumbsDown, 1+s.r.IntN(3)
	if s.chance(up) {
		thumb, stars = align.ThumbsUp, 4+s.r.IntN(2)
	}
	vote := align.SessionFeedback{SessionID: s.told.ID, Type: thumb}
	if s.chance(0.7) {
		vote.Score = align.Score{Value: float64(stars), Min: 1, Max: 5}
	}
	s.opinion(thumb, &vote.Comment, &vote.Reasons)
	s.add(align.Event{Type: align.EventFeedback, SessionFeedback: &vote})
}

// opinion says why somebody voted so. Who is unhappy says more.
func (s *scene) opinion(thumb align.FeedbackType, comment *string, reasons *[]string) {
	if thumb == align.ThumbsUp {
		if s.chance(0.2) {
			*comment = s.say(common, "good")
		}
		return
	}
	if s.chance(0.45) {
		*comment = s.say(common, "bad")
	}
	if s.chance(0.6) {
		*reasons = append(*reasons, pick(s.r, []string{"not helpful", "wrong", "did not understand", "too slow", "too long"}))
	}
}

// walkAway is nobody saying anything more: the session closes as idle, when its time has come. In a scene that is watched
// the client sees to that.
func (s *scene) walkAway() {
	if s.hurried || s.closed {
		return
	}
	s.at = s.said.Add(IdleTimeout)
	s.add(align.Event{Type: align.EventCloseSession, SessionEnd: &align.SessionEnd{SessionID: s.told.ID, Reason: align.CloseIdle, EndTime: s.said}})
	s.closed = true
}

// end closes the session.
func (s *scene) end(end align.SessionEnd) {
	s.wait(4 * time.Second)
	end.SessionID, end.EndTime = s.told.ID, s.said
	s.add(align.Event{Type: align.EventCloseSession, SessionEnd: &end})
	s.closed = true
}

// wait lets about that much time pass.
func (s *scene) wait(about time.Duration) {
	d := time.Duration(float64(about) * (0.5 + s.r.ExpFloat64()*0.7))
	d = min(d, IdleTimeout/3)
	if s.hurried {
		d = min(d, 9*time.Second)
	}
	s.at = s.at.Add(d.Round(time.Millisecond))
}

// pause lets hours or days pass, in which the session falls quiet.
func (s *scene) pause(least, most time.Duration) {
	resume := s.at.Add(least + time.Duration(s.r.Float64()*float64(most-least))).Truncate(time.Millisecond)
	s.walkAway()
	s.at = resume
}

// awake lets time pass until the user's clock is between two hours.
func (s *scene) awake(from, to int) {
	for {
		if h := s.at.Add(s.who.country.offset).Hour(); h >= from && h < to {
			return
		}
		s.at = s.at.Add(time.Hour)
	}
}

// add makes something happen now, and time go on.
func (s *scene) add(e align.Event) {
	if e.User != nil { // the caller's stays as it is
		user := *e.User
		user.Properties = maps.Clone(user.Properties)
		e.User = &user
	}
	s.told.Events = append(s.told.Events, Event{s.at, e})
	s.at = s.at.Add(time.Millisecond)
}
