package align

import (
	"encoding/hex"
	"math"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
)

// EventType is the name of an event on the wire.
type EventType string

const (
	EventIdentify      EventType = "user_recognize"  // a [User]
	EventOpenSession   EventType = "session_open"    // a [Session]
	EventCloseSession  EventType = "session_close"   // a [SessionEnd]
	EventCreateMessage EventType = "message_create"  // a [Message]
	EventFeedback      EventType = "feedback_create" // a [MessageFeedback] or [SessionFeedback]
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
	own()                 // copies what the caller still holds: maps, slices, pointers
	beyondBase() []string // fields in use that the base schema has no word for
	redact(mask func(string) string)
	attach(*Event)
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
	fieldSessionStatus      protowire.Number = 1002
	fieldResolution         protowire.Number = 1003
	fieldTransfer           protowire.Number = 1004
	fieldCompleted          protowire.Number = 1005
	fieldLabels             protowire.Number = 1006
	fieldChannel            protowire.Number = 1007
	fieldSource             protowire.Number = 1008
	fieldLanguage           protowire.Number = 1009
	fieldTestMode           protowire.Number = 1010
	fieldData               protowire.Number = 1011

	fieldMessageSessionID  protowire.Number = 1
	fieldMessageIndex      protowire.Number = 3
	fieldMessageRole       protowire.Number = 4
	fieldMessageContent    protowire.Number = 5
	fieldMessageCreateTime protowire.Number = 6
	fieldExtendedRole      protowire.Number = 1000
	fieldLatency           protowire.Number = 1001
	fieldTimeToFirstToken  protowire.Number = 1002
	fieldSuccess           protowire.Number = 1003
	fieldErrorText         protowire.Number = 1004
	fieldOutcome           protowire.Number = 1005
	fieldIntent            protowire.Number = 1006
	fieldContentLength     protowire.Number = 1007
	fieldToolCalls         protowire.Number = 1008
	fieldModel             protowire.Number = 1009
	fieldInputTokens       protowire.Number = 1010
	fieldOutputTokens      protowire.Number = 1011
	fieldCost              protowire.Number = 1012
	fieldRunID             protowire.Number = 1013
	fieldIncomplete        protowire.Number = 1014

	fieldIntentName          protowire.Number = 1
	fieldIntentNotMeaningful protowire.Number = 2

	fieldToolID        protowire.Number = 1
	fieldToolName      protowire.Number = 2
	fieldToolArguments protowire.Number = 3
	fieldToolResult    protowire.Number = 4

	fieldUserID          protowire.Number = 1
	fieldUserEmail       protowire.Number = 2
	fieldUserIP          protowire.Number = 3
	fieldUserLocation    protowire.Number = 4
	fieldUserCreateTime  protowire.Number = 5
	fieldUserDisplayName protowire.Number = 6
	fieldUserCompany     protowire.Number = 1000
	fieldUserTraits      protowire.Number = 1001

	fieldCompanyID       protowire.Number = 1
	fieldCompanyName     protowire.Number = 2
	fieldCompanyType     protowire.Number = 3
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

// wireExtendedRole is the role where the base schema has no word for it. wireRole then says assistant, as base clients do.
func wireExtendedRole(r Role) uint64 {
	switch r {
	case RoleSystem:
		return 1
	case RoleTool:
		return 2
	case RoleHuman:
		return 3
	}
	return 0
}

// wireCloseReason is 0 for an explicit close, which is what base clients say by saying nothing.
func wireCloseReason(r CloseReason) uint64 {
	switch r {
	case CloseIdle:
		return 2
	case CloseShutdown:
		return 3
	case CloseTransfer:
		return 4
	}
	return 0
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
	var custom []property
	if props := p.properties(); props != nil {
		for k, v := range *props {
			custom = insert(custom, property{k, v})
		}
	}
	b, e := beginEvent(b, p.kind(), id, now, 0)
	b = p.appendFields(b)
	return endEvent(b, e, custom, project)
}

// openEvent is an event whose payload's fields are being written.
type openEvent struct{ entry, properties, fields mark }

// beginEvent writes what stands before the payload's fields. size guesses theirs.
func beginEvent(b []byte, kind EventType, id uuid.UUID, now time.Time, size int) ([]byte, openEvent) {
	const framing = 120 // what stands around them, roughly
	var e openEvent
	b, e.entry = beginMessage(b, fieldEvents, framing+size)
	b = appendID(b, fieldEventID, id)
	b = appendString(b, fieldEventType, string(kind))
	b = appendTimestamp(b, fieldEventTime, now)
	b, e.properties = beginMessage(b, fieldEventProperties, framing+size)
	b, e.fields = beginMessage(b, member(kind), size)
	return b, e
}

// endEvent writes what stands behind them. custom is in the order of its keys: the same event is the same bytes every time.
func endEvent(b []byte, e openEvent, custom []property, project string) []byte {
	b = endMessage(b, e.fields)
	b = appendProperties(b, custom)
	b = endMessage(b, e.properties)
	b = appendString(b, fieldEventProject, project)
	return endMessage(b, e.entry)
}

// property is an entry of [Properties].
type property struct{ key, value string }

// insert puts p into a list in the order of its keys. Lists are short.
func insert(list []property, p property) []property {
	list = append(list, p)
	i := len(list) - 1
	for ; i > 0 && list[i-1].key > p.key; i-- {
		list[i] = list[i-1]
	}
	list[i] = p
	return list
}

func appendProperties(b []byte, list []property) []byte {
	for _, p := range list { // their sizes are known, so they need no marks
		value := sizeString(p.value)
		b = appendLength(b, fieldCustomProperties, sizeString(p.key)+sizeBytes(value))
		b = appendString(b, fieldMapKey, p.key)
		b = appendLength(b, fieldMapValue, value)
		b = appendString(b, fieldCustomValue, p.value)
	}
	return b
}

// sizeBytes is what n bytes take in a field whose tag is one byte, and sizeString what appendString writes there.
func sizeBytes(n int) int {
	if n < 1<<7 {
		return 2 + n
	}
	return 1 + protowire.SizeBytes(n)
}

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

// appendLength writes what stands before size bytes of a field.
func appendLength(b []byte, field protowire.Number, size int) []byte {
	if field < 1<<4 && size < 1<<7 { // a byte each, as they mostly are
		return append(b, byte(field)<<3|byte(protowire.BytesType), byte(size))
	}
	b = appendTag(b, field, protowire.BytesType)
	return appendVarint(b, uint64(size))
}

// appendString writes nothing for an empty string, as proto3 does.
func appendString(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return append(appendLength(b, field, len(s)), s...)
}

// appendUint writes nothing for zero, as proto3 does.
func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return appendOptionalUint(b, field, v)
}

func appendOptionalUint(b []byte, field protowire.Number, v uint64) []byte {
	if field < 1<<4 && v < 1<<7 {
		return append(b, byte(field)<<3|byte(protowire.VarintType), byte(v))
	}
	b = appendTag(b, field, protowire.VarintType)
	return appendVarint(b, v)
}

func appendBool(b []byte, field protowire.Number, v *bool) []byte {
	switch {
	case v == nil:
		return b
	case *v:
		return appendOptionalUint(b, field, 1)
	}
	return appendOptionalUint(b, field, 0)
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

// appendDuration writes a google.protobuf.Duration, or nothing for nil.
func appendDuration(b []byte, field protowire.Number, d *time.Duration) []byte {
	if d == nil {
		return b
	}
	return appendSeconds(b, field, uint64(*d/time.Second), uint64(*d%time.Second))
}

// appendTimestamp writes a google.protobuf.Timestamp, or nothing for the zero time.
func appendTimestamp(b []byte, field protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return appendSeconds(b, field, uint64(t.Unix()), uint64(t.Nanosecond())) // two's complement, as int64 is encoded
}

// appendSeconds writes the message that both are.
func appendSeconds(b []byte, field protowire.Number, seconds, nanos uint64) []byte {
	size := 0
	if seconds != 0 {
		size += 1 + protowire.SizeVarint(seconds)
	}
	if nanos != 0 {
		size += 1 + protowire.SizeVarint(nanos)
	}
	b = appendLength(b, field, size)
	b = appendUint(b, 1, seconds)
	return appendUint(b, 2, nanos)
}

// appendID writes an id as 32 hex digits.
func appendID(b []byte, field protowire.Number, id uuid.UUID) []byte {
	b = appendLength(b, field, hex.EncodedLen(len(id)))
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
