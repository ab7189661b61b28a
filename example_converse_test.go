package align_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

// The app calls its model; both sides of the conversation are recorded, and the model is told what was said before.
func ExampleClient_Converse() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	conversation := align.Conversation{ID: "c1", UserID: "u1", AgentName: "support", History: new(align.History)}
	agent := func(ctx context.Context, run *align.Run) (string, error) {
		lines := run.Lines() // for the model
		run.SetGeneration(align.Generation{Model: "parrot-1"})
		return fmt.Sprintf("%d messages, and you said: %s", len(lines), lines[len(lines)-1].Text), nil
	}
	for _, said := range []string{"Hello.", "Where is my order?"} {
		answer, err := client.Converse(ctx, conversation, []string{said}, agent)
		if err != nil {
			log.Print(err) // the agent's; the user gets an apology
			continue
		}
		if answer.Unrecorded != nil {
			log.Print(answer.Unrecorded) // the user gets the answer all the same
		}
	}
	client.Close(ctx)
	fmt.Print(srv.Session("c1").Transcript())
	// Output:
	// user: Hello.
	// assistant: 1 messages, and you said: Hello.
	// user: Where is my order?
	// assistant: 3 messages, and you said: Where is my order?
}

// An answer that is streamed to the user and into the run at once.
func ExampleRun_Write() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	answer, err := client.Converse(ctx, align.Conversation{ID: "c1"}, []string{"Where is my order?"},
		func(ctx context.Context, run *align.Run) (string, error) {
			out := io.MultiWriter(os.Stdout, run)
			for _, token := range []string{"On ", "its ", "way.\n"} {
				if _, err := io.WriteString(out, token); err != nil {
					return "", err // the user is gone
				}
			}
			return "", nil
		})
	client.Close(ctx)
	fmt.Println(answer.Index, err, srv.Session("c1").Message(2).Generation.TimeToFirstToken != nil)
	// Output:
	// On its way.
	// 2 <nil> true
}
