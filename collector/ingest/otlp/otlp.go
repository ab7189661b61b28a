// Package otlp takes in what instrumented apps export over OTLP/HTTP: POST /v1/traces and /v1/logs, protobuf or JSON, plain or
// gzip, with an ingest key as "Authorization: Bearer KEY" (OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20KEY). Of all that
// is in there, it takes what the semantic conventions for generative AI name gen_ai.…; the rest is ignored, and counted.
//
// Answers are those of the OTLP specification, in the media type of the request: 200 with a partial_success where some
// records were no good, which are set aside; otherwise a google.rpc.Status with 400, 401, 403, 405, 413 or 415, after which an
// exporter drops the batch, or with 429 or 503 and Retry-After, after which it sends it again.
//
// Of a span of a model's operation (gen_ai.operation.name chat, text_completion, generate_content, or none given), or a log
// record gen_ai.client.inference.operation.details:
//
//	gen_ai.conversation.id   the session; else session.id, else the trace
//	user.id, enduser.id, gen_ai.agent.name, gen_ai.agent.id    session_open with user_id and assistant_id
//	gen_ai.input.messages    message_create for each message after the last one of the assistant's: those before were
//	                         told by the operations before. So each operation adds what is new in it, and nothing twice
//	gen_ai.system_instructions    a message of role system, where the input has no message of the assistant's yet
//	gen_ai.output.messages   message_create of role assistant, after the input; tool calls are its own
//	gen_ai.response.model, gen_ai.request.model    model of the output
//	gen_ai.usage.{input,output}_tokens    its tokens; also the older prompt_tokens and completion_tokens
//	start and end of a span  time of the input and of the output, and its latency; of a log record there is one time
//	gen_ai.response.time_to_first_chunk    seconds: its time to first token
//	status ERROR, error.type its error, and success is false; else it is true
//	gen_ai.provider.name, gen_ai.response.id, finish reason, span id    custom properties of the output
//	trace id                 its run_id
//
// Messages may be attributes, as JSON or as structured values, on the span, on an event of the span, or on a log record; one
// of these, for who sends the same twice shows it twice. Older conventions, with an event for each message (gen_ai.system.message,
// gen_ai.user.message, gen_ai.assistant.message, gen_ai.tool.message, gen_ai.choice, gen_ai.content.prompt and
// gen_ai.content.completion), are read the same way: the events of a span together are its input and output. As log records
// they must come in one request, as batching exporters send them but at the edges of a batch. So are messages that are spread
// over attributes gen_ai.prompt.0.role, gen_ai.prompt.0.content, gen_ai.completion.0.content and so on.
//
// Spans of agents and of tools (invoke_agent, execute_tool, …) repeat what the model's spans say. They are ignored.
//
// gen_ai.evaluation.result, as a log record or an event of a span, with gen_ai.evaluation.name user_feedback is a vote:
//
//	gen_ai.response.id       on the answer with this id; else on that of the span; else on the session
//	gen_ai.evaluation.score.label    thumbs_up or thumbs_down, and words that mean the same; else
//	gen_ai.evaluation.score.value    up from 0.5, down below; it must be from -1 to 1. It is the score in any case
//	gen_ai.evaluation.explanation    the comment
//	user.id, enduser.id      the voter
//
// Other evaluations are ignored.
//
// Messages have no index in these conventions, and exporters send in any order. So each has a place, which is read off its own
// span: the time the span began, then the answer's id, then input before output (see [collector.Place]). Ids of facts are made
// of the ids of the span, so the same export again adds nothing, and what is shown is the same for any order of arrival.
package otlp

import (
	"mime"
	"net/http"
	"strconv"
	"time"

	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/openalign/align/collector/ingest"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/reply"
)

// Where the dialect is served.
const (
	TracesPath = "/v1/traces"
	LogsPath   = "/v1/logs"
)

// Bounds of a request.
const (
	MaxWireBytes = 8 << 20
	MaxBodyBytes = 16 << 20 // once decompressed
	// MaxValues bounds the spans, records, attributes and values of a request together, in the way [values] counts them. It is
	// there because an empty one has two bytes on the wire and hundreds in memory.
	MaxValues = 250_000
)

// New returns handlers for [TracesPath] and [LogsPath]. require is the check of a key that may send, such as [keys.Require].
func New(taker *ingest.Taker, require func(http.Handler) http.Handler) (traces, logs http.Handler) {
	handler := func(signal signal) http.Handler {
		h := &handler{taker, signal}
		checked := reply.Instead(require, http.HandlerFunc(h.export), func(w http.ResponseWriter, r *http.Request, status int, message string) {
			h.refuse(w, r, &ingest.Refusal{Status: status, Message: message})
		})
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				w.Header().Set("Allow", http.MethodPost)
				h.refuse(w, r, &ingest.Refusal{Status: http.StatusMethodNotAllowed, Message: "use POST"})
				return
			}
			checked.ServeHTTP(w, r)
		})
	}
	return handler(signalTraces), handler(signalLogs)
}

// signal is one of the kinds of telemetry.
type signal struct {
	rejected string // the member of partialSuccess that counts what was set aside
	schema   protoreflect.MessageDescriptor
	read     func(body []byte, isJSON bool, in *intake) error
}

var (
	signalTraces = signal{"rejectedSpans", new(tracev1.TracesData).ProtoReflect().Descriptor(), readTraces}
	signalLogs   = signal{"rejectedLogRecords", new(logsv1.LogsData).ProtoReflect().Descriptor(), readLogs}
)

type handler struct {
	taker  *ingest.Taker
	signal signal
}

const (
	typeProto = "application/x-protobuf"
	typeJSON  = "application/json"
)

func mediaType(r *http.Request) string {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return mediaType
}

func (h *handler) export(w http.ResponseWriter, r *http.Request) {
	key, ok := keys.FromContext(r.Context())
	if !ok {
		h.refuse(w, r, &ingest.Refusal{Status: http.StatusUnauthorized, Message: "an API key is needed"})
		return
	}
	media := mediaType(r)
	if media != typeProto && media != typeJSON {
		w.Header().Set("Accept-Post", typeProto+", "+typeJSON)
		h.refuse(w, r, &ingest.Refusal{Status: http.StatusUnsupportedMediaType, Message: "send " + typeProto + " or " + typeJSON})
		return
	}
	body, done, refused := h.taker.ReadBody(r, ingest.Limits{Wire: MaxWireBytes, Body: MaxBodyBytes})
	if refused != nil {
		h.refuse(w, r, refused)
		return
	}
	defer done()
	items, err := h.signal.count(body, media == typeJSON)
	if err != nil {
		h.refuse(w, r, &ingest.Refusal{Status: http.StatusBadRequest, Message: err.Error()})
		return
	}
	decoded, refused := h.taker.Hold(r.Context(), items)
	if refused != nil {
		h.refuse(w, r, refused)
		return
	}
	defer decoded()
	in := &intake{project: key.Project, now: time.Now().UTC()}
	if err := h.signal.read(body, media == typeJSON, in); err != nil {
		h.refuse(w, r, &ingest.Refusal{Status: http.StatusBadRequest, Message: err.Error()})
		return
	}
	if refused := h.taker.Store(r.Context(), key.Project, in.batch); refused != nil {
		h.refuse(w, r, refused)
		return
	}
	h.taker.Ignore(in.ignored)
	accept(w, media, h.signal.rejected, in.rejected)
}

// accept answers with success, or partial success where something was set aside.
func accept(w http.ResponseWriter, media, member string, rejected int) {
	const why = "no good, see the collector's data quality"
	w.Header().Set("Content-Type", media)
	var body []byte
	switch {
	case media == typeJSON && rejected == 0:
		body = []byte("{}")
	case media == typeJSON: // 64 bits are a string in JSON
		body = []byte(`{"partialSuccess":{"` + member + `":"` + strconv.Itoa(rejected) + `","errorMessage":"` + why + `"}}`)
	case rejected > 0: // Export{Trace,Logs}ServiceResponse.partial_success = 1 {rejected_… = 1, error_message = 2}
		var partial []byte
		partial = protowire.AppendTag(partial, 1, protowire.VarintType)
		partial = protowire.AppendVarint(partial, uint64(rejected))
		partial = protowire.AppendTag(partial, 2, protowire.BytesType)
		partial = protowire.AppendString(partial, why)
		body = protowire.AppendTag(body, 1, protowire.BytesType)
		body = protowire.AppendBytes(body, partial)
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the exporter has gone; nobody is left to tell
}

// refuse answers with a google.rpc.Status {code = 1, message = 2}.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, refused *ingest.Refusal) {
	h.taker.Refuse(refused.Status)
	code, known := codes[refused.Status]
	if !known {
		code = codeUnknown
	}
	if refused.RetryAfter {
		w.Header().Set("Retry-After", "1")
	}
	if mediaType(r) != typeProto {
		reply.JSON(w, refused.Status, struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		}{code, refused.Message})
		return
	}
	var body []byte
	body = protowire.AppendTag(body, 1, protowire.VarintType)
	body = protowire.AppendVarint(body, uint64(code))
	body = protowire.AppendTag(body, 2, protowire.BytesType)
	body = protowire.AppendString(body, refused.Message)
	w.Header().Set("Content-Type", typeProto)
	w.WriteHeader(refused.Status)
	_, _ = w.Write(body)
}

// Codes of google.rpc.Code.
const codeUnknown = 2

var codes = map[int]int{
	http.StatusBadRequest:            3,
	http.StatusUnauthorized:          16,
	http.StatusForbidden:             7,
	http.StatusMethodNotAllowed:      12,
	http.StatusRequestEntityTooLarge: 3,
	http.StatusUnsupportedMediaType:  3,
	http.StatusTooManyRequests:       8,
	http.StatusServiceUnavailable:    14,
}
