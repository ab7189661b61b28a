package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/openalign/align"
	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/server"
	"github.com/openalign/align/collector/store/sqlite"
)

type demoCommand struct {
	Once bool   `help:"Exit when everything has arrived: with status 0 if the numbers agree, else 1."`
	File string `help:"JSON-lines file of dialogues to play, gzipped or not, instead of the demo's own." type:"existingfile" placeholder:"F"`
}

const (
	demoProject = "demo"
	// demoIdleTimeout stands for the thirty minutes of real life.
	demoIdleTimeout = 2 * time.Second
	demoPlayers     = 8
)

// Run plays conversations through the SDK into a collector of its own and shows what arrived.
func (c *demoCommand) Run(ctx context.Context, std streams) (err error) {
	dialogues, err := readDialogues(c.File)
	if err != nil {
		return err
	}
	host, err := startDemoHost(ctx, slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.close()) }()

	if !c.Once {
		defer func() {
			if ctx.Err() != nil {
				err = nil // Ctrl-C is how it ends, also when that comes early
			}
		}()
	}
	fmt.Fprintf(std.out, "Playing %s through the SDK into a collector at %s\n", counted(len(dialogues), "conversation"), host.url)
	played, stats, err := playDialogues(ctx, host, dialogues, newProgress(std.err, dialogues))
	if err != nil {
		return err
	}
	found, err := readBack(ctx, host.conversations(), dialogues)
	if err != nil {
		return err
	}
	agree := report(std.out, stats, played, found)
	if !agree {
		return errors.New("the numbers do not agree")
	}
	if c.Once {
		return nil
	}
	fmt.Fprintf(std.out, `
Look at it:
  curl %[1]s/align.v1.ConversationService/SearchConversations \
    -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' --data '{"pageSize": 3}'
  curl %[1]s/align.v1.ConversationService/ListMessages \
    -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' --data %[3]s
Ctrl-C ends the collector and removes its data.
`, host.url, host.readKey, shellQuoted(listBody(dialogues[0].ID)))
	<-ctx.Done()
	return nil
}

// demoHost is a collector on a free port with a data folder that goes when it does.
type demoHost struct {
	url, ingestKey, readKey string

	dir   string
	store collector.Store
	http  *http.Server
}

func startDemoHost(ctx context.Context, log *slog.Logger) (_ *demoHost, err error) {
	h := &demoHost{}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if h.dir, err = os.MkdirTemp("", "align-demo-"); err != nil {
		return nil, err
	}
	if h.store, err = sqlite.Open(ctx, filepath.Join(h.dir, databaseFile)); err != nil {
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
	h.http = server.HTTP(server.New(h.store, server.Options{IdleTimeout: collector.DefaultIdleTimeout, Logger: log}), log)
	go h.http.Serve(listener)
	return h, nil
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

// playDialogues records every dialogue with the SDK, as a chat app would, and returns what it recorded and what the
// client counted, once all of it is delivered and whoever walked away has gone idle.
func playDialogues(ctx context.Context, host *demoHost, dialogues []dialogue, bar progress) (played tally, _ align.Stats, err error) {
	client, err := align.New(align.Config{
		ProjectID: demoProject, APIKey: host.ingestKey, Host: host.url,
		IdleTimeout: demoIdleTimeout,
		Overflow:    align.OverflowBlock, // a script can wait; a chat app would not
	})
	if err != nil {
		return tally{}, align.Stats{}, err
	}
	players, playing := errgroup.WithContext(ctx)
	players.SetLimit(demoPlayers)
	for _, d := range dialogues {
		players.Go(func() error {
			defer bar.Add(len(d.Turns))
			return play(playing, client, d)
		})
	}
	err = players.Wait()
	bar.Finish()
	for _, d := range dialogues {
		played.add(d)
	}
	if err == nil {
		err = waitForIdle(ctx, client, played.idle)
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	err = errors.Join(err, client.Close(closing))
	return played, client.Stats(), err
}

// play records one dialogue.
func play(ctx context.Context, client *align.Client, d dialogue) error {
	err := errors.Join(
		client.IdentifyUser(ctx, align.User{ID: d.User, DisplayName: d.Name, CountryCode: d.Country}),
		client.OpenSession(ctx, align.Session{ID: d.ID, UserID: d.User, AssistantID: "demo-assistant"}),
	)
	for i, t := range d.Turns {
		err = errors.Join(err, client.CreateMessage(ctx, align.Message{SessionID: d.ID, Index: i + 1, Role: t.Role, Content: t.Text}))
		if vote := t.vote(); vote != "" {
			err = errors.Join(err, client.CreateMessageFeedback(ctx, align.MessageFeedback{SessionID: d.ID, Index: i + 1, Type: vote, Comment: t.Comment}))
		}
		if err != nil {
			return ofDialogue(d, err)
		}
	}
	if d.Vote != "" {
		err = errors.Join(err, client.CreateSessionFeedback(ctx, align.SessionFeedback{SessionID: d.ID, Type: d.Vote}))
	}
	if !d.Idle {
		err = errors.Join(err, client.CloseSession(ctx, align.SessionEnd{SessionID: d.ID}))
	}
	return ofDialogue(d, err)
}

// ofDialogue says which dialogue an error is about.
func ofDialogue(d dialogue, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("dialogue %s: %w", d.ID, err)
}

// waitForIdle waits until the client has closed the sessions that nobody else does.
func waitForIdle(ctx context.Context, client *align.Client, sessions int) error {
	patience, cancel := context.WithTimeout(ctx, 10*demoIdleTimeout)
	defer cancel()
	for client.Stats().IdleCloses < uint64(sessions) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-patience.Done():
			return fmt.Errorf("waiting for %s to go idle: %w", counted(sessions, "session"), patience.Err())
		}
	}
	return nil
}
