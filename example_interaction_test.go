package align_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

// A handle gives the messages of a session their indexes, and knows which answer a thumb is for.
func ExampleClient_StartSession() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	s, err := client.StartSession(ctx, align.Session{UserID: "u1", AssistantID: "support"}) // with an id of its own
	if err != nil {
		log.Print(err)
	}
	s.User(ctx, "Where is my order?")
	index, _ := s.Assistant(ctx, "On its way.")
	s.ThumbsUp(ctx)
	s.End(ctx, align.SessionEnd{Status: align.StatusBotHandled, Resolution: align.ResolutionInformed})
	client.Close(ctx)

	session := srv.Session(s.ID())
	fmt.Print(session.Transcript())
	fmt.Println("answer", index, "got", session.Feedback[0].Type)
	// Output:
	// user: Where is my order?
	// assistant: On its way.
	// answer 2 got thumbs_up
}

// A session that another process began: its history says where to go on.
func ExampleSessionHandle_Continue() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	history := []string{"Hello.", "How can I help?"} // from the app's own store

	s := client.Session("s1")
	s.Continue(len(history) + 1)
	index, err := s.User(ctx, "Where is my order?")
	fmt.Println(index, err)
	client.Close(ctx)
	// Output: 3 <nil>
}

// Code that answers need not know of sessions: the context carries the handle.
func ExampleNewContext() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	lookUp := func(ctx context.Context, order string) string {
		result := order + " has left the warehouse"
		align.FromContext(ctx).Add(ctx, align.Message{Role: align.RoleTool, Content: result})
		return result
	}

	s := client.Session("s1")
	s.User(ctx, "Where is order 7?")
	s.Assistant(ctx, "It says: "+lookUp(align.NewContext(ctx, s), "order 7"))
	client.Close(ctx)

	fmt.Print(srv.Session("s1").Transcript())
	// Output:
	// user: Where is order 7?
	// tool: order 7 has left the warehouse
	// assistant: It says: order 7 has left the warehouse
}

// What happens between Begin and End is measured, and becomes a question and an answer.
func ExampleClient_Begin() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	in := client.Begin(align.InteractionStart{UserID: "u1", ConversationID: "s1", AgentName: "support", Input: "Where is my order?"})
	in.SetProperty("plan", "pro")
	if answer, err := ask("Where is my order?"); err != nil {
		err = in.Fail(ctx, err)
		log.Print(err)
	} else if err := in.End(ctx, answer); err != nil {
		log.Print(err)
	}
	in.Session().ThumbsUp(ctx)
	client.Close(ctx)

	session := srv.Session("s1")
	fmt.Print(session.Transcript())
	fmt.Println(session.UserID, session.AssistantID, session.Message(2).Properties, session.Feedback[0].Type)
	// Output:
	// user: Where is my order?
	// assistant: On its way.
	// u1 support map[plan:pro] thumbs_up
}

func ask(string) (string, error) { return "On its way.", nil }

// All that is known of an answer: the model, what it cost, what it was.
func ExampleInteraction_Finish() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	err := client.Begin(align.InteractionStart{ConversationID: "s1", Input: "Wo ist mein Paket?"}).Finish(ctx, align.InteractionResult{
		Output: "Sorry, I do not understand.",
		Generation: &align.Generation{
			Model: "small-1", InputTokens: new(int64(12)), OutputTokens: new(int64(7)), Outcome: align.OutcomeNotUnderstood,
		},
	})
	fmt.Println(err)
	client.Close(ctx)
	// Output: <nil>
}

// An interaction is an io.Writer: the answer is what was written, and the time to first token that of the first write.
func ExampleInteraction_Write() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	in := client.Begin(align.InteractionStart{ConversationID: "s1", Input: "Where is my order?"})
	for _, token := range []string{"On ", "its ", "way."} { // as the model streams them
		fmt.Fprint(in, token) // and to the user
	}
	in.End(ctx, "")

	in = client.Begin(align.InteractionStart{ConversationID: "s1", Input: "When will it be here?"})
	fmt.Fprint(in, "To")
	in.Fail(ctx, errors.New("the model hung up"))
	client.Close(ctx)

	fmt.Print(srv.Session("s1").Transcript())
	// Output:
	// user: Where is my order?
	// assistant: On its way.
	// user: When will it be here?
	// assistant: To
}

// A callback that knows the interaction by its id alone.
func ExampleClient_Interaction() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	client.Begin(align.InteractionStart{ID: "job-7", Input: "Draw a cat."})
	callback := func(job string) error { return client.Interaction(job).End(ctx, "Here is a cat.") }

	fmt.Println(callback("job-7"))
	fmt.Println(callback("job-7"))
	client.Close(ctx)
	// Output:
	// <nil>
	// align: interaction has ended
}

// An interaction that is over.
func ExampleClient_Track() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	id, err := client.Track(ctx, align.TrackedInteraction{
		UserID: "u1", ConversationID: "s1", AgentName: "support",
		Input: "Where is my order?", Output: "the order system is down", Success: new(false), // Output says why
	})
	fmt.Println(len(id), err)
	client.Close(ctx)

	fmt.Print(srv.Session("s1").Transcript())
	// Output:
	// 32 <nil>
	// user: Where is my order?
	// assistant: the order system is down
}

// An answer that could not be made: the error is kept, and stands where the answer would.
func ExampleInteraction_Fail() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	in := client.Begin(align.InteractionStart{ConversationID: "s1", Input: "Where is my order?"})
	if err := in.Fail(ctx, errors.New("model is overloaded")); err != nil {
		log.Print(err)
	}
	client.Close(ctx)
	fmt.Print(srv.Session("s1").Transcript())
	// Output:
	// user: Where is my order?
	// assistant: model is overloaded
}

// A thumb of the user's, on the latest answer.
func ExampleSessionHandle_ThumbsUp() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	s := client.Session("s1")
	s.User(ctx, "Where is my order?")
	s.Assistant(ctx, "On its way.")
	err := s.ThumbsUp(ctx)
	client.Close(ctx)

	for _, f := range srv.Session("s1").Feedback {
		fmt.Println(err, f.Index, f.Type)
	}
	// Output: <nil> 2 thumbs_up
}

func ExampleSessionHandle_Feedback() {
	ctx := context.Background()
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	s := client.Session("s1")
	s.User(ctx, "Where is my order?")
	s.Assistant(ctx, "Which order?")
	s.Feedback(ctx, align.MessageFeedback{Type: align.ThumbsDown, Comment: "I have one only."}) // on the latest answer
	s.End(ctx, align.SessionEnd{Resolution: align.ResolutionEscalated})
	client.Close(ctx)

	got := srv.Session("s1")
	fmt.Println(got.Feedback[0].Index, got.Feedback[0].Comment)
	fmt.Println(got.Closed, got.Resolution)
	// Output:
	// 2 I have one only.
	// true escalated
}
