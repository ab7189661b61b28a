package aligntest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// User is what the acknowledged events say of one user.
type User struct {
	// ID is empty if nothing was said of the user.
	ID string
	// DisplayName, Email, IP and CountryCode are the last that were given.
	DisplayName string
	Email       string
	IP          string
	CountryCode string
	// CreateTime is the first that was given.
	CreateTime time.Time
	// Company is the last that was given, nil if none, and Traits likewise.
	Company *align.Company
	Traits  map[string]any
	// Properties holds the last value given for each key; nil if none.
	Properties align.Properties
	// Identified is false if the user is known from sessions alone.
	Identified bool
}

// Session is what the acknowledged events say of one session.
type Session struct {
	// ID is empty if nothing was said of the session.
	ID string
	// UserID is that of the first opening.
	UserID string
	// AssistantID and Title are the last that were given.
	AssistantID string
	Title       string
	// StartTime is the earliest of its openings and messages.
	StartTime time.Time
	// Opened is false if the session is known from messages, feedback or its end alone.
	Opened bool
	// Closed says that it was closed, and that nothing was said in it afterwards.
	Closed bool
	// CloseReason is why, if it is Closed.
	CloseReason align.CloseReason
	// Channel to Data are the last that were given, by openings or ends.
	Channel  align.Channel
	Source   string
	Language string
	Labels   []string
	TestMode bool
	Data     map[string]any
	// Status to Completed are the last that its ends gave.
	Status              align.SessionStatus
	Resolution          align.Resolution
	Transfer, Completed *bool
	// Messages are its messages by index, each in its current version.
	Messages []Message
	// Feedback is all feedback on it and on its messages in the order it was given. A voter's last counts.
	Feedback []Feedback
	// Properties holds the last value given for each key; nil if none.
	Properties align.Properties
}

// Message is one message of a session.
type Message struct {
	// Index is its place in the session, from 1.
	Index int
	// Role says who wrote it.
	Role align.Role
	// Content is its text.
	Content string
	// CreateTime is when it was written.
	CreateTime time.Time
	// Properties are its own; nil if none.
	Properties align.Properties
	// Intent and Generation are what was said of it; nil if nothing.
	Intent     *align.Intent
	Generation *align.Generation
	// Versions counts the events recorded at this index.
	Versions int
}

// Feedback is one thumb.
type Feedback struct {
	// Index is that of the message it is on; zero if it is on the whole session.
	Index int
	// Type is the thumb; align.ThumbsNone if the vote was taken back.
	Type align.FeedbackType
	// Comment is what the voter wrote.
	Comment string
	// Reasons are what the voter ticked; nil if nothing.
	Reasons []string
	// Score is the rating; the zero Score if there is none.
	Score align.Score
	// UserID is the voter; empty if not said.
	UserID string
}

// Message returns the message at index, the zero Message if there is none.
func (s Session) Message(index int) Message {
	for _, m := range s.Messages {
		if m.Index == index {
			return m
		}
	}
	return Message{}
}

// Transcript returns the messages as text, one "role: content" a line: what a test compares in one go.
func (s Session) Transcript() string {
	var text strings.Builder
	for _, m := range s.Messages {
		fmt.Fprintf(&text, "%s: %s\n", m.Role, m.Content)
	}
	return text.String()
}

// Users returns the users that acknowledged events are about, in order of their first.
func (s *Server) Users() []User {
	users, _ := s.derive()
	return users
}

// User returns one user, the zero User if no acknowledged event is about it.
func (s *Server) User(id string) User {
	users, _ := s.derive()
	return find(users, func(u User) bool { return u.ID == id })
}

// Sessions returns the sessions that acknowledged events are about, in order of their first.
func (s *Server) Sessions() []Session {
	_, sessions := s.derive()
	return sessions
}

// Session returns one session, the zero Session if no acknowledged event is about it.
func (s *Server) Session(id string) Session {
	_, sessions := s.derive()
	return find(sessions, func(s Session) bool { return s.ID == id })
}

func find[T any](all []T, match func(T) bool) T {
	if i := slices.IndexFunc(all, match); i >= 0 {
		return all[i]
	}
	var zero T
	return zero
}

// derive works out users and sessions as a collector does: from facts alone, by rules that do not depend on the order in
// which they came, so that retries and parallel senders change nothing.
func (s *Server) derive() ([]User, []Session) {
	events := s.Events()
	v := newView(events)
	slices.SortStableFunc(events, func(a, b Event) int {
		return cmp.Or(a.CreateTime.Compare(b.CreateTime), cmp.Compare(a.ID, b.ID))
	})
	for _, e := range events {
		v.apply(e)
	}
	return v.result()
}

// view is what is known so far, from events applied in order of time.
type view struct {
	users    map[string]*User
	sessions map[string]*sessionView
	// In order of first arrival.
	userIDs, sessionIDs []string
}

type sessionView struct {
	Session
	lastRecorded time.Time // when its last opening or message was recorded
	lastMoment   time.Time // when that happened, by what it says itself
	closeTime    time.Time // the moment that its close speaks for
	closeReason  align.CloseReason
	messages     map[int]Message
}

// newView returns a view of all users and sessions in events, with nothing known of them.
func newView(events []Event) *view {
	v := &view{users: make(map[string]*User), sessions: make(map[string]*sessionView)}
	for _, e := range events {
		// The user of a feedback is its voter, of whom it says nothing.
		if e.UserID != "" && v.users[e.UserID] == nil && e.Type != typeFeedback {
			v.users[e.UserID] = &User{ID: e.UserID}
			v.userIDs = append(v.userIDs, e.UserID)
		}
		if e.SessionID != "" && v.sessions[e.SessionID] == nil {
			v.sessions[e.SessionID] = &sessionView{Session: Session{ID: e.SessionID}, messages: make(map[int]Message)}
			v.sessionIDs = append(v.sessionIDs, e.SessionID)
		}
	}
	return v
}

func (v *view) apply(e Event) {
	p := e.msg.GetProperties()
	properties := asProperties(p.GetCustomProperties())
	// An event that breaks the contract may name nobody.
	user, session := v.users[e.UserID], v.sessions[e.SessionID]
	switch {
	case e.Type == typeUser && user != nil:
		user.apply(p.GetUserProperties(), properties)
	case session == nil:
	case e.Type == typeOpenSession:
		session.open(p.GetSessionProperties(), properties, e.CreateTime)
	case e.Type == typeCloseSession:
		session.end(p.GetSessionProperties(), properties, e.CreateTime)
	case e.Type == typeMessage:
		session.message(p.GetMessageProperties(), properties, e.CreateTime)
	case e.Type == typeFeedback:
		session.feedback(p.GetFeedbackProperties())
	}
}

func (v *view) result() ([]User, []Session) {
	users := make([]User, len(v.userIDs))
	for i, id := range v.userIDs {
		users[i] = *v.users[id]
	}
	sessions := make([]Session, len(v.sessionIDs))
	for i, id := range v.sessionIDs {
		sessions[i] = v.sessions[id].result()
	}
	return users, sessions
}

func (u *User) apply(p *ingestionv1alpha.EventProperties_UserProperties, properties align.Properties) {
	u.Identified = true
	// An absent field changes nothing.
	u.DisplayName = cmp.Or(p.GetUserDisplayName(), u.DisplayName)
	u.Email = cmp.Or(p.GetUserEmail(), u.Email)
	u.IP = cmp.Or(p.GetUserIp(), u.IP)
	u.CountryCode = cmp.Or(p.GetUserLocation().GetCountryCode(), u.CountryCode)
	if u.CreateTime.IsZero() {
		u.CreateTime = asTime(p.GetUserCreateTime())
	}
	if c := p.GetCompany(); c != nil {
		u.Company = &align.Company{ID: c.GetId(), Name: c.GetName(), Type: c.GetType()}
	}
	if p.GetTraits() != "" {
		u.Traits = asData(p.GetTraits())
	}
	u.Properties = merge(u.Properties, properties)
}

func (s *sessionView) open(p *ingestionv1alpha.EventProperties_SessionProperties, properties align.Properties, now time.Time) {
	s.Opened = true
	s.UserID = cmp.Or(s.UserID, p.GetUserId())
	s.AssistantID = cmp.Or(p.GetAssistantId(), s.AssistantID)
	s.Title = cmp.Or(p.GetSessionTitle(), s.Title)
	s.Properties = merge(s.Properties, properties)
	s.say(p)
	s.active(now, firstTime(asTime(p.GetSessionStartTime()), now))
}

func (s *sessionView) end(p *ingestionv1alpha.EventProperties_SessionProperties, properties align.Properties, now time.Time) {
	s.Properties = merge(s.Properties, properties)
	s.say(p)
	reason := closeReason(p.GetCloseReason())
	// An idle close speaks only for the activity its client had seen: later activity, on another replica, wins.
	end := now
	if reason == align.CloseIdle {
		end = firstTime(asTime(p.GetSessionEndTime()), now)
	}
	if !end.Before(s.closeTime) {
		s.closeTime, s.closeReason = end, reason
	}
}

// say notes what an opening or an end says of the session as a whole. An absent field changes nothing.
func (s *sessionView) say(p *ingestionv1alpha.EventProperties_SessionProperties) {
	s.Channel = cmp.Or(align.Channel(p.GetChannel()), s.Channel)
	s.Source = cmp.Or(p.GetSource(), s.Source)
	s.Language = cmp.Or(p.GetLanguage(), s.Language)
	s.TestMode = s.TestMode || p.GetTestMode()
	s.Status = cmp.Or(align.SessionStatus(p.GetOutcome()), s.Status)
	s.Resolution = cmp.Or(align.Resolution(p.GetLastResolution()), s.Resolution)
	s.Transfer = cmp.Or(p.Transfer, s.Transfer)
	s.Completed = cmp.Or(p.Completed, s.Completed)
	if len(p.GetLabels()) > 0 {
		s.Labels = slices.Clone(p.GetLabels())
	}
	if p.GetData() != "" {
		s.Data = asData(p.GetData())
	}
}

func (s *sessionView) message(p *ingestionv1alpha.EventProperties_MessageProperties, properties align.Properties, now time.Time) {
	written := firstTime(asTime(p.GetMessageCreateTime()), now)
	index := int(p.GetMessageIndexHint())
	s.messages[index] = Message{
		Index:      index,
		Role:       role(p),
		Content:    p.GetMessageContent(),
		CreateTime: written,
		Properties: properties,
		Intent:     intent(p),
		Generation: generation(p),
		Versions:   s.messages[index].Versions + 1,
	}
	s.active(now, written)
}

// active notes an opening or a message recorded now, of a moment that may lie before.
func (s *sessionView) active(now, moment time.Time) {
	if s.StartTime.IsZero() || moment.Before(s.StartTime) {
		s.StartTime = moment
	}
	s.lastRecorded = now // events are applied in order of time
	if moment.After(s.lastMoment) {
		s.lastMoment = moment
	}
}

func (s *sessionView) feedback(p *ingestionv1alpha.EventProperties_FeedbackProperties) {
	s.Feedback = append(s.Feedback, Feedback{
		Index:   int(p.GetMessageIndexHint()),
		Type:    cmp.Or(align.FeedbackType(p.GetType()), align.ThumbsNone),
		Comment: p.GetComment(),
		Reasons: slices.Clone(p.GetReasons()),
		Score:   align.Score{Value: p.GetScore(), Min: p.GetScoreMin(), Max: p.GetScoreMax()},
		UserID:  p.GetUserId(),
	})
}

func (s *sessionView) result() Session {
	session := s.Session
	last := s.lastRecorded
	if s.closeReason == align.CloseIdle {
		last = s.lastMoment
	}
	if s.closeReason != "" && !s.closeTime.Before(last) {
		session.Closed, session.CloseReason = true, s.closeReason
	}
	for _, index := range slices.Sorted(maps.Keys(s.messages)) {
		session.Messages = append(session.Messages, s.messages[index])
	}
	return session
}

func closeReason(r ingestionv1alpha.EventProperties_SessionProperties_CloseReason) align.CloseReason {
	switch r {
	case ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_IDLE:
		return align.CloseIdle
	case ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_SHUTDOWN:
		return align.CloseShutdown
	case ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_TRANSFER:
		return align.CloseTransfer
	}
	return align.CloseExplicit
}

func role(m *ingestionv1alpha.EventProperties_MessageProperties) align.Role {
	switch m.GetExtendedRole() {
	case ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_SYSTEM:
		return align.RoleSystem
	case ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_TOOL:
		return align.RoleTool
	case ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_HUMAN:
		return align.RoleHuman
	}
	if m.GetMessageRole() == ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER {
		return align.RoleUser
	}
	return align.RoleAssistant
}

func intent(m *ingestionv1alpha.EventProperties_MessageProperties) *align.Intent {
	if m.GetIntent() == nil {
		return nil
	}
	return &align.Intent{Name: m.GetIntent().GetName(), NotMeaningful: m.GetIntent().GetNotMeaningful()}
}

// generation returns what is said of how a message came about, nil if nothing.
func generation(m *ingestionv1alpha.EventProperties_MessageProperties) *align.Generation {
	g := &align.Generation{
		Latency:          asDuration(m.GetLatency()),
		TimeToFirstToken: asDuration(m.GetTimeToFirstToken()),
		Success:          m.Success,
		Error:            m.GetError(),
		Outcome:          align.Outcome(m.GetOutcome()),
		Model:            m.GetModel(),
		InputTokens:      m.InputTokens,
		OutputTokens:     m.OutputTokens,
		Cost:             m.Cost,
		RunID:            m.GetRunId(),
		Incomplete:       m.GetIncomplete(),
	}
	for _, call := range m.GetToolCalls() {
		g.ToolCalls = append(g.ToolCalls, align.ToolCall{
			ID: call.GetId(), Name: call.GetName(), Arguments: call.GetArguments(), Result: call.GetResult(),
		})
	}
	if reflect.ValueOf(*g).IsZero() {
		return nil
	}
	return g
}

// asDuration returns the duration, nil for none.
func asDuration(d *durationpb.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	return new(d.AsDuration())
}

// asData returns a JSON object, nil for anything else.
func asData(object string) map[string]any {
	var data map[string]any
	if json.Unmarshal([]byte(object), &data) != nil {
		return nil
	}
	return data
}

func asProperties(values map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue) align.Properties {
	if len(values) == 0 {
		return nil
	}
	properties := make(align.Properties, len(values))
	for key, value := range values {
		properties[key] = value.GetStringValue()
	}
	return properties
}

// merge returns old with what is new; either may be nil.
func merge(old, properties align.Properties) align.Properties {
	if old == nil {
		return properties
	}
	maps.Copy(old, properties)
	return old
}

// asTime returns the time, the zero Time for none.
func asTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func firstTime(t, otherwise time.Time) time.Time {
	if t.IsZero() {
		return otherwise
	}
	return t
}
