package dashboard

import (
	"context"
	"math"
	"strconv"
	"time"

	"github.com/openalign/align/collector/metrics"
)

// Numbers of metrics, for people. What they mean is said in package metrics, and nowhere else.

const dayLength = 24 * time.Hour

// period is some days, and what there was in all and on each.
type period struct {
	From, To time.Time // whole days, half open
	values   map[string]*metrics.Value
	days     []map[string]*metrics.Value // nil for a day without conversations
}

// periodOf computes metrics of the days of a scope.
func periodOf(ctx context.Context, engine *metrics.Engine, project string, scope metrics.Scope, names ...string) (*period, error) {
	answer, err := engine.Get(ctx, project, metrics.Query{Scope: scope, Names: names, GroupBy: "day", MaxGroups: maxDays})
	if err != nil {
		return nil, err
	}
	p := &period{From: scope.From, To: scope.To, values: byName(answer.Values), days: make([]map[string]*metrics.Value, int(scope.To.Sub(scope.From)/dayLength))}
	for i := range answer.Groups {
		at, err := time.Parse(time.DateOnly, answer.Groups[i].Value)
		if n := int(at.Sub(scope.From) / dayLength); err == nil && n >= 0 && n < len(p.days) {
			p.days[n] = byName(answer.Groups[i].Values)
		}
	}
	return p, nil
}

func byName(values []metrics.Value) map[string]*metrics.Value {
	m := make(map[string]*metrics.Value, len(values))
	for i := range values {
		m[values[i].Name] = &values[i]
	}
	return m
}

// series is a number of each day, NaN where there is none.
func (p *period) series(of func(map[string]*metrics.Value) float64) []float64 {
	list := make([]float64, len(p.days))
	for i, day := range p.days {
		list[i] = math.NaN()
		if day != nil {
			list[i] = of(day)
		}
	}
	return list
}

// dates are the days.
func (p *period) dates() []time.Time {
	list := make([]time.Time, len(p.days))
	for i := range list {
		list[i] = p.From.AddDate(0, 0, i)
	}
	return list
}

// known is a value, NaN where it is unknown.
func known(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

// written writes a number of a metric in its unit; a dash where it is unknown.
func written(d *metrics.Definition, v *float64) string {
	switch {
	case v == nil:
		return "–"
	case d.Kind == metrics.Rate:
		return percent(*v)
	case d.Unit == "ms":
		return shortDuration(time.Duration(*v * float64(time.Millisecond)))
	case d.Unit == "USD":
		return "$" + strconv.FormatFloat(*v, 'f', 4, 64)
	case *v == math.Trunc(*v) && math.Abs(*v) < 1e15:
		return count(int(*v))
	}
	return strconv.FormatFloat(*v, 'f', 2, 64)
}

// change says how a number differs from the one before: rates in percentage points, all else in percent. Empty is unknown.
func change(d *metrics.Definition, now, before *float64) string {
	switch {
	case now == nil || before == nil:
		return ""
	case d.Kind == metrics.Rate:
		return signed(100*(*now-*before)) + " points"
	case *before == 0:
		return ""
	}
	return signed(100*(*now-*before)/math.Abs(*before)) + "\u202f%"
}

// percent writes a rate, and a dash where there is none.
func percent(value float64) string {
	if math.IsNaN(value) {
		return "–"
	}
	text := strconv.FormatFloat(100*value, 'f', 1, 64)
	if n := len(text); n > 2 && text[n-2:] == ".0" {
		text = text[:n-2]
	}
	return text + "\u202f%"
}

func signed(value float64) string {
	text := strconv.FormatFloat(math.Abs(value), 'f', 1, 64)
	switch {
	case text == "0.0":
		return "±0"
	case value < 0:
		return "−" + text
	}
	return "+" + text
}

// interval writes an interval of a rate.
func interval(v *metrics.Value) string {
	if v.Interval == nil {
		return ""
	}
	return percent(v.Interval[0]) + " – " + percent(v.Interval[1])
}
