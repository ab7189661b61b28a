package conversations_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/conversations"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/store/sqlite"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

const project = "shop"

// service serves store under a read key of the project.
type service struct {
	url, key string
	client   alignv1connect.ConversationServiceClient
}

// store adds what reading needs of keys.
type store interface {
	conversations.Store
	keys.Finder
}

func serve(t *testing.T, s store, key string, idle time.Duration) service {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	set, err := agents.New(agents.Config{}, "")
	if err != nil {
		t.Fatal(err)
	}
	path, handler := conversations.New(s, conversations.Options{IdleTimeout: idle, Agents: set, Logger: log}).Handler()
	mux := http.NewServeMux()
	mux.Handle(path, keys.Require(collector.ScopeRead, s, log, handler))
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	return service{web.URL, key, alignv1connect.NewConversationServiceClient(web.Client(), web.URL)}
}

func call[Req any](s service, msg *Req) *connect.Request[Req] {
	req := connect.NewRequest(msg)
	req.Header().Set("Authorization", "Bearer "+s.key)
	return req
}

func openStore(t *testing.T, scope ...collector.Scope) (collector.Store, string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "align.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	secret, key, err := keys.New(project, append(scope, collector.ScopeRead)[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	return s, secret
}

// fact is an event around session, message or feedback properties.
func fact(id, kind string, at time.Time, what any) collector.Fact {
	p := new(ingestionv1alpha.EventProperties)
	switch what := what.(type) {
	case *ingestionv1alpha.EventProperties_SessionProperties:
		p.ReservedProperties = &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: what}
	case *ingestionv1alpha.EventProperties_MessageProperties:
		p.ReservedProperties = &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: what}
	case *ingestionv1alpha.EventProperties_FeedbackProperties:
		p.ReservedProperties = &ingestionv1alpha.EventProperties_FeedbackProperties_{FeedbackProperties: what}
	}
	return collector.Fact{ID: id, Time: at, ReceiveTime: at,
		Event: &ingestionv1alpha.Event{Id: id, Type: kind, CreateTime: timestamppb.New(at), Properties: p}}
}

func opening(session string, at time.Time) collector.Fact {
	return fact("open "+session, "session_open", at,
		&ingestionv1alpha.EventProperties_SessionProperties{SessionId: session, UserId: "u1", AssistantId: "support"})
}

func closing(session string, at time.Time) collector.Fact {
	return fact("close "+session, "session_close", at, &ingestionv1alpha.EventProperties_SessionProperties{SessionId: session})
}

func saying(session string, index int32, at time.Time, content string) collector.Fact {
	return fact(fmt.Sprint(session, " ", index), "message_create", at, &ingestionv1alpha.EventProperties_MessageProperties{
		SessionId: session, MessageIndexHint: index, MessageContent: content,
		MessageRole: ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER})
}

func keep(t *testing.T, s collector.Store, facts ...collector.Fact) {
	t.Helper()
	if _, err := s.Append(t.Context(), project, collector.Batch{Facts: facts}); err != nil {
		t.Fatal(err)
	}
}

func TestConversationsComeBackNewestFirstWithTheirState(t *testing.T) {
	s, key := openStore(t)
	now := time.Now().Truncate(time.Millisecond)
	hourAgo := now.Add(-time.Hour)
	keep(t, s,
		opening("idle", hourAgo), saying("idle", 1, hourAgo.Add(time.Minute), "hello"),
		opening("closed", now.Add(-4*time.Minute)), closing("closed", now.Add(-3*time.Minute)),
		opening("open", now.Add(-time.Minute)), saying("open", 1, now, "hi"), saying("open", 2, now, "there"))
	answer, err := serve(t, s, key, 30*time.Minute).search(t, &alignv1.SearchConversationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		id, reason string
		state      alignv1.Conversation_State
		messages   int32
		end        time.Time
	}
	want := []row{
		{"open", "", alignv1.Conversation_STATE_OPEN, 2, time.Time{}},
		{"closed", "explicit", alignv1.Conversation_STATE_CLOSED, 0, now.Add(-4 * time.Minute)},
		{"idle", "idle", alignv1.Conversation_STATE_CLOSED, 1, hourAgo.Add(time.Minute)},
	}
	if len(answer.GetConversations()) != len(want) {
		t.Fatalf("got %v", answer)
	}
	for i, c := range answer.GetConversations() {
		got := row{c.GetId(), c.GetCloseReason(), c.GetState(), c.GetMessageCount(), time.Time{}}
		if c.GetEndTime() != nil {
			got.end = c.GetEndTime().AsTime().Local()
		}
		if !got.end.Equal(want[i].end) {
			t.Errorf("%s ended at %v, want %v", got.id, got.end, want[i].end)
		}
		if got.end = want[i].end; got != want[i] {
			t.Errorf("got %+v, want %+v", got, want[i])
		}
		if c.GetUserId() != "u1" || c.GetAssistantId() != "support" || c.GetStartTime() == nil {
			t.Errorf("%s: %v", got.id, c)
		}
	}
}

func (s service) search(t *testing.T, req *alignv1.SearchConversationsRequest) (*alignv1.SearchConversationsResponse, error) {
	t.Helper()
	answer, err := s.client.SearchConversations(t.Context(), call(s, req))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

func (s service) list(t *testing.T, req *alignv1.ListMessagesRequest) (*alignv1.ListMessagesResponse, error) {
	t.Helper()
	answer, err := s.client.ListMessages(t.Context(), call(s, req))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

func TestPagesFollowEachOtherAndEnd(t *testing.T) {
	s, key := openStore(t)
	now := time.Now()
	for n := range 7 {
		keep(t, s, saying(fmt.Sprint("s", n), 1, now.Add(time.Duration(n)*time.Second), "x"), saying("s0", int32(n+1), now, "x"))
	}
	api := serve(t, s, key, time.Hour)
	var sessions, indexes []string
	for token, more := "", true; more; more = token != "" {
		answer, err := api.search(t, &alignv1.SearchConversationsRequest{PageSize: 3, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range answer.GetConversations() {
			sessions = append(sessions, c.GetId())
		}
		token = answer.GetNextPageToken()
	}
	if got := strings.Join(sessions, " "); got != "s6 s5 s4 s3 s2 s1 s0" {
		t.Errorf("conversations %s", got)
	}
	for token, more := "", true; more; more = token != "" {
		answer, err := api.list(t, &alignv1.ListMessagesRequest{ConversationId: "s0", PageSize: 3, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range answer.GetMessages() {
			indexes = append(indexes, fmt.Sprint(m.GetIndex()))
		}
		token = answer.GetNextPageToken()
	}
	if got := strings.Join(indexes, " "); got != "1 2 3 4 5 6 7" {
		t.Errorf("messages %s", got)
	}
}

func TestWrongRequestsNameTheField(t *testing.T) {
	s, key := openStore(t)
	keep(t, s, saying("s1", 1, time.Now(), "x"))
	api := serve(t, s, key, time.Hour)
	search := func(size int32, token string) error {
		_, err := api.search(t, &alignv1.SearchConversationsRequest{PageSize: size, PageToken: token})
		return err
	}
	list := func(id string, size int32, token string) error {
		_, err := api.list(t, &alignv1.ListMessagesRequest{ConversationId: id, PageSize: size, PageToken: token})
		return err
	}
	for name, c := range map[string]struct {
		err  error
		code connect.Code
		says string
	}{
		"search, least":            {search(1, ""), 0, ""},
		"search, most":             {search(500, ""), 0, ""},
		"search, too many":         {search(501, ""), connect.CodeInvalidArgument, "page_size"},
		"search, negative":         {search(-1, ""), connect.CodeInvalidArgument, "page_size"},
		"search, foreign token":    {search(0, "nonsense"), connect.CodeInvalidArgument, "page_token"},
		"list, most":               {list("s1", 1000, ""), 0, ""},
		"list, too many":           {list("s1", 1001, ""), connect.CodeInvalidArgument, "page_size"},
		"list, foreign token":      {list("s1", 0, "nonsense"), connect.CodeInvalidArgument, "page_token"},
		"list, no conversation":    {list("", 0, ""), connect.CodeInvalidArgument, "conversation_id"},
		"list, other conversation": {list("s2", 0, ""), connect.CodeNotFound, "no such conversation"},
	} {
		switch {
		case c.says == "" && c.err != nil:
			t.Errorf("%s: %v", name, c.err)
		case c.says != "" && (connect.CodeOf(c.err) != c.code || !strings.Contains(c.err.Error(), c.says)):
			t.Errorf("%s: %v, want %v that says %q", name, c.err, c.code, c.says)
		}
	}
}

func TestPlainJSONIsEnough(t *testing.T) {
	s, key := openStore(t)
	at := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	keep(t, s, opening("s1", at), saying("s1", 1, at.Add(time.Second), "<b>\u2028 hi"))
	api := serve(t, s, key, time.Hour)
	post := func(method, body string) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api.url+"/align.v1.ConversationService/"+method, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+key)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		content, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s %v", resp.Status, content, err)
		}
		return strings.ReplaceAll(string(content), " ", "") // protojson puts spaces at random
	}
	if got := post("SearchConversations", `{"pageSize":1}`); !strings.Contains(got, `"id":"s1"`) || !strings.Contains(got, `"state":"STATE_CLOSED"`) ||
		!strings.Contains(got, `"startTime":"2026-03-14T12:00:00Z"`) {
		t.Errorf("SearchConversations: %s", got)
	}
	if got := post("ListMessages", `{"conversationId":"s1"}`); !strings.Contains(got, `"role":"user"`) || !strings.Contains(got, `"createTime":"2026-03-14T12:00:01Z"`) {
		t.Errorf("ListMessages: %s", got)
	}
}

func TestAnotherProjectsConversationsAreNotThere(t *testing.T) {
	s, key := openStore(t)
	if _, err := s.Append(t.Context(), "other", collector.Batch{Facts: []collector.Fact{saying("s1", 1, time.Now(), "x")}}); err != nil {
		t.Fatal(err)
	}
	api := serve(t, s, key, time.Hour)
	if answer, err := api.search(t, &alignv1.SearchConversationsRequest{}); err != nil || len(answer.GetConversations()) != 0 {
		t.Errorf("found %v, %v", answer, err)
	}
	if _, err := api.list(t, &alignv1.ListMessagesRequest{ConversationId: "s1"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("error %v, want not_found", err)
	}
}

// broken is a store that cannot read conversations.
type broken struct{ collector.Store }

func (broken) Search(context.Context, string, collector.Query, collector.Page, int) ([]collector.Hit, string, error) {
	return nil, "", errors.New("disk on fire")
}

func TestStoreThatFailsIsUnavailableAndSaysNoMore(t *testing.T) {
	s, key := openStore(t)
	_, err := serve(t, broken{s}, key, time.Hour).search(t, &alignv1.SearchConversationsRequest{})
	if connect.CodeOf(err) != connect.CodeUnavailable || strings.Contains(err.Error(), "fire") {
		t.Errorf("error %v, want unavailable that tells nothing", err)
	}
}

// Whatever is wrong with a request, the answer is a Connect error, with a status that says whether to come again.
func TestErrorsAreConnectErrors(t *testing.T) {
	s, key := openStore(t)
	api := serve(t, s, key, time.Hour)
	const search, list = "/align.v1.ConversationService/SearchConversations", "/align.v1.ConversationService/ListMessages"
	large := `{"pageToken":"` + strings.Repeat("x", 64<<10) + `"}`
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, _ = zip.Write([]byte(large))
	_ = zip.Close()
	for _, c := range []struct {
		method, target, mediaType, encoding, body string
		status                                    int
		code                                      string
	}{
		{"POST", search, "application/json", "", large, 413, "resource_exhausted"},
		{"POST", list, "application/proto", "", strings.Repeat("x", 65<<10), 413, "resource_exhausted"},
		{"POST", search, "application/json", "gzip", zipped.String(), 413, "resource_exhausted"},
		{"POST", search, "application/json", "gzip", "{}", 400, "invalid_argument"},
		{"POST", search, "", "", "{}", 415, "unimplemented"},
		{"POST", search, "text/html", "", "{}", 415, "unimplemented"},
		{"POST", search, ";", "", "{}", 415, "unimplemented"},
		{"GET", search, "", "", "", 415, "unimplemented"},
		{"PUT", search, "application/json", "", "{}", 405, "unimplemented"},
		{"POST", "/align.v1.ConversationService/Other", "application/json", "", "{}", 404, "unimplemented"},
		{"POST", "/align.v1.ConversationService/", "application/json", "", "{}", 404, "unimplemented"},
		{"POST", search, "application/json", "", "{", 400, "invalid_argument"},
		{"POST", search, "application/json; charset=UTF-8", "", "{}", 200, ""},
		{"POST", search, "application/json; odd=1", "", "{}", 200, ""},
		{"GET", search + "?encoding=json&message=%7B%7D", "", "", "", 200, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, api.url+c.target, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key)
		if c.mediaType != "" {
			r.Header.Set("Content-Type", c.mediaType)
		}
		if c.encoding != "" {
			r.Header.Set("Content-Encoding", c.encoding)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var said struct{ Code string }
		err = json.NewDecoder(resp.Body).Decode(&said)
		resp.Body.Close()
		if resp.StatusCode != c.status || said.Code != c.code || err != nil || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s as %q %s: status %d, %s, code %q, %v; want %d, %q", c.method, c.target, c.mediaType, c.encoding,
				resp.StatusCode, resp.Header.Get("Content-Type"), said.Code, err, c.status, c.code)
		}
	}
}
