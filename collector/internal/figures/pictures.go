package figures

import (
	"math"

	"github.com/openalign/align/collector/internal/chart"
	"github.com/openalign/align/collector/metrics"
)

// Metrics by name, as an overview shows them.
const (
	Conversations = "total_conversations"
	Users         = "active_users"
	Messages      = "messages_per_session" // its numerator is how many there are
	Thumbs        = "thumbs_up_rate"
	Feedback      = "feedback_rate"
	Latency       = "response_latency"
)

// Outcomes say what became of conversations.
var Outcomes = []string{"bot_handled_rate", "confirmed_resolution_rate", "escalation_rate", "failed_escalation_rate", "abandonment_rate", "error_rate"}

// Charts draws a period, with the one before it: sessions and users, messages, thumbs and latency, as they were on each day.
// Their metrics are Conversations, Users, Messages, Thumbs and Latency.
func Charts(now, then *Period) (list []chart.Drawn, err error) {
	type day = map[string]*metrics.Value
	sessions := func(f day) float64 { return f[Conversations].Numerator }
	users := func(f day) float64 { return f[Users].Numerator }
	messages := func(f day) float64 { return f[Messages].Numerator }
	up := func(f day) float64 { return Known(f[Thumbs].Value) }
	side := func(i int) func(day) float64 {
		return func(f day) float64 {
			if f[Thumbs].Interval == nil {
				return math.NaN()
			}
			return f[Thumbs].Interval[i]
		}
	}
	took := func(of func(*metrics.Spread) *float64) func(day) float64 {
		return func(f day) float64 { return Known(of(f[Latency].Distribution)) / 1000 }
	}
	for _, c := range []chart.Chart{
		{Title: "Sessions and users", Series: []chart.Series{
			{Name: "sessions", Class: "s1", Bars: true, Values: now.Series(sessions)},
			{Name: "users", Class: "s2", Values: zeros(now.Series(users))},
			{Name: "sessions before", Class: "before", Values: zeros(then.Series(sessions))}}},
		{Title: "Messages", Series: []chart.Series{
			{Name: "messages", Class: "s1", Bars: true, Values: now.Series(messages)},
			{Name: "before", Class: "before", Values: zeros(then.Series(messages))}}},
		{Title: "Thumbs-up rate", Top: 1, Unit: Percent, Series: []chart.Series{
			{Name: "rate", Class: "s2", Values: now.Series(up), Low: now.Series(side(0)), High: now.Series(side(1))},
			{Name: "before", Class: "before", Values: then.Series(up)}}},
		{Title: "Latency of answers", Unit: func(s float64) string { return chart.ShortNumber(math.Round(s*100)/100) + " s" }, Series: []chart.Series{
			{Name: "p99", Class: "s4", Values: now.Series(took(func(s *metrics.Spread) *float64 { return s.P99 }))},
			{Name: "p95", Class: "s3", Values: now.Series(took(func(s *metrics.Spread) *float64 { return s.P95 }))},
			{Name: "median", Class: "s1", Values: now.Series(took(func(s *metrics.Spread) *float64 { return s.P50 }))}}},
	} {
		c.Days = now.Dates()
		one, err := c.Draw()
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// zeros puts 0 for days without conversations, on which nothing was counted.
func zeros(values []float64) []float64 {
	for i := range values {
		if math.IsNaN(values[i]) {
			values[i] = 0
		}
	}
	return values
}
