package month

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/openalign/align"
)

// This file says how an answer came about: how long it took, which model made it, with which tools and at what price.

// model is what makes answers.
type model struct {
	name          string
	first, whole  time.Duration // median time to the first token and to the whole answer
	input, output float64       // US dollars for a million tokens
}

var (
	oldModel   = model{"petrel-2", 900 * time.Millisecond, 2300 * time.Millisecond, 2.5, 10}
	newModel   = model{"petrel-3", 380 * time.Millisecond, 1250 * time.Millisecond, 1.1, 4.4}
	smallModel = model{"petrel-2-mini", 300 * time.Millisecond, 900 * time.Millisecond, 0.15, 0.6}
)

// answerTimeout is when the shop gives up on an answer.
const answerTimeout = 60 * time.Second

// answer is something the assistant says, and all that is known of how.
func (s *scene) answer(text string, outcome align.Outcome) {
	m := oldModel
	switch {
	case s.assistant == "otto" && s.chance(0.7):
		m = smallModel
	case s.improved:
		m = newModel
	}
	slow := math.Exp(s.r.NormFloat64() * 0.45)
	if s.chance(0.015) {
		slow *= 6 // a tail, on the best of days
	}
	if s.month.down(s.at) {
		slow *= 5
	}
	whole := min(time.Duration(float64(m.whole)*slow)+time.Duration(utf8.RuneCountInString(text))*4*time.Millisecond, answerTimeout)
	first := min(time.Duration(float64(m.first)*slow*(0.7+0.6*s.r.Float64())), whole*9/10)
	read := int64(420 + 160*s.index + s.r.IntN(300))
	wrote := int64(8 + utf8.RuneCountInString(text)/3 + s.r.IntN(20))
	g := &align.Generation{
		Outcome:     outcome,
		Model:       m.name,
		Success:     new(outcome != align.OutcomeError),
		InputTokens: &read,
		RunID:       fmt.Sprintf("run-%012x", s.r.Uint64()>>16),
	}
	switch {
	case outcome == align.OutcomeError:
		whole = min(whole*3, answerTimeout)
		g.Error = pick(s.r, []string{"upstream: 503 service unavailable", "deadline exceeded", "orders: connection refused"})
		wrote = 0
	case s.chance(0.008):
		g.Incomplete, g.Success = true, nil
		text = firstHalf(text)
	default:
		g.OutputTokens = &wrote
		if s.chance(0.9) { // the rest was not streamed
			g.TimeToFirstToken = new(first.Round(time.Millisecond))
		}
	}
	g.Latency = new(whole.Round(time.Millisecond))
	cost := (float64(read)*m.input + float64(wrote)*m.output) / 1e6
	g.Cost = &cost
	if outcome == align.OutcomeResponseGenerated && s.chance(0.4) {
		g.ToolCalls = s.tools()
	}
	s.at = s.at.Add(*g.Latency)
	s.message(align.RoleAssistant, text, nil, g)
}

// firstHalf is a text that was broken off.
func firstHalf(text string) string {
	runes := []rune(text)
	return string(runes[:(len(runes)+1)/2]) + "…"
}

// tools are the calls that an answer took.
func (s *scene) tools() []align.ToolCall {
	call := func(name, arguments, result string) align.ToolCall {
		return align.ToolCall{
			ID: fmt.Sprintf("call-%08x", s.r.Uint32()), Name: name,
			Arguments: fill(arguments, s.slots), Result: fill(result, s.slots),
		}
	}
	order := call("orders.get", `{"order":"<order>"}`, `{"order":"<order>","status":"shipped","carrier":"<carrier>"}`)
	switch s.topic {
	case "order_status":
		return []align.ToolCall{order, call("carrier.track", `{"carrier":"<carrier>"}`, `{"depot":"<city>"}`)}
	case "returns":
		return []align.ToolCall{order, call("returns.label", `{"order":"<order>"}`, `{"url":"tidewell.example/r/<order>"}`)}
	case "delivery", "complaint":
		return []align.ToolCall{order}
	case "invoice":
		return []align.ToolCall{call("invoices.find", `{"order":"<order>"}`, `{"invoice":"<invoice>"}`)}
	case "password":
		return []align.ToolCall{call("accounts.send_link", `{}`, `{"sent":true}`)}
	}
	return []align.ToolCall{call("catalogue.search", `{"query":"<item>"}`, `{"sizes":["<size>"],"price":"<price>"}`)}
}
