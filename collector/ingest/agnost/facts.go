package agnost

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

type (
	event      = *ingestionv1alpha.Event
	properties = ingestionv1alpha.EventProperties
	session    = ingestionv1alpha.EventProperties_SessionProperties
	message    = ingestionv1alpha.EventProperties_MessageProperties
	place      = ingestionv1alpha.EventProperties_MessageProperties_Place
	toolCall   = ingestionv1alpha.EventProperties_MessageProperties_ToolCall
	user       = ingestionv1alpha.EventProperties_UserProperties
)

const (
	asUser      = ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER
	asAssistant = ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT
	asTool      = ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_TOOL
)

// newID names what the client did not.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

func readSession(project string, o *object, now time.Time) ([]collector.Fact, map[string]any, error) {
	sessionID := o.id("session_id", "conversation_id")
	who := o.object("user_data")
	userID := who.text("user_id", "userId")
	if userID == "" {
		userID = o.text("user_id", "userId")
	}
	about := &user{UserId: userID, UserEmail: who.text("email"), UserDisplayName: who.text("display_name", "name"), UserIp: o.text("ip")}
	start := o.moment("timestamp")
	ofSession, ofUser := map[string]string{}, map[string]string{}
	o.object("metadata").rest(ofSession)
	for _, name := range []string{"client_config", "connection_type", "tools"} {
		if text := o.text(name); text != "" {
			ofSession[name] = text
		}
	}
	who.rest(ofUser)
	if o.err == nil {
		o.err = who.err
	}
	if o.err != nil {
		return nil, nil, o.err
	}
	answer := sessionID
	if sessionID == "" {
		sessionID = newID()
		answer = sessionID
	}

	opened := &session{SessionId: sessionID, UserId: userID, SessionStartTime: given(start)}
	said := digestOf(opened.GetSessionId(), about, ofSession, ofUser)
	id := func(part string) string { return ingest.EventID(start, "agnost", project, said, part) }
	events := []event{{Id: id("session"), Type: collector.TypeSessionOpen, CreateTime: given(start),
		Properties: &properties{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: opened},
			CustomProperties: custom(ofSession)}}}
	if userID != "" {
		events = append(events, event(&ingestionv1alpha.Event{Id: id("user"), Type: collector.TypeUserRecognize, CreateTime: given(start),
			Properties: &properties{ReservedProperties: &ingestionv1alpha.EventProperties_UserProperties_{UserProperties: about},
				CustomProperties: custom(ofUser)}}))
	}
	facts, err := factsOf(events, now)
	return facts, map[string]any{"session_id": answer}, err
}

// digestOf is everything that an opening says, as text.
func digestOf(sessionID string, about *user, ofSession, ofUser map[string]string) string {
	text, err := json.Marshal([]any{sessionID, about.GetUserId(), about.GetUserEmail(), about.GetUserDisplayName(), about.GetUserIp(), ofSession, ofUser})
	if err != nil { // strings always marshal
		panic(err)
	}
	return string(text)
}

// turn is what an event says.
type turn struct {
	project, sessionID, id string
	name                   string
	input, output          string
	success                bool
	latency                *durationpb.Duration
	at                     time.Time // zero where the client gave none
	made                   time.Time // when the id was made here; zero where it is the client's
	parent                 string
	properties             map[string]string
	metadata               *object
}

func readEvent(project string, o *object, now time.Time) ([]collector.Fact, map[string]any, error) {
	t := &turn{
		project:    project,
		sessionID:  o.id("session_id", "conversation_id"),
		id:         o.id("event_id"),
		name:       o.text("primitive_name", "agent_name"),
		input:      o.text("args", "input"),
		output:     o.text("result", "output"),
		success:    o.truth(true, "success"),
		at:         o.moment("timestamp"),
		parent:     o.id("parent_id"),
		properties: map[string]string{},
		metadata:   o.object("metadata"),
	}
	if ms, ok := o.milliseconds("latency"); ok {
		t.latency = durationpb.New(time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond)
	}
	primitive := o.text("primitive_type")
	checkpoints := o.text("checkpoints")
	if o.err != nil {
		return nil, nil, o.err
	}
	if t.sessionID == "" {
		return nil, nil, &fieldError{"session_id", "is required"}
	}
	if t.id == "" {
		t.id, t.made = newID(), now
	}
	t.metadata.rest(t.properties)
	for name, value := range map[string]string{"parent_id": t.parent, "primitive_type": primitive, "checkpoints": checkpoints} {
		if value != "" {
			t.properties[name] = value
		}
	}
	facts, err := factsOf(t.events(t.parent != "" || primitive != ""), now)
	return facts, map[string]any{"success": true, "event_id": t.id}, err
}

// Parts of a turn, in order.
const (
	partInput = iota
	partOutput
)

func (t *turn) events(isTool bool) (events []event) {
	if isTool {
		m := t.answer(partInput)
		m.ExtendedRole = asTool
		m.ToolCalls = []*toolCall{{Id: t.id, Name: t.name, Arguments: t.input, Result: t.output}}
		m.MessageCreateTime = given(t.at)
		return []event{t.event("tool", m, t.properties)}
	}
	if t.name != "" {
		t.properties["agent_name"] = t.name
	}
	if t.input != "" {
		events = append(events, t.event("input", &message{
			SessionId: t.sessionID, MessageRole: asUser, MessageContent: t.input, MessageCreateTime: given(t.at), Place: t.place(partInput),
		}, nil))
	}
	if t.input == "" || t.output != "" || !t.success {
		m := t.answer(partOutput)
		m.Place.Answer = true
		if !t.at.IsZero() {
			m.MessageCreateTime = timestamppb.New(t.at.Add(t.latency.AsDuration()))
		}
		events = append(events, t.event("output", m, t.properties))
	}
	return events
}

func (t *turn) place(part int32) *place { return &place{Time: given(t.at), Turn: t.id, Part: part} }

// answer is what came of a turn or a call.
func (t *turn) answer(part int32) *message {
	m := &message{
		SessionId: t.sessionID, MessageRole: asAssistant, MessageContent: t.output, Place: t.place(part),
		Success: proto.Bool(t.success), Latency: t.latency,
		Model: t.metadata.text("model"), InputTokens: t.number("input_tokens"), OutputTokens: t.number("output_tokens"), Cost: t.cost(),
	}
	if t.output == "" {
		m.ContentLength = new(int64)
	}
	if !t.success {
		m.Error = t.output
	}
	return m
}

// number returns a count that metadata gives, as a number or as text.
func (t *turn) number(name string) *int64 {
	n, err := strconv.ParseInt(t.metadata.text(name), 10, 64)
	if err != nil || n < 0 {
		return nil
	}
	return &n
}

func (t *turn) cost() *float64 {
	n, err := strconv.ParseFloat(t.metadata.text("cost", "cost_usd"), 64)
	if err != nil || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) {
		return nil
	}
	return &n
}

func (t *turn) event(part string, m *message, properties map[string]string) event {
	return &ingestionv1alpha.Event{
		Id:         ingest.EventID(t.made, "agnost", t.project, t.sessionID, t.id, part),
		Type:       collector.TypeMessageCreate,
		CreateTime: given(t.at),
		Properties: &ingestionv1alpha.EventProperties{
			ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: m},
			CustomProperties:   custom(properties)},
	}
}

func factsOf(events []event, now time.Time) (facts []collector.Fact, err error) {
	for _, each := range events {
		made, err := fact(each, now)
		if err != nil {
			return nil, err
		}
		facts = append(facts, made)
	}
	return facts, nil
}

// given is no timestamp for a time that the client did not give.
func given(at time.Time) *timestamppb.Timestamp {
	if at.IsZero() {
		return nil
	}
	return timestamppb.New(at)
}

func custom(from map[string]string) map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue {
	if len(from) == 0 {
		return nil
	}
	all := make(map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue, len(from))
	for _, name := range slices.Sorted(maps.Keys(from)) {
		all[name] = &ingestionv1alpha.EventProperties_CustomPropertyValue{StringValue: from[name]}
	}
	return all
}
