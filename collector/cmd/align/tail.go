package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/rivo/uniseg"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

type tailCommand struct {
	remoteFlags
	Bad          bool   `help:"Only what somebody should look at: thumbs down, errors, answers that did not understand, rephrased questions, slow answers."`
	Conversation string `help:"Only this conversation." placeholder:"ID"`
	JSON         bool   `help:"One JSON object a line, for programs." name:"json"`
}

// againAfter is how long tail waits before it watches again after a stream broke.
const againAfter = 2 * time.Second

// Run shows what happens until ctx ends. A collector that restarts is watched again; one that refuses is an error.
func (c *tailCommand) Run(ctx context.Context, std streams) error {
	client, err := c.live()
	if err != nil {
		return err
	}
	show := c.printer(std.out)
	for watched := false; ; {
		err := c.watch(ctx, client, show, &watched)
		switch {
		case ctx.Err() != nil:
			return nil
		case !watched || connect.CodeOf(err) != connect.CodeUnavailable && connect.CodeOf(err) != connect.CodeUnknown:
			return plainError(err)
		}
		fmt.Fprintf(std.err, "the stream broke; watching again in %s\n", againAfter)
		select {
		case <-time.After(againAfter):
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *tailCommand) watch(ctx context.Context, client alignv1connect.LiveServiceClient, show func(*alignv1.WatchResponse) error, watched *bool) error {
	stream, err := client.Watch(ctx, connect.NewRequest(&alignv1.WatchRequest{OnlyBad: c.Bad, ConversationId: c.Conversation}))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		*watched = true
		if err := show(stream.Msg()); err != nil {
			return err
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, errors.New("the stream ended"))
}

// printer returns what prints events: for people, or for programs.
func (c *tailCommand) printer(w io.Writer) func(*alignv1.WatchResponse) error {
	if c.JSON {
		return func(told *alignv1.WatchResponse) error {
			if told.GetEvent() == nil {
				return nil
			}
			line, err := protojson.Marshal(told)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(w, "%s\n", line)
			return err
		}
	}
	return linePrinter{w, terminalWidth(w), inkFor(w)}.print
}

// linePrinter prints events a line each. A width of 0 cuts nothing.
type linePrinter struct {
	w     io.Writer
	width int
	ink   ink
}

// shownIDs is how many characters of a conversation's id are shown, from its end: ids made in order begin alike.
const shownIDs = 8

func (p linePrinter) print(told *alignv1.WatchResponse) error {
	if told.GetMissed() > 0 {
		fmt.Fprintln(p.w, p.ink.bold(fmt.Sprintf("… %d events were not shown: there are more than can be printed", told.GetMissed())))
	}
	e := told.GetEvent()
	if e == nil {
		return nil
	}
	what, text, paint := p.describe(e)
	id := e.GetConversationId()
	if len(id) > shownIDs {
		id = id[len(id)-shownIDs:]
	}
	line := fmt.Sprintf("%s  %-*s  %-9s %s", e.GetCreateTime().AsTime().Local().Format(time.TimeOnly), shownIDs, oneLine(id), what, oneLine(text))
	var notes []string
	if e.GetLatencyMs() > 0 {
		notes = append(notes, (time.Duration(e.GetLatencyMs()) * time.Millisecond).Round(10*time.Millisecond).String())
	}
	for _, concern := range e.GetConcerns() {
		notes = append(notes, strings.ReplaceAll(concern, "_", " "))
	}
	if len(e.GetConcerns()) > 0 {
		paint = p.ink.red
	}
	note := ""
	if len(notes) > 0 {
		note = "  [" + strings.Join(notes, ", ") + "]"
	}
	if p.width > 0 {
		line = fit(line, p.width-1-uniseg.StringWidth(note))
	}
	_, err := fmt.Fprintln(p.w, paint(line+note))
	return err
}

// describe says in a word what happened, what is worth reading of it, and how it looks.
func (p linePrinter) describe(e *alignv1.LiveEvent) (what, text string, paint func(string) string) {
	switch e.GetType() {
	case collector.TypeMessageCreate:
		text = e.GetText()
		if e.GetError() != "" {
			text = strings.TrimSpace(text + " (" + e.GetError() + ")")
		}
		return e.GetRole(), text, func(line string) string { return line }
	case collector.TypeFeedbackCreate:
		on := "session"
		if e.GetIndex() > 0 {
			on = fmt.Sprintf("message %d", e.GetIndex())
		}
		vote := map[alignv1.Vote]string{alignv1.Vote_VOTE_UP: "up", alignv1.Vote_VOTE_DOWN: "down"}[e.GetVote()]
		if vote == "" {
			vote = "taken back"
		}
		if e.GetText() != "" {
			on += ": " + e.GetText()
		}
		return "thumb", vote + " on " + on, p.ink.bold
	case collector.TypeSessionOpen:
		return "opened", e.GetUserId(), p.ink.dim
	case collector.TypeSessionClose:
		return "closed", e.GetCloseReason(), p.ink.dim
	case collector.TypeUserRecognize:
		return "user", e.GetUserId(), p.ink.dim
	}
	return "updated", "", p.ink.dim
}
