package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/openalign/align/collector/internal/chart"
	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/internal/texts"
	"github.com/openalign/align/collector/metrics"
)

// HTML in one file: styles and pictures are in it, there is no script, and its own policy lets a browser load nothing.

//go:embed report.css
var style string

//go:embed report.html
var pageText string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"css":        func() template.CSS { return template.CSS(style) },
	"policy":     func() string { return policy },
	"rfc":        func(t time.Time) string { return t.Format(time.RFC3339) },
	"moment":     func(t time.Time) string { return t.Format("Mon 2 Jan 2006, 15:04") },
	"count":      figures.Count,
	"rule":       func() string { return Rule },
	"moversRule": func() string { return MoversRule },
	"width":      width,
	"points":     func(share float64) string { return figures.Signed(100*share) + " points" },
	"class":      func(v Verdict) string { return strings.ReplaceAll(string(v), " ", "-") },
	"rate":       func(v *metrics.Value) string { return rate(v) },
	"of":         counts,
	"share":      percent,
	"bounded":    bounded,
	"sentence":   sentence,
}).Parse(pageText))

// policy lets a page have the style that is in it, and nothing else.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; base-uri 'none'; form-action 'none'"
}()

// width is a share of a bar of 100.
func width(share float64) string {
	if math.IsNaN(share) {
		return "0"
	}
	return strconv.FormatFloat(100*min(1, max(0, share)), 'f', 1, 64)
}

// rate writes a rate with what it is of, or a dash for none.
func rate(v *metrics.Value) string {
	if v == nil || v.Value == nil {
		return "–"
	}
	return figures.Percent(*v.Value)
}

func counts(v *metrics.Value) string {
	if v == nil {
		return "none"
	}
	return figures.Whole(v.Numerator) + " of " + figures.Whole(v.Denominator)
}

func percent(share float64) string { return figures.Percent(share) }

// bounded is a name that others gave, cut to what fits a table.
func bounded(name string) string { return texts.Brief(name, 120) }

// sentence begins with a capital letter.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// Title names the report.
func (r *Report) Title() string { return bounded(r.Project) + ", " + r.Days() }

// Days are the days of the report, for people.
func (r *Report) Days() string { return daysOf(r.From, r.To) }

// DaysBefore are those of the period before.
func (r *Report) DaysBefore() string { return daysOf(r.Before, r.From) }

func daysOf(from, to time.Time) string {
	last := to.AddDate(0, 0, -1)
	switch {
	case from.Equal(last):
		return last.Format("2 January 2006")
	case from.Year() != last.Year():
		return from.Format("2 January 2006") + " – " + last.Format("2 January 2006")
	case from.Month() != last.Month():
		return from.Format("2 January") + " – " + last.Format("2 January 2006")
	}
	return from.Format("2") + " – " + last.Format("2 January 2006")
}

// Count is how many days the report has.
func (r *Report) Count() int { return int(r.To.Sub(r.From) / figures.Day) }

// Charts are the pictures.
func (r *Report) Charts() []chart.Drawn { return r.charts }

// Day is the numbers of one day, for people.
type Day struct {
	Day                             time.Time
	Sessions, Users, Messages       string
	Thumbs, Votes, Median, P95, P99 string
}

// Table has a row for each day.
func (r *Report) Table() (rows []Day) {
	took := metrics.Find(figures.Latency)
	for i, f := range r.now.Days {
		row := Day{Day: r.From.AddDate(0, 0, i), Sessions: "0", Users: "0", Messages: "0", Thumbs: "–", Votes: "0", Median: "–", P95: "–", P99: "–"}
		if f != nil {
			row.Sessions, row.Users, row.Messages = figures.Whole(f[figures.Conversations].Numerator), figures.Whole(f[figures.Users].Numerator), figures.Whole(f[figures.Messages].Numerator)
			row.Thumbs, row.Votes = rate(f[figures.Thumbs]), figures.Whole(f[figures.Thumbs].Denominator)
			s := f[figures.Latency].Distribution
			row.Median, row.P95, row.P99 = figures.Written(took, s.P50), figures.Written(took, s.P95), figures.Written(took, s.P99)
		}
		rows = append(rows, row)
	}
	return rows
}

// HTML writes the report as a page.
func (r *Report) HTML(w io.Writer) error {
	var b bytes.Buffer
	if err := page.Execute(&b, r); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}
