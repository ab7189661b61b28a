package server_test

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align"
	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/server"
	"github.com/openalign/align/collector/store/sqlite"
	"github.com/openalign/align/feedbackhttp"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// newVoting is the whole way of a vote: a client, a server, and the file that it ends up in.
func newVoting(t *testing.T) (client *align.Client, store collector.Store, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "align.db")
	db, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server.New(db, server.Options{Logger: slog.New(slog.DiscardHandler)}))
	client, err = align.New(align.Config{ProjectID: project, APIKey: newKey(t, db, collector.ScopeIngest), Host: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close(context.Background())
		web.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return client, db, file
}

func TestVoteChangedAndTakenBackEndToEnd(t *testing.T) { // AL-63, AL-64, AL-65
	client, store, file := newVoting(t)
	thumbs, err := feedbackhttp.New(client, feedbackhttp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	onMessage, err := client.FeedbackToken("s1", 2, "ada", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	onSession, err := client.FeedbackToken("s1", 0, "ada", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	vote := func(token, rest string) {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"token":"`+token+`",`+rest+`}`))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		if thumbs.ServeHTTP(w, r); w.Code != http.StatusNoContent {
			t.Fatal(w.Code, w.Body)
		}
	}
	shows := func(what string, want collector.Vote, comment string, session collector.Vote, total int) {
		t.Helper()
		if err := client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		totals, err := store.Totals(t.Context(), project)
		if err != nil || totals.Votes != total || totals.SetAside != 0 {
			t.Errorf("%s: %+v, want %d votes, %v", what, totals, total, err)
		}
		messages, _, err := store.Messages(t.Context(), project, "s1", collector.Page{Size: 10})
		if err != nil || len(messages) != 2 || messages[1].Vote != want || messages[1].Comment != comment {
			t.Errorf("%s: %+v, %v", what, messages, err)
		}
		conversations, _, err := store.Conversations(t.Context(), project, collector.Page{Size: 10})
		if err != nil || len(conversations) != 1 || conversations[0].Vote != session {
			t.Errorf("%s: %+v, %v", what, conversations, err)
		}
	}

	vote(onMessage, `"vote":"up","comment":"quick"`) // before there is a message
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"Where is my order?", "On its way."} {
		role := []align.Role{align.RoleUser, align.RoleAssistant}[i]
		if err := client.CreateMessage(t.Context(), align.Message{SessionID: "s1", Index: i + 1, Role: role, Content: text}); err != nil {
			t.Fatal(err)
		}
	}
	shows("a vote before its message", collector.VoteUp, "quick", collector.VoteNone, 1)
	vote(onMessage, `"vote":"up","comment":"quick"`)
	shows("the same again", collector.VoteUp, "quick", collector.VoteNone, 1)
	vote(onMessage, `"vote":"down","comment":"wrong one"`)
	shows("another mind", collector.VoteDown, "wrong one", collector.VoteNone, 1)
	vote(onSession, `"vote":"up"`)
	shows("the session", collector.VoteDown, "wrong one", collector.VoteUp, 2)
	vote(onMessage, `"vote":"none","comment":"never mind"`)
	shows("taken back", collector.VoteNone, "", collector.VoteUp, 1)

	bob := align.MessageFeedback{SessionID: "s1", Index: 2, UserID: "bob", Type: align.ThumbsDown, Comment: "no", Score: align.Score{Value: 0, Min: -2, Max: 2}}
	if err := client.CreateMessageFeedback(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	shows("another voter", collector.VoteDown, "no", collector.VoteUp, 2)
	err = client.CreateSessionFeedback(t.Context(), align.SessionFeedback{SessionID: "s1", UserID: "ada", Type: align.ThumbsNone})
	if err != nil {
		t.Fatal(err)
	}
	shows("the session's taken back", collector.VoteDown, "no", collector.VoteNone, 1)
	checkScoreIsKept(t, file)
}

// checkScoreIsKept looks into the file: no view shows scores yet, and what is in the facts is not lost for those to come.
func checkScoreIsKept(t *testing.T, file string) {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), `SELECT event FROM facts WHERE type = 'feedback_create'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	facts, scores := 0, 0
	for ; rows.Next(); facts++ {
		var raw []byte
		if err := rows.Scan(&raw); err != nil {
			t.Fatal(err)
		}
		var event ingestionv1alpha.Event
		if err := proto.Unmarshal(raw, &event); err != nil {
			t.Fatal(err)
		}
		f := event.GetProperties().GetFeedbackProperties()
		if f.Score == nil {
			continue
		}
		scores++
		if f.GetUserId() != "bob" || f.GetScore() != 0 || f.GetScoreMin() != -2 || f.GetScoreMax() != 2 {
			t.Errorf("kept %v", f)
		}
	}
	if err := rows.Err(); err != nil || facts != 7 || scores != 1 {
		t.Errorf("%d facts, %d with a score, %v", facts, scores, err)
	}
}
