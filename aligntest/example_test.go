package aligntest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

// Shop is a chat app: what users of this package test.
type Shop struct {
	analytics *align.Client
}

// Ask answers a question and records both.
func (s *Shop) Ask(ctx context.Context, session, question string) (answer string, err error) {
	answer = "It is on its way."
	for i, m := range []align.Message{{Role: align.RoleUser, Content: question}, {Role: align.RoleAssistant, Content: answer}} {
		m.SessionID, m.Index = session, i+1
		if err := s.analytics.CreateMessage(ctx, m); err != nil {
			return "", err
		}
	}
	return answer, nil
}

// ThumbsDown records that the answer was of no use.
func (s *Shop) ThumbsDown(ctx context.Context, session, comment string) error {
	return s.analytics.CreateMessageFeedback(ctx, align.MessageFeedback{
		SessionID: session, Index: 2, Type: align.ThumbsDown, Comment: comment,
	})
}

// What the app recorded is asked of the server. A test function passes its t and closes nothing.
func Example() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	shop := &Shop{analytics: client}

	if _, err := shop.Ask(ctx, "s1", "Where is my order?"); err != nil {
		log.Fatal(err)
	}
	if err := shop.ThumbsDown(ctx, "s1", "When?"); err != nil {
		log.Fatal(err)
	}
	if err := client.Close(ctx); err != nil {
		log.Fatal(err)
	}

	session := srv.Session("s1")
	fmt.Print(session.Transcript())
	for _, f := range session.Feedback {
		fmt.Printf("%s on message %d: %s\n", f.Type, f.Index, f.Comment)
	}
	// Output:
	// user: Where is my order?
	// assistant: It is on its way.
	// thumbs_down on message 2: When?
}

// The connection breaks after the collector has stored the events and before it could say so. The client sends them
// again, and the collector keeps them once.
func ExampleServer_Script() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	defer client.Close(ctx)
	shop := &Shop{analytics: client}

	srv.Script(aligntest.ResetAfter())
	if _, err := shop.Ask(ctx, "s1", "Where is my order?"); err != nil {
		log.Fatal(err)
	}
	if err := client.Flush(ctx); err != nil {
		log.Fatal(err)
	}

	for _, r := range srv.Requests() {
		fmt.Printf("attempt %d: %d events, %v, status %d\n", r.Attempt, len(r.Events), r.Fault, r.Status)
	}
	fmt.Println(len(srv.Events()), "events kept")
	// Output:
	// attempt 1: 2 events, ResetAfter(), status 0
	// attempt 2: 2 events, OK(), status 200
	// 2 events kept
}

// A collector that takes no more than 200 bytes at once. The client halves its batches until they fit.
func ExampleServer_Respond() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	defer client.Close(ctx)
	shop := &Shop{analytics: client}

	srv.Respond(func(r aligntest.Request) aligntest.Fault {
		if len(r.Body) > 200 {
			return aligntest.Status(413)
		}
		return aligntest.OK()
	})
	if _, err := shop.Ask(ctx, "s1", "Where is my order?"); err != nil {
		log.Fatal(err)
	}
	if err := client.Flush(ctx); err != nil {
		log.Fatal(err)
	}

	for _, r := range srv.Requests() {
		fmt.Println(len(r.Events), "events:", r.Status)
	}
	// Output:
	// 2 events: 413
	// 1 events: 200
	// 1 events: 200
}
