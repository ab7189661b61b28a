package conversations

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// What the service is told, as facts.

// newID is a UUIDv7 in 32 hex digits, as the SDK's ids are. Those of one process are in order, also within a millisecond.
func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return hex.EncodeToString(id[:])
}

// fact is an event that happened here and now.
func fact(kind, project string, at time.Time, properties *ingestionv1alpha.EventProperties) collector.Fact {
	id := newID()
	return collector.Fact{ID: id, Time: at, ReceiveTime: at, Event: &ingestionv1alpha.Event{
		Id: id, Type: kind, CreateTime: timestamppb.New(at), Properties: properties, ProjectId: project,
	}}
}

// keepable is text that any database keeps as it is: NUL, at which some end and which others refuse, becomes U+FFFD, as in
// what clients of the ingestion protocol send. The schema has seen to it that text is UTF-8.
func keepable(text string) string { return strings.ReplaceAll(text, "\x00", "\uFFFD") }

func sessionFact(kind, project string, at time.Time, session *ingestionv1alpha.EventProperties_SessionProperties) collector.Fact {
	return fact(kind, project, at, &ingestionv1alpha.EventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: session}})
}

func messageFact(project string, at time.Time, message *ingestionv1alpha.EventProperties_MessageProperties) collector.Fact {
	return fact(collector.TypeMessageCreate, project, at, &ingestionv1alpha.EventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: message}})
}
