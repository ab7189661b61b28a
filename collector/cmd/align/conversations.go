package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

type conversationsCommand struct {
	List   listCommand   `cmd:"" help:"List conversations, newest first."`
	Show   showCommand   `cmd:"" help:"Show a conversation with its messages."`
	Search searchCommand `cmd:"" help:"List conversations whose messages say something, with the places where they do."`
	Chat   chatCommand   `cmd:"" help:"Talk with an agent: a line is a message. Ctrl-C stops an answer, Ctrl-D ends."`
}

// filterFlags say which conversations are wanted.
type filterFlags struct {
	User      string            `help:"Only of this user." placeholder:"ID"`
	Assistant string            `help:"Only of this assistant." placeholder:"ID"`
	Source    string            `help:"Only from this source." placeholder:"S"`
	Channel   string            `help:"Only on this channel." placeholder:"C"`
	Language  string            `help:"Only in this language." placeholder:"L"`
	Status    string            `help:"Only of this status, as the app gave it." placeholder:"S"`
	Tag       string            `help:"Only with this tag." placeholder:"T"`
	Label     string            `help:"Only with this label." placeholder:"L"`
	Metadata  map[string]string `help:"Only where a custom property, or the top level of data, has this value; repeatable." placeholder:"KEY=VALUE"`
	Vote      string            `help:"Only with a vote of this kind, on the whole or on a message: up or down." enum:"up,down," default:""`
	State     string            `help:"Only open or closed ones." enum:"open,closed," default:""`
	Since     string            `help:"Only started since: a time such as 2026-03-14T12:00:00Z, a day, or how long ago, such as 24h." placeholder:"TIME"`
	Until     string            `help:"Only started before, likewise." placeholder:"TIME"`
	Reversed  bool              `help:"Oldest first."`
	Limit     int               `help:"List so many (default ${default})." default:"20" placeholder:"N"`
	Offset    int32             `help:"Leave out so many at the beginning." placeholder:"N"`
	JSON      bool              `help:"Print one JSON object a line." name:"json"`
}

// request is what the flags ask for.
func (f *filterFlags) request(now time.Time) (*alignv1.SearchConversationsRequest, error) {
	req := &alignv1.SearchConversationsRequest{
		UserId: f.User, AssistantId: f.Assistant, Source: f.Source, Channel: f.Channel, Language: f.Language, Status: f.Status, Tag: f.Tag,
		Label: f.Label, Metadata: f.Metadata, Reversed: f.Reversed, Offset: f.Offset,
		Vote:  map[string]alignv1.Vote{"up": alignv1.Vote_VOTE_UP, "down": alignv1.Vote_VOTE_DOWN}[f.Vote],
		State: map[string]alignv1.Conversation_State{"open": alignv1.Conversation_STATE_OPEN, "closed": alignv1.Conversation_STATE_CLOSED}[f.State],
	}
	if f.Limit < 1 {
		return nil, fmt.Errorf("--limit must be 1 or more")
	}
	var err error
	if req.StartFrom, err = readTime("--since", f.Since, now); err != nil {
		return nil, err
	}
	req.StartBefore, err = readTime("--until", f.Until, now)
	return req, err
}

// readTime reads a time, a day or how long ago.
func readTime(name, value string, now time.Time) (*timestamppb.Timestamp, error) {
	if value == "" {
		return nil, nil
	}
	if ago, err := time.ParseDuration(value); err == nil {
		return timestamppb.New(now.Add(-ago)), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, value); err == nil {
			return timestamppb.New(at), nil
		}
	}
	return nil, fmt.Errorf("%s must be a time such as 2026-03-14T12:00:00Z, a day such as 2026-03-14, or how long ago, such as 24h", name)
}

// list asks for as many conversations as are wanted, and whether there are more.
// What it takes more than one page for shows on w how far it has come.
func (f *filterFlags) list(ctx context.Context, w io.Writer, client alignv1connect.ConversationServiceClient, req *alignv1.SearchConversationsRequest) (found []*alignv1.Conversation, more bool, err error) {
	const page = 500
	bar := progress(noProgress{})
	defer func() { _ = bar.Finish() }()
	for {
		req.PageSize = int32(min(page, f.Limit-len(found)))
		answer, err := client.SearchConversations(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, false, plainError(err)
		}
		found = append(found, answer.Msg.GetConversations()...)
		req.PageToken, req.Offset = answer.Msg.GetNextPageToken(), 0
		if req.PageToken == "" || len(found) >= f.Limit {
			return found, req.PageToken != "", nil
		}
		if bar == (noProgress{}) {
			bar = showProgress(w, unknown, "conversations")
		}
		_ = bar.Set(len(found))
	}
}

type listCommand struct {
	remoteFlags
	filterFlags
}

// Run prints a table, or JSON lines.
func (c *listCommand) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	now := time.Now()
	req, err := c.request(now)
	if err != nil {
		return err
	}
	found, more, err := c.list(ctx, std.err, client, req)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSONLines(std.out, found)
	}
	rows := make([][]string, len(found))
	for i, conversation := range found {
		rows[i] = conversationRow(conversation)
	}
	table(std.out, conversationHeads, rows, titleColumn)
	c.sayMore(std, len(found), more)
	return nil
}

// sayMore says how to see what comes next.
func (f *filterFlags) sayMore(std streams, found int, more bool) {
	switch {
	case found == 0:
		fmt.Fprintln(std.err, "There are none.")
	case more:
		fmt.Fprintf(std.err, "There are more: --offset %d\n", int(f.Offset)+found)
	}
}

const titleColumn = 6

var conversationHeads = []string{"ID", "STARTED", "STATE", "MESSAGES", "VOTE", "USER", "TITLE"}

func conversationRow(c *alignv1.Conversation) []string {
	return []string{oneLine(c.GetId()), moment(c.GetStartTime().AsTime()), stateWord(c), fmt.Sprint(c.GetMessageCount()), orDash(voteWord(c.GetVote())),
		orDash(oneLine(c.GetUserId())), orDash(titleOf(c))}
}

// inWords says in a line what a row of the list says under its heads.
func inWords(c *alignv1.Conversation) string {
	words := []string{moment(c.GetStartTime().AsTime()), stateWord(c), fmt.Sprintf("%d messages", c.GetMessageCount())}
	if c.GetMessageCount() == 1 {
		words[2] = "1 message"
	}
	if vote := voteWord(c.GetVote()); vote != "" {
		words = append(words, "voted "+vote)
	}
	if c.GetUserId() != "" {
		words = append(words, "user "+oneLine(c.GetUserId()))
	}
	if title := titleOf(c); title != "" {
		words = append(words, title)
	}
	return strings.Join(words, ", ")
}

// titleOf is the title, and tags behind it.
func titleOf(c *alignv1.Conversation) string {
	title := oneLine(c.GetTitle())
	if tags := c.GetTags(); len(tags) > 0 {
		title = strings.TrimSpace(title + " [" + oneLine(strings.Join(tags, ", ")) + "]")
	}
	return title
}

func stateWord(c *alignv1.Conversation) string {
	if c.GetState() == alignv1.Conversation_STATE_OPEN {
		return "open"
	}
	return "closed"
}

func voteWord(v alignv1.Vote) string {
	return map[alignv1.Vote]string{alignv1.Vote_VOTE_UP: "up", alignv1.Vote_VOTE_DOWN: "down"}[v]
}

type searchCommand struct {
	remoteFlags
	Text string `arg:"" help:"Words, \"a phrase\", or the beginning of a word with * behind it."`
	filterFlags
	Ranked bool `help:"Those first that say it best, instead of the newest."`
}

// Run prints each conversation and the places in it, or JSON lines.
func (c *searchCommand) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	req, err := c.request(time.Now())
	if err != nil {
		return err
	}
	req.Text, req.Ranked = c.Text, c.Ranked
	found, more, err := c.list(ctx, std.err, client, req)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSONLines(std.out, found)
	}
	style := inkFor(std.out)
	for _, conversation := range found {
		fmt.Fprintf(std.out, "%s  %s\n", style.bold(oneLine(conversation.GetId())), style.dim(inWords(conversation)))
		for _, s := range conversation.GetSnippets() {
			var text strings.Builder
			for _, part := range s.GetParts() {
				piece := strings.NewReplacer("\n", " ", "\t", " ").Replace(printable(part.GetText()))
				if part.GetMatch() {
					piece = style.bold(piece)
				}
				text.WriteString(piece)
			}
			fmt.Fprintf(std.out, "  %d %s: %s\n", s.GetIndex(), oneLine(s.GetRole()), text.String())
		}
	}
	c.sayMore(std, len(found), more)
	return nil
}

type showCommand struct {
	remoteFlags
	ID   string `arg:"" help:"Id of the conversation."`
	JSON bool   `help:"Print one JSON object: conversation and messages." name:"json"`
}

// Run prints the conversation and all of its messages.
func (c *showCommand) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	got, err := client.GetConversation(ctx, connect.NewRequest(&alignv1.GetConversationRequest{ConversationId: c.ID}))
	if err != nil {
		return plainError(err)
	}
	conversation := got.Msg.GetConversation()
	var messages []*alignv1.Message
	for token, more := "", true; more; more = token != "" {
		page, err := client.ListMessages(ctx, connect.NewRequest(&alignv1.ListMessagesRequest{ConversationId: c.ID, PageToken: token}))
		if err != nil {
			return plainError(err)
		}
		messages, token = append(messages, page.Msg.GetMessages()...), page.Msg.GetNextPageToken()
	}
	if c.JSON {
		return printConversationJSON(std.out, conversation, messages)
	}
	printConversation(std.out, conversation)
	style := inkFor(std.out)
	for _, m := range messages {
		printMessage(std.out, style, m)
	}
	return nil
}

// printConversation prints what is known, a line each.
func printConversation(w io.Writer, c *alignv1.Conversation) {
	style := inkFor(w)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s%s\n", style.dim(fmt.Sprintf("%-10s", name)), oneLine(value))
		}
	}
	line("id", c.GetId())
	line("title", c.GetTitle())
	line("user", c.GetUserId())
	line("assistant", c.GetAssistantId())
	line("source", c.GetSource())
	line("started", moment(c.GetStartTime().AsTime()))
	state := stateWord(c)
	if c.GetEndTime() != nil {
		state = fmt.Sprintf("closed (%s), ended %s", c.GetCloseReason(), moment(c.GetEndTime().AsTime()))
	}
	line("state", state)
	line("vote", strings.TrimSpace(voteWord(c.GetVote())+" "+c.GetComment()))
	line("tags", strings.Join(c.GetTags(), ", "))
	if c.Data != nil {
		text, err := compactJSON(c.GetData())
		if err == nil {
			line("data", text)
		}
	}
	line("data", c.GetDataText())
	fmt.Fprintln(w)
}

// printMessage prints a message and, for answers, how it came about.
func printMessage(w io.Writer, style ink, m *alignv1.Message) {
	fmt.Fprintf(w, "%s %s\n", style.bold(fmt.Sprintf("%d %s", m.GetIndex(), oneLine(m.GetRole()))), style.dim(m.GetCreateTime().AsTime().UTC().Format("15:04:05")))
	if m.GetContent() != "" {
		fmt.Fprintln(w, printable(m.GetContent()))
	}
	var about []string
	add := func(format string, args ...any) { about = append(about, fmt.Sprintf(format, args...)) }
	if name := cmp.Or(m.GetAgent(), m.GetModel()); name != "" {
		add("%s", oneLine(name))
	}
	if m.Latency != nil {
		add("%v", m.GetLatency().AsDuration().Round(time.Millisecond))
	}
	if m.InputTokens != nil || m.OutputTokens != nil {
		add("%d+%d tokens", m.GetInputTokens(), m.GetOutputTokens())
	}
	if m.GetIncomplete() {
		add("incomplete")
	}
	if vote := voteWord(m.GetVote()); vote != "" {
		add("%s", strings.TrimSpace("voted "+vote+" "+oneLine(m.GetComment())))
	}
	if len(about) > 0 {
		fmt.Fprintln(w, style.dim("("+strings.Join(about, ", ")+")"))
	}
	if m.GetError() != "" {
		fmt.Fprintln(w, style.red("failed: "+oneLine(m.GetError())))
	}
	fmt.Fprintln(w)
}

// compactJSON is a message in the schema's JSON form, always the same for the same message.
func compactJSON(m proto.Message) (string, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = json.Compact(&b, text)
	return b.String(), err
}

func printJSONLines[M proto.Message](w io.Writer, list []M) error {
	for _, m := range list {
		line, err := compactJSON(m)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func printConversationJSON(w io.Writer, c *alignv1.Conversation, messages []*alignv1.Message) error {
	whole := struct {
		Conversation json.RawMessage   `json:"conversation"`
		Messages     []json.RawMessage `json:"messages"`
	}{Messages: []json.RawMessage{}}
	text, err := compactJSON(c)
	if err != nil {
		return err
	}
	whole.Conversation = json.RawMessage(text)
	for _, m := range messages {
		if text, err = compactJSON(m); err != nil {
			return err
		}
		whole.Messages = append(whole.Messages, json.RawMessage(text))
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(whole)
}
