package ingest

import (
	"encoding/hex"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// check returns why an event is no good, or "" when it is. It asks only for what the event means nothing without:
// whatever else is odd, a client that has sent it cannot be asked again, so it is kept. Newlines in ids are kept, blank
// content is what was said, an assistant_id of DEFAULT is an id like any other, an ip beside a country is the views' to
// settle, and the names of custom properties may be anything: one client does not check them either. An empty feedback type
// is a vote taken back, also from clients that know no such thing. Only sizes are bounded, and widely.
func check(event *ingestionv1alpha.Event) Reason {
	switch id := event.GetId(); {
	case id == "":
		return IDMissing
	case tooLong(id, MaxIDLength):
		return IDTooLong
	}
	properties := event.GetProperties()
	if reason := checkCustom(properties.GetCustomProperties()); reason != "" {
		return reason
	}
	switch event.GetType() {
	case collector.TypeSessionOpen, collector.TypeSessionClose, collector.TypeSessionUpdate:
		return checkSession(properties.GetSessionProperties())
	case collector.TypeUserRecognize:
		return checkUser(properties.GetUserProperties())
	case collector.TypeMessageCreate:
		return checkMessage(properties.GetMessageProperties())
	case collector.TypeFeedbackCreate:
		return checkFeedback(properties.GetFeedbackProperties())
	}
	return TypeUnknown
}

// checkCustom bounds what an event says beside the schema: each property is kept, and may be merged into a conversation's.
func checkCustom(custom map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue) Reason {
	if len(custom) > MaxProperties {
		return PropertiesTooMany
	}
	reason := Reason("") // the same one whatever the order of the map
	for key, value := range custom {
		if tooLong(key, MaxKeyLength) {
			return PropertyKeyTooLong
		}
		if tooLong(value.GetStringValue(), MaxValueLength) {
			reason = PropertyValueTooLong
		}
	}
	return reason
}

// checkSession lets an opening come without a user, as it lets a close: the session is known all the same.
func checkSession(session *ingestionv1alpha.EventProperties_SessionProperties) Reason {
	switch {
	case session == nil:
		return PropertiesMissing
	case tooLong(session.GetUserId(), MaxIDLength):
		return UserIDTooLong
	case tooLong(session.GetAssistantId(), MaxIDLength):
		return AssistantIDTooLong
	}
	return checkSessionID(session.GetSessionId())
}

func checkSessionID(id string) Reason {
	switch {
	case id == "":
		return SessionIDMissing
	case tooLong(id, MaxIDLength):
		return SessionIDTooLong
	}
	return ""
}

func checkUser(user *ingestionv1alpha.EventProperties_UserProperties) Reason {
	switch {
	case user == nil:
		return PropertiesMissing
	case user.GetUserId() == "":
		return UserIDMissing
	case tooLong(user.GetUserId(), MaxIDLength):
		return UserIDTooLong
	case tooLong(user.GetUserEmail(), MaxEmailLength):
		return EmailTooLong
	}
	return ""
}

func checkMessage(message *ingestionv1alpha.EventProperties_MessageProperties) Reason {
	switch {
	case message == nil:
		return PropertiesMissing
	case message.GetMessageIndexHint() < 1 && message.GetPlace() == nil, message.GetMessageIndexHint() < 0:
		return IndexOutOfRange
	case tooLong(message.GetPlace().GetTurn(), MaxIDLength):
		return TurnTooLong
	case !knownRole(message):
		return RoleUnknown
	case message.GetMessageContent() == "" && message.ContentLength == nil:
		return ContentEmpty
	}
	return checkSessionID(message.GetSessionId())
}

func knownRole(message *ingestionv1alpha.EventProperties_MessageProperties) bool {
	switch message.GetMessageRole() {
	case ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER,
		ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT:
		return true
	}
	switch message.GetExtendedRole() {
	case ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_SYSTEM,
		ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_TOOL,
		ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_HUMAN:
		return true
	}
	return false
}

func checkFeedback(feedback *ingestionv1alpha.EventProperties_FeedbackProperties) Reason {
	if feedback == nil {
		return PropertiesMissing
	}
	switch feedback.GetFeedbackTarget() {
	case ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION:
	case ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE:
		if feedback.GetMessageIndexHint() < 1 && feedback.GetMessageTurn() == "" {
			return IndexOutOfRange
		}
		if tooLong(feedback.GetMessageTurn(), MaxIDLength) {
			return TurnTooLong
		}
	default:
		return TargetUnknown
	}
	switch feedback.GetType() {
	case "thumbs_up", "thumbs_down", "":
	default:
		return FeedbackTypeUnknown
	}
	if tooLong(feedback.GetUserId(), MaxIDLength) {
		return UserIDTooLong
	}
	return checkSessionID(feedback.GetSessionId())
}

// tooLong counts code points, as the clients' limits do, and only where bytes leave a doubt.
func tooLong(text string, limit int) bool {
	return len(text) > limit && utf8.RuneCountInString(text) > limit
}

// canonicalID gives a UUID in any form (dashed or not, either case, braces, urn:uuid:) its one form of 32 lower-case hex
// digits, since clients write the same one differently. Any other id is the client's own and kept as it is.
func canonicalID(id string) string {
	if uuid.Validate(id) != nil {
		return id
	}
	parsed, err := uuid.Parse(id)
	if err != nil {
		return id
	}
	return hex.EncodeToString(parsed[:])
}
