package main

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

func TestTalkArrives(t *testing.T) {
	srv := aligntest.NewServer(t)
	collector := httptest.NewServer(srv)
	defer collector.Close()
	t.Setenv("ALIGNAI_HOST", collector.URL)
	t.Setenv("ALIGNAI_PROJECT_ID", aligntest.ProjectID)
	t.Setenv("ALIGNAI_API_KEY", aligntest.APIKey)

	var out strings.Builder
	if err := run(t.Context(), strings.NewReader("Hello?\n/down\n\nAre you there?\n/up\n"), &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "You said: Hello?\nYou said: Are you there?\n"; got != want {
		t.Errorf("said\n%swant\n%s", got, want)
	}
	sessions := srv.Sessions()
	if len(sessions) != 1 {
		t.Fatalf("%d sessions", len(sessions))
	}
	session := sessions[0]
	want := "user: Hello?\nassistant: You said: Hello?\nuser: Are you there?\nassistant: You said: Are you there?\n"
	if got := session.Transcript(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if !session.Closed || session.CloseReason != align.CloseExplicit {
		t.Errorf("closed %v, %s", session.Closed, session.CloseReason)
	}
	f := session.Feedback
	if len(f) != 2 || f[0].Index != 2 || f[0].Type != align.ThumbsDown || f[1].Index != 4 || f[1].Type != align.ThumbsUp {
		t.Errorf("feedback %v", f)
	}
}
