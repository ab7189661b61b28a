package sqlite

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	digests "github.com/openalign/align/collector/digest"
	"github.com/openalign/align/collector/outcome"
	"github.com/openalign/align/collector/store/storetest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// dumpDigests makes all digests and returns those of a project, with their signs.
func dumpDigests(t *testing.T, s *Store, project string) string {
	t.Helper()
	if err := s.DigestAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := s.read.db.Query(`SELECT session_id, start_time, last_activity, user_id, numbers, test, first_day, days, texts, signs, version FROM session_digests WHERE project = ? ORDER BY 1`, project)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	dumpRows(t, &b, rows)
	return b.String()
}

// recomputed makes the digests of a project from what everybody can read.
func recomputed(t *testing.T, s *Store, project string) (list []string) {
	t.Helper()
	conversations, _, err := s.Conversations(t.Context(), project, collector.Page{Size: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range conversations {
		c := &conversations[i]
		shown, _, err := s.Messages(t.Context(), project, c.ID, collector.Page{Size: 1000})
		if err != nil {
			t.Fatal(err)
		}
		messages := make([]digests.Message, len(shown))
		for i, m := range shown {
			var key, turn int64
			err := s.read.db.QueryRow(`SELECT idx, turn FROM messages WHERE project = ? AND session_id = ? AND hidden = 0 ORDER BY idx LIMIT 1 OFFSET ?`, project, c.ID, i).Scan(&key, &turn)
			if err != nil {
				t.Fatal(err)
			}
			voted := key
			if turn != 0 {
				voted = -turn
			}
			messages[i] = digests.Message{Message: m, Key: key, Votes: votesOf(t, s, project, c.ID, voted)}
		}
		d, _ := digests.Of(c, messages, votesOf(t, s, project, c.ID, 0), nil, digests.Options{})
		list = append(list, shownDigest(&d))
	}
	slices.Sort(list)
	return list
}

func votesOf(t *testing.T, s *Store, project, session string, index int64) (list []digests.Vote) {
	t.Helper()
	rows, err := s.read.db.Query(`SELECT coalesce(vote, 0), '', '', score, score_min, score_max FROM votes WHERE project = ? AND session_id = ? AND idx = ?`, project, session, index)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var v shownVote
		if err := rows.Scan(v.into()...); err != nil {
			t.Fatal(err)
		}
		one := digests.Vote{Vote: v.vote}
		if _, one.Score, err = v.details(); err != nil {
			t.Fatal(err)
		}
		list = append(list, one)
	}
	return list
}

func shownDigest(d *digests.Digest) string {
	return fmt.Sprintf("%s %s %d %d %s %+v", d.ID, d.UserID, d.Start, d.Last, d.AppendNumbers(nil), d.Groups)
}

// keptDigests returns the digests of a project as metrics read them.
func keptDigests(t *testing.T, s *Store, project string) (list []string) {
	t.Helper()
	all := digests.Window{From: time.Unix(0, 0), To: time.Unix(1<<33, 0), Groups: true}
	err := s.Digests(t.Context(), project, all, func(d *digests.Digest) error {
		list = append(list, shownDigest(d))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// However a history is told, and after a replay, digests are what can be computed from the views alone.
func TestDigestsAreWhatTheViewsSayInEveryOrder(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	for n := range uint64(storetest.Histories() / 4) { // each is committed many times
		history := storetest.NewHistory(n)
		ordered, told := fmt.Sprint("ordered", n), fmt.Sprint("told", n)
		if _, err := s.Append(t.Context(), ordered, collector.Batch{Facts: history.Facts}); err != nil {
			t.Fatal(err)
		}
		want := dumpDigests(t, s, ordered)
		for i, batch := range history.Told() {
			if _, err := s.Append(t.Context(), told, collector.Batch{Facts: batch}); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				dumpDigests(t, s, told)
			}
		}
		if got := dumpDigests(t, s, told); got != want {
			t.Fatalf("history %d told otherwise:\n%s\nwant\n%s", n, got, want)
		}
		if got, want := keptDigests(t, s, told), recomputed(t, s, told); !slices.Equal(got, want) {
			t.Fatalf("history %d:\n%s\nwant\n%s", n, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if n%5 != 0 {
			continue
		}
		if _, err := s.Replay(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := dumpDigests(t, s, told); got != want {
			t.Fatalf("history %d replayed:\n%s\nwant\n%s", n, got, want)
		}
	}
}

// chat returns a conversation in which the detector finds things, with labels, a version and a vote.
func chat(session, user string) []collector.Fact {
	var facts []collector.Fact
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	add := func(id, kind string, props *ingestionv1alpha.EventProperties) {
		at = at.Add(time.Second)
		facts = append(facts, collector.Fact{ID: session + id, Time: at, ReceiveTime: at, Event: &ingestionv1alpha.Event{Id: session + id, Type: kind, Properties: props}})
	}
	add("open", collector.TypeSessionOpen, &ingestionv1alpha.EventProperties{
		CustomProperties: map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue{"agent_version": {StringValue: "1.4"}},
		ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{
			SessionId: session, UserId: user, Labels: []string{"vip"}}}})
	for i, text := range []string{"hi", "Hello! What can I do for you?", "where is my order 4711", "Please tell me more.", "so where is my order 4711",
		"Please tell me more.", "a real person please"} {
		add(fmt.Sprint(i), collector.TypeMessageCreate, &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{
			MessageProperties: &ingestionv1alpha.EventProperties_MessageProperties{SessionId: session, MessageIndexHint: int32(i + 1), MessageContent: text,
				MessageRole: ingestionv1alpha.EventProperties_MessageProperties_Role(1 + i%2)}}})
	}
	return facts
}

func numbersOf(t *testing.T, s *Store) (list []string) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(dumpDigests(t, s, "shop")), "\n") {
		list = append(list, strings.Split(line, "\t")[4])
	}
	return list
}

// What was seen in texts stays counted when retention or an erasure takes the texts, also for digests that were not made
// by then, after a replay, and when the conversation goes on.
func TestCountsStayWhenTextsAreTaken(t *testing.T) {
	takes := map[string]func(*Store) error{
		"retention": func(s *Store) error {
			_, err := s.Retain(t.Context(), collector.Retention{ContentBefore: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)})
			return err
		},
		"facts": func(s *Store) error {
			_, err := s.Retain(t.Context(), collector.Retention{FactsBefore: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)})
			return err
		},
		"erasure": func(s *Store) error { _, err := s.Erase(t.Context(), "shop", "ada", "test"); return err },
	}
	for name, take := range takes {
		for _, before := range []bool{true, false} {
			s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
			if _, err := s.Append(t.Context(), "shop", collector.Batch{Facts: chat("s1", "ada")}); err != nil {
				t.Fatal(err)
			}
			other := openTest(t, filepath.Join(t.TempDir(), "other.db"))
			if _, err := other.Append(t.Context(), "shop", collector.Batch{Facts: chat("s1", "ada")}); err != nil {
				t.Fatal(err)
			}
			want := numbersOf(t, other)
			if before {
				numbersOf(t, s)
			}
			if err := take(s); err != nil {
				t.Fatal(err)
			}
			if got := numbersOf(t, s); !slices.Equal(got, want) {
				t.Errorf("%s, digested before: %t:\n%s\nwant\n%s", name, before, got, want)
			}
			if _, err := s.Replay(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := numbersOf(t, s); !slices.Equal(got, want) {
				t.Errorf("%s and a replay:\n%s\nwant\n%s", name, got, want)
			}
			dump := dumpDigests(t, s, "shop")
			if gone := strings.Contains(dump, "1.4"); name != "facts" && gone {
				t.Errorf("%s left a custom property: %s", name, dump)
			}
			if name == "erasure" && (strings.Contains(dump, "ada") || strings.Contains(dump, "vip") || !strings.Contains(dump, "erased-")) {
				t.Errorf("an erasure left %s", dump)
			}
		}
	}
}

func TestSwitchingTheDetectorMakesDigestsAgain(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	if _, err := s.Append(t.Context(), "shop", collector.Batch{Facts: chat("s1", "ada")}); err != nil {
		t.Fatal(err)
	}
	detected := func() (n int64) {
		if err := s.DigestAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.read.db.QueryRow("SELECT detected FROM digests").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := detected(); n != 2 {
		t.Errorf("%d detected, want 2", n)
	}
	for _, on := range []bool{false, true} {
		if err := s.SetDetector(t.Context(), on); err != nil {
			t.Fatal(err)
		}
		if n := detected(); n != 2*map[bool]int64{true: 1}[on] {
			t.Errorf("switched %t: %d detected", on, n)
		}
		if is, err := s.Detector(t.Context()); err != nil || is != on {
			t.Errorf("switched %t: %t, %v", on, is, err)
		}
	}
}

// The view names what digests hold, in the order in which they hold it.
func TestTheViewNamesEveryNumber(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	var text string
	if err := s.read.db.QueryRow("SELECT sql FROM sqlite_schema WHERE name = 'digests'").Scan(&text); err != nil {
		t.Fatal(err)
	}
	words := map[digests.Column][]string{digests.CloseReason: digests.CloseReasons}
	for _, status := range outcome.Statuses {
		words[digests.Status] = append(words[digests.Status], string(status))
	}
	for _, resolution := range outcome.Resolutions {
		words[digests.Resolution] = append(words[digests.Resolution], string(resolution))
	}
	for column, name := range digests.Names {
		want := fmt.Sprintf("numbers ->> '$[0][%d]' AS %s,", column, name)
		if list := words[digests.Column(column)]; list != nil {
			want = fmt.Sprintf("CASE numbers ->> '$[0][%d]'", column)
			for number, word := range list {
				want += fmt.Sprintf(" WHEN %d THEN '%s'", number, word)
			}
			want += " END AS " + name + ","
		}
		if !strings.Contains(text, want) {
			t.Errorf("the view has no %s", want)
		}
	}
	for sample, name := range digests.SampleNames {
		if want := fmt.Sprintf("numbers -> '$[%d]' AS %s,", sample+1, name); !strings.Contains(text, want) {
			t.Errorf("the view has no %s", want)
		}
	}
}
