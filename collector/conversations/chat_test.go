package conversations_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/internal/openaitest"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// of configures an agent of each model, named after it.
func of(models ...string) func(map[string]agents.AgentConfig) {
	return func(config map[string]agents.AgentConfig) {
		for _, model := range models {
			c := config["support"]
			config[model] = agents.AgentConfig{BaseURL: c.BaseURL, Model: model, Timeout: "5s", MaxAnswerBytes: 64 << 10}
		}
	}
}

// An agent that fails: a clear error, what the user said stays, and the run is recorded without success.
func TestFailingAgentLeavesWhatTheUserSaidAndARunWithoutSuccess(t *testing.T) {
	models := []string{openaitest.Hang, openaitest.Stall, openaitest.Garbage, openaitest.Die, openaitest.Limited, openaitest.Forbidden, openaitest.Broken,
		openaitest.HugeFlood, openaitest.Silent}
	w := newWorld(t, of(models...), func(config map[string]agents.AgentConfig) {
		for _, model := range []string{openaitest.Hang, openaitest.Stall} {
			c := config[model]
			c.Timeout = "200ms"
			config[model] = c
		}
		config["gone"] = agents.AgentConfig{BaseURL: "http://127.0.0.1:1/v1", Model: "m"}
	})
	for agent, want := range map[string]struct {
		code       connect.Code
		kind, text string
		status     int32
	}{
		openaitest.Hang:      {connect.CodeDeadlineExceeded, "timeout", "", 0},
		openaitest.Stall:     {connect.CodeDeadlineExceeded, "timeout", "It is ", 0},
		openaitest.Garbage:   {connect.CodeInternal, "unreadable", "", 0},
		openaitest.Die:       {connect.CodeUnavailable, "broken", "It is ", 0},
		openaitest.Limited:   {connect.CodeResourceExhausted, "refused", "", 429},
		openaitest.Forbidden: {connect.CodeInternal, "refused", "", 401},
		openaitest.Broken:    {connect.CodeUnavailable, "refused", "", 500},
		openaitest.HugeFlood: {connect.CodeInternal, "too_large", strings.Repeat("x", 64<<10), 0},
		openaitest.Silent:    {connect.CodeInternal, "no_answer", "", 0},
		"gone":               {connect.CodeUnavailable, "unreachable", "", 0},
	} {
		for form, talk := range map[string]talk{"at once": w.unary, "as a stream": w.streamed} {
			t.Run(agent+" "+form, func(t *testing.T) {
				id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
				_, err := talk(t.Context(), &alignv1.ChatRequest{ConversationId: id, Agent: agent, Messages: said("private words")})
				failure := failureOf(t, err)
				if connect.CodeOf(err) != want.code || failure.GetKind() != want.kind || failure.GetAgent() != agent || failure.GetStatus() != want.status {
					t.Fatalf("%v (%v), want %s, %s", err, failure, want.code, want.kind)
				}
				if !strings.Contains(err.Error(), agent) || !strings.Contains(err.Error(), want.kind) || strings.Contains(err.Error(), "private") {
					t.Errorf("the error says %v", err)
				}
				var told *connect.Error
				if errors.As(err, &told); agent == openaitest.Limited && told.Meta().Get("Retry-After") != "7" {
					t.Errorf("Retry-After %q, want the agent's", told.Meta().Get("Retry-After"))
				}
				listed := w.messages(t, id)
				if got := transcript(listed); got != "user: private words\nassistant: "+want.text+"\n" {
					t.Fatalf("recorded:\n%.200s", got)
				}
				m := listed[1]
				if m.Success == nil || m.GetSuccess() || !m.GetIncomplete() || !strings.HasPrefix(m.GetError(), want.kind) || m.GetOutcome() != "error" ||
					m.GetRunId() != failure.GetRunId() || m.GetAgent() != agent || m.GetLatency() == nil {
					t.Errorf("recorded %v", m)
				}
				runs := w.runs(t, id)
				if len(runs) != 1 || runs[0].Success == nil || runs[0].GetSuccess() || runs[0].GetError() != m.GetError() {
					t.Errorf("runs %v", runs)
				}
				// The next agent is told what the user said, and nothing of the failure.
				w.chat(t, id, "support", "again")
				if got := w.agent.Last(t).String(); got != "system: Be kind.\nuser: private words\nuser: again\n" {
					t.Errorf("the next agent was told:\n%.200s", got)
				}
			})
		}
	}
	for _, private := range []string{"private", "slow down", "bad key"} {
		if strings.Contains(w.log.String(), private) {
			t.Errorf("the log says %q:\n%s", private, w.log)
		}
	}
}

func failureOf(t *testing.T, err error) *alignv1.ChatFailure {
	t.Helper()
	told, ok := errors.AsType[*connect.Error](err)
	if !ok || len(told.Details()) != 1 {
		t.Fatalf("%v has no detail", err)
	}
	value, err := told.Details()[0].Value()
	if err != nil {
		t.Fatal(err)
	}
	return value.(*alignv1.ChatFailure)
}

func TestRetryAfterOfAnAgentIsTheAnswersHeader(t *testing.T) {
	w := newWorld(t, of(openaitest.Limited))
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/align.v1.ConversationService/Chat",
		strings.NewReader(`{"conversationId":"`+id+`","agent":"limited","messages":[{"content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+w.keys[collector.ScopeChat])
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "7" {
		t.Errorf("%s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
}

// What the user says is durable before the agent hears of it.
func TestUserMessagesAreStoredBeforeTheAgentIsAsked(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	w.agent.Answer = func(openaitest.Request) string {
		messages, _, err := w.store.Messages(context.Background(), project, id, collector.Page{})
		if err != nil || len(messages) != 2 || messages[1].Content != "two" {
			return fmt.Sprint("not stored: ", messages, err)
		}
		return "stored"
	}
	if got := w.chat(t, id, "support", "one", "two").GetMessages()[0].GetContent(); got != "stored" {
		t.Error(got)
	}
}

func TestStreamTellsTheRunThenPiecesThenTheAnswer(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	for _, agent := range []string{"support", "plain"} {
		stream, err := w.client.ChatStream(t.Context(), connect.NewRequest(&alignv1.ChatRequest{ConversationId: id, Agent: agent, Messages: said("hello", "you")}))
		if err != nil {
			t.Fatal(err)
		}
		var started *alignv1.ChatStreamResponse_Started
		var done *alignv1.ChatResponse
		var deltas []string
		for stream.Receive() {
			switch event := stream.Msg().GetEvent().(type) {
			case *alignv1.ChatStreamResponse_Started_:
				started = event.Started
			case *alignv1.ChatStreamResponse_Delta:
				deltas = append(deltas, event.Delta)
			case *alignv1.ChatStreamResponse_Done:
				done = event.Done
			}
			if started == nil || done != nil && len(deltas) == 0 {
				t.Fatalf("%v came too early", stream.Msg())
			}
		}
		if err := errors.Join(stream.Err(), stream.Close()); err != nil {
			t.Fatal(err)
		}
		want := map[string][]string{"support": {"You ", "said: ", "you"}, "plain": {"You said: you"}}[agent]
		if !slices.Equal(deltas, want) || transcript(started.GetMessages()) != "user: hello\nuser: you\n" || started.GetRunId() != done.GetRunId() ||
			started.GetAgent() != done.GetMessages()[0].GetAgent() || transcript(done.GetMessages()) != "assistant: You said: you\n" {
			t.Errorf("started %v, deltas %q, done %v", started, deltas, done)
		}
	}
}

// Two who speak at once in one conversation take turns: none of their words get the same index, and each agent hears what
// was answered before.
func TestChatsOnOneConversationTakeTurns(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	const chats = 20
	var wg sync.WaitGroup
	for i := range chats {
		wg.Go(func() {
			if _, err := []talk{w.unary, w.streamed}[i%2](t.Context(), &alignv1.ChatRequest{ConversationId: id, Agent: "support", Messages: said(fmt.Sprint("word ", i))}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	listed := w.messages(t, id)
	if len(listed) != 2*chats {
		t.Fatalf("%d messages, want %d", len(listed), 2*chats)
	}
	for i := 0; i < len(listed); i += 2 {
		user, answer := listed[i], listed[i+1]
		if user.GetRole() != "user" || answer.GetContent() != "You said: "+user.GetContent() || user.GetRunId() != answer.GetRunId() ||
			user.GetIndex() != int32(i+1) || answer.GetIndex() != int32(i+2) || user.GetVersions() != 1 || answer.GetVersions() != 1 {
			t.Errorf("messages %d and %d: %v, %v", i+1, i+2, user, answer)
		}
	}
	for i, req := range w.agent.Requests() {
		if len(req.Messages) != 1+2*i+1 {
			t.Errorf("agent %d was told %d messages, want %d", i, len(req.Messages), 1+2*i+1)
		}
	}
}

func TestWhoeverWaitsForATurnCanGo(t *testing.T) {
	w := newWorld(t, of(openaitest.Hang))
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	speaking, shutUp := context.WithCancel(t.Context())
	spoken := make(chan error, 1)
	go func() {
		_, err := w.unary(speaking, &alignv1.ChatRequest{ConversationId: id, Agent: openaitest.Hang, Messages: said("long story")})
		spoken <- err
	}()
	w.agent.Wait(t, 1)
	waiting, goAway := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer goAway()
	if _, err := w.unary(waiting, &alignv1.ChatRequest{ConversationId: id, Agent: "echo", Messages: said("let me")}); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("waited: %v", err)
	}
	other := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	w.chat(t, other, "echo", "not in the same conversation")
	shutUp()
	if err := <-spoken; connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("spoke: %v", err)
	}
	w.chat(t, id, "echo", "now me") // waits until the run is recorded
	listed := w.messages(t, id)
	if got := transcript(listed); got != "user: long story\nassistant: \nuser: now me\nassistant: now me\n" || !strings.HasPrefix(listed[1].GetError(), "canceled") {
		t.Errorf("recorded:\n%s%v", got, listed[1])
	}
}

func TestHistoryIsTheNewestWithinTheAgentsBudget(t *testing.T) {
	w := newWorld(t, func(config map[string]agents.AgentConfig) {
		c := config["support"]
		c.SystemPrompt, c.HistoryMessages = "", 3
		config["few"] = agents.AgentConfig{BaseURL: c.BaseURL, Model: "few", HistoryMessages: 3}
		config["short"] = agents.AgentConfig{BaseURL: c.BaseURL, Model: "short", HistoryBytes: 10}
	})
	at := time.Now().Add(-time.Hour)
	keep(t, w.store, opening("s1", at))
	var facts []collector.Fact
	for i := range int32(450) { // more than a page
		facts = append(facts, saying("s1", i+1, at, fmt.Sprintf("m%03d", i+1)))
	}
	keep(t, w.store, facts...)
	answer := w.chat(t, "s1", "few", "now")
	if got := w.agent.Last(t).String(); got != "user: m448\nuser: m449\nuser: m450\nuser: now\n" || answer.GetHistoryCount() != 3 || answer.GetHistoryLeftOut() != 447 {
		t.Errorf("told:\n%s%v", got, answer)
	}
	answer = w.chat(t, "s1", "short", "then") // "now" and "You said: now" are 16 bytes
	if got := w.agent.Last(t).String(); got != "user: then\n" || answer.GetHistoryLeftOut() != 452 || answer.GetMessages()[0].GetIndex() != 454 {
		t.Errorf("told:\n%s%v", got, answer)
	}
}

// Messages of clients that do not count have places, after all that are counted. What is said next must come after them.
func TestChatComesAfterMessagesThatHavePlaces(t *testing.T) {
	w := newWorld(t)
	at := time.Now().Add(-time.Minute)
	for i, text := range []string{"first", "second"} {
		when := at.Add(time.Duration(i) * time.Second)
		keep(t, w.store, fact(text, "message_create", when, &ingestionv1alpha.EventProperties_MessageProperties{
			SessionId: "s1", MessageContent: text, MessageRole: ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER,
			Place: &ingestionv1alpha.EventProperties_MessageProperties_Place{Time: timestamppb.New(when), Turn: text}}))
	}
	answers := []*alignv1.ChatResponse{w.chat(t, "s1", "echo", "third", "fourth"), w.chat(t, "s1", "echo", "fifth")}
	listed := w.messages(t, "s1")
	if got := transcript(listed); got != "user: first\nuser: second\nuser: third\nuser: fourth\nassistant: third\nfourth\nuser: fifth\nassistant: fifth\n" {
		t.Errorf("messages:\n%s", got)
	}
	if a, b := answers[0].GetMessages()[0].GetIndex(), answers[1].GetMessages()[0].GetIndex(); a != 5 || b != 7 || listed[4].GetIndex() != 5 {
		t.Errorf("answers said to be at %d and %d", a, b)
	}
}

// failing is a store that takes nothing.
type failing struct {
	collector.Store
	err error
}

func (f failing) Append(context.Context, string, collector.Batch) (collector.Appended, error) {
	return collector.Appended{}, f.err
}

func TestWhatCannotBeStoredIsNotAnswered(t *testing.T) {
	s, key := openStore(t, collector.ScopeChat)
	keep(t, s, opening("s1", time.Now()))
	for err, code := range map[error]connect.Code{collector.ErrBusy: connect.CodeResourceExhausted, errors.New("disk on fire"): connect.CodeUnavailable} {
		api := serve(t, failing{s, err}, key, time.Hour)
		_, chat := api.client.Chat(t.Context(), call(api, &alignv1.ChatRequest{ConversationId: "s1", Agent: "echo", Messages: said("hi")}))
		_, create := api.client.CreateConversation(t.Context(), call(api, &alignv1.CreateConversationRequest{}))
		for _, got := range []error{chat, create} {
			if connect.CodeOf(got) != code || strings.Contains(got.Error(), "fire") {
				t.Errorf("%v, want %v that tells nothing", got, code)
			}
		}
	}
}

// A conversation that was closed goes on, as it does for every client.
func TestChatOpensAClosedConversationAgain(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	keep(t, w.store, closing(id, time.Now()))
	if state := w.get(t, id).GetState(); state != alignv1.Conversation_STATE_CLOSED {
		t.Fatalf("state %v", state)
	}
	w.chat(t, id, "echo", "hello")
	if state := w.get(t, id).GetState(); state != alignv1.Conversation_STATE_OPEN {
		t.Errorf("state %v", state)
	}
}

func TestLargeMessagesCanBeSaidAndNoLarger(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	long := strings.Repeat("é", 128<<10)
	for _, talk := range []talk{w.unary, w.streamed} {
		answer, err := talk(t.Context(), &alignv1.ChatRequest{ConversationId: id, Agent: "echo", Messages: said(long)})
		if err != nil || answer.GetMessages()[0].GetContent() != long {
			t.Fatalf("256 KiB: %v", err)
		}
		_, err = talk(t.Context(), &alignv1.ChatRequest{ConversationId: id, Agent: "echo", Messages: said(strings.Repeat("x", 1<<20))})
		if connect.CodeOf(err) != connect.CodeResourceExhausted && connect.CodeOf(err) != connect.CodeUnknown { // 413, for which Connect has no code
			t.Errorf("1 MiB and more: %v", err)
		}
	}
}

// A chat may take longer than a server lets requests take.
func TestChatOutlivesTheServersDeadlines(t *testing.T) {
	w := newWorld(t, of(openaitest.Stall))
	const deadline = 500 * time.Millisecond
	w.agent.Answer = func(openaitest.Request) string {
		time.Sleep(deadline + deadline/2)
		return "at last"
	}
	ids := make([]string, 4)
	for i := range ids {
		ids[i] = w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	}
	w.deadlines(t, deadline)
	var chats sync.WaitGroup
	for i, id := range ids {
		agent, form, talk := "support", "at once", w.unary
		if i%2 == 1 {
			agent = "plain"
		}
		if i/2 == 1 {
			form, talk = "as a stream", w.streamed
		}
		chats.Go(func() {
			answer, err := talk(t.Context(), &alignv1.ChatRequest{ConversationId: id, Agent: agent, Messages: said("hello")})
			if err != nil || answer.GetMessages()[0].GetContent() != "at last" {
				t.Errorf("%s, %s: %v, %v", agent, form, answer, err)
			}
		})
	}
	chats.Wait()
}
