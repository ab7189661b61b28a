package align

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Transcript is a whole conversation, told at once: what [Client.RecordTranscript] records. Its fields, their names in
// JSON and their limits are those of the Acro conversation document; only Properties is ours. Lengths are Unicode code
// points. An empty text, a nil pointer and a zero time mean that nothing is said.
//
// As JSON it is that document, see [ParseTranscript]. Times are written in UTC, as RFC 3339.
type Transcript struct {
	// ConversationID is the session's id: a UUID of 36 characters, hyphens included, in either case. Required. It is
	// recorded in lower case.
	ConversationID string `validate:"uuid36"`
	// Lines are the complete conversation in its order, which timestamps do not change. Line i is the message at index
	// i+1. There may be none: a session in which nobody said anything.
	Lines []TranscriptLine `validate:"dive"`
	// Start is when the conversation began. Required.
	Start time.Time `validate:"required,timestamp"`
	// End is when it ended, not before Start. Beside a Duration it is End that counts.
	End time.Time `validate:"timestamp"`
	// Duration is how long it lasted: whole seconds, not negative. Without End it says when the conversation ended.
	Duration *time.Duration `validate:"omitempty,min=0"`
	// Transfer says whether it was handed to a human, Completed whether it served its purpose. Nil means unknown.
	Transfer, Completed *bool

	// CustomerID is the session's user, at most 64. Without it the conversation's id stands for an unknown user of
	// this conversation alone.
	CustomerID string `validate:"omitempty,nonblank,text,max=64"`
	// CustomerEmail is an address, at most 320.
	CustomerEmail string `validate:"omitempty,text,max=320,email"`
	// CustomerPhone has no particular form, at most 128.
	CustomerPhone string `validate:"omitempty,text,max=128"`
	// AgentID is the session's assistant, at most 64. Without it, [DefaultAssistantID].
	AgentID string `validate:"omitempty,nonblank,text,max=64"`
	// AgentVersion is at most 128.
	AgentVersion string `validate:"omitempty,text,max=128"`
	// ExternalCompanyID is the customer of the app's owner that the user belongs to, at most 64.
	ExternalCompanyID string `validate:"omitempty,nonblank,text,max=64"`
	// ExternalCompanyName and ExternalCompanyType describe it, at most 256 and 128.
	ExternalCompanyName string `validate:"omitempty,text,max=256"`
	ExternalCompanyType string `validate:"omitempty,text,max=128"`
	// Source is where the conversation came from, such as a site's name, at most 64.
	Source string `validate:"omitempty,text,max=64"`
	// TextURL and AudioURL are where its text and its recording are: http or https URLs, at most 2,048 each.
	TextURL  string `validate:"omitempty,text,max=2048,weburl"`
	AudioURL string `validate:"omitempty,text,max=2048,weburl"`

	// Properties are those of the session. They are no part of the document.
	Properties Properties `validate:"properties"`

	// UnknownFields counts the fields of a parsed document, those of its lines included, that are none of the above.
	// Recording ignores it.
	UnknownFields int
}

// TranscriptLine is one line of a [Transcript].
type TranscriptLine struct {
	// Role is one of the eight spellings below, exactly.
	Role TranscriptRole `validate:"oneof=AI_ASSISTANT USER HUMAN TOOL assistant user tool system"`
	// Content is the text. Nil means that there is none. Beyond [Config.MaxContentBytes] it is cut, visibly.
	Content *string `validate:"omitempty,text"`
	// Timestamp is when the line was written. Lines need not be in order of time.
	Timestamp time.Time `validate:"timestamp"`
}

// TranscriptRole says who wrote a line: in the spelling of the Acro document, which has two for most.
type TranscriptRole string

const (
	TranscriptAIAssistant TranscriptRole = "AI_ASSISTANT" // RoleAssistant
	TranscriptUser        TranscriptRole = "USER"         // RoleUser
	TranscriptHuman       TranscriptRole = "HUMAN"        // RoleHuman
	TranscriptTool        TranscriptRole = "TOOL"         // RoleTool: actions and events of systems

	TranscriptLowerAssistant TranscriptRole = "assistant" // RoleAssistant
	TranscriptLowerUser      TranscriptRole = "user"      // RoleUser
	TranscriptLowerTool      TranscriptRole = "tool"      // RoleTool
	TranscriptSystem         TranscriptRole = "system"    // RoleSystem: messages of the system
)

// transcriptRoles is what each spelling means.
var transcriptRoles = map[TranscriptRole]Role{
	TranscriptAIAssistant: RoleAssistant, TranscriptLowerAssistant: RoleAssistant,
	TranscriptUser: RoleUser, TranscriptLowerUser: RoleUser,
	TranscriptHuman: RoleHuman,
	TranscriptTool:  RoleTool, TranscriptLowerTool: RoleTool,
	TranscriptSystem: RoleSystem,
}

// Keys of [Session.Data] for what a [Transcript] says and a session has no field for.
const (
	DataAgentVersion  = "agentVersion"
	DataCustomerPhone = "customerPhone"
	DataTextURL       = "textUrl"
	DataAudioURL      = "audioUrl"
	DataDuration      = "duration" // whole seconds, as given

	DataCustomerEmail       = "customerEmail"       // of more than 256 code points, which a User's may not have
	DataExternalCompanyName = "externalCompanyName" // without an id, which a Company needs
	DataExternalCompanyType = "externalCompanyType" // without an id
)

// RecordTranscript records a whole conversation: its user, where anything is said of one, the opening of a session, a
// message for each line, and the session's end, whose time is End, or Start and Duration, or the timestamp of the last
// line, or left to the collector. Lines without a timestamp are recorded without one. A line without content, or with
// nothing but white space, is recorded with its length alone. What has no field of its own is kept in the session's
// data, under the keys DataAgentVersion and so on. [Stats] counts each of these events.
//
// It is all or nothing. When anything is wrong with the transcript, nothing is recorded. The buffer takes all of its
// events in one step or none: when they do not all fit, the call returns [ErrBufferFull], waits for that much room, or
// drops as many of the oldest events, as [Config.Overflow] says. A transcript that is larger than the whole buffer never
// fits. Delivery is in batches like that of any events: a process that dies may have delivered the first of them only,
// and then recording the transcript again completes it.
//
// Recording a transcript again replaces it: each line is a new version of the message at its index, and what is
// said of the session is said again. A shorter one does not remove the messages behind its last line, unless the client
// delivers to an Acro endpoint, see [Config.Acro].
//
// With [Config.Strict] everything that the base schema has no word for is an error, a line without content included.
//
// Errors: *[FieldError] for every field that breaks its limits, with paths such as "Transcript.Lines[3].Role",
// [ErrBufferFull], [ErrClosed].
func (c *Client) RecordTranscript(ctx context.Context, transcript Transcript) error {
	if c == nil || c.buf == nil || c.closing.Load() {
		return ErrClosed
	}
	now := time.Now()
	if !c.cfg.Disabled {
		if err := c.checkTranscript(&transcript, untimely(ctx)); err != nil {
			c.buf.refuse()
			return err
		}
	}
	events := transcript.events(c.cfg.Strict)
	if c.cfg.Disabled {
		for _, p := range events {
			c.drop(ctx, p, DropDisabled, now)
		}
		return nil
	}
	return c.recordAll(ctx, events, now)
}

// maxProblems bounds how many problems of one transcript are told: it may have a hundred thousand lines.
const maxProblems = 100

// checkTranscript returns others and every problem of t, the first maxProblems, as *[FieldError], joined.
func (c *Client) checkTranscript(t *Transcript, others []error) error {
	problems := append(others, c.rules.problems(t)...)
	if !t.End.IsZero() && t.End.Before(t.Start) {
		problems = append(problems, &FieldError{Field: "Transcript.End", Rule: "min", Limit: "Start"})
	}
	if t.Duration != nil && *t.Duration > 0 && *t.Duration%time.Second != 0 {
		problems = append(problems, &FieldError{Field: "Transcript.Duration", Rule: "setting", Limit: "whole seconds"})
	}
	if t.End.IsZero() && t.Duration != nil && !isTimestamp(t.Start.Add(*t.Duration)) {
		problems = append(problems, &FieldError{Field: "Transcript.Duration", Rule: "time"})
	}
	if _, ok := encodeData(t.data()); !ok {
		problems = append(problems, &FieldError{Field: "Transcript", Rule: "setting", Limit: "of no more than 16384 bytes in what is kept as session data"})
	}
	problems = append(problems, c.strictly(t.beyondBase)...)
	return errors.Join(problems[:min(len(problems), maxProblems)]...)
}

func (t *Transcript) beyondBase() []string {
	fields := inUse("Transcript.",
		fieldUse{"End", !t.End.IsZero()}, fieldUse{"Duration", t.Duration != nil},
		fieldUse{"Transfer", t.Transfer != nil}, fieldUse{"Completed", t.Completed != nil},
		fieldUse{"CustomerPhone", t.CustomerPhone != ""}, fieldUse{"AgentVersion", t.AgentVersion != ""},
		fieldUse{"CustomerEmail", !isAtMost(t.CustomerEmail, maxEmail)},
		fieldUse{"ExternalCompanyID", t.ExternalCompanyID != ""}, fieldUse{"ExternalCompanyName", t.ExternalCompanyName != ""},
		fieldUse{"ExternalCompanyType", t.ExternalCompanyType != ""}, fieldUse{"Source", t.Source != ""},
		fieldUse{"TextURL", t.TextURL != ""}, fieldUse{"AudioURL", t.AudioURL != ""},
	)
	for i, line := range t.Lines {
		if role := transcriptRoles[line.Role]; role != "" && role != RoleUser && role != RoleAssistant {
			fields = append(fields, fmt.Sprintf("Transcript.Lines[%d].Role", i))
		}
		if line.Content == nil || isBlank(*line.Content) {
			fields = append(fields, fmt.Sprintf("Transcript.Lines[%d].Content", i))
		}
	}
	return fields
}

// maxEmail is how many code points the Email of a [User] may have.
const maxEmail = 256

// events tells a transcript that keeps its limits in events.
func (t *Transcript) events(strict bool) []payload {
	id := strings.ToLower(t.ConversationID)
	user := &User{ID: t.CustomerID}
	if user.ID == "" {
		user.ID = id
	}
	if isAtMost(t.CustomerEmail, maxEmail) {
		user.Email = t.CustomerEmail
	}
	if t.ExternalCompanyID != "" {
		user.Company = &Company{ID: t.ExternalCompanyID, Name: t.ExternalCompanyName, Type: t.ExternalCompanyType}
	}
	events := make([]payload, 0, len(t.Lines)+3)
	if t.CustomerID != "" || user.Email != "" || user.Company != nil {
		events = append(events, user)
	}
	events = append(events, &Session{
		ID: id, UserID: user.ID, AssistantID: t.AgentID, StartTime: t.Start, Source: t.Source,
		Data: t.data(), Properties: t.Properties,
	})
	messages := make([]Message, len(t.Lines))
	for i, line := range t.Lines {
		m := &messages[i]
		*m = Message{SessionID: id, Index: i + 1, Role: transcriptRoles[line.Role], CreateTime: line.Timestamp, undated: line.Timestamp.IsZero()}
		switch {
		case line.Content == nil:
			m.shortened = true
		case isBlank(*line.Content):
			m.shortened, m.contentLength = true, utf8.RuneCountInString(*line.Content)
		default:
			m.Content = *line.Content
		}
		events = append(events, m)
	}
	end := &SessionEnd{SessionID: id, EndTime: t.end(), Transfer: t.Transfer, Completed: t.Completed}
	if strict {
		end.EndTime = time.Time{} // worked out, not said
	}
	return append(events, end)
}

// end is when the conversation ended, zero if that is unknown.
func (t *Transcript) end() time.Time {
	switch {
	case !t.End.IsZero():
		return t.End
	case t.Duration != nil:
		return t.Start.Add(*t.Duration)
	case len(t.Lines) > 0:
		return t.Lines[len(t.Lines)-1].Timestamp
	}
	return time.Time{}
}

// data is what a session has no fields for.
func (t *Transcript) data() map[string]any {
	data := make(map[string]any)
	keep := func(key, value string) {
		if value != "" {
			data[key] = value
		}
	}
	keep(DataAgentVersion, t.AgentVersion)
	keep(DataCustomerPhone, t.CustomerPhone)
	keep(DataTextURL, t.TextURL)
	keep(DataAudioURL, t.AudioURL)
	if !isAtMost(t.CustomerEmail, maxEmail) {
		keep(DataCustomerEmail, t.CustomerEmail)
	}
	if t.ExternalCompanyID == "" {
		keep(DataExternalCompanyName, t.ExternalCompanyName)
		keep(DataExternalCompanyType, t.ExternalCompanyType)
	}
	if t.Duration != nil {
		data[DataDuration] = int64(*t.Duration / time.Second)
	}
	if len(data) == 0 {
		return nil
	}
	return data
}

// recordAll records events of one session, the last of them its end: all, or none with an error.
func (c *Client) recordAll(ctx context.Context, events []payload, now time.Time) error {
	end := signOf(events[len(events)-1])
	kept := make([]payload, 0, len(events))
	type lost struct {
		event  payload
		reason DropReason
	}
	var dropped []lost
	cuts := uint64(0)
	for _, p := range events {
		left, reason, cut, err := c.prepare(p)
		if err != nil {
			return err
		}
		if reason != "" {
			dropped = append(dropped, lost{p, reason})
			continue
		}
		if cut {
			cuts++
		}
		kept = append(kept, left)
	}
	if err := c.enqueueAll(ctx, kept, now); err != nil {
		return err
	}
	for _, l := range dropped {
		c.drop(ctx, l.event, l.reason, now)
	}
	c.truncated.Add(cuts)
	c.follow(end, now)
	return nil
}

// enqueueAll encodes events and hands all of them to the buffer in one step.
func (c *Client) enqueueAll(ctx context.Context, events []payload, now time.Time) error {
	if len(events) == 0 {
		return nil
	}
	if c.assembler != nil {
		return c.assemble(ctx, now, true, events...)
	}
	var encoded []byte
	items := make([]item, len(events))
	for i, p := range events {
		from := len(encoded)
		encoded = appendEvent(encoded, c.cfg.ProjectID, c.ids.next(now), eventTime(ctx, now), p)
		items[i] = item{lane: c.laneOf(p.lane()), size: len(encoded) - from}
	}
	dropped, err := c.buf.pushAll(ctx, items, encoded, now, receiptFrom(ctx))
	c.tell(dropped)
	return err
}

// isUUID reports whether s is a UUID in its usual form: 36 characters, in either case.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f'):
			return false
		}
	}
	return true
}

// isWebURL reports whether s is an absolute http or https URL.
func isWebURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		(u.Port() == "" || isPort(u.Port()))
}

// transcriptDocument is a transcript as JSON.
type transcriptDocument struct {
	ConversationID      string `json:"conversationId"`
	Lines               any    `json:"lines"` // []documentLine, or []json.RawMessage of such
	Start               string `json:"start"`
	End                 string `json:"end,omitempty"`
	Duration            *int64 `json:"duration,omitempty"`
	Transfer            *bool  `json:"transfer,omitempty"`
	Completed           *bool  `json:"completed,omitempty"`
	CustomerID          string `json:"customerId,omitempty"`
	CustomerEmail       string `json:"customerEmail,omitempty"`
	CustomerPhone       string `json:"customerPhone,omitempty"`
	AgentID             string `json:"agentId,omitempty"`
	AgentVersion        string `json:"agentVersion,omitempty"`
	ExternalCompanyID   string `json:"externalCompanyId,omitempty"`
	ExternalCompanyName string `json:"externalCompanyName,omitempty"`
	ExternalCompanyType string `json:"externalCompanyType,omitempty"`
	Source              string `json:"source,omitempty"`
	TextURL             string `json:"textUrl,omitempty"`
	AudioURL            string `json:"audioUrl,omitempty"`
}

type documentLine struct {
	Role      TranscriptRole `json:"role"`
	Content   *string        `json:"content"`
	Timestamp string         `json:"timestamp,omitempty"`
}

// documentTime is a time as the document has it, empty for zero.
func documentTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// MarshalJSON returns the Acro conversation document. It checks no limits. Properties and UnknownFields are no part of it.
func (t Transcript) MarshalJSON() ([]byte, error) {
	lines := make([]documentLine, len(t.Lines))
	for i, line := range t.Lines {
		lines[i] = documentLine{line.Role, line.Content, documentTime(line.Timestamp)}
	}
	d := transcriptDocument{
		ConversationID: t.ConversationID, Lines: lines, Start: documentTime(t.Start), End: documentTime(t.End),
		Transfer: t.Transfer, Completed: t.Completed,
		CustomerID: t.CustomerID, CustomerEmail: t.CustomerEmail, CustomerPhone: t.CustomerPhone,
		AgentID: t.AgentID, AgentVersion: t.AgentVersion,
		ExternalCompanyID: t.ExternalCompanyID, ExternalCompanyName: t.ExternalCompanyName, ExternalCompanyType: t.ExternalCompanyType,
		Source: t.Source, TextURL: t.TextURL, AudioURL: t.AudioURL,
	}
	if t.Duration != nil {
		d.Duration = new(int64(*t.Duration / time.Second))
	}
	return json.Marshal(&d)
}

// MaxTranscriptBytes is the length of the longest document that [ParseTranscript] reads: 10 MiB.
const MaxTranscriptBytes = 10 << 20

// ParseTranscript reads an Acro conversation document: JSON of at most [MaxTranscriptBytes]. Required are conversationId,
// start and lines, and of each line role and content, which may be null; any other field may be absent or null. A time is
// RFC 3339 with or without a fraction, the same without a zone, which means UTC, a date alone, or milliseconds since 1970 as
// an integer. Unknown fields are ignored and counted in [Transcript.UnknownFields].
//
// Errors: *[FieldError] for every field that is missing (rule "required") or of a wrong type (rule "type"), the first 100,
// joined, with the paths of the struct's fields, such as "Transcript.Lines[3].Timestamp"; for what is no JSON object or too
// long, the rule "json" on "Transcript". Limits such as lengths and roles are checked when it is recorded.
func ParseTranscript(document []byte) (Transcript, error) {
	var t Transcript
	if err := t.UnmarshalJSON(document); err != nil {
		return Transcript{}, err
	}
	return t, nil
}

// UnmarshalJSON is [ParseTranscript] into t, which it leaves alone when it returns an error.
func (t *Transcript) UnmarshalJSON(document []byte) error {
	broken := &FieldError{Field: "Transcript", Rule: "json", Limit: fmt.Sprint(MaxTranscriptBytes, " bytes")}
	if len(document) > MaxTranscriptBytes || !json.Valid(document) {
		return broken
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(document, &fields) != nil || fields == nil {
		return broken
	}
	r := documentReader{path: "Transcript.", fields: fields}
	var p Transcript
	p.ConversationID = r.text("conversationId", "ConversationID", true)
	p.Start = r.time("start", "Start", true)
	p.End = r.time("end", "End", false)
	p.Duration = r.seconds("duration", "Duration")
	p.Transfer = r.bool("transfer", "Transfer")
	p.Completed = r.bool("completed", "Completed")
	for _, f := range []struct {
		key, name string
		to        *string
	}{
		{"customerId", "CustomerID", &p.CustomerID}, {"customerEmail", "CustomerEmail", &p.CustomerEmail},
		{"customerPhone", "CustomerPhone", &p.CustomerPhone},
		{"agentId", "AgentID", &p.AgentID}, {"agentVersion", "AgentVersion", &p.AgentVersion},
		{"externalCompanyId", "ExternalCompanyID", &p.ExternalCompanyID},
		{"externalCompanyName", "ExternalCompanyName", &p.ExternalCompanyName},
		{"externalCompanyType", "ExternalCompanyType", &p.ExternalCompanyType},
		{"source", "Source", &p.Source}, {"textUrl", "TextURL", &p.TextURL}, {"audioUrl", "AudioURL", &p.AudioURL},
	} {
		*f.to = r.text(f.key, f.name, false)
	}
	unknown := 0
	p.Lines, unknown = r.lines()
	p.UnknownFields = unknown + len(fields)
	if len(r.problems) > 0 {
		return errors.Join(r.problems...)
	}
	*t = p
	return nil
}

// documentReader reads the fields of one JSON object. Each that it reads it takes out of fields: what is left is unknown.
type documentReader struct {
	path     string
	fields   map[string]json.RawMessage
	problems []error
}

func (r *documentReader) problem(name, rule, limit string) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, &FieldError{r.path + name, rule, limit})
	}
}

// take returns a field's value, nil if it is absent or null. Required and absent it is a problem, and so is null.
func (r *documentReader) take(key, name string, required bool) json.RawMessage {
	raw, ok := r.fields[key]
	delete(r.fields, key)
	if !ok || string(raw) == "null" {
		if required {
			r.problem(name, "required", "")
		}
		return nil
	}
	return raw
}

func (r *documentReader) text(key, name string, required bool) (s string) {
	if raw := r.take(key, name, required); raw != nil && json.Unmarshal(raw, &s) != nil {
		r.problem(name, "type", "a string")
	}
	return s
}

func (r *documentReader) bool(key, name string) *bool {
	var v bool
	raw := r.take(key, name, false)
	if raw == nil {
		return nil
	}
	if json.Unmarshal(raw, &v) != nil {
		r.problem(name, "type", "true or false")
	}
	return &v
}

func (r *documentReader) seconds(key, name string) *time.Duration {
	raw := r.take(key, name, false)
	if raw == nil {
		return nil
	}
	var n int64
	const most = int64(1<<63-1) / int64(time.Second)
	if json.Unmarshal(raw, &n) != nil || n > most || n < -most {
		r.problem(name, "type", "a whole number of seconds")
		return nil
	}
	return new(time.Duration(n) * time.Second)
}

func (r *documentReader) time(key, name string, required bool) time.Time {
	raw := r.take(key, name, required)
	if raw == nil {
		return time.Time{}
	}
	t, ok := parseDocumentTime(raw)
	if !ok {
		r.problem(name, "type", "a time, such as 2024-01-01T00:00:00Z")
	}
	return t
}

// parseDocumentTime reads a time in any of the forms that senders use.
func parseDocumentTime(raw json.RawMessage) (time.Time, bool) {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		var ms int64
		if json.Unmarshal(raw, &ms) != nil {
			return time.Time{}, false
		}
		return knownTime(time.UnixMilli(ms).UTC())
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} { // a fraction is read by any of them
		if t, err := time.Parse(layout, s); err == nil {
			return knownTime(t)
		}
	}
	return time.Time{}, false
}

// knownTime refuses what a [time.Time] would take for no time at all, and what no event can carry.
func knownTime(t time.Time) (time.Time, bool) { return t, !t.IsZero() && isTimestamp(t) }

// lines reads the lines, and counts the unknown fields in them.
func (r *documentReader) lines() (lines []TranscriptLine, unknown int) {
	raw := r.take("lines", "Lines", true)
	if raw == nil {
		return nil, 0
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	if open, err := dec.Token(); err != nil || open != json.Delim('[') {
		r.problem("Lines", "type", "an array")
		return nil, 0
	}
	lines = []TranscriptLine{}
	for i := 0; dec.More() && len(r.problems) < maxProblems; i++ {
		line := documentReader{path: fmt.Sprintf("%sLines[%d]", r.path, i)}
		var fields map[string]json.RawMessage
		if err := dec.Decode(&fields); err != nil || fields == nil {
			line.problem("", "type", "an object")
			r.problems = append(r.problems, line.problems...)
			continue
		}
		line.path += "."
		line.fields = fields
		var read TranscriptLine
		read.Role = TranscriptRole(line.text("role", "Role", true))
		if content, ok := fields["content"]; !ok {
			line.problem("Content", "required", "")
		} else if json.Unmarshal(content, &read.Content) != nil {
			line.problem("Content", "type", "a string or null")
		}
		delete(fields, "content")
		read.Timestamp = line.time("timestamp", "Timestamp", false)
		unknown += len(fields)
		r.problems = append(r.problems, line.problems...)
		lines = append(lines, read)
	}
	return slices.Clip(lines), unknown
}
