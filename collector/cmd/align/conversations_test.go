package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/rivo/uniseg"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/openaitest"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// chatting is a collector that serves, with agents, and a key that may chat.
type chatting struct {
	*alignProcess
	agent *openaitest.Server
	key   string
	data  string
	flags []string // of commands that ask it
}

// startChatting starts one with agents named after their models, "support" among them.
func startChatting(t testing.TB, args []string, models ...string) *chatting {
	t.Helper()
	c := &chatting{agent: openaitest.New(t)}
	var config strings.Builder
	for _, model := range append(models, "support") {
		fmt.Fprintf(&config, "[agents.%s]\nbase_url = %q\nmodel = %q\n", model, c.agent.BaseURL(), model)
	}
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "align.toml")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	c.data = data
	c.alignProcess = startServe(t, data, append([]string{"--config", file}, args...)...)
	out, err := alignCommand(t, "keys", "create", "--project", "shop", "--scope", "chat", "--data", data).Output()
	if err != nil {
		t.Fatal(err)
	}
	c.key = strings.TrimSpace(string(out))
	c.flags = []string{"--host", c.url, "--key", c.key}
	return c
}

// run runs a command of conversations.
func (c *chatting) run(t *testing.T, args ...string) (out, diagnostics string) {
	t.Helper()
	return runAlign(t, append(append([]string{"conversations"}, args...), c.flags...)...)
}

// say chats with lines of text, as a program would.
func (c *chatting) say(t *testing.T, lines string, args ...string) (out, diagnostics string, err error) {
	t.Helper()
	cmd := alignCommand(t, append(append([]string{"conversations", "chat"}, args...), c.flags...)...)
	var o, d bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(lines), &o, &d
	err = cmd.Run()
	return o.String(), d.String(), err
}

func TestConversationsCommandsTalkListShowAndSearch(t *testing.T) {
	c := startChatting(t, nil)
	out, diagnostics, err := c.say(t, "where is my order?\n\nthanks 안녕\n", "--agent", "support", "--user", "u1")
	if err != nil || out != "You said: where is my order?\nYou said: thanks 안녕\n" {
		t.Fatalf("%q, %q, %v", out, diagnostics, err)
	}
	id := strings.TrimSuffix(strings.Fields(diagnostics)[1], ",")
	if len(id) != 32 {
		t.Fatalf("said %q", diagnostics)
	}
	out, _ = c.run(t, "list", "--user", "u1")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "ID ") || !strings.HasPrefix(lines[1], id+"  ") || strings.Contains(out, "\x1b") {
		t.Errorf("list:\n%s", out)
	}
	if out, diagnostics := c.run(t, "list", "--user", "nobody"); strings.Count(out, "\n") != 1 || !strings.Contains(diagnostics, "none") {
		t.Errorf("list of nobody:\n%s%s", out, diagnostics)
	}
	out, _ = c.run(t, "list", "--json")
	var listed struct{ ID, Source, State string }
	if err := json.Unmarshal([]byte(out), &listed); err != nil || listed.ID != id || listed.Source != "cli" || listed.State != "STATE_OPEN" {
		t.Errorf("list --json: %s (%v)", out, err)
	}
	out, _ = c.run(t, "show", id)
	for _, want := range []string{id, "u1", "1 user", "where is my order?", "4 assistant", "You said: thanks 안녕", "support", "11+5 tokens"} {
		if !strings.Contains(out, want) {
			t.Errorf("show lacks %q:\n%s", want, out)
		}
	}
	out, _ = c.run(t, "show", id, "--json")
	var shown struct {
		Conversation struct{ ID string }
		Messages     []struct{ Role, Content string }
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Conversation.ID != id || len(shown.Messages) != 4 || shown.Messages[3].Content != "You said: thanks 안녕" {
		t.Errorf("show --json: %s (%v)", out, err)
	}
	for out = ""; !strings.Contains(out, id); { // what is searched is filled behind what is stored
		out, _ = c.run(t, "search", "order")
	}
	if !strings.Contains(out, "1 user: where is my order?") || !strings.Contains(out, ", open, 4 messages, user u1\n") {
		t.Errorf("search:\n%s", out)
	}
	out, _, err = c.say(t, "more\n", id, "--json")
	var answer struct{ Content, Agent string }
	if jsonErr := json.Unmarshal([]byte(out), &answer); jsonErr != nil || err != nil || answer.Content != "more" || answer.Agent != "echo" {
		t.Errorf("chat --json: %s (%v, %v)", out, jsonErr, err)
	}
	out, _ = c.run(t, "list", "--limit", "1", "--metadata", "a=b")
	if strings.Contains(out, id) {
		t.Errorf("list by metadata:\n%s", out)
	}
}

func TestConversationsCommandsSayWhatIsWrong(t *testing.T) {
	c := startChatting(t, nil, openaitest.Limited)
	for line, want := range map[string]string{
		"show nowhere":                      "no such conversation",
		"chat nowhere":                      "no such conversation",
		"list --since yesterday":            "--since must be a time",
		"list --limit 0":                    "--limit must be 1 or more",
		"list --offset=-1":                  "offset is -1",
		"list --vote sideways":              "--vote",
		"list --host http://shop.example":   "plain http to another machine",
		"list --host localhost":             "--host must be an http or https URL",
		"list --key align_read_nonsense":    "not known here",
		"search --ranked --state ajar word": "--state",
	} {
		var out, diagnostics bytes.Buffer
		args := append([]string{"conversations", strings.Fields(line)[0]}, c.flags...)
		if status := run(t.Context(), append(args, strings.Fields(line)[1:]...), streams{&out, &diagnostics}); status == 0 || !strings.Contains(diagnostics.String(), want) {
			t.Errorf("%s: status %d, %s, want it to say %q", line, status, &diagnostics, want)
		}
		if strings.Contains(diagnostics.String(), c.key) {
			t.Errorf("%s: the key is repeated", line)
		}
	}
	_, diagnostics, err := c.say(t, "hello\nagain\n", "--agent", openaitest.Limited)
	if err == nil || !strings.Contains(diagnostics, "refused: status 429") || !strings.Contains(diagnostics, "come again in 7 s") || len(c.agent.Requests()) != 1 {
		t.Errorf("%q, %v", diagnostics, err)
	}
}

// A pipe is no person: Ctrl-C ends the program, and the run that it stopped is recorded.
func TestInterruptStopsTheAnswer(t *testing.T) {
	c := startChatting(t, nil, openaitest.Stall)
	in, out := io.Pipe()
	defer out.Close()
	cmd := alignCommand(t, append([]string{"conversations", "chat", "--agent", openaitest.Stall}, c.flags...)...)
	var said, diagnostics bytes.Buffer
	cmd.Stdin, cmd.Stderr = in, &diagnostics
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(out, "hello")
	begun := make([]byte, len("It is "))
	if _, err := io.ReadFull(stdout, begun); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if _, err := said.ReadFrom(stdout); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // with status 1, as the next lines check by what it says
	if !strings.Contains(diagnostics.String(), "stopped") || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("status %d: %s", cmd.ProcessState.ExitCode(), &diagnostics)
	}
	id := strings.TrimSuffix(strings.Fields(diagnostics.String())[1], ",")
	var shown string
	for !strings.Contains(shown, "canceled") { // it is recorded when the collector notices
		shown, _ = c.run(t, "show", id)
	}
	if !strings.Contains(shown, "It is ") || !strings.Contains(shown, "incomplete") {
		t.Errorf("recorded:\n%s", shown)
	}
}

// A person goes on after Ctrl-C, and ends with Ctrl-D.
func TestInterruptAtAPromptStopsAnAnswerAndNotTheChat(t *testing.T) {
	c := startChatting(t, nil, openaitest.Stall)
	remote := remoteFlags{Host: c.url, Key: c.key}
	client, err := remote.client()
	if err != nil {
		t.Fatal(err)
	}
	made, err := client.CreateConversation(t.Context(), connect.NewRequest(&alignv1.CreateConversationRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	interrupts, terminate, lines := make(chan os.Signal), make(chan os.Signal), make(chan line)
	var out, diagnostics bytes.Buffer
	command := &chatCommand{ID: made.Msg.GetConversation().GetId(), Agent: openaitest.Stall}
	p := &prompt{command: command, client: client, std: streams{&out, &diagnostics}, lines: lines, interactive: true}
	ended := make(chan error)
	go func() { ended <- p.run(t.Context(), interrupts, terminate) }()
	interrupts <- os.Interrupt
	lines <- line{text: "hello"}
	c.agent.Wait(t, 1)
	interrupts <- os.Interrupt // taken by the answer: the prompt is not there
	lines <- line{err: io.EOF}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := diagnostics.String(); got != "\nCtrl-D ends\n\nstopped\n" || strings.Count(out.String(), "you> ") != 3 {
		t.Errorf("%q, %q", &out, got)
	}
	go func() { ended <- p.run(t.Context(), interrupts, terminate) }()
	terminate <- syscall.SIGTERM
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What others wrote must not do anything to a terminal, or to the rows of a table.
func TestTextOfOthersIsShownAndNotObeyed(t *testing.T) {
	c := startChatting(t, nil)
	remote := remoteFlags{Host: c.url, Key: c.key}
	client, err := remote.client()
	if err != nil {
		t.Fatal(err)
	}
	const evil = "red \x1b[31m bell \a title \x1b]0;x\x07 c1 \u009b0m over \u202eevil\nline"
	data, err := structpb.NewStruct(map[string]any{"evil": evil})
	if err != nil {
		t.Fatal(err)
	}
	made, err := client.CreateConversation(t.Context(), connect.NewRequest(&alignv1.CreateConversationRequest{Title: evil, UserId: "u\x1b[2J", Data: data}))
	if err != nil {
		t.Fatal(err)
	}
	id := made.Msg.GetConversation().GetId()
	said, _, err := c.say(t, strings.ReplaceAll(evil, "\n", " "), id)
	if err != nil {
		t.Fatal(err)
	}
	list, _ := c.run(t, "list")
	show, _ := c.run(t, "show", id)
	for name, text := range map[string]string{"chat": said, "list": list, "show": show} {
		if strings.ContainsAny(text, "\x1b\a\u009b\u202e") || !strings.Contains(text, "red \uFFFD[31m") {
			t.Errorf("%s: %q", name, text)
		}
	}
	if strings.Count(list, "\n") != 2 {
		t.Errorf("the list has another row:\n%s", list)
	}
}

func TestTableIsCutByTheWidthOfItsText(t *testing.T) {
	long := strings.Repeat("안녕하세요 👩‍👩‍👧 ", 20)
	var b bytes.Buffer
	table(&b, []string{"ID", "TITLE", "N"}, [][]string{{"a", "short", "1"}, {"bbb", long, "2"}}, 1)
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	var ends []int
	for _, l := range lines {
		ends = append(ends, uniseg.StringWidth(l))
	}
	if want := 3 + 2 + 60 + 2 + 1; !slices.Equal(ends, []int{want, want, want}) {
		t.Errorf("widths %v:\n%s", ends, &b)
	}
	if !strings.Contains(lines[2], "…") || !strings.HasPrefix(lines[2], "bbb  안녕") {
		t.Errorf("cut: %s", lines[2])
	}
	for _, columns := range []int{1, 2, 3, 10, 11} {
		if w := uniseg.StringWidth(fit(long, columns)); w > columns {
			t.Errorf("fit to %d is %d wide", columns, w)
		}
	}
}

func TestTimesOfFlags(t *testing.T) {
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Time{
		"24h": now.Add(-24 * time.Hour), "2026-03-01": time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), "2026-03-01T10:00:00Z": time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
	} {
		if got, err := readTime("--since", value, now); err != nil || !got.AsTime().Equal(want) {
			t.Errorf("%s: %v, %v", value, got, err)
		}
	}
}

// A collector that stops does not wait for an agent for ever, and records what became of it.
func TestChatThatAShutdownCutsOffIsRecorded(t *testing.T) {
	c := startChatting(t, []string{"--shutdown", "50ms"}, openaitest.Stall)
	client, err := (&remoteFlags{Host: c.url, Key: c.key}).client()
	if err != nil {
		t.Fatal(err)
	}
	made, err := client.CreateConversation(t.Context(), connect.NewRequest(&alignv1.CreateConversationRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	id := made.Msg.GetConversation().GetId()
	stream, err := client.ChatStream(t.Context(), connect.NewRequest(&alignv1.ChatRequest{ConversationId: id, Agent: openaitest.Stall,
		Messages: []*alignv1.UserMessage{{Content: "hello"}}}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for stream.Receive() && stream.Msg().GetDelta() == "" { // until the answer has begun
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for stream.Receive() { // until it is cut off
	}
	_ = c.Wait() // with an error, as a request did not finish
	store, err := dataFlag{Data: c.data}.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	messages, _, err := store.Messages(t.Context(), "shop", id, collector.Page{})
	if err != nil || len(messages) != 2 || messages[1].Content != "It is " || !strings.HasPrefix(messages[1].Detail.Error, "canceled") || !messages[1].Detail.Incomplete {
		t.Errorf("%+v, %v\n%s", messages, err, c.stderr)
	}
}
