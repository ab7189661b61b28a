package conversations_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/internal/openaitest"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/server"
	"github.com/openalign/align/collector/store/sqlite"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// world is a whole collector with agents, over real HTTP, and clients of it.
type world struct {
	url    string
	store  collector.Store
	agent  *openaitest.Server
	keys   map[collector.Scope]string
	log    *logged
	server *server.Server
	client alignv1connect.ConversationServiceClient // with a chat key
}

// logged is a log that several may write.
type logged struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newWorld starts one whose agents are named after their models, "support" and "plain", which does not stream, among them.
func newWorld(t testing.TB, change ...func(map[string]agents.AgentConfig)) *world {
	t.Helper()
	w := &world{agent: openaitest.New(t), keys: map[collector.Scope]string{}, log: new(logged)}
	config := map[string]agents.AgentConfig{
		"support": {BaseURL: w.agent.BaseURL(), Model: "m1", Version: "240228-dev", Aliases: []string{"support-latest"}, SystemPrompt: "Be kind."},
		"plain":   {BaseURL: w.agent.BaseURL(), Model: "m2", Stream: new(false)},
	}
	for _, c := range change {
		c(config)
	}
	set, err := agents.New(agents.Config{Agents: config}, "")
	if err != nil {
		t.Fatal(err)
	}
	if w.store, err = sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "align.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, scope := range []collector.Scope{collector.ScopeIngest, collector.ScopeRead, collector.ScopeChat, collector.ScopeAdmin} {
		w.keys[scope] = w.newKey(t, project, scope)
	}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	handler := server.New(w.store, server.Options{Logger: log, Agents: set})
	w.server = handler
	web := httptest.NewUnstartedServer(handler)
	web.Config = server.HTTP(web.Config.Handler, log)
	web.Start()
	t.Cleanup(func() { // before the store's
		web.Close()
		if err := handler.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w.url = web.URL
	w.client = w.clientOf(w.keys[collector.ScopeChat])
	return w
}

// deadlines serves the same with other deadlines.
func (w *world) deadlines(t testing.TB, d time.Duration) {
	t.Helper()
	web := httptest.NewUnstartedServer(w.server)
	web.Config.ReadTimeout, web.Config.WriteTimeout = d, d
	web.Start()
	t.Cleanup(web.Close)
	w.url = web.URL
	w.client = w.clientOf(w.keys[collector.ScopeChat])
}

func (w *world) newKey(t testing.TB, project string, scope collector.Scope) string {
	t.Helper()
	secret, key, err := keys.New(project, scope)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.CreateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	return secret
}

func (w *world) clientOf(key string, opts ...connect.ClientOption) alignv1connect.ConversationServiceClient {
	return alignv1connect.NewConversationServiceClient(http.DefaultClient, w.url, append(opts, connect.WithInterceptors(keys.Bearer(key)))...)
}

// curl posts JSON as a stranger to all clients would.
func (w *world) curl(t testing.TB, method, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/align.v1.ConversationService/"+method, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+w.keys[collector.ScopeChat])
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.ReplaceAll(string(text), " ", "") // protojson puts spaces at random
}

func (w *world) create(t testing.TB, req *alignv1.CreateConversationRequest) *alignv1.Conversation {
	t.Helper()
	answer, err := w.client.CreateConversation(t.Context(), connect.NewRequest(req))
	if err != nil {
		t.Fatal(err)
	}
	return answer.Msg.GetConversation()
}

func (w *world) get(t testing.TB, id string) *alignv1.Conversation {
	t.Helper()
	answer, err := w.client.GetConversation(t.Context(), connect.NewRequest(&alignv1.GetConversationRequest{ConversationId: id}))
	if err != nil {
		t.Fatal(err)
	}
	return answer.Msg.GetConversation()
}

func (w *world) search(t testing.TB, req *alignv1.SearchConversationsRequest) *alignv1.SearchConversationsResponse {
	t.Helper()
	answer, err := w.client.SearchConversations(t.Context(), connect.NewRequest(req))
	if err != nil {
		t.Fatal(err)
	}
	return answer.Msg
}

func (w *world) messages(t testing.TB, id string) []*alignv1.Message {
	t.Helper()
	answer, err := w.client.ListMessages(t.Context(), connect.NewRequest(&alignv1.ListMessagesRequest{ConversationId: id}))
	if err != nil {
		t.Fatal(err)
	}
	return answer.Msg.GetMessages()
}

func (w *world) runs(t testing.TB, id string) []*alignv1.Run {
	t.Helper()
	answer, err := w.client.ListRuns(t.Context(), connect.NewRequest(&alignv1.ListRunsRequest{ConversationId: id}))
	if err != nil {
		t.Fatal(err)
	}
	return answer.Msg.GetRuns()
}

func said(texts ...string) (messages []*alignv1.UserMessage) {
	for _, text := range texts {
		messages = append(messages, &alignv1.UserMessage{Content: text})
	}
	return messages
}

// talk is a way to chat: at once, or as a stream.
type talk func(ctx context.Context, req *alignv1.ChatRequest) (*alignv1.ChatResponse, error)

func (w *world) unary(ctx context.Context, req *alignv1.ChatRequest) (*alignv1.ChatResponse, error) {
	answer, err := w.client.Chat(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

func (w *world) streamed(ctx context.Context, req *alignv1.ChatRequest) (answer *alignv1.ChatResponse, err error) {
	stream, err := w.client.ChatStream(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	text := ""
	for stream.Receive() {
		text += stream.Msg().GetDelta()
		if done := stream.Msg().GetDone(); done != nil {
			answer = done
		}
	}
	if answer != nil && answer.GetMessages()[0].GetContent() != text {
		return nil, connect.NewError(connect.CodeDataLoss, io.ErrUnexpectedEOF)
	}
	return answer, stream.Err()
}

// chat chats and wants an answer.
func (w *world) chat(t testing.TB, id, agent string, texts ...string) *alignv1.ChatResponse {
	t.Helper()
	answer, err := w.unary(t.Context(), &alignv1.ChatRequest{ConversationId: id, Agent: agent, Messages: said(texts...)})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// transcript is messages, a line each.
func transcript(messages []*alignv1.Message) string {
	var b strings.Builder
	for _, m := range messages {
		b.WriteString(m.GetRole() + ": " + m.GetContent() + "\n")
	}
	return b.String()
}

var extendedRoles = map[string]ingestionv1alpha.EventProperties_MessageProperties_ExtendedRole{
	"system": ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_SYSTEM,
	"tool":   ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_TOOL,
	"human":  ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_HUMAN,
}
