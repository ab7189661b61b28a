package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// lines runs "align tail" until as many lines were printed as are wanted, and returns them. Each time it waits, poke is called.
func tailLines(t *testing.T, want int, poke func(), args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	var diagnostics bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"tail"}, args...), streams{w, &diagnostics})
		w.Close()
	}()
	go func() {
		for ctx.Err() == nil {
			poke()
			select {
			case <-time.After(20 * time.Millisecond): // only the pace: what is waited for is the output
			case <-ctx.Done():
			}
		}
	}()
	var lines []string
	for buffer := make([]byte, 64<<10); len(lines) < want; {
		n, err := r.Read(buffer)
		if err != nil {
			t.Fatalf("tail ended with %d: %s", <-ended, &diagnostics)
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(buffer[:n]), "\n"), "\n")...)
	}
	cancel()
	go io.Copy(io.Discard, r)
	if status := <-ended; status != 0 {
		t.Errorf("status %d: %s", status, &diagnostics)
	}
	return lines
}

func TestTailShowsWhatHappensUntilInterrupted(t *testing.T) {
	data := t.TempDir()
	ingest := createKey(t, data)
	read, _ := runAlign(t, "keys", "create", "--project", "shop", "--scope", "read", "--data", data)
	serve := startServe(t, data)
	defer serve.Process.Kill()
	client, err := align.New(align.Config{Host: serve.url, ProjectID: "shop", APIKey: ingest, BatchEvents: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(t.Context())
	poke := func() {
		ctx := context.Background()
		_ = client.CreateMessage(ctx, align.Message{SessionID: "conversation-1234", Index: 1, Role: align.RoleUser, Content: "Where\x1b[2J is my\norder?"})
		_ = client.CreateMessageFeedback(ctx, align.MessageFeedback{SessionID: "conversation-1234", Index: 2, Type: align.ThumbsDown, Comment: "No!"})
	}
	key := strings.TrimSpace(read)
	lines := tailLines(t, 4, poke, "--host", serve.url, "--key", key)
	if text := strings.Join(lines, "\n"); !strings.Contains(text, "ion-1234  user      Where\uFFFD[2J is my order?") || !strings.Contains(text, "down on message 2: No!") ||
		strings.Contains(text, "\x1b") {
		t.Errorf("printed %q", text)
	}
	for _, line := range tailLines(t, 3, poke, "--host", serve.url, "--key", key, "--bad", "--json") {
		var told struct{ Event struct{ Concerns []string } }
		if err := json.Unmarshal([]byte(line), &told); err != nil || len(told.Event.Concerns) == 0 {
			t.Errorf("%v in %s", err, line)
		}
	}
	var out, diagnostics bytes.Buffer
	if status := run(t.Context(), []string{"tail", "--host", serve.url, "--key", ingest}, streams{&out, &diagnostics}); status != 1 ||
		!strings.Contains(diagnostics.String(), "has no scope for this call") || strings.Contains(diagnostics.String(), ingest) {
		t.Errorf("with a key that cannot read: %d %s", status, &diagnostics)
	}
	if status := run(t.Context(), []string{"tail", "--host", "http://collector.example.com", "--key", "k"}, streams{&out, &diagnostics}); status != 1 {
		t.Errorf("a key in the clear to another machine: status %d", status)
	}
}

func TestTailLinesFitTheTerminalAndKeepTheirNotes(t *testing.T) {
	var b bytes.Buffer
	p := linePrinter{&b, 90, true}
	err := p.print(&alignv1.WatchResponse{Missed: 3, Event: &alignv1.LiveEvent{Type: "message_create", Role: "assistant", ConversationId: "0123456789abcdef",
		CreateTime: timestamppb.New(time.Unix(0, 0)), Text: strings.Repeat("漢字", 50), LatencyMs: 61_234, Concerns: []string{"not_understood", "slow"}}})
	if err != nil {
		t.Fatal(err)
	}
	missed, line, _ := strings.Cut(b.String(), "\n")
	if !strings.Contains(missed, "3 events were not shown") || !strings.HasPrefix(line, "\x1b[31m") ||
		!strings.Contains(line, "89abcdef  assistant 漢") || !strings.Contains(line, "…  [1m1.23s, not understood, slow]") {
		t.Errorf("%q", b.String())
	}
}
