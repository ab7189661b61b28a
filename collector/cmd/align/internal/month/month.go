// Package month makes up a month of a shop's chat assistants: who came, what was said, how it went. The same seed, end and
// size give the same month. The shop, its people and all they say are invented.
package month

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/openalign/align"
)

// Length is how long a month is, and IdleTimeout after which silence a session in it is closed.
const (
	Length      = 30 * 24 * time.Hour
	IdleTimeout = align.DefaultIdleTimeout
)

// Month is a month of conversations.
type Month struct {
	// From and To are its beginning and end. Nothing happens outside, but that some people signed up before.
	From, To time.Time
	// Release is when the assistants got better.
	Release time.Time
	// OutageFrom and OutageTo are when something the assistants depend on was down.
	OutageFrom, OutageTo time.Time
	// Conversations are in the order of their beginnings.
	Conversations []Conversation

	people []*person
	live   *rand.Rand
}

// Conversation is one session with all that was recorded of it.
type Conversation struct {
	ID     string
	Events []Event // in order of time
}

// Summary says in a line whose conversation it is, with which assistant, and what about.
func (c *Conversation) Summary() string {
	var who, where, assistant, title string
	for _, e := range c.Events {
		switch {
		case e.User != nil:
			who, where = e.User.DisplayName, e.User.CountryCode
		case e.Session != nil:
			assistant, title = e.Session.AssistantID, e.Session.Title
		}
	}
	return fmt.Sprintf("%s (%s) and %s: %s", who, where, assistant, title)
}

// Event is something that happened, and when.
type Event struct {
	At time.Time
	align.Event
}

// Record records the event as of when it happened.
func (e *Event) Record(ctx context.Context, client *align.Client) error {
	ctx = align.WithTime(ctx, e.At)
	switch {
	case e.User != nil:
		return client.IdentifyUser(ctx, *e.User)
	case e.Session != nil:
		return client.OpenSession(ctx, *e.Session)
	case e.Message != nil:
		return client.CreateMessage(ctx, *e.Message)
	case e.MessageFeedback != nil:
		return client.CreateMessageFeedback(ctx, *e.MessageFeedback)
	case e.SessionFeedback != nil:
		return client.CreateSessionFeedback(ctx, *e.SessionFeedback)
	}
	return client.CloseSession(ctx, *e.SessionEnd)
}

// New makes up the month that ends at to, with that many conversations.
func New(seed uint64, to time.Time, conversations int) *Month {
	to = to.UTC().Truncate(time.Millisecond)
	m := &Month{From: to.Add(-Length), To: to, live: rand.New(rand.NewPCG(seed, 1))}
	midnight := to.Truncate(24 * time.Hour)
	m.Release = midnight.Add(-14*24*time.Hour + 9*time.Hour)
	m.OutageFrom = midnight.Add(-9*24*time.Hour + 7*time.Hour)
	m.OutageTo = m.OutageFrom.Add(10 * time.Hour)

	r := rand.New(rand.NewPCG(seed, 2))
	for n := range max(conversations/7, 12) {
		m.people = append(m.people, newPerson(r, n, m.From, m.To))
	}
	type visit struct {
		who *person
		at  time.Time
	}
	visits := make([]visit, conversations)
	for i := range visits {
		who := m.someone(r)
		visits[i] = visit{who, m.someTime(r, who)}
	}
	slices.SortStableFunc(visits, func(a, b visit) int { return a.at.Compare(b.at) })
	known := make(map[*person]bool)
	for i, v := range visits {
		s := newScene(rand.New(rand.NewPCG(seed, uint64(i)+3)), m, v.who, v.at)
		if !known[v.who] {
			known[v.who] = true
			s.add(align.Event{Type: align.EventIdentify, User: &v.who.user})
		}
		s.play()
		m.Conversations = append(m.Conversations, s.until(to))
	}
	return m
}

// Live makes up one more conversation, which begins at now and takes about a minute. It must not be called concurrently.
func (m *Month) Live(now time.Time) Conversation {
	s := newScene(m.live, m, m.someone(m.live), now)
	s.hurried = true
	s.add(align.Event{Type: align.EventIdentify, User: &s.who.user})
	s.open()
	s.concern()
	return s.told
}

// someone returns a person: some come more often than others.
func (m *Month) someone(r *rand.Rand) *person {
	return m.people[int(math.Pow(r.Float64(), 1.3)*float64(len(m.people)))]
}

// Shares of a day's hours and a week's days, Sunday first, of the busiest one.
var (
	hours = [24]float64{0.1, 0.06, 0.04, 0.03, 0.03, 0.06, 0.15, 0.35, 0.6, 0.8, 0.95, 0.9, 0.75, 0.7, 0.75, 0.75, 0.7, 0.7, 0.8, 0.95, 1, 0.85, 0.5, 0.25}
	days  = [7]float64{0.55, 1, 0.92, 0.85, 0.82, 0.75, 0.5}
)

// someTime returns when in the month somebody comes: by day, by week, and more towards its end.
func (m *Month) someTime(r *rand.Rand, who *person) time.Time {
	from := m.From
	if who.user.CreateTime.After(from) {
		from = who.user.CreateTime
	}
	for {
		t := from.Add(time.Duration(r.Float64() * float64(m.To.Sub(from))))
		local := t.Add(who.country.offset)
		growth := 0.8 + 0.2*float64(t.Sub(m.From))/float64(Length)
		if r.Float64() < hours[local.Hour()]*days[local.Weekday()]*growth {
			return t.Truncate(time.Millisecond)
		}
	}
}

// improved reports whether the better release answers at t, and down whether something is broken then.
func (m *Month) improved(t time.Time) bool { return !t.Before(m.Release) }
func (m *Month) down(t time.Time) bool     { return !t.Before(m.OutageFrom) && t.Before(m.OutageTo) }

// Tally is what a month comes to.
type Tally struct {
	Events, Users, Sessions int
	Messages                int // at different indexes
	Up, Down                int // current votes, on messages and sessions
	IdleCloses              int // sessions that ended because nobody said anything more
}

// Tally counts what all conversations come to.
func (m *Month) Tally() (t Tally) {
	users := make(map[string]bool)
	for _, c := range m.Conversations {
		t.Events += len(c.Events)
		t.Sessions++
		messages := make(map[int]bool)
		votes := make(map[int]align.FeedbackType) // by index; 0 is the session
		idle := false
		for _, e := range c.Events {
			switch {
			case e.User != nil:
				users[e.User.ID] = true
			case e.Session != nil:
				users[e.Session.UserID] = true
				idle = false
			case e.Message != nil:
				messages[e.Message.Index] = true
				idle = false
			case e.MessageFeedback != nil:
				votes[e.MessageFeedback.Index] = e.MessageFeedback.Type
			case e.SessionFeedback != nil:
				votes[0] = e.SessionFeedback.Type
			case e.SessionEnd != nil:
				idle = e.SessionEnd.Reason == align.CloseIdle
			}
		}
		t.Messages += len(messages)
		for _, vote := range votes {
			switch vote {
			case align.ThumbsUp:
				t.Up++
			case align.ThumbsDown:
				t.Down++
			}
		}
		if idle {
			t.IdleCloses++
		}
	}
	t.Users = len(users)
	return t
}

// until returns the conversation as far as it has come by then. What has not happened yet is left out: it is still open.
func (s *scene) until(then time.Time) Conversation {
	n, _ := slices.BinarySearchFunc(s.told.Events, then, func(e Event, t time.Time) int {
		return cmp.Or(e.At.Compare(t), -1) // what happens at that moment has
	})
	return Conversation{s.told.ID, s.told.Events[:n]}
}
