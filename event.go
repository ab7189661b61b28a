package align

import (
	"cmp"
	"encoding/hex"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
)

// EventType is the name of an event on the wire.
type EventType string

const (
	EventIdentify      EventType = "user_recognize"
	EventOpenSession   EventType = "session_open"
	EventCloseSession  EventType = "session_close"
	EventCreateMessage EventType = "message_create"
	EventFeedback      EventType = "feedback_create"
)

// Event is one recorded thing, as [Config.BeforeSend] sees it before it is encoded. Exactly one of the pointers is set;
// what it points to, maps and slices included, belongs to the hook, which may change it or point to another.
type Event struct {
	// Type says which pointer is set.
	Type EventType

	User            *User
	Session         *Session
	SessionEnd      *SessionEnd
	Message         *Message
	MessageFeedback *MessageFeedback
	SessionFeedback *SessionFeedback
}

// payload returns what the hook has left for an event of its type, nil if nothing.
func (e *Event) payload(kind payload) payload {
	switch kind.(type) {
	case *User:
		return orNil(e.User)
	case *Session:
		return orNil(e.Session)
	case *SessionEnd:
		return orNil(e.SessionEnd)
	case *Message:
		return orNil(e.Message)
	case *MessageFeedback:
		return orNil(e.MessageFeedback)
	}
	return orNil(e.SessionFeedback)
}

// orNil makes a nil pointer a nil payload.
func orNil[P interface {
	*T
	payload
}, T any](p P) payload {
	if p == nil {
		return nil
	}
	return p
}

// payload is what can be recorded: one of the public structs, by pointer. Each knows its limits (in its validate tags),
// its wire form, and nothing of queues and networks.
type payload interface {
	kind() EventType
	// lane names what keeps its order: the session, or for a user event the user.
	lane() string
	properties() *Properties // nil where there can be none
	normalize()
	redact(mask func(string) string)
	attach(*Event) // with slices of its own
	appendFields([]byte) []byte
}

// Field numbers of proto/ingestion/v1alpha. Tests read every one back through the generated code.
const (
	fieldRequestID protowire.Number = 1
	fieldEvents    protowire.Number = 2

	fieldEventID         protowire.Number = 1
	fieldEventType       protowire.Number = 2
	fieldEventTime       protowire.Number = 3
	fieldEventProperties protowire.Number = 4
	fieldEventProject    protowire.Number = 5

	fieldSessionProperties  protowire.Number = 1
	fieldMessageProperties  protowire.Number = 2
	fieldUserProperties     protowire.Number = 3
	fieldFeedbackProperties protowire.Number = 4
	fieldCustomProperties   protowire.Number = 10

	fieldMapKey      protowire.Number = 1
	fieldMapValue    protowire.Number = 2
	fieldCustomValue protowire.Number = 1

	fieldSessionID          protowire.Number = 1
	fieldSessionTitle       protowire.Number = 2
	fieldSessionStartTime   protowire.Number = 3
	fieldSessionUserID      protowire.Number = 4
	fieldSessionAssistantID protowire.Number = 5
	fieldCloseReason        protowire.Number = 1000
	fieldSessionEndTime     protowire.Number = 1001

	fieldMessageSessionID  protowire.Number = 1
	fieldMessageIndex      protowire.Number = 3
	fieldMessageRole       protowire.Number = 4
	fieldMessageContent    protowire.Number = 5
	fieldMessageCreateTime protowire.Number = 6
	fieldContentLength     protowire.Number = 1007

	fieldUserID          protowire.Number = 1
	fieldUserEmail       protowire.Number = 2
	fieldUserIP          protowire.Number = 3
	fieldUserLocation    protowire.Number = 4
	fieldUserCreateTime  protowire.Number = 5
	fieldUserDisplayName protowire.Number = 6
	fieldLocationCountry protowire.Number = 1

	fieldFeedbackSessionID protowire.Number = 1
	fieldFeedbackIndex     protowire.Number = 2
	fieldFeedbackTarget    protowire.Number = 3
	fieldFeedbackType      protowire.Number = 4
	fieldFeedbackComment   protowire.Number = 1000
	fieldFeedbackReasons   protowire.Number = 1001
	fieldFeedbackScore     protowire.Number = 1002
	fieldFeedbackScoreMin  protowire.Number = 1003
	fieldFeedbackScoreMax  protowire.Number = 1004
	fieldFeedbackUserID    protowire.Number = 1005

	targetSession = 1
	targetMessage = 2
)

func wireRole(r Role) uint64 {
	if r == RoleUser {
		return 1
	}
	return 2
}

func wireCloseReason(r CloseReason) uint64 {
	switch r {
	case CloseIdle:
		return 2
	case CloseShutdown:
		return 3
	case CloseTransfer:
		return 4
	}
	return 1
}

// member is the field of EventProperties that goes with an event type.
func member(t EventType) protowire.Number {
	switch t {
	case EventIdentify:
		return fieldUserProperties
	case EventCreateMessage:
		return fieldMessageProperties
	case EventFeedback:
		return fieldFeedbackProperties
	}
	return fieldSessionProperties
}

// appendEvent appends p's final bytes: an entry of CollectEventsRequest.events, tag and length included, so that a
// request is its request_id followed by entries as they lie in the buffer.
func appendEvent(b []byte, project string, id uuid.UUID, now time.Time, p payload) []byte {
	const framing = 120 // what stands around the fields of a payload, roughly
	hint := framing
	if m, ok := p.(*Message); ok {
		hint += len(m.Content)
	}
	b, entry := beginMessage(b, fieldEvents, hint)
	b = appendID(b, fieldEventID, id)
	b = appendString(b, fieldEventType, string(p.kind()))
	b = appendTimestamp(b, fieldEventTime, now)
	b, props := beginMessage(b, fieldEventProperties, hint)
	b, fields := beginMessage(b, member(p.kind()), hint-framing)
	b = p.appendFields(b)
	b = endMessage(b, fields)
	if custom := p.properties(); custom != nil && len(*custom) > 0 {
		b = appendProperties(b, *custom)
	}
	b = endMessage(b, props)
	b = appendString(b, fieldEventProject, project)
	return endMessage(b, entry)
}

// appendProperties writes the map in the order of its keys: the same event is the same bytes every time.
func appendProperties(b []byte, props Properties) []byte {
	type pair struct{ key, value string }
	var stack [16]pair // most clients allow ten
	pairs := stack[:0]
	for k, v := range props {
		pairs = append(pairs, pair{k, v})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Compare(a.key, b.key) })
	for _, p := range pairs { // their sizes are known, so they need no marks
		value := sizeString(p.value)
		b = appendTag(b, fieldCustomProperties, protowire.BytesType)
		b = appendVarint(b, uint64(sizeString(p.key)+sizeBytes(value)))
		b = appendString(b, fieldMapKey, p.key)
		b = appendTag(b, fieldMapValue, protowire.BytesType)
		b = appendVarint(b, uint64(value))
		b = appendString(b, fieldCustomValue, p.value)
	}
	return b
}

// sizeBytes is what n bytes take in a field whose tag is one byte, and sizeString what appendString writes there.
func sizeBytes(n int) int { return 1 + protowire.SizeBytes(n) }

func sizeString(s string) int {
	if s == "" {
		return 0
	}
	return sizeBytes(len(s))
}

// mark is where a nested message began: its first byte, and how many bytes before it were set apart for its length.
type mark struct{ start, reserved int }

// beginMessage opens a nested message. hint guesses its size; a good guess spares endMessage moving it.
func beginMessage(b []byte, field protowire.Number, hint int) ([]byte, mark) {
	b = appendTag(b, field, protowire.BytesType)
	reserved := protowire.SizeVarint(uint64(hint))
	b = append(b, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"[:reserved]...)
	return b, mark{len(b), reserved}
}

// endMessage writes the length of the message begun at m, in as few bytes as it takes.
func endMessage(b []byte, m mark) []byte {
	size := len(b) - m.start
	need := protowire.SizeVarint(uint64(size))
	if need != m.reserved {
		lengthAt := m.start - m.reserved
		for len(b) < lengthAt+need+size {
			b = append(b, 0)
		}
		copy(b[lengthAt+need:], b[m.start:m.start+size])
		b = b[:lengthAt+need+size]
		m = mark{lengthAt + need, need}
	}
	protowire.AppendVarint(b[:m.start-m.reserved], uint64(size))
	return b
}

// appendTag and appendVarint are protowire's, small enough for the compiler to put where they are used: most tags and
// lengths are one byte.
func appendTag(b []byte, field protowire.Number, typ protowire.Type) []byte {
	return appendVarint(b, protowire.EncodeTag(field, typ))
}

func appendVarint(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return protowire.AppendVarint(b, v)
}

// appendString writes nothing for an empty string, as proto3 does.
func appendString(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = appendTag(b, field, protowire.BytesType)
	b = appendVarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendUint writes nothing for zero, as proto3 does.
func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return appendOptionalUint(b, field, v)
}

func appendOptionalUint(b []byte, field protowire.Number, v uint64) []byte {
	b = appendTag(b, field, protowire.VarintType)
	return appendVarint(b, v)
}

// appendDouble writes nothing for zero, as proto3 does; a negative zero is none.
func appendDouble(b []byte, field protowire.Number, v float64) []byte {
	if math.Float64bits(v) == 0 {
		return b
	}
	return appendOptionalDouble(b, field, v)
}

func appendOptionalDouble(b []byte, field protowire.Number, v float64) []byte {
	b = appendTag(b, field, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(v))
}

// appendTimestamp writes a google.protobuf.Timestamp, or nothing for the zero time.
func appendTimestamp(b []byte, field protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b, at := beginMessage(b, field, 0)
	b = appendUint(b, 1, uint64(t.Unix())) // two's complement, as int64 is encoded
	b = appendUint(b, 2, uint64(t.Nanosecond()))
	return endMessage(b, at)
}

// appendID writes an id as 32 hex digits.
func appendID(b []byte, field protowire.Number, id uuid.UUID) []byte {
	b = appendTag(b, field, protowire.BytesType)
	b = appendVarint(b, uint64(hex.EncodedLen(len(id))))
	return hex.AppendEncode(b, id[:])
}

// entrySize is the length of the entry that b begins with. b comes from appendEvent.
func entrySize(b []byte) int {
	size, n := protowire.ConsumeVarint(b[1:]) // the tag of fieldEvents is one byte
	return 1 + n + int(size)
}

// describe reads back from an entry what may be told of a dropped event.
func describe(entry []byte) (id string, kind EventType, session string) {
	event := field(entry, fieldEvents)
	id = string(field(event, fieldEventID))
	kind = EventType(field(event, fieldEventType))
	if kind != EventIdentify { // everything else names its session in field 1
		session = string(field(field(field(event, fieldEventProperties), member(kind)), fieldSessionID))
	}
	return id, kind, session
}

// field returns the bytes of the first length-delimited field of that number, nil if there is none.
func field(b []byte, number protowire.Number) []byte {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(num, typ, b)
		if size < 0 {
			return nil
		}
		if num == number && typ == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(b)
			return value
		}
		b = b[size:]
	}
	return nil
}
