package dashboard

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/openalign/align/collector/internal/chart"
	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/metrics"
)

// How a project does: metrics of some days, beside those of as many days before.

const defaultDays = 30

type overviewPage struct {
	Range    days
	Figures  []figure
	Charts   []chart.Drawn
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
	today := now.UTC().Truncate(figures.Day)
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
	if days := int(scope.To.Sub(scope.From) / figures.Day); days < 1 || days > figures.MaxDays {
		return scope, shown, &refusal{http.StatusBadRequest, "What can be shown is 1 to " + strconv.Itoa(figures.MaxDays) + " days."}
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
	names := append([]string{figures.Conversations, figures.Users, figures.Messages, figures.Thumbs, figures.Feedback, figures.Latency}, figures.Outcomes...)
	var now, then *figures.Period
	reads, ctx := errgroup.WithContext(r.Context())
	reads.Go(func() (err error) {
		now, err = figures.PeriodOf(ctx, &d.metrics, v.Project, scope, names...)
		return err
	})
	reads.Go(func() (err error) {
		then, err = figures.PeriodOf(ctx, &d.metrics, v.Project, before(scope), names...)
		return err
	})
	if err := reads.Wait(); err != nil {
		return refused(err)
	}
	page := overviewPage{Range: shown, Behind: d.store.Stats().DigestsDue,
		Before: figures.ShortDay(then.From) + " – " + figures.ShortDay(then.To.AddDate(0, 0, -1)), Figures: figuresOf(v, now, then), Outcomes: outcomesOf(v, now, then)}
	if page.Charts, err = figures.Charts(now, then); err != nil {
		return err
	}
	for i, f := range now.Days {
		at := now.From.AddDate(0, 0, i)
		date := at.Format(time.DateOnly)
		row := dayRow{Day: at, Link: v.To("conversations", "from", date, "to", date), Sessions: "0", Users: "0", Messages: "0", Thumbs: "–", P50: "–", P95: "–", P99: "–"}
		if f != nil {
			row.Sessions, row.Users, row.Messages = figures.Whole(f[figures.Conversations].Numerator), figures.Whole(f[figures.Users].Numerator), figures.Whole(f[figures.Messages].Numerator)
			took, spread := metrics.Find(figures.Latency), f[figures.Latency].Distribution
			row.Thumbs, row.P50, row.P95, row.P99 = figures.Percent(figures.Known(f[figures.Thumbs].Value)), figures.Written(took, spread.P50), figures.Written(took, spread.P95), figures.Written(took, spread.P99)
		}
		page.Table = append(page.Table, row)
	}
	return d.show(w, "overview", v, &view{Title: "Overview", Here: "overview", Data: &page})
}

func figuresOf(v *visit, now, then *figures.Period) []figure {
	explain := func(name string) string { return explainAt(v, name, now) }
	plain := func(name, metric string) figure {
		d := metrics.Find(metric)
		return figure{Name: name, Value: figures.Written(d, now.Values[metric].Value), Change: figures.Change(d, now.Values[metric].Value, then.Values[metric].Value), Explain: explain(metric)}
	}
	list := []figure{plain("Sessions", figures.Conversations), plain("Users", figures.Users)}
	messages, messagesBefore := now.Values[figures.Messages].Numerator, then.Values[figures.Messages].Numerator
	list = append(list, figure{Name: "Messages", Value: figures.Whole(messages), Change: figures.Change(metrics.Find(figures.Messages), &messages, &messagesBefore), Explain: explain(figures.Messages)})
	thumbs := plain("Thumbs-up rate", figures.Thumbs)
	if thumbs.Note = "no votes"; now.Values[figures.Thumbs].Value != nil {
		thumbs.Note = "95\u202f%: " + figures.Interval(now.Values[figures.Thumbs]) + "; " + figures.Percent(figures.Known(now.Values[figures.Feedback].Value)) + " of answers rated"
	}
	took, here, before := metrics.Find(figures.Latency), now.Values[figures.Latency].Distribution, then.Values[figures.Latency].Distribution
	return append(list, thumbs,
		figure{Name: "Latency, median", Value: figures.Written(took, here.P50), Change: figures.Change(took, here.P50, before.P50), Note: "of " + figures.Count(here.N) + " answers", Explain: explain(figures.Latency)},
		figure{Name: "Latency, p95", Value: figures.Written(took, here.P95), Change: figures.Change(took, here.P95, before.P95), Note: "p99 " + figures.Written(took, here.P99), Explain: explain(figures.Latency)})
}

func outcomesOf(v *visit, now, then *figures.Period) (list []share) {
	for _, name := range figures.Outcomes {
		d, value := metrics.Find(name), now.Values[name]
		one := share{Name: d.Title, Of: figures.Whole(value.Numerator) + " of " + figures.Whole(value.Denominator), Share: figures.Written(d, value.Value),
			Change: figures.Change(d, value.Value, then.Values[name].Value), Width: "0", Explain: explainAt(v, name, now)}
		if value.Value != nil {
			one.Width = strconv.FormatFloat(100*min(1, max(0, *value.Value)), 'f', 1, 64)
		}
		list = append(list, one)
	}
	return list
}

// explainAt is the address of how a number came about.
func explainAt(v *visit, name string, p *figures.Period) string {
	return v.To("metric", "name", name, "from", p.From.Format(time.DateOnly), "to", p.To.AddDate(0, 0, -1).Format(time.DateOnly))
}
