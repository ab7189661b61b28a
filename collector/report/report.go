// Package report makes a report of some days of a project: one file, in HTML or Markdown, that needs nothing else. The same
// data give the same bytes: nothing in it depends on when it was made but what had not ended by then, which it says.
package report

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/digest"
	"github.com/openalign/align/collector/internal/chart"
	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/metrics"
)

// ErrInvalid marks options that there is no report for. Errors that wrap it say why.
var ErrInvalid = errors.New("report: invalid")

// Store is what a report is made from.
type Store interface {
	metrics.Store
	Conversation(ctx context.Context, project, id string) (collector.Conversation, error)
	Messages(ctx context.Context, project, conversation string, page collector.Page) ([]collector.Message, string, error)
	Quality(ctx context.Context, project string) (collector.Quality, error)
}

const (
	// DefaultDays is how many days a report has.
	DefaultDays = 7
	// DefaultWorst is how many of the worst conversations it lists, MaxWorst how many it can.
	DefaultWorst, MaxWorst = 20, 200
)

// Options say what a report is of.
type Options struct {
	Project string
	// From and To are the beginnings of UTC days; the day of To is not in it. At most figures.MaxDays.
	From, To time.Time
	// Worst is how many of the worst conversations are listed. Zero means DefaultWorst, negative none.
	Worst int
	// Link is the address of a collector whose dashboard shows conversations, such as https://align.example.com. Empty is none:
	// then the report links to nothing.
	Link string
	// Content shows what was said in the worst conversations. Without it a report has nothing that anybody wrote in one.
	Content bool
	// Step is called after each of [Options.Steps] steps. Nil is nobody.
	Step func()
}

// Steps is how many steps making a report takes.
func (o *Options) Steps() int { return 7 + 2*len(dimensions) }

// check returns the link's base, and refuses what there is no report for.
func (o *Options) check() (link string, err error) {
	for name, t := range map[string]time.Time{"from": o.From, "to": o.To} {
		if t.IsZero() || !t.Equal(t.Truncate(figures.Day)) {
			return "", fmt.Errorf("%w: %s must be the beginning of a UTC day", ErrInvalid, name)
		}
	}
	if days := o.To.Sub(o.From) / figures.Day; days < 1 || days > figures.MaxDays {
		return "", fmt.Errorf("%w: a report is of 1 to %d days", ErrInvalid, figures.MaxDays)
	}
	if o.Worst > MaxWorst {
		return "", fmt.Errorf("%w: at most %d of the worst conversations are listed", ErrInvalid, MaxWorst)
	}
	if o.Link == "" {
		return "", nil
	}
	u, err := url.Parse(o.Link)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%w: a link is the http or https address of a collector, without user, query or fragment", ErrInvalid)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// Report is what a report says.
type Report struct {
	Project          string
	From, To         time.Time // as of [Options]
	Before           time.Time // when the period before began, which is as long
	Conversations    int
	ConversationsWas int
	Open             int // engaged conversations that had not ended
	Headline         []Figure
	Outcomes         []Figure
	Moved            []Moved // rates that moved beyond noise, or of which a group did
	Still            []Moved // those that did not
	Worst            []Worst
	WorstOf          int // conversations with anything against them
	Content          bool
	Notes            []string
	Definitions      []*metrics.Definition

	charts    []chart.Drawn
	now, then *figures.Period
}

// period is one of the two that are compared.
type period struct {
	period  *figures.Period
	scope   metrics.Scope
	samples []int64 // of response latency, sorted
}

// maker makes a report.
type maker struct {
	engine    *metrics.Engine
	store     Store
	opts      Options
	link      string
	now, then period
	seen      seen
	report    Report
}

func (m *maker) step() {
	if m.opts.Step != nil {
		m.opts.Step()
	}
}

// Make makes a report. Its numbers are those of engine, which computes from the same store.
func Make(ctx context.Context, store Store, engine *metrics.Engine, opts Options) (*Report, error) {
	link, err := opts.check()
	if err != nil {
		return nil, err
	}
	if opts.Worst == 0 {
		opts.Worst = DefaultWorst
	}
	opts.From, opts.To = opts.From.UTC(), opts.To.UTC()
	m := &maker{engine: engine, store: store, opts: opts, link: link}
	m.now.scope = metrics.Scope{From: opts.From, To: opts.To}
	m.then.scope = metrics.Scope{From: opts.From.Add(-opts.To.Sub(opts.From)), To: opts.From}
	m.report = Report{Project: opts.Project, From: opts.From, To: opts.To, Before: m.then.scope.From, Content: opts.Content}
	for _, part := range []func(context.Context) error{m.numbers, m.digests, m.headline, m.movers, m.worst, m.notes} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	return &m.report, nil
}

// numbers computes the metrics of both periods and their days.
func (m *maker) numbers(ctx context.Context) (err error) {
	for _, p := range []*period{&m.now, &m.then} {
		if p.period, err = figures.PeriodOf(ctx, m.engine, m.opts.Project, p.scope, shownMetrics()...); err != nil {
			return err
		}
		m.step()
	}
	r := &m.report
	r.now, r.then = m.now.period, m.then.period
	r.Conversations, r.ConversationsWas = int(r.now.Values[figures.Conversations].Numerator), int(r.then.Values[figures.Conversations].Numerator)
	r.Open = int(r.now.Values["abandonment_rate"].Denominator - r.now.Values["containment_rate"].Denominator)
	for _, name := range shownMetrics() {
		r.Definitions = append(r.Definitions, metrics.Find(name))
	}
	r.charts, err = figures.Charts(r.now, r.then)
	return err
}

// seen is what was found in the digests of the period.
type seen struct {
	worst              []Worst // more than are wanted, until they are cut
	against            int
	testMode, nameless int
	costKnown          int
}

// digests reads every conversation of both periods once: for latencies, which are compared sample by sample, and for those
// that went badly.
func (m *maker) digests(ctx context.Context) error {
	for _, p := range []*period{&m.now, &m.then} {
		err := m.store.Digests(ctx, m.opts.Project, digest.Window{From: p.scope.From, To: p.scope.To, Groups: true}, func(d *digest.Digest) error {
			test := d.Numbers[digest.TestMode] == 1
			if p == &m.now {
				m.look(d, test)
			}
			if !test {
				p.samples = append(p.samples, d.Samples[digest.Latencies]...)
			}
			return nil
		})
		if err != nil {
			return err
		}
		sorted(p.samples)
		m.step()
	}
	return nil
}

// look takes in what one conversation of the period has against it.
func (m *maker) look(d *digest.Digest, test bool) {
	if test {
		m.seen.testMode++
		return
	}
	if d.UserID == "" {
		m.seen.nameless++
	}
	if d.Numbers[digest.Cost] != digest.Null {
		m.seen.costKnown++
	}
	if one, ok := against(d); ok {
		m.seen.against++
		m.seen.worst = append(m.seen.worst, one)
		if wanted := max(0, m.opts.Worst); len(m.seen.worst) > 4*wanted+64 {
			m.seen.worst = firstWorst(m.seen.worst, wanted)
		}
	}
}
