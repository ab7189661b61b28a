package digest

import (
	"slices"
	"testing"
	"time"

	"github.com/openalign/align/collector"
)

var start = time.Date(2026, 3, 1, 23, 59, 0, 0, time.UTC)

func message(role string, after time.Duration, change ...func(*Message)) Message {
	m := Message{Message: collector.Message{Role: role, Content: role + after.String(), Time: start.Add(after), Versions: 1}}
	for _, c := range change {
		c(&m)
	}
	return m
}

func digestOf(messages ...Message) Digest {
	for i := range messages {
		messages[i].Index, messages[i].Key = int32(i+1), int64(i+1)
	}
	c := collector.Conversation{ID: "s", StartTime: start, LastActivity: messages[len(messages)-1].Time}
	d, _ := Of(&c, messages, nil, nil, Options{})
	return d
}

func TestLatencyIsToldOrFromTheQuestionOfTheTurn(t *testing.T) {
	d := digestOf(
		message("assistant", 0), // a greeting answers nothing
		message("user", time.Second), message("user", 2*time.Second),
		message("assistant", 5*time.Second),
		message("assistant", 6*time.Second), // no question stands
		message("user", 10*time.Second),
		message("assistant", 9*time.Second), // before its question
		message("user", 20*time.Second),
		message("assistant", 29*time.Second, func(m *Message) { m.Detail.Latency = new(700 * time.Millisecond) }),
		message("user", 30*time.Second),
		message("assistant", 32*time.Second, func(m *Message) { m.Detail.Success = new(false) }),
		message("user", 40*time.Second),
		message("human", 44*time.Second),
		message("assistant", 45*time.Second, func(m *Message) { m.Detail.Latency = new(time.Duration(0)) }),
	)
	for sample, want := range map[Sample][]int64{Latencies: {3000, 700, 0}, FailedLatencies: {2000}, HumanLatencies: {4000}, TimesToFirstToken: nil} {
		if got := d.Samples[sample]; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", SampleNames[sample], got, want)
		}
	}
	if got := d.Numbers[FirstResponse]; got != 4000 {
		t.Errorf("first response after %d ms, want 4000: from the first question", got)
	}
	if d.Numbers[KnownTurns] != 1 || d.Numbers[FailedTurns] != 1 {
		t.Errorf("%d of %d turns failed", d.Numbers[FailedTurns], d.Numbers[KnownTurns])
	}
}

func TestUnknownIsNeitherZeroNorCounted(t *testing.T) {
	d := digestOf(message("user", 0), message("assistant", -time.Second))
	for _, column := range []Column{Cost, InputTokens, OutputTokens, FirstResponse, CloseTime} {
		if d.Numbers[column] != Null {
			t.Errorf("%s is %d", Names[column], d.Numbers[column])
		}
	}
	known := digestOf(message("assistant", 0, func(m *Message) { m.Detail.Cost = new(0.0) }), message("assistant", 0, func(m *Message) { m.Detail.Cost = new(0.25) }))
	if known.Numbers[Cost] != 250_000_000 || known.Numbers[UnderstoodShare] != Null {
		t.Errorf("cost %d, understood %d", known.Numbers[Cost], known.Numbers[UnderstoodShare])
	}
}

func TestAConversationOverMidnightIsActiveOnBothDays(t *testing.T) {
	d := digestOf(message("user", 0), message("assistant", 2*time.Minute), message("user", 3*time.Minute), message("user", 4*time.Minute))
	day := start.Unix() / 86400
	if got, want := d.Samples[Days], []int64{day, day + 1}; !slices.Equal(got, want) {
		t.Errorf("days %v, want %v", got, want)
	}
}

func TestPausesSayWhetherItWasResolvedByThen(t *testing.T) {
	d := digestOf(message("user", 0), message("assistant", 10*time.Second), message("user", 2*time.Hour), message("user", 2*time.Hour+time.Second), message("assistant", 5*time.Hour))
	want := []int64{10_000, 7_190_000, 1, 7_201_000, 10_799_000, 0}
	if got := d.Samples[Pauses]; !slices.Equal(got, want) {
		t.Errorf("pauses %v, want %v", got, want)
	}
}

func TestScoresArePositiveInTheUpperQuarterOfTheirScale(t *testing.T) {
	for _, c := range []struct {
		vote Vote
		want bool
	}{
		{Vote{collector.VoteDown, &collector.Score{Value: 4, Min: 1, Max: 5}}, true},
		{Vote{collector.VoteUp, &collector.Score{Value: 3, Min: 1, Max: 5}}, false},
		{Vote{collector.VoteUp, &collector.Score{Value: 1}}, true}, // on no scale: the thumb
		{Vote{collector.VoteDown, nil}, false},
	} {
		if got := c.vote.positive(); got != c.want {
			t.Errorf("%+v: %t", c.vote, got)
		}
	}
}

func FuzzParseNumbers(f *testing.F) {
	d := digestOf(message("user", 0), message("assistant", time.Hour))
	f.Add(d.AppendNumbers(nil))
	f.Add([]byte("[[1,null,-2],[]]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d, again Digest
		if d.ParseNumbers(b) != nil {
			return
		}
		if err := again.ParseNumbers(d.AppendNumbers(nil)); err != nil || again.Numbers != d.Numbers {
			t.Errorf("%s: %v", b, err)
		}
	})
}

// An answer's outcome says whether it failed where nothing else does: or an app that records outcomes alone would only ever
// be known to fail.
func TestWhetherAnAnswerFailedIsKnownOfItsOutcomeToo(t *testing.T) {
	var messages []Message
	for _, result := range []string{"response_generated", "not_understood", "fallback", "escalation_required", "error", "", "whatever"} {
		messages = append(messages, message("user", 0), message("assistant", time.Second, func(m *Message) { m.Detail.Outcome = result }))
	}
	messages = append(messages, message("assistant", time.Second, func(m *Message) { m.Detail.Error = "timeout" }))
	d := digestOf(messages...)
	if d.Numbers[KnownTurns] != 6 || d.Numbers[FailedTurns] != 2 {
		t.Errorf("%d of %d answers failed, want 2 of 6", d.Numbers[FailedTurns], d.Numbers[KnownTurns])
	}
}
