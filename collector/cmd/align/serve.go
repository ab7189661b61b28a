package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/live"
	"github.com/openalign/align/collector/retain"
	"github.com/openalign/align/collector/server"
	"github.com/openalign/align/collector/store/sqlite"
)

type serveCommand struct {
	dataFlag
	Addr        string            `help:"Address to listen on; port 0 takes a free one (default ${default})." default:"127.0.0.1:7311" placeholder:"HOST:PORT"`
	IdleTimeout time.Duration     `help:"A session without activity for this long counts as closed; negative: never (default ${default})." default:"30m" placeholder:"DURATION"`
	Config      string            `help:"TOML file that names agents to chat with; see README (default: only the agent echo)." type:"path" placeholder:"FILE"`
	Detector    string            `help:"Detect misunderstandings where apps record nothing of their answers: on or off; kept in the data folder (default: as it is, on at first)." enum:",on,off" default:"" placeholder:"on|off"`
	Agnost      map[string]string `help:"Take in Agnost's dialect from an organisation, for a project. Its id is no secret: whoever knows it can send. Repeatable." placeholder:"ORG=PROJECT"`
	Retain      retain.Age        `help:"Take out content (texts, titles, comments, custom properties) this long after its event; counts stay (default: never)." placeholder:"90d"`
	RetainFacts retain.Age        `help:"Empty events this long after they happened; conversations stay as they were (default: never)." placeholder:"400d"`
	RateLimit   float64           `help:"Requests a second that each key may make; twice as many may come at once; 0: any number (default ${default})." default:"10000" placeholder:"N"`
	CORSOrigin  []string          `help:"Origin whose browser pages may send events, such as https://chat.example; may be repeated (default: none)." name:"cors-origin" placeholder:"URL"`
	TLSCert     string            `help:"Certificate, with its chain, in PEM; loaded again when it changes (default: plain HTTP)." name:"tls-cert" type:"path" placeholder:"FILE"`
	TLSKey      string            `help:"Its key, in PEM." name:"tls-key" type:"path" placeholder:"FILE"`
	PublicURL   *url.URL          `help:"How this server is reached where something stands between, such as https://align.example.com: what links begin with, and whether cookies are for secure connections (default: the address that was used)." name:"public-url" placeholder:"URL"`
	ExportGrace time.Duration     `help:"A day's export is final this long after midnight UTC and the idle timeout; events that come later are in a later day's late file (default ${default})." default:"30m" placeholder:"DURATION"`
	AccessLog   bool              `help:"Log every request, not only those refused. No line holds content or keys."`
	DrainDelay  time.Duration     `help:"After SIGTERM, serve on for this long while /readyz says 503, so that a load balancer notices (default ${default})." default:"0s" placeholder:"DURATION"`
	Shutdown    time.Duration     `help:"How long requests under way may take to finish after that (default ${default})." default:"20s" placeholder:"DURATION"`
	LogLevel    slog.Level        `help:"Least level that is logged: debug, info, warn or error (default ${default})." default:"info" placeholder:"LEVEL"`
}

// Validate refuses settings that would silently mean something else.
func (c *serveCommand) Validate() error {
	if c.IdleTimeout == 0 {
		return errors.New("--idle-timeout must not be 0: give a time such as 30m, or a negative one so that sessions never close by themselves")
	}
	for organisation, project := range c.Agnost {
		if organisation == "" || project == "" {
			return errors.New("--agnost needs an organisation's id and a project: ORG=PROJECT")
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key go together")
	}
	if u := c.PublicURL; u != nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.User != nil) {
		return errors.New("--public-url must be an address such as https://align.example.com, without a path")
	}
	if c.ExportGrace <= 0 {
		return errors.New("--export-grace must be more than nothing: events take a while to arrive")
	}
	if c.RateLimit < 0 {
		return errors.New("--rate-limit must not be negative")
	}
	return nil
}

// Run serves until ctx ends, then finishes what is under way. It returns nil when everything was finished.
func (c *serveCommand) Run(ctx context.Context, std streams) error {
	log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: c.LogLevel}))
	first := c.firstStart()
	var tlsConfig *tls.Config
	scheme := "http"
	if c.TLSCert != "" {
		var err error
		if tlsConfig, err = server.TLS(c.TLSCert, c.TLSKey, log); err != nil {
			return err
		}
		scheme = "https"
	}
	agents, err := agentsOf(c.Config)
	if err != nil {
		return err
	}
	store, err := c.open(ctx)
	if err != nil {
		return err
	}
	if c.Detector != "" {
		if err := store.SetDetector(ctx, c.Detector == "on"); err != nil {
			return errors.Join(err, store.Close())
		}
	}
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	fmt.Fprintf(std.out, "listening on %s://%s\n", scheme, listener.Addr())
	if first {
		link, err := dashboard.Link(ctx, store, "", collector.ScopeAdmin)
		if err != nil {
			return errors.Join(err, listener.Close(), store.Close())
		}
		base := scheme + "://" + listener.Addr().String()
		if c.PublicURL != nil {
			base = c.PublicURL.Scheme + "://" + c.PublicURL.Host
		}
		fmt.Fprintf(std.err, "Nothing is open without a key. This link signs in one browser, once, within %d minutes; there you make keys and look:\n"+
			"  %s%s\nOr make a key for your app, and one to look at what arrives, here:\n"+
			"  align keys create --project NAME --scope ingest --data %[4]q\n"+
			"  align keys create --project NAME --scope read --data %[4]q\n", int(dashboard.LinkLifetime.Minutes()), base, link, c.Data)
	}
	return c.serve(ctx, listener, tlsConfig, store, agents, log)
}

// agentsOf are those that can be chatted with: those of a configuration file, or echo where there is none.
func agentsOf(config string) (*agents.Set, error) {
	if config == "" {
		return agents.New(agents.Config{}, "")
	}
	return agents.Load(config)
}

// recordPatience is how long chats that were cut off may take to be recorded.
const recordPatience = 10 * time.Second

// firstStart reports whether the data folder holds no database yet, and so no key.
func (c *serveCommand) firstStart() bool {
	_, err := os.Stat(c.file())
	return errors.Is(err, fs.ErrNotExist)
}

// serve serves until ctx ends. The store closes last: whatever was acknowledged is in it, and so is what requests under
// way still bring.
func (c *serveCommand) serve(ctx context.Context, listener net.Listener, tlsConfig *tls.Config, store *sqlite.Store, agents *agents.Set, log *slog.Logger) error {
	exports := export.New(store, export.Config{IdleTimeout: c.IdleTimeout, Grace: c.ExportGrace, Logger: log})
	public := ""
	if c.PublicURL != nil {
		public = c.PublicURL.Scheme + "://" + c.PublicURL.Host
	}
	hub := live.NewHub()
	pages := dashboard.New(store, dashboard.Options{Live: hub, IdleTimeout: c.IdleTimeout, PublicURL: c.PublicURL, Exports: exports, Agents: agents.Names(), Logger: log})
	handler := server.New(store, server.Options{Exports: exports, PublicURL: public, IdleTimeout: c.IdleTimeout, Agnost: c.Agnost, Agents: agents, Logger: log,
		RateLimit: c.RateLimit, CORSOrigins: c.CORSOrigin, AccessLog: c.AccessLog, Live: hub, Dashboard: pages})
	httpServer := server.HTTP(handler, log)

	sweeping, stopSweeping := context.WithCancel(context.WithoutCancel(ctx))
	var sweeps sync.WaitGroup
	sweeps.Go(func() {
		retain.Run(sweeping, store, retain.Policy{Content: time.Duration(c.Retain), Facts: time.Duration(c.RetainFacts)}, log)
	})
	sweeps.Go(func() { exports.Run(sweeping) })
	defer sweeps.Wait()
	defer stopSweeping()

	failed := make(chan error, 1)
	go func() {
		if httpServer.TLSConfig = tlsConfig; tlsConfig != nil {
			failed <- httpServer.ServeTLS(listener, "", "")
			return
		}
		failed <- httpServer.Serve(listener)
	}()
	log.Info("serving", "addr", listener.Addr().String(), "data", c.Data)

	select {
	case err := <-failed:
		return errors.Join(fmt.Errorf("serving stopped: %w", err), store.Close())
	case <-ctx.Done():
	}
	log.Info("shutting down")
	handler.Drain()
	if c.DrainDelay > 0 {
		time.Sleep(c.DrainDelay)
	}
	err := c.finish(httpServer)
	// What was cut off in the middle of a chat is still recorded.
	recording, cancel := context.WithTimeout(context.Background(), recordPatience)
	defer cancel()
	err = errors.Join(err, handler.Close(recording))
	stopSweeping()
	sweeps.Wait()
	err = errors.Join(err, store.Close())
	counts := handler.Ingested()
	log = log.With("requests", counts.Requests, "stored", counts.Stored, "duplicate", counts.Duplicate, "set_aside", counts.SetAside)
	if err != nil {
		log.Error("stopped", "error", err)
		return err
	}
	log.Info("stopped")
	return nil
}

// finish stops listening and waits for the requests under way, as long as it may; then it cuts them off. They were not
// acknowledged, and their clients send them again.
func (c *serveCommand) finish(httpServer *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Shutdown)
	defer cancel()
	if err := httpServer.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests did not finish: %w", err), httpServer.Close())
	}
	return nil
}
