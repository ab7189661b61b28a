// Package collector is the plan of the server: what it keeps (facts), what people look at (views derived from facts),
// and the [Store] that does both.
//
// Every event that arrives is a fact with an id. Storing it twice changes nothing, and the order in which facts arrive
// changes nothing: each view is derived by a rule that does not depend on arrival, so retries, replicas and reordering
// need no coordination anywhere. The rules stand beside the types below.
//
// Adapters live in packages of their own, named after what they adapt: ingest (the dialects clients speak), store/…
// (databases), conversations (the read API). Dependencies point from them to here.
package collector

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"time"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// DefaultIdleTimeout is how long a session may be without activity before it counts as closed.
const DefaultIdleTimeout = 30 * time.Minute

// MaxProperties is how many custom properties a view shows: of a conversation, a user, or a version of a message. Of more
// it shows those with the smallest keys, byte by byte, because that choice does not depend on which arrived first. The
// facts keep them all.
const MaxProperties = 1000

// MaxPageBytes is where a page of a list ends though it has fewer rows than were asked for.
const MaxPageBytes = 8 << 20

// Errors of a [Store] that a caller branches on.
var (
	// ErrNotFound says that the project has no such thing.
	ErrNotFound = errors.New("collector: not found")
	// ErrBusy says that the store's queue is full, and did not get emptier in time: try again in a moment.
	ErrBusy = errors.New("collector: busy")
	// ErrQuery says that the text of a search cannot be understood. Errors that wrap it say why, without the text.
	ErrQuery = errors.New("collector: query not understood")
	// ErrPageToken says that a page token was not made by this store.
	ErrPageToken = errors.New("collector: page token not understood")
)

// Fact is one event as a client told it, in the words of the ingestion schema, whatever dialect it came in.
type Fact struct {
	// ID is the event's id: a UUID in 32 lower-case hex digits when it is one in any form, else the client's own text.
	ID string
	// Event is the whole event. Its project_id says nothing: the project is the key's.
	Event *ingestionv1alpha.Event
	// Time is when it happened by the client's clock, or ReceiveTime where the client gave none that can be kept.
	Time time.Time
	// ReceiveTime is when the collector read it.
	ReceiveTime time.Time
}

// The types of events, as the schema names them.
const (
	TypeSessionOpen    = "session_open"
	TypeSessionClose   = "session_close"
	TypeUserRecognize  = "user_recognize"
	TypeMessageCreate  = "message_create"
	TypeFeedbackCreate = "feedback_create"
	TypeSessionUpdate  = "session_update" // ours: the base schema has no word for it
)

// SetAside is an event that was not good enough to be a fact. It is kept so that nothing is lost without a word.
type SetAside struct {
	// EventID is as sent, empty where it could not be read.
	EventID string
	// Reason is one of a closed set of words; see package ingest.
	Reason string
	// Raw is the event's bytes as they came: protobuf or JSON.
	Raw []byte
	// ReceiveTime is when the collector read it.
	ReceiveTime time.Time
}

// Batch is what one request brought.
type Batch struct {
	Facts    []Fact
	SetAside []SetAside
}

// Appended counts what became of a [Batch].
type Appended struct {
	Stored    int // facts that were new
	Duplicate int // facts that were here already
	SetAside  int
}

// Order is the one order in which facts override each other: by time, then by id. The greatest is current.
type Order struct {
	Time time.Time
	ID   string
}

// Compare returns -1, 0 or +1 as o stands before, at or after p.
func (o Order) Compare(p Order) int {
	return cmp.Or(o.Time.Compare(p.Time), cmp.Compare(o.ID, p.ID))
}

// Conversation is a session, as its facts add up.
type Conversation struct {
	ID string
	// UserID is that of the first opening by [Order] that named a user; it stays.
	UserID string
	// AssistantID and Title are of the last opening or update by [Order] that gave one.
	AssistantID string
	Title       string
	// Source, Channel, Language, Status, Resolution and Data are each of the last event by [Order] that gave or cleared it.
	// Status and Resolution are what the app said, in the words of the ingestion schema; most apps say nothing.
	Source, Channel, Language string
	Status, Resolution        string
	Data                      string // a JSON object, or empty
	// Labels are those of the last event by [Order] that gave any.
	Labels []string
	// Transfer and Completed are of the last event by [Order] that knew; nil is unknown.
	Transfer, Completed *bool
	// TestMode is true once an event said so.
	TestMode bool
	// Tags are those whose last event by [Order] added them, sorted. Runs have tags of their own.
	Tags []string
	// StartTime is the earliest of openings and messages; of a session of which only updates are known, of those.
	StartTime time.Time
	// LastActivity is the latest of openings, messages and the end times that closes report. Feedback is no activity.
	LastActivity time.Time
	// CloseTime and CloseReason are of the close with the greatest CloseTime. An idle close speaks only for the activity its
	// client had seen, so later activity on another replica wins. Every other speaks for the moment it was made, or for the
	// end time it reports where that is later: what it says is over cannot still be open. Zero when there is none.
	CloseTime   time.Time
	CloseReason string
	// MessageCount counts distinct message indexes, without those behind the end of a transcript; see [Message].
	MessageCount int
	// Vote is the latest vote by [Order] on the session as a whole; what follows came with it.
	Vote    Vote
	Comment string
	Reasons []string
	Score   *Score // nil is none
	// Properties holds, key by key, the last value by [Order] of openings and closes; see [MaxProperties].
	Properties map[string]string
}

// State says how a conversation stands.
type State int

const (
	StateOpen State = iota
	StateClosed
)

// State derives, at now, whether the conversation is open, and when and why it ended if not. A close ends it unless there
// was activity after the moment it speaks for; later activity opens it again; no activity for the idle timeout ends it.
// It ends at its last activity, never at the moment someone noticed.
func (c *Conversation) State(now time.Time, idle time.Duration) (state State, end time.Time, reason string) {
	switch {
	case !c.CloseTime.IsZero() && !c.CloseTime.Before(c.LastActivity):
		return StateClosed, c.LastActivity, c.CloseReason
	case idle > 0 && now.Sub(c.LastActivity) >= idle:
		return StateClosed, c.LastActivity, CloseIdle
	}
	return StateOpen, time.Time{}, ""
}

// Why a session was closed.
const (
	CloseExplicit = "explicit"
	CloseIdle     = "idle"
	CloseShutdown = "shutdown"
	CloseTransfer = "transfer"
)

// Vote is a thumb.
type Vote int

const (
	VoteNone Vote = iota
	VoteUp
	VoteDown
)

// Score is a rating beside a thumb, on the scale that its app uses. Min and Max are 0 where the app did not say.
type Score struct{ Value, Min, Max float64 }

// Message is the current version of a message: of all events at its index, the last by [Order].
//
// An event that tells a whole transcript says how many messages there are. The last such event by [Order] hides every message
// at a higher index whose current version is of an earlier event. Its facts stay.
//
// Where a client does not count messages, each has a place instead (time, turn, part: see the ingestion schema), which takes
// the index's part in all of this. They follow those with an index, and are numbered on as they stand: an older message that
// comes late moves the numbers after it, not the order.
type Message struct {
	Index int32
	// Placed says that the index is only the message's number as it stands, since its client does not count.
	Placed   bool
	Role     string // user, assistant, system, tool or human
	Content  string
	Time     time.Time
	Versions int // events at this index that differ in role or content
	Vote     Vote
	Comment  string // of the current vote, as Reasons and Score
	Reasons  []string
	Score    *Score // nil is none
	// Detail is that of the last of this version's events by [Order] that had any.
	Detail Detail
	// Properties holds, key by key, the last value by [Order] of this version's events; see [MaxProperties].
	Properties map[string]string
}

// Detail is what is known of how a message came about, most of it of answers. The zero value is nothing; nil is unknown.
type Detail struct {
	Latency             *time.Duration `json:"latency,omitempty"` // request to whole answer, in nanoseconds
	TimeToFirstToken    *time.Duration `json:"ttft,omitempty"`
	Success             *bool          `json:"success,omitempty"`
	Incomplete          bool           `json:"incomplete,omitempty"` // the answer never came to its end
	Error               string         `json:"error,omitempty"`
	Outcome             string         `json:"outcome,omitempty"` // response_generated, not_understood, error, escalation_required or fallback
	Intent              string         `json:"intent,omitempty"`
	IntentNotMeaningful bool           `json:"intent_not_meaningful,omitempty"` // a greeting, say
	Agent               string         `json:"agent,omitempty"`                 // who answered, with its version
	Model               string         `json:"model,omitempty"`
	RunID               string         `json:"run_id,omitempty"`
	InputTokens         *int64         `json:"input_tokens,omitempty"`
	OutputTokens        *int64         `json:"output_tokens,omitempty"`
	Cost                *float64       `json:"cost,omitempty"` // US dollars
	ToolCalls           []ToolCall     `json:"tool_calls,omitempty"`
}

// ToolCall is a tool that was called for an answer.
type ToolCall struct {
	ID        string `json:"id,omitempty"`
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments,omitempty"`
	Result    string `json:"result,omitempty"`
}

// User is a user, as its facts add up. Each field is the last by [Order] that was given; an absent one erases nothing.
// A user that only session openings name has nothing but its id.
type User struct {
	ID          string
	DisplayName string
	Email       string
	// IP is empty while a country is known: the country says more, and less.
	IP          string
	CountryCode string
	Region      string
	City        string
	// CreateTime is the first by [Order] that was given; it stays.
	CreateTime  time.Time
	CompanyID   string
	CompanyName string
	CompanyType string
	// Properties holds, key by key, the last value by [Order]; see [MaxProperties].
	Properties map[string]string
}

// Page asks for one page of a list. Token is empty for the first, else what the page before returned. A page has Size rows
// as long as there are more, but ends before [MaxPageBytes] of text, with one row at least: only the token says whether
// another follows.
type Page struct {
	Size  int
	Token string
}

// Scope is what a key may do.
type Scope string

const (
	ScopeIngest Scope = "ingest" // send events
	ScopeRead   Scope = "read"   // look at conversations
	ScopeChat   Scope = "chat"   // both, and begin conversations, change what is said of them, and chat in them
	ScopeAdmin  Scope = "admin"  // all, and whatever administers the project
)

// Allows reports whether a key of scope s may do what needs scope need.
func (s Scope) Allows(need Scope) bool {
	return s == need || s == ScopeAdmin || s == ScopeChat && (need == ScopeIngest || need == ScopeRead)
}

// Key is what is kept of an API key. The key itself is shown once and never stored.
type Key struct {
	// Hash is the SHA-256 of the whole key. Keys carry 256 random bits, so a fast hash is the right one.
	Hash       [32]byte
	Hint       string // the last four characters, for people
	Project    string
	Scope      Scope
	CreateTime time.Time
	// ExpireTime is when the key stops working: when it was revoked, or a while after another took its place. Zero is never.
	ExpireTime time.Time
	// LastUsed is when a request last came with the key, up to an hour before it really was. Zero is never.
	LastUsed time.Time
}

// ID names a key where its secret must not be: in lists, on command lines, in the log. It is the first 12 hex digits of
// the hash, of which nothing but the hash can be guessed.
func (k *Key) ID() string { return hex.EncodeToString(k.Hash[:6]) }

// Expired reports whether the key no longer works at now.
func (k *Key) Expired(now time.Time) bool {
	return !k.ExpireTime.IsZero() && !now.Before(k.ExpireTime)
}

// Store keeps facts and answers from the views derived from them. It is safe for concurrent use.
// Package storetest is the behaviour every implementation shows.
type Store interface {
	// Append stores a batch and returns when it is durable. It stores all of it or, with an error, none.
	// A fact already here under the same project and id is counted as a duplicate and changes nothing.
	// When too much is waiting already it waits for room, first come first served, and returns ErrBusy when there is none
	// for some seconds, or when too many wait for room as well.
	Append(ctx context.Context, project string, batch Batch) (Appended, error)

	// Conversations lists a project's conversations by start time, newest first, ties by id, and the next page's token,
	// empty on the last page.
	Conversations(ctx context.Context, project string, page Page) ([]Conversation, string, error)
	// Messages lists the current messages of a conversation by index. ErrNotFound when there is no such conversation.
	Messages(ctx context.Context, project, conversation string, page Page) ([]Message, string, error)
	// User returns what is known of a user, or ErrNotFound.
	User(ctx context.Context, project, id string) (User, error)
	// Totals counts what a project holds.
	Totals(ctx context.Context, project string) (Totals, error)

	Searcher

	// Quality counts what is odd about a project's data.
	Quality(ctx context.Context, project string) (Quality, error)
	// Findings lists what one of its counts counts, and the next page's token, empty on the last page.
	Findings(ctx context.Context, project string, kind FindingKind, page Page) ([]Finding, string, error)
	// SetAsideEvents lists what was set aside, newest first, for one reason or, where that is empty, any. Content and id
	// are left out unless content is true.
	SetAsideEvents(ctx context.Context, project, reason string, content bool, page Page) ([]SetAsideEvent, string, error)

	// Activity calls yield for each conversation of a project, or of all where project is empty, with the times of its
	// messages in no order, and ends with its first error. Of the conversation only ids and times are filled in.
	Activity(ctx context.Context, project string, yield func(Conversation, []time.Time) error) error

	// Replay makes all views again from the facts, and returns how many there were. Readers see the views before or after
	// it; with an error they stay as they were. What facts that are gone once said stays.
	Replay(ctx context.Context) (facts int, err error)

	// Retain takes out what is older than a policy allows. Counts stay, and so does every fact's id: the same event that
	// comes again changes nothing.
	Retain(ctx context.Context, keep Retention) (Retained, error)
	// Compact leaves no trace on the disk of what was taken out. Appends wait meanwhile.
	Compact(ctx context.Context) error
	// Erase takes content and identity of a user out of everything, and leaves a line in the audit. Counts stay, and events
	// that were erased change nothing when they come again. Erasing a user who is not known, or again, is no error.
	Erase(ctx context.Context, project, user, actor string) (Erased, error)
	// Backup writes everything as it is at one moment to a new file, and checks that it can be read back.
	Backup(ctx context.Context, file string) error
	// Audit lists what was done to a project by hand, or to all where project is empty, oldest first.
	Audit(ctx context.Context, project string) ([]AuditLine, error)

	// CreateKey keeps a new key.
	CreateKey(ctx context.Context, key Key) error
	// HasProject reports whether there is such a project: whether a key was ever made for it.
	HasProject(ctx context.Context, project string) (bool, error)
	// KeyByHash returns the key with that hash, or ErrNotFound.
	// One that has expired is found too.
	KeyByHash(ctx context.Context, hash [32]byte) (Key, error)
	// Keys lists the keys of a project, or of all where project is empty, by project and time of creation. Those that have
	// expired stay in the list.
	Keys(ctx context.Context, project string) ([]Key, error)
	// ExpireKey makes a key stop working at a time, unless it does so earlier. ErrNotFound when there is no such key.
	ExpireKey(ctx context.Context, hash [32]byte, at time.Time) error
	// RotateKey keeps a new key and makes the old one stop working at a time: both or, with an error, neither.
	RotateKey(ctx context.Context, old [32]byte, key Key, at time.Time) error
	// UseKey notes that a key was used. It returns at once; the note is written sooner or later, or lost.
	UseKey(hash [32]byte, at time.Time)

	// Stats says how the store is doing. It is cheap.
	Stats() StoreStats
	// Ready returns nil when the store can write. After an append that the disk refused it does not, until one succeeded or
	// would.
	Ready(ctx context.Context) error
	// Close waits for appends under way, then frees everything. Appends after it return an error.
	Close() error
}

// Retention says what is kept. The age of a fact is that of its Time.
type Retention struct {
	// ContentBefore is the time before which content is taken out: the text of messages, titles, comments and custom
	// properties, of facts and views alike, and all of what was set aside. Zero keeps it.
	ContentBefore time.Time
	// FactsBefore is the time before which facts are emptied. What they said stays in the views, which cannot be made again
	// from facts then: a replay starts from them. Zero keeps facts.
	FactsBefore time.Time
}

// Retained counts what [Store.Retain] took out.
type Retained struct {
	Contents int // facts that lost their content
	Facts    int // facts that were emptied
	SetAside int
}

// Erased counts what was erased.
type Erased struct {
	Sessions int `json:"sessions"`
	Messages int `json:"messages"`
	Votes    int `json:"votes"` // of the user, in any session
	Facts    int `json:"facts"`
	SetAside int `json:"set_aside"`
}

// AuditLine says what was done, without content or identity.
type AuditLine struct {
	Time    time.Time
	Project string
	Action  string
	Actor   string // the id of a key, or "command line"
	Detail  string // counts, in JSON
}

// Totals counts what a project holds.
type Totals struct {
	Facts         int
	SetAside      int
	Users         int
	Conversations int
	Messages      int // current messages: distinct session and index
	Votes         int // current votes, on messages and sessions
}
