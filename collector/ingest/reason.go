package ingest

// Reason says why an event was set aside. The set is closed; each is what [collector.SetAside] keeps, and they do not
// change, since people search and chart by them.
type Reason string

const (
	// Unreadable: the bytes are no event of the schema: damaged, text that is not UTF-8 in a binary request, or in a JSON
	// one a value of the wrong type, such as index 1.5 or 2147483648.
	Unreadable Reason = "unreadable"
	// IDMissing: without an id an event cannot be told from its own repetition.
	IDMissing Reason = "id_missing"
	// IDTooLong: the event's id exceeds MaxIDLength.
	IDTooLong Reason = "id_too_long"
	// TypeUnknown: the type is none of the five.
	TypeUnknown Reason = "type_unknown"
	// PropertiesMissing: the event lacks the properties that go with its type.
	PropertiesMissing Reason = "properties_missing"
	// SessionIDMissing: every event but user_recognize names its session.
	SessionIDMissing Reason = "session_id_missing"
	// SessionIDTooLong: it exceeds MaxIDLength.
	SessionIDTooLong Reason = "session_id_too_long"
	// UserIDMissing: user_recognize names its user. (An opening may come without.)
	UserIDMissing Reason = "user_id_missing"
	// UserIDTooLong: the id of a user or voter exceeds MaxIDLength.
	UserIDTooLong Reason = "user_id_too_long"
	// AssistantIDTooLong: it exceeds MaxIDLength.
	AssistantIDTooLong Reason = "assistant_id_too_long"
	// EmailTooLong: it exceeds MaxEmailLength. Nothing else about an address is checked.
	EmailTooLong Reason = "email_too_long"
	// IndexOutOfRange: a message, or feedback on one, has an index below 1, and names no place or turn instead.
	IndexOutOfRange Reason = "index_out_of_range"
	// TurnTooLong: the name of a turn exceeds MaxIDLength.
	TurnTooLong Reason = "turn_too_long"
	// RoleUnknown: neither user nor assistant, nor one of the extended roles. Guessing would put words in a mouth.
	RoleUnknown Reason = "role_unknown"
	// ContentEmpty: a message without content that does not say that it was left out (content_length).
	ContentEmpty Reason = "content_empty"
	// TargetUnknown: feedback on neither a session nor a message.
	TargetUnknown Reason = "feedback_target_unknown"
	// FeedbackTypeUnknown: neither thumbs_up nor thumbs_down, nor the empty type, which takes a vote back.
	FeedbackTypeUnknown Reason = "feedback_type_unknown"
	// PropertiesTooMany: the event has more than MaxProperties custom properties.
	PropertiesTooMany Reason = "properties_too_many"
	// PropertyKeyTooLong: the name of a custom property exceeds MaxKeyLength.
	PropertyKeyTooLong Reason = "property_key_too_long"
	// PropertyValueTooLong: the value of a custom property exceeds MaxValueLength.
	PropertyValueTooLong Reason = "property_value_too_long"
)

// Limits of the collector, in Unicode code points. They are wider than those of the clients, who enforce 64 for ids: a
// client that allows more should not lose data here, and an index should not have to hold a novel.
const (
	MaxIDLength    = 256
	MaxEmailLength = 320
	MaxProperties  = 256 // custom properties of one event
	MaxKeyLength   = 256
	MaxValueLength = 65_536
)
