package conversations_test

import (
	"fmt"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/openalign/align/collector/agents"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// The walk through the Engage Smarter document, over real HTTP, against a real agent, streaming and not: create, chat twice,
// a history of four, a search of ten, metadata read and replaced.
func TestWalkThrough(t *testing.T) {
	w := newWorld(t, func(config map[string]agents.AgentConfig) {
		c := config["plain"]
		c.Version, c.Aliases = "240228-dev", []string{"plain-latest"}
		config["plain"] = c
	})
	for _, agent := range []string{"support", "plain"} {
		for form, talk := range map[string]talk{"at once": w.unary, "as a stream": w.streamed} {
			t.Run(agent+" "+form, func(t *testing.T) {
				for i := range 12 { // others, for the search
					w.create(t, &alignv1.CreateConversationRequest{Title: fmt.Sprint(i)})
				}
				c := w.create(t, &alignv1.CreateConversationRequest{Data: structOf(t, map[string]any{"additional": "data"}), Source: "docs"})

				for _, text := range []string{"Hi, how are you?", "What can you do?"} {
					answer, err := talk(t.Context(), &alignv1.ChatRequest{ConversationId: c.GetId(), Agent: agent + "-latest", Messages: said(text)})
					if err != nil {
						t.Fatal(err)
					}
					m := answer.GetMessages()[0]
					if len(answer.GetMessages()) != 1 || m.GetContent() != "You said: "+text || m.GetAgent() != agent+"-240228-dev" || m.GetRunId() == "" {
						t.Errorf("answer %v", answer)
					}
				}

				const history = "user: Hi, how are you?\nassistant: You said: Hi, how are you?\nuser: What can you do?\nassistant: You said: What can you do?\n"
				if got := transcript(w.messages(t, c.GetId())); got != history {
					t.Errorf("history:\n%s", got)
				}

				found := w.search(t, &alignv1.SearchConversationsRequest{Limit: 10, Offset: 0}).GetConversations()
				if len(found) != 10 || found[0].GetId() != c.GetId() || found[1].GetTitle() != "11" || found[9].GetTitle() != "3" {
					t.Errorf("found %v", found)
				}

				if got := w.get(t, c.GetId()); got.GetData().AsMap()["additional"] != "data" || got.GetSource() != "docs" || got.GetMessageCount() != 4 {
					t.Errorf("metadata %v", got)
				}
				_, err := w.client.UpdateConversation(t.Context(), connect.NewRequest(&alignv1.UpdateConversationRequest{
					ConversationId: c.GetId(), Data: structpb.NewStructValue(structOf(t, map[string]any{"different": "data"}))}))
				if err != nil {
					t.Fatal(err)
				}
				got := w.get(t, c.GetId())
				if fmt.Sprint(got.GetData().AsMap()) != "map[different:data]" || got.GetSource() != "docs" {
					t.Errorf("metadata, replaced: %v", got)
				}
			})
		}
	}
}
