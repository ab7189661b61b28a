package dashboard

import (
	"errors"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/openalign/align/collector/metrics"
)

// How a project does: metrics of some days, beside those of as many days before.

const (
	defaultDays = 30
	maxDays     = 400
)

// Metrics by name, as the overview shows them.
const (
	conversationsMetric = "total_conversations"
	usersMetric         = "active_users"
	messagesMetric      = "messages_per_session" // its numerator is how many there are
	thumbsMetric        = "thumbs_up_rate"
	feedbackMetric      = "feedback_rate"
	latencyMetric       = "response_latency"
)

// outcomeMetrics say what became of conversations.
var outcomeMetrics = []string{"bot_handled_rate", "confirmed_resolution_rate", "escalation_rate", "failed_escalation_rate", "abandonment_rate", "error_rate"}

type overviewPage struct {
	Range    days
	Figures  []figure
	Charts   []drawn
	Outcomes []share
	Table    []dayRow
	Before   string // the days before, for people
	Behind   int    // conversations whose changes are not counted yet
}

// days are those that an address asks for.
type days struct {
	From, Last time.Time // the last day is part of it
	Preset     int       // 7, 30 or 90 where they are those up to today; otherwise 0
	Page       string    // that shows them
}

// figure is a number and what it was before.
type figure struct {
	Name, Value, Note, Change string
	Explain                   string // address of how it came about
}

type drawn struct {
	Title  string
	SVG    template.HTML
	Legend []legend
}

type legend struct{ Class, Name string }

type share struct {
	Name          string
	Of            string
	Share, Change string
	Width         string // of a bar of 100
	Explain       string
}

type dayRow struct {
	Day                       time.Time
	Sessions, Users, Messages string
	Thumbs, P50, P95, P99     string
	Link                      string
}

// scopeOf reads the days that an address asks for.
func scopeOf(q url.Values, now time.Time) (scope metrics.Scope, shown days, err error) {
	today := now.UTC().Truncate(dayLength)
	if q.Get("from") == "" && q.Get("to") == "" {
		shown.Preset = defaultDays
		if wish, err := strconv.Atoi(q.Get("days")); err == nil && (wish == 7 || wish == 30 || wish == 90) {
			shown.Preset = wish
		}
		shown.From, shown.Last = today.AddDate(0, 0, 1-shown.Preset), today
	} else {
		if shown.From, err = day(q.Get("from")); err == nil {
			shown.Last, err = day(q.Get("to"))
		}
		if err != nil {
			return scope, shown, &refusal{http.StatusBadRequest, "A day is written like 2026-03-31."}
		}
		if shown.Last.IsZero() {
			shown.Last = today
		}
		if shown.From.IsZero() {
			shown.From = shown.Last.AddDate(0, 0, 1-defaultDays)
		}
	}
	scope.From, scope.To = shown.From, shown.Last.AddDate(0, 0, 1)
	if days := int(scope.To.Sub(scope.From) / dayLength); days < 1 || days > maxDays {
		return scope, shown, &refusal{http.StatusBadRequest, "What can be shown is 1 to " + strconv.Itoa(maxDays) + " days."}
	}
	return scope, shown, nil
}

// before is as many days before those of a scope.
func before(scope metrics.Scope) metrics.Scope {
	scope.From, scope.To = scope.From.Add(-scope.To.Sub(scope.From)), scope.From
	return scope
}

// refused makes of an error of metrics that is the reader's doing an answer that says so.
func refused(err error) error {
	if errors.Is(err, metrics.ErrInvalid) {
		return &refusal{http.StatusBadRequest, err.Error()}
	}
	return err
}

func (d *Dashboard) overview(w http.ResponseWriter, r *http.Request, v *visit) error {
	if v.Project == "" {
		http.Redirect(w, r, Path+"settings", http.StatusSeeOther)
		return nil
	}
	scope, shown, err := scopeOf(r.URL.Query(), time.Now())
	if err != nil {
		return err
	}
	names := append([]string{conversationsMetric, usersMetric, messagesMetric, thumbsMetric, feedbackMetric, latencyMetric}, outcomeMetrics...)
	var now, then *period
	reads, ctx := errgroup.WithContext(r.Context())
	reads.Go(func() (err error) { now, err = periodOf(ctx, &d.metrics, v.Project, scope, names...); return err })
	reads.Go(func() (err error) {
		then, err = periodOf(ctx, &d.metrics, v.Project, before(scope), names...)
		return err
	})
	if err := reads.Wait(); err != nil {
		return refused(err)
	}
	page := overviewPage{Range: shown, Behind: d.store.Stats().DigestsDue,
		Before: shortDay(then.From) + " – " + shortDay(then.To.AddDate(0, 0, -1)), Figures: figuresOf(v, now, then), Outcomes: outcomesOf(v, now, then)}
	if page.Charts, err = chartsOf(now, then); err != nil {
		return err
	}
	for i, f := range now.days {
		at := now.From.AddDate(0, 0, i)
		date := at.Format(time.DateOnly)
		row := dayRow{Day: at, Link: v.To("conversations", "from", date, "to", date), Sessions: "0", Users: "0", Messages: "0", Thumbs: "–", P50: "–", P95: "–", P99: "–"}
		if f != nil {
			row.Sessions, row.Users, row.Messages = whole(f[conversationsMetric].Numerator), whole(f[usersMetric].Numerator), whole(f[messagesMetric].Numerator)
			took, spread := metrics.Find(latencyMetric), f[latencyMetric].Distribution
			row.Thumbs, row.P50, row.P95, row.P99 = percent(known(f[thumbsMetric].Value)), written(took, spread.P50), written(took, spread.P95), written(took, spread.P99)
		}
		page.Table = append(page.Table, row)
	}
	return d.show(w, "overview", v, &view{Title: "Overview", Here: "overview", Data: &page})
}

func whole(n float64) string { return count(int(n)) }

func figuresOf(v *visit, now, then *period) []figure {
	explain := func(name string) string { return explainAt(v, name, now) }
	plain := func(name, metric string) figure {
		d := metrics.Find(metric)
		return figure{Name: name, Value: written(d, now.values[metric].Value), Change: change(d, now.values[metric].Value, then.values[metric].Value), Explain: explain(metric)}
	}
	list := []figure{plain("Sessions", conversationsMetric), plain("Users", usersMetric)}
	messages, messagesBefore := now.values[messagesMetric].Numerator, then.values[messagesMetric].Numerator
	list = append(list, figure{Name: "Messages", Value: whole(messages), Change: change(metrics.Find(messagesMetric), &messages, &messagesBefore), Explain: explain(messagesMetric)})
	thumbs := plain("Thumbs-up rate", thumbsMetric)
	if thumbs.Note = "no votes"; now.values[thumbsMetric].Value != nil {
		thumbs.Note = "95\u202f%: " + interval(now.values[thumbsMetric]) + "; " + percent(known(now.values[feedbackMetric].Value)) + " of answers rated"
	}
	took, here, before := metrics.Find(latencyMetric), now.values[latencyMetric].Distribution, then.values[latencyMetric].Distribution
	return append(list, thumbs,
		figure{Name: "Latency, median", Value: written(took, here.P50), Change: change(took, here.P50, before.P50), Note: "of " + count(here.N) + " answers", Explain: explain(latencyMetric)},
		figure{Name: "Latency, p95", Value: written(took, here.P95), Change: change(took, here.P95, before.P95), Note: "p99 " + written(took, here.P99), Explain: explain(latencyMetric)})
}

func chartsOf(now, then *period) (list []drawn, err error) {
	type day = map[string]*metrics.Value
	sessions := func(f day) float64 { return f[conversationsMetric].Numerator }
	users := func(f day) float64 { return f[usersMetric].Numerator }
	messages := func(f day) float64 { return f[messagesMetric].Numerator }
	up := func(f day) float64 { return known(f[thumbsMetric].Value) }
	side := func(i int) func(day) float64 {
		return func(f day) float64 {
			if f[thumbsMetric].Interval == nil {
				return math.NaN()
			}
			return f[thumbsMetric].Interval[i]
		}
	}
	took := func(of func(*metrics.Spread) *float64) func(day) float64 {
		return func(f day) float64 { return known(of(f[latencyMetric].Distribution)) / 1000 }
	}
	for _, c := range []chart{
		{Title: "Sessions and users", series: []series{
			{Name: "sessions", Class: "s1", bars: true, values: now.series(sessions)},
			{Name: "users", Class: "s2", values: zeros(now.series(users))},
			{Name: "sessions before", Class: "before", values: zeros(then.series(sessions))}}},
		{Title: "Messages", series: []series{
			{Name: "messages", Class: "s1", bars: true, values: now.series(messages)},
			{Name: "before", Class: "before", values: zeros(then.series(messages))}}},
		{Title: "Thumbs-up rate", top: 1, unit: percent, series: []series{
			{Name: "rate", Class: "s2", values: now.series(up), low: now.series(side(0)), high: now.series(side(1))},
			{Name: "before", Class: "before", values: then.series(up)}}},
		{Title: "Latency of answers", unit: func(s float64) string { return shortNumber(math.Round(s*100)/100) + " s" }, series: []series{
			{Name: "p99", Class: "s4", values: now.series(took(func(s *metrics.Spread) *float64 { return s.P99 }))},
			{Name: "p95", Class: "s3", values: now.series(took(func(s *metrics.Spread) *float64 { return s.P95 }))},
			{Name: "median", Class: "s1", values: now.series(took(func(s *metrics.Spread) *float64 { return s.P50 }))}}},
	} {
		c.days = now.dates()
		one, err := c.draw()
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

func outcomesOf(v *visit, now, then *period) (list []share) {
	for _, name := range outcomeMetrics {
		d, value := metrics.Find(name), now.values[name]
		one := share{Name: d.Title, Of: whole(value.Numerator) + " of " + whole(value.Denominator), Share: written(d, value.Value),
			Change: change(d, value.Value, then.values[name].Value), Width: "0", Explain: explainAt(v, name, now)}
		if value.Value != nil {
			one.Width = strconv.FormatFloat(100*min(1, max(0, *value.Value)), 'f', 1, 64)
		}
		list = append(list, one)
	}
	return list
}

// explainAt is the address of how a number came about.
func explainAt(v *visit, name string, p *period) string {
	return v.To("metric", "name", name, "from", p.From.Format(time.DateOnly), "to", p.To.AddDate(0, 0, -1).Format(time.DateOnly))
}

// shortDay writes a day without its year.
func shortDay(t time.Time) string { return t.UTC().Format("2 Jan") }
