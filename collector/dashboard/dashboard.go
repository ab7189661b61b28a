// Package dashboard shows people with a browser what a project holds: its figures, conversations, users, keys, and sessions
// as they happen.
//
// Pages are made here, with a style sheet and a few small scripts of our own; nothing is loaded from elsewhere, and every page
// but the live one works without script; a conversation then does not show what arrives until it is loaded again. The state of
// a page is in its address, so that it can be sent to others.
//
// What people and models say is hostile until shown otherwise. It goes through html/template as text and nothing else: there is
// no Markdown, no link and no image made of it. Should that fail, the Content-Security-Policy allows no inline script or
// style, and no address but our own.
//
// Nothing is open: without a valid session every address here answers with the sign-in page and 401; see signin.go.
package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/live"
	"github.com/openalign/align/collector/metrics"
)

// Path is the prefix of all that is served here.
const Path = "/dashboard/"

// Store is what is looked at.
type Store interface {
	collector.Store
	collector.SignIns
	collector.Looker
	metrics.Store
}

// Options are the settings of a [Dashboard]. The zero value is ready to use.
type Options struct {
	// IdleTimeout is how long a session may be without activity before it counts as closed. Zero means
	// [collector.DefaultIdleTimeout], negative never.
	IdleTimeout time.Duration
	// PublicURL is how browsers reach the server, such as https://align.example.com, where something stands between. With https
	// cookies are for secure connections only, as they are behind TLS of our own.
	PublicURL *url.URL
	// Live tells what happens. Nil means that nothing does.
	Live *live.Hub
	// Exports are the files of the daily export; nil shows none.
	Exports *export.Exporter
	// Agents are the names of those that can be chatted with.
	Agents []string
	// Beside are pages of others that the navigation leads to and sign-in may lead back to; see [Dashboard.SignedIn].
	Beside []Beside
	// Logger is where sign-ins, what is done to keys and users, and failures are logged; never content, never keys. Nil means
	// [slog.Default].
	Logger *slog.Logger
}

// Dashboard serves the pages below [Path]. It is safe for concurrent use.
type Dashboard struct {
	store    Store
	idle     time.Duration
	public   *url.URL
	log      *slog.Logger
	live     *live.Hub
	metrics  metrics.Engine
	exports  *export.Exporter
	agents   []string
	beside   []Beside
	attempts attempts
	origins  *http.CrossOriginProtection
	mux      *http.ServeMux
}

// New returns the dashboard of a store, which stays the caller's to close.
func New(store Store, opts Options) *Dashboard {
	d := &Dashboard{
		store: store, idle: cmp.Or(opts.IdleTimeout, collector.DefaultIdleTimeout), public: opts.PublicURL,
		log: cmp.Or(opts.Logger, slog.Default()), live: opts.Live, exports: opts.Exports, agents: opts.Agents, beside: opts.Beside, origins: http.NewCrossOriginProtection(), mux: http.NewServeMux(),
	}
	if d.live == nil {
		d.live = live.NewHub()
	}
	d.metrics = metrics.Engine{Store: store, Idle: d.idle}
	if opts.Exports != nil { // else it would be an interface that holds nil, and not nil
		d.metrics.Exports = opts.Exports
	}
	if d.public != nil {
		// The error is of an address that has no scheme or host, of which no browser says that it comes.
		_ = d.origins.AddTrustedOrigin(d.public.Scheme + "://" + d.public.Host)
	}
	d.routes()
	return d
}

func (d *Dashboard) routes() {
	open := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		method, path, _ := strings.Cut(pattern, " ")
		d.mux.Handle(method+" "+Path+path, d.answered(h))
	}
	open("GET assets/{name}", serveAsset)
	open("GET enter", d.showLink)
	open("POST enter", d.enterByLink)
	open("POST signin", d.enterByKey)

	page := func(pattern string, scope collector.Scope, h func(http.ResponseWriter, *http.Request, *visit) error) {
		method, path, _ := strings.Cut(pattern, " ")
		d.mux.Handle(method+" "+Path+path, d.answered(func(w http.ResponseWriter, r *http.Request) error { return d.visited(w, r, scope, h) }))
	}
	const read, admin = collector.ScopeRead, collector.ScopeAdmin
	page("POST signout", read, d.signOut)
	page("GET {$}", read, d.overview)
	page("GET conversations", read, d.conversations)
	page("GET conversation", read, d.conversation)
	page("GET conversation.json", read, d.conversationJSON)
	page("GET message", read, d.message)
	page("GET versions", read, d.versions)
	page("GET event", read, d.event)
	page("GET users", read, d.users)
	page("GET user", read, d.user)
	page("POST user/erase", admin, d.eraseUser)
	page("GET metrics", read, d.metricsPage)
	page("GET metric", read, d.metric)
	if d.exports != nil {
		page("GET exports", read, d.exportsPage)
		page("GET exports/file", read, d.exportFile)
	}
	page("GET quality", read, d.quality)
	page("GET live", read, d.livePage)
	page("GET live/events", read, d.liveEvents)
	page("GET settings", read, d.settings)
	page("POST settings/keys/create", admin, d.createKey)
	page("POST settings/keys/rotate", admin, d.rotateKey)
	page("POST settings/keys/revoke", admin, d.revokeKey)
	page("GET ", read, func(http.ResponseWriter, *http.Request, *visit) error { return errNoPage })
	page("POST ", read, func(http.ResponseWriter, *http.Request, *visit) error { return errNoPage })
}

// ServeHTTP implements [http.Handler].
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	protect(w.Header())
	// Beside the token in every form. Browsers say where a request comes from, and a script on another page cannot make them lie.
	if err := d.origins.Check(r); err != nil {
		d.failed(w, r, nil, foreignForm)
		return
	}
	d.mux.ServeHTTP(w, r)
}

// refusal is an answer that is not the page that was asked for.
type refusal struct {
	status  int
	message string // for people
}

func (r *refusal) Error() string { return r.message }

var (
	errNoPage   = &refusal{http.StatusNotFound, "There is no such page."}
	foreignForm = &refusal{http.StatusForbidden, "This form was sent from another site."}
)

// answered answers errors too.
func (d *Dashboard) answered(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			d.failed(w, r, nil, err)
		}
	})
}

// failed answers with an error. What a store says is for the log.
func (d *Dashboard) failed(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	var known *refusal
	switch {
	case errors.As(err, &known):
	case errors.Is(err, collector.ErrNotFound):
		known = &refusal{http.StatusNotFound, "There is no such thing in this project, or not any more."}
	case errors.Is(err, collector.ErrPageToken):
		known = &refusal{http.StatusBadRequest, "This address names a page of a list that is not there."}
	case r.Context().Err() != nil: // the browser has gone: no failure of ours, and nobody reads this
		known = &refusal{statusClientGone, "The request was given up."}
	case errors.Is(err, context.DeadlineExceeded):
		known = &refusal{http.StatusServiceUnavailable, "This took too long. Ask for less: a shorter time, or fewer conditions."}
	default:
		d.log.ErrorContext(r.Context(), "a page failed", "route", r.Pattern, "error", err)
		known = &refusal{http.StatusServiceUnavailable, "This cannot be shown right now. The log says why."}
	}
	if err := d.render(w, known.status, "error", v, &view{Title: http.StatusText(known.status), Data: known.message}); err != nil {
		d.log.ErrorContext(r.Context(), "a page failed", "route", r.Pattern, "error", err)
	}
}

// statusClientGone is what Connect, like others, calls a request whose client hung up. It is only seen in the log.
const statusClientGone = 499

// view is what a template shows.
type view struct {
	Title string
	Here  string // the page's name in the navigation
	Data  any
	Visit *visit // nil while nobody is signed in
	// Exports says that there are exports to look at.
	Exports bool
	Beside  []Beside
}

// render answers with a page. Nothing is sent before all of it is there.
func (d *Dashboard) render(w http.ResponseWriter, status int, name string, v *visit, page *view) error {
	page.Visit, page.Exports, page.Beside = v, d.exports != nil, d.beside
	var text bytes.Buffer
	if err := templates[name].ExecuteTemplate(&text, "layout", page); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes()) // the browser has gone
	return nil
}

// show is render for the page that was asked for.
func (d *Dashboard) show(w http.ResponseWriter, name string, v *visit, page *view) error {
	return d.render(w, http.StatusOK, name, v, page)
}
