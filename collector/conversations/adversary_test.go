package conversations_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/internal/openaitest"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// Nothing that a client or an agent says brings a NUL into a fact: some databases end text there, others refuse it.
func TestNULBecomesTheReplacementCharacterWhereverItIsSaid(t *testing.T) {
	w := newWorld(t)
	w.agent.Answer = func(openaitest.Request) string { return "an\x00swer" }
	c := w.create(t, &alignv1.CreateConversationRequest{Source: "s\x00", Title: "t\x00", UserId: "u\x00", AssistantId: "a\x00"})
	if c.GetSource() != "s\uFFFD" || c.GetTitle() != "t\uFFFD" || c.GetUserId() != "u\uFFFD" || c.GetAssistantId() != "a\uFFFD" {
		t.Errorf("created %v", c)
	}
	updated, err := w.client.UpdateConversation(t.Context(), connect.NewRequest(&alignv1.UpdateConversationRequest{
		ConversationId: c.GetId(), Source: structpb.NewStringValue("\x00"), Title: structpb.NewStringValue("T\x00")}))
	if err != nil || updated.Msg.GetConversation().GetSource() != "\uFFFD" || updated.Msg.GetConversation().GetTitle() != "T\uFFFD" {
		t.Errorf("updated %v, %v", updated, err)
	}
	tags := []string{"tag\x00"}
	added, err := w.client.AddTags(t.Context(), connect.NewRequest(&alignv1.AddTagsRequest{ConversationId: c.GetId(), Tags: tags}))
	if err != nil || len(added.Msg.GetTags()) != 1 || added.Msg.GetTags()[0] != "tag\uFFFD" {
		t.Errorf("tags %v, %v", added, err)
	}
	left, err := w.client.RemoveTags(t.Context(), connect.NewRequest(&alignv1.RemoveTagsRequest{ConversationId: c.GetId(), Tags: tags}))
	if err != nil || len(left.Msg.GetTags()) != 0 {
		t.Errorf("tags that are left: %v, %v", left, err)
	}
	for _, agent := range []string{"support", "plain", agents.EchoName} {
		for _, talk := range []talk{w.unary, w.streamed} { // the latter also wants the pieces to be the answer
			answer, err := talk(t.Context(), &alignv1.ChatRequest{ConversationId: c.GetId(), Agent: agent, Messages: said("a\x00sk")})
			if err != nil || strings.Contains(answer.GetMessages()[0].GetContent(), "\x00") {
				t.Errorf("%s: %v, %v", agent, answer, err)
			}
		}
	}
	if text := transcript(w.messages(t, c.GetId())); strings.Contains(text, "\x00") || !strings.Contains(text, "user: a\uFFFDsk\nassistant: an\uFFFDswer\n") {
		t.Errorf("recorded:\n%q", text)
	}
}

// While an agent thinks, others may speak: its answer comes after them and takes nobody's place.
func TestAnswerComesAfterWhatOthersSaidMeanwhile(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	w.agent.Answer = func(openaitest.Request) string {
		facts := []collector.Fact{saying(id, 2, time.Now(), "a person took over"), saying(id, 3, time.Now(), "all is well")}
		if _, err := w.store.Append(context.Background(), project, collector.Batch{Facts: facts}); err != nil {
			t.Error(err)
		}
		return "late"
	}
	if answer := w.chat(t, id, "support", "help").GetMessages()[0]; answer.GetIndex() != 4 {
		t.Errorf("answered %v, want it at index 4", answer)
	}
	listed := w.messages(t, id)
	if got := transcript(listed); got != "user: help\nuser: a person took over\nuser: all is well\nassistant: late\n" {
		t.Errorf("recorded:\n%s", got)
	}
	for _, m := range listed {
		if m.GetVersions() != 1 {
			t.Errorf("index %d has %d versions", m.GetIndex(), m.GetVersions())
		}
	}
}

// What is left of a history that was cut begins with the user: many models take no other beginning.
func TestHistoryThatWasCutBeginsWithTheUser(t *testing.T) {
	w := newWorld(t, func(config map[string]agents.AgentConfig) {
		config["few"] = agents.AgentConfig{BaseURL: config["support"].BaseURL, Model: "few", HistoryMessages: 3}
	})
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	w.chat(t, id, "few", "one")
	w.chat(t, id, "few", "two")
	answer := w.chat(t, id, "few", "three")
	if got := w.agent.Last(t).String(); got != "user: two\nassistant: You said: two\nuser: three\n" || answer.GetHistoryCount() != 2 || answer.GetHistoryLeftOut() != 2 {
		t.Errorf("told:\n%s%d and %d left out", got, answer.GetHistoryCount(), answer.GetHistoryLeftOut())
	}
}

// What is wrong with a search is told with the name of its field, and not with what was searched for.
func TestWrongSearchesNameTheField(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		req   *alignv1.SearchConversationsRequest
		field string
	}{
		{&alignv1.SearchConversationsRequest{Text: `"private`}, "text: "},
		{&alignv1.SearchConversationsRequest{Text: "-private"}, "text: "},
		{&alignv1.SearchConversationsRequest{Text: "private OR"}, "text: "},
		{&alignv1.SearchConversationsRequest{Text: "x*"}, "text: "},
		{&alignv1.SearchConversationsRequest{Text: "  "}, "text: "},
		{&alignv1.SearchConversationsRequest{Text: strings.Repeat("private ", 65)}, "text: "},
		{&alignv1.SearchConversationsRequest{Text: strings.Repeat("x", 1025)}, "text has 1025 characters; it can have 1024"},
		{&alignv1.SearchConversationsRequest{Text: "private", Ranked: true, Reversed: true}, "ranked and reversed"},
		{&alignv1.SearchConversationsRequest{Ranked: true}, "ranked"},
	} {
		_, err := w.client.SearchConversations(t.Context(), connect.NewRequest(c.req))
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.HasPrefix(strings.TrimPrefix(fmt.Sprint(err), "invalid_argument: "), c.field) || strings.Contains(fmt.Sprint(err), "private") {
			t.Errorf("%v: %v, want %q", c.req, err, c.field)
		}
	}
	if _, err := w.client.SearchConversations(t.Context(), connect.NewRequest(&alignv1.SearchConversationsRequest{Text: strings.Repeat("x", 1024)})); err != nil {
		t.Errorf("the longest text: %v", err)
	}
}

// Every time bounds a search, also the one that Go takes for none.
func TestSearchBeforeTheFirstYearFindsNothing(t *testing.T) {
	w := newWorld(t)
	w.create(t, &alignv1.CreateConversationRequest{})
	first := timestamppb.New(time.Time{})
	if found := w.search(t, &alignv1.SearchConversationsRequest{StartBefore: first, Count: true}); len(found.GetConversations()) != 0 || found.GetTotal() != 0 {
		t.Errorf("found %v", found)
	}
	if found := w.search(t, &alignv1.SearchConversationsRequest{StartFrom: first}); len(found.GetConversations()) != 1 {
		t.Errorf("found %v since the first year", found)
	}
}

// slow is a store whose searches take longer than a store lets them.
type slow struct{ collector.Store }

func (slow) Search(context.Context, string, collector.Query, collector.Page, int) ([]collector.Hit, string, error) {
	return nil, "", fmt.Errorf("sqlite: search: %w", context.DeadlineExceeded)
}

// A search that takes too long will do so again, and its client is told what would help.
func TestSearchThatTakesTooLongSaysWhatHelps(t *testing.T) {
	s, key := openStore(t)
	_, err := serve(t, slow{s}, key, time.Hour).search(t, &alignv1.SearchConversationsRequest{})
	if connect.CodeOf(err) != connect.CodeDeadlineExceeded || !strings.Contains(err.Error(), "start_from") {
		t.Errorf("error %v", err)
	}
}

// What a request means is never guessed, and what somebody said is not repeated.
func TestJSONThatIsNotOfTheSchemaIsRefusedWithoutItsWords(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	for _, c := range []struct{ method, body, says string }{
		{"SearchConversations", `{"user":"private"}`, "nosuchfield"},
		{"SearchConversations", `{"vote":"private"}`, "vote"},
		{"CreateConversation", `{"datum":{"private":1}}`, "nosuchfield"},
		{"CreateConversation", `{"data":["private"]}`, "line1,column9"},
		{"Chat", `{"conversationId":"` + id + `","messages":"private"}`, "line1"},
		{"Chat", `{"conversationId":"` + id + `","messages":[{"content":private}]}`, "line1"},
		{"Chat", `private`, "line1"},
	} {
		status, answer := w.curl(t, c.method, c.body)
		if status != 400 || !strings.Contains(answer, "invalid_argument") || !strings.Contains(answer, c.says) || strings.Contains(answer, "private") {
			t.Errorf("%s %s: %d %s", c.method, c.body, status, answer)
		}
	}
	if strings.Contains(w.log.String(), "private") {
		t.Error("the log repeats it")
	}
}
