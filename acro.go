package align

import (
	"bytes"
	"cmp"
	"container/list"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
)

// AcroConfig makes a client deliver to an Acro-compatible endpoint. Zero: to a collector.
//
// That protocol has one request, which carries a whole conversation. So the client assembles each session in memory, and
// posts it when it ends: by [Client.CloseSession], when it has been idle, at once for [Client.RecordTranscript]. Flush and
// Close post the open ones, too, as they stand. A session that goes on after it was posted is posted again, whole, when
// it ends again, and replaces what was there; for that it is kept for [Config.IdleTimeout] after its end (30 min if that
// is negative). A later continuation, or one after the session had to make way, holds only what is new, and replaces the
// rest. All of a session must be recorded by the same client.
//
// The recording calls, their limits and the delivery are the same, with these differences:
//
//   - An event is pending until the conversation it is part of was acknowledged, and a [Receipt] waits for that.
//   - Open sessions, kept ones and conversations on their way share [Config.BufferBytes]; only pending events count
//     against [Config.BufferEvents]. Kept sessions make way first, the longest ended first. After that [Config.Overflow]
//     applies: [OverflowDropOldest] drops the oldest conversation on its way, then the quietest open session, whole.
//     The end of a session always fits. [Stats.PendingBytes] includes what is kept.
//   - When the process dies, everything not posted is lost: that is every open session.
//   - The answers 400, 413, 415 and 422 drop a conversation with all of its events, as [DropRejected]; 401, 403 and 404
//     are asked about every few minutes; 429, 5xx and network errors are retried.
//   - A session's id that is no UUID becomes one, see [AcroConversationID].
//   - A user is known to the endpoint only through conversations. What [Client.IdentifyUser] says is posted with the
//     user's next one, and dropped as [DropUnsupported] when there is none for as long as ended sessions are kept, or
//     when room is needed. Flush does not wait for that.
//   - [Config.FlushInterval], [Config.BatchEvents] and [Config.BatchBytes] have no meaning. [Config.Compression] is off
//     unless it is CompressionGzip.
//
// The document has no word for feedback: it is accepted and dropped as [DropUnsupported], as is the end of a session that
// this client knows nothing of. Of what is posted these parts are left out, and the events that had one are counted in
// [Stats.Unsaid]: custom properties; of a message, Intent and Generation; of a session, Title, Channel, Language, Labels,
// TestMode and Data, but for the keys that [Client.RecordTranscript] uses; of its end, Status, Resolution and Labels; of a
// user everything but ID, Email, Company and a text under "phone" in Traits.
type AcroConfig struct {
	// ApplicationID is the first part of the path, {Host}/{ApplicationID}/conversation: at most 128 ASCII letters, digits,
	// and any of -._~. [Config.APIKey] is the application's secret, and [Config.Host] has no default.
	ApplicationID string
}

// AcroNamespace is the namespace of the UUIDs that [AcroConversationID] makes: the UUIDv5 of the URL
// https://github.com/openalign/align/acro.
const AcroNamespace = "523152af-1825-58e0-9031-437556e822fb"

// AcroConversationID returns the conversationId under which a session is known to an Acro endpoint: its id in lower case
// if that is a UUID of 36 characters, and else the UUIDv5 of its id in [AcroNamespace].
func AcroConversationID(sessionID string) string {
	if isUUID(sessionID) {
		return strings.ToLower(sessionID)
	}
	return uuid.NewSHA1(uuid.MustParse(AcroNamespace), []byte(sessionID)).String()
}

// validate appends what is wrong with a client that delivers to an Acro endpoint.
func (a *AcroConfig) validate(cfg *Config, problem func(field, rule, limit string)) {
	id := a.ApplicationID
	if id == "." || id == ".." || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool {
		return r >= 0x80 || !isAlnum(byte(r)) && !strings.ContainsRune("-._~", r)
	}) {
		problem("Acro.ApplicationID", "setting", "at most 128 ASCII letters, digits and -._~")
	}
	if cfg.SpoolDir != "" {
		problem("SpoolDir", "setting", "empty with Config.Acro: what waits for its session to end is in memory")
	}
	if cfg.Strict {
		problem("Strict", "setting", "false with Config.Acro, which says what can be said")
	}
}

func (c *Config) isAcro() bool { return c.Acro != AcroConfig{} }

// acroPath is where conversations go.
func (c *Config) acroPath() string { return "/" + c.Acro.ApplicationID + "/conversation" }

// assembler puts events together to conversations and hands these to the buffer, as one entry each. Until then its events
// are in the buffer's counts, but in no lane of it.
//
// Its lock may be held when the buffer's is taken, never the other way round, and never while it waits.
type assembler struct {
	buf      *buffer
	overflow Overflow
	keep     time.Duration // how long what has ended is remembered
	laneOf   func(session string) int
	ids      *idSource
	unsaid   atomic.Uint64

	mu            sync.Mutex // guards all below
	closed        bool
	conversations map[string]*conversation // by conversationId
	open          *list.List               // *conversation with something to post, or that may go on; the quietest first
	ended         *list.List               // *conversation that has ended and was handed over; the longest ended first
	users         map[string]*customer
	userOrder     *list.List // *customer; the longest unheard of first
}

// conversation is one session as far as it is known.
type conversation struct {
	id, session string
	pending     []held // events not handed over yet
	bytes       int    // charged for all that is known, the events' own charge excluded
	lines       map[int][]byte
	end         time.Time
	ended       bool // and nothing came after
	seen        time.Time
	place       *list.Element // in open or ended
	ending      bool          // place is in ended

	start, firstLine, lastLine time.Time
	said                       transcriptDocument // what goes into the document as it is
}

// customer is what is known of a user.
type customer struct {
	id      string
	pending []held
	waits   time.Time // since when there are any
	bytes   int
	seen    time.Time
	place   *list.Element

	email, phone string
	company      Company
}

// held is an event that is part of something not posted yet.
type held struct {
	id      uuid.UUID
	kind    EventType
	receipt *Receipt
}

// heldCharge is what an event costs in bytes beside its content: its place in maps and lists.
const heldCharge = 128

func newAssembler(c *Client) *assembler {
	a := &assembler{
		buf: c.buf, overflow: c.cfg.Overflow, keep: c.cfg.IdleTimeout, laneOf: c.laneOf, ids: &c.ids,
		conversations: make(map[string]*conversation), open: list.New(), ended: list.New(),
		users: make(map[string]*customer), userOrder: list.New(),
	}
	if a.keep <= 0 {
		a.keep = DefaultIdleTimeout
	}
	return a
}

// piece is an event on its way into the assembler: encoded, so that nothing of the payload is kept but short texts.
type piece struct {
	payload payload
	line    []byte // of a message
	size    int    // what it is charged, heldCharge excluded
}

// newPiece encodes what p will be in the document.
func newPiece(p payload, now time.Time) piece {
	switch p := p.(type) {
	case *Message:
		line := documentLine{Role: acroRoles[p.Role]}
		if p.Content != "" {
			line.Content = &p.Content
		}
		if at := p.moment(now); !at.IsZero() {
			line.Timestamp = documentTime(at)
		}
		encoded := encodeDocument(&line)
		return piece{p, encoded, len(encoded)}
	case *Session:
		size := len(p.ID) + len(p.UserID) + len(p.AssistantID) + len(p.Source)
		for _, key := range acroData {
			text, _ := p.Data[key].(string)
			size += len(text)
		}
		return piece{p, nil, size}
	case *User:
		size := len(p.ID) + len(p.Email)
		phone, _ := p.Traits["phone"].(string)
		if c := p.Company; c != nil {
			size += len(c.ID) + len(c.Name) + len(c.Type)
		}
		return piece{p, nil, size + len(phone)}
	}
	return piece{p, nil, 0}
}

// acroRoles is how each role is written.
var acroRoles = map[Role]TranscriptRole{
	RoleUser: TranscriptUser, RoleAssistant: TranscriptAIAssistant, RoleHuman: TranscriptHuman,
	RoleTool: TranscriptTool, RoleSystem: TranscriptSystem,
}

// acroData are the keys of [Session.Data] that the document has fields for.
var acroData = []string{
	DataAgentVersion, DataCustomerPhone, DataTextURL, DataAudioURL, DataCustomerEmail,
	DataExternalCompanyName, DataExternalCompanyType, DataDuration,
}

// moment is when a message was written, zero if that is unknown.
func (m *Message) moment(now time.Time) time.Time {
	if m.CreateTime.IsZero() && !m.undated {
		return now
	}
	return m.CreateTime
}

// encodeDocument returns a value of the document as JSON.
func encodeDocument(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it would make a page's text three times as long
	if err := enc.Encode(v); err != nil {
		panic(err) // texts, numbers and booleans can always be encoded
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// isUnsaid reports whether the document lacks a word for a part of p.
func isUnsaid(p payload) bool {
	if props := p.properties(); props != nil && len(*props) > 0 {
		return true
	}
	switch p := p.(type) {
	case *Message:
		return p.Intent != nil || p.Generation != nil
	case *Session:
		for key := range p.Data {
			if !slices.Contains(acroData, key) {
				return true
			}
		}
		return p.Title != "" || p.Channel != "" || p.Language != "" || len(p.Labels) > 0 || p.TestMode
	case *SessionEnd:
		return p.Status != "" || p.Resolution != "" || len(p.Labels) > 0
	case *User:
		for key, value := range p.Traits {
			if _, text := value.(string); key != "phone" || !text {
				return true
			}
		}
		return p.DisplayName != "" || p.IP != "" || p.CountryCode != "" || !p.CreateTime.IsZero()
	}
	return false
}

// assemble takes events in, all of one session and its user: all of them, or none with an error. whole says that they are
// a complete conversation, which replaces what is known of it.
func (c *Client) assemble(ctx context.Context, now time.Time, whole bool, events ...payload) error {
	a := c.assembler
	pieces := make([]piece, 0, len(events))
	size := 0
	for _, p := range events {
		if p.kind() == EventFeedback {
			c.drop(ctx, p, DropUnsupported, now)
			continue
		}
		piece := newPiece(p, now)
		pieces = append(pieces, piece)
		size += piece.size + heldCharge
	}
	if len(pieces) == 0 {
		return nil
	}
	for {
		drops, space, err := a.tryAdd(ctx, now, whole, pieces, size)
		c.tell(drops)
		switch {
		case err == errNoConversation:
			c.drop(ctx, pieces[0].payload, DropUnsupported, now)
			return nil
		case space == nil:
			return err
		case size > c.buf.maxBytes || len(pieces) > c.buf.maxEvents: // never fits
		case a.overflow == OverflowDropOldest:
			if drops := a.dropOldest(); len(drops) > 0 {
				c.tell(drops)
				continue
			}
		case a.overflow == OverflowBlock:
			select {
			case <-space:
				continue
			case <-ctx.Done():
				c.buf.turnAway()
				return fmt.Errorf("%w: %w", ErrBufferFull, ctx.Err())
			}
		}
		c.buf.turnAway()
		return ErrBufferFull
	}
}

// errNoConversation says that the end of a session is all that is known of it.
var errNoConversation = errors.New("align: no conversation to end")

// tryAdd takes pieces in and hands over what has ended. When they do not fit it does nothing, and space is closed once
// that may have changed. drops are what had been kept for too long.
func (a *assembler) tryAdd(ctx context.Context, now time.Time, whole bool, pieces []piece, size int) (drops []Drop, space <-chan struct{}, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, nil, ErrClosed
	}
	drops = a.expire(now)
	end, isEnd := pieces[0].payload.(*SessionEnd)
	for {
		force := false
		if isEnd {
			conv := a.conversations[AcroConversationID(end.SessionID)]
			if conv == nil { // or it has just made way
				return drops, nil, errNoConversation
			}
			force = !conv.ended // makes room in a moment
		}
		if space, err = a.buf.hold(len(pieces), size, force); space == nil {
			break
		}
		if a.buf.lacksBytes(size) && a.giveUp() {
			continue
		}
		lost := a.giveUpUser()
		if lost == nil {
			return drops, space, nil
		}
		drops = append(drops, lost...)
	}
	if err != nil {
		return drops, nil, err
	}
	receipt := receiptFrom(ctx)
	for i, p := range pieces {
		if receipt != nil {
			receipt.add()
		}
		e := held{a.ids.next(now), p.payload.kind(), receipt}
		if isUnsaid(p.payload) {
			a.unsaid.Add(1)
		}
		if u, ok := p.payload.(*User); ok {
			drops = append(drops, a.identify(u, e, p.size, now)...)
			continue
		}
		conv := a.conversation(p.payload.lane(), now)
		if s, ok := p.payload.(*Session); ok && whole && i <= 1 {
			a.reset(conv, s)
		}
		conv.pending = append(conv.pending, e)
		conv.bytes += p.size
		conv.add(p, now, a.buf)
		if conv.ended {
			a.post(conv, now)
		}
	}
	return drops, nil, nil
}

// identify notes what is said of a user. drops are events that have waited too long for a conversation.
func (a *assembler) identify(u *User, e held, size int, now time.Time) (drops []Drop) {
	user := a.users[u.ID]
	if user == nil {
		user = &customer{id: strings.Clone(u.ID)}
		user.place = a.userOrder.PushBack(user)
		a.users[user.id] = user
	}
	user.seen = now
	a.userOrder.MoveToBack(user.place)
	if len(user.pending) > 0 && now.Sub(user.waits) > a.keep {
		drops = a.buf.loseHeld(user.pending, "", DropUnsupported)
		user.pending = nil
	}
	if len(user.pending) == 0 {
		user.waits = now
	}
	user.pending = append(user.pending, e)
	user.email = cmp.Or(strings.Clone(u.Email), user.email)
	if phone, ok := u.Traits["phone"].(string); ok {
		user.phone = strings.Clone(phone)
	}
	if c := u.Company; c != nil {
		user.company = Company{strings.Clone(c.ID), strings.Clone(c.Name), strings.Clone(c.Type)}
	}
	known := len(user.id) + len(user.email) + len(user.phone) + len(user.company.ID) + len(user.company.Name) + len(user.company.Type)
	a.buf.release(user.bytes + size - known)
	user.bytes = known
	return drops
}

// conversation returns that of a session, which is active now.
func (a *assembler) conversation(session string, now time.Time) *conversation {
	id := AcroConversationID(session)
	conv := a.conversations[id]
	if conv == nil {
		conv = &conversation{id: id, session: strings.Clone(session), lines: make(map[int][]byte)}
		a.conversations[id] = conv
	}
	conv.seen = now
	if conv.place != nil && !conv.ending {
		a.open.MoveToBack(conv.place)
	} else {
		if conv.place != nil {
			a.ended.Remove(conv.place)
		}
		conv.place, conv.ending = a.open.PushBack(conv), false
	}
	if user := a.users[conv.said.CustomerID]; user != nil {
		user.seen = now
		a.userOrder.MoveToBack(user.place)
	}
	return conv
}

// reset forgets what is known of a conversation: s opens one that is complete. What of it was not posted goes with that.
func (a *assembler) reset(conv *conversation, s *Session) {
	a.buf.release(conv.bytes)
	conv.bytes = 0
	clear(conv.lines)
	conv.said = transcriptDocument{}
	conv.start, conv.firstLine, conv.lastLine, conv.end = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	conv.session = strings.Clone(s.ID)
}

// add notes what a piece says.
func (conv *conversation) add(p piece, now time.Time, buf *buffer) {
	switch e := p.payload.(type) {
	case *Message:
		conv.ended = false
		if old, ok := conv.lines[e.Index]; ok {
			conv.bytes -= len(old)
			buf.release(len(old))
		}
		conv.lines[e.Index] = p.line
		if at := e.moment(now); !at.IsZero() {
			if conv.firstLine.IsZero() || at.Before(conv.firstLine) {
				conv.firstLine = at
			}
			if at.After(conv.lastLine) {
				conv.lastLine = at
			}
		}
	case *Session:
		conv.ended = false
		if at := cmpTime(e.StartTime, now); conv.start.IsZero() || at.Before(conv.start) {
			conv.start = at
		}
		conv.open(e)
	case *SessionEnd:
		conv.ended = true
		conv.end = e.EndTime
		if e.Transfer != nil {
			conv.said.Transfer = clone(e.Transfer)
		} else if e.Reason == CloseTransfer {
			conv.said.Transfer = new(true)
		}
		if e.Completed != nil {
			conv.said.Completed = clone(e.Completed)
		}
	}
}

// cmpTime is cmp.Or for times.
func cmpTime(t, otherwise time.Time) time.Time {
	if t.IsZero() {
		return otherwise
	}
	return t
}

// open notes what an opening says.
func (conv *conversation) open(s *Session) {
	d := &conv.said
	set := func(to *string, value string) {
		if value != "" {
			*to = strings.Clone(value)
		}
	}
	set(&d.CustomerID, s.UserID)
	if s.AssistantID != DefaultAssistantID {
		set(&d.AgentID, s.AssistantID)
	}
	set(&d.Source, s.Source)
	for key, to := range map[string]*string{
		DataAgentVersion: &d.AgentVersion, DataCustomerPhone: &d.CustomerPhone, DataTextURL: &d.TextURL, DataAudioURL: &d.AudioURL,
		DataCustomerEmail: &d.CustomerEmail, DataExternalCompanyName: &d.ExternalCompanyName, DataExternalCompanyType: &d.ExternalCompanyType,
	} {
		text, _ := s.Data[key].(string)
		set(to, text)
	}
	switch seconds := s.Data[DataDuration].(type) {
	case int64:
		d.Duration = &seconds
	case int:
		d.Duration = new(int64(seconds))
	}
}

// document returns the conversation as it is posted.
func (a *assembler) document(conv *conversation, now time.Time) []byte {
	d := conv.said
	d.ConversationID = conv.id
	if user := a.users[d.CustomerID]; user != nil {
		d.CustomerEmail = cmp.Or(d.CustomerEmail, user.email)
		d.CustomerPhone = cmp.Or(d.CustomerPhone, user.phone)
		d.ExternalCompanyID = cmp.Or(d.ExternalCompanyID, user.company.ID)
		d.ExternalCompanyName = cmp.Or(d.ExternalCompanyName, user.company.Name)
		d.ExternalCompanyType = cmp.Or(d.ExternalCompanyType, user.company.Type)
	}
	if d.CustomerID == conv.id { // the stand-in for an unknown user
		d.CustomerID = ""
	}
	lines := make([]json.RawMessage, 0, len(conv.lines))
	for _, index := range slices.Sorted(maps.Keys(conv.lines)) {
		lines = append(lines, conv.lines[index])
	}
	d.Lines = lines
	start := cmpTime(conv.start, cmpTime(conv.firstLine, now))
	d.Start = documentTime(start)
	if conv.ended {
		if end := cmpTime(conv.end, conv.lastLine); !end.Before(start) { // with clocks that disagree there is no end to tell
			d.End = documentTime(end)
		}
	}
	return encodeDocument(&d)
}

// Fields of an entry that is a conversation. It stands in the buffer as events do, under the tag of fieldEvents.
const (
	fieldConversationEvents   protowire.Number = 1 // heldSize bytes for each
	fieldConversationSession  protowire.Number = 2
	fieldConversationDocument protowire.Number = 3
)

// heldSize is what an event takes in an entry: its id and its type.
const heldSize = 16 + 1

// heldKinds are the types of events by their number in an entry.
var heldKinds = []EventType{EventIdentify, EventOpenSession, EventCloseSession, EventCreateMessage, EventFeedback}

// post hands a conversation with all that is known of it to the buffer, the user's events with it. An ended one is kept
// for a while.
func (a *assembler) post(conv *conversation, now time.Time) {
	events := conv.pending
	user := a.users[conv.said.CustomerID]
	if user != nil && len(user.pending) > 0 {
		events = slices.Concat(user.pending, events)
	}
	document := a.document(conv, now)
	ids := make([]byte, 0, len(events)*heldSize)
	for _, e := range events {
		ids = append(append(ids, e.id[:]...), byte(slices.Index(heldKinds, e.kind)))
	}
	entry, at := beginMessage(nil, fieldEvents, len(ids)+len(document)+len(conv.session)+16)
	entry = protowire.AppendBytes(appendTag(entry, fieldConversationEvents, protowire.BytesType), ids)
	entry = appendString(entry, fieldConversationSession, conv.session)
	entry = protowire.AppendBytes(appendTag(entry, fieldConversationDocument, protowire.BytesType), document)
	entry = endMessage(entry, at)
	if !a.buf.handOver(a.laneOf(conv.id), entry, events, now) {
		return // closed: abandon sees to it
	}
	conv.pending = nil
	if user != nil {
		user.pending = nil
	}
	if conv.ended {
		a.open.Remove(conv.place)
		conv.place, conv.ending = a.ended.PushBack(conv), true
	}
	for a.buf.lacksBytes(0) && a.giveUp() {
	}
}

// giveUp forgets the conversation that ended longest ago. It reports false when none is kept.
func (a *assembler) giveUp() bool {
	oldest := a.ended.Front()
	if oldest == nil {
		return false
	}
	a.forget(oldest.Value.(*conversation))
	return true
}

// giveUpUser forgets the user who was not heard of for longest, if that one has waited for a conversation in vain. Users
// with an open one are heard of with every message.
func (a *assembler) giveUpUser() []Drop {
	oldest := a.userOrder.Front()
	if oldest == nil || len(oldest.Value.(*customer).pending) == 0 {
		return nil
	}
	user := oldest.Value.(*customer)
	drops := a.buf.loseHeld(user.pending, "", DropUnsupported)
	a.forgetUser(user)
	return drops
}

// forget ends what is known of a conversation. Its events have been seen to.
func (a *assembler) forget(conv *conversation) {
	if conv.ending {
		a.ended.Remove(conv.place)
	} else {
		a.open.Remove(conv.place)
	}
	delete(a.conversations, conv.id)
	a.buf.release(conv.bytes)
}

func (a *assembler) forgetUser(user *customer) {
	a.userOrder.Remove(user.place)
	delete(a.users, user.id)
	a.buf.release(user.bytes)
}

// expire forgets what was kept long enough. Users of whom nobody heard have had no conversation to be posted with.
func (a *assembler) expire(now time.Time) (drops []Drop) {
	for e := a.ended.Front(); e != nil && now.Sub(e.Value.(*conversation).seen) > a.keep; e = a.ended.Front() {
		a.giveUp()
	}
	for e := a.open.Front(); e != nil; e = a.open.Front() { // those that a Flush has posted, and nobody ends
		conv := e.Value.(*conversation)
		if len(conv.pending) > 0 || now.Sub(conv.seen) <= a.keep {
			break
		}
		a.forget(conv)
	}
	for e := a.userOrder.Front(); e != nil && now.Sub(e.Value.(*customer).seen) > a.keep; e = a.userOrder.Front() {
		user := e.Value.(*customer)
		drops = append(drops, a.buf.loseHeld(user.pending, "", DropUnsupported)...)
		a.forgetUser(user)
	}
	return drops
}

// dropOldest drops the oldest conversation on its way, or else the quietest of the open ones that has events to lose.
func (a *assembler) dropOldest() []Drop {
	a.mu.Lock()
	defer a.mu.Unlock()
	if drops := a.buf.evictOne(); len(drops) > 0 {
		return drops
	}
	for e := a.open.Front(); e != nil; e = e.Next() {
		if conv := e.Value.(*conversation); len(conv.pending) > 0 {
			drops := a.buf.loseHeld(conv.pending, conv.session, DropOverflow)
			a.forget(conv)
			return drops
		}
	}
	return nil
}

// postOpen posts every open conversation that has news, as it stands, waiting for room until ctx ends.
func (a *assembler) postOpen(ctx context.Context) {
	a.mu.Lock()
	ids := make([]string, 0, a.open.Len())
	for e := a.open.Front(); e != nil; e = e.Next() {
		ids = append(ids, e.Value.(*conversation).id)
	}
	a.mu.Unlock()
	for _, id := range ids {
		for {
			space := a.postIfRoom(id)
			if space == nil {
				break
			}
			select {
			case <-space:
			case <-ctx.Done():
				return
			}
		}
	}
}

// postIfRoom posts one, if it has news and there is room for it twice: as what is known, and on its way.
func (a *assembler) postIfRoom(id string) (space <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	conv := a.conversations[id]
	if conv == nil || len(conv.pending) == 0 {
		return nil
	}
	for a.buf.lacksBytes(conv.bytes) && a.giveUp() {
	}
	if space := a.buf.roomFor(conv.bytes); space != nil {
		return space
	}
	a.post(conv, time.Now())
	return nil
}

// abandon drops all that was not handed over: users without a conversation as unsupported, the rest as closed.
func (a *assembler) abandon() (closed, unsupported []Drop) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, conv := range a.conversations {
		closed = append(closed, a.buf.loseHeld(conv.pending, conv.session, DropClosed)...)
		a.buf.release(conv.bytes)
	}
	for _, user := range a.users {
		unsupported = append(unsupported, a.buf.loseHeld(user.pending, "", DropUnsupported)...)
		a.buf.release(user.bytes)
	}
	clear(a.conversations)
	clear(a.users)
	a.open.Init()
	a.ended.Init()
	a.userOrder.Init()
	return closed, unsupported
}

// hold accepts events that are part of no entry yet. When there is no room it accepts none, and space is closed once
// that may have changed; force makes room.
func (b *buffer) hold(events, size int, force bool) (space <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, ErrClosed
	case !force && !b.fitInMemory(events, size):
		return b.nextSpace(), nil
	}
	b.tally.accepted += uint64(events)
	b.tally.countInMemory(events, size)
	return nil, nil
}

// roomFor returns nil if size bytes fit or nothing is on its way that could make room, else what to wait for.
func (b *buffer) roomFor(size int) (space <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tally.memBytes+size <= b.maxBytes {
		return nil
	}
	for i := range b.lanes {
		if b.lanes[i].events > 0 || b.lanes[i].flying != nil {
			return b.nextSpace()
		}
	}
	return nil
}

// lacksBytes reports whether size bytes more are beyond the budget.
func (b *buffer) lacksBytes(size int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tally.memBytes+size > b.maxBytes
}

// release gives back bytes of what is no longer known.
func (b *buffer) release(size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.countInMemory(0, -size)
	b.announceSpace()
}

// handOver puts an entry that holds events already accepted into a lane. It reports false when the buffer is closed.
func (b *buffer) handOver(i int, entry []byte, events []held, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	l := &b.lanes[i]
	for _, e := range events {
		if e.receipt != nil {
			l.receipts = append(l.receipts, expected{l.next, e.receipt})
		}
	}
	seg := b.memorySegment(l, len(entry))
	b.store(seg, entry, 0)
	b.append(l, seg, len(entry), now)
	b.tally.accepted-- // append counts the entry as an event: its own are counted
	b.tally.countInMemory(-1, -len(events)*heldCharge)
	return true
}

// loseHeld drops events that are part of no entry yet.
func (b *buffer) loseHeld(events []held, session string, reason DropReason) (drops []Drop) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.dropped[reason] += uint64(len(events))
	b.tally.countInMemory(-len(events), -len(events)*heldCharge)
	for _, e := range events {
		if e.receipt != nil {
			e.receipt.settle(&DropError{Reason: reason})
		}
		d := Drop{EventID: hex.EncodeToString(e.id[:]), EventType: e.kind, SessionID: session, Reason: reason}
		if e.kind == EventIdentify {
			d.SessionID = ""
		}
		drops = append(drops, d)
	}
	if len(events) > 0 {
		b.announceSpace()
	}
	return drops
}

// evictOne drops the oldest entry that waits.
func (b *buffer) evictOne() (drops []Drop) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.evict(inMemory, &drops)
	return drops
}

// weight is how many events a run holds.
func (b *buffer) weight(r run) (n int) {
	if !b.conversations {
		return r.events
	}
	for data := r.data(); len(data) > 0; {
		size := entrySize(data)
		n += len(field(field(data[:size], fieldEvents), fieldConversationEvents)) / heldSize
		data = data[size:]
	}
	return n
}

// appendConversationDrops appends what may be told of a conversation that is dropped, event by event.
func appendConversationDrops(drops []Drop, entry []byte, reason DropReason, cause error) []Drop {
	conv := field(entry, fieldEvents)
	session := string(field(conv, fieldConversationSession))
	for ids := range slices.Chunk(field(conv, fieldConversationEvents), heldSize) {
		d := Drop{EventID: hex.EncodeToString(ids[:16]), EventType: heldKinds[ids[16]], SessionID: session, Reason: reason, Err: cause}
		if d.EventType == EventIdentify {
			d.SessionID = ""
		}
		drops = append(drops, d)
	}
	return drops
}

// newBody returns what a request for the batch carries: for an Acro endpoint the document alone, or, of a batch without
// any, an object without fields, which no such endpoint takes and every one answers in its own words.
func (t *transport) newBody(b *batch, compress bool) *body {
	if !t.acro {
		return newBody(b, compress)
	}
	document := []byte("{}")
	for _, entry := range b.chunks { // one
		document = field(field(entry, fieldEvents), fieldConversationDocument)
	}
	plain := &body{chunks: [][]byte{document}, size: int64(len(document))}
	if compress && plain.size >= minPacked {
		return plain.pack()
	}
	return plain
}

// isAcroAnswer reports whether an answer is an error in the words of an Acro endpoint, which has then read the request.
func isAcroAnswer(err error) bool {
	status, ok := errors.AsType[*StatusError](err)
	return ok && status.RequestID != ""
}

// acroRequestID returns the requestId of an Acro endpoint's error, empty if the text is none.
func acroRequestID(text []byte) string {
	var e struct{ Error, RequestID string }
	if json.Unmarshal(text, &e) != nil || e.Error == "" || len(e.RequestID) > 64 ||
		strings.ContainsFunc(e.RequestID, func(r rune) bool { return r >= 0x80 || !isAlnum(byte(r)) && r != '_' && r != '-' }) {
		return ""
	}
	return e.RequestID
}

// classifyAcro corrects an outcome by what differs for an Acro endpoint.
func classifyAcro(out *outcome, err *StatusError, text []byte) {
	err.RequestID = acroRequestID(text)
	if err.Code == http.StatusUnsupportedMediaType {
		out.verdict = refused
	}
}

// acroBuffer is the buffer's part of cfg where entries are conversations: each is a batch of its own, however large.
func acroBuffer(cfg Config) *buffer {
	cfg.BatchEvents, cfg.BatchBytes = 1, math.MaxInt
	b := newBuffer(&cfg)
	b.conversations = true
	return b
}
