package sqlite

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/store/storetest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// Markers stand for what people wrote, and for who they are.
const (
	contentMarker  = "Xq7-content-Xq7"
	identityMarker = "Xq7-identity-Xq7"
	labelMarker    = "Xq7-label-Xq7" // of tags, labels and reasons: an erasure takes them, retention does not
)

// marked returns conversations of the user to be erased, and of another, in which everything that can be is a marker.
func marked(user string, n int, at time.Time) collector.Batch {
	type props = ingestionv1alpha.EventProperties
	custom := map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue{contentMarker: {StringValue: contentMarker}}
	session := fmt.Sprintf("session-%d", n)
	var batch collector.Batch
	add := func(kind string, p *props) {
		id := fmt.Sprintf("%s-%d-%d", kind, n, len(batch.Facts))
		p.CustomProperties = custom
		batch.Facts = append(batch.Facts, collector.Fact{ID: id, Time: at, ReceiveTime: at,
			Event: &ingestionv1alpha.Event{Id: id, Type: kind, Properties: p}})
	}
	add(collector.TypeUserRecognize, &props{ReservedProperties: &ingestionv1alpha.EventProperties_UserProperties_{
		UserProperties: &ingestionv1alpha.EventProperties_UserProperties{UserId: user, UserDisplayName: user, UserEmail: user + "@example.com", UserIp: "192.0.2.1"}}})
	add(collector.TypeSessionOpen, &props{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
		SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{SessionId: session, UserId: user, SessionTitle: contentMarker, AssistantId: "support", Data: contentMarker}}})
	for i := range 4 { // two versions of each
		add(collector.TypeMessageCreate, &props{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{
			MessageProperties: &ingestionv1alpha.EventProperties_MessageProperties{SessionId: session, MessageIndexHint: int32(1 + i/2), MessageRole: 1,
				MessageContent: strings.Repeat(contentMarker+" ", 1+400*(i%2)) + fmt.Sprint(i), Error: contentMarker,
				ToolCalls: []*ingestionv1alpha.EventProperties_MessageProperties_ToolCall{{Name: "search", Result: contentMarker}}}}})
	}
	add(collector.TypeFeedbackCreate, &props{ReservedProperties: &ingestionv1alpha.EventProperties_FeedbackProperties_{
		FeedbackProperties: &ingestionv1alpha.EventProperties_FeedbackProperties{SessionId: session, MessageIndexHint: 1,
			FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE, Type: "thumbs_up", UserId: user, Comment: contentMarker, Reasons: []string{labelMarker}}}})
	// Beside what is shown by its index: an answer in a place, a vote on its turn, and a message behind the end.
	add(collector.TypeMessageCreate, &props{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{
		MessageProperties: &ingestionv1alpha.EventProperties_MessageProperties{SessionId: session, MessageRole: 1, MessageContent: contentMarker,
			Place: &ingestionv1alpha.EventProperties_MessageProperties_Place{Turn: "turn", Answer: true}}}})
	add(collector.TypeFeedbackCreate, &props{ReservedProperties: &ingestionv1alpha.EventProperties_FeedbackProperties_{
		FeedbackProperties: &ingestionv1alpha.EventProperties_FeedbackProperties{SessionId: session, MessageTurn: "turn",
			FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE, Type: "thumbs_down", UserId: user, Comment: contentMarker}}})
	add(collector.TypeMessageCreate, &props{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{
		MessageProperties: &ingestionv1alpha.EventProperties_MessageProperties{SessionId: session, MessageIndexHint: 9, MessageRole: 1, MessageContent: contentMarker}}})
	add(collector.TypeSessionClose, &props{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
		SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{SessionId: session, MessageCount: proto.Int32(2), Data: contentMarker}}})
	add(collector.TypeSessionUpdate, &props{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
		SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{SessionId: session, TagsAdded: []string{labelMarker}, Labels: []string{labelMarker}}}})
	batch.SetAside = []collector.SetAside{
		{EventID: user, Reason: "unreadable", Raw: []byte(fmt.Sprint(contentMarker, n, user)), ReceiveTime: at},
		{EventID: contentMarker, Reason: "unreadable", Raw: []byte(`{"user":"` + escaped(user) + `","text":"` + contentMarker + fmt.Sprint(n) + `"}`), ReceiveTime: at},
	}
	return batch
}

// escaped writes every character as JSON may: \u0058.
func escaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}

// indexed returns the files of a database's index that hold a word of the markers, its log included.
func indexed(t *testing.T, file string) []string {
	t.Helper()
	return found(t, wordsFile(file), "xq7")
}

// found returns the files of a database that hold a text, its log included.
func found(t *testing.T, file, text string) (in []string) {
	t.Helper()
	files, err := filepath.Glob(file + "*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(text)) {
			in = append(in, filepath.Base(f))
		}
	}
	return in
}

// unseen counts messages that are hidden or in places, and votes on turns.
func unseen(t *testing.T, s *Store) (hidden, placed, turns int) {
	t.Helper()
	if err := s.read.db.QueryRow(`SELECT (SELECT count(*) FROM messages WHERE hidden = 1), (SELECT count(*) FROM messages WHERE idx >= ? AND turn > 0),
		(SELECT count(*) FROM votes WHERE idx < 0)`, collector.FirstPlace).Scan(&hidden, &placed, &turns); err != nil {
		t.Fatal(err)
	}
	return hidden, placed, turns
}

func appendBatch(t *testing.T, s *Store, batch collector.Batch) collector.Appended {
	t.Helper()
	got, err := s.Append(t.Context(), "shop", batch)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func totals(t *testing.T, s *Store) collector.Totals {
	t.Helper()
	got, err := s.Totals(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestEraseLeavesNothingInTheFileButCounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	now := time.Unix(1_790_000_000, 0)
	var all []collector.Batch
	for n := range 30 {
		all = append(all, marked(identityMarker, n, now.Add(time.Duration(n)*time.Minute)))
		appendBatch(t, s, all[n])
	}
	// They also vote in another's conversation, and a client once took it for theirs.
	other := oneMessage("other", 1)
	other.Facts = append(other.Facts, marked(identityMarker, 99, now).Facts[1], marked(identityMarker, 99, now).Facts[6])
	other.Facts[1].Event.GetProperties().GetSessionProperties().SessionId = "s"
	other.Facts[2].Event.GetProperties().GetFeedbackProperties().SessionId = "s"
	first := proto.CloneOf(other.Facts[1].Event)
	first.GetProperties().GetSessionProperties().UserId = "ada"
	first.GetProperties().GetSessionProperties().SessionTitle = "kept"
	first.GetProperties().GetSessionProperties().Data = ""
	first.Properties.CustomProperties = nil
	other.Facts = append(other.Facts, collector.Fact{ID: "first", Event: first, Time: time.Unix(0, 0)})
	other.Facts[1].Event.GetProperties().GetSessionProperties().SessionTitle = ""
	other.Facts[1].Event.GetProperties().GetSessionProperties().Data = ""
	other.Facts[1].Event.Properties.CustomProperties = nil
	appendBatch(t, s, other)
	all = append(all, other)

	before := totals(t, s)
	if err := s.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(found(t, file, contentMarker)) == 0 || len(found(t, file, identityMarker)) == 0 || indexed(t, file) == nil {
		t.Fatal("the markers are not found before they are erased: this proves nothing")
	}
	if hidden, placed, turns := unseen(t, s); hidden != 30 || placed != 30 || turns != 30 {
		t.Fatalf("%d messages are hidden, %d in places, %d votes on turns; want 30 of each", hidden, placed, turns)
	}
	got, err := s.Erase(t.Context(), "shop", identityMarker, "test")
	if err != nil {
		t.Fatal(err)
	}
	if want := (collector.Erased{Sessions: 30, Messages: 120, Votes: 61, Facts: 30*12 + 2, SetAside: 60}); got != want {
		t.Errorf("erased %+v, want %+v", got, want)
	}
	check := func(when string) {
		t.Helper()
		if after := totals(t, s); after != before {
			t.Errorf("%s: counts %+v, want %+v", when, after, before)
		}
		if hidden, placed, turns := unseen(t, s); hidden != 30 || placed != 30 || turns != 30 {
			t.Errorf("%s: %d messages are hidden, %d in places, %d votes on turns; want 30 of each", when, hidden, placed, turns)
		}
		for _, marker := range []string{contentMarker, identityMarker, labelMarker} {
			if in := found(t, file, marker); in != nil {
				t.Errorf("%s: %s still in %v", when, marker, in)
			}
		}
		if in := indexed(t, file); in != nil {
			t.Errorf("%s: its words still in %v", when, in)
		}
		if strings.Contains(dump(t, s, "shop"), "Xq7") {
			t.Errorf("%s: the views hold a marker", when)
		}
		if !strings.Contains(dump(t, s, "shop"), "kept") || len(found(t, file, "secret")) == 0 {
			t.Errorf("%s: what was another's is gone", when)
		}
	}
	check("erased")
	for _, batch := range all {
		if got := appendBatch(t, s, batch); got.Stored != 0 {
			t.Errorf("sent again, %d events were stored", got.Stored)
		}
	}
	check("sent again")
	want := dump(t, s, "shop")
	if _, err := s.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, s, "shop"); got != want {
		t.Errorf("replayed:\n%s\nwant\n%s", got, want)
	}
	check("replayed")
	if err := s.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("indexed again")
	if _, err := s.User(t.Context(), "shop", identityMarker); !errors.Is(err, collector.ErrNotFound) {
		t.Errorf("the user: %v, want ErrNotFound", err)
	}
	lines, err := s.Audit(t.Context(), "shop")
	if err != nil || len(lines) != 1 || lines[0].Action != "erase" || lines[0].Actor != "test" || !strings.Contains(lines[0].Detail, `"messages":120`) {
		t.Errorf("audit %+v, %v; want one line with counts", lines, err)
	}
}

// A span names its session by its trace alone, in bytes; one that was set aside goes with the session.
func TestEraseFindsTracesThatWereSetAside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	now := time.Unix(1_790_000_000, 0)
	trace := []byte("\x01\x9a\x00\xff 16 byte id.")
	appendBatch(t, s, collector.Batch{Facts: []collector.Fact{opening("o", hex.EncodeToString(trace), "ada", now)}, SetAside: []collector.SetAside{
		{EventID: "1", Reason: "session_id_too_long", Raw: append(append([]byte("\x0a\x10"), trace...), contentMarker...), ReceiveTime: now},
		{EventID: "2", Reason: "session_id_too_long", Raw: []byte("\x0a\x10another trace id" + "kept"), ReceiveTime: now},
	}})
	if got, err := s.Erase(t.Context(), "shop", "ada", "test"); err != nil || got.SetAside != 1 {
		t.Errorf("erased %+v, %v; want one that was set aside", got, err)
	}
	if in := found(t, file, contentMarker); in != nil {
		t.Errorf("content is still in %v", in)
	}
	if len(found(t, file, "kept")) == 0 {
		t.Error("what was another's is gone")
	}
}

func TestEraseOfNobodyChangesNothing(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	appendBatch(t, s, marked("ada", 1, time.Unix(1_790_000_000, 0)))
	want := dump(t, s, "shop")
	for _, project := range []string{"shop", "other"} {
		user := map[string]string{"shop": "bob", "other": "ada"}[project]
		if got, err := s.Erase(t.Context(), project, user, "test"); err != nil || got != (collector.Erased{}) {
			t.Errorf("%s of %s: %+v, %v; want nothing", user, project, got, err)
		}
	}
	if _, err := s.Erase(t.Context(), "shop", "", "test"); err == nil {
		t.Error("a user without an id was erased")
	}
	if got := dump(t, s, "shop"); got != want {
		t.Errorf("views:\n%s\nwant\n%s", got, want)
	}
}

func TestRetainTakesContentOutOfTheFileAndKeepsWhatIsYounger(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	now := time.Unix(1_790_000_000, 0)
	var all []collector.Batch
	for n := range 300 { // more facts than one transaction changes
		all = append(all, marked("ada", n, now))
		all[n].Facts[0].Event.Properties.CustomProperties = nil // a profile is no content
		appendBatch(t, s, all[n])
	}
	young := oneMessage("young", 1)
	young.Facts[0].Time = now.Add(time.Hour)
	appendBatch(t, s, young)
	before := totals(t, s)
	if err := s.CatchUp(t.Context()); err != nil || indexed(t, file) == nil {
		t.Fatal("the markers are not indexed before they are taken out: this proves nothing", err)
	}
	got, err := s.Retain(t.Context(), collector.Retention{ContentBefore: now.Add(time.Minute)})
	if want := (collector.Retained{Contents: 300 * 12, SetAside: 600}); err != nil || got != want {
		t.Errorf("took out %+v, %v; want %+v", got, err, want)
	}
	if in := indexed(t, file); in != nil {
		t.Errorf("its words are still in %v", in)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if in := indexed(t, file); in != nil {
			t.Errorf("its words are in %v", in)
		}
		if in := found(t, file, contentMarker); in != nil {
			t.Errorf("content is still in %v", in)
		}
		if len(found(t, file, "secret")) == 0 {
			t.Error("what is younger is gone")
		}
		if after := totals(t, s); after != before {
			t.Errorf("counts %+v, want %+v", after, before)
		}
		for _, batch := range all {
			appendBatch(t, s, batch)
		}
	}
	if got, err := s.Retain(t.Context(), collector.Retention{ContentBefore: now.Add(time.Minute)}); err != nil || got != (collector.Retained{}) {
		t.Errorf("the second time: %+v, %v; want nothing to do", got, err)
	}
}

var basedColumn = regexp.MustCompile(`(?m)\t"[01]"$`)

// overflows reports whether a history has more custom properties than views have room for.
func overflows(facts []collector.Fact) bool {
	names := map[string]bool{}
	for _, f := range facts {
		for name := range f.Event.GetProperties().GetCustomProperties() {
			names[name] = true
		}
	}
	return len(names) > collector.MaxProperties
}

// What Retain leaves is what the facts it leaves add up to, and telling everything again changes nothing.
func TestRetainAndReplayAgree(t *testing.T) {
	for n := range uint64(storetest.Histories() / 8) {
		history := storetest.NewHistory(n)
		middle := history.Facts[len(history.Facts)/2].Time
		s, err := Open(t.Context(), filepath.Join(t.TempDir(), "align.db"))
		if err != nil {
			t.Fatal(err)
		}
		for _, batch := range history.Told() {
			appendBatch(t, s, collector.Batch{Facts: batch})
		}
		whole := dump(t, s, "shop")
		if _, err := s.Retain(t.Context(), collector.Retention{FactsBefore: history.Facts[len(history.Facts)/4].Time}); err != nil {
			t.Fatal(err)
		}
		if got := dump(t, s, "shop"); basedColumn.ReplaceAllString(got, "") != basedColumn.ReplaceAllString(whole, "") {
			t.Fatalf("history %d, without old facts:\n%s\nwant\n%s", n, got, whole)
		}
		based := dump(t, s, "shop")
		same := func(when, want string) {
			t.Helper()
			if _, err := s.Replay(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := dump(t, s, "shop"); got != want {
				t.Fatalf("history %d, %s and replayed:\n%s\nwant\n%s", n, when, got, want)
			}
			for _, batch := range history.Told() {
				if got := appendBatch(t, s, collector.Batch{Facts: batch}); got.Stored > 0 {
					t.Fatalf("history %d, %s: %d events stored again", n, when, got.Stored)
				}
			}
			if got := dump(t, s, "shop"); got != want {
				t.Fatalf("history %d, %s and told again:\n%s\nwant\n%s", n, when, got, want)
			}
		}
		same("without old facts", based)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}

		if overflows(history.Facts) {
			continue // what had no room before has room then, see takeContents
		}
		s = openTest(t, filepath.Join(t.TempDir(), "content.db"))
		appendBatch(t, s, collector.Batch{Facts: history.Facts})
		if _, err := s.Retain(t.Context(), collector.Retention{ContentBefore: middle}); err != nil {
			t.Fatal(err)
		}
		same("without old content", dump(t, s, "shop"))
		s.Close()
	}
}
