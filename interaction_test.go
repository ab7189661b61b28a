package align

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// told is what an interaction became: a line for each event.
func told(rec *recorder) (lines []string) {
	for _, e := range rec.delivered() {
		p := e.Properties
		switch {
		case e.Type == string(EventOpenSession):
			s := p.GetSessionProperties()
			lines = append(lines, fmt.Sprintf("open user=%s assistant=%s", s.UserId, s.AssistantId))
		case p.GetMessageProperties() != nil:
			lines = append(lines, lineOf(p.GetMessageProperties(), p.GetCustomProperties()))
		}
	}
	return lines
}

func lineOf(m *wireMessage, properties map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue) string {
	role := "assistant"
	if m.MessageRole == ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER {
		role = "user"
	}
	line := fmt.Sprintf("%d %s %q", m.MessageIndexHint, role, m.MessageContent)
	if m.Latency != nil {
		line += fmt.Sprint(" latency=", m.Latency.AsDuration())
	}
	if m.TimeToFirstToken != nil {
		line += fmt.Sprint(" first=", m.TimeToFirstToken.AsDuration())
	}
	if m.Success != nil {
		line += fmt.Sprint(" success=", *m.Success)
	}
	if m.GetError() != "" {
		line += fmt.Sprintf(" error=%q", m.GetError())
	}
	if m.GetIncomplete() {
		line += " incomplete"
	}
	if m.ContentLength != nil {
		line += fmt.Sprint(" length=", m.GetContentLength())
	}
	if m.GetModel() != "" {
		line += " model=" + m.GetModel()
	}
	if len(properties) > 0 {
		line += fmt.Sprint(" properties=", len(properties))
	}
	return line
}

func wantTold(t *testing.T, rec *recorder, want ...string) {
	t.Helper()
	if got := told(rec); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestInteractionWithoutAClientReturnsErrClosed(t *testing.T) { // AG-1
	synctest.Test(t, func(t *testing.T) {
		closed := newClient(t, &recorder{}, nil)
		must(t, closed.Close(bg))
		for _, c := range []*Client{nil, {}, closed} {
			in := c.Begin(InteractionStart{ID: "i1", Input: "x"})
			in.SetInput("x")
			in.SetProperty("a", "b")
			in.WriteString("x")
			if err := in.End(bg, "x"); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			if _, err := c.Track(bg, TrackedInteraction{Input: "x"}); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			if c.Interaction("i1") != nil {
				t.Error("found on a dead client")
			}
		}
	})
}

func TestTrackRecordsAPairOfMessages(t *testing.T) { // AG-2, AG-4, AG-19
	handleTest(t, nil, func(c *Client, rec *recorder) {
		id, err := c.Track(bg, TrackedInteraction{
			UserID: "u1", Input: "Where is my order?", Output: "On its way.", AgentName: "support", ConversationID: "s1",
			Properties: Properties{"plan": "pro"}, Timestamp: time.Now(), Latency: new(1500 * time.Millisecond),
		})
		must(t, err, c.Flush(bg))
		wantTold(t, rec,
			"open user=u1 assistant=support",
			`1 user "Where is my order?"`,
			`2 assistant "On its way." latency=1.5s success=true properties=1`)
		m := messages(rec, "s1")
		if id == "" || m[1].GetRunId() != id {
			t.Errorf("id %q, run id %q", id, m[1].GetRunId())
		}
		if q, a := m[0].MessageCreateTime.AsTime(), m[1].MessageCreateTime.AsTime(); !q.Equal(time.Now()) || a.Sub(q) != 1500*time.Millisecond {
			t.Errorf("asked %v, answered %v", q, a)
		}
	})
}

func TestTrackNeedsNothing(t *testing.T) { // AG-2
	handleTest(t, nil, func(c *Client, rec *recorder) {
		must(t, second(c.Track(bg, TrackedInteraction{})), c.Flush(bg))
		wantTold(t, rec, `1 assistant "" success=true length=0`)
	})
}

func TestFailedOutputIsTheError(t *testing.T) { // AG-3
	handleTest(t, nil, func(c *Client, rec *recorder) {
		must(t,
			second(c.Track(bg, TrackedInteraction{ConversationID: "s1", Output: "no such order", Success: new(false)})),
			c.Begin(InteractionStart{ConversationID: "s1"}).Finish(bg, InteractionResult{Output: "timeout", Success: new(false)}),
			c.Begin(InteractionStart{ConversationID: "s1"}).Finish(bg, InteractionResult{Output: "Sorry.", Error: "timeout"}),
			c.Begin(InteractionStart{ConversationID: "s1"}).Fail(bg, errors.New("a\xff\x00b")),
			c.Begin(InteractionStart{ConversationID: "s1", Input: "x"}).Fail(bg, nil),
			c.Begin(InteractionStart{ConversationID: "s1"}).Fail(bg, errors.New(strings.Repeat("é", 2001))),
			c.Flush(bg))
		got := told(rec)
		long := got[len(got)-1]
		wantTold(t, rec,
			`1 assistant "no such order" success=false error="no such order"`,
			`2 assistant "timeout" latency=0s success=false error="timeout"`,
			`3 assistant "Sorry." latency=0s success=false error="timeout"`,
			`4 assistant "a��b" latency=0s success=false error="a��b"`,
			`5 user "x"`,
			`6 assistant "" latency=0s success=false length=0`,
			long)
		if n := utf8.RuneCountInString(messages(rec, "s1")[6].GetError()); n != 2000 {
			t.Errorf("error of %d code points", n)
		}
	})
}

func TestBeginSendsNothingUntilTheEnd(t *testing.T) { // AG-5, AG-6
	handleTest(t, nil, func(c *Client, rec *recorder) {
		in := c.Begin(InteractionStart{UserID: "u1", ConversationID: "s1", Input: "first", Properties: Properties{"a": "1", "b": "1"}})
		must(t, in.SetInput("second"), in.SetInput("third"), in.SetProperties(Properties{"b": "2", "c": "2"}), in.SetProperty("d", "3"))
		if s := c.Stats(); s.Accepted != 0 {
			t.Fatalf("%+v", s)
		}
		must(t, in.End(bg, "answer"), c.Flush(bg))
		wantTold(t, rec,
			"open user=u1 assistant=default",
			`1 user "third"`,
			`2 assistant "answer" latency=0s success=true properties=4`)
		for _, e := range rec.delivered() {
			if p := e.Properties.GetCustomProperties(); len(p) > 0 && p["b"].GetStringValue() != "2" {
				t.Error(p)
			}
		}
	})
}

func TestLatencyIsMeasuredUnlessGiven(t *testing.T) { // AG-7
	handleTest(t, nil, func(c *Client, rec *recorder) {
		end := func(result InteractionResult) error {
			in := c.Begin(InteractionStart{ConversationID: "s1"})
			time.Sleep(1500 * time.Millisecond)
			result.Output = "x"
			return in.Finish(bg, result)
		}
		must(t, end(InteractionResult{}),
			end(InteractionResult{Latency: new(time.Duration(0))}),
			end(InteractionResult{Latency: new(7 * time.Second)}),
			end(InteractionResult{Generation: &Generation{Latency: new(8 * time.Second)}}))
		for _, negative := range []InteractionResult{
			{Latency: new(-time.Nanosecond)}, {Generation: &Generation{Latency: new(-time.Nanosecond)}},
		} {
			in := c.Begin(InteractionStart{ConversationID: "s1"})
			problem, ok := errors.AsType[*FieldError](in.Finish(bg, negative))
			if !ok || !strings.HasSuffix(problem.Field, "Latency") || problem.Rule != "min" {
				t.Error(problem)
			}
			must(t, in.Finish(bg, InteractionResult{Output: "x", Latency: new(9 * time.Second)})) // still open
		}
		_, err := c.Track(bg, TrackedInteraction{Latency: new(-time.Nanosecond)})
		if problem, ok := errors.AsType[*FieldError](err); !ok || problem.Field != "TrackedInteraction.Latency" {
			t.Error(err)
		}
		must(t, c.Flush(bg))
		var got []time.Duration
		for _, m := range messages(rec, "s1") {
			got = append(got, m.Latency.AsDuration())
		}
		if fmt.Sprint(got) != "[1.5s 0s 7s 8s 9s 9s]" {
			t.Errorf("got %v", got)
		}
	})
}

func TestTrackWithoutLatencyLeavesItUnknown(t *testing.T) { // AG-8
	handleTest(t, nil, func(c *Client, rec *recorder) {
		must(t, second(c.Track(bg, TrackedInteraction{ConversationID: "s1", Output: "x"})),
			second(c.Track(bg, TrackedInteraction{ConversationID: "s1", Output: "x", Latency: new(time.Duration(0))})), c.Flush(bg))
		m := messages(rec, "s1")
		if m[0].Latency != nil || m[1].Latency == nil {
			t.Error(m)
		}
	})
}

func TestInteractionWithoutConversationHasASessionOfItsOwn(t *testing.T) { // AG-9
	handleTest(t, nil, func(c *Client, rec *recorder) {
		in := c.Begin(InteractionStart{Input: "x"})
		must(t, in.End(bg, "y"), in.Session().ThumbsUp(bg),
			second(c.Track(bg, TrackedInteraction{Input: "x", Output: "y"})),
			second(c.Track(bg, TrackedInteraction{Input: "x", Output: "y"})), c.Flush(bg))
		sessions := make(map[string]bool)
		for _, e := range rec.delivered() {
			if m := e.Properties.GetMessageProperties(); m != nil {
				sessions[m.SessionId] = true
			}
		}
		if len(sessions) != 3 || len(in.Session().ID()) != 32 {
			t.Errorf("%v", sessions)
		}
		if f := rec.delivered()[2].Properties.GetFeedbackProperties(); f.GetSessionId() != in.Session().ID() || f.GetMessageIndexHint() != 2 {
			t.Errorf("the thumb went to %v", f)
		}
	})
}

func TestQuestionIsAtTheBeginningAnswerAtTheEnd(t *testing.T) { // AG-10
	handleTest(t, nil, func(c *Client, rec *recorder) {
		begun := time.Now()
		in := c.Begin(InteractionStart{UserID: "u1", ConversationID: "s1", Input: "x"})
		time.Sleep(time.Second)
		must(t, in.Finish(bg, InteractionResult{Output: "y", Latency: new(300 * time.Millisecond)}))
		time.Sleep(time.Second)
		must(t, second(c.Track(bg, TrackedInteraction{ConversationID: "s2", Input: "x", Output: "y", Latency: new(time.Second)})), c.Flush(bg))
		at := func(m *wireMessage) time.Duration { return m.MessageCreateTime.AsTime().Sub(begun) }
		one, two := messages(rec, "s1"), messages(rec, "s2")
		if got := fmt.Sprint(at(one[0]), at(one[1]), at(two[0]), at(two[1])); got != "0s 300ms 1s 2s" {
			t.Error(got)
		}
		if start := rec.delivered()[0].Properties.GetSessionProperties().SessionStartTime.AsTime(); !start.Equal(begun) {
			t.Error(start)
		}
	})
}

func TestEverythingAfterTheEndReturnsErrEnded(t *testing.T) { // AG-11
	handleTest(t, nil, func(c *Client, rec *recorder) {
		in := c.Begin(InteractionStart{ID: "i1", Input: "x"})
		must(t, in.End(bg, "y"))
		for _, in := range []*Interaction{in, nil, c.Interaction("i1"), c.Interaction("never begun")} {
			for _, err := range []error{
				in.End(bg, "y"), in.Fail(bg, io.EOF), in.Finish(bg, InteractionResult{}), in.FirstToken(),
				in.SetInput("z"), in.SetProperty("a", "b"), in.SetProperties(nil), second(in.Write([]byte("z"))), second(in.WriteString("z")),
			} {
				if !errors.Is(err, ErrEnded) {
					t.Error(err)
				}
			}
			_, _ = in.ID(), in.Session()
		}
		must(t, c.Flush(bg))
		wantTold(t, rec, `1 user "x"`, `2 assistant "y" latency=0s success=true`)
	})
}

func TestInteractionIsSafeForConcurrentUse(t *testing.T) { // AG-11
	handleTest(t, nil, func(c *Client, rec *recorder) {
		var wg sync.WaitGroup
		for range 20 {
			in := c.Begin(InteractionStart{ConversationID: "s1", Input: "x"})
			ended := make(chan bool, 16)
			for g := range 16 {
				wg.Go(func() {
					in.SetInput(fmt.Sprint(g))
					in.SetProperty(fmt.Sprint("p", g%8), "v")
					in.WriteString("y")
					ended <- in.End(bg, "") == nil
				})
			}
			wg.Wait()
			ends := 0
			for range 16 {
				if <-ended {
					ends++
				}
			}
			if ends != 1 {
				t.Errorf("ended %d times", ends)
			}
		}
		must(t, c.Flush(bg))
		if got := messages(rec, "s1"); len(got) != 40 || got[39].MessageIndexHint != 40 {
			t.Errorf("%d messages", len(got))
		}
	})
}

func TestInteractionsThatNobodyEndedAreRecordedAtClose(t *testing.T) { // AG-11
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.CloseSessionsOnShutdown = true })
		must(t, c.Begin(InteractionStart{ConversationID: "s1", Input: "ended"}).End(bg, "yes"))
		c.Begin(InteractionStart{ConversationID: "s1", UserID: "u1", Input: "no answer"})
		time.Sleep(time.Second)
		streaming := c.Begin(InteractionStart{ConversationID: "s1", Input: "a part of one"})
		time.Sleep(time.Second)
		must(t, second(streaming.WriteString("On its")))
		c.Begin(InteractionStart{UserID: strings.Repeat("x", 65)}) // breaks the limits
		time.Sleep(time.Minute)
		must(t, c.Close(bg))
		wantTold(t, rec,
			`1 user "ended"`, `2 assistant "yes" latency=0s success=true`,
			"open user=u1 assistant=default",
			`3 user "no answer"`, `4 assistant "" incomplete length=0`,
			`5 user "a part of one"`, `6 assistant "On its" first=1s incomplete`)
		if s := c.Stats(); s.Incomplete != 2 {
			t.Errorf("%d incomplete", s.Incomplete)
		}
		if len(closes(rec)) != 1 {
			t.Error("their session was not closed")
		}
		m := messages(rec, "s1")
		if after := m[5].MessageCreateTime.AsTime().Sub(m[4].MessageCreateTime.AsTime()); after != time.Second {
			t.Errorf("the last that was heard of it was %v after its beginning", after)
		}
		if err := streaming.End(bg, "x"); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if _, err := streaming.WriteString("x"); !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
	})
}

func TestSilentInteractionsAreRecordedAfterTheIdleTimeout(t *testing.T) { // AG-11
	idleTest(t, func(c *Client, rec *recorder) {
		say(t, c, "other", 1) // the watch waits for something else, too
		time.Sleep(time.Minute)
		in := c.Begin(InteractionStart{ID: "i1", ConversationID: "s1", Input: "x"})
		after(29 * time.Minute)
		must(t, second(in.WriteString("y"))) // a sign of life
		after(30*time.Minute - time.Nanosecond)
		if c.Stats().Incomplete != 0 || c.Interaction("i1") != in {
			t.Fatal("too early")
		}
		after(2 * time.Nanosecond)
		if c.Stats().Incomplete != 1 || c.Interaction("i1") != nil {
			t.Fatal("too late")
		}
		if got := messages(rec, "s1"); len(got) != 2 || !got[1].GetIncomplete() || got[1].MessageContent != "y" {
			t.Error(got)
		}
		if err := in.End(bg, "y"); !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
		after(time.Hour) // the session, too, goes quiet
		if len(closes(rec)) != 2 {
			t.Errorf("%d closes", len(closes(rec)))
		}
		if n := len(c.interactions.byKey); n != 0 {
			t.Errorf("%d interactions are kept", n)
		}
	})
}

func TestManySilentInteractionsLeaveHalfTheBufferToTheApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var healthy atomic.Bool
		rec := &recorder{answer: func(int, request) answer {
			if healthy.Load() {
				return answer{}
			}
			return answer{status: 503}
		}}
		c := newClient(t, rec, func(cfg *Config) { cfg.BufferEvents, cfg.IdleTimeout = 20, time.Minute })
		for i := range 100 {
			c.Begin(InteractionStart{ConversationID: fmt.Sprint("s", i), Input: "x"})
		}
		after(2 * time.Minute)
		if s := c.Stats(); s.Pending > 12 {
			t.Errorf("%d pending", s.Pending)
		}
		healthy.Store(true)
		after(10 * time.Minute)
		if s := c.Stats(); s.Incomplete != 100 {
			t.Errorf("%d incomplete", s.Incomplete)
		}
		must(t, c.Close(bg))
		checkInvariant(t, c.Stats())
	})
}

// A question that has been recorded is not recorded again when there is room for its answer.
func TestIncompleteInteractionGoesOnWhereTheBufferWasFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(n int, _ request) answer { return answer{takes: time.Second} }}
		c := newClient(t, rec, func(cfg *Config) { cfg.BufferEvents, cfg.MaxContentBytes = 1, 1000 })
		in := c.Begin(InteractionStart{ConversationID: "s1", Input: "x"})
		must(t, second(in.WriteString(strings.Repeat("y", 2000))))
		must(t, c.Close(bg))
		got := messages(rec, "s1")
		if len(got) != 2 || got[0].MessageContent != "x" || strings.Count(got[1].MessageContent, "cut") != 1 || got[1].GetContentLength() != 2000 {
			t.Errorf("%d messages: %v", len(got), got)
		}
		if s := c.Stats(); s.Incomplete != 1 || s.Truncated != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestHookSeesAnExchangeAsItWasAtEveryTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{answer: func(n int, _ request) answer { return answer{status: map[bool]int{true: 503, false: 200}[n < 3]} }}
		c := newClient(t, rec, func(cfg *Config) {
			cfg.BufferEvents = 2
			cfg.BeforeSend = func(e *Event) bool {
				if m := e.Message; m != nil && m.Role == RoleAssistant {
					m.Properties["seen"] += "x"
					m.Generation.Model += "x"
				}
				return true
			}
		})
		say(t, c, "s1", 1)
		in := c.Begin(InteractionStart{ConversationID: "s2", Input: "q", Properties: Properties{"seen": ""}})
		must(t, second(in.WriteString("a")), c.Close(within(t, time.Minute)))
		for _, e := range rec.delivered() {
			m := e.Properties.GetMessageProperties()
			if seen := e.Properties.CustomProperties["seen"].GetStringValue(); m.GetModel() != "" && (seen != "x" || m.GetModel() != "x") {
				t.Errorf("seen %q, model %q", seen, m.GetModel())
			}
		}
		if c.Stats().Delivered != 3 || c.Stats().Full < 2 {
			t.Errorf("%+v", c.Stats())
		}
	})
}

func TestInteractionIsFoundByItsID(t *testing.T) { // AG-12
	handleTest(t, nil, func(c *Client, rec *recorder) {
		in := c.Begin(InteractionStart{ID: "i1", ConversationID: "s1", Input: "x"})
		generated := c.Begin(InteractionStart{})
		if c.Interaction("i1") != in || c.Interaction(generated.ID()) != generated || c.Interaction("i2") != nil {
			t.Error("not found")
		}
		again := c.Begin(InteractionStart{ID: "i1", ConversationID: "s1", Input: "y"})
		if c.Interaction("i1") != again {
			t.Error("the later one is not found")
		}
		must(t, c.Interaction("i1").End(bg, "2"), in.End(bg, "1"), generated.End(bg, "3"), c.Flush(bg))
		if c.Interaction("i1") != nil || len(c.interactions.byKey) != 0 {
			t.Error("found after its end")
		}
		if got := messages(rec, "s1"); len(got) != 4 || got[1].GetRunId() != "i1" || got[3].GetRunId() != "i1" {
			t.Error(got)
		}
	})
}

func TestIdentifyTakesFreeTraits(t *testing.T) { // AG-13
	handleTest(t, nil, func(c *Client, rec *recorder) {
		must(t, c.IdentifyUser(bg, User{ID: "u1", Traits: map[string]any{"email": "ada@example.com", "name": "Ada", "seats": 3}}), c.Flush(bg))
		u := rec.delivered()[0].Properties.GetUserProperties()
		if u.UserEmail != "ada@example.com" || u.UserDisplayName != "Ada" || u.GetTraits() != `{"seats":3}` {
			t.Error(u)
		}
	})
}

func TestReceiptCoversWhatAnInteractionBecomes(t *testing.T) { // AG-14
	handleTest(t, func(cfg *Config) { cfg.FlushInterval = time.Hour }, func(c *Client, rec *recorder) {
		ctx, receipt := WithReceipt(bg)
		must(t, c.Begin(InteractionStart{UserID: "u1", Input: "x"}).End(ctx, "y"), receipt.Wait(bg))
		if n := len(rec.delivered()); n != 3 {
			t.Errorf("%d of open, question and answer arrived", n)
		}
	})
}

func TestInteractionsKeepTheLimits(t *testing.T) {
	handleTest(t, nil, func(c *Client, rec *recorder) {
		long := strings.Repeat("x", 65)
		for field, in := range map[string]*Interaction{
			"InteractionStart.ID":             c.Begin(InteractionStart{ID: long}),
			"InteractionStart.UserID":         c.Begin(InteractionStart{UserID: long}),
			"InteractionStart.ConversationID": c.Begin(InteractionStart{ConversationID: long}),
			"InteractionStart.AgentName":      c.Begin(InteractionStart{AgentName: long}),
			"InteractionStart.Input":          c.Begin(InteractionStart{Input: "\xff"}),
			"InteractionStart.Properties":     c.Begin(InteractionStart{Properties: Properties{"1": ""}}),
		} {
			if problem, ok := errors.AsType[*FieldError](in.End(bg, "x")); !ok || problem.Field != field {
				t.Errorf("%s: %v", field, problem)
			}
		}
		invalid := c.Stats().Invalid
		err := c.Begin(InteractionStart{ID: long, UserID: long}).Finish(bg, InteractionResult{Output: "\x00"})
		if n := strings.Count(err.Error(), "align: Interaction"); n != 3 || c.Stats().Invalid-invalid != 1 {
			t.Errorf("%d of 3 problems: %v", n, err)
		}
		in := c.Begin(InteractionStart{Input: "x"})
		for i := range 10 {
			must(t, in.SetProperty(fmt.Sprint("p", i), "v"))
		}
		invalid = c.Stats().Invalid
		if problem, ok := errors.AsType[*FieldError](in.SetProperty("p10", "v")); !ok || problem.Field != "InteractionStart.Properties" || problem.Rule != "count" {
			t.Error(problem)
		}
		if n := c.Stats().Invalid - invalid; n != 1 {
			t.Errorf("counted %d times", n)
		}
		for field, result := range map[string]InteractionResult{
			"InteractionResult.Output":           {Output: "\x00"},
			"InteractionResult.Error":            {Error: "\x00"},
			"InteractionResult.Generation.Model": {Generation: &Generation{Model: strings.Repeat("x", 129)}},
		} {
			if problem, ok := errors.AsType[*FieldError](in.Finish(bg, result)); !ok || problem.Field != field {
				t.Errorf("%s: %v", field, problem)
			}
		}
		_, err = c.Track(bg, TrackedInteraction{Input: "q", Output: "a", Timestamp: time.Date(9999, 12, 31, 23, 0, 0, 0, time.UTC), Latency: new(2 * time.Hour)})
		if problem, ok := errors.AsType[*FieldError](err); !ok || problem.Field != "TrackedInteraction.Latency" {
			t.Error(err)
		}
		must(t, in.End(bg, "y"), c.Flush(bg))
		wantTold(t, rec, `1 user "x"`, `2 assistant "y" latency=0s success=true properties=10`)
	})
}

func TestOneSidedInteractionsAreOneMessage(t *testing.T) { // AG-19
	handleTest(t, nil, func(c *Client, rec *recorder) {
		begin := func(input string) *Interaction {
			return c.Begin(InteractionStart{ConversationID: "s1", Input: input, Properties: Properties{"a": "b"}})
		}
		must(t, begin(" ").End(bg, "only an answer"),
			begin("only a question").End(bg, " "),
			begin("x").Finish(bg, InteractionResult{Generation: &Generation{Model: "small"}}),
			second(c.Track(bg, TrackedInteraction{ConversationID: "s1", Input: "only a question"})),
			begin("a pair").End(bg, "y"), c.Flush(bg))
		wantTold(t, rec,
			`1 assistant "only an answer" latency=0s success=true properties=1`,
			`2 user "only a question" properties=1`,
			`3 user "x"`,
			`4 assistant "" latency=0s success=true length=0 model=small properties=1`,
			`5 user "only a question"`,
			`6 user "a pair"`,
			`7 assistant "y" latency=0s success=true properties=1`)
	})
}

func TestInteractionsAndHandlesShareTheCount(t *testing.T) { // AG-19
	handleTest(t, nil, func(c *Client, rec *recorder) {
		s := c.Session("s1")
		wantIndex(t, 1)(s.User(bg, "one"))
		in := c.Begin(InteractionStart{ConversationID: "s1", Input: "two"})
		wantIndex(t, 0)(in.Index(), nil)
		must(t, in.End(bg, "three"))
		wantIndex(t, 3)(in.Index(), nil)
		wantIndex(t, 4)(s.User(bg, "four"))
		must(t, s.ThumbsUp(bg), c.Flush(bg))
		for _, e := range rec.delivered() {
			if f := e.Properties.GetFeedbackProperties(); f != nil && f.MessageIndexHint != 3 {
				t.Errorf("the thumb went to %d", f.MessageIndexHint)
			}
		}
	})
}

func TestPairsAreNotTornApartByOthers(t *testing.T) { // AG-19
	handleTest(t, nil, func(c *Client, rec *recorder) {
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 20 {
					if err := c.Begin(InteractionStart{ConversationID: "s1", Input: "q"}).End(bg, "a"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		must(t, c.Flush(bg))
		got := messages(rec, "s1")
		if len(got) != 64*20*2 {
			t.Fatalf("%d messages", len(got))
		}
		for i, m := range got {
			if want := "qa"[i%2 : i%2+1]; m.MessageContent != want || m.MessageIndexHint != int32(i+1) {
				t.Fatalf("message %d is %q at %d", i+1, m.MessageContent, m.MessageIndexHint)
			}
		}
	})
}

func TestSessionIsOpenedOnceAsFarAsTheClientKnows(t *testing.T) {
	handleTest(t, nil, func(c *Client, rec *recorder) {
		must(t, second(c.StartSession(bg, Session{ID: "s1", UserID: "u1", AssistantID: "support"})),
			c.Begin(InteractionStart{ConversationID: "s1", UserID: "u1"}).End(bg, "a"),
			c.Begin(InteractionStart{ConversationID: "s2", UserID: "u1", AgentName: "sales"}).End(bg, "b"),
			c.Begin(InteractionStart{ConversationID: "s2", UserID: "u1", AgentName: "sales"}).End(bg, "c"),
			c.Begin(InteractionStart{ConversationID: "s3"}).End(bg, "d"), c.Flush(bg))
		wantTold(t, rec,
			"open user=u1 assistant=support", `1 assistant "a" latency=0s success=true`,
			"open user=u1 assistant=sales", `1 assistant "b" latency=0s success=true`, `2 assistant "c" latency=0s success=true`,
			`1 assistant "d" latency=0s success=true`)
	})
}

func TestFullBufferTakesNeitherQuestionNorAnswer(t *testing.T) {
	for _, room := range []int{0, 1} {
		t.Run(fmt.Sprint("room_for_", room), func(t *testing.T) {
			handleTest(t, func(cfg *Config) { cfg.BufferEvents = 3 }, func(c *Client, rec *recorder) {
				for i := range 3 - room {
					say(t, c, "other", i+1)
				}
				in := c.Begin(InteractionStart{ConversationID: "s1", Input: "q"})
				if err := in.End(bg, "a"); !errors.Is(err, ErrBufferFull) {
					t.Error(err)
				}
				if err := in.End(bg, "a"); !errors.Is(err, ErrEnded) {
					t.Error(err)
				}
				must(t, c.Flush(bg))
				if n := len(messages(rec, "s1")); n != room {
					t.Errorf("%d messages", n)
				}
				wantIndex(t, 1+room)(c.Session("s1").User(bg, "next"))
			})
		})
	}
}

func TestStreamMeasuresTheFirstToken(t *testing.T) {
	handleTest(t, nil, func(c *Client, rec *recorder) {
		stream := func(steps ...func(*Interaction)) {
			in := c.Begin(InteractionStart{ConversationID: "s1"})
			for _, step := range steps {
				time.Sleep(100 * time.Millisecond)
				step(in)
			}
			must(t, in.End(bg, ""))
		}
		write := func(s string) func(*Interaction) {
			return func(in *Interaction) {
				if n, err := io.WriteString(in, s); n != len(s) || err != nil {
					t.Error(n, err)
				}
			}
		}
		first := func(in *Interaction) { must(t, in.FirstToken()) }
		stream(write(""), write("On "), write("its"), write(" way."))
		stream(first, write("Thought about it."))
		stream(write("x"), first)
		stream(write("\xe2"), write("\x82"), write("\xac 5\x00"), write("\xe2"))
		in := c.Begin(InteractionStart{ConversationID: "s1"})
		must(t, second(fmt.Fprint(in, "half of")), in.Fail(bg, io.ErrUnexpectedEOF))
		in = c.Begin(InteractionStart{ConversationID: "s1"})
		must(t, second(fmt.Fprint(in, "draft")), in.End(bg, "final"), c.Flush(bg))
		wantTold(t, rec,
			`1 assistant "On its way." latency=400ms first=200ms success=true`,
			`2 assistant "Thought about it." latency=200ms first=100ms success=true`,
			`3 assistant "x" latency=200ms first=100ms success=true`,
			`4 assistant "€ 5��" latency=400ms first=100ms success=true`,
			`5 assistant "half of" latency=0s first=0s success=false error="unexpected EOF"`,
			`6 assistant "final" latency=0s first=0s success=true`)
	})
}

func TestLongStreamIsCutAndItsLengthKnown(t *testing.T) {
	const limit = 1000
	handleTest(t, func(cfg *Config) { cfg.MaxContentBytes = limit }, func(c *Client, rec *recorder) {
		in := c.Begin(InteractionStart{ConversationID: "s1"})
		must(t, second(in.WriteString(strings.Repeat("é", limit))), in.End(bg, ""), c.Flush(bg))
		if n := len(messages(rec, "s1")[0].MessageContent); n < limit-2 || n > limit {
			t.Errorf("%d bytes of %d are sent", n, limit)
		}
	})
	handleTest(t, func(cfg *Config) { cfg.MaxContentBytes, cfg.Redact = limit, RedactAll }, func(c *Client, rec *recorder) {
		in := c.Begin(InteractionStart{ConversationID: "s1"})
		const piece = "é ada@example.com "
		for range 1000 {
			must(t, second(in.WriteString(piece)))
			if cap(in.text.kept) > limit {
				t.Fatalf("%d bytes are kept", cap(in.text.kept))
			}
		}
		must(t, in.End(bg, ""), c.Flush(bg))
		m := messages(rec, "s1")[0]
		if got, want := int(m.GetContentLength()), 1000*utf8.RuneCountInString(piece); got != want {
			t.Errorf("length %d, want %d", got, want)
		}
		if !strings.HasSuffix(m.MessageContent, fmt.Sprintf("… [cut, %d bytes in all]", 1000*len(piece))) || len(m.MessageContent) > limit {
			t.Errorf("%q", m.MessageContent)
		}
		if strings.Contains(m.MessageContent, "@") || strings.Contains(m.MessageContent, "ada") {
			t.Errorf("an address that the cut went through is not masked: %q", m.MessageContent)
		}
		if s := c.Stats(); s.Truncated != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestNoContentKeepsTheLengthOfAStream(t *testing.T) {
	handleTest(t, func(cfg *Config) { cfg.NoContent, cfg.MaxContentBytes = true, 256 }, func(c *Client, rec *recorder) {
		in := c.Begin(InteractionStart{ConversationID: "s1", Input: "secret"})
		must(t, second(in.WriteString(strings.Repeat("é", 1000))), in.End(bg, ""), c.Flush(bg))
		wantTold(t, rec, `1 user "" length=6`, `2 assistant "" latency=0s first=0s success=true length=1000`)
	})
}

func TestStrictTellsAnInteractionInTheBaseSchema(t *testing.T) {
	handleTest(t, func(cfg *Config) { cfg.Strict = true }, func(c *Client, rec *recorder) {
		begin := func() *Interaction { return c.Begin(InteractionStart{ConversationID: "s1", UserID: "u1", Input: "q"}) }
		must(t, begin().End(bg, "a"), begin().Fail(bg, io.EOF), begin().Fail(bg, nil),
			second(c.Track(bg, TrackedInteraction{ConversationID: "s1", Output: "b"})))
		for field, err := range map[string]error{
			"InteractionResult.Latency":    begin().Finish(bg, InteractionResult{Latency: new(time.Second)}),
			"InteractionResult.Generation": begin().Finish(bg, InteractionResult{Generation: &Generation{}}),
			"TrackedInteraction.Latency":   second(c.Track(bg, TrackedInteraction{Latency: new(time.Second)})),
		} {
			if problem, ok := errors.AsType[*FieldError](err); !ok || problem.Field != field || problem.Rule != "strict" {
				t.Errorf("%s: %v", field, err)
			}
		}
		must(t, c.Flush(bg))
		wantTold(t, rec, "open user=u1 assistant=default",
			`1 user "q"`, `2 assistant "a"`, `3 user "q"`, `4 assistant "EOF"`, `5 user "q"`, `6 assistant "b"`)
	})
}

func TestHookSeesWhatAnInteractionBecomes(t *testing.T) {
	handleTest(t, func(cfg *Config) {
		cfg.BeforeSend = func(e *Event) bool {
			if m := e.Message; m != nil && m.Content == "" {
				m.Content = "put there by the hook"
			}
			return e.Message == nil || e.Message.Content != "drop me"
		}
	}, func(c *Client, rec *recorder) {
		must(t, c.Begin(InteractionStart{ConversationID: "s1", Input: "drop me"}).Fail(bg, nil), c.Flush(bg))
		wantTold(t, rec, `2 assistant "put there by the hook" latency=0s success=false`)
	})
}

func TestDisabledClientAcceptsAnyInteraction(t *testing.T) {
	c, err := New(Config{Disabled: true, Strict: true})
	long := strings.Repeat("x", 65)
	in := c.Begin(InteractionStart{UserID: long, Input: "x"})
	must(t, err, second(c.Track(bg, TrackedInteraction{UserID: long, Output: "x", Latency: new(-time.Second)})),
		in.SetProperty("no key", "x"), in.Finish(bg, InteractionResult{Output: "x", Generation: &Generation{RunID: long}}))
	if s := c.Stats(); s.Invalid != 0 || s.Accepted != 5 || s.Dropped[DropDisabled] != 5 {
		t.Errorf("%+v", s)
	}
	must(t, c.Close(bg))
}

func TestDisabledClientForgetsSilentInteractions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{Disabled: true})
		must(t, err, second(c.Session("s1").User(bg, "x")))
		for range 10 {
			c.Begin(InteractionStart{Input: "x"})
			time.Sleep(20 * time.Minute)
		}
		if n := len(c.interactions.byKey); n > 2 {
			t.Errorf("%d are kept", n)
		}
		must(t, c.Close(bg))
		checkInvariant(t, c.Stats())
	})
}

// FuzzStream: however a text is cut into pieces, what is kept is its beginning, in no more memory than that may take, and
// its length is known.
func FuzzStream(f *testing.F) {
	f.Add("Where is my order?", uint8(3), uint16(10))
	f.Add("€ 5, not \x00\xff", uint8(1), uint16(2))
	f.Fuzz(func(t *testing.T, text string, piece uint8, limit uint16) {
		s := stream{limit: int(limit)}
		for rest := text; rest != ""; {
			n := min(1+int(piece), len(rest))
			if len(rest)%2 == 0 {
				add(&s, rest[:n])
			} else {
				add(&s, []byte(rest[:n]))
			}
			rest = rest[n:]
			if cap(s.kept) > int(limit) {
				t.Fatalf("%d bytes are kept of %d", cap(s.kept), limit)
			}
		}
		got, part := s.result()
		if want := printable(text[:min(len(text), int(limit))]); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if !isText(got) {
			t.Errorf("%q is no text", got)
		}
		if (part != nil) != (len(text) > int(limit)) || part != nil && part.whole.bytes != len(text) {
			t.Errorf("%d bytes, limit %d: %v", len(text), limit, part)
		}
		if part != nil && utf8.ValidString(text) && part.whole.codePoints != utf8.RuneCountInString(text) {
			t.Errorf("%d code points, want %d", part.whole.codePoints, utf8.RuneCountInString(text))
		}
	})
}

// BenchmarkInteraction is a question and an answer in twenty tokens.
func BenchmarkInteraction(b *testing.B) {
	c := benchClient(b, "")
	b.ReportAllocs()
	for b.Loop() {
		in := c.Begin(InteractionStart{ConversationID: "s1", UserID: "u1", Input: "Where is my order?"})
		for range 20 {
			in.WriteString("token ")
		}
		if err := in.End(bg, ""); err != nil {
			b.Fatal(err)
		}
	}
}
