package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/internal/openaitest"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// mostChatMemory is what the program may have held at its worst while chatsAtOnce chats were under way.
const (
	mostChatMemory = 100 << 20
	chatsAtOnce    = 200
)

// All chats are in the middle of an answer at once, each with 64 KiB of history.
func TestManyChatsAtOnceTakeLittleMemory(t *testing.T) {
	chats := chatsAtOnce
	if raceEnabled {
		chats /= 10
	}
	c := startChatting(t)
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
	checkChatMemory(t, c)
}

// All agents answer with 10 MB at once, whole or in pieces.
func TestHugeAnswersAtOnceTakeLittleMemory(t *testing.T) {
	for _, model := range []string{openaitest.Huge, openaitest.HugeFlood, openaitest.HugeEvent} {
		t.Run(model, func(t *testing.T) {
			chats := chatsAtOnce
			if raceEnabled {
				chats /= 20
			}
			c := startChatting(t, model)
			each(t, c, chats, func(ctx context.Context, client alignv1connect.ConversationServiceClient, id string) error {
				_, err := client.Chat(ctx, connect.NewRequest(&alignv1.ChatRequest{ConversationId: id, Agent: model, Messages: []*alignv1.UserMessage{{Content: "hi"}}}))
				if err == nil || !strings.Contains(err.Error(), "too_large") {
					return fmt.Errorf("%v, want too_large", err)
				}
				return nil
			})
			checkChatMemory(t, c)
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

func checkChatMemory(t *testing.T, c *chatting) {
	t.Helper()
	peak := peakMemory(t, c.Process.Pid)
	t.Logf("%d MiB at most", peak>>20)
	if peak > mostChatMemory && !raceEnabled {
		t.Errorf("the program held %d MiB, want %d at most", peak>>20, mostChatMemory>>20)
	}
}
