package dashboard

import (
	"html/template"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/openalign/align/collector/outcome"
)

// How a project does: figures of some days, beside those of as many days before.

const (
	defaultDays = 30
	maxDays     = 400
)

type overviewPage struct {
	From, To time.Time // the last day is part of it
	Days     int
	Preset   int // 7, 30 or 90 where the days are those up to today; otherwise 0
	Figures  []figure
	Charts   []drawn
	Outcomes []share
	Table    []dayRow
	Before   string // the days before, for people
	Behind   int    // conversations whose changes are not counted yet
}

// figure is a number and what it was before.
type figure struct {
	Name, Value, Note, Change string
	Link                      string // what is counted; empty where there is no list of it
}

type drawn struct {
	Title  string
	SVG    template.HTML
	Legend []legend
}

type legend struct{ Class, Name string }

type share struct {
	Name          string
	Count         int
	Share, Change string
	Width         string // of a bar of 100
}

type dayRow struct {
	Day                       time.Time
	Sessions, Users, Messages int
	Thumbs, P50, P95, P99     string
	Link                      string
}

// rangeOf reads the days that an address asks for.
func rangeOf(q url.Values, now time.Time) (from, to time.Time, preset int, err error) {
	today := now.UTC().Truncate(dayLength)
	if q.Get("from") == "" && q.Get("to") == "" {
		preset = defaultDays
		if wish, err := strconv.Atoi(q.Get("days")); err == nil && (wish == 7 || wish == 30 || wish == 90) {
			preset = wish
		}
		return today.AddDate(0, 0, 1-preset), today.AddDate(0, 0, 1), preset, nil
	}
	if from, err = day(q.Get("from")); err == nil {
		to, err = day(q.Get("to"))
	}
	if err != nil {
		return from, to, 0, &refusal{http.StatusBadRequest, "A day is written like 2026-03-31."}
	}
	if to.IsZero() {
		to = today
	}
	if from.IsZero() {
		from = to.AddDate(0, 0, 1-defaultDays)
	}
	to = to.AddDate(0, 0, 1)
	if days := int(to.Sub(from) / dayLength); days < 1 || days > maxDays {
		return from, to, 0, &refusal{http.StatusBadRequest, "The overview shows 1 to " + strconv.Itoa(maxDays) + " days."}
	}
	return from, to, 0, nil
}

func (d *Dashboard) overview(w http.ResponseWriter, r *http.Request, v *visit) error {
	if v.Project == "" {
		http.Redirect(w, r, Path+"settings", http.StatusSeeOther)
		return nil
	}
	from, to, preset, err := rangeOf(r.URL.Query(), time.Now())
	if err != nil {
		return err
	}
	days := int(to.Sub(from) / dayLength)
	var now, before *period
	reads, ctx := errgroup.WithContext(r.Context())
	reads.Go(func() (err error) { now, err = figuresOf(ctx, d.store, v.Project, from, to); return err })
	reads.Go(func() (err error) {
		before, err = figuresOf(ctx, d.store, v.Project, from.AddDate(0, 0, -days), from)
		return err
	})
	if err := reads.Wait(); err != nil {
		return err
	}
	page := overviewPage{From: from, To: to.AddDate(0, 0, -1), Days: days, Preset: preset, Behind: d.store.Stats().DigestsDue,
		Before: shortDay(before.From) + " – " + shortDay(before.To.AddDate(0, 0, -1))}
	page.Figures = figuresBeside(v, now, before)
	if page.Charts, err = chartsOf(now, before); err != nil {
		return err
	}
	page.Outcomes = outcomesOf(now, before)
	for i := range now.Days {
		f := &now.Days[i]
		at := from.AddDate(0, 0, i)
		date := at.Format(time.DateOnly)
		row := dayRow{Day: at, Sessions: f.Sessions, Users: f.Users, Messages: f.Messages, Thumbs: percent(f.thumbs().Value()),
			Link: v.To("conversations", "from", date, "to", date)}
		row.P50, row.P95, row.P99 = latency(f.Latency, f.Latency.P50), latency(f.Latency, f.Latency.P95), latency(f.Latency, f.Latency.P99)
		page.Table = append(page.Table, row)
	}
	return d.show(w, "overview", v, &view{Title: "Overview", Here: "overview", Data: &page})
}

func figuresBeside(v *visit, now, before *period) []figure {
	from, to := now.From.Format(time.DateOnly), now.To.AddDate(0, 0, -1).Format(time.DateOnly)
	up := now.thumbs()
	low, high := up.Interval()
	note := "no votes"
	if up.Denominator > 0 {
		note = "95\u202f%: " + percent(low) + " – " + percent(high) + "; " + percent(ratio{now.Rated, now.Answers}.Value()) + " of answers rated"
	}
	return []figure{
		{Name: "Sessions", Value: count(now.Sessions), Change: change(now.Sessions, before.Sessions), Link: v.To("conversations", "from", from, "to", to)},
		{Name: "Users", Value: count(now.Users), Change: change(now.Users, before.Users)},
		{Name: "Messages", Value: count(now.Messages), Change: change(now.Messages, before.Messages)},
		{Name: "Thumbs-up rate", Value: percent(up.Value()), Note: note, Change: points(up, before.thumbs())},
		{Name: "Latency, median", Value: latency(now.Latency, now.Latency.P50), Change: slower(now.Latency, before.Latency, now.Latency.P50, before.Latency.P50)},
		{Name: "Latency, p95", Value: latency(now.Latency, now.Latency.P95), Note: "p99 " + latency(now.Latency, now.Latency.P99),
			Change: slower(now.Latency, before.Latency, now.Latency.P95, before.Latency.P95)},
	}
}

func chartsOf(now, before *period) (list []drawn, err error) {
	days := make([]time.Time, len(now.Days))
	values := func(p *period, of func(*figures) float64) []float64 {
		list := make([]float64, len(p.Days))
		for i := range p.Days {
			list[i] = of(&p.Days[i])
		}
		return list
	}
	for i := range days {
		days[i] = now.From.AddDate(0, 0, i)
	}
	sessions := func(f *figures) float64 { return float64(f.Sessions) }
	users := func(f *figures) float64 { return float64(f.Users) }
	messages := func(f *figures) float64 { return float64(f.Messages) }
	up := func(f *figures) float64 { return f.thumbs().Value() }
	low := func(f *figures) float64 { low, _ := f.thumbs().Interval(); return low }
	high := func(f *figures) float64 { _, high := f.thumbs().Interval(); return high }
	took := func(of func(percentiles) int64) func(*figures) float64 {
		return func(f *figures) float64 {
			if f.Latency.N == 0 {
				return math.NaN()
			}
			return float64(of(f.Latency)) / 1000
		}
	}
	for _, c := range []chart{
		{Title: "Sessions and users", series: []series{
			{Name: "sessions", Class: "s1", bars: true, values: values(now, sessions)},
			{Name: "users", Class: "s2", values: values(now, users)},
			{Name: "sessions before", Class: "before", values: values(before, sessions)}}},
		{Title: "Messages", series: []series{
			{Name: "messages", Class: "s1", bars: true, values: values(now, messages)},
			{Name: "before", Class: "before", values: values(before, messages)}}},
		{Title: "Thumbs-up rate", top: 1, unit: percent, series: []series{
			{Name: "rate", Class: "s2", values: values(now, up), low: values(now, low), high: values(now, high)},
			{Name: "before", Class: "before", values: values(before, up)}}},
		{Title: "Latency of answers", unit: func(s float64) string { return shortNumber(math.Round(s*100)/100) + " s" }, series: []series{
			{Name: "p99", Class: "s4", values: values(now, took(func(p percentiles) int64 { return p.P99 }))},
			{Name: "p95", Class: "s3", values: values(now, took(func(p percentiles) int64 { return p.P95 }))},
			{Name: "median", Class: "s1", values: values(now, took(func(p percentiles) int64 { return p.P50 }))}}},
	} {
		c.days = days
		one := drawn{Title: c.Title}
		if one.SVG, err = c.SVG(); err != nil {
			return nil, err
		}
		for i := range c.series {
			one.Legend = append(one.Legend, legend{c.series[i].Class, c.series[i].Name})
			if c.series[i].low != nil {
				one.Legend = append(one.Legend, legend{"band", "95 % interval"})
			}
		}
		list = append(list, one)
	}
	return list, nil
}

func outcomesOf(now, before *period) (list []share) {
	for i, status := range outcome.Statuses {
		if now.Statuses[i]+before.Statuses[i] == 0 {
			continue
		}
		here, then := ratio{now.Statuses[i], now.Sessions}, ratio{before.Statuses[i], before.Sessions}
		one := share{Name: words(string(status)), Count: now.Statuses[i], Share: percent(here.Value()), Change: points(here, then), Width: "0"}
		if now.Sessions > 0 {
			one.Width = strconv.FormatFloat(100*here.Value(), 'f', 1, 64)
		}
		list = append(list, one)
	}
	return list
}

// shortDay writes a day without its year.
func shortDay(t time.Time) string { return t.UTC().Format("2 Jan") }

// percent writes a rate, and a dash where there is none.
func percent(value float64) string {
	if math.IsNaN(value) {
		return "–"
	}
	text := strconv.FormatFloat(100*value, 'f', 1, 64)
	if len(text) > 2 && text[len(text)-2:] == ".0" {
		text = text[:len(text)-2]
	}
	return text + "\u202f%"
}

// latency writes a percentile, and a dash where there were no answers.
func latency(of percentiles, ms int64) string {
	if of.N == 0 {
		return "–"
	}
	return shortDuration(time.Duration(ms) * time.Millisecond)
}

// change says how a count differs from the one before, in percent.
func change(now, before int) string {
	if before == 0 {
		return ""
	}
	return signed(100*(float64(now)/float64(before)-1)) + "\u202f%"
}

// points says how a rate differs from the one before, in percentage points.
func points(now, before ratio) string {
	if now.Denominator == 0 || before.Denominator == 0 {
		return ""
	}
	return signed(100*(now.Value()-before.Value())) + " points"
}

// slower says how a latency differs from the one before, in percent.
func slower(now, before percentiles, ms, msBefore int64) string {
	if now.N == 0 || before.N == 0 || msBefore == 0 {
		return ""
	}
	return signed(100*(float64(ms)/float64(msBefore)-1)) + "\u202f%"
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
