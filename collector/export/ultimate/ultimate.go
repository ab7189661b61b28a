// Package ultimate speaks the dialect of Ultimate's data export: a client of it changes its base URL and its token, and
// gets links to the files of a day, in which counts are texts and nothing is sealed.
package ultimate

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/reply"
)

// Path is where clients ask for links.
const Path = "/data-export/v2/get-signed-urls"

// DefaultWindow is how many days back a date may be.
const DefaultWindow = 30

// maxBody bounds a request, which holds a date and a number.
const maxBody = 4 << 10

// Options are the settings of a [Handler]. The zero value is ready to use.
type Options struct {
	// Window is how many days back a date may be: zero means DefaultWindow, negative any number.
	Window int
	// BaseURL is what links begin with, such as https://collector.example; empty means what the request was sent to.
	BaseURL string
	// Logger is where failures go; nil means [slog.Default].
	Logger *slog.Logger
}

// Handler answers with links. It must stand behind [Authorized] and a check for read keys.
type Handler struct {
	files *export.Exporter
	opts  Options
}

// New returns a handler that gives out links to an exporter's files.
func New(files *export.Exporter, opts Options) *Handler {
	if opts.Window == 0 {
		opts.Window = DefaultWindow
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return &Handler{files, opts}
}

// Authorized lets next see the token, which clients send as it is, where other clients' keys are. next is to ask for a key.
func Authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token := r.Header.Get("Authorization"); token != "" && !strings.Contains(token, " ") {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+token)
		}
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP answers 200 with the date and links, of which there are none for a day before the project's first; 400 for a body that cannot be; 401 without a token, an organisation or a
// bot; and 500 for all else, a day that is not final included: {"error":"not_final", …} with Retry-After.
//
// Links lead to the conversations of the bot that the request names, by its assistant id; "*" is all of them. The
// organisation must be named, and says nothing: the project is the token's.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		refuse(w, http.StatusMethodNotAllowed, "method_not_allowed", "use POST")
		return
	}
	key, ok := keys.FromContext(r.Context())
	if !ok || r.Header.Get("Organizationid") == "" || r.Header.Get("Botid") == "" {
		refuse(w, http.StatusUnauthorized, "unauthorized", "the headers authorization, organizationid and botid are needed")
		return
	}
	var asked struct {
		Date string `json:"date"`
		TTL  *int64 `json:"ttl"` // minutes
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody || json.Unmarshal(body, &asked) != nil {
		refuse(w, http.StatusBadRequest, "bad_request", `the body is {"date": "2026-01-31"}`)
		return
	}
	day, err := collector.ParseDay(asked.Date)
	if err != nil {
		refuse(w, http.StatusBadRequest, "bad_request", "date: "+err.Error())
		return
	}
	age := export.MaxLinkAge
	if asked.TTL != nil {
		if *asked.TTL < 1 || *asked.TTL > int64(export.MaxLinkAge/time.Minute) {
			refuse(w, http.StatusBadRequest, "bad_request", "ttl is minutes, 1 to 1440")
			return
		}
		age = time.Duration(*asked.TTL) * time.Minute
	}
	if today := collector.DayOf(time.Now()); h.opts.Window > 0 && int(today-day) > h.opts.Window {
		refuse(w, http.StatusBadRequest, "bad_request", "date is too far back")
		return
	}
	urls := []string{}
	switch _, err := h.files.Manifest(r.Context(), key.Project, day); {
	case errors.Is(err, export.ErrNoFiles):
		answer(w, day, urls)
		return
	case err != nil:
		h.failed(w, r, err)
		return
	}
	v := export.Variant{Day: day, Format: export.FormatJSON, Ultimate: true, Open: true, Bot: r.Header.Get("Botid")}
	if v.Bot == "*" {
		v.Bot = ""
	}
	path, _, err := h.files.Link(r.Context(), &key, v, age)
	if err != nil {
		h.failed(w, r, err)
		return
	}
	answer(w, day, append(urls, h.base(r)+path))
}

func answer(w http.ResponseWriter, day collector.Day, urls []string) {
	reply.JSON(w, http.StatusOK, struct {
		Date string   `json:"date"`
		URLs []string `json:"urls"`
	}{day.String(), urls})
}

// base is what links begin with.
func (h *Handler) base(r *http.Request) string {
	if h.opts.BaseURL != "" {
		return strings.TrimSuffix(h.opts.BaseURL, "/")
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

func (h *Handler) failed(w http.ResponseWriter, r *http.Request, err error) {
	if early, ok := errors.AsType[*export.NotFinalError](err); ok {
		export.RetryAt(w, early)
		refuse(w, http.StatusInternalServerError, "not_final", early.Error())
		return
	}
	if r.Context().Err() == nil {
		h.opts.Logger.ErrorContext(r.Context(), "export failed", "error", err)
	}
	refuse(w, http.StatusInternalServerError, "internal", "files cannot be made or read right now; try again")
}

func refuse(w http.ResponseWriter, status int, word, message string) {
	reply.JSON(w, status, struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}{word, message})
}
