package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

func TestConversationsAndThumbsArrive(t *testing.T) {
	srv := aligntest.NewServer(t)
	collector := httptest.NewServer(srv)
	defer collector.Close()
	t.Setenv("ALIGNAI_HOST", collector.URL)
	t.Setenv("ALIGNAI_PROJECT_ID", aligntest.ProjectID)
	t.Setenv("ALIGNAI_API_KEY", aligntest.APIKey)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, listener) }()
	post := func(path, form string) (int, string) {
		t.Helper()
		values, err := url.ParseQuery(form)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.PostForm("http://"+listener.Addr().String()+path, values)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}

	_, stream := post("/chat", "session=s1&user=u1&message=Where+is+it?")
	want := "event: token\ndata: \"You \"\n\n"
	if !strings.HasPrefix(stream, want) || !strings.HasSuffix(stream, "event: done\ndata: {\"index\":2,\"session\":\"s1\"}\n\n") {
		t.Errorf("stream:\n%s", stream)
	}
	post("/chat", "session=s1&user=u1&message=Thanks.")
	if status, _ := post("/thumbs", "session=s1&index=2&thumb=thumbs_up"); status != http.StatusNoContent {
		t.Errorf("thumb: status %d", status)
	}
	if status, body := post("/thumbs", "session=s1&index=2&thumb=sideways"); status != http.StatusBadRequest || !strings.Contains(body, "MessageFeedback.Type") {
		t.Errorf("wrong thumb: status %d, %s", status, body)
	}

	stop() // what a signal does
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	session := srv.Session("s1")
	if got, want := session.Transcript(), "user: Where is it?\nassistant: You said: Where is it? \nuser: Thanks.\nassistant: You said: Thanks. \n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if session.UserID != "u1" || session.AssistantID != "echo" {
		t.Errorf("session of %q with %q", session.UserID, session.AssistantID)
	}
	if f := session.Feedback; len(f) != 1 || f[0].Index != 2 || f[0].Type != align.ThumbsUp {
		t.Errorf("feedback %v", f)
	}
}

// A user who leaves in the middle of an answer leaves a failed interaction behind, with what there was of it.
func TestAbandonedAnswerIsRecordedAsFailed(t *testing.T) {
	client, srv := aligntest.Client(t)
	ctx, leave := context.WithCancel(t.Context())
	req := httptest.NewRequestWithContext(ctx, "POST", "/chat", strings.NewReader("session=s1&message=Hello?"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	(&app{analytics: client}).chat(&leaver{httptest.NewRecorder(), leave}, req)
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := srv.Session("s1").Transcript(), "user: Hello?\nassistant: You \n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// leaver leaves once something was flushed.
type leaver struct {
	*httptest.ResponseRecorder
	leave context.CancelFunc
}

func (l *leaver) Flush() { l.leave() }
