// Package server puts the collector's parts behind one [http.Handler], so that the program, the demo and the tests serve
// exactly the same thing.
package server

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/conversations"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/export/ultimate"
	"github.com/openalign/align/collector/ingest"
	"github.com/openalign/align/collector/ingest/acro"
	"github.com/openalign/align/collector/ingest/agnost"
	"github.com/openalign/align/collector/ingest/otlp"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/live"
	numbers "github.com/openalign/align/collector/metrics"
	"github.com/openalign/align/collector/operations"
	"github.com/openalign/align/collector/reply"
)

// Options are the settings of a [Server]. The zero value is ready to use.
type Options struct {
	// IdleTimeout is how long a session may be without activity before it counts as closed. Zero means
	// [collector.DefaultIdleTimeout], negative never.
	IdleTimeout time.Duration
	// Agnost says which project the events of an organisation belong to, by the organisation's id; see package agnost. That id
	// is no secret: whoever knows it can send. Empty means that the dialect is not served.
	Agnost map[string]string
	// Logger is where the server says what it refuses and sets aside. Nil means [slog.Default].
	Logger *slog.Logger
	// RateLimit is how many requests a second each key may make; twice as many may come at once. Zero is any number. Agnost's
	// requests have no key, and no limit.
	RateLimit float64
	// CORSOrigins are the origins, such as https://chat.example, whose pages may send events from browsers; "*" is any.
	CORSOrigins []string
	// Agents are those that can be chatted with. Nil is none.
	Agents *agents.Set
	// Digests is what metrics are computed from. Nil means the store, where it has digests; else there are no metrics.
	Digests numbers.Store
	// Exports makes the files of the daily export, which are served where it is set.
	Exports *export.Exporter
	// PublicURL is what links to files begin with for clients that want whole ones, such as https://collector.example. Empty
	// means what their request was sent to.
	PublicURL string
	// AccessLog logs every request at info, not only those that were refused.
	AccessLog bool
	// Live is told what is stored. Nil means one of the server's own.
	Live *live.Hub
	// Dashboard is served to browsers; nil for none.
	Dashboard *dashboard.Dashboard
}

// Server serves a [collector.Store] over HTTP: it takes events in, gives conversations back, and says how it is. Everything
// but its health and Agnost's dialect needs a key, though metrics do not for who asks on the same machine. The dashboard asks
// for a session instead. It is safe for concurrent use.
//
//	POST /ingestion.v1alpha.IngestionService/CollectEvents      ingest keys
//	     /{application}/conversation                            ingest keys; see package acro
//	     /v1/traces  /v1/logs                                   ingest keys; see package otlp
//	     /api/v1/capture-session  /api/v1/capture-event         organisations of Options.Agnost; see package agnost
//	     /align.v1.ConversationService/{SearchConversations,GetConversation,ListMessages,ListRuns}      read keys
//	     /align.v1.ConversationService/{CreateConversation,UpdateConversation,AddTags,RemoveTags}       chat keys
//	     /align.v1.ConversationService/{Chat,ChatStream}                                                chat keys
//	     /align.v1.LiveService/Watch                                         read keys
//	     /align.v1.QualityService/{GetQuality,ListFindings,ListSetAside}     read keys
//	     /align.v1.MetricsService/{GetMetrics,ListMetrics,ExplainMetric}     read keys, where the store has digests
//	     /align.v1.AdminService/{EraseUser,ListAudit}                        admin keys
//	     /dashboard/  /                                         browsers that are signed in; see package dashboard
//	     /align.v1.ExportService/{ListExports,GetExport,VerifyExport}        read keys
//	     /data-export/v2/get-signed-urls                                     read keys; see package export/ultimate
//	GET  /exports/v1/{file}    read keys, and links that one of them was given
//	GET  /metrics    for Prometheus: this machine, and admin keys from elsewhere
//	GET  /healthz    200 while the process runs
//	GET  /readyz     200 while it can store, as of a second ago at most; 503 while it cannot, and once Drain was called
type Server struct {
	ready    readiness
	ingest   *ingest.Handler
	takers   []*ingest.Taker // of the other dialects
	handler  http.Handler
	draining atomic.Bool
	live     *live.Hub

	conversations *conversations.Service
}

// New returns a server of store, which stays the caller's to close, after the server's last request.
func New(store collector.Store, opts Options) *Server {
	log := cmp.Or(opts.Logger, slog.Default())
	idle := cmp.Or(opts.IdleTimeout, collector.DefaultIdleTimeout)

	s := &Server{ready: readiness{ask: store.Ready, log: log}, live: opts.Live}
	if s.live == nil {
		s.live = live.NewHub()
	}
	appender := s.live.Told(store)
	s.ingest = ingest.New(appender, log)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	limits := &limits{perSecond: opts.RateLimit}
	require := func(scope collector.Scope, handler http.Handler) http.Handler {
		return keys.Require(scope, store, log, limits.of(handler))
	}
	maySend := func(next http.Handler) http.Handler { return require(collector.ScopeIngest, next) }
	fromPages := func(handler http.Handler) http.Handler { return crossOrigin(opts.CORSOrigins, handler) }
	mux.Handle(ingest.Path, fromPages(maySend(s.ingest)))
	traces, logs := otlp.New(s.taker("otlp"), maySend)
	mux.Handle(otlp.TracesPath, fromPages(traces))
	mux.Handle(otlp.LogsPath, fromPages(logs))
	if len(opts.Agnost) > 0 {
		handler := agnost.New(s.taker("agnost"), opts.Agnost)
		mux.Handle(agnost.SessionPath, fromPages(http.HandlerFunc(handler.Session)))
		mux.Handle(agnost.EventPath, fromPages(http.HandlerFunc(handler.Event)))
	}
	service := func(scope collector.Scope) func(path string, handler http.Handler) {
		return func(path string, handler http.Handler) {
			handler = require(scope, handler)
			mux.Handle(path, handler)
			mux.Handle(strings.TrimSuffix(path, "/"), handler) // or the mux would redirect there
		}
	}
	s.conversations = conversations.New(told{store, appender}, conversations.Options{IdleTimeout: idle, Agents: opts.Agents, Logger: log})
	service(collector.ScopeRead)(s.conversations.Handler())
	service(collector.ScopeRead)(live.New(s.live))
	service(collector.ScopeRead)(operations.NewQuality(store, log))
	service(collector.ScopeAdmin)(operations.NewAdmin(store, log))
	digests := opts.Digests
	if digests == nil {
		digests, _ = store.(numbers.Store)
	}
	if digests != nil {
		engine := &numbers.Engine{Store: digests, Idle: idle}
		if opts.Exports != nil { // else it would be an interface that holds nil, and not nil
			engine.Exports = opts.Exports
		}
		service(collector.ScopeRead)(numbers.NewService(engine, log))
	}
	if files := opts.Exports; files != nil {
		service(collector.ScopeRead)(export.NewService(files, log))
		mayRead := func(next http.Handler) http.Handler { return require(collector.ScopeRead, next) }
		mux.Handle(export.LinkPath+"{name}", export.Download(files, store, log, mayRead))
		mux.Handle(ultimate.Path, ultimate.Authorized(mayRead(ultimate.New(files, ultimate.Options{BaseURL: opts.PublicURL, Logger: log}))))
	}
	metrics := newMetrics(store, s.IngestedByDialect)
	mux.Handle("GET /metrics", metrics.handler(func(next http.Handler) http.Handler { return require(collector.ScopeAdmin, next) }))
	if opts.Dashboard != nil {
		mux.Handle(dashboard.Path, opts.Dashboard)
		mux.Handle("GET /{$}", http.RedirectHandler(dashboard.Path, http.StatusSeeOther))
	}
	// A mux of its own: a path with a wildcard in front would conflict with those that end in one.
	rest := http.NewServeMux()
	rest.Handle(acro.Pattern, fromPages(acro.New(s.taker("acro"), store, maySend)))
	rest.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply.Error(w, http.StatusNotFound, connect.CodeUnimplemented, "there is nothing at this path")
	})
	mux.Handle("/", rest)

	// From the outside in: the path is made plain first, because the mux answers a path it would clean with a redirect;
	// refusals wait for the body whoever makes them.
	s.handler = onePath(readBeforeRefusing(logged(log, opts.AccessLog, metrics, mux)))
	return s
}

// told is a store that appends by way of who is told of it.
type told struct {
	collector.Store
	to ingest.Appender
}

func (t told) Append(ctx context.Context, project string, batch collector.Batch) (collector.Appended, error) {
	return t.to.Append(ctx, project, batch)
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Drain makes the server say that it is not ready, so that whoever balances load sends it no more. It still serves, but
// what would go on for ever, such as the live page, ends.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.live.Close()
}

// Close waits until the chats under way are recorded, or ctx ends. Its time is after the HTTP server's own, and before the
// store's.
func (s *Server) Close(ctx context.Context) error { return s.conversations.Close(ctx) }

// Ingested counts what the server has taken in, in all dialects.
func (s *Server) Ingested() ingest.Counts {
	var sum ingest.Counts
	for _, counts := range s.IngestedByDialect() {
		sum.Add(counts)
	}
	return sum
}

// IngestedByDialect counts what the server has taken in: align, acro, otlp, and agnost where it is served.
func (s *Server) IngestedByDialect() map[string]ingest.Counts {
	all := map[string]ingest.Counts{"align": s.ingest.Counts()}
	for _, taker := range s.takers {
		all[taker.Dialect()] = taker.Counts()
	}
	return all
}

// taker returns what a dialect's handler takes events in with.
func (s *Server) taker(dialect string) *ingest.Taker {
	taker := s.ingest.Taker(dialect)
	s.takers = append(s.takers, taker)
	return taker
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") }

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		say(w, http.StatusServiceUnavailable, "draining")
		return
	}
	if err := s.ready.read(r.Context()); err != nil {
		say(w, http.StatusServiceUnavailable, "store not ready")
		return
	}
	say(w, http.StatusOK, "ok")
}

func say(w http.ResponseWriter, status int, word string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(word + "\n")) // the prober has gone
}
