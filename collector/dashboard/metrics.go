package dashboard

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/openalign/align/collector/internal/chart"
	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/metrics"
)

// All metrics, and how each number came about.

const (
	maxGroups = 50
	maxSides  = 20
)

type metricsPage struct {
	Range  days
	Filter metricFilter
	Rows   []metricRow
	Behind int
}

// metricFilter is a condition on what conversations are grouped by.
type metricFilter struct {
	Dimension, Value string
	Dimensions       []string
}

type metricRow struct {
	Name, Title, Unit, Formula string
	Value, Note, Change        string
	Explain                    string
}

func filterScope(scope *metrics.Scope, q url.Values) metricFilter {
	f := metricFilter{Dimension: q.Get("where"), Value: q.Get("is"), Dimensions: metrics.Dimensions()}
	if f.Dimension != "" {
		scope.Filters = []metrics.Filter{{Dimension: f.Dimension, Value: f.Value}}
	}
	return f
}

func (d *Dashboard) metricsPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	scope, shown, err := scopeOf(r.URL.Query(), time.Now())
	if err != nil {
		return err
	}
	page := metricsPage{Range: shown, Filter: filterScope(&scope, r.URL.Query()), Behind: d.store.Stats().DigestsDue}
	page.Range.Page = "metrics"
	answer, err := d.metrics.Get(r.Context(), v.Project, metrics.Query{Scope: scope, Compare: true})
	if err != nil {
		return refused(err)
	}
	for i := range answer.Values {
		page.Rows = append(page.Rows, rowOf(v, &answer.Values[i]))
	}
	return d.show(w, "metrics", v, &view{Title: "Metrics", Here: "metrics", Data: &page})
}

func rowOf(v *visit, value *metrics.Value) metricRow {
	d := metrics.Find(value.Name)
	return metricRow{Name: d.Name, Title: d.Title, Unit: d.Unit, Formula: d.Formula, Value: figures.Written(d, value.Value), Note: noteOf(d, value),
		Change: figures.Change(d, value.Value, value.Before), Explain: v.With("name", d.Name)}
}

// noteOf says what stands behind a number.
func noteOf(d *metrics.Definition, v *metrics.Value) string {
	switch {
	case v.Distribution != nil && v.Distribution.N > 0:
		return "p95 " + figures.Written(d, v.Distribution.P95) + ", p99 " + figures.Written(d, v.Distribution.P99) + ", n = " + figures.Count(v.Distribution.N)
	case v.Interval != nil:
		return figures.Interval(v) + " (95\u202f%), n = " + figures.Whole(v.Denominator)
	case d.Kind == metrics.Rate:
		return numberOf(v.Numerator) + " of " + numberOf(v.Denominator)
	}
	return ""
}

// numberOf writes a number that need not be whole.
func numberOf(value float64) string {
	if value == math.Trunc(value) && math.Abs(value) < 1e15 {
		return figures.Count(int(value))
	}
	return strconv.FormatFloat(value, 'f', 2, 64)
}

type metricPage struct {
	Range      days
	Filter     metricFilter
	Definition *metrics.Definition
	Row        metricRow
	Numerator  string
	Of         string // denominator
	BySQL      string
	Agree      bool
	SQL        string
	Parameters []field
	LeftOut    []metrics.LeftOut
	Has, Lacks []string // conversations, some of them
	HasCount   int
	LacksCount int
	Proof      *metrics.Proof
	ProofValue string

	By     string
	Groups []groupRow
	Others int
	Chart  *chart.Drawn
}

type groupRow struct {
	Name  string
	Other bool
	Count int
	Value string
	Note  string
}

// metric explains one number.
func (d *Dashboard) metric(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	scope, shown, err := scopeOf(q, time.Now())
	if err != nil {
		return err
	}
	page := metricPage{Range: shown, Filter: filterScope(&scope, q), By: q.Get("by")}
	page.Range.Page = "metric"
	name := q.Get("name")
	if metrics.Find(name) == nil {
		return &refusal{http.StatusNotFound, "There is no metric of that name."}
	}
	x, err := d.metrics.Explain(r.Context(), v.Project, name, scope, maxSides, 0)
	if err != nil {
		return refused(err)
	}
	page.Definition = x.Definition
	page.Row = rowOf(v, &x.Value)
	page.Numerator, page.Of, page.BySQL = numberOf(x.Value.Numerator), numberOf(x.Value.Denominator), figures.Written(x.Definition, x.BySQL.Value)
	page.Agree = page.BySQL == page.Row.Value && x.Value.Numerator == x.BySQL.Numerator && x.Value.Denominator == x.BySQL.Denominator
	page.SQL, page.LeftOut, page.Proof = x.SQL, x.LeftOut, x.Export
	for _, name := range slices.Sorted(maps.Keys(x.Parameters)) {
		page.Parameters = append(page.Parameters, field{":" + name, fmt.Sprint(x.Parameters[name])})
	}
	page.Has, page.Lacks, page.HasCount, page.LacksCount = x.Numerator, x.Denominator, x.NumeratorCount, x.DenominatorCount
	if x.Export != nil {
		page.ProofValue = figures.Written(x.Definition, x.Export.Value.Value)
	}
	if page.By == "" {
		page.By = "day"
	}
	groups, err := d.metrics.Get(r.Context(), v.Project, metrics.Query{Scope: scope, Names: []string{name}, GroupBy: page.By, MaxGroups: max(maxGroups, int(scope.To.Sub(scope.From)/figures.Day))})
	if err != nil {
		return refused(err)
	}
	page.Others = groups.OtherGroups
	for i := range groups.Groups {
		g := &groups.Groups[i]
		label, _ := cutEscaped(g.Value, 200)
		page.Groups = append(page.Groups, groupRow{label, g.Other, g.Conversations, figures.Written(x.Definition, g.Values[0].Value), noteOf(x.Definition, &g.Values[0])})
	}
	if page.By == "day" {
		if page.Chart, err = chartOf(x.Definition, scope, groups); err != nil {
			return err
		}
	}
	return d.show(w, "metric", v, &view{Title: x.Definition.Title, Here: "metrics", Data: &page})
}

// chartOf draws a metric by day.
func chartOf(d *metrics.Definition, scope metrics.Scope, answer *metrics.Answer) (*chart.Drawn, error) {
	p := figures.PeriodFrom(scope, answer)
	values := p.Series(func(f map[string]*metrics.Value) float64 { return figures.Known(f[d.Name].Value) })
	c := chart.Chart{Title: d.Title, Days: p.Dates()}
	one := chart.Series{Name: d.Title, Class: "s1", Values: values}
	switch {
	case d.Kind == metrics.Count:
		one.Bars = true
	case d.Kind == metrics.Rate && d.Name != "net_thumbs":
		c.Top, c.Unit = 1, figures.Percent
	}
	if d.Unit == "ms" {
		c.Unit = func(ms float64) string { return figures.Duration(time.Duration(ms * float64(time.Millisecond))) }
	}
	if d.Interval {
		side := func(i int) []float64 {
			return p.Series(func(f map[string]*metrics.Value) float64 {
				if f[d.Name].Interval == nil {
					return math.NaN()
				}
				return f[d.Name].Interval[i]
			})
		}
		one.Low, one.High = side(0), side(1)
	}
	for _, value := range values {
		if value < 0 {
			return nil, nil // our charts begin at 0
		}
	}
	if d.Kind != metrics.Count && d.Kind != metrics.Rate && c.Unit == nil {
		c.Unit = chart.ShortNumber
	}
	c.Series = []chart.Series{one}
	drawn, err := c.Draw()
	return &drawn, err
}
