// Package figures has the numbers that pages and reports show of a project: metrics of some days and of each of them, how
// numbers are written for people, and the pictures of them. What metrics mean is said in package metrics, and nowhere else.
package figures

import (
	"context"
	"math"
	"time"

	"github.com/openalign/align/collector/metrics"
)

const (
	// Day is how long a day is in UTC.
	Day = 24 * time.Hour
	// MaxDays is how many days a period can have.
	MaxDays = 400
)

// Period is some days, and what there was in all and on each.
type Period struct {
	From, To time.Time // whole days, half open
	Values   map[string]*metrics.Value
	Days     []map[string]*metrics.Value // nil for a day without conversations
}

// PeriodOf computes metrics of a scope, which is of at most [MaxDays] whole days.
func PeriodOf(ctx context.Context, engine *metrics.Engine, project string, scope metrics.Scope, names ...string) (*Period, error) {
	answer, err := engine.Get(ctx, project, metrics.Query{Scope: scope, Names: names, GroupBy: "day", MaxGroups: MaxDays})
	if err != nil {
		return nil, err
	}
	return PeriodFrom(scope, answer), nil
}

// PeriodFrom is the period of a scope of whole days, from what there is of it grouped by day.
func PeriodFrom(scope metrics.Scope, answer *metrics.Answer) *Period {
	p := &Period{From: scope.From, To: scope.To, Values: byName(answer.Values), Days: make([]map[string]*metrics.Value, int(scope.To.Sub(scope.From)/Day))}
	for i := range answer.Groups {
		at, err := time.Parse(time.DateOnly, answer.Groups[i].Value)
		if n := int(at.Sub(scope.From) / Day); err == nil && n >= 0 && n < len(p.Days) {
			p.Days[n] = byName(answer.Groups[i].Values)
		}
	}
	return p
}

func byName(values []metrics.Value) map[string]*metrics.Value {
	m := make(map[string]*metrics.Value, len(values))
	for i := range values {
		m[values[i].Name] = &values[i]
	}
	return m
}

// Series is a number of each day, NaN where there is none.
func (p *Period) Series(of func(map[string]*metrics.Value) float64) []float64 {
	list := make([]float64, len(p.Days))
	for i, day := range p.Days {
		list[i] = math.NaN()
		if day != nil {
			list[i] = of(day)
		}
	}
	return list
}

// Dates are the days.
func (p *Period) Dates() []time.Time {
	list := make([]time.Time, len(p.Days))
	for i := range list {
		list[i] = p.From.AddDate(0, 0, i)
	}
	return list
}

// Known is a value, NaN where it is unknown.
func Known(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}
