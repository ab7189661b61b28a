package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/chatpage"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/live"
	"github.com/openalign/align/collector/server"
	"github.com/openalign/align/collector/store/sqlite"
)

// demoHost is a collector on a free port, with a chat page, and a data folder that goes when it does unless it is somebody's
// own.
type demoHost struct {
	url, ingestKey, readKey string

	dir     string // to be removed; empty for somebody's own
	store   *sqlite.Store
	exports *export.Exporter // whose days become final while it runs
	keys    []collector.Key  // of its own, which end with it
	http    *http.Server
	chat    *chatpage.Page
	link    string // that signs one browser in to the pages
}

// startHost starts a collector on a data folder; on a temporary one when none is given.
func (c *demoCommand) startHost(ctx context.Context, log *slog.Logger) (_ *demoHost, err error) {
	set, err := agentsOf(c.Config)
	if err != nil {
		return nil, err
	}
	h, data := &demoHost{}, c.Data
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if data == "" {
		if h.dir, err = os.MkdirTemp("", "align-demo-"); err != nil {
			return nil, err
		}
		data = h.dir
	}
	if h.store, err = sqlite.Open(ctx, filepath.Join(data, databaseFile)); err != nil {
		return nil, err
	}
	for scope, secret := range map[collector.Scope]*string{collector.ScopeIngest: &h.ingestKey, collector.ScopeRead: &h.readKey} {
		var key collector.Key
		if *secret, key, err = keys.New(demoProject, scope); err != nil {
			return nil, err
		}
		if err = h.store.CreateKey(ctx, key); err != nil {
			return nil, err
		}
		h.keys = append(h.keys, key)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h.url = "http://" + listener.Addr().String()
	link, err := dashboard.Link(ctx, h.store, demoProject, collector.ScopeAdmin)
	if err != nil {
		return nil, err
	}
	h.link = h.url + link
	handler, err := h.handler(set, c.Idle, log)
	if err != nil {
		return nil, err
	}
	h.http = server.HTTP(handler, log)
	go h.http.Serve(listener)
	return h, nil
}

// handler is everything that the demo serves: what the collector does, and the chat page.
func (h *demoHost) handler(set *agents.Set, idle time.Duration, log *slog.Logger) (_ http.Handler, err error) {
	hub := live.NewHub()
	h.exports = export.New(h.store, export.Config{Logger: log})
	pages := dashboard.New(h.store, dashboard.Options{Live: hub, Exports: h.exports, Agents: set.Names(), Beside: []dashboard.Beside{chatpage.Link()}, Logger: log})
	rest := server.New(h.store, server.Options{Live: hub, Exports: h.exports, Agents: set, Dashboard: pages, Logger: log})
	h.chat, err = chatpage.New(chatpage.Config{
		Host: h.url, APIKey: h.ingestKey, ProjectID: demoProject, Agents: set, Dashboard: pages, Idle: idle, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // no mux: it would redirect what the server takes
		if r.URL.Path == chatpage.Path || strings.HasPrefix(r.URL.Path, chatpage.Path+"/") {
			h.chat.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	}), nil
}

// lookAround prints where to look at what arrived, one of the conversations for example, and how it ends.
func (h *demoHost) lookAround(out io.Writer, conversation string) {
	ending := "and removes its data"
	if h.dir == "" {
		ending = "and keeps its data"
	}
	fmt.Fprintf(out, `
Look at it in a browser, with a link that signs in once; “Demo chat” there is where you talk yourself:
  %[5]s
or from here:
  curl %[1]s/align.v1.ConversationService/SearchConversations \
    -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' --data '{"pageSize": 3}'
  curl %[1]s/align.v1.ConversationService/ListMessages \
    -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' --data %[3]s
Ctrl-C ends the collector %[4]s.
`, h.url, h.readKey, shellQuoted(listBody(conversation)), ending, h.link)
}

// close leaves nothing behind, however far startHost came. What was said on the chat page arrives first.
func (h *demoHost) close() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if h.chat != nil {
		err = h.chat.Close(ctx)
	}
	if h.http != nil {
		err = errors.Join(err, h.http.Close())
	}
	if h.store != nil {
		for i := range h.keys { // in a folder that is kept they would pile up, and work
			err = errors.Join(err, h.store.ExpireKey(ctx, h.keys[i].Hash, time.Now()))
		}
		err = errors.Join(err, h.store.Close())
	}
	if h.dir != "" {
		err = errors.Join(err, os.RemoveAll(h.dir))
	}
	return err
}

// conversations is a client of the read API with the read key.
func (h *demoHost) conversations() alignv1connect.ConversationServiceClient {
	return alignv1connect.NewConversationServiceClient(http.DefaultClient, h.url, connect.WithInterceptors(keys.Bearer(h.readKey)))
}
