package server_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// The golden requests in testdata/wire/requests are written here and read by TestWire; see the README there for the format.
// After a change:
//
//	go test ./server -run TestGoldenRequests -update

var update = flag.Bool("update", false, "write the golden requests instead of comparing them")

const goldenDir = "../../testdata/wire/requests"

// wireCase is one request, what to answer and what to keep of it. It is the content of NAME.case.json.
type wireCase struct {
	About   string      `json:"about"`
	Request wireRequest `json:"request"`
	Want    wireWant    `json:"want"`

	name string
	body []byte // as sent
}

type wireRequest struct {
	Method  string            `json:"method"`
	Target  string            `json:"target"`
	Header  map[string]string `json:"header"`
	Framing string            `json:"framing"` // length | chunked
	Body    string            `json:"body"`    // a file's name
	Gunzip  bool              `json:"gunzip,omitempty"`
}

type wireWant struct {
	Status   int               `json:"status"`
	Header   map[string]string `json:"header"`
	Body     string            `json:"body"`
	Code     string            `json:"code,omitempty"`
	Facts    []wireFact        `json:"facts"`
	SetAside []wireAside       `json:"setAside"`
	Messages []wireMessage     `json:"messages,omitempty"`
}

type wireFact struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Time string `json:"time"` // RFC 3339, or "receive": when the collector read it
}

type wireAside struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

type wireMessage struct {
	Session string `json:"session"`
	Index   int32  `json:"index"`
	Role    string `json:"role"`
	Content string `json:"content,omitempty"`
	Length  int    `json:"contentLength,omitempty"` // code points, instead of a content too long to quote
	Vote    string `json:"vote,omitempty"`          // up | down
}

// Short names for the schema.
type (
	event    = ingestionv1alpha.Event
	session  = ingestionv1alpha.EventProperties_SessionProperties
	message  = ingestionv1alpha.EventProperties_MessageProperties
	user     = ingestionv1alpha.EventProperties_UserProperties
	feedback = ingestionv1alpha.EventProperties_FeedbackProperties
	custom   = map[string]string
)

const (
	roleUser      = ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER
	roleAssistant = ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT
	onSession     = ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION
	onMessage     = ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE
)

// hexID and dashedID are the two ways in which clients write the same UUID.
func hexID(n int) string    { return fmt.Sprintf("6f1d0a2b3c4d4e5f8a9b%012x", n) }
func dashedID(n int) string { return fmt.Sprintf("6f1d0a2b-3c4d-4e5f-8a9b-%012x", n) }

// noon is when the golden requests happen; clients differ in how exactly they know.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(d)) }

// evt builds an event around one of the properties.
func evt(id string, when *timestamppb.Timestamp, what any, props custom) *event {
	p := new(ingestionv1alpha.EventProperties)
	e := &event{Id: id, CreateTime: when, ProjectId: "shop", Properties: p}
	switch what := what.(type) {
	case *session:
		e.Type = "session_open"
		p.ReservedProperties = &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: what}
	case *message:
		e.Type = "message_create"
		p.ReservedProperties = &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: what}
	case *user:
		e.Type = "user_recognize"
		p.ReservedProperties = &ingestionv1alpha.EventProperties_UserProperties_{UserProperties: what}
	case *feedback:
		e.Type = "feedback_create"
		p.ReservedProperties = &ingestionv1alpha.EventProperties_FeedbackProperties_{FeedbackProperties: what}
	}
	for key, value := range props {
		if p.CustomProperties == nil {
			p.CustomProperties = make(map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue)
		}
		p.CustomProperties[key] = &ingestionv1alpha.EventProperties_CustomPropertyValue{StringValue: value}
	}
	return e
}

func closing(id string, when *timestamppb.Timestamp, sessionID string) *event {
	e := evt(id, when, &session{SessionId: sessionID}, nil)
	e.Type = "session_close"
	return e
}

func says(sessionID string, index int32, role ingestionv1alpha.EventProperties_MessageProperties_Role, content string) *message {
	return &message{SessionId: sessionID, MessageIndexHint: index, MessageRole: role, MessageContent: content}
}

func marshal(m proto.Message) []byte {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

func binaryBody(requestID string, events ...*event) []byte {
	return marshal(&ingestionv1alpha.CollectEventsRequest{RequestId: requestID, Events: events})
}

// rawEvent is a CollectEventsRequest.events entry of any bytes.
func rawEvent(raw []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), raw)
}

func zip(raw []byte) []byte {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(raw)
	_ = w.Close()
	return zipped.Bytes()
}

// facts are the facts wanted of events as they are: all of them, at their own time.
func facts(events ...*event) []wireFact {
	var want []wireFact
	for _, e := range events {
		id := strings.ReplaceAll(e.GetId(), "-", "")
		want = append(want, wireFact{id, e.GetType(), e.GetCreateTime().AsTime().Format(time.RFC3339Nano)})
	}
	return want
}

const (
	procedure  = "/ingestion.v1alpha.IngestionService/CollectEvents"
	typeProto  = "application/proto"
	typeJSON   = "application/json"
	withKey    = "Bearer {ingest key}"
	notRequest = "unmarshal message: body is not a CollectEventsRequest"
)

// The four clients, as far as the wire shows.
func python(about, name string, body []byte, want wireWant) wireCase {
	return wireCase{about, wireRequest{Method: "POST", Target: procedure, Framing: "length", Header: map[string]string{
		"Authorization": withKey, "Content-Type": typeProto,
		"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "python-requests/2.32.3",
	}}, want, "python-" + name, body}
}

func node(about, name string, body []byte, want wireWant) wireCase {
	return wireCase{about, wireRequest{Method: "POST", Target: procedure, Framing: "chunked", Header: map[string]string{
		"Authorization": withKey, "Content-Type": typeProto, "Connect-Protocol-Version": "1",
		"Accept-Encoding": "gzip,br", "User-Agent": "connect-es/1.4.0",
	}}, want, "node-" + name, body}
}

func edge(about, name string, body string, want wireWant) wireCase {
	return wireCase{about, wireRequest{Method: "POST", Target: procedure, Framing: "length", Header: map[string]string{
		"Authorization": withKey, "Content-Type": typeJSON, "Connect-Protocol-Version": "1", "Accept": "*/*",
	}}, want, "edge-" + name, []byte(body)}
}

func kotlin(about, name string, body []byte, want wireWant) wireCase {
	return wireCase{about, wireRequest{Method: "POST", Target: procedure, Framing: "length", Header: map[string]string{
		"Authorization": withKey, "Content-Type": typeProto, "Connect-Protocol-Version": "1",
		"Accept-Encoding": "gzip", "User-Agent": "connect-kotlin/0.7.1 okhttp/4.12.0",
	}}, want, "kotlin-" + name, body}
}

// hostile is a request no client would send, of either media type.
func hostile(about, name, mediaType string, body []byte, want wireWant) wireCase {
	return wireCase{about, wireRequest{Method: "POST", Target: procedure, Framing: "length", Header: map[string]string{
		"Authorization": withKey, "Content-Type": mediaType,
	}}, want, "hostile-" + name, body}
}

// with changes a case's request.
func (c wireCase) with(change func(*wireRequest)) wireCase {
	change(&c.Request)
	return c
}

func header(name, value string) func(*wireRequest) {
	return func(r *wireRequest) {
		if r.Header[name] = value; value == "" {
			delete(r.Header, name)
		}
	}
}

func takenProto(facts []wireFact, aside ...wireAside) wireWant {
	return wireWant{Status: 200, Header: map[string]string{"Content-Type": typeProto}, Facts: facts, SetAside: aside}
}

func takenJSON(facts []wireFact, aside ...wireAside) wireWant {
	return wireWant{Status: 200, Header: map[string]string{"Content-Type": typeJSON}, Body: "{}", Facts: facts, SetAside: aside}
}

func (w wireWant) showing(messages ...wireMessage) wireWant {
	w.Messages = messages
	return w
}

func refused(status int, code, message string) wireWant {
	body, err := json.Marshal(struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message})
	if err != nil {
		panic(err)
	}
	return wireWant{Status: status, Header: map[string]string{"Content-Type": typeJSON}, Code: code, Body: string(body)}
}

// wireCases are all golden requests, made once: one of them is 32 MiB to compress.
var wireCases = sync.OnceValue(func() []wireCase {
	return slices.Concat(clientCases(), hostileCases(), refusedCases())
})

// conversation is everything the schema has, as a client with these ids and this clock resolution tells it.
func conversation(id func(int) string, resolution time.Duration, open *session, person *user) []*event {
	tick := func(n time.Duration) *timestamppb.Timestamp { return at(n*time.Second + n*123*resolution) }
	return []*event{
		evt(id(1), tick(0), person, custom{"plan": "pro"}),
		evt(id(2), tick(1), open, custom{"channel": "web"}),
		evt(id(3), tick(2), says("s1", 1, roleUser, "Where is my order? 주문 📦"), nil),
		evt(id(4), tick(3), says("s1", 2, roleAssistant, "It left the warehouse today."), custom{"model": "small"}),
		evt(id(5), tick(4), &feedback{SessionId: "s1", MessageIndexHint: 2, FeedbackTarget: onMessage, Type: "thumbs_up"}, nil),
		evt(id(6), tick(5), &feedback{SessionId: "s1", FeedbackTarget: onSession, Type: "thumbs_down"}, nil),
		closing(id(7), tick(6), "s1"),
	}
}

var conversationMessages = []wireMessage{
	{Session: "s1", Index: 1, Role: "user", Content: "Where is my order? 주문 📦"},
	{Session: "s1", Index: 2, Role: "assistant", Content: "It left the warehouse today.", Vote: "up"},
}

// clientCases are what the public clients send.
func clientCases() []wireCase {
	pythonEvents := conversation(hexID, time.Microsecond,
		&session{SessionId: "s1", UserId: "u1", AssistantId: "DEFAULT"},
		&user{UserId: "u1", UserDisplayName: "Ada", UserEmail: "ada@example.com", UserIp: "203.0.113.7",
			UserLocation: &ingestionv1alpha.EventProperties_UserProperties_Location{CountryCode: "KR"}})
	nodeEvents := conversation(dashedID, time.Millisecond,
		&session{SessionId: "s1", UserId: "u1", AssistantId: "DEFAULT", SessionTitle: "An order", SessionStartTime: at(0)},
		&user{UserId: "u1", UserDisplayName: "Ada", UserCreateTime: at(0),
			UserLocation: &ingestionv1alpha.EventProperties_UserProperties_Location{CountryCode: "KR"}})
	kotlinEvents := conversation(hexID, time.Millisecond,
		&session{SessionId: "s1", UserId: "u1", AssistantId: "support"}, &user{UserId: "u1", UserDisplayName: "Ada"})

	var fifty []*event
	var fiftyMessages []wireMessage
	for n := range 50 {
		role, name := roleUser, "user"
		if n%2 == 1 {
			role, name = roleAssistant, "assistant"
		}
		text := fmt.Sprintf("message %d", n+1)
		fifty = append(fifty, evt(hexID(100+n), at(time.Duration(n)*time.Microsecond), says("s50", int32(n+1), role, text), nil))
		fiftyMessages = append(fiftyMessages, wireMessage{Session: "s50", Index: int32(n + 1), Role: name, Content: text})
	}
	oddKeys := evt(hexID(160), at(0), says("s1", 1, roleUser, "hi"), custom{"1a": "x", "a-b": "", "é": "ok", "": "no name"})
	many := strings.Repeat("x", 5_000_000)
	large := evt(dashedID(170), at(0), says("s5mb", 1, roleUser, many), nil)
	oddType := evt(dashedID(181), at(0), &feedback{SessionId: "s1", FeedbackTarget: onSession, Type: "five_stars"}, nil)
	kept := evt(dashedID(180), at(0), says("s1", 1, roleUser, "hi"), nil)
	oneMoment := []*event{ // the ids say the opposite of the order
		evt(dashedID(199), at(0), says("s1", 1, roleAssistant, "draft"), nil),
		evt(dashedID(198), at(0), says("s1", 1, roleAssistant, "final"), nil),
		evt(dashedID(197), at(0), &feedback{SessionId: "s1", MessageIndexHint: 1, FeedbackTarget: onMessage, Type: "thumbs_up"}, nil),
		evt(dashedID(196), at(0), &feedback{SessionId: "s1", MessageIndexHint: 1, FeedbackTarget: onMessage, Type: "thumbs_down"}, nil),
		evt(dashedID(195), at(0), says("s1", 2, roleUser, "thanks"), nil),
	}
	oneMomentFacts := facts(oneMoment...)
	oneMomentFacts[1].Time = "2026-03-14T12:00:00.000000001Z"
	oneMomentFacts[3].Time = "2026-03-14T12:00:00.000000001Z"

	return []wireCase{
		python("Every kind of event: no Connect-Protocol-Version, ids of 32 hex digits, microseconds; ip and country together; gzip accepted, and yet the answer's body is empty.",
			"conversation", binaryBody(hexID(90), pythonEvents...), takenProto(facts(pythonEvents...)).showing(conversationMessages...)),
		python("A full batch: 50 events.",
			"fifty-events", binaryBody(hexID(91), fifty...), takenProto(facts(fifty...)).showing(fiftyMessages...)),
		python("Property keys that every other client would refuse.",
			"property-keys", binaryBody(hexID(92), oddKeys), takenProto(facts(oddKeys))),
		node("Every kind of event: chunked, dashed ids, milliseconds, a session title and start time, user_create_time set to now.",
			"conversation", binaryBody(dashedID(90), nodeEvents...), takenProto(facts(nodeEvents...)).showing(conversationMessages...)),
		node("5 MB in one message, in one chunk.",
			"5mb-message", binaryBody(dashedID(91), large),
			takenProto(facts(large)).showing(wireMessage{Session: "s5mb", Index: 1, Role: "user", Length: len(many)})).
			with(func(r *wireRequest) { r.Gunzip = true }),
		node("A request without events.",
			"no-events", binaryBody(dashedID(92)), takenProto(nil)),
		node("A request without anything: also no events.",
			"empty", nil, takenProto(nil)),
		node("A feedback type that is none: Node does not check it.",
			"feedback-type", binaryBody(dashedID(93), kept, oddType),
			takenProto(facts(kept), wireAside{dashedID(181), "feedback_type_unknown"})),
		node("A batch with one create_time: where events override each other, their order in the request stands.",
			"one-create-time", binaryBody(dashedID(94), oneMoment...), takenProto(oneMomentFacts).showing(
				wireMessage{Session: "s1", Index: 1, Role: "assistant", Content: "final", Vote: "down"},
				wireMessage{Session: "s1", Index: 2, Role: "user", Content: "thanks"})),
		edge("Every kind of event in JSON: camelCase, RFC 3339 with Z, empty strings and maps, unknown members.",
			"conversation", edgeConversation, takenJSON([]wireFact{
				{hexID(1), "user_recognize", "2026-03-14T12:00:00.001Z"},
				{hexID(2), "session_open", "2026-03-14T12:00:00.002Z"},
				{hexID(3), "message_create", "2026-03-14T12:00:00.003Z"},
				{hexID(4), "message_create", "2026-03-14T12:00:00.004Z"},
				{hexID(5), "feedback_create", "2026-03-14T12:00:00.005Z"},
				{hexID(6), "feedback_create", "2026-03-14T12:00:00.006Z"},
				{hexID(7), "session_close", "2026-03-14T12:00:00.007Z"},
			}).showing(conversationMessages...)),
		edge("A host with a trailing slash.",
			"double-slash", `{"requestId":"r","events":[{"id":"`+dashedID(1)+`","type":"session_open","createTime":"2026-03-14T12:00:00.000Z","projectId":"shop","properties":{"sessionProperties":{"sessionId":"s1","userId":"u1","assistantId":"DEFAULT"},"customProperties":{}}}]}`,
			takenJSON([]wireFact{{hexID(1), "session_open", "2026-03-14T12:00:00Z"}})).
			with(func(r *wireRequest) { r.Target = "/" + procedure }),
		edge("A request without events.", "no-events", `{"requestId":"`+dashedID(90)+`","events":[]}`, takenJSON(nil)),
		edge("A request without anything but braces.", "empty", `{}`, takenJSON(nil)),
		kotlin("Every kind of event: ids of 32 hex digits, milliseconds, Content-Length.",
			"conversation", binaryBody(hexID(90), kotlinEvents...), takenProto(facts(kotlinEvents...)).showing(conversationMessages...)),
	}
}

const edgeConversation = `{"requestId":"6f1d0a2b-3c4d-4e5f-8a9b-00000000005a","events":[
{"id":"6f1d0a2b-3c4d-4e5f-8a9b-000000000001","type":"user_recognize","createTime":"2026-03-14T12:00:00.001Z","projectId":"shop","properties":{"userProperties":{"userId":"u1","userEmail":"","userIp":"","userLocation":{"countryCode":"KR","state":"","city":""},"userCreateTime":"2026-03-14T12:00:00.001Z","userDisplayName":"Ada"},"customProperties":{"plan":{"stringValue":"pro"},"note":{"stringValue":""}}}},
{"id":"6f1d0a2b-3c4d-4e5f-8a9b-000000000002","type":"session_open","createTime":"2026-03-14T12:00:00.002Z","projectId":"shop","properties":{"sessionProperties":{"sessionId":"s1","sessionTitle":"An order","sessionStartTime":"2026-03-14T12:00:00.000Z","userId":"u1","assistantId":"DEFAULT"},"customProperties":{}}},
{"id":"6f1d0a2b-3c4d-4e5f-8a9b-000000000003","type":"message_create","createTime":"2026-03-14T12:00:00.003Z","projectId":"shop","properties":{"messageProperties":{"sessionId":"s1","messageIdHint":"","messageIndexHint":1,"messageRole":"ROLE_USER","messageContent":"Where is my order? 주문 📦","messageCreateTime":"2026-03-14T12:00:00.003Z"},"customProperties":{}}},
{"id":"6f1d0a2b-3c4d-4e5f-8a9b-000000000004","type":"message_create","createTime":"2026-03-14T12:00:00.004Z","projectId":"shop","sdk":{"name":"edge","version":2},"properties":{"messageProperties":{"sessionId":"s1","messageIndexHint":2,"messageRole":"ROLE_ASSISTANT","messageContent":"It left the warehouse today.","streamed":true},"customProperties":{}}},
{"id":"6f1d0a2b-3c4d-4e5f-8a9b-000000000005","type":"feedback_create","createTime":"2026-03-14T12:00:00.005Z","projectId":"shop","properties":{"feedbackProperties":{"sessionId":"s1","messageIndexHint":2,"feedbackTarget":"TARGET_MESSAGE","type":"thumbs_up"},"customProperties":{}}},
{"id":"6f1d0a2b-3c4d-4e5f-8a9b-000000000006","type":"feedback_create","createTime":"2026-03-14T12:00:00.006Z","projectId":"shop","properties":{"feedbackProperties":{"sessionId":"s1","feedbackTarget":"TARGET_SESSION","type":"thumbs_down"}}},
{"id":"6f1d0a2b-3c4d-4e5f-8a9b-000000000007","type":"session_close","createTime":"2026-03-14T12:00:00.007Z","projectId":"shop","properties":{"sessionProperties":{"sessionId":"s1"},"customProperties":{}}}
],"client":"edge"}`

// hostileCases are odd values that were seen, and the events that must survive beside them.
func hostileCases() []wireCase {
	good := evt(hexID(1), at(0), says("s1", 1, roleUser, "good"), nil)
	goodJSON := `{"id":"` + hexID(1) + `","type":"message_create","createTime":"2026-03-14T12:00:00Z","properties":{"messageProperties":{"sessionId":"s1","messageIndexHint":1,"messageRole":"ROLE_USER","messageContent":"good"}}}`
	goodMessage := wireMessage{Session: "s1", Index: 1, Role: "user", Content: "good"}

	// An event like good, changed.
	odd := func(n int, change func(*event, *message)) *event {
		e := evt(hexID(n), at(0), says("s1", int32(n), roleUser, fmt.Sprint("event ", n)), nil)
		change(e, e.GetProperties().GetMessageProperties())
		return e
	}
	when := func(seconds int64, nanos int32) func(*event, *message) {
		return func(e *event, _ *message) { e.CreateTime = &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos} }
	}
	times := []*event{
		good,
		odd(2, when(noon.Unix(), -1)), odd(3, when(-62167219200, 0)), odd(4, when(-62198755200, 0)),
		odd(5, when(253402300800, 0)), odd(6, when(noon.Unix(), 2_000_000_000)), odd(7, when(0, 0)),
		odd(8, func(e *event, _ *message) { e.CreateTime = nil }),
	}
	received := func(events []*event) []wireFact {
		want := facts(events...)
		for i := range want[1:] {
			want[i+1].Time = "receive"
		}
		return want
	}
	shown := func(index int, content string) wireMessage {
		return wireMessage{Session: "s1", Index: int32(index), Role: "user", Content: content}
	}

	messageJSON := func(n int, members string) string {
		return fmt.Sprintf(`{"id":"%s","type":"message_create","createTime":"2026-03-14T12:00:00Z","properties":{"messageProperties":{"sessionId":"s1","messageRole":"ROLE_USER",%s}}}`, hexID(n), members)
	}
	timeJSON := func(n int, time string) string {
		return fmt.Sprintf(`{"id":"%s","type":"message_create","createTime":%s,"properties":{"messageProperties":{"sessionId":"s1","messageIndexHint":%d,"messageRole":"ROLE_USER","messageContent":"event %d"}}}`, hexID(n), time, n, n)
	}
	events := func(events ...string) []byte { return []byte(`{"events":[` + strings.Join(events, ",\n") + `]}`) }
	noonFact := func(n int) wireFact { return wireFact{hexID(n), "message_create", "2026-03-14T12:00:00Z"} }
	lateFact := func(n int) wireFact { return wireFact{hexID(n), "message_create", "receive"} }

	four := strings.Repeat("𝒳", 64) // 64 code points, 256 bytes, 128 UTF-16 units
	wide := evt(hexID(3), at(0), &session{SessionId: four, UserId: four, AssistantId: four}, nil)
	ids := []*event{
		good,
		evt("not a uuid", at(0), &session{SessionId: "line\nbreak", UserId: "u\n1"}, nil),
		wide,
		evt(strings.ToUpper(dashedID(4)), at(0), says("nul\x00id", 1, roleUser, "a\x00b"), nil),
		evt("nul\x00event", at(0), says("s1", 5, roleUser, "hi"), custom{"k\x00": "v\x00"}),
	}
	idFacts := facts(ids...)
	idFacts[3].ID, idFacts[4].ID = hexID(4), "nul\uFFFDevent"

	roles := []*event{
		good,
		odd(2, func(_ *event, m *message) { m.MessageRole = 0 }),
		odd(3, func(_ *event, m *message) { m.MessageRole = 7 }),
		odd(4, func(_ *event, m *message) {
			m.MessageRole = roleAssistant
			m.ExtendedRole = ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_SYSTEM
		}),
	}
	undo := evt(hexID(3), at(time.Second), &feedback{SessionId: "s1", MessageIndexHint: 1, FeedbackTarget: onMessage}, nil)
	up := evt(hexID(2), at(0), &feedback{SessionId: "s1", MessageIndexHint: 1, FeedbackTarget: onMessage, Type: "thumbs_up"}, nil)
	blank := []*event{
		good,
		odd(2, func(_ *event, m *message) { m.MessageContent = " \n" }),
		odd(3, func(_ *event, m *message) {
			m.MessageContent, m.ContentLength = "", proto.Int64(12)
		}),
	}
	foreign := odd(2, func(e *event, _ *message) { e.ProjectId = "someone else's" })

	tooMany := strings.Repeat("é", 257)
	manyCustom := make(custom)
	for n := range 257 {
		manyCustom[fmt.Sprint("k", n)] = ""
	}
	reasons := []struct {
		event  *event
		reason string
	}{
		{evt("", at(0), says("s1", 9, roleUser, "x"), nil), "id_missing"},
		{evt(tooMany, at(0), says("s1", 9, roleUser, "x"), nil), "id_too_long"},
		{&event{Id: "a", Type: "session_pause"}, "type_unknown"},
		{&event{Id: "b", Type: "session_open"}, "properties_missing"},
		{&event{Id: "c", Type: "message_create", Properties: up.GetProperties()}, "properties_missing"},
		{closing("d", at(0), ""), "session_id_missing"},
		{closing("e", at(0), tooMany), "session_id_too_long"},
		{evt("f", at(0), &user{UserDisplayName: "Ada"}, nil), "user_id_missing"},
		{evt("g", at(0), &session{SessionId: "s1", UserId: tooMany}, nil), "user_id_too_long"},
		{evt("h", at(0), &session{SessionId: "s1", AssistantId: tooMany}, nil), "assistant_id_too_long"},
		{evt("i", at(0), &user{UserId: "u1", UserEmail: strings.Repeat("é", 321)}, nil), "email_too_long"},
		{evt("j", at(0), says("s1", 0, roleUser, "x"), nil), "index_out_of_range"},
		{evt("k", at(0), says("s1", -1, roleUser, "x"), nil), "index_out_of_range"},
		{evt("l", at(0), &feedback{SessionId: "s1", FeedbackTarget: onMessage, Type: "thumbs_up"}, nil), "index_out_of_range"},
		{evt("m", at(0), says("s1", 9, 0, "x"), nil), "role_unknown"},
		{evt("n", at(0), says("s1", 9, roleUser, ""), nil), "content_empty"},
		{evt("o", at(0), &feedback{SessionId: "s1", Type: "thumbs_up"}, nil), "feedback_target_unknown"},
		{evt("p", at(0), &feedback{SessionId: "s1", FeedbackTarget: onSession, Type: "up"}, nil), "feedback_type_unknown"},
		{evt("q", at(0), says("s1", 9, roleUser, "x"), manyCustom), "properties_too_many"},
		{evt("r", at(0), says("s1", 9, roleUser, "x"), custom{tooMany: "x"}), "property_key_too_long"},
		{evt("s", at(0), says("s1", 9, roleUser, "x"), custom{"x": strings.Repeat("x", 65_537)}), "property_value_too_long"},
	}
	everyReason := []*event{good}
	var asides []wireAside
	for _, r := range reasons {
		everyReason = append(everyReason, r.event)
		asides = append(asides, wireAside{r.event.GetId(), r.reason})
	}

	damaged := bytes.Join([][]byte{
		rawEvent(marshal(good)),
		rawEvent([]byte("\x0a\x02id\x12\xff")),                       // a length beyond the end
		rawEvent([]byte("\x0a\x03bad\x12\x02\xc3\x28")),              // a type that is not UTF-8
		rawEvent([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")), // not even a field
		rawEvent(marshal(odd(2, func(*event, *message) {}))),
		protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 7), // a field of the future
	}, nil)

	return []wireCase{
		hostile("Times that are none, in binary: negative nanoseconds, the years 0, -1 and 10000, two billion nanoseconds, the zero of Unix time, no time. The events are kept as of when they arrived.",
			"times-binary", typeProto, binaryBody("", times...), takenProto(received(times)).showing(
				goodMessage, shown(2, "event 2"), shown(3, "event 3"), shown(4, "event 4"), shown(5, "event 5"),
				shown(6, "event 6"), shown(7, "event 7"), shown(8, "event 8"))),
		hostile("Times that are none, as JavaScript writes them: the years 0, -1 and 10000, no date at all, null, a number, empty.",
			"times-json", typeJSON, events(goodJSON, timeJSON(2, `"0000-01-01T00:00:00.000Z"`), timeJSON(3, `"-000001-01-01T00:00:00.000Z"`),
				timeJSON(4, `"+010000-01-01T00:00:00.000Z"`), timeJSON(5, `"Invalid Date"`), timeJSON(6, `null`), timeJSON(7, `1773489600`),
				timeJSON(8, `""`)),
			takenJSON([]wireFact{noonFact(1), lateFact(2), lateFact(3), lateFact(4), lateFact(5), lateFact(6), lateFact(7), lateFact(8)}).showing(
				goodMessage, shown(2, "event 2"), shown(3, "event 3"), shown(4, "event 4"), shown(5, "event 5"),
				shown(6, "event 6"), shown(7, "event 7"), shown(8, "event 8"))),
		hostile("Indexes that are none: 1.5, 2147483648, null, 0, -1, a word. \"3\" is one: the JSON form of the schema allows quotes.",
			"index-json", typeJSON, events(goodJSON, messageJSON(2, `"messageContent":"a","messageIndexHint":1.5`),
				messageJSON(3, `"messageContent":"b","messageIndexHint":2147483648`), messageJSON(4, `"messageContent":"c","messageIndexHint":"3"`),
				messageJSON(5, `"messageContent":"d","messageIndexHint":null`), messageJSON(6, `"messageContent":"e","messageIndexHint":0`),
				messageJSON(7, `"messageContent":"f","messageIndexHint":-1`), messageJSON(8, `"messageContent":"g","messageIndexHint":"first"`)),
			takenJSON([]wireFact{noonFact(1), noonFact(4)},
				wireAside{hexID(2), "unreadable"}, wireAside{hexID(3), "unreadable"}, wireAside{hexID(5), "index_out_of_range"},
				wireAside{hexID(6), "index_out_of_range"}, wireAside{hexID(7), "index_out_of_range"}, wireAside{hexID(8), "unreadable"}).
				showing(goodMessage, shown(3, "c"))),
		hostile("Halves of surrogate pairs, which cutting a text by length leaves behind. They become U+FFFD, as in the binary form of the same clients.",
			"surrogates-json", typeJSON, events(goodJSON, messageJSON(2, `"messageIndexHint":2,"messageContent":"cut \ud83d"`),
				messageJSON(3, `"messageIndexHint":3,"messageContent":"\udce6 whole: \ud83d\udce6"`)),
			takenJSON([]wireFact{noonFact(1), noonFact(2), noonFact(3)}).
				showing(goodMessage, shown(2, "cut \uFFFD"), shown(3, "\uFFFD whole: 📦"))),
		hostile("NUL in ids and content becomes U+FFFD: databases cannot keep it.",
			"nul-json", typeJSON, events(goodJSON, `{"id":"nul\u0000event","type":"message_create","createTime":"2026-03-14T12:00:00Z","properties":{"messageProperties":{"sessionId":"nul\u0000id","messageIndexHint":1,"messageRole":"ROLE_USER","messageContent":"a\u0000b"}}}`),
			takenJSON([]wireFact{noonFact(1), {"nul\uFFFDevent", "message_create", "2026-03-14T12:00:00Z"}}).showing(goodMessage,
				wireMessage{Session: "nul\uFFFDid", Index: 1, Role: "user", Content: "a\uFFFDb"})),
		hostile("Things in a JSON batch that are no events, and one that is.",
			"not-events-json", typeJSON, events(`null`, `7`, `"event"`, `[]`, `{}`, `{"id":"x"}`, `{"id":5}`, goodJSON),
			takenJSON([]wireFact{noonFact(1)}, wireAside{"", "unreadable"}, wireAside{"", "unreadable"}, wireAside{"", "unreadable"},
				wireAside{"", "unreadable"}, wireAside{"", "id_missing"}, wireAside{"x", "type_unknown"}, wireAside{"", "unreadable"}).
				showing(goodMessage)),
		hostile("Ids: not a UUID, with line breaks, 64 code points that are 256 bytes, a UUID in capitals, NUL.",
			"ids-binary", typeProto, binaryBody("", ids...), takenProto(idFacts).showing(goodMessage, shown(5, "hi"),
				wireMessage{Session: "nul\uFFFDid", Index: 1, Role: "user", Content: "a\uFFFDb"})),
		hostile("The same event twice in one request, its id in both forms.",
			"event-twice", typeProto, binaryBody("", good, evt(dashedID(1), at(0), says("s1", 1, roleUser, "good"), nil), good),
			takenProto(facts(good)).showing(goodMessage)),
		hostile("Roles: none, one nobody knows, and a system message in our extension.",
			"roles", typeProto, binaryBody("", roles...), takenProto(facts(roles[0], roles[3]), wireAside{hexID(2), "role_unknown"},
				wireAside{hexID(3), "role_unknown"}).showing(goodMessage, wireMessage{Session: "s1", Index: 4, Role: "system", Content: "event 4"})),
		hostile("A vote and, with an empty type, its undoing.",
			"undo", typeProto, binaryBody("", good, up, undo), takenProto(facts(good, up, undo)).showing(goodMessage)),
		hostile("Blank content is what was said; empty content is kept when its length tells that it was left out.",
			"blank-content", typeProto, binaryBody("", blank...), takenProto(facts(blank...)).showing(goodMessage, shown(2, " \n"), shown(3, ""))),
		hostile("Another project than the key's: the key's counts.",
			"project", typeProto, binaryBody("", good, foreign), takenProto(facts(good, foreign)).showing(goodMessage, shown(2, "event 2"))),
		hostile("Every reason for which an event is set aside, and a good event.",
			"every-reason", typeProto, binaryBody("", everyReason...), takenProto(facts(good), asides...).showing(goodMessage)).
			with(func(r *wireRequest) { r.Gunzip = true }),
		hostile("Events whose bytes are damaged, between good ones, and a field of the future.",
			"damaged-events", typeProto, damaged, takenProto([]wireFact{noonFact(1), noonFact(2)}, wireAside{"id", "unreadable"},
				wireAside{"bad", "unreadable"}, wireAside{"", "unreadable"}).showing(goodMessage, shown(2, "event 2"))),
		hostile("gzip, binary.", "gzip-binary", typeProto, zip(binaryBody("", good)),
			takenProto(facts(good)).showing(goodMessage)).with(header("Content-Encoding", "gzip")),
		hostile("gzip, JSON, with a charset; the answer names none.", "gzip-json", "application/json; charset=UTF-8", zip(events(goodJSON)),
			takenJSON([]wireFact{noonFact(1)}).showing(goodMessage)).with(header("Content-Encoding", "gzip")),
	}
}

// refusedCases are requests that cannot be read or are not allowed. Nothing of them is stored.
func refusedCases() []wireCase {
	good := binaryBody("", evt(hexID(1), at(0), says("s1", 1, roleUser, "good"), nil))
	goodJSON := `{"events":[{"id":"a","type":"session_close","properties":{"sessionProperties":{"sessionId":"s1"}}}]}`
	plain := func(name, about, mediaType string, body []byte, want wireWant) wireCase {
		c := hostile(about, name, mediaType, body, want)
		c.name = "refused-" + name
		return c
	}
	const tooLarge = "request too large: the limit is 8388608 bytes"
	huge := append(bytes.Clone(good), protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), make([]byte, 16<<20))...)

	return []wireCase{
		plain("truncated-binary", "A binary request that ends in the middle of its second event.", typeProto, append(bytes.Clone(good), good[:len(good)-1]...),
			refused(400, "invalid_argument", notRequest)),
		plain("truncated-json", "A JSON request that ends in the middle.", typeJSON, []byte(goodJSON[:len(goodJSON)-2]),
			refused(400, "invalid_argument", notRequest)),
		plain("trailing-json", "JSON with something after its end.", typeJSON, []byte(goodJSON+"}"),
			refused(400, "invalid_argument", notRequest)),
		plain("array-json", "JSON, but not an object.", typeJSON, []byte(`[`+goodJSON+`]`), refused(400, "invalid_argument", notRequest)),
		plain("events-json", "JSON whose events are no list.", typeJSON, []byte(`{"events":{"id":"a"}}`), refused(400, "invalid_argument", notRequest)),
		plain("empty-json", "No JSON at all.", typeJSON, nil, refused(400, "invalid_argument", notRequest)),
		plain("gzip-damaged", "gzip that ends early.", typeProto, zip(good)[:20],
			refused(400, "invalid_argument", "body cannot be read: it ends early or is damaged")).with(header("Content-Encoding", "gzip")),
		plain("gzip-missing", "Said to be gzip, and is not.", typeProto, good,
			refused(400, "invalid_argument", "body cannot be read: not gzip")).with(header("Content-Encoding", "gzip")),
		plain("encoding", "A content encoding nobody sends.", typeProto, good,
			refused(415, "unimplemented", "content encoding not understood: send identity or gzip")).with(header("Content-Encoding", "br")),
		plain("too-large", "More than 8 MiB, said so in advance.", typeProto, huge, refused(413, "resource_exhausted", tooLarge)).
			with(func(r *wireRequest) { r.Gunzip = true }),
		plain("too-large-chunked", "More than 8 MiB, not said in advance.", typeProto, huge, refused(413, "resource_exhausted", tooLarge)).
			with(func(r *wireRequest) { r.Gunzip, r.Framing = true, "chunked" }),
		plain("gzip-bomb", "64 KiB that become more than 64 MiB.", typeProto, zip(make([]byte, 64<<20+1)),
			refused(413, "resource_exhausted", "request too large: the limit is 67108864 bytes after decompression")).
			with(header("Content-Encoding", "gzip")),
		plain("media-type", "Neither of the two media types.", "text/plain", good,
			refused(415, "unimplemented", "send application/proto or application/json")),
		plain("no-key", "No key.", typeProto, good,
			refused(401, "unauthenticated", "an API key is needed: send it as Authorization: Bearer KEY")).with(header("Authorization", "")),
		plain("unknown-key", "A key nobody made.", typeProto, good,
			refused(401, "unauthenticated", "this API key is not known here")).with(header("Authorization", "Bearer align_ingest_none")),
		plain("read-key", "A key that may only read.", typeProto, good,
			refused(403, "permission_denied", "this API key has scope read; this call needs ingest")).with(header("Authorization", "Bearer {read key}")),
		plain("no-key-large", "5 MB without a key: the body is read before the answer, so that the answer arrives.", typeProto,
			bytes.Repeat(good, 5_000_000/len(good)),
			refused(401, "unauthenticated", "an API key is needed: send it as Authorization: Bearer KEY")).
			with(header("Authorization", "")).with(func(r *wireRequest) { r.Gunzip = true }),
		plain("method", "GET.", typeProto, nil, refused(405, "unimplemented", "use POST")).with(func(r *wireRequest) { r.Method = "GET" }),
		plain("path", "A path that is none.", typeProto, good, refused(404, "unimplemented", "there is nothing at this path")).
			with(func(r *wireRequest) { r.Target = procedure + "s" }),
	}
}

// TestGoldenRequestsAreAsGenerated keeps the files and their generator the same.
func TestGoldenRequestsAreAsGenerated(t *testing.T) {
	want := make(map[string][]byte)
	for _, c := range wireCases() {
		extension := ".bin"
		if strings.HasPrefix(c.Request.Header["Content-Type"], typeJSON) && c.Request.Header["Content-Encoding"] == "" {
			extension = ".json"
		}
		c.Request.Body = c.name + extension
		if c.Request.Gunzip {
			c.Request.Body += ".gz"
		}
		want[c.Request.Body] = c.body
		var described bytes.Buffer
		encoder := json.NewEncoder(&described)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(c); err != nil {
			t.Fatal(err)
		}
		if want[c.name+".case.json"] != nil {
			t.Fatalf("two cases are called %s", c.name)
		}
		want[c.name+".case.json"] = described.Bytes()
	}

	if *update {
		old, err := filepath.Glob(filepath.Join(goldenDir, "*-*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range old {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(goldenDir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, content := range want {
			if strings.HasSuffix(name, ".gz") {
				content = zip(content)
			}
			if err := os.WriteFile(filepath.Join(goldenDir, name), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}

	for name, content := range want {
		got, err := os.ReadFile(filepath.Join(goldenDir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if strings.HasSuffix(name, ".gz") || strings.HasPrefix(name, "hostile-gzip") || strings.HasPrefix(name, "refused-gzip") {
			continue // how gzip packs may change with the Go version; TestWire reads what is in it
		}
		if !bytes.Equal(got, content) {
			t.Errorf("%s is not as generated; run with -update", name)
		}
	}
}
