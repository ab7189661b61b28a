package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/openalign/align/collector/metrics"
)

type gateCommand struct {
	scopeFlags
	Baseline  string   `help:"What to compare with: filters and a window, such as version=1.4 or 2026-03-01..2026-04-01,channel=chat." required:"" placeholder:"FILTERS"`
	Candidate string   `help:"What is to be let through, likewise." required:"" placeholder:"FILTERS"`
	MaxDrop   []string `help:"How much a share may fall, in percentage points." placeholder:"thumbs_up=3pp"`
	MaxRise   []string `help:"How much a share may rise, of which less is better." placeholder:"error=1pp"`
	JSON      bool     `help:"Write JSON." name:"json"`
}

// statusNotEnough is the exit status where there is not enough data; 1 is fail.
const statusNotEnough = 3

// Validate refuses what cannot be judged.
func (c *gateCommand) Validate() error {
	if len(c.MaxDrop)+len(c.MaxRise) == 0 {
		return errors.New("give --max-drop or --max-rise: nothing would be judged")
	}
	if c.Idle == 0 {
		return errors.New("--idle must not be 0: give a time such as 30m, or a negative one for never")
	}
	_, err := c.limits()
	for _, side := range []string{c.Baseline, c.Candidate} {
		_, wrong := c.side(side)
		err = errors.Join(err, wrong)
	}
	return err
}

func (c *gateCommand) limits() (list []metrics.Limit, err error) {
	read := func(texts []string, rise bool) error {
		for _, text := range texts {
			name, limit, ok := strings.Cut(text, "=")
			share, err := strconv.ParseFloat(strings.TrimSuffix(limit, "pp"), 64)
			if !ok || err != nil || !strings.HasSuffix(limit, "pp") || !(share >= 0 && share <= 100) {
				return errors.New("a limit is METRIC=POINTS, such as thumbs_up=3pp")
			}
			d, err := metrics.Gated(name)
			if err != nil {
				return err
			}
			list = append(list, metrics.Limit{Metric: d.Name, Worst: share / 100, Rise: rise})
		}
		return nil
	}
	err = errors.Join(read(c.MaxDrop, false), read(c.MaxRise, true))
	return list, err
}

// side reads filters and a window.
func (c *gateCommand) side(text string) (scope metrics.Scope, err error) {
	scope = c.scope()
	var filters []string
	for part := range strings.SplitSeq(text, ",") {
		from, to, isWindow := strings.Cut(part, "..")
		if !isWindow || strings.Contains(from, "=") {
			filters = append(filters, part)
			continue
		}
		var begin, end timeFlag
		if err := errors.Join(begin.UnmarshalText([]byte(from)), end.UnmarshalText([]byte(to))); err != nil {
			return scope, err
		}
		scope.From, scope.To = time.Time(begin), time.Time(end)
	}
	scope.Filters, err = filtersOf(filters)
	return scope, err
}

// exitStatus is an error whose message was told already.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Run judges, and ends with 0 for pass, 1 for fail and 3 for not enough data.
func (c *gateCommand) Run(ctx context.Context, std streams) error {
	limits, err := c.limits()
	if err != nil {
		return err
	}
	var judged []metrics.Judged
	err = c.engine(ctx, func(engine *metrics.Engine) error {
		var names []string
		for _, l := range limits {
			names = append(names, l.Metric)
		}
		var sides [2][]metrics.Value
		for i, text := range []string{c.Baseline, c.Candidate} {
			scope, err := c.side(text)
			if err != nil {
				return err
			}
			answer, err := engine.Get(ctx, c.Project, metrics.Query{Scope: scope, Names: names})
			if err != nil {
				return err
			}
			sides[i] = answer.Values
		}
		for i, l := range limits {
			judged = append(judged, metrics.Judge(l, sides[0][i], sides[1][i]))
		}
		return nil
	})
	if err != nil {
		return err
	}
	verdict := metrics.Overall(judged)
	if err := c.tell(std, verdict, judged); err != nil {
		return err
	}
	switch verdict {
	case metrics.Fail:
		return exitStatus(1)
	case metrics.NotEnoughData:
		return exitStatus(statusNotEnough)
	}
	return nil
}

func (c *gateCommand) tell(std streams, verdict metrics.Verdict, judged []metrics.Judged) error {
	if c.JSON {
		type line struct {
			Metric    string          `json:"metric"`
			Verdict   metrics.Verdict `json:"verdict"`
			Baseline  *float64        `json:"baseline"`
			Candidate *float64        `json:"candidate"`
			Of        [2]float64      `json:"denominators"`
			Interval  [2]float64      `json:"difference_95"`
			Reason    string          `json:"reason"`
		}
		var lines []line
		for _, j := range judged {
			lines = append(lines, line{j.Limit.Metric, j.Verdict, j.Baseline.Value, j.Candidate.Value,
				[2]float64{j.Baseline.Denominator, j.Candidate.Denominator}, [2]float64{j.Low, j.High}, j.Reason})
		}
		return json.NewEncoder(std.out).Encode(map[string]any{"verdict": verdict, "metrics": lines})
	}
	table := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	for _, j := range judged {
		d := metrics.Find(j.Limit.Metric)
		fmt.Fprintf(table, "%s\t%s\t%s of %s\t→ %s of %s\t%s\n", j.Verdict, d.Name, shown(d, j.Baseline.Value), number(j.Baseline.Denominator),
			shown(d, j.Candidate.Value), number(j.Candidate.Denominator), j.Reason)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.out, "%s\n", verdict)
	return err
}
