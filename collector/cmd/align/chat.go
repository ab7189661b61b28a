package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"connectrpc.com/connect"
	"golang.org/x/term"

	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// maxLine bounds a message that is typed.
const maxLine = 256 << 10

type chatCommand struct {
	remoteFlags
	ID     string `arg:"" optional:"" help:"Id of the conversation to go on with; a new one where it is missing."`
	Agent  string `help:"Agent that answers, as the collector's configuration names it (default ${default})." default:"echo" placeholder:"NAME"`
	User   string `help:"User of a new conversation." placeholder:"ID"`
	Source string `help:"Source of a new conversation (default ${default})." default:"cli" placeholder:"S"`
	JSON   bool   `help:"Print each answer as one JSON object a line." name:"json"`

	in io.Reader // nil is standard input
}

// Run reads messages and prints answers until there are no more messages.
func (c *chatCommand) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	// The first Ctrl-C ends the program's context. Here it only stops an answer, so the chat has its own.
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	defer signal.Stop(terminate)

	if c.ID == "" {
		made, err := client.CreateConversation(ctx, connect.NewRequest(&alignv1.CreateConversationRequest{UserId: c.User, Source: c.Source}))
		if err != nil {
			return plainError(err)
		}
		c.ID = made.Msg.GetConversation().GetId()
	} else if _, err := client.GetConversation(ctx, connect.NewRequest(&alignv1.GetConversationRequest{ConversationId: c.ID})); err != nil {
		return plainError(err)
	}
	fmt.Fprintf(std.err, "Conversation %s, agent %s\n", oneLine(c.ID), oneLine(c.Agent))
	p := &prompt{command: c, client: client, std: std, style: inkFor(std.out), lines: c.lines(ctx)}
	f, ok := c.input().(*os.File)
	p.interactive = ok && term.IsTerminal(int(f.Fd()))
	return p.run(ctx, interrupts, terminate)
}

func (c *chatCommand) input() io.Reader { return cmp.Or[io.Reader](c.in, os.Stdin) }

// line is what was typed, or why there is no more.
type line struct {
	text string
	err  error // io.EOF at the end
}

// lines reads them, in a goroutine of its own: a read cannot be interrupted.
func (c *chatCommand) lines(ctx context.Context) <-chan line {
	lines := make(chan line)
	go func() {
		scanner := bufio.NewScanner(c.input())
		scanner.Buffer(nil, maxLine)
		for {
			next := line{}
			if scanner.Scan() {
				next.text = scanner.Text()
			} else {
				next.err = cmp.Or(scanner.Err(), io.EOF)
			}
			select {
			case lines <- next:
			case <-ctx.Done():
				return
			}
			if next.err != nil {
				return
			}
		}
	}()
	return lines
}

// prompt is a chat with whoever types.
type prompt struct {
	command     *chatCommand
	client      alignv1connect.ConversationServiceClient
	std         streams
	style       ink
	lines       <-chan line
	interactive bool
}

func (p *prompt) run(ctx context.Context, interrupts, terminate <-chan os.Signal) error {
	for {
		if p.interactive {
			fmt.Fprint(p.std.out, p.style.bold("you> "))
		}
		select {
		case <-terminate:
			return nil
		case <-interrupts:
			if !p.interactive {
				return nil
			}
			fmt.Fprintln(p.std.err, "\nCtrl-D ends")
		case next := <-p.lines:
			switch {
			case errors.Is(next.err, io.EOF):
				if p.interactive {
					fmt.Fprintln(p.std.out)
				}
				return nil
			case errors.Is(next.err, bufio.ErrTooLong):
				return fmt.Errorf("a message can have %d bytes", maxLine)
			case next.err != nil:
				return next.err
			case strings.TrimSpace(next.text) == "":
				continue
			}
			err := p.answer(ctx, next.text, interrupts, terminate)
			switch {
			case errors.Is(err, errStopped) && p.interactive:
				fmt.Fprintln(p.std.err, "\nstopped")
			case errors.Is(err, errTerminated):
				return nil
			case err != nil && !p.interactive:
				return err
			case err != nil:
				fmt.Fprintln(p.std.err, p.style.red(err.Error()))
			}
		}
	}
}

var (
	errStopped    = errors.New("the answer was stopped")
	errTerminated = errors.New("the program is to end")
)

// answer sends a message and prints what comes back.
func (p *prompt) answer(ctx context.Context, text string, interrupts, terminate <-chan os.Signal) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	defer func() {
		cancel(nil)
		<-watched
	}()
	go func() {
		defer close(watched)
		select {
		case <-interrupts:
			cancel(errStopped)
		case <-terminate:
			cancel(errTerminated)
		case <-ctx.Done():
		}
	}()
	stream, err := p.client.ChatStream(ctx, connect.NewRequest(&alignv1.ChatRequest{
		ConversationId: p.command.ID, Agent: p.command.Agent, Messages: []*alignv1.UserMessage{{Content: text}}}))
	if err != nil {
		return cmp.Or(cause(ctx), plainError(err))
	}
	defer stream.Close()
	said := false
	for stream.Receive() {
		switch event := stream.Msg().GetEvent().(type) {
		case *alignv1.ChatStreamResponse_Delta:
			if !p.command.JSON {
				fmt.Fprint(p.std.out, printable(event.Delta))
				said = true
			}
		case *alignv1.ChatStreamResponse_Done:
			if p.command.JSON {
				if err := printJSONLines(p.std.out, event.Done.GetMessages()); err != nil {
					return err
				}
			}
		}
	}
	if said {
		fmt.Fprintln(p.std.out)
	}
	if err := stream.Err(); err != nil {
		return cmp.Or(cause(ctx), plainError(err))
	}
	return nil
}

// cause is why whoever types ended ctx; nil where nobody did.
func cause(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, errStopped) || errors.Is(err, errTerminated) {
		return err
	}
	return nil
}
