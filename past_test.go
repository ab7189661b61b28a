package align_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

var lastWeek = time.Date(2020, 5, 6, 7, 8, 9, 0, time.UTC)

func TestWhatIsRecordedWithATimeHappenedThen(t *testing.T) {
	client, srv := aligntest.Client(t)
	ctx := align.WithTime(t.Context(), lastWeek)
	err := errors.Join(
		client.IdentifyUser(ctx, align.User{ID: "u"}),
		client.OpenSession(ctx, align.Session{ID: "s", UserID: "u"}),
		client.CreateMessage(ctx, align.Message{SessionID: "s", Index: 1, Role: align.RoleUser, Content: "x"}),
		client.CreateMessage(ctx, align.Message{SessionID: "s", Index: 2, Role: align.RoleAssistant, Content: "y", CreateTime: lastWeek.Add(time.Second)}),
		client.CreateMessageFeedback(ctx, align.MessageFeedback{SessionID: "s", Index: 2, Type: align.ThumbsUp}),
		client.CreateSessionFeedback(ctx, align.SessionFeedback{SessionID: "s", Type: align.ThumbsUp}),
		client.CloseSession(ctx, align.SessionEnd{SessionID: "s"}),
		client.RecordTranscript(ctx, align.Transcript{ConversationID: "00000000-0000-4000-8000-000000000001", Start: lastWeek}),
		client.Flush(t.Context()),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range srv.Events() {
		if !e.CreateTime.Equal(lastWeek) {
			t.Errorf("a %s happened at %v, want %v", e.Type, e.CreateTime, lastWeek)
		}
	}
	s := srv.Session("s")
	if !s.StartTime.Equal(lastWeek) || !s.Messages[0].CreateTime.Equal(lastWeek) || !s.Messages[1].CreateTime.Equal(lastWeek.Add(time.Second)) {
		t.Errorf("session and messages at %v, %v, %v: a time of their own comes first, else it is that of the context", s.StartTime, s.Messages[0].CreateTime, s.Messages[1].CreateTime)
	}
}

// A close that speaks for now would end for good what went on later, in its own time.
func TestMessageAfterACloseOfThePastOpensItsSessionAgain(t *testing.T) {
	client, srv := aligntest.Client(t)
	at := func(hours int) context.Context {
		return align.WithTime(t.Context(), lastWeek.Add(time.Duration(hours)*time.Hour))
	}
	err := errors.Join(
		client.OpenSession(at(0), align.Session{ID: "s", UserID: "u"}),
		client.CloseSession(at(1), align.SessionEnd{SessionID: "s"}),
		client.CreateMessage(at(2), align.Message{SessionID: "s", Index: 1, Role: align.RoleUser, Content: "again"}),
		client.CloseSession(at(3), align.SessionEnd{SessionID: "s", Reason: align.CloseIdle, EndTime: lastWeek.Add(2 * time.Hour)}),
		client.Flush(t.Context()),
	)
	if err != nil {
		t.Fatal(err)
	}
	if s := srv.Session("s"); !s.Closed || s.CloseReason != align.CloseIdle {
		t.Errorf("closed %t, %q; want idle, as it ended later", s.Closed, s.CloseReason)
	}
}

func TestIdleTimeoutCountsFromTheCallAndEndsWithTheTimeOfActivity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, srv := aligntest.Client(t)
		then := time.Now().Add(-48 * time.Hour)
		if err := client.CreateMessage(align.WithTime(t.Context(), then), align.Message{SessionID: "s", Index: 1, Role: align.RoleUser, Content: "x"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(align.DefaultIdleTimeout - time.Second)
		synctest.Wait()
		if n := client.Stats().IdleCloses; n != 0 {
			t.Fatalf("closed %d before its time", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if err := client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		events := srv.Events()
		end := events[len(events)-1].Proto().GetProperties().GetSessionProperties()
		if !end.GetSessionEndTime().AsTime().Equal(then) {
			t.Errorf("closed with %v, want an end at %v", end, then)
		}
	})
}

func TestATimeThatCannotBeSaidIsAnErrorOfTheCall(t *testing.T) {
	client, _ := aligntest.Client(t)
	ctx := align.WithTime(t.Context(), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))
	for what, err := range map[string]error{
		"message":    client.CreateMessage(ctx, align.Message{SessionID: "s", Index: 1, Role: align.RoleUser, Content: "x"}),
		"vote":       client.CreateSessionFeedback(ctx, align.SessionFeedback{SessionID: "s", Type: align.ThumbsUp}),
		"transcript": client.RecordTranscript(ctx, align.Transcript{ConversationID: "00000000-0000-4000-8000-000000000001", Start: lastWeek}),
	} {
		var problem *align.FieldError
		if !errors.As(err, &problem) || problem.Field != "WithTime" || problem.Rule != "time" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := client.CreateMessage(align.WithTime(t.Context(), time.Time{}), align.Message{SessionID: "s", Index: 1, Role: align.RoleUser, Content: "x"}); err != nil {
		t.Errorf("the zero time: %v", err)
	}
}
