package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

func testAppendIsIdempotent(t *testing.T, s *store) {
	facts := []collector.Fact{said("e1", 0, "s", 1, "hello"), said("e2", 1, "s", 2, "again")}
	equal(t, "first append", s.append(facts...), collector.Appended{Stored: 2})
	before := s.conversation("s")
	equal(t, "second append", s.append(facts...), collector.Appended{Duplicate: 2})
	equal(t, "append of one old and one new", s.append(facts[0], said("e3", 2, "s", 3, "new")), collector.Appended{Stored: 1, Duplicate: 1})
	after := s.conversation("s")
	equal(t, "messages before and after", []int{before.MessageCount, after.MessageCount}, []int{2, 3})
	equal(t, "totals", s.totals(shop), collector.Totals{Facts: 3, Conversations: 1, Messages: 3})
}

func testAppendCountsRepetitionsWithinABatch(t *testing.T, s *store) {
	e := said("e1", 0, "s", 1, "hello")
	// The id alone says that it is the same fact: what came first stays.
	equal(t, "append", s.append(e, e, said("e1", 5, "s", 1, "other")), collector.Appended{Stored: 1, Duplicate: 2})
	equal(t, "content", s.message("s", 1).Content, "hello")
}

func testAppendStoresAllOrNothing(t *testing.T, s *store) {
	const broken = "not \xff UTF-8"
	_, err := s.Append(context.Background(), shop, collector.Batch{Facts: []collector.Fact{
		said("e1", 0, "s", 1, "hello"),
		said("e2", 0, "s", 2, broken),
	}})
	if err == nil {
		t.Fatal("Append of text that protobuf cannot hold returned no error")
	}
	if strings.Contains(err.Error(), broken) || strings.Contains(err.Error(), "hello") {
		t.Errorf("error %q shows content", err)
	}
	equal(t, "totals", s.totals(shop), collector.Totals{})
	equal(t, "append of nothing", s.append(), collector.Appended{})
}

// Facts are kept even when they say nothing that a view could use.
func testAppendTakesAnyEvent(t *testing.T, s *store) {
	facts := []collector.Fact{
		{ID: "no event", Time: epoch},
		{ID: "no fields", Event: &ingestionv1alpha.Event{}, Time: epoch},
		fact("unknown type", 0, "page_view", &eventProperties{}),
		fact("no properties", 0, "session_open", nil),
		fact("other properties", 0, "message_create", &eventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_UserProperties_{
			UserProperties: &userProperties{UserId: "u"}}}),
		opened("no session", 0, &sessionProperties{}),
		closed("no session either", 0, &sessionProperties{}),
		recognized("no user", 0, &userProperties{UserEmail: "a@b"}),
		said("no index", 0, "s", 0, "x"),
		said("negative index", 0, "s", -1, "x"),
		judged("no target", 0, &feedbackProperties{SessionId: "s", Type: "thumbs_up"}),
		judged("no message", 0, &feedbackProperties{SessionId: "s", Type: "thumbs_up", FeedbackTarget: onMessage}),
		judged("no thumb", 0, &feedbackProperties{SessionId: "s", Type: "heart", FeedbackTarget: onSession}),
	}
	equal(t, "append", s.append(facts...), collector.Appended{Stored: len(facts)})
	equal(t, "totals", s.totals(shop), collector.Totals{Facts: len(facts)})
}

func testAppendKeepsWhatIsSetAside(t *testing.T, s *store) {
	batch := collector.Batch{
		Facts: []collector.Fact{said("e1", 0, "s", 1, "hello")},
		SetAside: []collector.SetAside{
			{EventID: "b1", Reason: "bad_time", Raw: []byte("raw\x00bytes"), ReceiveTime: epoch},
			{Reason: "unreadable", Raw: nil, ReceiveTime: epoch},
			{Reason: "unreadable", Raw: nil, ReceiveTime: epoch}, // an event of its own
		},
	}
	for i, want := range []collector.Appended{{Stored: 1, SetAside: 3}, {Duplicate: 1, SetAside: 3}} {
		got, err := s.Append(context.Background(), shop, batch)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprint("append ", i), got, want)
		// A request that is sent again, maybe received at another time, sets nothing new aside.
		batch.SetAside[0].ReceiveTime = second(60)
		equal(t, "totals", s.totals(shop), collector.Totals{Facts: 1, SetAside: 3, Conversations: 1, Messages: 1})
	}
}

func testAppendObeysContext(t *testing.T, s *store) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Append(ctx, shop, collector.Batch{Facts: []collector.Fact{said("e1", 0, "s", 1, "x")}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Append with an ended context: %v, want %v", err, context.Canceled)
	}
	// The store goes on.
	s.append(said("e2", 0, "s", 2, "y"))
}

// Many callers at once are told each of their own facts, also when they all bring the same one.
func testAppendCountsForEachCaller(t *testing.T, s *store) {
	const callers, each = 32, 8
	var (
		wait  sync.WaitGroup
		got   [callers]collector.Appended
		total collector.Appended
	)
	for n := range callers {
		wait.Go(func() {
			facts := []collector.Fact{said("shared", 0, "shared", 1, "hello")}
			for i := range int32(each) {
				facts = append(facts, said(fmt.Sprint(n, "-", i), 0, fmt.Sprint("s", n), i+1, "hello"))
			}
			var err error
			if got[n], err = s.Append(context.Background(), shop, collector.Batch{Facts: facts}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for n, a := range got {
		if a.Stored < each || a.Stored+a.Duplicate != each+1 {
			t.Errorf("caller %d was told %+v of %d own facts and a shared one", n, a, each)
		}
		total.Stored += a.Stored
		total.Duplicate += a.Duplicate
	}
	equal(t, "told in sum", total, collector.Appended{Stored: callers*each + 1, Duplicate: callers - 1})
	equal(t, "totals", s.totals(shop), collector.Totals{
		Facts: callers*each + 1, Conversations: callers + 1, Messages: callers*each + 1})
}

func testProjectsAreSeparate(t *testing.T, s *store) {
	facts := []collector.Fact{
		opened("e1", 0, &sessionProperties{SessionId: "s", UserId: "u"}),
		said("e2", 1, "s", 1, "hello"),
		judged("e3", 2, &feedbackProperties{SessionId: "s", FeedbackTarget: onMessage, MessageIndexHint: 1, Type: "thumbs_up"}),
	}
	s.append(facts...)
	equal(t, "totals of another project", s.totals("other"), collector.Totals{})
	got, err := s.Append(context.Background(), "other", collector.Batch{Facts: facts[:2]})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the same ids in another project", got, collector.Appended{Stored: 2})
	equal(t, "vote in another project", s.messages("other", "s", 10)[0].Vote, collector.VoteNone)
	equal(t, "vote in this one", s.message("s", 1).Vote, collector.VoteUp)
}

// What chat apps send is shown as it came, whatever it means to a database.
func testTextIsKeptAsItIs(t *testing.T, s *store) {
	texts := []string{"nul \x00 inside", "nul \x00 other", "'; DROP TABLE facts; --", "line\nbreak\ttab", "emoji 👩‍👩‍👧", "<b>&amp;</b>", `\u0000`, " ", "é", "e\u0301"}
	for i, text := range texts {
		s.append(opened(ids(i)+text, i, &sessionProperties{SessionId: text, UserId: text, SessionTitle: text}, "key", text),
			said(ids(i)+text+"m", i, text, 1, text, "key", text),
			recognized(ids(i)+text+"u", i, &userProperties{UserId: text, UserDisplayName: text}))
	}
	equal(t, "totals", s.totals(shop), collector.Totals{Facts: 3 * len(texts), Users: len(texts), Conversations: len(texts), Messages: len(texts)})
	for _, text := range texts {
		c, m := s.conversation(text), s.message(text, 1)
		equal(t, "conversation", []string{c.UserID, c.Title, c.Properties["key"]}, []string{text, text, text})
		equal(t, "message", []string{m.Content, m.Properties["key"]}, []string{text, text})
		equal(t, "user", s.user(shop, text).DisplayName, text)
	}
}

func testKeys(t *testing.T, s *store) {
	ctx := context.Background()
	key := collector.Key{Hash: sha256.Sum256([]byte("key")), Hint: "wxyz", Project: shop, Scope: collector.ScopeIngest, CreateTime: epoch}
	if _, err := s.KeyByHash(ctx, key.Hash); !errors.Is(err, collector.ErrNotFound) {
		t.Errorf("KeyByHash of an unknown key: %v, want ErrNotFound", err)
	}
	if err := s.CreateKey(ctx, key); err != nil {
		t.Fatal(err)
	}
	got, err := s.KeyByHash(ctx, key.Hash)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "key", got, key)
	if err := s.CreateKey(ctx, key); err == nil {
		t.Error("CreateKey of a key that is there returned no error")
	}
	// A second key of the project works beside the first.
	key.Hash[0]++
	if err := s.CreateKey(ctx, key); err != nil {
		t.Error(err)
	}
}

func testKeysExpire(t *testing.T, s *store) {
	ctx := context.Background()
	old := collector.Key{Hash: sha256.Sum256([]byte("old")), Hint: "wxyz", Project: shop, Scope: collector.ScopeIngest, CreateTime: epoch}
	fresh := collector.Key{Hash: sha256.Sum256([]byte("new")), Hint: "abcd", Project: shop, Scope: collector.ScopeIngest, CreateTime: second(1)}
	if err := s.RotateKey(ctx, old.Hash, fresh, second(9)); !errors.Is(err, collector.ErrNotFound) {
		t.Errorf("RotateKey of an unknown key: %v, want ErrNotFound", err)
	}
	if err := s.ExpireKey(ctx, fresh.Hash, second(9)); !errors.Is(err, collector.ErrNotFound) {
		t.Errorf("ExpireKey of what RotateKey must not have kept: %v, want ErrNotFound", err)
	}
	if err := s.CreateKey(ctx, old); err != nil {
		t.Fatal(err)
	}
	if err := s.RotateKey(ctx, old.Hash, fresh, second(9)); err != nil {
		t.Fatal(err)
	}
	if err := s.ExpireKey(ctx, old.Hash, second(99)); err != nil {
		t.Fatal(err)
	}
	s.UseKey(fresh.Hash, second(5))
	s.UseKey(fresh.Hash, second(4))
	if err := s.Ready(ctx); err != nil { // written after what was noted before
		t.Fatal(err)
	}
	old.ExpireTime, fresh.LastUsed = second(9), second(5)
	for project, want := range map[string][]collector.Key{"": {old, fresh}, shop: {old, fresh}, "other": nil} {
		got, err := s.Keys(ctx, project)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprintf("keys of %q", project), got, want)
	}
}

func testReadyThenClosed(t *testing.T, s *store) {
	ctx := context.Background()
	for range 2 {
		if err := s.Ready(ctx); err != nil {
			t.Errorf("Ready: %v", err)
		}
	}
	s.append(said("e1", 0, "s", 1, "hello"))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := s.Append(ctx, shop, collector.Batch{}); err == nil {
		t.Error("Append after Close returned no error")
	}
	if err := s.Ready(ctx); err == nil {
		t.Error("Ready after Close returned no error")
	}
	if _, err := s.Totals(ctx, shop); err == nil {
		t.Error("Totals after Close returned no error")
	}
}

// zeroTimes are what clients send whose language has a zero time, or a broken clock.
func zeroTimes() []*timestamppb.Timestamp {
	return []*timestamppb.Timestamp{
		{Seconds: -62135596800},                          // year 1
		{Seconds: 253402300799},                          // year 9999
		{Seconds: 1 << 60}, {Seconds: 1, Nanos: 1 << 30}, // malformed
	}
}

func testHasProject(t *testing.T, s *store) {
	ctx := context.Background()
	has := func(project string) bool {
		found, err := s.HasProject(ctx, project)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	equal(t, "before there is a key", has(shop), false)
	key := collector.Key{Hash: sha256.Sum256([]byte("key")), Project: shop, Scope: collector.ScopeIngest, CreateTime: epoch}
	if err := s.CreateKey(ctx, key); err != nil {
		t.Fatal(err)
	}
	equal(t, "with a key", []bool{has(shop), has("other"), has("")}, []bool{true, false, false})
}
