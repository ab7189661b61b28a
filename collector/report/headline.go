package report

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/metrics"
)

// The figures at the top, and what became of conversations, each against the period before.

// outcomeMetrics say what became of conversations.
var outcomeMetrics = []string{"containment_rate", "confirmed_resolution_rate", "bot_handled_rate", "escalation_rate", "failed_escalation_rate", "abandonment_rate",
	"error_rate", "messages_understood_rate"}

// shownMetrics are all metrics of a report, in the order of their definitions.
func shownMetrics() (names []string) {
	shown := map[string]bool{figures.Conversations: true, figures.Users: true, figures.Messages: true, figures.Thumbs: true, figures.Feedback: true,
		figures.Latency: true, "total_cost": true, "cost_per_session": true, "recorded_status_share": true, "detected_share": true}
	for _, name := range append(movedRates, outcomeMetrics...) {
		shown[name] = true
	}
	for i := range metrics.Definitions {
		if name := metrics.Definitions[i].Name; shown[name] {
			names = append(names, name)
		}
	}
	return names
}

// Figure is a number, what it was before, and what can be said of the change.
type Figure struct {
	Metric string
	Name   string
	Value  string
	Was    string
	Detail string // what it is of
	Change string // empty where it is not known
	Range  string // the 95 % interval of the change, in the unit that it says; empty for none
	Tone   Tone
	Share  float64 // of outcomes; NaN is unknown
	Difference
}

// Tone says whether a change beyond noise is for the better.
type Tone string

const (
	Better  Tone = "better"
	Worse   Tone = "worse"
	Neutral Tone = ""
)

// directions are metrics of which more is better, 1, or worse, -1. Of others neither is.
var directions = map[string]float64{figures.Thumbs: 1, figures.Latency: -1, "cost_per_session": -1, "containment_rate": 1, "confirmed_resolution_rate": 1,
	"bot_handled_rate": 1, "failed_escalation_rate": -1, "abandonment_rate": -1, "error_rate": -1, "messages_understood_rate": 1}

func toneOf(metric string, d Difference) Tone {
	way := directions[metric]
	switch {
	case d.Verdict != Beyond || way == 0:
		return Neutral
	case way*d.Low > 0:
		return Better
	}
	return Worse
}

// rangeOf writes an interval of differences.
func rangeOf(d Difference, scale float64, unit string) string {
	if math.IsNaN(d.Low) {
		return ""
	}
	return figures.Signed(scale*d.Low) + " to " + figures.Signed(scale*d.High) + unit
}

func (m *maker) headline(context.Context) error {
	r := &m.report
	r.Headline = append(r.Headline,
		m.count("Sessions", figures.Conversations),
		m.count("Users", figures.Users),
		m.count("Messages", figures.Messages),
		m.share("Thumbs-up rate", figures.Thumbs))
	took := metrics.Find(figures.Latency)
	now, before := r.now.Values[figures.Latency].Distribution, r.then.Values[figures.Latency].Distribution
	for _, p := range []struct {
		name        string
		percent     int
		now, before *float64
	}{{"Latency, median", 50, now.P50, before.P50}, {"Latency, p95", 95, now.P95, before.P95}, {"Latency, p99", 99, now.P99, before.P99}} {
		f := Figure{Metric: took.Name, Name: p.name, Value: figures.Written(took, p.now), Was: figures.Written(took, p.before), Change: figures.Change(took, p.now, p.before),
			Detail: "of " + figures.Count(now.N) + " answers", Difference: unjudged, Share: math.NaN()}
		if p.now != nil && p.before != nil {
			f.Difference = differAt(p.percent, m.then.samples, m.now.samples)
			if !math.IsNaN(f.Low) {
				f.Range = signedDuration(f.Low) + " to " + signedDuration(f.High)
			}
		}
		f.Tone = toneOf(took.Name, f.Difference)
		r.Headline = append(r.Headline, f)
	}
	if r.now.Values["cost_per_session"].Denominator > 0 {
		r.Headline = append(r.Headline, m.cost("Cost", "total_cost"), m.cost("Cost a session", "cost_per_session"))
	}
	for _, name := range outcomeMetrics {
		r.Outcomes = append(r.Outcomes, m.share(metrics.Find(name).Title, name))
	}
	m.step()
	return nil
}

// count is a figure that is counted: the numerator of a metric. Whether its change is noise is said by the days.
func (m *maker) count(name, metric string) Figure {
	now, before := m.now.period.Values[metric].Numerator, m.then.period.Values[metric].Numerator
	f := Figure{Metric: metric, Name: name, Value: figures.Whole(now), Was: figures.Whole(before), Share: math.NaN()}
	if before != 0 {
		f.Change = figures.Growth(now, before)
	}
	on := func(day map[string]*metrics.Value) float64 { return day[metric].Numerator }
	days := byDay(m.now.period, 0, on)
	f.Difference = differByDay(byDay(m.then.period, 0, on), days)
	sum := 0.0
	for _, n := range days {
		sum += n
	}
	f.Detail = figures.Whole(math.Round(sum/float64(len(days)))) + " a day"
	f.Range = rangeOf(f.Difference, 1, " a day")
	f.Tone = toneOf(metric, f.Difference)
	return f
}

// cost is a figure in US dollars.
func (m *maker) cost(name, metric string) Figure {
	d := metrics.Find(metric)
	now, before := m.now.period.Values[metric], m.then.period.Values[metric]
	f := Figure{Metric: metric, Name: name, Value: dollars(now.Value), Was: "–", Share: math.NaN(), Difference: unjudged,
		Detail: "told of " + figures.Whole(m.now.period.Values["cost_per_session"].Denominator) + " sessions"}
	if m.then.period.Values["cost_per_session"].Denominator > 0 {
		f.Was, f.Change = dollars(before.Value), figures.Change(d, now.Value, before.Value)
		zero := math.NaN()
		if d.Kind == metrics.Count {
			zero = 0
		}
		on := func(day map[string]*metrics.Value) float64 { return figures.Known(day[metric].Value) }
		f.Difference = differByDay(byDay(m.then.period, zero, on), byDay(m.now.period, zero, on))
	}
	if !math.IsNaN(f.Low) {
		f.Range = signedDollars(f.Low) + " to " + signedDollars(f.High)
		if d.Kind == metrics.Count {
			f.Range += " a day"
		}
	}
	f.Tone = toneOf(metric, f.Difference)
	return f
}

// share is a figure that is a rate.
func (m *maker) share(name, metric string) Figure {
	d := metrics.Find(metric)
	now, before := m.now.period.Values[metric], m.then.period.Values[metric]
	f := Figure{Metric: metric, Name: name, Value: figures.Written(d, now.Value), Was: figures.Written(d, before.Value), Change: figures.Change(d, now.Value, before.Value),
		Detail: figures.Whole(now.Numerator) + " of " + figures.Whole(now.Denominator), Share: figures.Known(now.Value), Difference: differ(normal95, before, now)}
	if now.Interval != nil {
		f.Detail = "95\u202f%: " + figures.Interval(now) + "; n = " + figures.Whole(now.Denominator)
	}
	f.Range = rangeOf(f.Difference, 100, " points")
	f.Tone = toneOf(metric, f.Difference)
	return f
}

// Short are the figures that moved beyond noise.
func (r *Report) Short() (list []Figure) {
	for _, figures := range [][]Figure{r.Headline, r.Outcomes} {
		for _, f := range figures {
			if f.Verdict == Beyond && f.Change != "" {
				list = append(list, f)
			}
		}
	}
	return list
}

// signedDuration writes a difference of milliseconds.
func signedDuration(ms float64) string {
	sign := "+"
	if ms < 0 {
		sign = "−"
	}
	return sign + figures.Duration(time.Duration(math.Abs(ms)*float64(time.Millisecond)))
}

// dollars writes an amount with as many digits as it takes to see it.
func dollars(v *float64) string {
	if v == nil {
		return "–"
	}
	return strings.TrimPrefix(signedDollars(*v), "+")
}

func signedDollars(v float64) string {
	sign := "+"
	if v < 0 {
		sign = "−"
	}
	digits := 2
	if v := math.Abs(v); v > 0 && v < 1 {
		digits = min(6, 1-int(math.Floor(math.Log10(v))))
	}
	return sign + "$" + formatFloat(math.Abs(v), digits)
}
