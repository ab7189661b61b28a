package align_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

func Example() {
	srv := aligntest.NewServer(nil) // a collector in memory, in place of a real one
	defer srv.Close()
	ctx := context.Background()

	client, err := align.New(srv.Config())
	if err != nil {
		log.Fatal(err)
	}
	for _, err := range []error{
		client.IdentifyUser(ctx, align.User{ID: "u1", DisplayName: "Ada", CountryCode: "KR", Properties: align.Properties{"plan": "pro"}}),
		client.OpenSession(ctx, align.Session{ID: "s1", UserID: "u1", AssistantID: "support"}),
		client.CreateMessage(ctx, align.Message{SessionID: "s1", Index: 1, Role: align.RoleUser, Content: "Where is my order?"}),
		client.CreateMessage(ctx, align.Message{SessionID: "s1", Index: 2, Role: align.RoleAssistant, Content: "On its way."}),
		client.CreateMessageFeedback(ctx, align.MessageFeedback{SessionID: "s1", Index: 2, Type: align.ThumbsUp}),
		client.CloseSession(ctx, align.SessionEnd{SessionID: "s1"}),
	} {
		if err != nil {
			log.Print(err) // analytics never stop a chat app
		}
	}
	if err := client.Close(ctx); err != nil {
		log.Print(err)
	}

	fmt.Print(srv.Session("s1").Transcript())
	fmt.Println(client.Stats().Delivered, "events delivered")
	// Output:
	// user: Where is my order?
	// assistant: On its way.
	// 6 events delivered
}

// All problems of a call come in one error.
func ExampleFieldError() {
	client, err := align.New(align.Config{ProjectID: "shop", APIKey: "key"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(context.Background())

	err = client.CreateMessage(context.Background(), align.Message{SessionID: "s1", Role: "robot", Content: "Beep."})
	fmt.Println(err)
	if problem, ok := errors.AsType[*align.FieldError](err); ok {
		fmt.Println("first:", problem.Field, problem.Rule, problem.Limit)
	}
	// Output:
	// align: Message.Index must be at least 1
	// align: Message.Role must be one of user, assistant, system, tool, human
	// first: Message.Index min 1
}

// A thumbs-down that must have arrived before the handler answers.
func ExampleWithReceipt() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	defer client.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	ctx, receipt := align.WithReceipt(ctx)
	err := client.CreateMessageFeedback(ctx, align.MessageFeedback{SessionID: "s1", Index: 2, Type: align.ThumbsDown})
	if err == nil {
		err = receipt.Wait(ctx)
	}
	fmt.Println(err, srv.Session("s1").Feedback[0].Type)
	// Output: <nil> thumbs_down
}

// A vote of last spring, from a table that the app kept so far.
func ExampleWithTime() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	voted := time.Date(2026, time.April, 9, 14, 30, 0, 0, time.UTC)
	ctx := align.WithTime(context.Background(), voted)
	client.CreateMessageFeedback(ctx, align.MessageFeedback{SessionID: "s1", Index: 2, Type: align.ThumbsUp})
	client.Close(context.Background())

	fmt.Println(srv.Events()[0].CreateTime)
	// Output: 2026-04-09 14:30:00 +0000 UTC
}

// A change of mind: each voter has one current vote on a message, the last, and none once it is taken back.
func ExampleClient_CreateMessageFeedback() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	ctx := context.Background()

	vote := align.MessageFeedback{SessionID: "s1", Index: 2, UserID: "u1", Type: align.ThumbsDown, Reasons: []string{"wrong"}}
	client.CreateMessageFeedback(ctx, vote)
	client.CreateMessageFeedback(ctx, align.MessageFeedback{SessionID: "s1", Index: 2, UserID: "u1", Type: align.ThumbsNone})
	client.Close(ctx)

	for _, f := range srv.Session("s1").Feedback {
		fmt.Println(f.Type, f.Reasons)
	}
	// Output:
	// thumbs_down [wrong]
	// none []
}

// Four of five stars for a whole session.
func ExampleScore() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	ctx := context.Background()

	stars := align.Score{Value: 4, Min: 1, Max: 5}
	client.CreateSessionFeedback(ctx, align.SessionFeedback{SessionID: "s1", Type: align.ThumbsUp, Score: stars})
	stars.Value = 6
	fmt.Println(client.CreateSessionFeedback(ctx, align.SessionFeedback{SessionID: "s1", Type: align.ThumbsUp, Score: stars}))
	client.Close(ctx)

	fmt.Printf("%+v\n", srv.Session("s1").Feedback[0].Score)
	// Output:
	// align: SessionFeedback.Score.Value must be at most Max
	// {Value:4 Min:1 Max:5}
}

// The token goes into the page, beside the answer that it is for; package feedbackhttp takes it back.
func ExampleClient_FeedbackToken() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	defer client.Close(context.Background())

	token, err := client.FeedbackToken("s1", 2, "u1", 24*time.Hour)
	if err != nil {
		log.Print(err) // the page then shows no thumbs
	}
	fmt.Println(len(token), "bytes")

	_, err = client.FeedbackToken("s1", 2, "u1", 365*24*time.Hour)
	fmt.Println(err)
	// Output:
	// 39 bytes
	// align: FeedbackToken.TTL must be at most 2160h0m0s
}

// Votes that come another way than package feedbackhttp, over a websocket say.
func ExampleClient_VerifyFeedbackToken() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	defer client.Close(context.Background())
	token, err := client.FeedbackToken("s1", 2, "u1", time.Hour)
	if err != nil {
		log.Fatal(err)
	}

	for _, token := range []string{token, token + "A"} {
		vote, err := client.VerifyFeedbackToken(token)
		if errors.Is(err, align.ErrFeedbackToken) || errors.Is(err, align.ErrFeedbackTokenExpired) {
			fmt.Println(err)
			continue
		}
		fmt.Println(vote.UserID, "may vote on message", vote.Index, "of", vote.SessionID)
	}
	// Output:
	// u1 may vote on message 2 of s1
	// align: feedback token is not valid
}

// Content is masked before it leaves the process, and one kind of session is not recorded at all.
func ExampleConfig_beforeSend() {
	srv := aligntest.NewServer(nil)
	defer srv.Close()
	cfg := srv.Config()
	cfg.Redact = align.RedactAll
	cfg.BeforeSend = func(e *align.Event) bool {
		return e.Message == nil || e.Message.Properties["confidential"] == ""
	}
	client, err := align.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	client.CreateMessage(ctx, align.Message{SessionID: "s1", Index: 1, Role: align.RoleUser, Content: "I am ada@example.com."})
	client.CreateMessage(ctx, align.Message{SessionID: "s2", Index: 1, Role: align.RoleUser, Content: "Hush.", Properties: align.Properties{"confidential": "yes"}})
	client.Close(ctx)

	fmt.Print(srv.Session("s1").Transcript())
	fmt.Println(len(srv.Session("s2").Messages), "messages of s2,", client.Stats().Dropped[align.DropBeforeSend], "dropped by the hook")
	// Output:
	// user: I am [email].
	// 0 messages of s2, 1 dropped by the hook
}

// The context that told the program to stop has ended: Close gets a fresh one.
func Example_gracefulShutdown() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	client.CreateMessage(ctx, align.Message{SessionID: "s1", Index: 1, Role: align.RoleUser, Content: "Bye."})
	stop() // … the app serves until here

	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fmt.Println(client.Close(closing), client.Stats().Delivered)
	// Output: <nil> 1
}

// What is known of a user, in one call: at sign-up, or when the profile changes.
func ExampleClient_IdentifyUser() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	ctx := context.Background()

	err := client.IdentifyUser(ctx, align.User{
		ID: "u1", DisplayName: "Ada", Company: &align.Company{ID: "c1", Name: "Example"}, Traits: map[string]any{"plan": "pro"},
	})
	client.Close(ctx)

	user := srv.User("u1")
	fmt.Println(err, user.DisplayName, user.Company.Name, user.Traits["plan"])
	// Output: <nil> Ada Example pro
}

func ExampleClient_CloseSession() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	ctx := context.Background()

	client.OpenSession(ctx, align.Session{ID: "s1", UserID: "u1"})
	client.CloseSession(ctx, align.SessionEnd{
		SessionID: "s1", Reason: align.CloseTransfer, Status: align.StatusAgent, Transfer: new(true),
	})
	client.Close(ctx)

	s := srv.Session("s1")
	fmt.Println(s.Closed, s.CloseReason, s.Status, *s.Transfer)
	// Output: true transfer agent true
}

func ExampleClient_CreateSessionFeedback() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	ctx := context.Background()

	client.CreateSessionFeedback(ctx, align.SessionFeedback{
		SessionID: "s1", Type: align.ThumbsUp, Score: align.Score{Value: 4, Min: 1, Max: 5}, Comment: "Quick.",
	})
	client.Close(ctx)

	for _, f := range srv.Session("s1").Feedback {
		fmt.Println(f.Index, f.Type, f.Score.Value, f.Comment)
	}
	// Output: 0 thumbs_up 4 Quick.
}

func ExampleGeneration() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	ctx := context.Background()

	client.CreateMessage(ctx, align.Message{
		SessionID: "s1", Index: 2, Role: align.RoleAssistant, Content: "On its way.",
		Generation: &align.Generation{
			Model: "small-2", Latency: new(1200 * time.Millisecond), InputTokens: new(int64(310)), OutputTokens: new(int64(7)),
			ToolCalls: []align.ToolCall{{Name: "orders", Arguments: `{"user":"u1"}`, Result: `{"state":"shipped"}`}},
		},
	})
	client.Close(ctx)

	g := srv.Session("s1").Message(2).Generation
	fmt.Println(g.Model, *g.Latency, *g.OutputTokens, g.ToolCalls[0].Name)
	fmt.Println(g.Success == nil) // not said, and no false
	// Output:
	// small-2 1.2s 7 orders
	// true
}
