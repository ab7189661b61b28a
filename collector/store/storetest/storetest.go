// Package storetest is the behaviour that every [collector.Store] shows, as one suite of tests. A store's own tests call
// [Run] and add what only that store can do.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/openalign/align/collector"
)

// Run tests the stores that open returns: each empty, or at least without the projects "shop" and "other", and closed by
// the test.
func Run(t *testing.T, open func(t *testing.T) collector.Store) {
	runAll(t, open, []test{
		{"AppendIsIdempotent", testAppendIsIdempotent},
		{"AppendCountsRepetitionsWithinABatch", testAppendCountsRepetitionsWithinABatch},
		{"AppendStoresAllOrNothing", testAppendStoresAllOrNothing},
		{"AppendTakesAnyEvent", testAppendTakesAnyEvent},
		{"AppendKeepsWhatIsSetAside", testAppendKeepsWhatIsSetAside},
		{"AppendObeysContext", testAppendObeysContext},
		{"AppendCountsForEachCaller", testAppendCountsForEachCaller},
		{"ProjectsAreSeparate", testProjectsAreSeparate},
		{"SessionKeepsItsFirstUser", testSessionKeepsItsFirstUser},
		{"SessionShowsLastAssistantAndTitle", testSessionShowsLastAssistantAndTitle},
		{"SessionPropertiesMergeByKey", testSessionPropertiesMergeByKey},
		{"PropertiesAreBounded", testPropertiesAreBounded},
		{"SessionTimesAreThoseOfActivity", testSessionTimesAreThoseOfActivity},
		{"SessionTimesIgnoreZeroTimes", testSessionTimesIgnoreZeroTimes},
		{"CloseSpeaksForAMoment", testCloseSpeaksForAMoment},
		{"CloseAloneMakesASession", testCloseAloneMakesASession},
		{"MessageMakesASession", testMessageMakesASession},
		{"MessageRoles", testMessageRoles},
		{"MessageLastVersionIsCurrent", testMessageLastVersionIsCurrent},
		{"MessagePropertiesAreOfTheVersion", testMessagePropertiesAreOfTheVersion},
		{"MessagesOfUnknownConversation", testMessagesOfUnknownConversation},
		{"TranscriptHidesWhatIsBehindItsEnd", testTranscriptHidesWhatIsBehindItsEnd},
		{"MessagesInPlacesAreInOrderOfTime", testMessagesInPlacesAreInOrderOfTime},
		{"VoteOnATurnIsOnItsAnswer", testVoteOnATurnIsOnItsAnswer},
		{"HasProject", testHasProject},
		{"UserFieldsMerge", testUserFieldsMerge},
		{"UserCountryBeatsIP", testUserCountryBeatsIP},
		{"UserIsMadeByOpening", testUserIsMadeByOpening},
		{"VoteLastOfAVoterCounts", testVoteLastOfAVoterCounts},
		{"VoteOfSeveralVotersIsTheLatest", testVoteOfSeveralVotersIsTheLatest},
		{"VoteWaitsForItsMessage", testVoteWaitsForItsMessage},
		{"VoteIsNoActivity", testVoteIsNoActivity},
		{"ConversationsPage", testConversationsPage},
		{"MessagesPage", testMessagesPage},
		{"PagesAreBoundedInBytes", testPagesAreBoundedInBytes},
		{"PageTokensAreChecked", testPageTokensAreChecked},
		{"TextIsKeptAsItIs", testTextIsKeptAsItIs},
		{"Keys", testKeys},
		{"KeysExpire", testKeysExpire},
		{"ReplayChangesNothing", testReplayChangesNothing},
		{"EraseKeepsCountsAndForgetsThePerson", testEraseKeepsCountsAndForgetsThePerson},
		{"RetainTakesWhatIsOld", testRetainTakesWhatIsOld},
		{"BackupIsAllThereIs", testBackupIsAllThereIs},
		{"ReadyThenClosed", testReadyThenClosed},
		{"ViewsDoNotDependOnArrival", testViewsDoNotDependOnArrival},
	})
	RunSearcher(t, open)
}

// RunSearcher is the part of [Run] that is about finding conversations.
func RunSearcher(t *testing.T, open func(t *testing.T) collector.Store) {
	runAll(t, open, []test{
		{"SearchFindsByWhatIsKnown", testSearchFindsByWhatIsKnown},
		{"SearchPages", testSearchPages},
		{"SearchFindsByText", testSearchFindsByText},
		{"SearchShowsWhereItIs", testSearchShowsWhereItIs},
		{"SearchRanks", testSearchRanks},
		{"SearchRefuses", testSearchRefuses},
		{"SearchEqualsAScan", testSearchEqualsAScan},
		{"ConversationByID", testConversationByID},
		{"RunsAddUp", testRunsAddUp},
	})
}

type test struct {
	name string
	run  func(*testing.T, *store)
}

func runAll(t *testing.T, open func(t *testing.T) collector.Store, tests []test) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &store{Store: open(t), t: t}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			test.run(t, s)
		})
	}
}

// store adds the ways in which tests look at a store. All fail the test on any error.
type store struct {
	collector.Store
	t *testing.T
}

const shop = "shop"

// append stores facts in one batch.
func (s *store) append(facts ...collector.Fact) collector.Appended {
	s.t.Helper()
	got, err := s.Append(context.Background(), shop, collector.Batch{Facts: facts})
	if err != nil {
		s.t.Fatalf("Append: %v", err)
	}
	return got
}

// conversation returns one conversation, looked for in the list.
func (s *store) conversation(id string) collector.Conversation {
	s.t.Helper()
	for _, c := range s.conversations(shop, 100) {
		if c.ID == id {
			return c
		}
	}
	s.t.Fatalf("no conversation %q in the list", id)
	panic("unreachable")
}

// conversations returns all of a project's, page by page.
func (s *store) conversations(project string, size int) (all []collector.Conversation) {
	s.t.Helper()
	return pages(s.t, size, func(page collector.Page) ([]collector.Conversation, string, error) {
		return s.Conversations(context.Background(), project, page)
	})
}

func (s *store) messages(project, conversation string, size int) (all []collector.Message) {
	s.t.Helper()
	return pages(s.t, size, func(page collector.Page) ([]collector.Message, string, error) {
		return s.Messages(context.Background(), project, conversation, page)
	})
}

// pages reads a list to its end, and checks that every page but the last is full: in rows, or because the next row would
// have made it too large. Sizes are those in JSON, which is about what a store counts.
func pages[T any](t *testing.T, size int, list func(collector.Page) ([]T, string, error)) (all []T) {
	t.Helper()
	var before []T // the page before
	for page := (collector.Page{Size: size}); ; {
		some, next, err := list(page)
		if err != nil {
			t.Fatalf("page after %d rows: %v", len(all), err)
		}
		if page.Token != "" && len(before) < size && len(some) > 0 && len(show(t, before))+len(show(t, some[0])) < collector.MaxPageBytes/2 {
			t.Fatalf("page of %d rows, want %d as another follows", len(before), size)
		}
		if bytes := len(show(t, some)); len(some) > 1 && bytes > collector.MaxPageBytes+1<<20 {
			t.Fatalf("page of %d rows and %d bytes, want no more than %d bytes", len(some), bytes, collector.MaxPageBytes)
		}
		all = append(all, some...)
		if next == "" {
			return all
		}
		if len(some) == 0 || len(some) > size {
			t.Fatalf("page of %d rows, want %d as another follows", len(some), size)
		}
		before, page.Token = some, next
	}
}

func (s *store) message(conversation string, index int32) collector.Message {
	s.t.Helper()
	for _, m := range s.messages(shop, conversation, 100) {
		if m.Index == index {
			return m
		}
	}
	s.t.Fatalf("no message %d in %q", index, conversation)
	panic("unreachable")
}

func (s *store) user(project, id string) collector.User {
	s.t.Helper()
	got, err := s.User(context.Background(), project, id)
	if err != nil {
		s.t.Fatalf("User(%q): %v", id, err)
	}
	return got
}

func (s *store) totals(project string) collector.Totals {
	s.t.Helper()
	got, err := s.Totals(context.Background(), project)
	if err != nil {
		s.t.Fatalf("Totals: %v", err)
	}
	return got
}

// views returns all that a project shows.
func (s *store) views(project string) views {
	s.t.Helper()
	v := views{
		Conversations: s.conversations(project, 2),
		Messages:      map[string][]collector.Message{},
		Users:         map[string]collector.User{},
		Totals:        s.totals(project),
	}
	for _, c := range v.Conversations {
		if messages := s.messages(project, c.ID, 3); len(messages) > 0 {
			v.Messages[c.ID] = messages
		}
	}
	for _, id := range historyUsers {
		u, err := s.User(context.Background(), project, id)
		if errors.Is(err, collector.ErrNotFound) {
			continue
		}
		if err != nil {
			s.t.Fatalf("User(%q): %v", id, err)
		}
		v.Users[id] = u
	}
	return v
}

// equal compares anything that JSON can show, times with nanoseconds included.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := show(t, got), show(t, want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func show(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
