// Package acro takes in Acro's dialect: POST /{application}/conversation, one whole conversation in each request.
//
// The application is a project, and the secret an ingest key of that project. Every answer carries a requestId, which is in
// the log too.
//
//	200   {"conversationId","requestId"}: the conversation is durable, new or told again
//	400   a field is missing or no good, and the error names it; or the body is no JSON
//	401   no secret, or an unknown one
//	403   a secret of another application, or a key that may not send
//	404   there is no such application
//	405 413 415   not POST, more than [MaxBytes], not application/json
//	429 503       too much at once, or it cannot be stored; come again after Retry-After
//
// A conversation is taken whole or not at all. What it says becomes the same facts that Align's clients send:
//
//	conversationId        the session's id, in lower case
//	start                 session_open, session_start_time
//	agentId               its assistant_id
//	source                its source
//	customerId            its user_id, and user_recognize with customerEmail and externalCompany{Id,Name,Type}
//	customerPhone         custom property phone of the user
//	agentVersion textUrl audioUrl duration
//	                      custom properties agent_version, text_url, audio_url and duration of the session
//	(no customerId)       customer_email, customer_phone and external_company_{id,name,type} of the session
//	end                   session_close, session_end_time; else start + duration, else the last time a line has
//	transfer completed    of session_close, which is for a transfer where transfer is true; see [outcome]
//	lines[i]              message_create with index i+1
//	lines[i].role         AI_ASSISTANT and assistant, USER and user, HUMAN, TOOL and tool, system; exactly these
//	lines[i].content      the content; null is a message that left its content out
//	lines[i].timestamp    message_create_time; a line without has the time of the one before it, or start, and says so
//	(no lines)            custom property engaged = false
//
// A conversation that is told again replaces the lines it had: what changed is a new version, and what is behind the new end
// is shown no more. The last telling counts, and of that the time is the collector's, for the client gives none. What a
// telling says about the conversation itself is merged field by field.
//
// The ids of all facts are made of the project and of everything the request says. So the same request again adds nothing,
// and a conversation that returns to a state it was in before is taken for a repetition that came late.
package acro

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/reply"
)

// Pattern is where the dialect is served, for a [http.ServeMux].
const Pattern = "/{application}/conversation"

// Bounds of a request.
const (
	MaxBytes = 10 << 20 // of a body, also once decompressed
	MaxLines = 50_000
)

// Projects knows which applications there are; a [collector.Store] does.
type Projects interface {
	// HasProject reports whether there is such a project.
	HasProject(ctx context.Context, project string) (bool, error)
}

// handler serves the dialect behind the check of keys.
type handler struct {
	taker    *ingest.Taker
	projects Projects
}

// New returns a handler for [Pattern]. require is the check of a key that may send, such as [keys.Require].
func New(taker *ingest.Taker, projects Projects, require func(http.Handler) http.Handler) http.Handler {
	h := &handler{taker, projects}
	checked := reply.Instead(require, http.HandlerFunc(h.post), h.refuse)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, newRequestID()))
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			h.refuse(w, r, http.StatusMethodNotAllowed, "use POST")
			return
		}
		checked.ServeHTTP(w, r)
	})
}

type requestIDKey struct{}

func newRequestID() string {
	id := uuid.Must(uuid.NewV7()) // fails when the system has no random numbers, and then so does all else
	return "req_" + hex.EncodeToString(id[:])
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func (h *handler) post(w http.ResponseWriter, r *http.Request) {
	key, ok := keys.FromContext(r.Context())
	if !ok {
		h.refuse(w, r, http.StatusUnauthorized, "an API key is needed")
		return
	}
	if refused := h.mayTell(r.Context(), key, r.PathValue("application")); refused != nil {
		h.refuseWith(w, r, refused)
		return
	}
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		w.Header().Set("Accept-Post", "application/json")
		h.refuse(w, r, http.StatusUnsupportedMediaType, "send application/json")
		return
	}
	body, done, refused := h.taker.ReadBody(r, ingest.Limits{Wire: MaxBytes, Body: MaxBytes})
	if refused != nil {
		h.refuseWith(w, r, refused)
		return
	}
	defer done()
	decoded, refused := h.taker.Hold(r.Context(), ingest.Items(body))
	if refused != nil {
		h.refuseWith(w, r, refused)
		return
	}
	defer decoded()
	told, err := read(body)
	var batch collector.Batch
	if err == nil {
		batch, err = told.facts(key.Project, time.Now().UTC())
	}
	if err != nil {
		h.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	if refused := h.taker.Store(r.Context(), key.Project, batch); refused != nil {
		h.refuseWith(w, r, refused)
		return
	}
	h.taker.Unknown(told.unknown)
	h.log(r.Context(), slog.LevelDebug, "conversation taken in", http.StatusOK, "project", key.Project, "lines", len(told.Lines), "unknown_fields", told.unknown)
	reply.JSON(w, http.StatusOK, map[string]string{"conversationId": told.ConversationID, "requestId": requestID(r.Context())})
}

// mayTell checks that the application in the path is the key's project.
func (h *handler) mayTell(ctx context.Context, key collector.Key, application string) *ingest.Refusal {
	if application == key.Project {
		return nil
	}
	known, err := h.projects.HasProject(ctx, application)
	switch {
	case err != nil && ctx.Err() == nil:
		h.taker.Log().ErrorContext(ctx, "looking up an application failed", "error", err)
		fallthrough
	case err != nil:
		return &ingest.Refusal{Status: http.StatusServiceUnavailable, Message: "applications cannot be looked up right now; try again", RetryAfter: true}
	case !known:
		return &ingest.Refusal{Status: http.StatusNotFound, Message: "there is no such application"}
	}
	return &ingest.Refusal{Status: http.StatusForbidden, Message: "this secret belongs to another application"}
}

func (h *handler) refuseWith(w http.ResponseWriter, r *http.Request, refused *ingest.Refusal) {
	if refused.RetryAfter {
		w.Header().Set("Retry-After", "1")
	}
	if refused.Status == http.StatusUnsupportedMediaType {
		w.Header().Set("Accept-Encoding", "gzip")
	}
	h.refuse(w, r, refused.Status, refused.Message)
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, status int, message string) {
	h.taker.Refuse(status)
	h.log(r.Context(), slog.LevelInfo, "conversation refused", status, "reason", message)
	reply.JSON(w, status, map[string]string{"error": message, "requestId": requestID(r.Context())})
}

func (h *handler) log(ctx context.Context, level slog.Level, message string, status int, args ...any) {
	h.taker.Log().Log(ctx, level, message, append(args, "status", status, "request_id", requestID(ctx))...)
}

// fieldError says which field of a request is no good, and by what rule.
type fieldError struct{ field, rule string }

func (e *fieldError) Error() string { return e.field + " " + e.rule }

var errNotJSON = errors.New("the body must be a JSON object")

func required(field string) error { return &fieldError{field, "is required"} }

func tooLong(field string, limit int) error {
	return &fieldError{field, fmt.Sprintf("must have at most %d characters", limit)}
}
