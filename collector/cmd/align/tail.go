package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"connectrpc.com/connect"
	"github.com/rivo/uniseg"
	"golang.org/x/term"
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
	httpClient, base, option := c.connect()
	client := alignv1connect.NewLiveServiceClient(httpClient, base, option)
	show := c.printer(std.out)
	for watched := false; ; {
		err := c.watch(ctx, client, show, &watched)
		switch {
		case ctx.Err() != nil:
			return nil
		case !watched || connect.CodeOf(err) != connect.CodeUnavailable && connect.CodeOf(err) != connect.CodeUnknown:
			return tailError(err)
		}
		fmt.Fprintf(std.err, "the stream broke; watching again in %s\n", againAfter)
		select {
		case <-time.After(againAfter):
		case <-ctx.Done():
			return nil
		}
	}
}

// tailError says what went wrong in the collector's words.
func tailError(err error) error {
	if told := new(connect.Error); errors.As(err, &told) {
		return fmt.Errorf("%s: %s", told.Code(), told.Message())
	}
	return err
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
	p := linePrinter{w: w, width: 0, colour: false}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.colour = os.Getenv("NO_COLOR") == ""
		if width, _, err := term.GetSize(int(file.Fd())); err == nil {
			p.width = width
		}
	}
	return p.print
}

// linePrinter prints events a line each. A width of 0 cuts nothing.
type linePrinter struct {
	w      io.Writer
	width  int
	colour bool
}

const (
	red, green, yellow, faint, plain = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
	shownIDs                         = 8 // characters of a conversation's id, from its end: ids made in order begin alike
)

func (p linePrinter) print(told *alignv1.WatchResponse) error {
	if told.GetMissed() > 0 {
		fmt.Fprintln(p.w, p.paint(yellow, fmt.Sprintf("… %d events were not shown: there are more than can be printed", told.GetMissed())))
	}
	e := told.GetEvent()
	if e == nil {
		return nil
	}
	what, text, colour := describe(e)
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
		colour = red
	}
	note := ""
	if len(notes) > 0 {
		note = "  [" + strings.Join(notes, ", ") + "]"
	}
	if p.width > 0 {
		line = fit(line, p.width-1-uniseg.StringWidth(note))
	}
	_, err := fmt.Fprintln(p.w, p.paint(colour, line+note))
	return err
}

func (p linePrinter) paint(colour, text string) string {
	if !p.colour || colour == "" {
		return text
	}
	return colour + text + plain
}

// describe says in a word what happened, and what is worth reading of it.
func describe(e *alignv1.LiveEvent) (what, text, colour string) {
	switch e.GetType() {
	case collector.TypeMessageCreate:
		text = e.GetText()
		if e.GetError() != "" {
			text = strings.TrimSpace(text + " (" + e.GetError() + ")")
		}
		return e.GetRole(), text, ""
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
		return "thumb", vote + " on " + on, green
	case collector.TypeSessionOpen:
		return "opened", e.GetUserId(), faint
	case collector.TypeSessionClose:
		return "closed", e.GetCloseReason(), faint
	case collector.TypeUserRecognize:
		return "user", e.GetUserId(), faint
	}
	return "updated", "", faint
}

// oneLine makes a text safe for a terminal: what could move the cursor, or turn the direction of what follows, is a space.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}

// fit cuts a line to a number of columns.
func fit(line string, columns int) string {
	if uniseg.StringWidth(line) <= columns {
		return line
	}
	var b strings.Builder
	used := 1 // the ellipsis
	for g := uniseg.NewGraphemes(line); g.Next(); {
		if used += g.Width(); used > columns {
			break
		}
		b.WriteString(g.Str())
	}
	return b.String() + "…"
}
