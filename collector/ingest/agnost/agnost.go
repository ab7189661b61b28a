// Package agnost takes in Agnost's dialect: POST /api/v1/capture-session once for a conversation, and then
// POST /api/v1/capture-event for each turn of it and each tool that was called.
//
// There is no secret in it. The header x-org-id names an organisation, and whoever has seen a page that sends it knows it. So
// the dialect is served only where the operator says which project an organisation's events belong to, and an organisation
// that is not named there is refused.
//
// Answers are {"session_id"}, {"success":true,"event_id"}, or {"error"}:
//
//	400   no JSON object
//	401   no x-org-id
//	403   an organisation that is not mapped to a project
//	405 413 415   not POST, more than [MaxBytes], not application/json
//	422   a field is missing or no good, and the error names it
//	429 503       too much at once, or it cannot be stored; come again after Retry-After
//
// There are two revisions of the dialect, one of conversations and an older one of MCP servers. Both are understood, by any of
// their names for a thing. The facts are those that Align's clients send:
//
//	capture-session
//	session_id               the session's id; where there is none, one is made and answered
//	user_data.user_id, userId    session_open, its user_id, and user_recognize with the rest of user_data:
//	user_data.email, name, display_name    email and display name; all else custom properties of the user
//	ip                       the user's ip
//	timestamp                milliseconds: session_start_time
//	metadata                 custom properties of the session, as text
//	client_config connection_type tools    custom properties of the session by these names
//
//	capture-event
//	event_id                 names the turn; where there is none, one is made and answered
//	session_id, conversation_id    the session
//	args, input; result, output    message_create of the user, then of the assistant: a pair that always stands together.
//	                         Without input there is only the assistant's, without output only the user's, unless it failed
//	parent_id, or primitive_type tool, resource, prompt    one message of role tool instead: result is its content, and the
//	                         call has name and arguments
//	primitive_name, agent_name    custom property agent_name, or the tool's name
//	success                  of the answer, true unless it says otherwise; false makes result its error too
//	latency                  milliseconds, of the answer; absent is unknown, not 0
//	timestamp                milliseconds: when the turn began; the answer came after latency
//	metadata                 custom properties of the answer, as text; model, cost, input_tokens and output_tokens are also its own
//	parent_id, checkpoints   custom properties by these names
//
// Messages have no index in this dialect, and events come in any order. So each has a place, which is read off its own event:
// the turn's timestamp, then its event_id, then input before output (see [collector.Place]). A tool's message stands at its own
// timestamp, before or after the pair, since its event does not say when the turn was. What is shown is the same for any order
// of arrival. An event without timestamp stands where it was received, which is all that is known.
//
// An event_id that was seen is not stored again; an event without one is always new, also when a client repeats it because
// the answer got lost.
package agnost

import (
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
	"github.com/openalign/align/collector/reply"
)

// Where the dialect is served.
const (
	SessionPath = "/api/v1/capture-session"
	EventPath   = "/api/v1/capture-event"
)

// Bounds of a request.
const (
	MaxBytes   = 4 << 20 // of a body, also once decompressed
	MaxMembers = ingest.MaxProperties
)

// Handler serves the dialect.
type Handler struct {
	taker    *ingest.Taker
	projects map[string]string
}

// New returns a handler that takes in what the organisations in projects send, each for its project. The case of an
// organisation's id does not matter.
func New(taker *ingest.Taker, projects map[string]string) *Handler {
	h := &Handler{taker, make(map[string]string, len(projects))}
	for organisation, project := range projects {
		h.projects[strings.ToLower(organisation)] = project
	}
	return h
}

// Session is served at [SessionPath].
func (h *Handler) Session(w http.ResponseWriter, r *http.Request) { h.serve(w, r, readSession) }

// Event is served at [EventPath].
func (h *Handler) Event(w http.ResponseWriter, r *http.Request) { h.serve(w, r, readEvent) }

// reader makes facts of a request, and the answer to it.
type reader func(project string, o *object, now time.Time) (facts []collector.Fact, answer map[string]any, err error)

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, read reader) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		h.refuse(w, &ingest.Refusal{Status: http.StatusMethodNotAllowed, Message: "use POST"})
		return
	}
	organisation := strings.ToLower(strings.TrimSpace(r.Header.Get("x-org-id")))
	project, known := h.projects[organisation]
	switch {
	case organisation == "":
		h.refuse(w, &ingest.Refusal{Status: http.StatusUnauthorized, Message: "send the organisation's id as x-org-id"})
		return
	case !known:
		h.refuse(w, &ingest.Refusal{Status: http.StatusForbidden, Message: "this organisation is not known here"})
		return
	}
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		w.Header().Set("Accept-Post", "application/json")
		h.refuse(w, &ingest.Refusal{Status: http.StatusUnsupportedMediaType, Message: "send application/json"})
		return
	}
	body, done, refused := h.taker.ReadBody(r, ingest.Limits{Wire: MaxBytes, Body: MaxBytes})
	if refused != nil {
		h.refuse(w, refused)
		return
	}
	defer done()
	o, ok := parse(body)
	if !ok {
		h.refuse(w, &ingest.Refusal{Status: http.StatusBadRequest, Message: "the body must be a JSON object"})
		return
	}
	facts, answer, err := read(project, o, time.Now().UTC())
	if err != nil {
		h.refuse(w, &ingest.Refusal{Status: http.StatusUnprocessableEntity, Message: err.Error()})
		return
	}
	if refused := h.taker.Store(r.Context(), project, collector.Batch{Facts: facts}); refused != nil {
		h.refuse(w, refused)
		return
	}
	h.taker.Unknown(o.unknown())
	reply.JSON(w, http.StatusOK, answer)
}

func (h *Handler) refuse(w http.ResponseWriter, refused *ingest.Refusal) {
	h.taker.Refuse(refused.Status)
	if refused.RetryAfter {
		w.Header().Set("Retry-After", "1")
	}
	reply.JSON(w, refused.Status, map[string]any{"error": refused.Message})
}

// fieldError says which field of a request is no good, and by what rule.
type fieldError struct{ field, rule string }

func (e *fieldError) Error() string { return e.field + " " + e.rule }

// fact makes a fact of an event that this dialect writes.
func fact(event event, now time.Time) (collector.Fact, error) {
	made, reason := ingest.Fact(event, now)
	if reason != "" {
		return collector.Fact{}, fmt.Errorf("it cannot be kept: %s", reason)
	}
	return made, nil
}
