package storetest

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

type (
	eventProperties    = ingestionv1alpha.EventProperties
	sessionProperties  = ingestionv1alpha.EventProperties_SessionProperties
	messageProperties  = ingestionv1alpha.EventProperties_MessageProperties
	userProperties     = ingestionv1alpha.EventProperties_UserProperties
	feedbackProperties = ingestionv1alpha.EventProperties_FeedbackProperties
	toolCall           = ingestionv1alpha.EventProperties_MessageProperties_ToolCall
	messagePlace       = ingestionv1alpha.EventProperties_MessageProperties_Place
)

const (
	roleUser      = ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER
	roleAssistant = ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT

	onSession = ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION
	onMessage = ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE

	closeIdle     = ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_IDLE
	closeShutdown = ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_SHUTDOWN
	closeTransfer = ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_TRANSFER
)

// epoch is second 0 of the tests. It has nanoseconds, which stores must keep.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// second returns epoch + n seconds.
func second(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }

func stamp(n int) *timestamppb.Timestamp { return timestamppb.New(second(n)) }

// fact makes a fact at a second. Properties are names and values by turns.
func fact(id string, at int, kind string, props *eventProperties, custom ...string) collector.Fact {
	for i := 0; i < len(custom); i += 2 {
		if props.CustomProperties == nil {
			props.CustomProperties = map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue{}
		}
		props.CustomProperties[custom[i]] = &ingestionv1alpha.EventProperties_CustomPropertyValue{StringValue: custom[i+1]}
	}
	e := &ingestionv1alpha.Event{Id: id, Type: kind, CreateTime: stamp(at), Properties: props, ProjectId: "whatever the client says"}
	return collector.Fact{ID: id, Event: e, Time: second(at), ReceiveTime: second(at + 1)}
}

func opened(id string, at int, s *sessionProperties, custom ...string) collector.Fact {
	return fact(id, at, "session_open", &eventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: s}}, custom...)
}

func closed(id string, at int, s *sessionProperties, custom ...string) collector.Fact {
	return fact(id, at, "session_close", &eventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: s}}, custom...)
}

func updated(id string, at int, s *sessionProperties, custom ...string) collector.Fact {
	return fact(id, at, "session_update", &eventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: s}}, custom...)
}

func recognized(id string, at int, u *userProperties, custom ...string) collector.Fact {
	return fact(id, at, "user_recognize", &eventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_UserProperties_{UserProperties: u}}, custom...)
}

func created(id string, at int, m *messageProperties, custom ...string) collector.Fact {
	return fact(id, at, "message_create", &eventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: m}}, custom...)
}

// said is a user's message, which is all that most tests need.
func said(id string, at int, session string, index int32, content string, custom ...string) collector.Fact {
	return created(id, at, &messageProperties{SessionId: session, MessageIndexHint: index, MessageRole: roleUser, MessageContent: content}, custom...)
}

func judged(id string, at int, f *feedbackProperties) collector.Fact {
	return fact(id, at, "feedback_create", &eventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_FeedbackProperties_{FeedbackProperties: f}})
}

// ids numbers facts, so that later ones have greater ids.
func ids(n int) string { return "e" + strconv.Itoa(1000+n) }
