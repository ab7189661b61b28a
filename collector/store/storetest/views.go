package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

func testSessionKeepsItsFirstUser(t *testing.T, s *store) {
	s.append(opened("e3", 3, &sessionProperties{SessionId: "s", UserId: "late"}))
	equal(t, "user", s.conversation("s").UserID, "late")
	s.append(
		opened("e1", 1, &sessionProperties{SessionId: "s"}),
		opened("e2b", 2, &sessionProperties{SessionId: "s", UserId: "second by id"}),
		opened("e2a", 2, &sessionProperties{SessionId: "s", UserId: "first"}))
	equal(t, "user", s.conversation("s").UserID, "first")
}

func testSessionShowsLastAssistantAndTitle(t *testing.T, s *store) {
	s.append(
		opened("e2", 2, &sessionProperties{SessionId: "s", AssistantId: "new", SessionTitle: "New"}),
		opened("e1", 1, &sessionProperties{SessionId: "s", AssistantId: "old", SessionTitle: "Old"}),
		opened("e3", 3, &sessionProperties{SessionId: "s"}),                                                // says nothing of either
		closed("e4", 4, &sessionProperties{SessionId: "s", AssistantId: "closed", SessionTitle: "Closed"})) // is no opening
	c := s.conversation("s")
	equal(t, "assistant and title", []string{c.AssistantID, c.Title}, []string{"new", "New"})
}

func testSessionPropertiesMergeByKey(t *testing.T, s *store) {
	s.append(opened("e2", 2, &sessionProperties{SessionId: "s"}, "a", "open 2", "b", "open 2"))
	s.append(
		opened("e1", 1, &sessionProperties{SessionId: "s"}, "a", "open 1", "c", "open 1"),
		closed("e3", 3, &sessionProperties{SessionId: "s"}, "b", "", "d", "close"),
		said("e4", 4, "s", 1, "x", "a", "of the message"))
	equal(t, "properties", s.conversation("s").Properties, map[string]string{"a": "open 2", "b": "", "c": "open 1", "d": "close"})
}

func testSessionTimesAreThoseOfActivity(t *testing.T, s *store) {
	times := func() []string {
		c := s.conversation("s")
		return []string{c.StartTime.Sub(epoch).String(), c.LastActivity.Sub(epoch).String()}
	}
	for _, step := range []struct {
		what        string
		fact        collector.Fact
		start, last string
	}{
		{"an opening by its event time", opened("e1", 100, &sessionProperties{SessionId: "s"}), "1m40s", "1m40s"},
		{"an opening by its start time", opened("e2", 100, &sessionProperties{SessionId: "s", SessionStartTime: stamp(90)}), "1m30s", "1m40s"},
		{"a message by its event time", said("e3", 110, "s", 1, "x"), "1m30s", "1m50s"},
		{"a message by its own time", created("e4", 300, &messageProperties{SessionId: "s", MessageIndexHint: 2, MessageRole: roleUser,
			MessageContent: "x", MessageCreateTime: stamp(80)}), "1m20s", "1m50s"},
		{"a close without end time", closed("e5", 400, &sessionProperties{SessionId: "s"}), "1m20s", "1m50s"},
		{"a close with end time", closed("e6", 400, &sessionProperties{SessionId: "s", SessionEndTime: stamp(120)}), "1m20s", "2m0s"},
		{"an end before the start", closed("e7", 400, &sessionProperties{SessionId: "s", SessionEndTime: stamp(10)}), "1m20s", "2m0s"},
	} {
		s.append(step.fact)
		equal(t, step.what, times(), []string{step.start, step.last})
	}
	equal(t, "start time to the nanosecond", s.conversation("s").StartTime, second(80))
}

func testSessionTimesIgnoreZeroTimes(t *testing.T, s *store) {
	for i, zero := range zeroTimes() {
		id := ids(i)
		s.append(
			opened(id+"a", 10, &sessionProperties{SessionId: id, UserId: id, SessionStartTime: zero}),
			created(id+"b", 20, &messageProperties{SessionId: id, MessageIndexHint: 1, MessageRole: roleUser, MessageContent: "x", MessageCreateTime: zero}),
			closed(id+"c", 30, &sessionProperties{SessionId: id, SessionEndTime: zero, CloseReason: closeIdle}),
			recognized(id+"d", 40, &userProperties{UserId: id, UserCreateTime: zero}))
		c := s.conversation(id)
		equal(t, "times", []any{c.StartTime, c.LastActivity, c.CloseTime}, []any{second(10), second(20), second(30)})
		equal(t, "message time", s.message(id, 1).Time, second(20))
		if created := s.user(shop, id).CreateTime; !created.IsZero() {
			t.Errorf("user was created %v, want nothing known", created)
		}
	}
}

func testCloseSpeaksForAMoment(t *testing.T, s *store) {
	for _, step := range []struct {
		what   string
		fact   collector.Fact
		at     int
		reason string
	}{
		{"an explicit close is of its event time", closed("e1", 50, &sessionProperties{SessionId: "s", SessionEndTime: stamp(10)}), 50, "explicit"},
		{"an idle close is of the end it reports", closed("e2", 90, &sessionProperties{SessionId: "s", SessionEndTime: stamp(40), CloseReason: closeIdle}), 50, "explicit"},
		{"a later moment wins", closed("e3", 80, &sessionProperties{SessionId: "s", SessionEndTime: stamp(60), CloseReason: closeIdle}), 60, "idle"},
		{"an earlier one does not", closed("e4", 55, &sessionProperties{SessionId: "s", CloseReason: closeShutdown}), 60, "idle"},
		{"an idle close without end is of its event time", closed("e5", 70, &sessionProperties{SessionId: "s", CloseReason: closeIdle}), 70, "idle"},
		// The same moment three times: then the event's own order decides.
		{"of two at a moment the later event wins", closed("e6", 99, &sessionProperties{SessionId: "s", SessionEndTime: stamp(70), CloseReason: closeIdle}), 70, "idle"},
		{"an explicit one at that moment was earlier", closed("e7", 70, &sessionProperties{SessionId: "s", CloseReason: closeTransfer}), 70, "idle"},
		{"transfer", closed("e8", 100, &sessionProperties{SessionId: "s", CloseReason: closeTransfer}), 100, "transfer"},
		{"of two at a time the greater id wins", closed("e9", 100, &sessionProperties{SessionId: "s", CloseReason: closeShutdown}), 100, "shutdown"},
		{"an unknown reason is explicit", closed("ea", 101, &sessionProperties{SessionId: "s", CloseReason: 77}), 101, "explicit"},
		{"an end after the close itself counts", closed("eb", 102, &sessionProperties{SessionId: "s", SessionEndTime: stamp(110)}), 110, "explicit"},
		{"of a shutdown too", closed("ec", 103, &sessionProperties{SessionId: "s", SessionEndTime: stamp(111), CloseReason: closeShutdown}), 111, "shutdown"},
		{"of a transfer too", closed("ed", 104, &sessionProperties{SessionId: "s", SessionEndTime: stamp(112), CloseReason: closeTransfer}), 112, "transfer"},
	} {
		s.append(step.fact)
		c := s.conversation("s")
		equal(t, step.what, []any{c.CloseTime, c.CloseReason}, []any{second(step.at), step.reason})
		if state, _, _ := c.State(second(120), 0); state != collector.StateClosed {
			t.Errorf("%s: the session shows as open", step.what)
		}
	}
}

// What a view shows of too many properties does not depend on which came first, and what it cannot show costs it nothing.
func testPropertiesAreBounded(t *testing.T, s *store) {
	stretch := func(from, to int, value string) (custom []string) {
		for n := from; n < to; n++ {
			custom = append(custom, fmt.Sprintf("k%06d", n), value)
		}
		return custom
	}
	const most = collector.MaxProperties
	for _, step := range []struct {
		what     string
		at       int
		from, to int
		want     map[string]string // only some
		count    int
	}{
		{"as many as there may be", 3, 1000, 1000 + most, map[string]string{"k001000": "3", "k001999": "3"}, most},
		{"greater names find no room", 4, 900_000, 900_010, map[string]string{"k900000": ""}, most},
		{"smaller ones take it", 1, 0, 10, map[string]string{"k000000": "1", "k001989": "3", "k001990": ""}, most},
		{"values still change", 5, 1980, 2000, map[string]string{"k001980": "5", "k001990": ""}, most},
		{"and the last one counts", 2, 5, 1005, map[string]string{"k000000": "1", "k000005": "2", "k001004": ""}, most},
	} {
		custom := stretch(step.from, step.to, fmt.Sprint(step.at))
		s.append(opened(step.what+"o", step.at, &sessionProperties{SessionId: "s"}, custom...),
			recognized(step.what+"u", step.at, &userProperties{UserId: "u"}, custom...),
			said(step.what+"m", step.at, "s", 1, "x", custom...))
		for view, got := range map[string]map[string]string{"session": s.conversation("s").Properties,
			"user": s.user(shop, "u").Properties, "message": s.message("s", 1).Properties} {
			if len(got) != step.count {
				t.Errorf("%s: %s shows %d properties, want %d", step.what, view, len(got), step.count)
			}
			for name, want := range step.want {
				if got[name] != want {
					t.Errorf("%s: %s shows %s = %q, want %q", step.what, view, name, got[name], want)
				}
			}
		}
	}
}

func testCloseAloneMakesASession(t *testing.T, s *store) {
	times := func() []any { c := s.conversation("s"); return []any{c.StartTime, c.LastActivity} }
	s.append(closed("e2", 20, &sessionProperties{SessionId: "s"}))
	equal(t, "times of a close alone", times(), []any{second(20), second(20)})
	s.append(closed("e1", 30, &sessionProperties{SessionId: "s", SessionEndTime: stamp(10)}))
	equal(t, "times of two closes alone", times(), []any{second(10), second(20)})
	equal(t, "messages", len(s.messages(shop, "s", 10)), 0)
	s.append(said("e3", 15, "s", 1, "x"))
	equal(t, "times once there is activity", times(), []any{second(15), second(15)})
	equal(t, "totals", s.totals(shop), collector.Totals{Facts: 3, Conversations: 1, Messages: 1})
}

func testMessageMakesASession(t *testing.T, s *store) {
	s.append(said("e1", 10, "s", 3, "hello"))
	equal(t, "conversation", s.conversation("s"), collector.Conversation{ID: "s", StartTime: second(10), LastActivity: second(10), MessageCount: 1})
	equal(t, "message", s.message("s", 3), collector.Message{Index: 3, Role: "user", Content: "hello", Time: second(10), Versions: 1})
	s.append(opened("e2", 20, &sessionProperties{SessionId: "s", UserId: "u"}))
	equal(t, "conversation once opened", s.conversation("s"),
		collector.Conversation{ID: "s", UserID: "u", StartTime: second(10), LastActivity: second(20), MessageCount: 1})
}

func testMessageRoles(t *testing.T, s *store) {
	type messageRole = ingestionv1alpha.EventProperties_MessageProperties_Role
	type extendedRole = ingestionv1alpha.EventProperties_MessageProperties_ExtendedRole
	for i, r := range []struct {
		role     messageRole
		extended extendedRole
		want     string
	}{
		{roleUser, 0, "user"},
		{roleAssistant, 0, "assistant"},
		{roleAssistant, 1, "system"},
		{roleAssistant, 2, "tool"},
		{roleAssistant, 3, "human"},
		{roleAssistant, 99, "assistant"},
	} {
		s.append(created(ids(i), i, &messageProperties{SessionId: "s", MessageIndexHint: int32(i + 1),
			MessageRole: r.role, ExtendedRole: r.extended, MessageContent: "x"}))
		equal(t, fmt.Sprint(r.role, r.extended), s.message("s", int32(i+1)).Role, r.want)
	}
}

func testMessageLastVersionIsCurrent(t *testing.T, s *store) {
	for _, step := range []struct {
		what     string
		fact     collector.Fact
		content  string
		role     string
		at       int
		versions int
	}{
		{"the first", said("e5", 50, "s", 1, "five"), "five", "user", 50, 1},
		{"an earlier one that came late", said("e4", 40, "s", 1, "four"), "five", "user", 50, 2},
		{"a later one", said("e6", 60, "s", 1, "six"), "six", "user", 60, 3},
		{"the same said again", said("e7", 70, "s", 1, "six"), "six", "user", 70, 3},
		{"one between the two", said("e6a", 65, "s", 1, "between"), "six", "user", 70, 4},
		{"an old version said again", said("e8", 80, "s", 1, "four"), "four", "user", 80, 4},
		{"an old version said again earlier", said("e3", 30, "s", 1, "six"), "four", "user", 80, 4},
		{"another role", created("e9", 80, &messageProperties{SessionId: "s", MessageIndexHint: 1, MessageRole: roleAssistant,
			MessageContent: "four"}), "four", "assistant", 80, 5},
		{"its own time does not decide", created("e2", 20, &messageProperties{SessionId: "s", MessageIndexHint: 1, MessageRole: roleAssistant,
			MessageContent: "late by its own time", MessageCreateTime: stamp(500)}), "four", "assistant", 80, 6},
	} {
		s.append(step.fact)
		m := s.message("s", 1)
		equal(t, step.what, []any{m.Content, m.Role, m.Time, m.Versions}, []any{step.content, step.role, second(step.at), step.versions})
	}
	equal(t, "count of indexes", s.conversation("s").MessageCount, 1)
	equal(t, "totals", s.totals(shop), collector.Totals{Facts: 9, Conversations: 1, Messages: 1})
}

func testMessagePropertiesAreOfTheVersion(t *testing.T, s *store) {
	properties := func() map[string]string { return s.message("s", 1).Properties }
	s.append(said("e2", 2, "s", 1, "x", "a", "2", "b", "2"))
	s.append(said("e1", 1, "s", 1, "x", "a", "1", "c", "1"))
	equal(t, "same content again: merged by key", properties(), map[string]string{"a": "2", "b": "2", "c": "1"})
	s.append(said("e4", 4, "s", 1, "y", "d", "4"))
	equal(t, "other content: its own", properties(), map[string]string{"d": "4"})
	s.append(said("e3", 3, "s", 1, "x", "b", "3"))
	equal(t, "more on an old version", properties(), map[string]string{"d": "4"})
	s.append(said("e5", 5, "s", 1, "x"))
	equal(t, "the old version again", properties(), map[string]string{"a": "2", "b": "3", "c": "1"})
}

func testMessagesOfUnknownConversation(t *testing.T, s *store) {
	s.append(judged("e1", 0, &feedbackProperties{SessionId: "s", FeedbackTarget: onSession, Type: "thumbs_up"}))
	for _, id := range []string{"never heard of", "s", ""} {
		if _, _, err := s.Messages(context.Background(), shop, id, collector.Page{Size: 10}); !errors.Is(err, collector.ErrNotFound) {
			t.Errorf("Messages(%q): %v, want ErrNotFound", id, err)
		}
	}
	s.append(opened("e2", 0, &sessionProperties{SessionId: "s"}))
	equal(t, "messages of an opened session", len(s.messages(shop, "s", 10)), 0)
}

func testUserFieldsMerge(t *testing.T, s *store) {
	location := func(country, state, city string) *ingestionv1alpha.EventProperties_UserProperties_Location {
		return &ingestionv1alpha.EventProperties_UserProperties_Location{CountryCode: country, State: state, City: city}
	}
	company := func(id, name, kind string) *ingestionv1alpha.EventProperties_UserProperties_Company {
		return &ingestionv1alpha.EventProperties_UserProperties_Company{Id: id, Name: name, Type: kind}
	}
	s.append(recognized("e2", 2, &userProperties{UserId: "u", UserDisplayName: "two", UserCreateTime: stamp(-20),
		UserLocation: location("KR", "", "Seoul"), Company: company("", "Two", "")}, "plan", "pro", "a", "2"))
	s.append(
		recognized("e1", 1, &userProperties{UserId: "u", UserDisplayName: "one", UserEmail: "one@example.com", UserCreateTime: stamp(-10),
			UserLocation: location("SE", "Skåne", "Malmö"), Company: company("c1", "One", "bank")}, "plan", "free", "b", "1"),
		recognized("e3", 3, &userProperties{UserId: "u"}, "a", ""))
	equal(t, "user", s.user(shop, "u"), collector.User{
		ID: "u", DisplayName: "two", Email: "one@example.com", CountryCode: "KR", Region: "Skåne", City: "Seoul",
		CreateTime: second(-10), // the first that was given, not the earliest
		CompanyID:  "c1", CompanyName: "Two", CompanyType: "bank",
		Properties: map[string]string{"plan": "pro", "a": "", "b": "1"},
	})
	equal(t, "totals", s.totals(shop), collector.Totals{Facts: 3, Users: 1})
}

func testUserCountryBeatsIP(t *testing.T, s *store) {
	where := func() []string { u := s.user(shop, "u"); return []string{u.IP, u.CountryCode} }
	country := &ingestionv1alpha.EventProperties_UserProperties_Location{CountryCode: "KR"}
	s.append(recognized("e2", 2, &userProperties{UserId: "u", UserIp: "192.0.2.2"}))
	equal(t, "with an ip", where(), []string{"192.0.2.2", ""})
	s.append(recognized("e1", 1, &userProperties{UserId: "u", UserIp: "192.0.2.1", UserLocation: country}))
	equal(t, "with both", where(), []string{"", "KR"})
	s.append(recognized("e3", 3, &userProperties{UserId: "u", UserIp: "192.0.2.3"}))
	equal(t, "with another ip", where(), []string{"", "KR"})
}

func testUserIsMadeByOpening(t *testing.T, s *store) {
	s.append(opened("e2", 2, &sessionProperties{SessionId: "s", UserId: "u"}), opened("e3", 3, &sessionProperties{SessionId: "s", UserId: "v"}))
	equal(t, "user", s.user(shop, "u"), collector.User{ID: "u"})
	s.append(recognized("e1", 1, &userProperties{UserId: "u", UserDisplayName: "Ada"}))
	s.append(opened("e4", 4, &sessionProperties{SessionId: "s2", UserId: "u"}))
	equal(t, "user once recognized", s.user(shop, "u"), collector.User{ID: "u", DisplayName: "Ada"})
	equal(t, "totals", s.totals(shop), collector.Totals{Facts: 4, Users: 2, Conversations: 2})
	if _, err := s.User(context.Background(), shop, "w"); !errors.Is(err, collector.ErrNotFound) {
		t.Errorf("User of nobody: %v, want ErrNotFound", err)
	}
}

// thumb is a feedback on message 1 of session s.
func thumb(id string, at int, voter, kind, comment string) collector.Fact {
	return judged(id, at, &feedbackProperties{SessionId: "s", FeedbackTarget: onMessage, MessageIndexHint: 1, UserId: voter, Type: kind, Comment: comment})
}

func testVoteLastOfAVoterCounts(t *testing.T, s *store) {
	s.append(said("e0", 0, "s", 1, "x"))
	for _, step := range []struct {
		what    string
		fact    collector.Fact
		vote    collector.Vote
		comment string
		total   int
	}{
		{"a vote", thumb("e2", 2, "", "thumbs_up", "good"), collector.VoteUp, "good", 1},
		{"an earlier one that came late", thumb("e1", 1, "", "thumbs_down", "bad"), collector.VoteUp, "good", 1},
		{"a change of mind", thumb("e4", 4, "", "thumbs_down", ""), collector.VoteDown, "", 1},
		{"taken back before that", thumb("e3", 3, "", "", ""), collector.VoteDown, "", 1},
		{"taken back", thumb("e5", 5, "", "", "never mind"), collector.VoteNone, "", 0},
		{"given again", thumb("e6", 6, "", "thumbs_up", "after all"), collector.VoteUp, "after all", 1},
		{"no thumb at all", thumb("e7", 7, "", "heart", ""), collector.VoteUp, "after all", 1},
	} {
		s.append(step.fact)
		m := s.message("s", 1)
		equal(t, step.what, []any{m.Vote, m.Comment, s.totals(shop).Votes}, []any{step.vote, step.comment, step.total})
	}
	equal(t, "vote on the session", s.conversation("s").Vote, collector.VoteNone)
}

// A transcript that is told again may be shorter: what is behind its end goes, whichever of all this arrives first.
func testTranscriptHidesWhatIsBehindItsEnd(t *testing.T, s *store) {
	told := func(id string, at int, count int32) collector.Fact {
		return opened(id, at, &sessionProperties{SessionId: "s", MessageCount: &count})
	}
	facts := []collector.Fact{
		told("a", 10, 3), said("a1", 10, "s", 1, "one"), said("a2", 10, "s", 2, "two"), said("a3", 10, "s", 3, "three"),
		told("b", 20, 1), said("b1", 20, "s", 1, "ONE"),
		told("c", 30, 2), said("c1", 30, "s", 1, "ONE"), said("c2", 30, "s", 2, "two"),
		said("d", 40, "s", 5, "after the last telling"),
		created("p", 1, &messageProperties{SessionId: "s", Place: &messagePlace{Turn: "t"}, MessageRole: roleUser, MessageContent: "has no index"}),
	}
	shown := func(project string) (all []string) {
		for _, m := range s.messages(project, "s", 2) {
			all = append(all, fmt.Sprint(m.Index, m.Content))
		}
		return all
	}
	for _, step := range []struct {
		what  string
		facts []collector.Fact
		want  []string
	}{
		{"a transcript", facts[:4], []string{"1one", "2two", "3three"}},
		{"a shorter one", facts[4:6], []string{"1ONE"}},
		{"a longer one again", facts[6:9], []string{"1ONE", "2two"}},
		{"a message after it", facts[9:10], []string{"1ONE", "2two", "5after the last telling"}},
		{"one without an index", facts[10:], []string{"1ONE", "2two", "5after the last telling", "6has no index"}},
	} {
		s.append(step.facts...)
		equal(t, step.what, shown(shop), step.want)
		equal(t, step.what+": count", []int{s.conversation("s").MessageCount, s.totals(shop).Messages}, []int{len(step.want), len(step.want)})
	}
	for i := range len(facts) { // from each on, then those before, backwards
		project := fmt.Sprint("turned ", i)
		for _, f := range append(slices.Clone(facts[i:]), reversed(facts[:i])...) {
			if _, err := s.Append(context.Background(), project, collector.Batch{Facts: []collector.Fact{f, f}}); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, project, shown(project), shown(shop))
	}
	s.append(opened("none", 50, &sessionProperties{SessionId: "s", MessageCount: new(int32)}))
	equal(t, "an empty transcript", shown(shop), []string{"1has no index"})
	equal(t, "facts stay", s.totals(shop).Facts, len(facts)+1)
}

func reversed(facts []collector.Fact) []collector.Fact {
	facts = slices.Clone(facts)
	slices.Reverse(facts)
	return facts
}

// Messages of clients that do not count are in order of time, whenever they arrive.
func testMessagesInPlacesAreInOrderOfTime(t *testing.T, s *store) {
	part := func(id string, at int, turn string, part int32) collector.Fact {
		return created(id, 90, &messageProperties{SessionId: "s", Place: &messagePlace{Time: stamp(at), Turn: turn, Part: part},
			MessageRole: roleUser, MessageContent: fmt.Sprint(turn, part)})
	}
	for _, step := range []struct {
		fact collector.Fact
		want []string
	}{
		{part("e3", 30, "third", 0), []string{"1third0"}},
		{part("e5", 30, "third", 300), []string{"1third0", "2third300"}},
		{part("e1", 10, "first", 1), []string{"1first1", "2third0", "3third300"}},
		{part("e4", 30, "third", 2), []string{"1first1", "2third0", "3third2", "4third300"}},
		{part("e0", 10, "first", 0), []string{"1first0", "2first1", "3third0", "4third2", "5third300"}},
		{said("e6", 99, "s", 7, "numbered"), []string{"7numbered", "8first0", "9first1", "10third0", "11third2", "12third300"}},
	} {
		s.append(step.fact)
		for size := 1; size <= 7; size++ {
			var got []string
			for _, m := range s.messages(shop, "s", size) {
				got = append(got, fmt.Sprint(m.Index, m.Content))
			}
			equal(t, fmt.Sprint("pages of ", size), got, step.want)
		}
	}
	s.append(created("f1", 5, &messageProperties{SessionId: "other", Place: &messagePlace{}, MessageRole: roleUser, MessageContent: "without a time"}))
	equal(t, "a place without anything", s.message("other", 1).Content, "without a time")
}

func testVoteOnATurnIsOnItsAnswer(t *testing.T, s *store) {
	vote := func(id string, at int, kind, comment string) collector.Fact {
		return judged(id, at, &feedbackProperties{SessionId: "s", FeedbackTarget: onMessage, MessageTurn: "t", Type: kind, Comment: comment})
	}
	s.append(vote("v1", 20, "thumbs_down", "too slow"))
	s.append(
		created("e1", 10, &messageProperties{SessionId: "s", Place: &messagePlace{Turn: "t", Part: 0}, MessageRole: roleUser, MessageContent: "?"}),
		created("e2", 10, &messageProperties{SessionId: "s", Place: &messagePlace{Turn: "t", Part: 1, Answer: true}, MessageRole: roleAssistant, MessageContent: "!"}),
		created("e3", 11, &messageProperties{SessionId: "s", Place: &messagePlace{Turn: "t2", Part: 1, Answer: true}, MessageRole: roleAssistant, MessageContent: "!!"}))
	votes := func() (all []string) {
		for _, m := range s.messages(shop, "s", 10) {
			all = append(all, fmt.Sprint(m.Content, m.Vote, m.Comment))
		}
		return all
	}
	equal(t, "votes", votes(), []string{"?0", "!2too slow", "!!0"})
	s.append(vote("v2", 30, "thumbs_up", "after all"), vote("v0", 5, "thumbs_down", "earlier"))
	equal(t, "votes after a change of mind", votes(), []string{"?0", "!1after all", "!!0"})
	equal(t, "vote on the session", s.conversation("s").Vote, collector.VoteNone)
}

func testVoteOfSeveralVotersIsTheLatest(t *testing.T, s *store) {
	s.append(said("e0", 0, "s", 1, "x"))
	onSession := func(id string, at int, voter, kind string) collector.Fact {
		return judged(id, at, &feedbackProperties{SessionId: "s", FeedbackTarget: onSession, UserId: voter, Type: kind})
	}
	for _, step := range []struct {
		what             string
		voter, kind      string
		at               int
		message, session collector.Vote
	}{
		{"ada", "ada", "thumbs_up", 10, collector.VoteUp, collector.VoteUp},
		{"bob later", "bob", "thumbs_down", 20, collector.VoteDown, collector.VoteDown},
		{"someone earlier", "", "thumbs_up", 15, collector.VoteDown, collector.VoteDown},
		{"bob takes it back", "bob", "", 30, collector.VoteUp, collector.VoteUp},
		{"ada changes her mind", "ada", "thumbs_down", 40, collector.VoteDown, collector.VoteDown},
		{"zoe at the same time, with a greater id", "zoe", "thumbs_up", 40, collector.VoteUp, collector.VoteUp},
		{"abe at the same time, with a lesser id", "abe", "thumbs_down", 40, collector.VoteUp, collector.VoteUp},
	} {
		s.append(thumb("m"+step.what, step.at, step.voter, step.kind, ""), onSession("s"+step.what, step.at, step.voter, step.kind))
		equal(t, step.what, []any{s.message("s", 1).Vote, s.conversation("s").Vote}, []any{step.message, step.session})
	}
	equal(t, "votes", s.totals(shop).Votes, 8)
	equal(t, "rows of a message with several voters", len(s.messages(shop, "s", 10)), 1)
}

func testVoteWaitsForItsMessage(t *testing.T, s *store) {
	s.append(thumb("e2", 20, "u", "thumbs_down", "too slow"))
	s.append(said("e1", 10, "s", 2, "another message"))
	equal(t, "another message's vote", s.message("s", 2).Vote, collector.VoteNone)
	s.append(said("e3", 30, "s", 1, "the message"))
	m := s.message("s", 1)
	equal(t, "vote", []any{m.Vote, m.Comment}, []any{collector.VoteDown, "too slow"})
}

func testVoteIsNoActivity(t *testing.T, s *store) {
	s.append(thumb("e1", 1, "u", "thumbs_up", ""),
		judged("e2", 2, &feedbackProperties{SessionId: "s", FeedbackTarget: onSession, Type: "thumbs_up"}))
	equal(t, "conversations", len(s.conversations(shop, 10)), 0)
	equal(t, "totals", s.totals(shop), collector.Totals{Facts: 2, Votes: 2})
	s.append(said("e3", 10, "s", 1, "x"))
	s.append(thumb("e4", 99, "u", "thumbs_up", ""))
	equal(t, "conversation", s.conversation("s"), collector.Conversation{
		ID: "s", StartTime: second(10), LastActivity: second(10), MessageCount: 1, Vote: collector.VoteUp})
}

func testConversationsPage(t *testing.T, s *store) {
	var want []string
	for i := range 10 {
		// Pairs start at the same time, some of them before 1970.
		id, at := fmt.Sprintf("s%02d", i), (i/2)*600_000_000-epochSeconds
		s.append(opened(ids(i), at, &sessionProperties{SessionId: id}))
		want = append(want, id)
	}
	slices.Reverse(want)
	for size := 1; size <= 11; size++ {
		var got []string
		for _, c := range s.conversations(shop, size) {
			got = append(got, c.ID)
		}
		equal(t, fmt.Sprint("pages of ", size), got, want)
	}
	if got, next, err := s.Conversations(context.Background(), shop, collector.Page{}); err != nil || len(got) != 10 || next != "" {
		t.Errorf("page of no size: %d conversations, token %q, %v; want all 10", len(got), next, err)
	}
	equal(t, "an empty project", len(s.conversations("other", 3)), 0)
}

// epochSeconds takes a test back to around 1970.
var epochSeconds = int(epoch.Unix()) + 600_000_000

func testMessagesPage(t *testing.T, s *store) {
	want := []int32{1, 2, 3, 7, 1 << 20, 1<<31 - 1} // gaps are allowed
	for i, index := range want {
		s.append(said(ids(i), 100-i, "s", index, "x"), said(ids(i)+"edit", 200, "s", index, "y"))
	}
	for size := 1; size <= 7; size++ {
		var got []int32
		for _, m := range s.messages(shop, "s", size) {
			got = append(got, m.Index)
		}
		equal(t, fmt.Sprint("pages of ", size), got, want)
	}
	if got, next, err := s.Messages(context.Background(), shop, "s", collector.Page{}); err != nil || len(got) != 6 || next != "" {
		t.Errorf("page of no size: %d messages, token %q, %v; want all 6", len(got), next, err)
	}
}

func testPagesAreBoundedInBytes(t *testing.T, s *store) {
	const MiB = 1 << 20
	sizes := []int{3 * MiB, 3 * MiB, 3 * MiB, 1, collector.MaxPageBytes + MiB, 1}
	for i, size := range sizes {
		text, session := strings.Repeat("x", size), fmt.Sprint("s", i)
		s.append(said(ids(i), i, "s", int32(i+1), text))
		s.append(opened("open"+session, -i, &sessionProperties{SessionId: session}, "a", text))
	}
	for _, size := range []int{2, 1000} {
		var messages, conversations []int
		for _, m := range s.messages(shop, "s", size) {
			messages = append(messages, len(m.Content))
		}
		for _, c := range s.conversations(shop, size) {
			if c.ID != "s" {
				conversations = append(conversations, len(c.Properties["a"]))
			}
		}
		equal(t, fmt.Sprint("messages in pages of ", size), messages, sizes)
		equal(t, fmt.Sprint("conversations in pages of ", size), conversations, sizes)
	}
	for _, index := range []int32{1, 4} {
		s.append(judged(ids(int(index))+"vote", 0, &feedbackProperties{SessionId: "s", FeedbackTarget: onMessage, MessageIndexHint: index,
			Type: "thumbs_up", Comment: strings.Repeat("c", 5*MiB)}))
	}
	equal(t, "messages with long comments", len(s.messages(shop, "s", 1000)), len(sizes))
}

func testPageTokensAreChecked(t *testing.T, s *store) {
	ctx := context.Background()
	s.append(said("e1", 0, "s", 1, "x"), said("e2", 0, "s", 2, "x"), said("e3", 0, "s2", 1, "x"))
	_, conversationsToken, err := s.Conversations(ctx, shop, collector.Page{Size: 1})
	if err != nil || conversationsToken == "" {
		t.Fatalf("no second page: token %q, %v", conversationsToken, err)
	}
	_, messagesToken, err := s.Messages(ctx, shop, "s", collector.Page{Size: 1})
	if err != nil || messagesToken == "" {
		t.Fatalf("no second page: token %q, %v", messagesToken, err)
	}
	for _, token := range []string{"x", "%%%", "AAAA", "' OR 1=1", conversationsToken + "=", messagesToken} {
		if _, _, err := s.Conversations(ctx, shop, collector.Page{Size: 1, Token: token}); !errors.Is(err, collector.ErrPageToken) {
			t.Errorf("Conversations with token %q: %v, want ErrPageToken", token, err)
		}
	}
	for _, token := range []string{"x", "%%%", "AAAA", "' OR 1=1", messagesToken + "=", conversationsToken} {
		if _, _, err := s.Messages(ctx, shop, "s", collector.Page{Size: 1, Token: token}); !errors.Is(err, collector.ErrPageToken) {
			t.Errorf("Messages with token %q: %v, want ErrPageToken", token, err)
		}
	}
}
