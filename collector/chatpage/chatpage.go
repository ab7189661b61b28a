// Package chatpage is the chat page of align demo: a small chat app that records itself with the SDK, as an app of your own
// would. What it takes for that is
//
//   - [align.New], with an idle timeout short enough to be waited for;
//   - [align.Client.IdentifyUser] and [align.Client.StartSession] when somebody first says something;
//   - [align.Client.Converse] around the agent, which records both sides, times and failures included;
//   - [align.Client.FeedbackToken] beside each answer, and package feedbackhttp for the thumbs;
//   - [align.Client.CloseSession] when they say that they are done. Who walks away is noticed by the client.
//
// The rest is a page. It works without script; with it answers come word by word, and what arrives at the collector is shown
// beside them. What was said is text in it and nothing else. The dashboard's sign-in opens it, with the dashboard's headers.
package chatpage

import (
	"cmp"
	"context"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/feedbackhttp"
)

// Path is where the page is.
const Path = "/demo"

// Link is how the dashboard's navigation calls it.
func Link() dashboard.Beside { return dashboard.Beside{Name: "Demo chat", Path: Path} }

const (
	// flushInterval is short, because somebody is watching.
	flushInterval = 100 * time.Millisecond
	// maxAnswering is how many answers may be under way at once.
	maxAnswering = 32
)

// Config is how a [Page] is set up. All of it but Idle and Logger is required.
type Config struct {
	// Host is the collector that the page records to, APIKey a key of it with the ingest scope, ProjectID its project.
	Host, APIKey, ProjectID string
	// Agents are those that can be talked to.
	Agents *agents.Set
	// Dashboard says who may open the page.
	Dashboard *dashboard.Dashboard
	// Idle is how long somebody may say nothing until their conversation is closed. Zero means 30 s.
	Idle time.Duration
	// Logger is told what goes wrong, never what was said. Nil means [slog.Default].
	Logger *slog.Logger
}

// DefaultIdle is what [Config.Idle] is where it is not given.
const DefaultIdle = 30 * time.Second

// Page is the chat app. It is safe for concurrent use.
type Page struct {
	client  *align.Client
	agents  *agents.Set
	idle    time.Duration
	project string
	log     *slog.Logger
	handler http.Handler
	html    *template.Template
	chats   chats

	room      chan struct{} // a place for each answer under way
	mu        sync.Mutex    // guards closed, and that answering only grows before it
	closed    bool
	answering sync.WaitGroup
	ctx       context.Context // ends when the page closes
	cancel    context.CancelFunc
}

//go:embed chat.js chat.css
var files embed.FS

// New returns a page. [Page.Close] ends what it starts.
func New(cfg Config) (*Page, error) {
	p := &Page{
		agents: cfg.Agents, project: cfg.ProjectID, idle: cmp.Or(cfg.Idle, DefaultIdle), log: cmp.Or(cfg.Logger, slog.Default()),
		html: parsePage(), room: make(chan struct{}, maxAnswering),
	}
	var err error
	p.client, err = align.New(align.Config{
		ProjectID: cfg.ProjectID, APIKey: cfg.APIKey, Host: cfg.Host, Logger: p.log,
		IdleTimeout: p.idle, FlushInterval: flushInterval, CloseSessionsOnShutdown: true,
		BeforeSend: p.chats.note, // what is recorded is what the page shows
	})
	if err != nil {
		return nil, err
	}
	thumbs, err := feedbackhttp.New(p.client, feedbackhttp.Config{})
	if err != nil {
		return nil, err
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, p.show)
	mux.HandleFunc("POST "+Path+"/say", p.sent(p.say))
	mux.HandleFunc("POST "+Path+"/end", p.sent(p.end))
	mux.HandleFunc("POST "+Path+"/new", p.sent(p.another))
	mux.Handle(Path+"/feedback", thumbs)
	mux.Handle("GET "+Path+"/chat.js", http.StripPrefix(Path, http.FileServerFS(files)))
	mux.Handle("GET "+Path+"/chat.css", http.StripPrefix(Path, http.FileServerFS(files)))
	p.handler = cfg.Dashboard.SignedIn(cfg.ProjectID, collector.ScopeChat, mux)
	return p, nil
}

// ServeHTTP serves what is at [Path] and below.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// Close cuts off the answers under way, which are recorded as far as they came, and delivers what was recorded until ctx
// ends.
func (p *Page) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.answering.Wait()
	return p.client.Close(ctx)
}

// enter takes a place for an answer. It is not ok where there is none, or the page has closed.
func (p *Page) enter() (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false
	}
	select {
	case p.room <- struct{}{}:
	default:
		return nil, false
	}
	p.answering.Add(1)
	return func() {
		<-p.room
		p.answering.Done()
	}, true
}

// warn logs what could not be recorded: a chat goes on without its analytics.
func (p *Page) warn(ctx context.Context, err error) {
	if err != nil {
		p.log.WarnContext(ctx, "the chat page could not record something", "error", err)
	}
}
