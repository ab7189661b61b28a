package otlp

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

type (
	event      = ingestionv1alpha.Event
	properties = ingestionv1alpha.EventProperties
	session    = ingestionv1alpha.EventProperties_SessionProperties
	message    = ingestionv1alpha.EventProperties_MessageProperties
	place      = ingestionv1alpha.EventProperties_MessageProperties_Place
	toolCall   = ingestionv1alpha.EventProperties_MessageProperties_ToolCall
	feedback   = ingestionv1alpha.EventProperties_FeedbackProperties
)

const (
	asUser      = ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER
	asAssistant = ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT
	asSystem    = ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_SYSTEM
	asTool      = ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_TOOL
)

// Names of events.
const (
	eventDetails    = "gen_ai.client.inference.operation.details"
	eventEvaluation = "gen_ai.evaluation.result"
	eventChoice     = "gen_ai.choice"
	eventPrompt     = "gen_ai.content.prompt"
	eventCompletion = "gen_ai.content.completion"
)

// oldMessages are events for one message each, and who says it.
var oldMessages = map[string]string{
	"gen_ai.system.message":    "system",
	"gen_ai.user.message":      "user",
	"gen_ai.assistant.message": "assistant",
	"gen_ai.tool.message":      "tool",
	eventChoice:                "assistant",
	eventPrompt:                "user",
	eventCompletion:            "assistant",
}

// userFeedback is the only evaluation that is a vote.
const userFeedback = "user_feedback"

const prefix = "gen_ai."

// operations are those of a model. Others, of agents and tools, repeat what these say.
var operations = []string{"", "chat", "text_completion", "generate_content"}

// intake is what becomes of a request.
type intake struct {
	project           string
	now               time.Time
	batch             collector.Batch
	ignored, rejected int
	groups            map[string]*operation // of log records with one message each, by span
	order             []string              // of groups
}

// operation is one call of a model, as far as the telemetry tells.
type operation struct {
	source          string // span or log, so that the two do not override each other by chance
	traceID, spanID string
	attributes      attributes
	start, end      time.Time
	input, output   []said
	instructions    []said
	failure         string
	failed          bool
	raw             []proto.Message // the span, or the records
	parts           []part          // of a group
}

// part is a record of one message.
type part struct {
	name       string
	at         time.Time
	attributes attributes
	body       *commonv1.AnyValue
}

// named is an event's name, which older exporters put into an attribute.
func named(name string, a attributes) string { return cmp.Or(name, a.text("event.name")) }

func (in *intake) span(span *tracev1.Span, id func([]byte) string) {
	o := &operation{
		source: "span", traceID: id(span.GetTraceId()), spanID: id(span.GetSpanId()), attributes: attributesOf(span.GetAttributes()),
		start: moment(span.GetStartTimeUnixNano()), end: moment(span.GetEndTimeUnixNano()), raw: []proto.Message{span},
	}
	about, voted := hasPrefix(o.attributes), false
	o.takeAttributes(o.attributes)
	for i, e := range span.GetEvents() {
		a := attributesOf(e.GetAttributes())
		name := named(e.GetName(), a)
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		about = true
		switch {
		case name == eventEvaluation:
			voted = in.evaluation(o, a, moment(e.GetTimeUnixNano()), "span event "+strconv.Itoa(i)) || voted
		case name == eventDetails:
			o.takeAttributes(a)
			for key, value := range a {
				if o.attributes[key] == nil {
					o.attributes[key] = value
				}
			}
		default:
			o.takeMessage(name, a, nil)
		}
	}
	if !about || !slices.Contains(operations, o.attributes.text("gen_ai.operation.name")) {
		if !voted {
			in.ignored++
		}
		return
	}
	o.fail(span.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR, span.GetStatus().GetMessage())
	if !in.tell(o) && !voted {
		in.ignored++
	}
}

func hasPrefix(a attributes) bool {
	for name := range a {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func (in *intake) record(record *logsv1.LogRecord, id func([]byte) string) {
	a := attributesOf(record.GetAttributes())
	name := named(record.GetEventName(), a)
	at := moment(cmp.Or(record.GetTimeUnixNano(), record.GetObservedTimeUnixNano()))
	o := &operation{source: "log", traceID: id(record.GetTraceId()), spanID: id(record.GetSpanId()), attributes: a, start: at, end: at, raw: []proto.Message{record}}
	switch {
	case name == eventEvaluation:
		if !in.evaluation(o, a, at, "log") {
			in.ignored++
		}
	case oldMessages[name] != "":
		o.parts = []part{{name, at, a, record.GetBody()}}
		in.group(o)
	case name == eventDetails && slices.Contains(operations, a.text("gen_ai.operation.name")):
		o.takeAttributes(a)
		o.fail(false, "")
		if !in.tell(o) {
			in.ignored++
		}
	default:
		in.ignored++
	}
}

// takeAttributes reads the messages that are attributes.
func (o *operation) takeAttributes(a attributes) {
	o.instructions = append(o.instructions, messagesOf(a["gen_ai.system_instructions"], "system")...)
	o.input = append(o.input, messagesOf(a["gen_ai.input.messages"], "user")...)
	o.output = append(o.output, messagesOf(a["gen_ai.output.messages"], "assistant")...)
	if len(o.input)+len(o.output) == 0 {
		o.input, o.output = flatMessages(a, "gen_ai.prompt.", "user"), flatMessages(a, "gen_ai.completion.", "assistant")
	}
}

// takeMessage reads an event that is one message: as its body, or where it has none as its attributes.
func (o *operation) takeMessage(name string, a attributes, body *commonv1.AnyValue) {
	role := oldMessages[name]
	if role == "" {
		return
	}
	var told []said
	switch {
	case name == eventPrompt:
		told = messagesOf(a["gen_ai.prompt"], role)
	case name == eventCompletion:
		told = messagesOf(a["gen_ai.completion"], role)
	case body != nil:
		told = messagesOf(body, role)
	default:
		object := make(map[string]any)
		for _, key := range []string{"role", "content", "tool_calls", "message", "finish_reason", "id", "name"} {
			if a[key] != nil {
				object[key] = decoded(a[key])
			}
		}
		told = messagesIn(object, role)
	}
	if name == eventChoice || name == eventCompletion {
		o.output = append(o.output, told...)
	} else {
		o.input = append(o.input, told...)
	}
}

func (o *operation) fail(failed bool, why string) {
	kind := o.attributes.text("error.type")
	o.failed = failed || kind != ""
	if o.failed {
		o.failure = cmp.Or(why, kind, "error")
	}
}

// group adds a record of one message to those of its span.
func (in *intake) group(o *operation) {
	key := o.traceID + " " + o.spanID
	if o.spanID == "" { // belongs with nothing
		key = strconv.Itoa(len(in.order))
	}
	known := in.groups[key]
	if known == nil {
		if in.groups == nil {
			in.groups = make(map[string]*operation)
		}
		in.groups[key] = o
		in.order = append(in.order, key)
		return
	}
	known.parts = append(known.parts, o.parts...)
	known.raw = append(known.raw, o.raw...)
}

// tellGroups tells the operations that came as a record for each message.
func (in *intake) tellGroups() {
	for _, key := range in.order {
		o := in.groups[key]
		slices.SortStableFunc(o.parts, func(a, b part) int { return a.at.Compare(b.at) })
		o.start, o.end = o.parts[0].at, o.parts[len(o.parts)-1].at
		o.attributes = make(attributes)
		for _, p := range o.parts {
			for name, value := range p.attributes {
				o.attributes[name] = value
			}
			o.takeMessage(p.name, p.attributes, p.body)
		}
		o.fail(false, "")
		if !in.tell(o) {
			in.ignored += len(o.raw)
		}
	}
}

// sessionID is what a conversation is known by.
func (o *operation) sessionID() string {
	return cmp.Or(o.attributes.text("gen_ai.conversation.id", "session.id"), o.traceID)
}

func (o *operation) userID() string { return o.attributes.text("user.id", "enduser.id") }

// turn names the operation: feedback may name it by its answer's id, or by its span.
func (o *operation) turn() string { return turnName(o.attributes.text("gen_ai.response.id"), o.spanID) }

func turnName(responseID, spanID string) string {
	switch {
	case responseID != "":
		return "response " + responseID
	case spanID != "":
		return "span " + spanID
	}
	return ""
}

// tell makes facts of an operation, all of them or none, and reports whether there was anything to tell.
func (in *intake) tell(o *operation) bool {
	fresh, first := news(o.input)
	if first {
		fresh = append(slices.Clone(o.instructions), fresh...)
	}
	output := o.output
	if len(output) == 0 && o.failed {
		output = []said{{role: "assistant"}}
	}
	if len(fresh)+len(output) == 0 {
		return false
	}
	var events []*event
	user, agent := o.userID(), o.attributes.text("gen_ai.agent.name", "gen_ai.agent.id")
	if user != "" || agent != "" {
		events = append(events, o.event(in, "session", collector.TypeSessionOpen, o.start, &properties{
			ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: &session{
				SessionId: o.sessionID(), UserId: user, AssistantId: agent, SessionStartTime: stamp(o.start)}}}))
	}
	part := int32(0)
	for i := range fresh {
		events = append(events, o.message(in, &fresh[i], part, o.start, nil))
		part++
	}
	for i := range output {
		m := o.answer(&output[i])
		m.Place = &place{Answer: i == 0}
		events = append(events, o.message(in, &output[i], part, o.end, m))
		part++
	}
	in.add(o.raw, events...)
	return true
}

// message tells what was said as the part-th message of its operation.
func (o *operation) message(in *intake, s *said, part int32, at time.Time, m *message) *event {
	if m == nil {
		m = &message{}
	}
	if m.Place == nil {
		m.Place = &place{}
	}
	m.Place.Time, m.Place.Turn, m.Place.Part = stamp(o.start), o.turn(), part
	m.SessionId = o.sessionID()
	m.MessageRole, m.ExtendedRole = roleOf(s)
	m.MessageContent = s.text()
	m.MessageCreateTime = stamp(at)
	if m.MessageContent == "" {
		m.ContentLength = new(int64)
	}
	m.RunId = o.traceID
	for _, c := range s.calls {
		m.ToolCalls = append(m.ToolCalls, &toolCall{Id: c.id, Name: c.name, Arguments: c.arguments, Result: c.result})
	}
	props := &properties{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: m}}
	if m.Success != nil {
		props.CustomProperties = custom(map[string]string{
			"gen_ai.provider.name": o.attributes.text("gen_ai.provider.name", "gen_ai.system"),
			"gen_ai.response.id":   o.attributes.text("gen_ai.response.id"),
			"finish_reason":        s.finish,
			"span_id":              o.spanID,
		})
	}
	return o.event(in, strconv.Itoa(int(part)), collector.TypeMessageCreate, at, props)
}

// answer is what is known of an output beside its words.
func (o *operation) answer(s *said) *message {
	a := o.attributes
	m := &message{
		Success:      proto.Bool(!o.failed),
		Error:        o.failure,
		Model:        a.text("gen_ai.response.model", "gen_ai.request.model"),
		InputTokens:  a.count("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
		OutputTokens: a.count("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
	}
	if o.failed {
		m.Outcome = "error"
	}
	if o.end.After(o.start) && !o.start.IsZero() && o.source == "span" {
		m.Latency = durationpb.New(o.end.Sub(o.start))
	}
	if seconds, ok := a.number("gen_ai.response.time_to_first_chunk"); ok && seconds >= 0 && seconds < math.MaxInt64/1e9 {
		m.TimeToFirstToken = durationpb.New(time.Duration(seconds * float64(time.Second)))
	}
	return m
}

func roleOf(s *said) (role ingestionv1alpha.EventProperties_MessageProperties_Role, extended ingestionv1alpha.EventProperties_MessageProperties_ExtendedRole) {
	switch s.role {
	case "user", "human":
		return asUser, 0
	case "system", "developer":
		return asAssistant, asSystem
	case "tool", "function":
		return asAssistant, asTool
	}
	return asAssistant, 0
}

// event makes an event of an operation; part says which.
func (o *operation) event(in *intake, part, kind string, at time.Time, props *properties) *event {
	who := []string{"otlp", in.project, o.source, o.traceID, o.spanID, part}
	if o.spanID == "" { // nothing names it but what it says
		for _, raw := range o.raw {
			who = append(who, string(bytesOf(raw)))
		}
	}
	return &event{Id: ingest.EventID(at, who...), Type: kind, CreateTime: stamp(at), Properties: props}
}

// evaluation makes a vote of a user's feedback, and reports whether it was one.
func (in *intake) evaluation(o *operation, a attributes, at time.Time, part string) bool {
	if a.text("gen_ai.evaluation.name") != userFeedback {
		return false
	}
	own := *o
	own.attributes = make(attributes, len(a))
	for _, from := range []attributes{o.attributes, a} { // what the event says comes before what its span says
		for name, value := range from {
			own.attributes[name] = value
		}
	}
	vote := &feedback{
		SessionId:      own.sessionID(),
		FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION,
		Type:           thumb(a),
		Comment:        a.text("gen_ai.evaluation.explanation"),
		UserId:         own.userID(),
	}
	if score, ok := a.number("gen_ai.evaluation.score.value"); ok {
		vote.Score = &score
		if score >= 0 && score <= 1 {
			vote.ScoreMax = 1
		}
	}
	if turn := own.turn(); turn != "" {
		vote.FeedbackTarget, vote.MessageTurn = ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE, turn
	}
	// Several votes may be told on one span, so each is known by what it says.
	in.add(o.raw, own.event(in, "vote "+part+" "+at.String()+string(bytesOf(vote)), collector.TypeFeedbackCreate, at, &properties{
		ReservedProperties: &ingestionv1alpha.EventProperties_FeedbackProperties_{FeedbackProperties: vote}}))
	return true
}

// bytesOf is a message that was decoded before, or is made of text that was.
func bytesOf(m proto.Message) []byte {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

// Words for a thumb.
var thumbs = map[string]string{
	"thumbs_up": "thumbs_up", "thumbs up": "thumbs_up", "up": "thumbs_up", "positive": "thumbs_up", "like": "thumbs_up",
	"good": "thumbs_up", "helpful": "thumbs_up", "pass": "thumbs_up", "👍": "thumbs_up",
	"thumbs_down": "thumbs_down", "thumbs down": "thumbs_down", "down": "thumbs_down", "negative": "thumbs_down", "dislike": "thumbs_down",
	"bad": "thumbs_down", "not_helpful": "thumbs_down", "unhelpful": "thumbs_down", "fail": "thumbs_down", "👎": "thumbs_down",
}

// unclear is no type of feedback: who says neither word nor number has not voted, and is not taken to take a vote back.
const unclear = "unclear"

func thumb(a attributes) string {
	if kind, known := thumbs[strings.ToLower(a.text("gen_ai.evaluation.score.label"))]; known {
		return kind
	}
	score, ok := a.number("gen_ai.evaluation.score.value")
	switch {
	case !ok || !(score >= -1 && score <= 1):
		return unclear
	case score >= 0.5:
		return "thumbs_up"
	}
	return "thumbs_down"
}

// add makes facts of the events of one record: if one of them is no good, none.
func (in *intake) add(raw []proto.Message, events ...*event) {
	var facts []collector.Fact
	for _, e := range events {
		fact, reason := ingest.Fact(e, in.now)
		if reason != "" {
			in.reject(raw, e.GetId(), reason)
			return
		}
		facts = append(facts, fact)
	}
	in.batch.Facts = append(in.batch.Facts, facts...)
}

// reject sets a span aside, or all records of a group.
func (in *intake) reject(raw []proto.Message, id string, reason ingest.Reason) {
	for _, each := range raw {
		in.rejected++
		in.batch.SetAside = append(in.batch.SetAside, ingest.SetAside(id, reason, bytesOf(each), in.now))
	}
}

// stamp is no timestamp for a time that was not given.
func stamp(at time.Time) *timestamppb.Timestamp {
	if at.IsZero() {
		return nil
	}
	return timestamppb.New(at)
}

func custom(from map[string]string) map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue {
	all := make(map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue, len(from))
	for name, value := range from {
		if value != "" {
			all[name] = &ingestionv1alpha.EventProperties_CustomPropertyValue{StringValue: value}
		}
	}
	return all
}
