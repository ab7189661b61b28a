package align_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

// A call that is over, told at once.
func ExampleClient_RecordTranscript() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()

	start := time.Date(2024, 1, 1, 9, 0, 0, 0, time.UTC)
	err := client.RecordTranscript(context.Background(), align.Transcript{
		ConversationID: "1b4e28ba-2fa1-41d2-883f-0016d3cca427",
		Start:          start,
		Duration:       new(90 * time.Second),
		Transfer:       new(false),
		CustomerID:     "u1",
		AgentID:        "support",
		Lines: []align.TranscriptLine{
			{Role: align.TranscriptUser, Content: new("Where is my order?"), Timestamp: start},
			{Role: align.TranscriptAIAssistant, Content: new("On its way.")},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	client.Close(context.Background())

	fmt.Print(srv.Session("1b4e28ba-2fa1-41d2-883f-0016d3cca427").Transcript())
	// Output:
	// user: Where is my order?
	// assistant: On its way.
}

// A document as senders write it, and what is wrong with another.
func ExampleParseTranscript() {
	transcript, err := align.ParseTranscript([]byte(`{
		"conversationId": "1B4E28BA-2FA1-41D2-883F-0016D3CCA427",
		"start": "2024-01-01T00:00:00.000005",
		"lines": [{"role": "USER", "content": null}],
		"mood": "good"
	}`))
	fmt.Println(transcript.Start, len(transcript.Lines), "line,", transcript.UnknownFields, "unknown field,", err)

	_, err = align.ParseTranscript([]byte(`{"start": "noon", "lines": [{"role": "USER"}]}`))
	fmt.Println(err)
	if problem, ok := errors.AsType[*align.FieldError](err); ok {
		fmt.Println("first:", problem.Field, problem.Rule)
	}
	// Output:
	// 2024-01-01 00:00:00.000005 +0000 UTC 1 line, 1 unknown field, <nil>
	// align: Transcript.ConversationID must not be blank
	// align: Transcript.Start must be a time, such as 2024-01-01T00:00:00Z
	// align: Transcript.Lines[0].Content must not be blank
	// first: Transcript.ConversationID required
}

// The same calls, delivered to an Acro-compatible endpoint: one conversation a request, when it ends.
func ExampleAcroConfig() {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		transcript, err := align.ParseTranscript(body)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Method, r.URL.Path)
		for _, line := range transcript.Lines {
			fmt.Printf("%s: %s\n", line.Role, *line.Content)
		}
		fmt.Fprintf(w, `{"conversationId": %q, "requestId": "req_1"}`, transcript.ConversationID)
	}))
	defer endpoint.Close()

	ctx := context.Background()
	client, err := align.New(align.Config{
		Acro:       align.AcroConfig{ApplicationID: "app-1"},
		APIKey:     "secret",
		Host:       endpoint.URL,
		HTTPClient: endpoint.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	client.CreateMessage(ctx, align.Message{SessionID: "s1", Index: 1, Role: align.RoleUser, Content: "Where is my order?"})
	client.CreateMessage(ctx, align.Message{SessionID: "s1", Index: 2, Role: align.RoleAssistant, Content: "On its way."})
	client.CloseSession(ctx, align.SessionEnd{SessionID: "s1"})
	if err := client.Close(ctx); err != nil {
		log.Print(err)
	}
	// Output:
	// POST /app-1/conversation
	// USER: Where is my order?
	// AI_ASSISTANT: On its way.
}

// The name by which a session is found at an Acro endpoint.
func ExampleAcroConversationID() {
	fmt.Println(align.AcroConversationID("1B4E28BA-2FA1-41D2-883F-0016D3CCA427"))
	fmt.Println(align.AcroConversationID("s1"))
	// Output:
	// 1b4e28ba-2fa1-41d2-883f-0016d3cca427
	// e4feb1b3-e570-53fe-8121-9b00cd8ac726
}
