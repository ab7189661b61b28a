package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/search"
)

func testSearchFindsByText(t *testing.T, s *store) {
	s.append(
		opened("a0", 10, &sessionProperties{SessionId: "s1", UserId: "ada"}),
		said("a1", 10, "s1", 1, "Where is my order? It was due on Monday."),
		said("a2", 11, "s1", 2, "Une CRÈME brûlée, s'il vous plaît 🙂"),
		said("b1", 20, "s2", 1, "order my where"),
		said("b2", 21, "s2", 2, "我想退货，谢谢"),
		said("c1", 30, "s3", 1, "orders 주문을 취소해 주세요"),
		said("d1", 30, "s4", 1, "call 408-247-8880 _under_score"),
	)
	if _, err := s.Append(context.Background(), "other", collector.Batch{Facts: []collector.Fact{said("a1", 10, "o1", 1, "order")}}); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]string{
		"order":                    {"s2", "s1"},
		"ORDER  where":             {"s2", "s1"},
		`"my order"`:               {"s1"},
		`“is my” monday`:           {"s1"},
		"order*":                   {"s3", "s2", "s1"},
		"ord* -orders":             {"s2", "s1"},
		`where -"my order"`:        {"s2"},
		"monday OR orders":         {"s3", "s1"},
		"order monday OR 退货":       {"s1"},
		"creme brulee":             {"s1"},
		"Crème Brûlée":             {"s1"},
		"🙂":                        {"s1"},
		"退货":                       {"s2"},
		"货退":                       nil,
		"谢 退":                      {"s2"},
		"주문":                       {"s3"},
		"247-8880":                 {"s4"},
		"8880-247":                 nil,
		"score":                    {"s4"},
		"order 退货":                 nil, // in one message
		"nothing":                  nil,
		"text:order":               nil,
		"order AND where":          nil,
		`NEAR("order" "where", 1)`: nil,
	} {
		s.finds(text, collector.Query{Text: text}, want...)
	}
	s.finds("oldest first", collector.Query{Text: "order*", Reversed: true}, "s1", "s2", "s3")
	s.finds("of a user", collector.Query{Text: "order*", UserID: "ada"}, "s1")
	s.finds("from", collector.Query{Text: "order*", From: second(20)}, "s3", "s2")
	s.finds("from, to, reversed", collector.Query{Text: "order*", From: second(10), To: second(30), Reversed: true}, "s1", "s2")

	s.append(said("a3", 12, "s1", 1, "never mind"), said("e1", 5, "s3", 2, "earlier"))
	s.finds("once it says something else", collector.Query{Text: "order*"}, "s2", "s3")
	s.finds("what it says now", collector.Query{Text: "never"}, "s1")
	s.append(closed("e2", 40, &sessionProperties{SessionId: "s3", MessageCount: new(int32(0))}))
	s.finds("behind the end of a transcript", collector.Query{Text: "orders"})
}

func testSearchShowsWhereItIs(t *testing.T, s *store) {
	long := strings.Repeat("word ", 500) + "Ünder the bridge 🌉, under water " + strings.Repeat("word ", 500)
	s.append(
		said("a1", 10, "s", 1, "under"),
		created("a2", 11, &messageProperties{SessionId: "s", MessageIndexHint: 2, MessageRole: roleAssistant, MessageContent: long}),
		said("a3", 12, "s", 3, "not here"),
		created("a4", 13, &messageProperties{SessionId: "s", MessageRole: roleUser, MessageContent: "bridge", Place: &messagePlace{Time: stamp(13)}}),
		said("a5", 14, "s", 5, "under it"), said("a6", 15, "s", 6, "under it all"),
	)
	s.catchUp()
	for what, query := range map[string]collector.Query{"newest": {Text: "under OR bridge"}, "ranked": {Text: "under OR bridge", Ranked: true}, "few": {Text: "under OR bridge", From: second(1)}} {
		hits, next, err := s.Search(context.Background(), shop, query, collector.Page{}, 0)
		if err != nil || len(hits) != 1 || next != "" {
			t.Fatalf("%s: %d hits, %q, %v; want one", what, len(hits), next, err)
		}
		equal(t, "the conversation", hits[0].Conversation, s.conversation("s"))
		got := hits[0].Snippets
		if len(got) == 0 || len(got) > 5 || got[0].Index != 2 || got[0].Role != "assistant" {
			t.Fatalf("%s: snippets %+v; want few, the one with both words first", what, got)
		}
		if n := len(got[0].Text); n > 1000 || len(got[0].Marks) != 3 {
			t.Fatalf("%s: %d bytes and marks %v, want a piece with three", what, n, got[0].Marks)
		}
		for i, want := range []string{"Ünder", "bridge", "under"} {
			mark := got[0].Marks[i]
			if cut := got[0].Text[mark[0]:mark[1]]; cut != want {
				t.Errorf("%s: mark %d is on %q, want %q", what, i, cut, want)
			}
		}
	}
	hits, _, err := s.Search(context.Background(), shop, collector.Query{Text: "bridge -under"}, collector.Page{}, 0)
	if err != nil || len(hits) != 1 {
		t.Fatal(hits, err)
	}
	equal(t, "in a place", hits[0].Snippets, []collector.Snippet{{Index: 7, Role: "user", Text: "bridge", Marks: [][2]int{{0, 6}}}})
	hits, _, err = s.Search(context.Background(), shop, collector.Query{}, collector.Page{}, 0)
	if err != nil || len(hits) != 1 || hits[0].Snippets != nil {
		t.Errorf("without a text: %+v, %v; want no snippets", hits, err)
	}
}

func testSearchRanks(t *testing.T, s *store) {
	for n := range 20 {
		s.append(said(ids(n), n, fmt.Sprintf("common-%02d", n), 1, "the order and nothing of note"))
	}
	s.append(
		said("r1", 1, "long", 1, "refund "+strings.Repeat("something else entirely ", 30)),
		said("r2", 2, "both", 1, "the refund"),
		said("r3", 3, "twice", 1, "refund, the refund"),
		said("r4", 0, "old", 1, "the refund"),
	)
	s.catchUp()
	query := collector.Query{Text: "refund OR the", Ranked: true}
	got := s.search(query, 3)
	equal(t, "the best", got[:4], []string{"twice", "both", "old", "long"})
	equal(t, "then the newest", got[4:6], []string{"common-19", "common-18"})
	equal(t, "all of them", len(got), 24)
	hits, next, err := s.Search(context.Background(), shop, query, collector.Page{Size: 2}, 1)
	if err != nil || len(hits) != 2 || hits[0].ID != "both" {
		t.Fatalf("after an offset: %v, %v", hits, err)
	}
	// What comes meanwhile and is better moves nothing.
	s.append(said("r5", 50, "new", 1, "refund refund refund the"))
	s.catchUp()
	hits, _, err = s.Search(context.Background(), shop, query, collector.Page{Size: 2, Token: next}, 0)
	if err != nil || len(hits) != 2 || hits[0].ID != "long" || hits[1].ID != "common-19" {
		t.Errorf("the next page: %v, %v", hits, err)
	}
	for _, token := range []string{"x", next[:len(next)/2], strings.Repeat("c", 60)} {
		if _, _, err := s.Search(context.Background(), shop, query, collector.Page{Token: token}, 0); !errors.Is(err, collector.ErrPageToken) {
			t.Errorf("token %q: %v, want ErrPageToken", token, err)
		}
	}
}

func testSearchRefuses(t *testing.T, s *store) {
	s.append(said("a1", 10, "s", 1, "hello"))
	for _, query := range []collector.Query{{Ranked: true}, {Text: " "}, {Text: `"secret`}, {Text: "-secret"}, {Text: "secret OR"}, {Text: "?!"},
		{Text: "secret", Ranked: true, Reversed: true}, {Text: strings.Repeat("secret ", 300)}} {
		_, _, err := s.Search(context.Background(), shop, query, collector.Page{}, 0)
		if !errors.Is(err, collector.ErrQuery) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v, want ErrQuery without the text", query, err)
		}
		if _, _, err := s.Count(context.Background(), shop, query); query.Text != "" && !query.Ranked && !errors.Is(err, collector.ErrQuery) {
			t.Errorf("%+v, counted: %v, want ErrQuery", query, err)
		}
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	for _, query := range []collector.Query{{}, {Text: "hello"}, {Text: "hello", Ranked: true}} {
		if _, _, err := s.Search(stopped, shop, query, collector.Page{}, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("%+v, cancelled: %v", query, err)
		}
	}
}

// vocabulary is what random messages say; few words, so that most queries find something.
var vocabulary = []string{"order", "Order", "orders", "où", "ou", "are", "you", "東京", "京都", "東", "🙂", "👍🏽", "e-mail", "mail", "don't", "x_y", "ﬁne", "fine",
	"Straße", "strasse", "주문을", "สวัสดี", "مرحبا", "12", "12.5", "\"", "*", "OR", "-", "\n"}

func randomText(r *rand.Rand) string {
	var words []string
	for range r.IntN(8) {
		words = append(words, vocabulary[r.IntN(len(vocabulary))])
	}
	return strings.Join(words, pick(r, " ", " ", ", ", ""))
}

// randomQuery returns a query that is understood.
func randomQuery(r *rand.Rand) string {
	for {
		var terms []string
		for range 1 + r.IntN(3) {
			word := vocabulary[r.IntN(len(vocabulary))]
			switch r.IntN(7) {
			case 0:
				word = `"` + strings.ReplaceAll(randomText(r), `"`, "") + `"`
			case 1:
				word = string([]rune(word)[:1+r.IntN(len([]rune(word)))]) + "*"
			case 2:
				word = "-" + word
			case 3:
				word += " OR " + vocabulary[r.IntN(len(vocabulary))]
			}
			terms = append(terms, word)
		}
		if text := strings.Join(terms, " "); searchable(text) {
			return text
		}
	}
}

func searchable(text string) bool {
	_, err := search.Parse(text)
	return err == nil
}

// testSearchEqualsAScan compares what is found, after random histories and what is done to them, with a look at every
// conversation and every message.
func testSearchEqualsAScan(t *testing.T, s *store) {
	ctx := context.Background()
	for n := range uint64(Histories() / 2) {
		r := rand.New(rand.NewPCG(3, n))
		facts := slices.Concat(history(r), nil)
		for _, f := range facts {
			if m := f.Event.GetProperties().GetMessageProperties(); m != nil {
				m.MessageContent = randomText(r)
			}
		}
		project := fmt.Sprintf("scan-%d", n)
		told := slices.Clone(facts)
		r.Shuffle(len(told), func(i, j int) { told[i], told[j] = told[j], told[i] })
		for len(told) > 0 {
			k := 1 + r.IntN(len(told))
			if _, err := s.Append(ctx, project, collector.Batch{Facts: told[:k]}); err != nil {
				t.Fatal(err)
			}
			if told = told[k:]; r.IntN(2) == 0 {
				s.catchUp()
			}
		}
		doneTo := ""
		var err error
		switch r.IntN(8) {
		case 0:
			doneTo = "erased"
			_, err = s.Erase(ctx, project, "ada", "test")
		case 1:
			doneTo = "retained"
			_, err = s.Retain(ctx, collector.Retention{ContentBefore: second(3)})
		case 2:
			if n%5 == 0 { // it is of all projects
				doneTo = "replayed"
				_, err = s.Replay(ctx)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		s.catchUp()
		for range 12 {
			query := collector.Query{Reversed: r.IntN(2) == 0, UserID: pick(r, "", "", "", "ada"), Vote: collector.Vote(max(0, r.IntN(6)-3)),
				Tag: pick(r, "", "", "", "vip"), Source: pick(r, "", "", "web")}
			if r.IntN(6) > 0 {
				query.Text = randomQuery(r)
			}
			if r.IntN(4) == 0 {
				query.From, query.To = second(r.IntN(3)), second(3+r.IntN(3))
			}
			s.equalsScan(fmt.Sprintf("history %d %s, %+v", n, doneTo, query), project, query, 1+r.IntN(3))
		}
		if t.Failed() {
			return
		}
	}
}

// equalsScan compares one query with a look at everything.
func (s *store) equalsScan(what, project string, query collector.Query, size int) {
	s.t.Helper()
	want := s.scan(project, query)
	got := []string{}
	for _, hit := range pages(s.t, size, func(page collector.Page) ([]collector.Hit, string, error) {
		return s.Search(context.Background(), project, query, page, 0)
	}) {
		got = append(got, hit.ID)
		for _, snippet := range hit.Snippets {
			for _, mark := range snippet.Marks {
				if mark[0] < 0 || mark[0] >= mark[1] || mark[1] > len(snippet.Text) {
					s.t.Errorf("%s: mark %v in %d bytes", what, mark, len(snippet.Text))
				}
			}
		}
	}
	equal(s.t, what, got, want)
	if n, exact, err := s.Count(context.Background(), project, query); err != nil || !exact || n != len(want) {
		s.t.Errorf("%s: counted %d, %v, %v; want %d", what, n, exact, err, len(want))
	}
	if query.Text == "" || query.Reversed {
		return
	}
	query.Ranked, got = true, []string{}
	for _, hit := range pages(s.t, size, func(page collector.Page) ([]collector.Hit, string, error) {
		return s.Search(context.Background(), project, query, page, 0)
	}) {
		got = append(got, hit.ID)
	}
	slices.Sort(got)
	slices.Sort(want)
	equal(s.t, what+", ranked", got, want)
}

// scan finds conversations the plain way.
func (s *store) scan(project string, query collector.Query) []string {
	s.t.Helper()
	ids := []string{}
	for _, c := range s.conversations(project, 100) {
		messages := s.messages(project, c.ID, 100)
		voted := func(m collector.Message) bool { return m.Vote == query.Vote }
		if query.UserID != "" && c.UserID != query.UserID || query.Source != "" && c.Source != query.Source ||
			query.Tag != "" && !slices.Contains(c.Tags, query.Tag) ||
			query.Vote != collector.VoteNone && c.Vote != query.Vote && !slices.ContainsFunc(messages, voted) ||
			!query.From.IsZero() && c.StartTime.Before(query.From) || !query.To.IsZero() && !c.StartTime.Before(query.To) {
			continue
		}
		if query.Text != "" {
			parsed, err := search.Parse(query.Text)
			if err != nil {
				s.t.Fatal(err)
			}
			matcher := parsed.Matcher()
			if !slices.ContainsFunc(messages, func(m collector.Message) bool { return matcher.Match(m.Content) }) {
				continue
			}
		}
		ids = append(ids, c.ID)
	}
	if query.Reversed {
		slices.Reverse(ids)
	}
	return ids
}
