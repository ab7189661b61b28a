package align_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

// converseTest runs f on a client in a bubble.
func converseTest(t *testing.T, change func(*align.Config), f func(t *testing.T, client *align.Client, srv *aligntest.Server)) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		f(t, srv.Client(t, func(cfg *align.Config) {
			if change != nil {
				change(cfg)
			}
		}), srv)
	})
}

// saying is an agent that always answers the same.
func saying(text string) align.Agent {
	return func(context.Context, *align.Run) (string, error) { return text, nil }
}

var c1 = align.Conversation{ID: "c1", UserID: "u1", AgentName: "support"}

// wantConversation closes the client and compares what the collector has of a session, a line for each message.
func wantConversation(t *testing.T, client *align.Client, srv *aligntest.Server, id string, want ...string) {
	t.Helper()
	if err := client.Close(context.Background()); err != nil {
		t.Error(err)
	}
	var got []string
	for _, m := range srv.Session(id).Messages {
		line := fmt.Sprintf("%d %s %q", m.Index, m.Role, m.Content)
		if g := m.Generation; g != nil {
			if g.Latency != nil {
				line += fmt.Sprint(" latency=", *g.Latency)
			}
			if g.TimeToFirstToken != nil {
				line += fmt.Sprint(" first=", *g.TimeToFirstToken)
			}
			if g.Success != nil {
				line += fmt.Sprint(" success=", *g.Success)
			}
			if g.Error != "" {
				line += fmt.Sprintf(" error=%q", g.Error)
			}
			if g.Incomplete {
				line += " incomplete"
			}
		}
		got = append(got, line)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func wantAnswered(t *testing.T) func(align.Answer, error) align.Answer {
	return func(answer align.Answer, err error) align.Answer {
		t.Helper()
		if err = errors.Join(err, answer.Unrecorded); err != nil {
			t.Error(err)
		}
		return answer
	}
}

func TestConverseRecordsEveryMessageInOrderBeforeTheAgentIsCalled(t *testing.T) { // ES-5
	converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		ctx := t.Context()
		agent := func(ctx context.Context, run *align.Run) (string, error) {
			if err := client.Flush(ctx); err != nil {
				t.Error(err)
			}
			if got := srv.Session("c1").Transcript(); got != "user: Hello.\nuser: Where is my order?\n" {
				t.Errorf("the agent was called after\n%s", got)
			}
			if got, want := run.Lines(), []align.Line{{Role: align.RoleUser, Text: "Hello."}, {Role: align.RoleUser, Text: "Where is my order?"}}; !slices.Equal(got, want) {
				t.Errorf("the agent reads %v", got)
			}
			time.Sleep(1500 * time.Millisecond)
			return "On its way.", nil
		}
		answer := wantAnswered(t)(client.Converse(ctx, c1, []string{"Hello.", "Where is my order?"}, agent))
		if answer.Text != "On its way." || answer.Index != 3 {
			t.Errorf("%+v", answer)
		}
		next := wantAnswered(t)(client.Converse(ctx, c1, []string{"Thanks."}, saying("You are welcome.")))
		wantConversation(t, client, srv, "c1",
			`1 user "Hello."`, `2 user "Where is my order?"`, `3 assistant "On its way." latency=1.5s success=true`,
			`4 user "Thanks."`, `5 assistant "You are welcome." latency=0s success=true`)
		session := srv.Session("c1")
		if session.UserID != "u1" || session.AssistantID != "support" {
			t.Errorf("session %+v", session)
		}
		if id := session.Message(3).Generation.RunID; id == "" || id != answer.RunID || id == next.RunID {
			t.Errorf("run id %q, then %q; recorded %q", answer.RunID, next.RunID, id)
		}
		opened := 0
		for _, e := range srv.Events() {
			if e.Type == align.EventOpenSession {
				opened++
			}
		}
		if opened != 1 {
			t.Errorf("opened %d times", opened)
		}
	})
}

func TestConverseMeasuresTheTimeToFirstTokenOfAStreamedAnswer(t *testing.T) {
	converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		var user strings.Builder
		var late *align.Run
		answer := wantAnswered(t)(client.Converse(t.Context(), c1, []string{"q"}, func(_ context.Context, run *align.Run) (string, error) {
			late = run
			out := io.MultiWriter(&user, run)
			time.Sleep(time.Second)
			io.WriteString(out, "")
			for _, token := range []string{"On ", "its ", "way."} {
				time.Sleep(100 * time.Millisecond)
				io.WriteString(out, token)
			}
			return "", nil
		}))
		if n, err := late.WriteString(" Late."); n != 6 || err != nil {
			t.Errorf("a late write: %d, %v", n, err)
		}
		if answer.Text != "On its way." || user.String() != answer.Text {
			t.Errorf("answer %q, the user saw %q", answer.Text, user.String())
		}
		wantAnswered(t)(client.Converse(t.Context(), c1, []string{"q"}, func(_ context.Context, run *align.Run) (string, error) {
			time.Sleep(time.Second)
			run.FirstToken()
			time.Sleep(time.Second)
			return "a", nil
		}))
		wantConversation(t, client, srv, "c1",
			`1 user "q"`, `2 assistant "On its way." latency=1.3s first=1.1s success=true`,
			`3 user "q"`, `4 assistant "a" latency=2s first=1s success=true`)
	})
}

func TestConverseReturnsTheWholeAnswerWhereTheRecordIsCut(t *testing.T) {
	converseTest(t, func(cfg *align.Config) { cfg.MaxContentBytes = 256 }, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		var history align.History
		conversation := align.Conversation{ID: "c1", History: &history}
		long := strings.Repeat("€", 1000)
		answer := wantAnswered(t)(client.Converse(t.Context(), conversation, []string{"q"}, func(_ context.Context, run *align.Run) (string, error) {
			for range 10 {
				fmt.Fprint(run, strings.Repeat("€", 100))
			}
			return "", nil
		}))
		if answer.Text != long || history.Lines()[1].Text != long {
			t.Errorf("answer of %d bytes", len(answer.Text))
		}
		client.Close(context.Background())
		if got := srv.Session("c1").Message(2).Content; !strings.HasSuffix(got, "… [cut, 3000 bytes in all]") {
			t.Errorf("recorded %q", got)
		}
	})
}

func TestConverseRecordsWhatTheAgentTellsOfItsAnswer(t *testing.T) {
	converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		answer := wantAnswered(t)(client.Converse(t.Context(), c1, []string{"q"}, func(ctx context.Context, run *align.Run) (string, error) {
			run.SetGeneration(align.Generation{Model: "m0", RunID: "other"})
			if _, err := align.FromContext(ctx).Add(ctx, align.Message{Role: align.RoleTool, Content: "{}"}); err != nil {
				t.Error(err)
			}
			tokens := int64(12)
			defer func() { tokens = 99 }() // nothing of the argument is kept
			run.SetGeneration(align.Generation{
				Model: "m1", InputTokens: &tokens, OutputTokens: new(int64(3)), Cost: new(0.25), Latency: new(time.Minute),
				Outcome: align.OutcomeFallback,
			})
			return "a", nil
		}))
		wantConversation(t, client, srv, "c1", `1 user "q"`, `2 tool "{}"`, `3 assistant "a" latency=1m0s success=true`)
		g := srv.Session("c1").Message(3).Generation
		if g.Model != "m1" || *g.InputTokens != 12 || *g.OutputTokens != 3 || *g.Cost != 0.25 || g.Outcome != align.OutcomeFallback || g.RunID != answer.RunID {
			t.Errorf("%+v", g)
		}
	})
}

func TestConverseRecordsTheAnswerWithoutAGenerationThatBreaksItsLimits(t *testing.T) {
	for _, strict := range []bool{false, true} {
		converseTest(t, func(cfg *align.Config) { cfg.Strict = strict }, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
			answer, err := client.Converse(t.Context(), c1, []string{"q"}, func(_ context.Context, run *align.Run) (string, error) {
				run.SetGeneration(align.Generation{Cost: new(math.NaN())})
				return "a", nil
			})
			problem, ok := errors.AsType[*align.FieldError](answer.Unrecorded)
			if err != nil || answer.Text != "a" || answer.Index != 2 || !ok || problem.Field != "Generation.Cost" {
				t.Errorf("%+v, %v", answer, err)
			}
			if strict {
				wantConversation(t, client, srv, "c1", `1 user "q"`, `2 assistant "a"`)
			} else {
				wantConversation(t, client, srv, "c1", `1 user "q"`, `2 assistant "a" latency=0s success=true`)
			}
		})
	}
}

func TestConverseRefusesArgumentsBeforeAnythingIsRecorded(t *testing.T) { // ES-2
	converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		never := func(context.Context, *align.Run) (string, error) {
			t.Error("the agent was called")
			return "", nil
		}
		for _, c := range []struct {
			conversation align.Conversation
			messages     []string
			agent        align.Agent
			fields       string
		}{
			{align.Conversation{}, []string{"q"}, never, "Conversation.ID required"},
			{align.Conversation{ID: strings.Repeat("é", 65), UserID: "\xff", AgentName: "\t"}, []string{"q"}, never,
				"Conversation.ID max, Conversation.UserID utf8, Conversation.AgentName required"},
			{c1, nil, never, "messages min"},
			{c1, []string{"q", " \n"}, never, "messages[1] required"},
			{c1, []string{"q"}, nil, "agent type"},
		} {
			answer, err := client.Converse(t.Context(), c.conversation, c.messages, c.agent)
			if got := fieldsOf(err); got != c.fields || answer != (align.Answer{}) {
				t.Errorf("got %s, want %s; %+v", got, c.fields, answer)
			}
		}
		if s := client.Stats(); s.Accepted != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// fieldsOf names the fields and rules of the problems in err.
func fieldsOf(err error) string {
	var list []string
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			if problem, ok := errors.AsType[*align.FieldError](err); ok {
				list = append(list, problem.Field+" "+problem.Rule)
			}
		}
	}
	return strings.Join(list, ", ")
}

func TestConverseGivesTheAgentWhatTheAnalyticsCannotHold(t *testing.T) {
	converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		answer := wantAnswered(t)(client.Converse(t.Context(), c1, []string{"a\x00\xff"}, func(_ context.Context, run *align.Run) (string, error) {
			return run.Lines()[0].Text, nil
		}))
		if answer.Text != "a\x00\xff" {
			t.Errorf("the agent reads %q", answer.Text)
		}
		wantConversation(t, client, srv, "c1", "1 user \"a\uFFFD\uFFFD\"", "2 assistant \"a\uFFFD\uFFFD\" latency=0s success=true")
	})
}

func TestConverseRecordsAFailedRunAndKeepsTheMessages(t *testing.T) {
	converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		overloaded := errors.New("model is overloaded")
		var history align.History
		conversation := align.Conversation{ID: "c1", History: &history}
		answer, err := client.Converse(t.Context(), conversation, []string{"q1"}, func(context.Context, *align.Run) (string, error) {
			time.Sleep(time.Second)
			return "", overloaded
		})
		if !errors.Is(err, overloaded) || err.Error() != "align: the agent failed: model is overloaded" || answer.Unrecorded != nil || answer.RunID == "" {
			t.Errorf("%+v, %v", answer, err)
		}
		answer, err = client.Converse(t.Context(), conversation, []string{"q2"}, func(_ context.Context, run *align.Run) (string, error) {
			fmt.Fprint(run, "On its")
			run.SetGeneration(align.Generation{Success: new(true)})
			return "", overloaded // in the middle of the stream
		})
		if !errors.Is(err, overloaded) || answer.Text != "On its" || answer.Unrecorded != nil || answer.Index != 4 {
			t.Errorf("%+v, %v", answer, err)
		}
		if got := fmt.Sprint(history.Lines()); got != "[{user q1} {user q2}]" {
			t.Errorf("history %s", got)
		}
		wantConversation(t, client, srv, "c1",
			`1 user "q1"`, `2 assistant "model is overloaded" latency=1s success=false error="model is overloaded"`,
			`3 user "q2"`, `4 assistant "On its" latency=0s first=0s success=false error="model is overloaded"`)
	})
}

func TestConverseRecordsAnAgentThatPanicsAndPanicsOn(t *testing.T) {
	converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		func() {
			defer func() {
				if got := recover(); got != "secret" {
					t.Errorf("recovered %v", got)
				}
			}()
			client.Converse(t.Context(), c1, []string{"q"}, func(_ context.Context, run *align.Run) (string, error) {
				fmt.Fprint(run, "On")
				panic("secret")
			})
		}()
		var wg sync.WaitGroup
		wg.Go(func() {
			client.Converse(t.Context(), c1, []string{"q"}, func(context.Context, *align.Run) (string, error) {
				runtime.Goexit()
				return "", nil
			})
		})
		wg.Wait()
		wantAnswered(t)(client.Converse(t.Context(), c1, []string{"q"}, saying("a"))) // the turn was given back
		const why = "the agent did not return: it panicked, or ended its goroutine"
		wantConversation(t, client, srv, "c1",
			`1 user "q"`, `2 assistant "On" latency=0s first=0s success=false error="`+why+`"`,
			`3 user "q"`, `4 assistant "`+why+`" latency=0s success=false error="`+why+`"`,
			`5 user "q"`, `6 assistant "a" latency=0s success=true`)
	})
}

func TestConverseRecordsACancelledRunAsIncomplete(t *testing.T) {
	for _, strict := range []bool{false, true} {
		converseTest(t, func(cfg *align.Config) { cfg.Strict = strict }, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			answer, err := client.Converse(ctx, c1, []string{"q"}, func(ctx context.Context, run *align.Run) (string, error) {
				time.Sleep(time.Second)
				fmt.Fprint(run, "On its")
				<-ctx.Done()
				return "", ctx.Err()
			})
			if !errors.Is(err, context.DeadlineExceeded) || answer.Text != "On its" || answer.Unrecorded != nil {
				t.Errorf("%+v, %v", answer, err)
			}
			if strict {
				wantConversation(t, client, srv, "c1", `1 user "q"`, `2 assistant "On its"`)
				return
			}
			wantConversation(t, client, srv, "c1", `1 user "q"`,
				`2 assistant "On its" latency=3s first=1s success=false error="context deadline exceeded" incomplete`)
		})
	}
}

func TestConverseKeepsAnAnswerThatComesWithoutErrorAfterTheEndOfItsContext(t *testing.T) {
	converseTest(t, func(cfg *align.Config) { cfg.Overflow = align.OverflowBlock }, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		answer := wantAnswered(t)(client.Converse(ctx, c1, []string{"q"}, func(context.Context, *align.Run) (string, error) {
			cancel()
			return "a", nil
		}))
		if answer.Text != "a" {
			t.Errorf("%+v", answer)
		}
		wantConversation(t, client, srv, "c1", `1 user "q"`, `2 assistant "a" latency=0s success=true`)
	})
}

func TestConverseOnOneConversationIsOneAfterTheOther(t *testing.T) {
	const callers, each = 16, 5
	converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		var history align.History
		history.MaxMessages = -1
		conversation := align.Conversation{ID: "c1", UserID: "u1", History: &history}
		inside := 0 // no lock: the turn is one
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				for i := range each {
					said := fmt.Sprint(caller, " ", i)
					wantAnswered(t)(client.Converse(t.Context(), conversation, []string{said, said + "!"}, func(_ context.Context, run *align.Run) (string, error) {
						if inside++; inside != 1 {
							t.Errorf("%d agents at once", inside)
						}
						defer func() { inside-- }()
						time.Sleep(time.Second)
						lines := run.Lines()
						if len(lines)%3 != 2 || lines[len(lines)-1].Text != said+"!" {
							t.Errorf("%d lines, the last %v", len(lines), lines[len(lines)-1])
						}
						return "re: " + said, nil
					}))
				}
			})
		}
		other := time.Now()
		wantAnswered(t)(client.Converse(t.Context(), align.Conversation{ID: "c2"}, []string{"q"}, saying("a")))
		if time.Since(other) != 0 {
			t.Error("another conversation waited")
		}
		wg.Wait()
		client.Close(context.Background())
		messages := srv.Session("c1").Messages
		if len(messages) != 3*callers*each {
			t.Fatalf("%d messages", len(messages))
		}
		for i := 0; i < len(messages); i += 3 {
			q, a := messages[i], messages[i+2]
			if q.Index != i+1 || messages[i+1].Content != q.Content+"!" || a.Content != "re: "+q.Content || *a.Generation.Latency != time.Second {
				t.Fatalf("%+v is answered by %+v", q, a)
			}
		}
		for i, line := range history.Lines() {
			if line.Text != messages[i].Content {
				t.Fatalf("line %d is %q, recorded %q", i+1, line.Text, messages[i].Content)
			}
		}
	})
}

func TestConverseWaitsForItsTurnUntilItsContextEnds(t *testing.T) {
	converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		release := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			wantAnswered(t)(client.Converse(t.Context(), c1, []string{"q1"}, func(context.Context, *align.Run) (string, error) {
				<-release
				return "a1", nil
			}))
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begun := time.Now()
		answer, err := client.Converse(ctx, c1, []string{"q2"}, saying("a2"))
		if !errors.Is(err, context.DeadlineExceeded) || answer != (align.Answer{}) || time.Since(begun) != 2*time.Second {
			t.Errorf("%+v, %v after %v", answer, err, time.Since(begun))
		}
		close(release)
		wg.Wait()
		if _, err := client.Converse(ctx, c1, []string{"q3"}, saying("a3")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error("a context that has ended:", err)
		}
		wantConversation(t, client, srv, "c1", `1 user "q1"`, `2 assistant "a1" latency=2s success=true`)
	})
}

func TestConverseWithinItsOwnConversationIsAnError(t *testing.T) {
	converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		c2 := align.Conversation{ID: "c2"}
		var after context.Context
		wantAnswered(t)(client.Converse(t.Context(), c1, []string{"q"}, func(ctx context.Context, _ *align.Run) (string, error) {
			after = context.WithoutCancel(ctx)
			answer, err := client.Converse(ctx, c2, []string{"sub"}, func(ctx context.Context, _ *align.Run) (string, error) {
				if _, err := client.Converse(ctx, c1, []string{"q"}, saying("never")); err == nil {
					t.Error("no error")
				}
				return "sub answer", nil
			})
			return answer.Text, err
		}))
		wantAnswered(t)(client.Converse(after, c1, []string{"q"}, saying("a"))) // the run is over
		wantConversation(t, client, srv, "c2", `1 user "sub"`, `2 assistant "sub answer" latency=0s success=true`)
	})
}

func TestConverseAnswersWhereNothingCanBeRecorded(t *testing.T) {
	converseTest(t, nil, func(t *testing.T, closed *align.Client, _ *aligntest.Server) {
		if err := closed.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, client := range []*align.Client{nil, {}, closed} {
			var history align.History
			conversation := align.Conversation{ID: "c1", UserID: "u1", History: &history}
			answer, err := client.Converse(t.Context(), conversation, []string{"q"}, func(ctx context.Context, run *align.Run) (string, error) {
				run.SetGeneration(align.Generation{Model: "m"})
				fmt.Fprint(run, "On its way.")
				return "", nil
			})
			if err != nil || answer.Text != "On its way." || answer.Index != 0 || len(answer.RunID) != 32 || !errors.Is(answer.Unrecorded, align.ErrClosed) {
				t.Errorf("%+v, %v", answer, err)
			}
			if got := fmt.Sprint(history.Lines()); got != "[{user q} {assistant On its way.}]" {
				t.Error(got)
			}
			if _, err := client.Converse(t.Context(), conversation, []string{"q"}, nil); err == nil {
				t.Error("no error without an agent")
			}
		}
		disabled, err := align.New(align.Config{Disabled: true})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := disabled.Converse(t.Context(), align.Conversation{}, nil, saying("a"))
		if err != nil || answer.Text != "a" || answer.Unrecorded != nil {
			t.Errorf("%+v, %v", answer, err)
		}
		if _, err := disabled.Converse(t.Context(), c1, []string{"q"}, nil); err == nil {
			t.Error("no error without an agent")
		}
	})
}

func TestConverseAnswersWithAFullBufferAndSaysWhatIsMissing(t *testing.T) {
	for _, overflow := range []align.Overflow{align.OverflowReject, align.OverflowBlock} {
		converseTest(t, func(cfg *align.Config) {
			cfg.BufferEvents, cfg.Overflow = 3, overflow
		}, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
			srv.Always(aligntest.Status(503))
			begun := time.Now()
			answer, err := client.Converse(t.Context(), c1, []string{"q1", "q2", "q3"}, saying("a")) // room for the opening and two
			if err != nil || answer.Text != "a" || answer.Index != 0 || !errors.Is(answer.Unrecorded, align.ErrBufferFull) {
				t.Errorf("%+v, %v", answer, err)
			}
			if text := answer.Unrecorded.Error(); !strings.Contains(text, "1 of the user's messages not recorded") || !strings.Contains(text, "answer not recorded") {
				t.Error(text)
			}
			if waited, most := time.Since(begun), 300*time.Millisecond; overflow == align.OverflowReject && waited != 0 || waited > most {
				t.Errorf("waited %v", waited)
			}
			srv.Always(aligntest.OK())
			wantConversation(t, client, srv, "c1", `1 user "q1"`, `2 user "q2"`)
		})
	}
}

func TestConverseWaitsAMomentForRoomAlsoWhereItsContextHasEnded(t *testing.T) {
	converseTest(t, func(cfg *align.Config) {
		cfg.BufferEvents, cfg.Overflow = 2, align.OverflowBlock
	}, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		srv.Always(aligntest.Slow(50 * time.Millisecond))
		ctx, cancel := context.WithCancel(t.Context())
		answer, err := client.Converse(ctx, align.Conversation{ID: "c1"}, []string{"q1", "q2"}, func(ctx context.Context, _ *align.Run) (string, error) {
			cancel()
			return "", ctx.Err()
		})
		if !errors.Is(err, context.Canceled) || answer.Unrecorded != nil || answer.Index != 3 {
			t.Errorf("%+v, %v", answer, err)
		}
		wantConversation(t, client, srv, "c1", `1 user "q1"`, `2 user "q2"`,
			`3 assistant "context canceled" latency=0s success=false error="context canceled" incomplete`)
	})
}

func TestConverseRecordsLateWhatThereWasNoRoomForEarlier(t *testing.T) {
	converseTest(t, func(cfg *align.Config) { cfg.BufferEvents = 3 }, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		answer := wantAnswered(t)(client.Converse(t.Context(), c1, []string{"q1", "q2", "q3"}, func(ctx context.Context, _ *align.Run) (string, error) {
			return "a", client.Flush(ctx) // room for the rest
		}))
		if answer.Index != 4 {
			t.Errorf("%+v", answer)
		}
		wantConversation(t, client, srv, "c1", `1 user "q1"`, `2 user "q2"`, `3 user "q3"`, `4 assistant "a" latency=0s success=true`)
	})
}

func TestConverseThatTheClientEndsIsIncompleteAndStillAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*align.Client)
		want      error
	}{
		"Close": {func(client *align.Client) { client.Close(context.Background()) }, align.ErrClosed},
		"idle":  {func(*align.Client) { time.Sleep(align.DefaultIdleTimeout + time.Second) }, align.ErrEnded},
	} {
		t.Run(name, func(t *testing.T) {
			converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
				answer, err := client.Converse(t.Context(), c1, []string{"q"}, func(_ context.Context, run *align.Run) (string, error) {
					fmt.Fprint(run, "On its")
					c.meanwhile(client)
					if _, err := fmt.Fprint(run, " way."); err != nil {
						t.Error("the stream to the user breaks:", err)
					}
					return "", nil
				})
				if err != nil || answer.Text != "On its way." || !errors.Is(answer.Unrecorded, c.want) {
					t.Errorf("%+v, %v", answer, err)
				}
				wantConversation(t, client, srv, "c1", `1 user "q"`, `2 assistant "On its" first=0s incomplete`)
			})
		})
	}
}

func TestAgentCanBeCalledWithAZeroRun(t *testing.T) {
	run := &align.Run{}
	run.FirstToken()
	run.SetGeneration(align.Generation{Model: "m"})
	if n, err := fmt.Fprint(run, "a"); n != 1 || err != nil || run.ID() != "" || len(run.Lines()) != 0 {
		t.Errorf("%d, %v, %q, %v", n, err, run.ID(), run.Lines())
	}
}

func TestConverseGoesOnWithAHistory(t *testing.T) { // ES-8
	converseTest(t, nil, func(t *testing.T, client *align.Client, srv *aligntest.Server) {
		history := &align.History{MaxMessages: 3}
		history.Add(align.Line{Role: align.RoleUser, Text: "q1"}, align.Line{Role: align.RoleAssistant, Text: "a1"}) // in another process
		conversation := align.Conversation{ID: "c1", History: history}
		var read []string
		agent := func(_ context.Context, run *align.Run) (string, error) {
			lines := run.Lines()
			read = append(read, fmt.Sprint(lines))
			lines[0].Text = "changed"
			return "a", nil
		}
		for _, said := range [][]string{{"q2"}, {"q3"}, {"q4", "q5", "q6", "q7"}} {
			wantAnswered(t)(client.Converse(t.Context(), conversation, said, agent))
		}
		if want := []string{
			"[{user q1} {assistant a1} {user q2}]", "[{user q2} {assistant a} {user q3}]", "[{user q4} {user q5} {user q6} {user q7}]",
		}; !slices.Equal(read, want) {
			t.Errorf("the agent reads\n\t%s", strings.Join(read, "\n\t"))
		}
		if n := history.Dropped(); n != 8 || fmt.Sprint(history.Lines()) != "[{user q6} {user q7} {assistant a}]" {
			t.Errorf("%d dropped, left %v", n, history.Lines())
		}
		wantConversation(t, client, srv, "c1",
			`3 user "q2"`, `4 assistant "a" latency=0s success=true`, `5 user "q3"`, `6 assistant "a" latency=0s success=true`,
			`7 user "q4"`, `8 user "q5"`, `9 user "q6"`, `10 user "q7"`, `11 assistant "a" latency=0s success=true`)
	})
}
