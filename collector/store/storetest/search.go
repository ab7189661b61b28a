package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/openalign/align/collector"
)

// search returns the ids of all that a query finds, page by page.
func (s *store) search(query collector.Query, size int) (ids []string) {
	s.t.Helper()
	hits := pages(s.t, size, func(page collector.Page) ([]collector.Hit, string, error) {
		return s.Search(context.Background(), shop, query, page, 0)
	})
	for _, hit := range hits {
		ids = append(ids, hit.ID)
	}
	return ids
}

// finds checks what a query finds, in order, and that it is counted.
func (s *store) finds(what string, query collector.Query, want ...string) {
	s.t.Helper()
	s.catchUp()
	equal(s.t, what, append([]string{}, s.search(query, 2)...), append([]string{}, want...))
	n, exact, err := s.Count(context.Background(), shop, query)
	if err != nil || !exact || n != len(want) {
		s.t.Errorf("%s: counted %d, %v, %v; want %d", what, n, exact, err, len(want))
	}
}

func (s *store) catchUp() {
	s.t.Helper()
	if err := s.CatchUp(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

// searchable stores conversations that differ in all that can be asked for. The numbers are their starts.
func (s *store) searchable() {
	s.append(
		opened("a1", 10, &sessionProperties{SessionId: "s1", UserId: "ada", AssistantId: "support", Source: "web", Channel: "chat",
			Language: "sv", Outcome: "agent", Labels: []string{"vip", "öl"}, Data: `{"plan":"pro","seats":3,"trial":true,"deep":{"a":"b"}}`}, "region", "north"),
		said("a2", 11, "s1", 1, "hello"),
		judged("a3", 12, &feedbackProperties{SessionId: "s1", FeedbackTarget: onSession, Type: "thumbs_up", UserId: "ada"}),
		updated("a4", 13, &sessionProperties{SessionId: "s1", TagsAdded: []string{"bug", "gone"}}),
		updated("a5", 14, &sessionProperties{SessionId: "s1", TagsRemoved: []string{"gone"}}),
		closed("a6", 15, &sessionProperties{SessionId: "s1"}),

		opened("b1", 20, &sessionProperties{SessionId: "s2", UserId: "bob", AssistantId: "sales", Source: "app", Labels: []string{"vip"}, Data: `no JSON "plan" pro`}, "region", "south"),
		said("b2", 21, "s2", 1, "hello"),
		judged("b3", 22, &feedbackProperties{SessionId: "s2", FeedbackTarget: onMessage, MessageIndexHint: 1, Type: "thumbs_down", UserId: "bob"}),
		updated("b4", 23, &sessionProperties{SessionId: "s2", TagsAdded: []string{"bug"}}),
		updated("b5", 24, &sessionProperties{SessionId: "s2", RunId: "r", TagsAdded: []string{"run"}}),

		opened("c1", 20, &sessionProperties{SessionId: "s3", UserId: "ada", AssistantId: "support", TestMode: true}, "region", "north", "plan", "pro"),
		// Votes that are not shown: taken back, overruled, and on a message that is not there.
		judged("c2", 21, &feedbackProperties{SessionId: "s3", FeedbackTarget: onSession, Type: "thumbs_up", UserId: "ada"}),
		judged("c3", 22, &feedbackProperties{SessionId: "s3", FeedbackTarget: onSession, UserId: "ada"}),
		judged("c4", 23, &feedbackProperties{SessionId: "s3", FeedbackTarget: onMessage, MessageIndexHint: 7, Type: "thumbs_up", UserId: "ada"}),
		said("c5", 24, "s3", 1, "hello"),
		judged("c6", 25, &feedbackProperties{SessionId: "s3", FeedbackTarget: onMessage, MessageIndexHint: 1, Type: "thumbs_up", UserId: "ada"}),
		judged("c7", 26, &feedbackProperties{SessionId: "s3", FeedbackTarget: onMessage, MessageIndexHint: 1, Type: "thumbs_down", UserId: "bob"}),
	)
}

func testSearchFindsByWhatIsKnown(t *testing.T, s *store) {
	s.searchable()
	open, closed := collector.StateOpen, collector.StateClosed
	for what, test := range map[string]struct {
		query collector.Query
		want  []string
	}{
		"everything":            {collector.Query{}, []string{"s3", "s2", "s1"}},
		"reversed":              {collector.Query{Reversed: true}, []string{"s1", "s2", "s3"}},
		"user":                  {collector.Query{UserID: "ada"}, []string{"s3", "s1"}},
		"user, reversed":        {collector.Query{UserID: "ada", Reversed: true}, []string{"s1", "s3"}},
		"nobody":                {collector.Query{UserID: "eve"}, nil},
		"assistant":             {collector.Query{AssistantID: "sales"}, []string{"s2"}},
		"source":                {collector.Query{Source: "web"}, []string{"s1"}},
		"channel":               {collector.Query{Channel: "chat"}, []string{"s1"}},
		"language":              {collector.Query{Language: "sv"}, []string{"s1"}},
		"status":                {collector.Query{Status: "agent"}, []string{"s1"}},
		"tag":                   {collector.Query{Tag: "bug"}, []string{"s2", "s1"}},
		"tag taken off":         {collector.Query{Tag: "gone"}, nil},
		"tag of a run":          {collector.Query{Tag: "run"}, nil},
		"label":                 {collector.Query{Label: "vip"}, []string{"s2", "s1"}},
		"label in any script":   {collector.Query{Label: "öl"}, []string{"s1"}},
		"part of a label":       {collector.Query{Label: "vi"}, nil},
		"property":              {collector.Query{Metadata: map[string]string{"region": "north"}}, []string{"s3", "s1"}},
		"property or data":      {collector.Query{Metadata: map[string]string{"plan": "pro"}}, []string{"s3", "s1"}},
		"a number of the data":  {collector.Query{Metadata: map[string]string{"seats": "3"}}, []string{"s1"}},
		"yes or no of the data": {collector.Query{Metadata: map[string]string{"trial": "true"}}, []string{"s1"}},
		"two of them":           {collector.Query{Metadata: map[string]string{"region": "north", "seats": "3"}}, []string{"s1"}},
		"below the top level":   {collector.Query{Metadata: map[string]string{"a": "b"}}, nil},
		"a path as a name":      {collector.Query{Metadata: map[string]string{"$.plan": "pro", `"]'`: ""}}, nil},
		"thumbs up":             {collector.Query{Vote: collector.VoteUp}, []string{"s1"}},
		"thumbs down":           {collector.Query{Vote: collector.VoteDown}, []string{"s3", "s2"}},
		"from":                  {collector.Query{From: second(20)}, []string{"s3", "s2"}},
		"to":                    {collector.Query{To: second(20)}, []string{"s1"}},
		"from and to":           {collector.Query{From: second(10), To: second(11)}, []string{"s1"}},
		"open":                  {collector.Query{State: &open}, []string{"s3", "s2"}},
		"closed":                {collector.Query{State: &closed}, []string{"s1"}},
		"idle by then":          {collector.Query{State: &closed, At: second(31), Idle: 10 * time.Second}, []string{"s2", "s1"}},
		"not idle by then":      {collector.Query{State: &open, At: second(31), Idle: 10 * time.Second}, []string{"s3"}},
		"all at once":           {collector.Query{UserID: "ada", AssistantID: "support", Tag: "bug", Label: "vip", Vote: collector.VoteUp}, []string{"s1"}},
	} {
		s.finds(what, test.query, test.want...)
	}
}

func testSearchPages(t *testing.T, s *store) {
	var want []string
	for n := range 25 {
		id := fmt.Sprintf("s%02d", n)
		s.append(said(ids(n), n/3, id, 1, "x")) // three at a time
		want = append(want, id)
	}
	s.finds("oldest first", collector.Query{Reversed: true}, want...)
	slices.Reverse(want)
	s.finds("newest first", collector.Query{}, want...)
	get := func(offset, size int, token string) ([]string, string) {
		t.Helper()
		hits, next, err := s.Search(context.Background(), shop, collector.Query{}, collector.Page{Size: size, Token: token}, offset)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, hit := range hits {
			got = append(got, hit.ID)
		}
		return got, next
	}
	got, next := get(3, 4, "")
	equal(t, "after an offset", got, want[3:7])
	got, _ = get(0, 4, next)
	equal(t, "and on from there", got, want[7:11])
	got, next = get(25, 4, "")
	equal(t, "past the end", got, []string{})
	equal(t, "token past the end", next, "")
	for _, offset := range []int{-1, collector.MaxOffset + 1} {
		if _, _, err := s.Search(context.Background(), shop, collector.Query{}, collector.Page{}, offset); !errors.Is(err, collector.ErrQuery) {
			t.Errorf("offset %d: %v, want ErrQuery", offset, err)
		}
	}
	_, next = get(0, 4, "")
	for _, token := range []string{"x", "!", next + "A"} {
		if _, _, err := s.Search(context.Background(), shop, collector.Query{Reversed: token == next+"A"}, collector.Page{Token: token}, 0); !errors.Is(err, collector.ErrPageToken) {
			t.Errorf("token %q: %v, want ErrPageToken", token, err)
		}
	}
	if _, _, err := s.Search(context.Background(), shop, collector.Query{Reversed: true}, collector.Page{Token: next}, 0); !errors.Is(err, collector.ErrPageToken) {
		t.Errorf("a token of the other direction: %v, want ErrPageToken", err)
	}
}

func testConversationByID(t *testing.T, s *store) {
	s.searchable()
	for _, want := range s.conversations(shop, 100) {
		got, err := s.Conversation(context.Background(), shop, want.ID)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, want.ID, got, want)
	}
	for project, id := range map[string]string{shop: "nobody", "other": "s1"} {
		if _, err := s.Conversation(context.Background(), project, id); !errors.Is(err, collector.ErrNotFound) {
			t.Errorf("%s of %s: %v, want ErrNotFound", id, project, err)
		}
	}
}

func testRunsAddUp(t *testing.T, s *store) {
	step := func(id string, at int, index int32, p *messageProperties) collector.Fact {
		p.SessionId, p.MessageIndexHint, p.MessageRole, p.MessageContent = "s", index, roleAssistant, "x"
		return created(id, at, p)
	}
	s.append(
		said("e0", 1, "s", 1, "no run"),
		step("e1", 10, 2, &messageProperties{RunId: "r2", Agent: "a-1", Model: "m1", InputTokens: proto.Int64(10), Cost: proto.Float64(0.5), Latency: durationpb.New(100 * time.Millisecond), Success: proto.Bool(false), Error: "timeout"}),
		step("e2", 12, 3, &messageProperties{RunId: "r2", Model: "m2", InputTokens: proto.Int64(5), OutputTokens: proto.Int64(7), Latency: durationpb.New(50 * time.Millisecond), Success: proto.Bool(true)}),
		step("e3", 5, 4, &messageProperties{RunId: "r1", Success: proto.Bool(true)}),
		step("e4", 10, 5, &messageProperties{RunId: "r3"}),
		updated("e5", 20, &sessionProperties{SessionId: "s", RunId: "r2", TagsAdded: []string{"slow", "bad", "gone"}}),
		updated("e6", 21, &sessionProperties{SessionId: "s", RunId: "r2", TagsRemoved: []string{"gone"}}),
		updated("e7", 22, &sessionProperties{SessionId: "s", TagsAdded: []string{"of the session"}}),
	)
	got := pages(t, 2, func(page collector.Page) ([]collector.Run, string, error) {
		return s.Runs(context.Background(), shop, "s", page)
	})
	latency := 50 * time.Millisecond
	equal(t, "runs", got, []collector.Run{
		{ID: "r1", StartTime: second(5), EndTime: second(5), Messages: 1, Detail: collector.Detail{RunID: "r1", Success: new(true)}},
		{ID: "r2", Agent: "a-1", Model: "m2", StartTime: second(10), EndTime: second(12), Messages: 2, Tags: []string{"bad", "slow"},
			Detail: collector.Detail{RunID: "r2", Agent: "a-1", Model: "m2", Success: new(false), Error: "timeout", Latency: &latency,
				InputTokens: new(int64(15)), OutputTokens: new(int64(7)), Cost: new(0.5)}},
		{ID: "r3", StartTime: second(10), EndTime: second(10), Messages: 1, Detail: collector.Detail{RunID: "r3"}},
	})
	s.append(said("f0", 1, "none", 1, "no run"))
	if got, next, err := s.Runs(context.Background(), shop, "none", collector.Page{}); err != nil || len(got) != 0 || next != "" {
		t.Errorf("of a conversation without runs: %v, %q, %v", got, next, err)
	}
	if _, _, err := s.Runs(context.Background(), shop, "nobody", collector.Page{}); !errors.Is(err, collector.ErrNotFound) {
		t.Errorf("of a conversation that is not there: %v, want ErrNotFound", err)
	}
	if _, _, err := s.Runs(context.Background(), shop, "s", collector.Page{Token: "?"}); !errors.Is(err, collector.ErrPageToken) {
		t.Errorf("after a token of nobody's: %v, want ErrPageToken", err)
	}
}
