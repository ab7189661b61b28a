package metrics

import (
	"context"
	"errors"
	"time"
)

// Row is a conversation as a daily file has it, as far as metrics can be computed from it.
type Row struct {
	Status, Resolution                               string
	BotMessages, VisitorMessages, NotUnderstood      int64
	LLMNotUnderstood, LLMResponseGenerated, LLMError int64
	LLMEscalationRequired, LLMFallback               int64
	IsLLM, TestMode                                  bool
	HasIntent, HasMeaningfulIntent                   bool
	Again                                            bool // a file before tells of an earlier episode of it
}

// Exports reads daily files. The error of a day that is not final, or has no file, is [ErrNoFile] or wraps it.
type Exports interface {
	DailyRows(ctx context.Context, project string, day time.Time, yield func(*Row) error) error
}

// ErrNoFile says that a day has no file yet.
var ErrNoFile = errors.New("metrics: the day has no file")

// Proof is a number computed from daily files, beside the one computed from digests.
type Proof struct {
	Value   Value
	Rows    int // that count
	Again   int // of them, of conversations that went on after a file had told of them
	Equal   bool
	Missing string // why there is no number; empty where there is one
}

// fromRow are the metrics that daily files can give, with numerator and denominator of a row. They are written a second
// time, and not taken from the definitions, as what they prove is that both say the same.
var fromRow = map[string]func(r *Row) (numerator, denominator int64){
	"total_conversations":       func(*Row) (int64, int64) { return 1, 1 },
	"bot_handled_conversations": func(r *Row) (int64, int64) { return truth(r.Status == "botHandled"), 1 },
	"bot_handled_rate":          func(r *Row) (int64, int64) { return truth(r.Status == "botHandled"), 1 },
	"deflection_rate":           func(r *Row) (int64, int64) { return truth(!r.escalated()), 1 },
	"escalation_rate":           func(r *Row) (int64, int64) { return truth(r.escalated()), 1 },
	"failed_escalation_rate":    func(r *Row) (int64, int64) { return truth(r.Status == "failedEscalation"), 1 },
	"informed_rate":             func(r *Row) (int64, int64) { return truth(r.Resolution == "informed"), 1 },
	"automation_rate": func(r *Row) (int64, int64) {
		return truth(r.Resolution == "informed" || r.Resolution == "resolved"), 1
	},
	"messages_understood_rate":             func(r *Row) (int64, int64) { return r.VisitorMessages - r.NotUnderstood, r.VisitorMessages },
	"conversations_with_first_intent":      func(r *Row) (int64, int64) { return truth(r.HasIntent), 1 },
	"conversations_with_meaningful_intent": func(r *Row) (int64, int64) { return truth(r.HasMeaningfulIntent), 1 },
	"bot_summary_conversations":            func(r *Row) (int64, int64) { return truth(r.BotMessages > 0), 1 },
	"engaged_conversations":                func(r *Row) (int64, int64) { return truth(r.VisitorMessages > 0), 1 },
	"engaged_rate":                         func(r *Row) (int64, int64) { return truth(r.VisitorMessages > 0), 1 },
	"turns_per_session":                    func(r *Row) (int64, int64) { return r.VisitorMessages, 1 },
	"messages_per_session":                 func(r *Row) (int64, int64) { return r.VisitorMessages + r.BotMessages, 1 },
	"llm_conversations":                    func(r *Row) (int64, int64) { return truth(r.IsLLM), 1 },
	"llm_not_understood":                   func(r *Row) (int64, int64) { return r.LLMNotUnderstood, 1 },
	"llm_response_generated":               func(r *Row) (int64, int64) { return r.LLMResponseGenerated, 1 },
	"llm_error_occurred":                   func(r *Row) (int64, int64) { return r.LLMError, 1 },
	"llm_escalation_required":              func(r *Row) (int64, int64) { return r.LLMEscalationRequired, 1 },
	"llm_fallback":                         func(r *Row) (int64, int64) { return r.LLMFallback, 1 },
}

func (r *Row) escalated() bool {
	return r.Status == "email" || r.Status == "agent" || r.Status == "customEscalation"
}

// proof computes a metric from daily files, where the scope is whole days by end, without filters. Else it says why not.
func (e *Engine) proof(ctx context.Context, project string, x *Explanation) (*Proof, error) {
	add, known := fromRow[x.Definition.Name]
	for _, not := range []struct {
		so  bool
		why string
	}{
		{!known, "the daily files do not have what this metric counts"},
		{!x.Scope.ByEnd, "this is of conversations by start, and the daily files have them by end"},
		{!x.Scope.WholeDays(), "the window is not of whole UTC days, and the daily files are"},
		{len(x.Scope.Filters) > 0, "this has filters, and the daily files are read whole"},
		{e.Exports == nil, "there are no daily files here"},
	} {
		if not.so {
			return &Proof{Missing: not.why}, nil
		}
	}
	p := &Proof{}
	var numerator, denominator int64
	for on := x.Scope.From; on.Before(x.Scope.To); on = on.Add(day) {
		err := e.Exports.DailyRows(ctx, project, on, func(r *Row) error {
			if r.TestMode && !x.Scope.IncludeTest {
				return nil
			}
			p.Rows++
			if r.Again {
				p.Again++
			}
			n, d := add(r)
			numerator, denominator = numerator+n, denominator+d
			return nil
		})
		if errors.Is(err, ErrNoFile) {
			return &Proof{Missing: on.Format(time.DateOnly) + " has no final file"}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	p.Value = valueOf(x.Definition, float64(numerator), float64(denominator))
	p.Equal = p.Value.Numerator == x.Value.Numerator && p.Value.Denominator == x.Value.Denominator
	return p, nil
}
