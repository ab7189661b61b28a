package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/internal/openaitest"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// mostChatMemory is what chatsAtOnce chats may take while they are under way.
const (
	mostChatMemory = 100 << 20
	chatsAtOnce    = 200
)

// All chats are in the middle of an answer at once, each with 64 KiB of history.
func TestManyChatsAtOnceTakeLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("what it measures, or how long it takes, needs no -short")
	}
	chats := chatsAtOnce
	if raceEnabled {
		chats /= 10
	}
	c := startChatting(t, nil)
	before := c.goMemory(t)
	var all sync.WaitGroup
	all.Add(chats)
	c.agent.Answer = func(openaitest.Request) string {
		all.Done()
		all.Wait()
		return strings.Repeat(strings.Repeat("x", 127)+" ", 256) // 32 KiB in 256 pieces
	}
	each(t, c, chats, func(ctx context.Context, client alignv1connect.ConversationServiceClient, id string) error {
		_, err := client.Chat(ctx, connect.NewRequest(&alignv1.ChatRequest{ConversationId: id, Agent: "echo",
			Messages: []*alignv1.UserMessage{{Content: strings.Repeat("y", 32<<10)}}}))
		if err != nil {
			return err
		}
		answer, err := client.Chat(ctx, connect.NewRequest(&alignv1.ChatRequest{ConversationId: id, Agent: "support", Messages: []*alignv1.UserMessage{{Content: "go on"}}}))
		if err == nil && (answer.Msg.GetHistoryCount() != 2 || len(answer.Msg.GetMessages()[0].GetContent()) != 32<<10) {
			err = fmt.Errorf("%d of history, %d bytes", answer.Msg.GetHistoryCount(), len(answer.Msg.GetMessages()[0].GetContent()))
		}
		return err
	})
	checkChatMemory(t, c, before)
}

// All agents answer with 10 MB at once, whole or in pieces.
func TestHugeAnswersAtOnceTakeLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("what it measures, or how long it takes, needs no -short")
	}
	for _, model := range []string{openaitest.Huge, openaitest.HugeFlood, openaitest.HugeEvent} {
		t.Run(model, func(t *testing.T) {
			chats := chatsAtOnce
			if raceEnabled {
				chats /= 20
			}
			c := startChatting(t, nil, model)
			before := c.goMemory(t)
			each(t, c, chats, func(ctx context.Context, client alignv1connect.ConversationServiceClient, id string) error {
				_, err := client.Chat(ctx, connect.NewRequest(&alignv1.ChatRequest{ConversationId: id, Agent: model, Messages: []*alignv1.UserMessage{{Content: "hi"}}}))
				if err == nil || !strings.Contains(err.Error(), "too_large") {
					return fmt.Errorf("%v, want too_large", err)
				}
				return nil
			})
			checkChatMemory(t, c, before)
		})
	}
}

// each does something in so many new conversations at once.
func each(t *testing.T, c *chatting, n int, do func(ctx context.Context, client alignv1connect.ConversationServiceClient, id string) error) {
	t.Helper()
	client, err := (&remoteFlags{Host: c.url, Key: c.key}).client()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			made, err := client.CreateConversation(t.Context(), connect.NewRequest(&alignv1.CreateConversationRequest{}))
			if err == nil {
				err = do(t.Context(), client, made.Msg.GetConversation().GetId())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// goMemory returns how much memory the program's runtime has from the system, of which it gives nothing back in so short a
// time. The caches of SQLite, which are bounded by themselves, and filled by whatever is stored, are not in it.
func (c *chatting) goMemory(t *testing.T) int {
	t.Helper()
	resp, err := http.Get(c.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "go_memstats_sys_bytes "); ok {
			bytes, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(bytes)
		}
	}
	t.Fatal("no go_memstats_sys_bytes")
	panic("unreachable")
}

// checkChatMemory holds what chats took against the bar.
func checkChatMemory(t *testing.T, c *chatting, before int) {
	t.Helper()
	took := c.goMemory(t) - before
	t.Logf("chats took %d MiB beside %d MiB; with SQLite's caches the process had %d MiB at most", took>>20, before>>20, peakMemory(t, c.Process.Pid)>>20)
	if took > mostChatMemory && !raceEnabled {
		t.Errorf("chats took %d MiB, want %d at most", took>>20, mostChatMemory>>20)
	}
}
