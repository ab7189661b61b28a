package align

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Role says who wrote a message. The zero Role is none, and an error.
type Role string

const (
	RoleUser      Role = "user"      // the person the conversation is with
	RoleAssistant Role = "assistant" // the app

	// The base schema knows only the two above; [Config.Strict] refuses these.
	RoleSystem Role = "system" // instructions, and events of the system
	RoleTool   Role = "tool"   // what a tool answered
	RoleHuman  Role = "human"  // a person on the assistant's side
)

// Message is one message of a session.
type Message struct {
	// SessionID identifies the session: 1 to 64 Unicode code points. The session need not have been opened by this client.
	SessionID string `validate:"nonblank,text,max=64"`
	// Index is the message's place in its session, from 1 to 2147483647. Gaps are fine. A second message at the same
	// index is a new version of the first.
	Index int `validate:"min=1,max=2147483647"`
	// Role is one of the roles above.
	Role Role `validate:"oneof=user assistant system tool human"`
	// Content is the text. It must not be blank. Beyond [Config.MaxContentBytes] it is cut, visibly, and counted in
	// [Stats.Truncated].
	Content string `validate:"nonblank,text"`
	// CreateTime is when the message was written. Zero means the moment of the call.
	CreateTime time.Time `validate:"timestamp"`
	// Properties are the message's own.
	Properties Properties `validate:"properties"`
	// Intent is what the app made of a user's message. Nil means nothing is said of it.
	Intent *Intent
	// Generation says how an answer came about. Nil means nothing is known of it.
	Generation *Generation

	// shortened says that Content was cut or left out, and contentLength what it measured before, in code points. Set
	// before the message is recorded, with no Content, they say that there is none.
	shortened     bool
	contentLength int
	// stream says what Content measures where only its beginning was kept. Nil means that all of it was.
	stream *beginning
	// undated says that a zero CreateTime means unknown: the line of a transcript, written at another time.
	undated bool
}

// beginning is the kept part of a text.
type beginning struct {
	whole extent // of the text
	// unsure is how many bytes at the end of what was kept may be a part of something to be masked that went unnoticed.
	unsure int
}

// extent measures a text.
type extent struct{ bytes, codePoints int }

// CreateMessage records one message. It counts as activity of its session and opens a closed session again.
//
// Errors: *[FieldError] for every field that breaks its limits, [ErrBufferFull], [ErrClosed].
func (c *Client) CreateMessage(ctx context.Context, message Message) error {
	if done, err := c.recordPlain(ctx, &message); done {
		return err
	}
	return c.record(ctx, message.detached())
}

// detached returns a copy that shares no memory with m. [Client.record] keeps what it is given on the heap; given m
// itself, the compiler would have to put every caller's message and map there, also for calls that never come so far.
func (m *Message) detached() *Message {
	d := &Message{
		SessionID: strings.Clone(m.SessionID),
		Index:     m.Index,
		Role:      Role(strings.Clone(string(m.Role))),
		Content:   strings.Clone(m.Content),
	}
	if !m.CreateTime.IsZero() {
		d.CreateTime = time.Unix(m.CreateTime.Unix(), int64(m.CreateTime.Nanosecond())).UTC()
	}
	if m.Properties != nil {
		d.Properties = make(Properties, len(m.Properties))
		for k, v := range m.Properties {
			d.Properties[strings.Clone(k)] = strings.Clone(v)
		}
	}
	if m.Intent != nil {
		d.Intent = &Intent{Name: strings.Clone(m.Intent.Name), NotMeaningful: m.Intent.NotMeaningful}
	}
	d.Generation = m.Generation.detached()
	return d
}

func (m *Message) kind() EventType         { return EventCreateMessage }
func (m *Message) lane() string            { return m.SessionID }
func (m *Message) properties() *Properties { return &m.Properties }
func (m *Message) attach(e *Event)         { e.Message = m }
func (m *Message) normalize()              {}
func (m *Message) own()                    {} // detached has seen to it

func (m *Message) redact(mask func(string) string) {
	m.Content = mask(m.Content)
	if g := m.Generation; g != nil {
		g.Error = clip(mask(g.Error), maxErrorLength)
		for i := range g.ToolCalls {
			call := &g.ToolCalls[i]
			call.Arguments, call.Result = clip(mask(call.Arguments), maxToolText), clip(mask(call.Result), maxToolText)
		}
	}
}

func (m *Message) beyondBase() []string {
	return inUse("Message.",
		fieldUse{"Role", m.Role != RoleUser && m.Role != RoleAssistant},
		fieldUse{"Intent", m.Intent != nil}, fieldUse{"Generation", m.Generation != nil},
	)
}

// keeps reports whether the message is a plain one, text of a user or an assistant, that keeps the limits its tags state.
// Of all calls this is the one that an app makes most, and reading the tags costs ten times as much. It appends the
// properties to dst. A fuzz test holds it against the tags.
func (m *Message) keeps(r *rules, dst []property) ([]property, bool) {
	if m.Generation != nil || m.Intent != nil || // rare enough
		!isID(m.SessionID) ||
		m.Index < 1 || m.Index > math.MaxInt32 ||
		m.Role != RoleUser && m.Role != RoleAssistant ||
		isBlank(m.Content) || !isText(m.Content) ||
		!isTimestamp(m.CreateTime) {
		return dst, false
	}
	return r.collect(dst, m.Properties)
}

// withholdContent keeps the length alone, and of a generation what is no text.
func (m *Message) withholdContent() {
	m.shortened, m.contentLength = true, m.extent().codePoints
	m.Content = ""
	if g := m.Generation; g != nil {
		if g.Error != "" {
			g.Error = "withheld"
		}
		for i := range g.ToolCalls {
			g.ToolCalls[i].Arguments, g.ToolCalls[i].Result = "", ""
		}
	}
}

// cut shortens content longer than limit bytes to at most limit, marker included, at a rune boundary.
// It reports whether it did.
func (m *Message) cut(limit int) bool {
	if len(m.Content) <= limit && (m.stream == nil || m.Content == "") {
		return false
	}
	whole := m.extent()
	marker := "… [cut, " + strconv.Itoa(whole.bytes) + " bytes in all]"
	end := max(limit-len(marker), 0)
	if m.stream != nil {
		end = max(min(end, len(m.Content)-m.stream.unsure), 0)
	}
	for end > 0 && end < len(m.Content) && !utf8.RuneStart(m.Content[end]) {
		end--
	}
	m.shortened, m.contentLength = true, whole.codePoints
	m.Content = m.Content[:end] + marker
	return true
}

// extent measures the whole text.
func (m *Message) extent() extent {
	if m.stream != nil {
		return m.stream.whole
	}
	return extent{len(m.Content), utf8.RuneCountInString(m.Content)}
}

func (m *Message) appendFields(b []byte) []byte {
	b = appendString(b, fieldMessageSessionID, m.SessionID)
	b = appendUint(b, fieldMessageIndex, uint64(m.Index))
	b = appendUint(b, fieldMessageRole, wireRole(m.Role))
	b = appendString(b, fieldMessageContent, m.Content)
	b = appendTimestamp(b, fieldMessageCreateTime, m.CreateTime)
	b = appendUint(b, fieldExtendedRole, wireExtendedRole(m.Role))
	if m.Generation != nil {
		b = m.Generation.appendFields(b)
	}
	if m.Intent != nil {
		b = m.Intent.appendTo(b)
	}
	if m.shortened {
		b = appendOptionalUint(b, fieldContentLength, uint64(m.contentLength))
	}
	return b
}
