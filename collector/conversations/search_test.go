package conversations_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// Each filter of a request reaches the store: it finds one conversation, and with another value none.
func TestEachFilterFindsItsConversation(t *testing.T) {
	w := newWorld(t)
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	keep(t, w.store, opening("other", at.Add(time.Second)))
	one := opening("one", at)
	p := one.Event.GetProperties().GetSessionProperties()
	p.UserId, p.AssistantId, p.Source, p.Channel, p.Language, p.Outcome, p.Labels, p.Data = "u9", "a9", "s9", "chat", "ko", "botHandled", []string{"l9"}, `{"plan":"pro"}`
	keep(t, w.store, one, saying("one", 1, at, "where is my parcel"), closing("one", at.Add(time.Minute)),
		fact("tagged", collector.TypeSessionUpdate, at, &ingestionv1alpha.EventProperties_SessionProperties{SessionId: "one", TagsAdded: []string{"t9"}}),
		fact("voted", collector.TypeFeedbackCreate, at, &ingestionv1alpha.EventProperties_FeedbackProperties{SessionId: "one", Type: "thumbs_up",
			FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION}))
	indexed(t, w, "parcel")
	for name, c := range map[string]struct {
		finds, none *alignv1.SearchConversationsRequest
	}{
		"text":         {&alignv1.SearchConversationsRequest{Text: "parc*"}, &alignv1.SearchConversationsRequest{Text: "order"}},
		"user_id":      {&alignv1.SearchConversationsRequest{UserId: "u9"}, &alignv1.SearchConversationsRequest{UserId: "u"}},
		"assistant_id": {&alignv1.SearchConversationsRequest{AssistantId: "a9"}, &alignv1.SearchConversationsRequest{AssistantId: "a"}},
		"source":       {&alignv1.SearchConversationsRequest{Source: "s9"}, &alignv1.SearchConversationsRequest{Source: "s"}},
		"channel":      {&alignv1.SearchConversationsRequest{Channel: "chat"}, &alignv1.SearchConversationsRequest{Channel: "ticket"}},
		"language":     {&alignv1.SearchConversationsRequest{Language: "ko"}, &alignv1.SearchConversationsRequest{Language: "en"}},
		"status":       {&alignv1.SearchConversationsRequest{Status: "botHandled"}, &alignv1.SearchConversationsRequest{Status: "agent"}},
		"tag":          {&alignv1.SearchConversationsRequest{Tag: "t9"}, &alignv1.SearchConversationsRequest{Tag: "t"}},
		"label":        {&alignv1.SearchConversationsRequest{Label: "l9"}, &alignv1.SearchConversationsRequest{Label: "l"}},
		"metadata":     {&alignv1.SearchConversationsRequest{Metadata: map[string]string{"plan": "pro"}}, &alignv1.SearchConversationsRequest{Metadata: map[string]string{"plan": "free"}}},
		"vote":         {&alignv1.SearchConversationsRequest{Vote: alignv1.Vote_VOTE_UP}, &alignv1.SearchConversationsRequest{Vote: alignv1.Vote_VOTE_DOWN}},
		"start_before": {&alignv1.SearchConversationsRequest{StartBefore: timestamppb.New(at.Add(time.Second))}, &alignv1.SearchConversationsRequest{StartBefore: timestamppb.New(at)}},
		"start_from and all": {&alignv1.SearchConversationsRequest{StartFrom: timestamppb.New(at), Text: "parcel", UserId: "u9", Source: "s9", Tag: "t9", State: alignv1.Conversation_STATE_CLOSED},
			&alignv1.SearchConversationsRequest{StartFrom: timestamppb.New(at.Add(2 * time.Second))}},
	} {
		c.finds.Count, c.none.Count = true, true
		found := w.search(t, c.finds)
		if len(found.GetConversations()) != 1 || found.GetConversations()[0].GetId() != "one" || found.GetTotal() != 1 {
			t.Errorf("%s: found %v", name, found)
		}
		if found := w.search(t, c.none); len(found.GetConversations()) != 0 || found.Total == nil || found.GetTotal() != 0 {
			t.Errorf("%s, another: found %v", name, found)
		}
	}
	open := w.search(t, &alignv1.SearchConversationsRequest{State: alignv1.Conversation_STATE_OPEN}).GetConversations()
	closed := w.search(t, &alignv1.SearchConversationsRequest{State: alignv1.Conversation_STATE_CLOSED}).GetConversations()
	if len(open) != 0 || len(closed) != 2 { // the other has been idle for an hour
		t.Errorf("open %v, closed %v", open, closed)
	}
}

// indexed waits until a word is found: what is searched is filled behind what is stored.
func indexed(t *testing.T, w *world, word string) {
	t.Helper()
	for patience := time.Now().Add(time.Minute); len(w.search(t, &alignv1.SearchConversationsRequest{Text: word}).GetConversations()) == 0; {
		if time.Now().After(patience) {
			t.Fatalf("%q is not found", word)
		}
	}
}

func TestTextIsFoundWithItsPlaceMarked(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	w.chat(t, id, "echo", "the parcel 안녕 is late")
	indexed(t, w, "parcel")
	found := w.search(t, &alignv1.SearchConversationsRequest{Text: `"parcel 안녕"`, Ranked: true}).GetConversations()
	if len(found) != 1 || len(found[0].GetSnippets()) == 0 {
		t.Fatalf("found %v", found)
	}
	s := found[0].GetSnippets()[0]
	whole, marked := "", ""
	for _, part := range s.GetParts() {
		whole += part.GetText()
		if part.GetMatch() {
			marked += part.GetText()
		}
	}
	if whole != "the parcel 안녕 is late" || strings.ReplaceAll(marked, " ", "") != "parcel안녕" || !slices.Contains([]string{"user", "assistant"}, s.GetRole()) || s.GetIndex() < 1 {
		t.Errorf("snippet %v", s)
	}
	_, err := w.client.SearchConversations(t.Context(), connect.NewRequest(&alignv1.SearchConversationsRequest{Text: `secret "phrase`}))
	if connect.CodeOf(err) != connect.CodeInvalidArgument || strings.Contains(err.Error(), "secret") {
		t.Errorf("a search that cannot be understood: %v", err)
	}
}
