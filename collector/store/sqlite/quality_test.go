package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// opening returns an opening of a session for a user.
func opening(id, session, user string, at time.Time) collector.Fact {
	return collector.Fact{ID: id, Time: at, ReceiveTime: at, Event: &ingestionv1alpha.Event{Id: id, Type: collector.TypeSessionOpen,
		Properties: &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
			SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{SessionId: session, UserId: user}}}}}
}

func in(session string, batch collector.Batch) collector.Fact {
	batch.Facts[0].Event.GetProperties().GetMessageProperties().SessionId = session
	return batch.Facts[0]
}

func TestQualityCountsAndListsWhatIsOdd(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	now := time.Unix(1_790_000_000, 0).UTC()
	var batch collector.Batch
	add := func(facts ...collector.Fact) { batch.Facts = append(batch.Facts, facts...) }
	for n := range 5 {
		gap, alone := fmt.Sprint("gap", n), fmt.Sprint("alone", n)
		add(opening("o"+gap, gap, "ada", now), in(gap, oneMessage("a"+gap, 2)), in(gap, oneMessage("b"+gap, 5)))
		add(in(alone, oneMessage("a"+alone, 1)))
		add(opening(fmt.Sprint("u1-", n), fmt.Sprint("users", n), "ada", now), opening(fmt.Sprint("u2-", n), fmt.Sprint("users", n), "bob", now))
		twice := fmt.Sprint("twice", n)
		other := oneMessage("b"+twice, 1)
		other.Facts[0].Event.GetProperties().GetMessageProperties().MessageContent = "otherwise"
		add(opening("o"+twice, twice, "ada", now), in(twice, oneMessage("a"+twice, 1)), in(twice, other))
		for kind, ahead := range map[string]time.Duration{"fine": time.Minute, "ahead": time.Hour, "refused": 1000 * time.Hour, "past": -200_000 * time.Hour} {
			f := opening(fmt.Sprint(kind, n), "clock", "ada", now)
			f.Event.CreateTime = timestamppb.New(now.Add(ahead))
			add(f)
		}
		// Nobody counts messages that are hidden, or that their client did not count.
		told := fmt.Sprint("told", n)
		end := opening("z"+told, told, "ada", now)
		end.Event.GetProperties().GetSessionProperties().MessageCount = proto.Int32(2)
		add(in(told, oneMessage("1"+told, 1)), in(told, oneMessage("2"+told, 2)), in(told, oneMessage("7"+told, 7)), end)
		for version := range 2 {
			behind, placed := in(told, oneMessage(fmt.Sprint("8", version, told), 8)), in(told, oneMessage(fmt.Sprint("p", version, told), 0))
			for _, f := range []collector.Fact{behind, placed} {
				f.Event.GetProperties().GetMessageProperties().MessageContent = fmt.Sprint(version)
			}
			placed.Event.GetProperties().GetMessageProperties().Place = &ingestionv1alpha.EventProperties_MessageProperties_Place{Turn: "t"}
			add(behind, placed)
		}
		batch.SetAside = append(batch.SetAside, collector.SetAside{EventID: fmt.Sprint(n), Reason: "unreadable", Raw: []byte("secret"), ReceiveTime: now})
	}
	appendBatch(t, s, batch)
	want := map[collector.FindingKind]int{collector.FindingIndexGap: 5, collector.FindingNeverOpened: 5, collector.FindingDuplicateIndex: 5,
		collector.FindingConflictingUsers: 5, collector.FindingClockAhead: 5, collector.FindingClockRefused: 10}
	q, err := s.Quality(t.Context(), "shop")
	if err != nil || len(q.SetAside) != 1 || q.SetAside[0] != (collector.ReasonCount{Reason: "unreadable", Count: 5, Bytes: 30}) {
		t.Errorf("set aside %+v, %v", q.SetAside, err)
	}
	for kind, n := range want {
		if q.Findings[kind] != n {
			t.Errorf("kind %d: counted %d, want %d", kind, q.Findings[kind], n)
		}
		listed := map[collector.Finding]bool{}
		for page := (collector.Page{Size: 2}); ; {
			list, next, err := s.Findings(t.Context(), "shop", kind, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range list {
				listed[f] = true
			}
			if page.Token = next; next == "" {
				break
			}
		}
		if len(listed) != n {
			t.Errorf("kind %d: listed %+v, want %d", kind, listed, n)
		}
		if empty, err := s.Quality(t.Context(), "other"); err != nil || empty.Findings[kind] != 0 {
			t.Errorf("kind %d in another project: %d, %v", kind, empty.Findings[kind], err)
		}
	}
	for kind, want := range map[collector.FindingKind]collector.Finding{
		collector.FindingIndexGap:       {Conversation: "gap0", Count: 3},
		collector.FindingDuplicateIndex: {Conversation: "twice0", Index: 1, Count: 2},
		collector.FindingClockAhead:     {Conversation: "clock", EventID: "ahead0", ReceiveTime: now, EventTime: now.Add(time.Hour)},
	} {
		if list, _, err := s.Findings(t.Context(), "shop", kind, collector.Page{}); err != nil || len(list) == 0 || list[0] != want {
			t.Errorf("kind %d: %+v, %v; want %+v first", kind, list, err, want)
		}
	}
	if _, _, err := s.Findings(t.Context(), "shop", collector.FindingIndexGap, collector.Page{Token: place{Kind: collector.FindingNeverOpened}.token()}); !errors.Is(err, collector.ErrPageToken) {
		t.Errorf("the token of another list: %v", err)
	}
}

// The time of a place is one like the others: where it cannot be right, the message stands where it was received.
func TestPlaceIsNotAtATimeThatCannotBeRight(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	now := time.Unix(1_790_000_000, 0).UTC()
	at := map[string]time.Time{"2200": now.AddDate(175, 0, 0), "an hour ago": now.Add(-time.Hour), "none": {}, "1999": now.AddDate(-27, 0, 0), "in an hour": now.Add(time.Hour)}
	var batch collector.Batch
	for n, name := range []string{"2200", "an hour ago", "none", "1999", "in an hour"} {
		f := in("s", oneMessage(name, 0))
		f.ReceiveTime = now.Add(time.Duration(n) * time.Second)
		f.Time = f.ReceiveTime
		m := f.Event.GetProperties().GetMessageProperties()
		m.MessageContent, m.Place = name, &ingestionv1alpha.EventProperties_MessageProperties_Place{Turn: name}
		if !at[name].IsZero() {
			m.Place.Time = timestamppb.New(at[name])
		}
		batch.Facts = append(batch.Facts, f)
	}
	appendBatch(t, s, batch)
	messages, _, err := s.Messages(t.Context(), "shop", "s", collector.Page{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range messages {
		got = append(got, m.Content)
	}
	if want := []string{"an hour ago", "2200", "none", "1999", "in an hour"}; !slices.Equal(got, want) {
		t.Errorf("in order %q, want %q", got, want)
	}
	q, err := s.Quality(t.Context(), "shop")
	if err != nil || q.Findings[collector.FindingClockRefused] != 2 || q.Findings[collector.FindingClockAhead] != 1 {
		t.Errorf("findings %v, %v; want two clocks refused and one ahead", q.Findings, err)
	}
}

func TestSetAsideContentIsOnlyListedOnRequest(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	for n := range 5 {
		appendBatch(t, s, collector.Batch{SetAside: []collector.SetAside{{EventID: "secret", Reason: []string{"unreadable", "role_unknown"}[n%2], Raw: fmt.Appendf(nil, "secret%d", n)}}})
	}
	for _, content := range []bool{false, true} {
		var all []collector.SetAsideEvent
		for page := (collector.Page{Size: 2}); ; {
			list, next, err := s.SetAsideEvents(t.Context(), "shop", "", content, page)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, list...)
			if page.Token = next; next == "" {
				break
			}
		}
		if len(all) != 5 {
			t.Fatalf("listed %d, want 5", len(all))
		}
		for i, e := range all {
			want := ""
			if content {
				want = fmt.Sprint("secret", 4-i)
			}
			if string(e.Raw) != want || (e.EventID != "") != content || e.Size != 7 {
				t.Errorf("content %v: event %d is %+v", content, i, e)
			}
		}
	}
	if list, _, err := s.SetAsideEvents(t.Context(), "shop", "role_unknown", false, collector.Page{}); err != nil || len(list) != 2 {
		t.Errorf("of one reason: %d, %v; want 2", len(list), err)
	}
}

// A far time must not make a session the newest for good, and stays in the fact for whoever asks.
func TestTimesThatCannotBeAreKeptAndNotGoneBy(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	now := time.Unix(1_790_000_000, 0).UTC()
	far := timestamppb.New(now.AddDate(100, 0, 0))
	f := opening("e", "s", "ada", now)
	f.Event.CreateTime = far
	f.Event.GetProperties().GetSessionProperties().SessionStartTime = far
	appendBatch(t, s, collector.Batch{Facts: []collector.Fact{f}})
	list, _, err := s.Conversations(t.Context(), "shop", collector.Page{})
	if err != nil || len(list) != 1 || !list[0].StartTime.Equal(now) {
		t.Errorf("%+v, %v; want a start when it was received, %v", list, err, now)
	}
	found, _, err := s.Findings(t.Context(), "shop", collector.FindingClockRefused, collector.Page{})
	if err != nil || len(found) != 1 || !proto.Equal(timestamppb.New(found[0].EventTime), far) {
		t.Errorf("found %+v, %v; want the time as sent, %v", found, err, far.AsTime())
	}
}
