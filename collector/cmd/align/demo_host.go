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

	"connectrpc.com/connect"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/live"
	"github.com/openalign/align/collector/server"
	"github.com/openalign/align/collector/store/sqlite"
)

// demoHost is a collector on a free port, with a data folder that goes when it does unless it is somebody's own.
type demoHost struct {
	url, ingestKey, readKey string

	dir   string // to be removed; empty for somebody's own
	store *sqlite.Store
	http  *http.Server
	link  string // that signs one browser in to the pages
}

// startDemoHost starts a collector on a data folder; on a temporary one when data is empty.
func startDemoHost(ctx context.Context, data string, log *slog.Logger) (_ *demoHost, err error) {
	h := &demoHost{}
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
	handler, err := h.handler(log)
	if err != nil {
		return nil, err
	}
	h.http = server.HTTP(handler, log)
	go h.http.Serve(listener)
	return h, nil
}

// handler is everything that the demo serves. Pages of its own belong here, and into lookAround.
func (h *demoHost) handler(log *slog.Logger) (*server.Server, error) {
	echo, err := agents.New(agents.Config{}, "")
	if err != nil {
		return nil, err
	}
	hub := live.NewHub()
	exports := export.New(h.store, export.Config{Logger: log})
	pages := dashboard.New(h.store, dashboard.Options{Live: hub, Exports: exports, Agents: echo.Names(), Logger: log})
	return server.New(h.store, server.Options{Live: hub, Exports: exports, Agents: echo, Dashboard: pages, Logger: log}), nil
}

// lookAround prints where to look at what arrived, one of the conversations for example, and how it ends.
func (h *demoHost) lookAround(out io.Writer, conversation string) {
	ending := "and removes its data"
	if h.dir == "" {
		ending = "and keeps its data"
	}
	fmt.Fprintf(out, `
Look at it in a browser, with a link that signs in once:
  %[5]s
or from here:
  curl %[1]s/align.v1.ConversationService/SearchConversations \
    -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' --data '{"pageSize": 3}'
  curl %[1]s/align.v1.ConversationService/ListMessages \
    -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' --data %[3]s
Ctrl-C ends the collector %[4]s.
`, h.url, h.readKey, shellQuoted(listBody(conversation)), ending, h.link)
}

// close leaves nothing behind, however far startDemoHost came.
func (h *demoHost) close() (err error) {
	if h.http != nil {
		err = h.http.Close()
	}
	if h.store != nil {
		err = errors.Join(err, h.store.Close())
	}
	if h.dir != "" {
		err = errors.Join(err, os.RemoveAll(h.dir))
	}
	return err
}

// conversations is a client of the read API with the read key.
func (h *demoHost) conversations() alignv1connect.ConversationServiceClient {
	withKey := func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			req.Header().Set("Authorization", "Bearer "+h.readKey)
			return next(ctx, req)
		}
	}
	return alignv1connect.NewConversationServiceClient(http.DefaultClient, h.url, connect.WithInterceptors(connect.UnaryInterceptorFunc(withKey)))
}
