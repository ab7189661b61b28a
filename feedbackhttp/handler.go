package feedbackhttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openalign/align"
)

// Handler takes votes and records them with a client. It is safe for concurrent use. Make one with [New].
type Handler struct {
	client  *align.Client
	cfg     Config // defaults applied
	voters  *limiter
	parties *limiter // by address
}

// New returns a handler that records votes with client, which also verifies their tokens. Wrong settings are returned as
// [*align.FieldError], all of them joined. The client stays the app's to close; the handler then answers 503.
func New(client *align.Client, cfg Config) (*Handler, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.AllowedOrigins = slices.Clone(cfg.AllowedOrigins)
	return &Handler{client: client, cfg: cfg, voters: newLimiter(cfg.PerToken), parties: newLimiter(cfg.PerAddress)}, nil
}

// ServeHTTP answers one request, at whatever path it is mounted.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from := h.source(r)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Add("Vary", "Origin")
	if from == listed {
		header.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		header.Set("Access-Control-Expose-Headers", "Retry-After")
		if h.cfg.Voter != nil {
			header.Set("Access-Control-Allow-Credentials", "true")
		}
	}
	var p *Problem
	switch {
	case r.Method != http.MethodPost && r.Method != http.MethodOptions:
		header.Set("Allow", allow)
		p = &Problem{Code: "method", Message: "a vote is a POST", status: http.StatusMethodNotAllowed}
	case from == foreign:
		p = &Problem{Code: "origin", Message: "pages of this origin may not vote here", status: http.StatusForbidden}
	case r.Method == http.MethodOptions:
		h.options(w, from)
		return
	default:
		p = h.vote(w, r, from)
	}
	if p != nil {
		p.write(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

const allow = "OPTIONS, POST"

// options answers a preflight, and whoever else asks.
func (h *Handler) options(w http.ResponseWriter, from source) {
	w.Header().Set("Allow", allow)
	if from == listed {
		w.Header().Set("Access-Control-Allow-Methods", http.MethodPost)
		w.Header().Set("Access-Control-Allow-Headers", "Content-Type")
		w.Header().Set("Access-Control-Max-Age", "7200") // browsers take no more
	}
	w.WriteHeader(http.StatusNoContent)
}

// source is where a request comes from, as far as its browser says.
type source int

const (
	unsaid  source = iota // no browser, or one that keeps it to itself
	own                   // a page of the same origin
	listed                // a page of an allowed origin
	foreign               // any other page
)

func (h *Handler) source(r *http.Request) source {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	switch {
	case site == "same-origin": // also where the page's referrer policy makes Origin null
		return own
	case slices.Contains(h.cfg.AllowedOrigins, origin):
		return listed
	case site != "" && site != "none": // "none" is no page but the person, who cannot POST
		return foreign
	case origin == "":
		return unsaid
	}
	// An older browser. It says the scheme that it used, which a proxy in front may have hidden: the host has to do.
	if u, err := url.Parse(origin); err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) {
		return own
	}
	return foreign
}

// vote records the vote of one POST, or says why not.
func (h *Handler) vote(w http.ResponseWriter, r *http.Request, from source) *Problem {
	now := time.Now()
	if wait, ok := h.parties.allow(network(h.cfg.Address(r)), now); !ok {
		return tooMany(w, wait)
	}
	b, p := readBallot(w, r)
	if p != nil {
		return p
	}
	t, p := h.authority(w, r, b, from)
	if p != nil {
		return p
	}
	if wait, ok := h.voters.allow(fmt.Sprintf("%q %d %q", t.SessionID, t.Index, t.UserID), now); !ok {
		return tooMany(w, wait)
	}
	var err error
	if t.Index == 0 {
		err = h.client.CreateSessionFeedback(r.Context(), align.SessionFeedback{
			SessionID: t.SessionID, Type: b.vote, Comment: b.Comment, Reasons: b.Reasons, UserID: t.UserID,
		})
	} else {
		err = h.client.CreateMessageFeedback(r.Context(), align.MessageFeedback{
			SessionID: t.SessionID, Index: t.Index, Type: b.vote, Comment: b.Comment, Reasons: b.Reasons, UserID: t.UserID,
		})
	}
	return answer(w, err)
}

// authority says for what session, message and voter a ballot counts: what its token says, or the app for its own pages.
func (h *Handler) authority(w http.ResponseWriter, r *http.Request, b *ballot, from source) (t align.FeedbackToken, p *Problem) {
	switch {
	case b.Token != "" && (b.Session != "" || b.Index != 0):
		return t, invalid("session", "must be left to the token, as must index")
	case b.Token != "":
		t, err := h.client.VerifyFeedbackToken(b.Token)
		switch {
		case errors.Is(err, align.ErrFeedbackTokenExpired):
			return t, unauthorized("token_expired", "the token has expired; a new one will do", "token")
		case errors.Is(err, align.ErrClosed):
			return t, unavailable(w)
		case err != nil:
			return t, unauthorized("token_invalid", "the token is not one of ours", "token")
		}
		return t, nil
	case h.cfg.Voter == nil:
		return t, unauthorized("token_required", "a vote needs a token", "token")
	case !ownPage(r, from):
		// Whatever the cookies say, the visitor may know nothing of this request.
		return t, &Problem{Code: "origin", Message: "a vote without token must come from a page of this site", status: http.StatusForbidden}
	case b.Session == "":
		return t, invalid("session", "is required without a token")
	}
	user, ok := h.cfg.Voter(r, b.Session)
	switch {
	case user == "":
		return t, unauthorized("sign_in_required", "a vote needs a sign-in", "")
	case !ok:
		return t, &Problem{Code: "not_allowed", Message: "this user may not vote here", Field: "session", status: http.StatusForbidden}
	}
	return align.FeedbackToken{SessionID: b.Session, Index: b.Index, UserID: user}, nil
}

// ownPage reports whether the request was surely made by the app's own pages: of its origin, or of a listed one on the same
// site. A listed origin elsewhere is trusted with tokens that it was given, not with cookies.
func ownPage(r *http.Request, from source) bool {
	return from == own || from == listed && r.Header.Get("Sec-Fetch-Site") == "same-site"
}

// answer puts what the client said into an answer's words.
func answer(w http.ResponseWriter, err error) *Problem {
	if err == nil {
		return nil
	}
	field, broken := errors.AsType[*align.FieldError](err)
	if !broken {
		return unavailable(w) // or the request went away while it waited for room
	}
	_, path, _ := strings.Cut(field.Field, ".")
	name, _, _ := strings.Cut(path, "[")
	ours, known := map[string]string{"SessionID": "session", "Index": "index", "Type": "vote", "Comment": "comment", "Reasons": "reasons"}[name]
	if !known { // of the user, say, who is the app's to name
		return &Problem{Code: "internal", Message: "the vote could not be recorded", status: http.StatusInternalServerError}
	}
	return invalid(ours, strings.TrimPrefix(field.Error(), "align: "+field.Field+" "))
}

// Problem is the body of every answer that is no success.
type Problem struct {
	// Code is one word for programs; the package's text lists them all.
	Code string `json:"code"`
	// Message is a sentence for people who build pages. It never quotes what was sent.
	Message string `json:"message"`
	// Field is the field at fault, the first if there are several, empty if none is.
	Field string `json:"field,omitempty"`

	status int
}

func (p *Problem) write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // three strings
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if p.status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "FeedbackToken") // RFC 9110 wants a scheme; browsers do not ask for a password for this one
	}
	w.WriteHeader(p.status)
	w.Write(body)
}

func invalid(field, message string) *Problem {
	return &Problem{Code: "invalid", Message: field + " " + message, Field: field, status: http.StatusUnprocessableEntity}
}

func unauthorized(code, message, field string) *Problem {
	return &Problem{Code: code, Message: message, Field: field, status: http.StatusUnauthorized}
}

// unavailable is for a client that is closed, or has no room.
func unavailable(w http.ResponseWriter) *Problem {
	w.Header().Set("Retry-After", "5")
	return &Problem{Code: "unavailable", Message: "votes cannot be taken at the moment", status: http.StatusServiceUnavailable}
}

func tooMany(w http.ResponseWriter, wait time.Duration) *Problem {
	seconds := (wait + time.Second - 1) / time.Second
	w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	return &Problem{Code: "too_many", Message: "too many votes; Retry-After says when to try again", status: http.StatusTooManyRequests}
}
