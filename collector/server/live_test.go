package server_test

import (
	"fmt"
	"net/http"
	"testing"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// watch begins to watch, and returns once it is sure what will be seen.
func (w *world) watch(t *testing.T, key string, req *alignv1.WatchRequest) (*connect.ServerStreamForClient[alignv1.WatchResponse], error) {
	call := connect.NewRequest(req)
	call.Header().Set("Authorization", "Bearer "+w.keys.Replace(key))
	stream, err := alignv1connect.NewLiveServiceClient(http.DefaultClient, "http://"+w.addr).Watch(t.Context(), call)
	if err == nil && !stream.Receive() {
		err = stream.Err()
	}
	return stream, err
}

func messageJSON(id, session, role, content string) string {
	return fmt.Sprintf(`{"id":%q,"type":"message_create","properties":{"messageProperties":{"sessionId":%q,"messageIndexHint":1,"messageRole":%q,"messageContent":%q}}}`,
		id, session, role, content)
}

func TestWatchShowsWhatArrivesAsItArrives(t *testing.T) {
	w := newWorld(t)
	all, err := w.watch(t, "{read key}", &alignv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	one, err := w.watch(t, "{read key}", &alignv1.WatchRequest{ConversationId: "s2"})
	if err != nil {
		t.Fatal(err)
	}
	bad, err := w.watch(t, "{read key}", &alignv1.WatchRequest{OnlyBad: true})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := w.call(t, "{ingest key}", procedure, `{"requestId":"r","events":[`+messageJSON("e1", "s1", "ROLE_USER", "Where is my order?")+","+messageJSON("e2", "s2", "ROLE_USER", "Hello")+`,
		{"id":"e3","type":"feedback_create","properties":{"feedbackProperties":{"sessionId":"s1","messageIndexHint":2,"feedbackTarget":"TARGET_MESSAGE","type":"thumbs_down"}}}]}`)
	if status != http.StatusOK {
		t.Fatal(status, answer)
	}

	for _, want := range []string{"Where is my order?", "Hello", ""} {
		if !all.Receive() || all.Msg().GetEvent().GetText() != want {
			t.Fatalf("got %v %v, want %q", all.Msg(), all.Err(), want)
		}
	}
	if !one.Receive() || one.Msg().GetEvent().GetText() != "Hello" {
		t.Errorf("one conversation: %v %v", one.Msg(), one.Err())
	}
	if !bad.Receive() || bad.Msg().GetEvent().GetVote() != alignv1.Vote_VOTE_DOWN || bad.Msg().GetEvent().GetConcerns()[0] != "thumbs_down" {
		t.Errorf("only bad: %v %v", bad.Msg(), bad.Err())
	}
}

func TestWatchNeedsAReadKeyAndEndsWhenTheServerDrains(t *testing.T) {
	w := newWorld(t)
	if _, err := w.watch(t, "{ingest key}", &alignv1.WatchRequest{}); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("with an ingest key: %v", err)
	}
	if _, err := w.watch(t, "align_read_wrong", &alignv1.WatchRequest{}); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("with no key: %v", err)
	}
	stream, err := w.watch(t, "{read key}", &alignv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	w.server.Drain()
	if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeUnavailable {
		t.Errorf("drained: %v", stream.Err())
	}
	if status, answer := w.call(t, "{read key}", "/align.v1.LiveService/Watch", `{}`); status != http.StatusUnsupportedMediaType {
		t.Errorf("a call that expects one answer: %d %s", status, answer)
	}
}
