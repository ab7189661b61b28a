package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

type (
	props   = ingestionv1alpha.EventProperties
	inMsg   = ingestionv1alpha.EventProperties_MessageProperties
	inOpen  = ingestionv1alpha.EventProperties_SessionProperties
	inUser  = ingestionv1alpha.EventProperties_UserProperties
	inThumb = ingestionv1alpha.EventProperties_FeedbackProperties
)

func happened(id string, second int64, kind string, properties *props) collector.Fact {
	at := time.Unix(1_770_000_000+second, 0)
	return collector.Fact{ID: id, Time: at, ReceiveTime: at,
		Event: &ingestionv1alpha.Event{Id: id, Type: kind, CreateTime: timestamppb.New(at), Properties: properties}}
}

func toldMessage(id string, second int64, index int32, content string) collector.Fact {
	return happened(id, second, collector.TypeMessageCreate, &props{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{
		MessageProperties: &inMsg{SessionId: "s1", MessageIndexHint: index, MessageContent: content}}})
}

func looked(t *testing.T) *Store {
	t.Helper()
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	facts := []collector.Fact{
		happened("open", 1, collector.TypeSessionOpen, &props{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
			SessionProperties: &inOpen{SessionId: "s1", UserId: "u1", SessionTitle: "Order"}}}),
		happened("ada", 1, collector.TypeUserRecognize, &props{ReservedProperties: &ingestionv1alpha.EventProperties_UserProperties_{
			UserProperties: &inUser{UserId: "u1", UserDisplayName: "Ada", UserEmail: "ada@example.com"}}}),
		toldMessage("m1", 2, 1, "first"), toldMessage("m2", 3, 1, "second"), toldMessage("m3", 4, 1, "first"), // edited, and edited back
		toldMessage("m4", 5, 2, "other"),
		happened("vote", 6, collector.TypeFeedbackCreate, &props{ReservedProperties: &ingestionv1alpha.EventProperties_FeedbackProperties_{
			FeedbackProperties: &inThumb{SessionId: "s1", UserId: "u1", MessageIndexHint: 2, Type: "thumbs_up",
				FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE}}}),
	}
	if _, err := s.Append(t.Context(), "shop", collector.Batch{Facts: facts}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestVersionsShowWhatAMessageSaidBefore(t *testing.T) {
	s := looked(t)
	list, err := s.Versions(t.Context(), "shop", "s1", 1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range list {
		got = append(got, fmt.Sprintf("%s %s %v", v.EventID, v.Content, v.Current))
	}
	if want := []string{"m2 second false", "m3 first true"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if list, err := s.Versions(t.Context(), "shop", "s1", 2); err != nil || len(list) != 1 || !list[0].Current {
		t.Errorf("of a message that was never edited: %+v, %v", list, err)
	}
	for _, index := range []int32{-1, 0, 3} {
		if _, err := s.Versions(t.Context(), "shop", "s1", index); !errors.Is(err, collector.ErrNotFound) {
			t.Errorf("at %d: %v", index, err)
		}
	}
	if _, err := s.Erase(t.Context(), "shop", "u1", "test"); err != nil {
		t.Fatal(err)
	}
	if list, err = s.Versions(t.Context(), "shop", "s1", 1); err != nil || len(list) != 2 {
		t.Fatalf("of an erased user: %+v, %v", list, err)
	}
	for _, v := range list {
		if !v.Gone || v.Content != "" {
			t.Errorf("of an erased user: %+v", v)
		}
	}
}

// Messages without an index are found by the number they are shown under.
func TestMessageIsFoundUnderTheIndexItIsShownWith(t *testing.T) {
	s := looked(t)
	var facts []collector.Fact
	for i, content := range []string{"a", "b", "c"} {
		facts = append(facts, happened("p"+content, int64(10+i), collector.TypeMessageCreate, &props{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{
			MessageProperties: &inMsg{SessionId: "s1", MessageContent: content, Place: &ingestionv1alpha.EventProperties_MessageProperties_Place{Turn: "t" + content}}}}))
	}
	if _, err := s.Append(t.Context(), "shop", collector.Batch{Facts: facts}); err != nil {
		t.Fatal(err)
	}
	all, _, err := s.Messages(t.Context(), "shop", "s1", collector.Page{})
	if err != nil || len(all) != 5 {
		t.Fatalf("%d messages, %v", len(all), err)
	}
	for _, m := range all {
		got, err := s.MessageAt(t.Context(), "shop", "s1", m.Index)
		if err != nil || got.Content != m.Content || got.Index != m.Index || got.Vote != m.Vote {
			t.Errorf("at %d: got %+v, %v, want %+v", m.Index, got, err, m)
		}
	}
	if _, err := s.MessageAt(t.Context(), "shop", "s1", 6); !errors.Is(err, collector.ErrNotFound) {
		t.Errorf("behind the last: %v", err)
	}
}

func TestEventsAreThoseTheViewRestsOn(t *testing.T) {
	s := looked(t)
	list, err := s.Events(t.Context(), "shop", "s1", 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.ID)
	}
	if want := []string{"open", "m2", "m3", "m4", "vote"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	row, event, err := s.Event(t.Context(), "shop", "m2")
	if err != nil || event.GetProperties().GetMessageProperties().GetMessageContent() != "second" || row.Type != collector.TypeMessageCreate {
		t.Errorf("event %+v %v, %v", row, event, err)
	}
	if _, _, err := s.Event(t.Context(), "bank", "m2"); !errors.Is(err, collector.ErrNotFound) {
		t.Errorf("an event of another project: %v", err)
	}
}

func TestUsersAreFoundByIdNameAndEmailAsText(t *testing.T) {
	s := looked(t)
	for text, want := range map[string]int{"": 1, "u1": 1, "ADA": 1, "@example": 1, "%": 0, "_": 0, `\`: 0, "' OR 1=1 --": 0} {
		list, _, err := s.Users(t.Context(), "shop", text, collector.Page{})
		if err != nil || len(list) != want {
			t.Errorf("%q: %d users, %v", text, len(list), err)
		}
	}
	list, _, err := s.Users(t.Context(), "shop", "", collector.Page{})
	if err != nil || list[0].Conversations != 1 || list[0].LastActivity.Unix() != 1_770_000_005 || list[0].Email != "ada@example.com" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestUserPagesHoldEveryUserOnce(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	var facts []collector.Fact
	for i := range 25 {
		facts = append(facts, happened(fmt.Sprintf("e%d", i), int64(i), collector.TypeUserRecognize, &props{
			ReservedProperties: &ingestionv1alpha.EventProperties_UserProperties_{UserProperties: &inUser{UserId: fmt.Sprintf("u%d", i)}}}))
	}
	if _, err := s.Append(t.Context(), "shop", collector.Batch{Facts: facts}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for page := (collector.Page{Size: 10}); ; {
		list, next, err := s.Users(t.Context(), "shop", "", page)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range list {
			got = append(got, u.ID)
		}
		if page.Token = next; next == "" {
			break
		}
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != 25 {
		t.Errorf("users %s", strings.Join(got, " "))
	}
	if _, _, err := s.Users(t.Context(), "shop", "", collector.Page{Token: "?"}); !errors.Is(err, collector.ErrPageToken) {
		t.Errorf("a token of nobody's: %v", err)
	}
}
