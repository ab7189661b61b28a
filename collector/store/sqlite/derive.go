package sqlite

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// What a fact says is a piece of a view: a session of which one event is known, say. Pieces of the same thing join, and
// joining is commutative, associative and idempotent. That is the whole reason why facts may come in any order, more than
// once, and grouped in any way. Everything here is pure: no SQL and no clock.

// Names of registers, as kept in states.
const (
	regUserID      = "user_id"
	regAssistantID = "assistant_id"
	regTitle       = "title"
	regDisplayName = "display_name"
	regEmail       = "email"
	regIP          = "ip"
	regCountry     = "country_code"
	regRegion      = "state"
	regCity        = "city"
	regCompanyID   = "company_id"
	regCompanyName = "company_name"
	regCompanyType = "company_type"
	regCreateTime  = "create_time" // RFC 3339
	regSource      = "source"
	regChannel     = "channel"
	regLanguage    = "language"
	regStatus      = "status"
	regResolution  = "resolution"
	regTransfer    = "transfer"  // true or false
	regCompleted   = "completed" // true or false
	regTestMode    = "test_mode" // true
	regData        = "data"      // a JSON object
	regLabels      = "labels"    // a JSON array of strings
)

// stamp is a fact's [collector.Order], in the form that is kept beside each value.
type stamp struct {
	Time int64  `json:"t"` // nanoseconds since 1970 UTC
	ID   string `json:"e"`
}

func (s stamp) compare(o stamp) int {
	return cmp.Or(cmp.Compare(s.Time, o.Time), cmp.Compare(s.ID, o.ID))
}

// register is a value and the fact that says it.
type register struct {
	Value string `json:"v"`
	stamp
}

// registers are values that override each other name by name. An absent name says nothing.
type registers map[string]register

// set adds a value unless it is empty: a field without presence on the wire cannot say that it is empty.
func (r *registers) set(name, value string, at stamp) {
	if value == "" {
		return
	}
	r.put(name, value, at)
}

// put adds a value, also an empty one: that there is none any more.
func (r *registers) put(name, value string, at stamp) {
	if *r == nil {
		*r = registers{}
	}
	(*r)[name] = register{value, at}
}

// setBool adds what is known of yes or no.
func (r *registers) setBool(name string, value *bool, at stamp) {
	if value != nil {
		r.put(name, strconv.FormatBool(*value), at)
	}
}

// boolean returns what is known of yes or no.
func (r registers) boolean(name string) *bool {
	if known, err := strconv.ParseBool(r[name].Value); err == nil {
		return &known
	}
	return nil
}

// joinLast adds o to r; of two values of a name the later fact's stays.
func (r *registers) joinLast(o registers) { r.join(o, +1) }

// joinFirst adds o to r; of two values of a name the earlier fact's stays.
func (r *registers) joinFirst(o registers) { r.join(o, -1) }

func (r *registers) join(o registers, sign int) {
	if *r == nil && len(o) > 0 {
		*r = make(registers, len(o)) // never o itself: it belongs to a batch that may be applied again
	}
	for name, theirs := range o {
		if ours, ok := (*r)[name]; !ok || sign*theirs.compare(ours.stamp) > 0 {
			(*r)[name] = theirs
		}
	}
}

// joinProperties is joinLast for custom properties, of which there may be any number: it keeps those with the smallest
// names. A name that was dropped once stays dropped, as the smaller ones never leave, so that this too is a join.
func (r *registers) joinProperties(o registers) {
	r.joinLast(o)
	r.keepSmallest(collector.MaxProperties)
}

func (r registers) keepSmallest(n int) {
	if len(r) <= n {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(r))[n:] {
		delete(r, name)
	}
}

// values returns the bare values, nil when there are none.
func (r registers) values() map[string]string {
	if len(r) == 0 {
		return nil
	}
	m := make(map[string]string, len(r))
	for name, reg := range r {
		m[name] = reg.Value
	}
	return m
}

// span is the earliest and latest of some moments. It is immutable; nil is no moment at all.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

func at(moment int64) *span { return &span{moment, moment} }

func (s *span) join(o *span) *span {
	switch {
	case s == nil:
		return o
	case o == nil:
		return s
	}
	return &span{min(s.From, o.From), max(s.To, o.To)}
}

// closing is a close, and the moment it speaks for. It is immutable; nil is none.
type closing struct {
	Time   int64  `json:"time"`
	Reason string `json:"reason"`
	stamp
}

// join returns the close that speaks for the later moment.
func (c *closing) join(o *closing) *closing {
	if c == nil || o != nil && cmp.Or(cmp.Compare(o.Time, c.Time), o.compare(c.stamp)) > 0 {
		return o
	}
	return c
}

// ending says that as of a fact the session has exactly count numbered messages: a whole transcript was told. It is
// immutable; nil is none.
type ending struct {
	Count int64 `json:"count"`
	stamp
}

// join returns the later one. It alone counts: each tells the whole transcript, so what one before it hid may be there
// again.
func (e *ending) join(o *ending) *ending {
	if e == nil || o != nil && o.compare(e.stamp) > 0 {
		return o
	}
	return e
}

// session is what is known of a conversation, but for its messages and votes.
type session struct {
	First      registers `json:"first,omitempty"`    // the user
	Last       registers `json:"last,omitempty"`     // assistant, title, and how it went
	Properties registers `json:"-"`                  // kept beside the rest, which every message changes
	Texts      registers `json:"-"`                  // data and labels, likewise
	Active     *span     `json:"active,omitempty"`   // openings and messages
	Reported   *span     `json:"reported,omitempty"` // last activity, as closes report it
	Closed     *span     `json:"closed,omitempty"`   // the same, or the close itself where it reports none
	Updated    *span     `json:"updated,omitempty"`
	Close      *closing  `json:"close,omitempty"`
	Ending     *ending   `json:"ending,omitempty"`
	Opened     bool      `json:"opened,omitempty"`
	Users      *names    `json:"users,omitempty"` // that openings named
}

// names are the smallest and the greatest of some names, which tells whether there is more than one. It is immutable; nil
// is no name at all.
type names struct {
	Low  string `json:"low"`
	High string `json:"high"`
	// Several says that there was more than one; it stays when names are erased.
	Several bool `json:"several,omitempty"`
}

func (n *names) join(o *names) *names {
	switch {
	case n == nil:
		return o
	case o == nil:
		return n
	}
	low, high := min(n.Low, o.Low), max(n.High, o.High)
	return &names{low, high, n.Several || o.Several || low != high}
}

// What is odd about a session, as kept in sessions.odd.
const (
	oddNeverOpened = 1
	oddUsers       = 2
)

func (s *session) odd() (odd int) {
	if !s.Opened {
		odd |= oddNeverOpened
	}
	if s.Users != nil && s.Users.Several {
		odd |= oddUsers
	}
	return odd
}

func (s *session) join(o *session) {
	s.First.joinFirst(o.First)
	s.Last.joinLast(o.Last)
	s.Properties.joinProperties(o.Properties)
	s.Texts.joinLast(o.Texts)
	s.Active = s.Active.join(o.Active)
	s.Reported = s.Reported.join(o.Reported)
	s.Closed = s.Closed.join(o.Closed)
	s.Updated = s.Updated.join(o.Updated)
	s.Close = s.Close.join(o.Close)
	s.Ending = s.Ending.join(o.Ending)
	s.Opened = s.Opened || o.Opened
	s.Users = s.Users.join(o.Users)
}

// times returns when the session started and was last active. A session of which only closes are known took place where
// they say, and one of which only updates are known, when they were made.
func (s *session) times() (start, last int64) {
	switch {
	case s.Active != nil:
		return s.Active.From, s.Active.join(s.Reported).To
	case s.Closed != nil:
		return s.Closed.From, s.Closed.To
	}
	return s.Updated.From, s.Updated.To
}

// user is what is known of a user; nothing but the id when only an opening named it.
type user struct {
	First      registers `json:"first,omitempty"` // create_time
	Last       registers `json:"last,omitempty"`
	Properties registers `json:"properties,omitempty"`
}

func (u *user) join(o *user) {
	u.First.joinFirst(o.First)
	u.Last.joinLast(o.Last)
	u.Properties.joinProperties(o.Properties)
}

// message is one event at an index.
type message struct {
	index         int64 // as the client counts, or a [collector.Place]
	turn          int64 // as feedback may name it, see [collector.TurnNumber]; 0 for none
	role, content string
	time          int64
	at            stamp
	properties    registers
	detail        string // a [collector.Detail] in JSON, or empty
	version       []byte // its key, once the content is gone
}

// version is what events with the same role and content at the same index say together.
type version struct {
	Time       int64     `json:"time"` // of the last of them
	stamp                // of the last of them
	Properties registers `json:"properties,omitempty"`
	Detail     register  `json:"detail,omitzero"` // of the last of them that had any
}

func (v *version) join(o version) {
	if o.compare(v.stamp) > 0 {
		v.Time, v.stamp = o.Time, o.stamp
	}
	v.Properties.joinProperties(o.Properties)
	if o.Detail.compare(v.Detail.stamp) > 0 {
		v.Detail = o.Detail
	}
}

// vote is a voter's thumb on a message, or on the session as a whole where index is 0. A negative index is a turn's number
// with the other sign: the vote is on the answer of that turn, wherever it stands.
type vote struct {
	index   int64
	voter   string
	vote    collector.Vote
	comment string
	reasons string // a JSON array, or empty
	score   *collector.Score
	at      stamp
}

// tag is the word of one event on a tag of a session, or of a run of it.
type tag struct {
	run, name string
	present   bool
	at        stamp
}

// piece is what one fact says. Nil means nothing.
type piece struct {
	sessionID string // of session, message and vote
	session   *session
	message   *message
	vote      *vote
	tags      []tag
	userID    string
	user      *user
}

// derive returns what a fact says. One that does not name what it is about (no id, no index from 1, an unknown type or
// target) stays a fact and says nothing.
func derive(f *collector.Fact) (p piece) {
	id := told{stamp{unixNano(f.Time), f.ID}, f.ReceiveTime}
	e := f.Event
	props := e.GetProperties()
	switch e.GetType() {
	case collector.TypeSessionOpen:
		deriveOpen(&p, props, id)
	case collector.TypeSessionClose:
		deriveClose(&p, props, id)
	case collector.TypeSessionUpdate:
		deriveUpdate(&p, props, id)
	case collector.TypeUserRecognize:
		deriveUser(&p, props, id.stamp)
	case collector.TypeMessageCreate:
		deriveMessage(&p, props, id)
	case collector.TypeFeedbackCreate:
		deriveFeedback(&p, props, id.stamp)
	}
	return p
}

func deriveOpen(p *piece, props *ingestionv1alpha.EventProperties, f told) {
	open := props.GetSessionProperties()
	if open.GetUserId() != "" {
		p.userID, p.user = open.GetUserId(), &user{}
	}
	if open.GetSessionId() == "" {
		return
	}
	s := &session{Active: at(f.orTime(open.GetSessionStartTime())), Properties: properties(props, f.stamp)}
	s.Opened = true
	if open.GetUserId() != "" {
		s.Users = &names{Low: open.GetUserId(), High: open.GetUserId()}
	}
	s.First.set(regUserID, open.GetUserId(), f.stamp)
	s.Ending = endingOf(open, f.stamp)
	s.name(open, f.stamp)
	s.describe(open, f.stamp)
	p.sessionID, p.session = open.GetSessionId(), s
}

// name takes what openings and updates may say, and closes may not.
func (s *session) name(m *ingestionv1alpha.EventProperties_SessionProperties, id stamp) {
	s.Last.set(regAssistantID, m.GetAssistantId(), id)
	if slices.Contains(m.GetCleared(), "session_title") {
		s.Last.put(regTitle, "", id)
	}
	s.Last.set(regTitle, m.GetSessionTitle(), id)
}

// describe takes what openings, closes and updates alike may say. A field that is cleared and given is given.
func (s *session) describe(m *ingestionv1alpha.EventProperties_SessionProperties, id stamp) {
	for _, field := range m.GetCleared() {
		switch field {
		case regData:
			s.Texts.put(regData, "", id)
		case regSource:
			s.Last.put(regSource, "", id)
		}
	}
	s.Last.set(regSource, m.GetSource(), id)
	s.Last.set(regChannel, m.GetChannel(), id)
	s.Last.set(regLanguage, m.GetLanguage(), id)
	s.Last.set(regStatus, m.GetOutcome(), id)
	s.Last.set(regResolution, m.GetLastResolution(), id)
	s.Last.setBool(regTransfer, m.Transfer, id)
	s.Last.setBool(regCompleted, m.Completed, id)
	if m.GetTestMode() {
		s.Last.put(regTestMode, "true", id)
	}
	s.Texts.set(regData, m.GetData(), id)
	s.Texts.set(regLabels, list(m.GetLabels()), id)
}

// list returns texts as a JSON array, or nothing where there are none.
func list(texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	text, err := json.Marshal(texts)
	if err != nil {
		return "" // texts are always good JSON
	}
	return string(text)
}

func deriveUpdate(p *piece, props *ingestionv1alpha.EventProperties, f told) {
	m := props.GetSessionProperties()
	if m.GetSessionId() == "" {
		return
	}
	s := &session{Updated: at(f.Time), Properties: properties(props, f.stamp)}
	s.name(m, f.stamp)
	s.describe(m, f.stamp)
	p.sessionID, p.session = m.GetSessionId(), s
	for _, name := range m.GetTagsRemoved() {
		p.tags = append(p.tags, tag{m.GetRunId(), name, false, f.stamp})
	}
	for _, name := range m.GetTagsAdded() {
		// One that is removed as well is there in the end.
		p.tags = slices.DeleteFunc(p.tags, func(t tag) bool { return t.name == name })
		p.tags = append(p.tags, tag{m.GetRunId(), name, true, f.stamp})
	}
}

func deriveClose(p *piece, props *ingestionv1alpha.EventProperties, f told) {
	end := props.GetSessionProperties()
	if end.GetSessionId() == "" {
		return
	}
	s := &session{
		Closed:     at(f.orTime(end.GetSessionEndTime())),
		Close:      &closing{Reason: collector.CloseReason(end), stamp: f.stamp},
		Ending:     endingOf(end, f.stamp),
		Properties: properties(props, f.stamp),
	}
	s.describe(end, f.stamp)
	if ns, ok := f.nanos(end.GetSessionEndTime()); ok {
		s.Reported = at(ns)
	}
	s.Close.Time = s.Closed.To
	if s.Close.Reason != collector.CloseIdle {
		// An idle close only saw that nothing came: it speaks for the last activity its client knew of, not for now.
		s.Close.Time = max(f.Time, s.Closed.To)
	}
	p.sessionID, p.session = end.GetSessionId(), s
}

func deriveUser(p *piece, props *ingestionv1alpha.EventProperties, id stamp) {
	m := props.GetUserProperties()
	if m.GetUserId() == "" {
		return
	}
	u := &user{Properties: properties(props, id)}
	u.Last.set(regDisplayName, m.GetUserDisplayName(), id)
	u.Last.set(regEmail, m.GetUserEmail(), id)
	u.Last.set(regIP, m.GetUserIp(), id)
	u.Last.set(regCountry, m.GetUserLocation().GetCountryCode(), id)
	u.Last.set(regRegion, m.GetUserLocation().GetState(), id)
	u.Last.set(regCity, m.GetUserLocation().GetCity(), id)
	u.Last.set(regCompanyID, m.GetCompany().GetId(), id)
	u.Last.set(regCompanyName, m.GetCompany().GetName(), id)
	u.Last.set(regCompanyType, m.GetCompany().GetType(), id)
	if ns, ok := nanos(m.GetUserCreateTime()); ok {
		u.First.set(regCreateTime, fromNanos(ns).Format(time.RFC3339Nano), id)
	}
	p.userID, p.user = m.GetUserId(), u
}

func deriveMessage(p *piece, props *ingestionv1alpha.EventProperties, f told) {
	m := props.GetMessageProperties()
	place := m.GetPlace()
	if m.GetSessionId() == "" || m.GetMessageIndexHint() < 1 && place == nil {
		return
	}
	created := f.orTime(m.GetMessageCreateTime())
	p.sessionID = m.GetSessionId()
	p.session = &session{Active: at(created)}
	p.message = &message{
		index:      int64(m.GetMessageIndexHint()),
		role:       collector.Role(m),
		content:    m.GetMessageContent(),
		time:       created,
		at:         f.stamp,
		properties: properties(props, f.stamp),
		detail:     detail(m),
	}
	if p.message.index < 1 {
		p.message.index = collector.Place(place, fromNanos(f.orTime(place.GetTime())))
	}
	if place.GetAnswer() {
		p.message.turn = collector.TurnNumber(place.GetTurn())
	}
}

// detail returns what is known of how a message came about, in JSON, or nothing where nothing is known.
func detail(m *ingestionv1alpha.EventProperties_MessageProperties) string {
	d := collector.Detail{
		Latency:             duration(m.GetLatency()),
		TimeToFirstToken:    duration(m.GetTimeToFirstToken()),
		Success:             m.Success,
		Incomplete:          m.GetIncomplete(),
		Error:               m.GetError(),
		Outcome:             m.GetOutcome(),
		Intent:              m.GetIntent().GetName(),
		IntentNotMeaningful: m.GetIntent().GetNotMeaningful(),
		Agent:               m.GetAgent(),
		Model:               m.GetModel(),
		RunID:               m.GetRunId(),
		InputTokens:         m.InputTokens,
		OutputTokens:        m.OutputTokens,
		Cost:                m.Cost,
	}
	if d.Cost != nil && (math.IsNaN(*d.Cost) || math.IsInf(*d.Cost, 0)) {
		d.Cost = nil // no number, and none in JSON
	}
	for _, call := range m.GetToolCalls() {
		d.ToolCalls = append(d.ToolCalls, collector.ToolCall{ID: call.GetId(), Name: call.GetName(), Arguments: call.GetArguments(), Result: call.GetResult()})
	}
	if reflect.ValueOf(d).IsZero() {
		return ""
	}
	text, err := json.Marshal(d)
	if err != nil {
		return "" // it holds nothing that JSON cannot
	}
	return string(text)
}

// duration returns a length of time that is known and makes sense.
func duration(d *durationpb.Duration) *time.Duration {
	if !d.IsValid() || d.GetSeconds() < 0 || d.GetNanos() < 0 {
		return nil
	}
	return new(d.AsDuration())
}

func endingOf(m *ingestionv1alpha.EventProperties_SessionProperties, id stamp) *ending {
	if m.MessageCount == nil || m.GetMessageCount() < 0 {
		return nil
	}
	return &ending{int64(m.GetMessageCount()), id}
}

func deriveFeedback(p *piece, props *ingestionv1alpha.EventProperties, id stamp) {
	m := props.GetFeedbackProperties()
	v := &vote{voter: m.GetUserId(), comment: m.GetComment(), reasons: list(m.GetReasons()), at: id}
	if m.Score != nil {
		v.score = &collector.Score{Value: m.GetScore(), Min: m.GetScoreMin(), Max: m.GetScoreMax()}
	}
	switch m.GetType() {
	case "thumbs_up":
		v.vote = collector.VoteUp
	case "thumbs_down":
		v.vote = collector.VoteDown
	case "": // taken back
		v.vote = collector.VoteNone
	default:
		return
	}
	switch m.GetFeedbackTarget() {
	case ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION:
	case ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE:
		v.index = int64(m.GetMessageIndexHint())
		switch {
		case v.index >= 1:
		case m.GetMessageTurn() != "":
			v.index = -collector.TurnNumber(m.GetMessageTurn())
		default:
			return
		}
	default:
		return
	}
	if m.GetSessionId() != "" {
		p.sessionID, p.vote = m.GetSessionId(), v
	}
}

// properties returns the custom properties. Unlike other fields they have presence: an empty value is a value.
func properties(props *ingestionv1alpha.EventProperties, id stamp) registers {
	custom := props.GetCustomProperties()
	if len(custom) == 0 {
		return nil
	}
	r := make(registers, len(custom))
	for name, value := range custom {
		r[name] = register{value.GetStringValue(), id}
	}
	r.keepSmallest(collector.MaxProperties)
	return r
}

// told is which fact it is, and when the collector read it.
type told struct {
	stamp
	received time.Time
}

// orTime returns the moment t says, or that of the fact where it says none to go by.
func (f told) orTime(t *timestamppb.Timestamp) int64 {
	if ns, ok := f.nanos(t); ok {
		return ns
	}
	return f.Time
}

// nanos returns the moment t says, if any, and if that is plausible.
func (f told) nanos(t *timestamppb.Timestamp) (ns int64, ok bool) {
	ns, ok = nanos(t)
	return ns, ok && collector.Plausible(fromNanos(ns), f.received)
}

// nanos returns the moment t says in nanoseconds since 1970. There is none when t is absent, malformed, or outside of what
// 64 bits hold (1677 to 2262): such years come from clients whose language has a zero time.
func nanos(t *timestamppb.Timestamp) (ns int64, ok bool) {
	if !t.IsValid() {
		return 0, false
	}
	moment := t.AsTime()
	ns = unixNano(moment)
	return ns, fromNanos(ns).Equal(moment)
}

// unixNano is t in nanoseconds since 1970; the nearest there is where 64 bits do not hold it.
func unixNano(t time.Time) int64 {
	switch {
	case t.Before(earliest):
		return math.MinInt64
	case t.After(latest):
		return math.MaxInt64
	}
	return t.UnixNano()
}

var earliest, latest = fromNanos(math.MinInt64), fromNanos(math.MaxInt64)

func fromNanos(ns int64) time.Time { return time.Unix(0, ns).UTC() }
