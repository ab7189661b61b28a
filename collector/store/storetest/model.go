package storetest

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// views is all that a project shows.
type views struct {
	Conversations []collector.Conversation
	Messages      map[string][]collector.Message // by conversation
	Users         map[string]collector.User
	Totals        collector.Totals
}

// model derives the views the plain way, to compare stores with: it sorts all facts by their order, drops repetitions,
// and goes through them once. Nothing in it is fast, and nothing arrives late.
func model(facts []collector.Fact) views {
	facts = slices.Clone(facts)
	order := func(f collector.Fact) collector.Order { return collector.Order{Time: f.Time, ID: f.ID} }
	slices.SortFunc(facts, func(a, b collector.Fact) int { return order(a).Compare(order(b)) })
	facts = slices.CompactFunc(facts, func(a, b collector.Fact) bool { return a.ID == b.ID })

	m := modeller{sessions: map[string]*modelSession{}, users: map[string]*collector.User{}, votes: map[modelVoter]modelVote{}}
	for i, f := range facts {
		props := f.Event.GetProperties()
		switch f.Event.GetType() {
		case "session_open":
			m.open(f, props.GetSessionProperties())
			m.ends(i, props.GetSessionProperties())
		case "session_close":
			m.closed(f, props.GetSessionProperties())
			m.ends(i, props.GetSessionProperties())
		case "session_update":
			m.updated(f, props.GetSessionProperties())
		case "message_create":
			m.message(i, f, props.GetMessageProperties())
		case "user_recognize":
			m.user(f, props.GetUserProperties())
		case "feedback_create":
			m.feedback(i, props.GetFeedbackProperties())
		}
	}
	return m.views(len(facts))
}

type modelSession struct {
	collector.Conversation
	activity, ends, closes []time.Time
	updates                []time.Time
	tags                   map[string]bool
	messages               map[int64]*modelMessage
	end                    *int32 // how many numbered messages there are, as of the event at endAt
	endAt                  int
}

type modelMessage struct {
	collector.Message
	versions map[[2]string]map[string]string // properties by role and content
	details  map[[2]string]collector.Detail
	at       int // place of its last event in the order
	turn     int64
}

type modelVoter struct {
	session string
	index   int64 // or a turn's number, negative
	voter   string
}

type modelVote struct {
	at      int // place in the order
	vote    collector.Vote
	comment string
	reasons []string
	score   *collector.Score
}

type modeller struct {
	sessions map[string]*modelSession
	users    map[string]*collector.User
	votes    map[modelVoter]modelVote
}

func (m *modeller) session(id string) *modelSession {
	if m.sessions[id] == nil {
		m.sessions[id] = &modelSession{Conversation: collector.Conversation{ID: id}, messages: map[int64]*modelMessage{}, tags: map[string]bool{}}
	}
	return m.sessions[id]
}

func (m *modeller) open(f collector.Fact, p *sessionProperties) {
	s := m.session(p.SessionId)
	s.UserID = cmp.Or(s.UserID, p.UserId)
	s.name(p)
	s.describe(p)
	override(&s.Properties, f)
	s.activity = append(s.activity, given(p.SessionStartTime, f.Time))
	if p.UserId != "" && m.users[p.UserId] == nil {
		m.users[p.UserId] = &collector.User{ID: p.UserId}
	}
}

// name takes what openings and updates may say.
func (s *modelSession) name(p *sessionProperties) {
	s.AssistantID, s.Title = cmp.Or(p.AssistantId, s.AssistantID), cmp.Or(p.SessionTitle, s.Title)
}

// describe takes what all events of a session may say.
func (s *modelSession) describe(p *sessionProperties) {
	for field, value := range map[*string]string{&s.Source: p.Source, &s.Channel: p.Channel, &s.Language: p.Language, &s.Status: p.Outcome, &s.Resolution: p.LastResolution, &s.Data: p.Data} {
		*field = cmp.Or(value, *field)
	}
	if p.Transfer != nil {
		s.Transfer = p.Transfer
	}
	if p.Completed != nil {
		s.Completed = p.Completed
	}
	if len(p.Labels) > 0 {
		s.Labels = p.Labels
	}
	s.TestMode = s.TestMode || p.TestMode
}

func (m *modeller) updated(f collector.Fact, p *sessionProperties) {
	s := m.session(p.SessionId)
	for _, field := range p.Cleared {
		if of := map[string]*string{"session_title": &s.Title, "source": &s.Source, "data": &s.Data}[field]; of != nil {
			*of = ""
		}
	}
	s.name(p)
	s.describe(p)
	override(&s.Properties, f)
	s.updates = append(s.updates, f.Time)
	if p.RunId != "" {
		return // no view of runs here
	}
	for _, tag := range p.TagsRemoved {
		delete(s.tags, tag)
	}
	for _, tag := range p.TagsAdded {
		s.tags[tag] = true
	}
}

func (m *modeller) closed(f collector.Fact, p *sessionProperties) {
	s := m.session(p.SessionId)
	s.describe(p)
	override(&s.Properties, f)
	end := given(p.SessionEndTime, f.Time)
	s.closes = append(s.closes, end)
	if p.SessionEndTime != nil {
		s.ends = append(s.ends, end)
	}
	reason, speaksFor := collector.CloseExplicit, slices.MaxFunc([]time.Time{f.Time, end}, time.Time.Compare)
	switch p.CloseReason {
	case closeIdle:
		reason, speaksFor = collector.CloseIdle, end
	case closeShutdown:
		reason = collector.CloseShutdown
	case closeTransfer:
		reason = collector.CloseTransfer
	}
	if !speaksFor.Before(s.CloseTime) {
		s.CloseTime, s.CloseReason = speaksFor, reason
	}
}

// ends takes the word of a whole transcript for how long it is.
func (m *modeller) ends(at int, p *sessionProperties) {
	if p.MessageCount != nil {
		s := m.session(p.SessionId)
		s.end, s.endAt = p.MessageCount, at
	}
}

func (m *modeller) message(order int, f collector.Fact, p *messageProperties) {
	s := m.session(p.SessionId)
	at := given(p.MessageCreateTime, f.Time)
	s.activity = append(s.activity, at)
	index := int64(p.MessageIndexHint)
	if index < 1 {
		index = collector.Place(p.Place, given(p.Place.GetTime(), f.Time))
	}
	msg := s.messages[index]
	if msg == nil {
		msg = &modelMessage{versions: map[[2]string]map[string]string{}, details: map[[2]string]collector.Detail{}}
		s.messages[index] = msg
	}
	msg.at = order
	if p.Place.GetAnswer() {
		msg.turn = max(msg.turn, collector.TurnNumber(p.Place.GetTurn()))
	}
	role := "assistant"
	switch {
	case p.ExtendedRole == ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_SYSTEM:
		role = "system"
	case p.ExtendedRole == ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_TOOL:
		role = "tool"
	case p.ExtendedRole == ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_HUMAN:
		role = "human"
	case p.MessageRole == roleUser:
		role = "user"
	}
	version := [2]string{role, p.MessageContent}
	properties := msg.versions[version]
	override(&properties, f)
	msg.versions[version] = properties
	if p.Error != "" || p.Model != "" || p.RunId != "" || p.Success != nil || p.ToolCalls != nil {
		d := collector.Detail{Error: p.Error, Model: p.Model, RunID: p.RunId, Success: p.Success}
		for _, call := range p.ToolCalls {
			d.ToolCalls = append(d.ToolCalls, collector.ToolCall{Name: call.Name, Arguments: call.Arguments, Result: call.Result})
		}
		msg.details[version] = d
	}
	msg.Message = collector.Message{Index: p.MessageIndexHint, Role: role, Content: p.MessageContent, Time: at,
		Versions: len(msg.versions), Detail: msg.details[version], Properties: properties}
}

func (m *modeller) user(f collector.Fact, p *userProperties) {
	u := m.users[p.UserId]
	if u == nil {
		u = &collector.User{ID: p.UserId}
		m.users[p.UserId] = u
	}
	u.DisplayName = cmp.Or(p.UserDisplayName, u.DisplayName)
	u.Email = cmp.Or(p.UserEmail, u.Email)
	u.IP = cmp.Or(p.UserIp, u.IP)
	u.CountryCode = cmp.Or(p.UserLocation.GetCountryCode(), u.CountryCode)
	u.Region = cmp.Or(p.UserLocation.GetState(), u.Region)
	u.City = cmp.Or(p.UserLocation.GetCity(), u.City)
	u.CompanyID = cmp.Or(p.Company.GetId(), u.CompanyID)
	u.CompanyName = cmp.Or(p.Company.GetName(), u.CompanyName)
	u.CompanyType = cmp.Or(p.Company.GetType(), u.CompanyType)
	if u.CreateTime.IsZero() && p.UserCreateTime != nil {
		u.CreateTime = p.UserCreateTime.AsTime()
	}
	override(&u.Properties, f)
}

func (m *modeller) feedback(at int, p *feedbackProperties) {
	v := modelVoter{session: p.SessionId, voter: p.UserId}
	if p.FeedbackTarget == onMessage {
		if v.index = int64(p.MessageIndexHint); v.index < 1 {
			v.index = -collector.TurnNumber(p.MessageTurn)
		}
	}
	vote := map[string]collector.Vote{"thumbs_up": collector.VoteUp, "thumbs_down": collector.VoteDown, "": collector.VoteNone}[p.Type]
	var score *collector.Score
	if p.Score != nil {
		score = &collector.Score{Value: *p.Score, Min: p.ScoreMin, Max: p.ScoreMax}
	}
	m.votes[v] = modelVote{at, vote, p.Comment, p.Reasons, score}
}

// vote returns the latest vote that stands on a target.
func (m *modeller) vote(session string, index int64) (latest modelVote) {
	latest.at = -1
	for voter, v := range m.votes {
		if voter.session == session && voter.index == index && v.vote != collector.VoteNone && v.at > latest.at {
			latest = v
		}
	}
	return latest
}

func (m *modeller) views(facts int) views {
	v := views{Messages: map[string][]collector.Message{}, Users: map[string]collector.User{}}
	v.Totals.Facts = facts
	for id, s := range m.sessions {
		started, active := s.activity, slices.Concat(s.activity, s.ends)
		if len(s.activity) == 0 {
			started, active = s.closes, s.closes
			if len(s.closes) == 0 {
				started, active = s.updates, s.updates
			}
		}
		s.StartTime = slices.MinFunc(started, time.Time.Compare)
		s.LastActivity = slices.MaxFunc(active, time.Time.Compare)
		if s.end != nil {
			maps.DeleteFunc(s.messages, func(index int64, msg *modelMessage) bool {
				return index < collector.FirstPlace && index > int64(*s.end) && msg.at < s.endAt
			})
		}
		s.MessageCount = len(s.messages)
		current := m.vote(id, 0)
		s.Vote, s.Comment, s.Reasons, s.Score = current.vote, current.comment, current.reasons, current.score
		s.Tags = slices.Sorted(maps.Keys(s.tags))
		s.Properties = smallest(s.Properties)
		v.Conversations = append(v.Conversations, s.Conversation)
		number := int32(0)
		for _, index := range slices.Sorted(maps.Keys(s.messages)) {
			msg := s.messages[index].Message
			if index < collector.FirstPlace {
				number = msg.Index
			} else {
				number++
				msg.Index, msg.Placed = number, true
			}
			votedAs := index
			if turn := s.messages[index].turn; turn != 0 {
				votedAs = -turn
			}
			current := m.vote(id, votedAs)
			msg.Vote, msg.Comment, msg.Reasons, msg.Score = current.vote, current.comment, current.reasons, current.score
			msg.Properties = smallest(msg.Properties)
			v.Messages[id] = append(v.Messages[id], msg)
			v.Totals.Messages++
		}
	}
	slices.SortFunc(v.Conversations, func(a, b collector.Conversation) int {
		return cmp.Or(b.StartTime.Compare(a.StartTime), cmp.Compare(b.ID, a.ID))
	})
	for id, u := range m.users {
		if u.CountryCode != "" {
			u.IP = ""
		}
		u.Properties = smallest(u.Properties)
		v.Users[id] = *u
	}
	for _, vote := range m.votes {
		if vote.vote != collector.VoteNone {
			v.Totals.Votes++
		}
	}
	v.Totals.Conversations, v.Totals.Users = len(v.Conversations), len(v.Users)
	return v
}

func given(t *timestamppb.Timestamp, instead time.Time) time.Time {
	if t == nil {
		return instead
	}
	return t.AsTime()
}

// smallest returns the properties that a view shows.
func smallest(properties map[string]string) map[string]string {
	names := slices.Sorted(maps.Keys(properties))
	for _, name := range names[min(len(names), collector.MaxProperties):] {
		delete(properties, name)
	}
	return properties
}

func override(properties *map[string]string, f collector.Fact) {
	for name, value := range f.Event.GetProperties().GetCustomProperties() {
		if *properties == nil {
			*properties = map[string]string{}
		}
		(*properties)[name] = value.GetStringValue()
	}
}
