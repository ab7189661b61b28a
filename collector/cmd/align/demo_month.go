package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/openalign/align"
	"github.com/openalign/align/collector/cmd/align/internal/month"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// demoPause is how long it takes on average until the next live conversation begins.
const demoPause = 20 * time.Second

// playMonth plays a month that ends now, compares what arrived, and adds live conversations until ctx ends. A data folder
// that holds conversations already gets no second month.
func (c *demoCommand) playMonth(ctx context.Context, std streams, host *demoHost, log *slog.Logger) (err error) {
	before, err := host.store.Totals(ctx, demoProject)
	if err != nil {
		return err
	}
	// Recording may wait for delivery here, and does: the buffer is small so that progress is that of delivery.
	client, err := align.New(align.Config{
		ProjectID: demoProject, APIKey: host.ingestKey, Host: host.url, Logger: log,
		Overflow: align.OverflowBlock, BufferEvents: 4000, Senders: 4,
	})
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, client.Close(closing))
	}()

	m := month.New(c.Seed, time.Now(), c.Conversations)
	if before.Conversations > 0 {
		fmt.Fprintf(std.out, "%s has %s already; the collector is at %s\n", c.Data, counted(before.Conversations, "conversation"), host.url)
	} else {
		fmt.Fprintf(std.out, "Playing a month of %s through the SDK into a collector at %s\n", counted(c.Conversations, "conversation"), host.url)
		bar := newProgress(std.err, c.Conversations, "conversations", &lines{out: std.err, thing: "conversation", total: c.Conversations})
		if err := recordMonth(ctx, client, m, bar); err != nil {
			return err
		}
		if err := compareMonth(ctx, std.out, host, client.Stats(), m); err != nil {
			return err
		}
	}
	var exporting sync.WaitGroup
	exporting.Go(func() { host.exports.Run(ctx) }) // not before: what is played after its day is final would be late
	defer exporting.Wait()
	host.lookAround(std.out, m.Conversations[0].ID)
	if c.Quiet {
		<-ctx.Done()
		return nil
	}
	liven(ctx, std.out, client, m)
	return nil
}

// recordMonth records every conversation and returns when all of it has arrived.
func recordMonth(ctx context.Context, client *align.Client, m *month.Month, bar progress) error {
	for _, c := range m.Conversations {
		for _, e := range c.Events {
			if err := e.Record(ctx, client); err != nil {
				return fmt.Errorf("conversation %s: %w", c.ID, err)
			}
		}
		bar.Add(1)
	}
	bar.Finish()
	return client.Flush(ctx)
}

// compareMonth prints what arrived, by what the collector counts and lists, and returns an error unless it is the month.
func compareMonth(ctx context.Context, out io.Writer, host *demoHost, stats align.Stats, m *month.Month) error {
	stored, err := host.store.Totals(ctx, demoProject)
	if err != nil {
		return err
	}
	idle, err := idleCloses(ctx, host, m.To.Add(-month.IdleTimeout))
	if err != nil {
		return err
	}
	played := m.Tally()
	if !compare(out, stats, []counts{
		{"events", played.Events, stored.Facts},
		{"users", played.Users, stored.Users},
		{"sessions", played.Sessions, stored.Conversations},
		{"messages", played.Messages, stored.Messages},
		{"thumbs", played.Up + played.Down, stored.Votes},
		{"idle closes", played.IdleCloses, idle},
	}) {
		return errDisagree
	}
	return nil
}

// idleCloses counts the conversations that ended by falling quiet, then at the latest. Others close by themselves while the
// month is played.
func idleCloses(ctx context.Context, host *demoHost, then time.Time) (n int, err error) {
	api := host.conversations()
	for token := ""; ; {
		page, err := api.SearchConversations(ctx, connect.NewRequest(&alignv1.SearchConversationsRequest{PageSize: 500, PageToken: token}))
		if err != nil {
			return 0, fmt.Errorf("searching conversations: %w", err)
		}
		for _, c := range page.Msg.Conversations {
			if c.CloseReason == string(align.CloseIdle) && !c.EndTime.AsTime().After(then) {
				n++
			}
		}
		if token = page.Msg.NextPageToken; token == "" {
			return n, nil
		}
	}
}

// liven adds a conversation now and then, as it happens, until ctx ends.
func liven(ctx context.Context, out io.Writer, client *align.Client, m *month.Month) {
	fmt.Fprintln(out, "\nNew conversations come in now and then:")
	var talking sync.WaitGroup
	defer talking.Wait()
	for wait := time.Second; ; wait = time.Duration((0.4 + 0.6*rand.ExpFloat64()) * float64(demoPause)) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		now := time.Now()
		c := m.Live(now)
		fmt.Fprintf(out, "  %s  %s\n", now.Format(time.TimeOnly), c.Summary())
		talking.Go(func() { converse(ctx, client, c) })
	}
}

// converse records a conversation as it happens, until ctx ends or the client takes no more, which it says itself.
func converse(ctx context.Context, client *align.Client, c month.Conversation) {
	for _, e := range c.Events {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(e.At)):
		}
		if e.Record(ctx, client) != nil {
			return
		}
	}
}
