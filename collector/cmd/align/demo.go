package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/openalign/align"
)

type demoCommand struct {
	Once          bool   `help:"Exit when everything has arrived: with status 0 if the numbers agree, else 1."`
	File          string `help:"JSON-lines file of dialogues to play, gzipped or not, instead of a month." type:"existingfile" placeholder:"F"`
	Conversations int    `help:"How many conversations the month has (default ${default})." default:"3000" placeholder:"N"`
	Seed          uint64 `help:"Another number makes up another month (default ${default})." default:"1" placeholder:"N"`
	Quiet         bool   `help:"Add no conversations once the month is played."`
	Data          string `help:"Folder to keep the data in (default: a temporary one, removed in the end)." type:"path" placeholder:"DIR"`

	Idle   time.Duration `help:"A conversation on the chat page in which nobody says anything for this long is closed (default ${default})." default:"30s" placeholder:"DURATION"`
	Config string        `help:"TOML file that names agents to chat with; see README (default: only the agent echo)." type:"path" placeholder:"FILE"`
}

const (
	demoProject = "demo"
	// demoIdleTimeout stands for the thirty minutes of real life.
	demoIdleTimeout = 2 * time.Second
	demoPlayers     = 8
)

// Validate refuses a month that is none.
func (c *demoCommand) Validate() error {
	if c.Conversations < 1 {
		return errors.New("--conversations must be at least 1")
	}
	if c.Idle < time.Second {
		return errors.New("--idle must be at least 1s")
	}
	return nil
}

// Run plays conversations through the SDK into a collector of its own and shows what arrived: a few of them once, those of
// a file, or a month.
func (c *demoCommand) Run(ctx context.Context, std streams) (err error) {
	play := c.playMonth
	if c.Once || c.File != "" {
		dialogues, err := readDialogues(c.File)
		if err != nil {
			return err
		}
		play = func(ctx context.Context, std streams, host *demoHost, _ *slog.Logger) error {
			return c.playScript(ctx, std, host, dialogues)
		}
	}
	ctx, stop := untilGone(ctx)
	defer stop()
	log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	host, err := c.startHost(ctx, log)
	if err != nil {
		return err
	}
	err = play(ctx, std, host, log)
	if !c.Once && ctx.Err() != nil {
		err = nil // Ctrl-C is how it ends, also when that comes early
	}
	return errors.Join(err, host.close())
}

// untilGone ends ctx also when the terminal goes, or whoever reads what is printed: a demo that nobody can end any more, or that
// talks to nobody, leaves nothing behind either. Started with nohup it goes on.
func untilGone(ctx context.Context) (context.Context, context.CancelFunc) {
	ends := []os.Signal{syscall.SIGPIPE}
	if !signal.Ignored(syscall.SIGHUP) {
		ends = append(ends, syscall.SIGHUP)
	}
	return signal.NotifyContext(ctx, ends...)
}

// playScript plays dialogues, compares what arrived word by word, and without Once serves it until ctx ends.
func (c *demoCommand) playScript(ctx context.Context, std streams, host *demoHost, dialogues []dialogue) error {
	messages := 0
	for _, d := range dialogues {
		messages += len(d.Turns)
	}
	fmt.Fprintf(std.out, "Playing %s through the SDK into a collector at %s\n", counted(len(dialogues), "conversation"), host.url)
	played, stats, err := playDialogues(ctx, host, dialogues, newProgress(std.err, messages, "messages", noProgress{}))
	if err != nil {
		return err
	}
	found, err := readBack(ctx, host.conversations(), dialogues)
	if err != nil {
		return err
	}
	if !report(std.out, stats, played, found) {
		return errDisagree
	}
	if c.Once {
		return nil
	}
	host.lookAround(std.out, dialogues[0].ID)
	<-ctx.Done()
	return nil
}

var errDisagree = errors.New("the numbers do not agree")

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
