package storetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
)

func testReplayChangesNothing(t *testing.T, s *store) {
	facts := NewHistory(3).Facts
	s.append(facts...)
	want := s.views(shop)
	if n, err := s.Replay(context.Background()); err != nil || n != len(facts) {
		t.Errorf("Replay: %d facts, %v; want %d", n, err, len(facts))
	}
	equal(t, "views", s.views(shop), want)
}

// aCase returns a conversation of ada's in which everything says something about her, and one of bob's.
func aCase() []collector.Fact {
	return []collector.Fact{
		recognized("e1", 1, &userProperties{UserId: "ada", UserEmail: "ada@example.com"}),
		opened("e2", 1, &sessionProperties{SessionId: "s1", UserId: "ada", SessionTitle: "about ada"}, "name", "ada"),
		said("e3", 2, "s1", 1, "I am ada", "name", "ada"),
		judged("e4", 3, &feedbackProperties{SessionId: "s1", FeedbackTarget: onMessage, MessageIndexHint: 1, Type: "thumbs_up", UserId: "ada", Comment: "says ada"}),
		opened("e5", 8, &sessionProperties{SessionId: "s2", UserId: "bob", SessionTitle: "about bob"}),
		said("e6", 9, "s2", 1, "I am bob"),
	}
}

func testEraseKeepsCountsAndForgetsThePerson(t *testing.T, s *store) {
	ctx := context.Background()
	s.append(aCase()...)
	totals := s.totals(shop)
	got, err := s.Erase(ctx, shop, "ada", "a test")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "erased", got, collector.Erased{Sessions: 1, Messages: 1, Votes: 1, Facts: 4})
	for _, when := range []string{"erased", "told again"} {
		equal(t, when+": counts", s.totals(shop), totals)
		if shown := show(t, s.views(shop)); strings.Contains(shown, "ada") || !strings.Contains(shown, "about bob") || !strings.Contains(shown, "I am bob") {
			t.Errorf("%s: %s; want bob alone", when, shown)
		}
		if vote := s.message("s1", 1).Vote; vote != collector.VoteUp {
			t.Errorf("%s: the vote is %v, want it to count still", when, vote)
		}
		if _, err := s.User(ctx, shop, "ada"); !errors.Is(err, collector.ErrNotFound) {
			t.Errorf("%s: User: %v, want ErrNotFound", when, err)
		}
		if got := s.append(aCase()...); got.Stored != 0 {
			t.Errorf("%s: told again, %d facts were stored", when, got.Stored)
		}
	}
	lines, err := s.Audit(ctx, shop)
	if err != nil || len(lines) != 1 || lines[0].Actor != "a test" || strings.Contains(lines[0].Detail, "ada") {
		t.Errorf("audit %+v, %v; want one line", lines, err)
	}
}

func testRetainTakesWhatIsOld(t *testing.T, s *store) {
	ctx := context.Background()
	s.append(aCase()...)
	totals := s.totals(shop)
	before := s.views(shop)
	got, err := s.Retain(ctx, collector.Retention{FactsBefore: second(2)})
	if err != nil || got != (collector.Retained{Facts: 2}) {
		t.Errorf("took %+v, %v; want two facts", got, err)
	}
	equal(t, "views without old facts", s.views(shop), before)
	if got, err = s.Retain(ctx, collector.Retention{ContentBefore: second(5)}); err != nil || got.Contents != 2 {
		t.Errorf("took %+v, %v; want the content of two facts", got, err)
	}
	message := s.message("s1", 1)
	equal(t, "the old message", message, collector.Message{Index: 1, Role: "user", Time: second(2), Versions: 1, Vote: collector.VoteUp})
	if young := s.message("s2", 1); young.Content != "I am bob" {
		t.Errorf("the young message: %+v", young)
	}
	s.append(aCase()...)
	equal(t, "told again: the old message", s.message("s1", 1), message)
	equal(t, "counts", s.totals(shop), totals)
}

func testBackupIsAllThereIs(t *testing.T, s *store) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.append(aCase()...)
	file := filepath.Join(t.TempDir(), "backup")
	if err := s.Backup(ctx, file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Errorf("the backup: %v, %v", info, err)
	}
	if err := s.Backup(ctx, file); err == nil {
		t.Error("a backup replaced another")
	}
}
