package align

import (
	"strings"
	"time"
)

// Generation says how an assistant's answer came about. Every field is optional; what is not known stays unknown, and is
// no zero. Go's new makes a pointer of a value: Latency: new(1200 * time.Millisecond).
type Generation struct {
	// Latency is the time from the request to the whole answer, not negative. Nil means unknown.
	Latency *time.Duration `validate:"omitempty,min=0"`
	// TimeToFirstToken is the time from the request to the first of the answer, not negative. Nil means unknown, or that
	// the answer was not streamed.
	TimeToFirstToken *time.Duration `validate:"omitempty,min=0"`
	// Success says whether an answer was made. Nil means unknown.
	Success *bool
	// Error says why none was, at most 2,000 Unicode code points.
	Error string `validate:"omitempty,text,max=2000"`
	// Outcome says what the answer was. Empty means not said.
	Outcome Outcome `validate:"omitempty,oneof=response_generated not_understood error escalation_required fallback"`
	// Model names what made it, at most 128 Unicode code points.
	Model string `validate:"omitempty,text,max=128"`
	// InputTokens and OutputTokens are what the model read and wrote. Nil means unknown.
	InputTokens, OutputTokens *int64 `validate:"omitempty,min=0"`
	// Cost is what it cost in US dollars: a finite number, not negative. Nil means unknown.
	Cost *float64 `validate:"omitempty,finite,min=0"`
	// ToolCalls are the calls made on the way, at most 64, in order.
	ToolCalls []ToolCall `validate:"max=64,dive"`
	// RunID names the invocation of the agent, at most 64 Unicode code points.
	RunID string `validate:"omitempty,text,max=64"`
	// Incomplete says that the answer never came to its end: the app stopped, or the stream was abandoned.
	Incomplete bool
}

// ToolCall is one call of a tool.
type ToolCall struct {
	// ID is the model's id of the call, at most 64 Unicode code points.
	ID string `validate:"omitempty,text,max=64"`
	// Name is the tool's: 1 to 128 Unicode code points.
	Name string `validate:"nonblank,text,max=128"`
	// Arguments and Result are what went in and what came out, as text, at most 16,384 Unicode code points each.
	Arguments, Result string `validate:"omitempty,text,max=16384"`
}

const (
	maxErrorLength = 2000
	maxToolText    = 16384
)

// Outcome says what an answer was. The zero Outcome says nothing.
type Outcome string

const (
	OutcomeResponseGenerated  Outcome = "response_generated"  // an answer to what was asked
	OutcomeNotUnderstood      Outcome = "not_understood"      // the assistant said that it did not understand
	OutcomeError              Outcome = "error"               // no answer: something failed
	OutcomeEscalationRequired Outcome = "escalation_required" // the assistant asked for a human
	OutcomeFallback           Outcome = "fallback"            // a stock answer, for want of a better one
)

// Intent is what a user wanted, as the app understood it.
type Intent struct {
	// Name is the app's own: 1 to 128 Unicode code points.
	Name string `validate:"nonblank,text,max=128"`
	// NotMeaningful marks an intent that asks for nothing, such as a greeting.
	NotMeaningful bool
}

// detached returns a copy that shares no memory with g, see [Message.detached]. A copy of nil is nil.
func (g *Generation) detached() *Generation {
	if g == nil {
		return nil
	}
	d := &Generation{
		Latency:          clone(g.Latency),
		TimeToFirstToken: clone(g.TimeToFirstToken),
		Success:          clone(g.Success),
		Error:            strings.Clone(g.Error),
		Outcome:          Outcome(strings.Clone(string(g.Outcome))),
		Model:            strings.Clone(g.Model),
		InputTokens:      clone(g.InputTokens),
		OutputTokens:     clone(g.OutputTokens),
		Cost:             clone(g.Cost),
		RunID:            strings.Clone(g.RunID),
		Incomplete:       g.Incomplete,
	}
	for _, call := range g.ToolCalls {
		d.ToolCalls = append(d.ToolCalls, ToolCall{
			ID: strings.Clone(call.ID), Name: strings.Clone(call.Name),
			Arguments: strings.Clone(call.Arguments), Result: strings.Clone(call.Result),
		})
	}
	return d
}

// clone returns a pointer to a copy of what p points to, nil for nil.
func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// appendFields writes a generation's fields of a message.
func (g *Generation) appendFields(b []byte) []byte {
	b = appendDuration(b, fieldLatency, g.Latency)
	b = appendDuration(b, fieldTimeToFirstToken, g.TimeToFirstToken)
	b = appendBool(b, fieldSuccess, g.Success)
	b = appendString(b, fieldErrorText, g.Error)
	b = appendString(b, fieldOutcome, string(g.Outcome))
	for _, call := range g.ToolCalls {
		size := sizeString(call.ID) + sizeString(call.Name) + sizeString(call.Arguments) + sizeString(call.Result)
		b = appendLength(b, fieldToolCalls, size)
		b = appendString(b, fieldToolID, call.ID)
		b = appendString(b, fieldToolName, call.Name)
		b = appendString(b, fieldToolArguments, call.Arguments)
		b = appendString(b, fieldToolResult, call.Result)
	}
	b = appendString(b, fieldModel, g.Model)
	if g.InputTokens != nil {
		b = appendOptionalUint(b, fieldInputTokens, uint64(*g.InputTokens))
	}
	if g.OutputTokens != nil {
		b = appendOptionalUint(b, fieldOutputTokens, uint64(*g.OutputTokens))
	}
	if g.Cost != nil {
		b = appendOptionalDouble(b, fieldCost, *g.Cost)
	}
	b = appendString(b, fieldRunID, g.RunID)
	if g.Incomplete {
		b = appendOptionalUint(b, fieldIncomplete, 1)
	}
	return b
}

func (i *Intent) appendTo(b []byte) []byte {
	b, at := beginMessage(b, fieldIntent, 0)
	b = appendString(b, fieldIntentName, i.Name)
	if i.NotMeaningful {
		b = appendOptionalUint(b, fieldIntentNotMeaningful, 1)
	}
	return endMessage(b, at)
}
