package month

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

var show = flag.Int("show", 0, "print that many conversations, to read them")

// today is a Saturday afternoon.
var today = time.Date(2026, 11, 21, 13, 0, 0, 0, time.UTC)

// whole is a month of the default size, which no test changes.
var whole = sync.OnceValue(func() *Month { return New(1, today, 3000) })

func TestSameSeedTellsTheSameMonth(t *testing.T) {
	a, b := New(7, today, 300), New(7, today, 300)
	if !reflect.DeepEqual(a.Conversations, b.Conversations) {
		t.Error("two months of one seed differ")
	}
	later := today.Add(time.Minute)
	if !reflect.DeepEqual(a.Live(later), b.Live(later)) {
		t.Error("two live conversations of one seed differ")
	}
	if reflect.DeepEqual(a.Conversations, New(8, today, 300).Conversations) {
		t.Error("another seed tells the same month")
	}
}

func TestSizeScalesByItsNumber(t *testing.T) {
	for _, n := range []int{1, 10, 1000} {
		m := New(1, today, n)
		if tally := m.Tally(); tally.Sessions != n || len(m.Conversations) != n {
			t.Errorf("%d conversations asked for: %+v", n, tally)
		}
	}
	if tally := whole().Tally(); tally.Messages < 16_000 || tally.Messages > 24_000 || tally.Users < 300 {
		t.Errorf("a month is %+v, want about 20,000 messages of some hundred users", tally)
	}
}

func TestEverythingHappensInTheMonthAndInOrder(t *testing.T) {
	m := whole()
	ids := make(map[string]bool)
	var last time.Time
	for _, c := range m.Conversations {
		if ids[c.ID] || c.Events[0].At.Before(last) {
			t.Fatalf("conversation %s comes twice, or before the one before", c.ID)
		}
		ids[c.ID], last = true, c.Events[0].At
		index, before := 0, c.Events[0].At
		for i, e := range c.Events {
			switch {
			case e.At.Before(m.From) || e.At.After(m.To):
				t.Fatalf("%s: a %s at %v is not in the month", c.ID, e.Type, e.At)
			case i > 0 && !e.At.After(before):
				t.Fatalf("%s: a %s at %v is not after the event before", c.ID, e.Type, e.At)
			case e.User != nil && e.User.CreateTime.After(e.At):
				t.Fatalf("%s: somebody signed up at %v, after coming", c.ID, e.User.CreateTime)
			case e.SessionEnd != nil && e.SessionEnd.EndTime.After(e.At):
				t.Fatalf("%s: ended at %v, after it was said at %v", c.ID, e.SessionEnd.EndTime, e.At)
			case e.Message != nil:
				if n := e.Message.Index; n != index+1 && n != index {
					t.Fatalf("%s: message %d comes after %d", c.ID, n, index)
				}
				index = e.Message.Index
			case e.MessageFeedback != nil && e.MessageFeedback.Index > index:
				t.Fatalf("%s: a vote on message %d of %d", c.ID, e.MessageFeedback.Index, index)
			}
			before = e.At
		}
	}
}

func TestTheSDKTakesEveryEventAndItsContractHolds(t *testing.T) {
	m := New(3, today, 300)
	client, srv := aligntest.Client(t)
	for _, c := range m.Conversations {
		for _, e := range c.Events {
			if err := e.Record(t.Context(), client); err != nil {
				t.Fatalf("%s: %v", e.Type, err)
			}
		}
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := uint64(m.Tally().Events)
	if s := client.Stats(); s.Accepted != want || s.Delivered != want || s.Invalid != 0 || s.Truncated != 0 {
		t.Errorf("of %d events: %+v", want, s)
	}
	at := make(map[string][]time.Time)
	for _, e := range srv.Events() {
		if e.SessionID != "" {
			at[e.SessionID] = append(at[e.SessionID], e.CreateTime)
		}
	}
	for _, c := range m.Conversations {
		var times []time.Time
		for _, e := range c.Events {
			if e.User == nil {
				times = append(times, e.At)
			}
		}
		if !slices.EqualFunc(at[c.ID], times, time.Time.Equal) {
			t.Fatalf("%s did not happen when it happened", c.ID)
		}
	}
}

// facts are what happens in a month, by name.
func facts(m *Month) map[string]int {
	n := make(map[string]int)
	for _, c := range m.Conversations {
		seen := make(map[string]bool)
		note := func(fact string, is bool) {
			if is && !seen[fact] {
				seen[fact] = true
				n[fact]++
			}
		}
		var said string // by the user, before
		versions := make(map[int]int)
		closed, users := false, 0
		for _, e := range c.Events {
			if u := e.User; u != nil {
				note("country "+u.CountryCode, true)
				note("company", u.Company != nil)
				note("traits", len(u.Traits) > 0)
			}
			if s := e.Session; s != nil {
				note("language "+s.Language[:2], true)
				note("assistant "+s.AssistantID, true)
				note("release "+s.Properties["release"], true)
				note("channel "+string(s.Channel), true)
				note("source "+s.Source, true)
				note("test mode", s.TestMode)
				note("label vip", slices.Contains(s.Labels, "vip"))
				note("opened again", closed)
			}
			if msg := e.Message; msg != nil {
				note("role "+string(msg.Role), true)
				versions[msg.Index]++
				note("edited", versions[msg.Index] > 1)
				note("several days", e.At.Sub(c.Events[0].At) > 24*time.Hour)
				note("message after the close", closed)
				if msg.Role == align.RoleUser {
					users++
					note("intent "+msg.Intent.Name, true)
					note("rephrased", said != "" && strings.Contains(strings.ToLower(msg.Content), strings.ToLower(said)))
					note("emoji", strings.ContainsFunc(msg.Content, func(r rune) bool { return r >= 0x1F300 }))
					said = strings.TrimSuffix(msg.Content, ".")
				}
				if g := msg.Generation; g != nil {
					note("outcome "+string(g.Outcome), true)
					note("model "+g.Model, true)
					note("error", g.Error != "" && !*g.Success)
					note("incomplete", g.Incomplete)
					note("tool call", len(g.ToolCalls) > 0)
					note("not streamed", g.TimeToFirstToken == nil)
					note("slow", *g.Latency > 10*time.Second)
				}
				closed = false
			}
			if v := e.MessageFeedback; v != nil {
				note("vote "+string(v.Type), true)
				note("comment", v.Comment != "")
				note("reason", len(v.Reasons) > 0)
			}
			if v := e.SessionFeedback; v != nil {
				note("session vote "+string(v.Type), true)
				note("score", v.Score != align.Score{})
			}
			if end := e.SessionEnd; end != nil {
				closed = true
				note("close "+string(end.Reason), true)
				note("status "+string(end.Status), true)
				note("resolution "+string(end.Resolution), true)
				note("transfer", end.Transfer != nil && *end.Transfer)
			}
		}
		note("bounce", users == 1)
		note("long", users >= 6)
		note("open", !closed)
	}
	return n
}

func TestEverySituationOccurs(t *testing.T) {
	got := facts(whole())
	want := []string{
		"company", "traits", "channel chat", "channel ticket", "source ios app", "source help desk", "test mode", "label vip",
		"assistant mira", "assistant otto", "assistant help-desk", "release 2.3", "release 2.4", "release 1.8", "release 1.9",
		"role user", "role assistant", "role system", "role human", "edited", "several days", "opened again", "message after the close",
		"rephrased", "emoji", "error", "incomplete", "tool call", "not streamed", "slow", "bounce", "long",
		"outcome response_generated", "outcome not_understood", "outcome fallback", "outcome error", "outcome escalation_required",
		"model petrel-2", "model petrel-3", "model petrel-2-mini",
		"vote thumbs_up", "vote thumbs_down", "vote none", "comment", "reason", "session vote thumbs_up", "session vote thumbs_down", "score",
		"close ", "close idle", "close transfer", "status botHandled", "status agent", "status email", "status failedEscalation", "transfer",
		"resolution informed", "resolution resolved", "resolution escalated", "resolution undefined",
		"intent Greeting", "intent Thanks", "intent Talk to a human", "intent Small talk",
	}
	for _, language := range languages {
		want = append(want, "language "+language)
	}
	for _, intent := range intents {
		want = append(want, "intent "+intent)
	}
	for _, c := range countries {
		want = append(want, "country "+c.code)
	}
	for _, fact := range want {
		if got[fact] < 3 {
			t.Errorf("%q: %d times in 3,000 conversations", fact, got[fact])
		}
	}
}

func TestDaysAndWeeksHaveTheirRhythm(t *testing.T) {
	m := whole()
	zone := make(map[string]time.Duration)
	for _, c := range countries {
		zone[c.tag] = c.offset
	}
	var night, evening, weekend, week int
	for _, c := range m.Conversations {
		for _, e := range c.Events {
			if e.Session == nil {
				continue
			}
			local := e.At.Add(zone[e.Session.Language])
			switch h := local.Hour(); {
			case h >= 1 && h < 5:
				night++
			case h >= 18 && h < 22:
				evening++
			}
			switch local.Weekday() {
			case time.Saturday, time.Sunday:
				weekend++
			default:
				week++
			}
			break
		}
	}
	if evening < 5*night {
		t.Errorf("%d began in the evening, %d at night", evening, night)
	}
	if perDay, quiet := float64(week)/22, float64(weekend)/8; quiet > 0.85*perDay {
		t.Errorf("%.0f on a day of the week, %.0f on one of its end", perDay, quiet)
	}
}

// quality is how answers were at some time.
type quality struct {
	answers, errors, lost, up, votes int
	latencies                        []time.Duration
}

func (q *quality) median() time.Duration {
	slices.Sort(q.latencies)
	return q.latencies[len(q.latencies)/2]
}

func TestTheReleaseIsBetterAndTheOutageIsSeen(t *testing.T) {
	m := whole()
	var before, after, outage quality
	for _, c := range m.Conversations {
		q := &before
		switch at := c.Events[0].At; {
		case m.down(at):
			q = &outage
		case m.improved(at):
			q = &after
		}
		for _, e := range c.Events {
			if v := e.MessageFeedback; v != nil && v.Type != align.ThumbsNone {
				q.votes++
				if v.Type == align.ThumbsUp {
					q.up++
				}
			}
			if e.Message == nil || e.Message.Generation == nil {
				continue
			}
			g := e.Message.Generation
			q.answers++
			q.latencies = append(q.latencies, *g.Latency)
			switch g.Outcome {
			case align.OutcomeError:
				q.errors++
			case align.OutcomeFallback, align.OutcomeNotUnderstood:
				q.lost++
			}
		}
	}
	share := func(a, b int) float64 { return float64(a) / float64(b) }
	if a, b := share(after.up, after.votes), share(before.up, before.votes); a < b+0.05 {
		t.Errorf("thumbs up: %.2f after the release, %.2f before", a, b)
	}
	if a, b := share(after.lost, after.answers), share(before.lost, before.answers); a > 0.7*b {
		t.Errorf("not understood: %.3f after the release, %.3f before", a, b)
	}
	if a, b := after.median(), before.median(); a > b*8/10 {
		t.Errorf("median latency: %v after the release, %v before", a, b)
	}
	if outage.answers < 50 || share(outage.errors, outage.answers) < 0.15 || outage.median() < 3*after.median() {
		t.Errorf("in the outage %d of %d answers failed, median latency %v", outage.errors, outage.answers, outage.median())
	}
	if before.errors+after.errors > 0 && share(before.errors+after.errors, before.answers+after.answers) > 0.005 {
		t.Errorf("%d errors outside of the outage", before.errors+after.errors)
	}
}

// Who opens ten conversations should not read the same sentences again and again.
func TestTenConversationsInARowRarelyRepeatASentence(t *testing.T) {
	m := whole()
	sentences, repeated := 0, 0
	for ten := range slices.Chunk(m.Conversations, 10) {
		in := make(map[string]int) // which conversation said it first
		for i, c := range ten {
			for _, e := range c.Events {
				if e.Message == nil || utf8.RuneCountInString(e.Message.Content) < 20 {
					continue
				}
				sentences++
				if first, ok := in[e.Message.Content]; ok && first != i {
					repeated++
				} else {
					in[e.Message.Content] = i
				}
			}
		}
	}
	if share := float64(repeated) / float64(sentences); share > 0.02 {
		t.Errorf("%.1f %% of %d were read before", 100*share, sentences)
	}
}

func TestLiveConversationsBeginNowAndTakeMinutes(t *testing.T) {
	m := New(1, today, 100)
	now := today.Add(5 * time.Hour)
	for range 200 {
		c := m.Live(now)
		first, last := c.Events[0].At, c.Events[len(c.Events)-1].At
		if !first.Equal(now) || last.Sub(first) > 10*time.Minute {
			t.Fatalf("from %v to %v, want to begin at %v and take minutes", first, last, now)
		}
		if end := c.Events[len(c.Events)-1].SessionEnd; end != nil && end.Reason == align.CloseIdle {
			t.Fatal("closed as idle: that is for the client to see")
		}
		if s := c.Summary(); strings.Contains(s, "()") || strings.HasSuffix(s, ": ") {
			t.Fatalf("summary %q", s)
		}
	}
}

func TestEveryLanguageSaysEverything(t *testing.T) {
	slots := newScene(New(1, today, 1).live, New(1, today, 1), New(1, today, 1).people[0], today).slots
	slots["ask"] = "x"
	for _, language := range languages {
		words := scripts[language]
		for section, keys := range scripts["en"] {
			for key := range keys {
				if len(words[section][key]) == 0 {
					t.Errorf("%s: nothing for %s of %s", language, key, section)
				}
			}
		}
		if len(words) != len(topics)+1 || len(words.list("months")) != 12 {
			t.Errorf("%s: %d sections, %d months", language, len(words), len(words.list("months")))
		}
		for section, keys := range words {
			for key, ways := range keys {
				if answers := map[string]string{"ask": "answer", "follow": "then"}[key]; answers != "" {
					for _, w := range ways {
						if w.about == "" && key == "follow" || len(words.fitting(section, answers, w.about)) == 0 {
							t.Errorf("%s: nothing answers %s.%s of %s", language, key, w.about, section)
						}
					}
				}
				for _, w := range ways {
					for _, part := range strings.Split(w.text, "<")[1:] {
						name, _, _ := strings.Cut(part, ">")
						if _, ok := slots[name]; !ok && key != "date" {
							t.Errorf("%s: %s of %s has a slot %q that nothing fills", language, key, section, name)
						}
					}
				}
			}
		}
	}
}

func TestTextsThatAreWrongAreNotRead(t *testing.T) {
	for text, line := range map[string]string{
		"hello: x":               "line 1",
		"[common]\nhello":        "line 2",
		"[common]\n\nhello: {a|": "line 3",
		"[common]\nhello: <name": "line 2",
	} {
		if _, err := parseTexts(text); err == nil || !strings.Contains(err.Error(), line) {
			t.Errorf("%q: %v, want it to say %s", text, err, line)
		}
	}
}

func TestRecordReturnsTheErrorsOfTheClient(t *testing.T) {
	client, err := align.New(align.Config{Disabled: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, e := range New(1, today, 20).Conversations[0].Events {
		if err := e.Record(t.Context(), client); !errors.Is(err, align.ErrClosed) {
			t.Errorf("%s on a closed client: %v", e.Type, err)
		}
	}
}

func TestShowSomeToRead(t *testing.T) {
	if *show == 0 {
		t.Skip("for reading: -show 10")
	}
	for _, c := range New(1, time.Now(), 3000).Conversations[:*show] {
		fmt.Fprintln(os.Stdout, c.Summary())
		for _, e := range c.Events {
			switch {
			case e.Message != nil:
				fmt.Fprintln(os.Stdout, e.At.Format(time.DateTime), e.Message.Role, e.Message.Content)
			case e.MessageFeedback != nil:
				fmt.Fprintln(os.Stdout, e.At.Format(time.DateTime), e.MessageFeedback.Type, e.MessageFeedback.Comment)
			case e.SessionEnd != nil:
				fmt.Fprintln(os.Stdout, e.At.Format(time.DateTime), "closed", e.SessionEnd.Reason, e.SessionEnd.Status)
			}
		}
		fmt.Fprintln(os.Stdout)
	}
}
