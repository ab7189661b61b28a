package agents_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/internal/openaitest"
)

// each runs a test against an agent that streams and one that does not.
func each(t *testing.T, test func(t *testing.T, streams bool)) {
	t.Run("streamed", func(t *testing.T) { test(t, true) })
	t.Run("whole", func(t *testing.T) { test(t, false) })
}

// newAgent is an agent of a model, configured as most are.
func newAgent(t *testing.T, srv *openaitest.Server, model string, streams bool, change ...func(*agents.AgentConfig)) *agents.Agent {
	t.Helper()
	config := agents.AgentConfig{BaseURL: srv.BaseURL(), Model: model, Stream: &streams}
	for _, c := range change {
		c(&config)
	}
	set, err := agents.New(agents.Config{Agents: map[string]agents.AgentConfig{"support": config}}, "")
	if err != nil {
		t.Fatal(err)
	}
	agent, ok := set.Find("support")
	if !ok {
		t.Fatal("the agent is not there")
	}
	return agent
}

// ask asks and returns what was said on the way, too.
func ask(t *testing.T, agent *agents.Agent, req agents.Request) (answer agents.Answer, said []string, err error) {
	t.Helper()
	answer, err = agent.Ask(t.Context(), req, func(piece string) error {
		said = append(said, piece)
		return nil
	})
	return answer, said, err
}

var hello = agents.Request{Messages: []string{"hello"}}

func TestAgentGetsPromptHistoryAndMessagesInOrder(t *testing.T) {
	each(t, func(t *testing.T, streams bool) {
		srv := openaitest.New(t)
		agent := newAgent(t, srv, "m1", streams, func(c *agents.AgentConfig) { c.SystemPrompt = "Be kind." })
		answer, said, err := ask(t, agent, agents.Request{
			History:  []agents.Line{{Role: agents.User, Text: "one"}, {Role: agents.Assistant, Text: "two"}, {Role: agents.System, Text: "moved"}},
			Messages: []string{"three", "four"},
		})
		if err != nil {
			t.Fatal(err)
		}
		const want = "system: Be kind.\nuser: one\nassistant: two\nsystem: moved\nuser: three\nuser: four\n"
		if got := srv.Last(t); got.String() != want || got.Model != "m1" || got.Stream != streams {
			t.Errorf("asked %+v", got)
		}
		if answer.Text != "You said: four" || answer.Model != "m1-2026" || *answer.InputTokens != 11 || *answer.OutputTokens != 5 || answer.Incomplete {
			t.Errorf("answer %+v", answer)
		}
		if streams && strings.Join(said, "|") != "You |said: |four" || !streams && said != nil {
			t.Errorf("said %q", said)
		}
	})
}

func TestAgentWithoutNumbersOfTokensHasNone(t *testing.T) {
	each(t, func(t *testing.T, streams bool) {
		answer, _, err := ask(t, newAgent(t, openaitest.New(t), openaitest.NoUsage, streams), hello)
		if err != nil || answer.InputTokens != nil || answer.OutputTokens != nil {
			t.Errorf("%+v, %v", answer, err)
		}
	})
}

func TestAnswerThatEndsAtTheModelsLimitIsIncompleteAndNoFailure(t *testing.T) {
	each(t, func(t *testing.T, streams bool) {
		answer, _, err := ask(t, newAgent(t, openaitest.New(t), openaitest.Cut, streams), hello)
		if err != nil || !answer.Incomplete || answer.Text != "You said: hello" {
			t.Errorf("%+v, %v", answer, err)
		}
	})
}

func TestToolsThatAnAgentCallsAreKept(t *testing.T) {
	each(t, func(t *testing.T, streams bool) {
		answer, _, err := ask(t, newAgent(t, openaitest.New(t), openaitest.Tools, streams), hello)
		want := agents.ToolCall{ID: "t1", Name: "look_up", Arguments: `{"order":7}`}
		if err != nil || len(answer.ToolCalls) != 1 || answer.ToolCalls[0] != want {
			t.Errorf("%+v, %v", answer, err)
		}
	})
}

func TestAnswerIsGoodUTF8(t *testing.T) {
	each(t, func(t *testing.T, streams bool) {
		answer, _, err := ask(t, newAgent(t, openaitest.New(t), openaitest.BadUTF8, streams), hello)
		if err != nil || answer.Text != "caf\uFFFD" {
			t.Errorf("%q, %v", answer.Text, err)
		}
	})
}

func TestStreamThatBreaksAfterItsEndIsWhole(t *testing.T) {
	answer, _, err := ask(t, newAgent(t, openaitest.New(t), openaitest.Late, true), hello)
	if err != nil || answer.Text != "You said: hello" || answer.Incomplete {
		t.Errorf("%+v, %v", answer, err)
	}
}

// Whatever an agent does, the error names it and the kind, and there was one request.
func TestFailingAgentSaysWhatKind(t *testing.T) {
	each(t, func(t *testing.T, streams bool) {
		for _, c := range []struct {
			model  string
			kind   agents.Kind
			status int
			text   string // of a stream
		}{
			{openaitest.Hang, agents.Timeout, 0, ""},
			{openaitest.Stall, agents.Timeout, 0, "It is "},
			{openaitest.Garbage, agents.Unreadable, 0, ""},
			{openaitest.HTML, agents.Unreadable, 0, ""},
			{openaitest.Die, agents.Broken, 0, "It is "},
			{openaitest.Limited, agents.Refused, 429, ""},
			{openaitest.Forbidden, agents.Refused, 401, ""},
			{openaitest.Broken, agents.Refused, 500, ""},
			{openaitest.Redirect, agents.Refused, 307, ""},
			{openaitest.Huge, agents.TooLarge, 0, ""},
			{openaitest.HugeFlood, agents.TooLarge, 0, strings.Repeat("x", 64<<10)},
			{openaitest.HugeEvent, agents.TooLarge, 0, ""},
			{openaitest.Silent, agents.NoAnswer, 0, ""},
		} {
			t.Run(c.model, func(t *testing.T) {
				srv := openaitest.New(t)
				t.Setenv("SECRET_OF_THE_TEST", "sk-secret")
				agent := newAgent(t, srv, c.model, streams, func(config *agents.AgentConfig) {
					config.APIKeyEnv, config.MaxAnswerBytes = "SECRET_OF_THE_TEST", 64<<10
					if c.kind == agents.Timeout {
						config.Timeout = "100ms"
					}
				})
				answer, _, err := ask(t, agent, agents.Request{Messages: []string{"private words"}})
				failure, ok := errors.AsType[*agents.Failure](err)
				if !ok || failure.Kind != c.kind || failure.Status != c.status || failure.Agent != "support" || !answer.Incomplete {
					t.Fatalf("%v (%+v), want %s %d", err, answer, c.kind, c.status)
				}
				if c.model == openaitest.Limited && failure.RetryAfter != 7*time.Second {
					t.Errorf("come again in %v, want 7s", failure.RetryAfter)
				}
				if streams && answer.Text != c.text || !streams && answer.Text != "" {
					t.Errorf("of the answer there was %.80q, want %.80q", answer.Text, c.text)
				}
				for _, private := range []string{"sk-secret", "private", "slow down", "oops"} {
					if strings.Contains(err.Error(), private) {
						t.Errorf("the error repeats %q: %v", private, err)
					}
				}
				if n := len(srv.Requests()); n != 1 {
					t.Errorf("asked %d times, want once", n)
				}
			})
		}
	})
}

func TestStreamThatEndsWithoutItsEndIsBroken(t *testing.T) {
	answer, _, err := ask(t, newAgent(t, openaitest.New(t), openaitest.DieClean, true), hello)
	if failure, ok := errors.AsType[*agents.Failure](err); !ok || failure.Kind != agents.Broken || answer.Text != "It is " {
		t.Errorf("%+v, %v", answer, err)
	}
}

func TestAgentThatIsNotThereIsUnreachable(t *testing.T) {
	srv := openaitest.New(t)
	agent := newAgent(t, srv, "m1", true)
	srv.Close()
	_, _, err := ask(t, agent, hello)
	if failure, ok := errors.AsType[*agents.Failure](err); !ok || failure.Kind != agents.Unreachable {
		t.Errorf("%v", err)
	}
}

func TestWhoeverGoesEndsTheRequest(t *testing.T) {
	srv := openaitest.New(t)
	agent := newAgent(t, srv, openaitest.Stall, true)
	ctx, cancel := context.WithCancel(t.Context())
	answer, err := agent.Ask(ctx, hello, func(string) error {
		cancel()
		return nil
	})
	if failure, ok := errors.AsType[*agents.Failure](err); !ok || failure.Kind != agents.Canceled || answer.Text != "It is " {
		t.Errorf("the context ended: %+v, %v", answer, err)
	}
	_, err = agent.Ask(t.Context(), hello, func(string) error { return errors.New("gone") })
	if failure, ok := errors.AsType[*agents.Failure](err); !ok || failure.Kind != agents.Canceled {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestOnlyTheConfiguredKeyIsSent(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-of-another")
	t.Setenv("OPENAI_ORG_ID", "org-of-another")
	t.Setenv("OPENAI_CUSTOM_HEADERS", "X-Other: sk-of-another")
	t.Setenv("SUPPORT_KEY", "sk-support")
	srv := openaitest.New(t)
	for _, c := range []struct{ variable, want string }{{"", ""}, {"SUPPORT_KEY", "Bearer sk-support"}} {
		if _, _, err := ask(t, newAgent(t, srv, "m1", true, func(config *agents.AgentConfig) { config.APIKeyEnv = c.variable }), hello); err != nil {
			t.Fatal(err)
		}
		header := srv.Last(t).Header
		if got := header.Get("Authorization"); got != c.want {
			t.Errorf("with api_key_env %q: Authorization %q, want %q", c.variable, got, c.want)
		}
		for name, values := range header {
			if strings.Contains(strings.Join(values, " "), "of-another") {
				t.Errorf("the header %s tells what is another's", name)
			}
		}
	}
}

func TestEchoSaysWhatTheUserSaysWordByWord(t *testing.T) {
	set, err := agents.New(agents.Config{}, "")
	if err != nil {
		t.Fatal(err)
	}
	echo, ok := set.Find(agents.EchoName)
	if !ok {
		t.Fatal("echo is not there")
	}
	answer, said, err := ask(t, echo, agents.Request{History: []agents.Line{{Text: "before"}}, Messages: []string{"안녕 hello 👋", "you"}})
	if err != nil || answer.Text != "안녕 hello 👋\nyou" || strings.Join(said, "|") != "안녕 |hello |👋\n|you" {
		t.Errorf("%+v, %q, %v", answer, said, err)
	}
	long := strings.Repeat("word ", 50_000)
	answer, said, err = ask(t, echo, agents.Request{Messages: []string{long}})
	if err != nil || answer.Text != long || strings.Join(said, "") != long || len(said) > 513 {
		t.Errorf("%d bytes in %d pieces, %v", len(answer.Text), len(said), err)
	}
}
