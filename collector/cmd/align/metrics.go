package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/metrics"
	"github.com/openalign/align/collector/store/sqlite"
)

// scopeFlags say which conversations count.
type scopeFlags struct {
	dataFlag
	Project string        `help:"The project." required:"" placeholder:"P"`
	From    momentFlag    `help:"Begin of the window: a UTC day such as 2026-03-01, or a time in RFC 3339 (default: 30 days before its end)." placeholder:"TIME"`
	To      momentFlag    `help:"Its end, which is not in it (default: the end of today in UTC)." placeholder:"TIME"`
	Ended   bool          `help:"Take conversations that ended in the window, instead of those that started in it."`
	Test    bool          `help:"Count conversations in test mode as well."`
	Idle    time.Duration `help:"A conversation without activity for this long has ended; give what the collector is served with (default ${default})." default:"30m" placeholder:"DURATION"`
}

// momentFlag is a UTC day or a time.
type momentFlag time.Time

// UnmarshalText reads a flag.
func (m *momentFlag) UnmarshalText(text []byte) error {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, string(text)); err == nil {
			*m = momentFlag(t)
			return nil
		}
	}
	return errors.New("a time is a day such as 2026-03-01, or RFC 3339")
}

func (f *scopeFlags) scope() metrics.Scope {
	return metrics.Scope{From: time.Time(f.From), To: time.Time(f.To), ByEnd: f.Ended, IncludeTest: f.Test}
}

// engine opens the data folder, brings digests up to date, and computes.
func (f *scopeFlags) engine(ctx context.Context, do func(*metrics.Engine) error) error {
	return f.with(ctx, func(store collector.Store) error {
		digests, ok := store.(*sqlite.Store)
		if !ok {
			return errors.New("this store has no digests")
		}
		if err := digests.DigestAll(ctx); err != nil {
			return err
		}
		return do(&metrics.Engine{Store: digests, Idle: f.Idle, Exports: export.New(digests, export.Config{})})
	})
}

type metricsCommand struct {
	scopeFlags
	Names   []string `arg:"" optional:"" help:"Metrics (default: all)."`
	By      string   `help:"Group by day, assistant, version, channel, source, language, country, label, intent, first_intent, last_intent or company." placeholder:"DIMENSION"`
	Filter  []string `help:"Only conversations with this value; repeatable, all must hold." placeholder:"DIMENSION=VALUE"`
	Groups  int      `help:"How many groups at most; the rest is one (default ${default})." default:"50" placeholder:"N"`
	Compare bool     `help:"Also compare with the time before."`
	Minutes int      `help:"How many minutes each message of the assistant's saves somebody, for hours_saved (default ${default})." default:"2" placeholder:"N"`
	Explain string   `help:"Say how this metric came about: its definition, its SQL, run, what was left out, and the conversations on each side." placeholder:"NAME"`
	Size    int      `help:"With --explain: conversations on each side (default ${default})." default:"20" placeholder:"N"`
	Offset  int      `help:"With --explain: leave out so many before." placeholder:"N"`
	List    bool     `help:"List the definitions."`
	JSON    bool     `help:"Write JSON, as the API has it." name:"json"`
}

// Validate refuses what would be ignored.
func (c *metricsCommand) Validate() error {
	switch {
	case c.Explain != "" && (c.By != "" || c.Compare || len(c.Names) > 0 || c.List):
		return errors.New("--explain goes with neither names, --by, --compare nor --list")
	case c.Idle == 0:
		return errors.New("--idle must not be 0: give a time such as 30m, or a negative one for never")
	}
	_, err := filtersOf(c.Filter)
	return err
}

func filtersOf(list []string) (filters []metrics.Filter, err error) {
	for _, f := range list {
		name, value, ok := strings.Cut(f, "=")
		if !ok || !slices.Contains(metrics.Dimensions(), name) {
			return nil, fmt.Errorf("a filter is DIMENSION=VALUE; there are %s", strings.Join(metrics.Dimensions(), ", "))
		}
		filters = append(filters, metrics.Filter{Dimension: name, Value: value})
	}
	return filters, nil
}

// Run computes metrics from a data folder, also while a collector serves it.
func (c *metricsCommand) Run(ctx context.Context, std streams) error {
	if c.List {
		return listMetrics(std.out)
	}
	scope := c.scope()
	scope.Filters, _ = filtersOf(c.Filter) // Validate has read them
	scope.MinutesSaved = c.Minutes
	return c.engine(ctx, func(engine *metrics.Engine) error {
		if c.Explain != "" {
			x, err := engine.Explain(ctx, c.Project, c.Explain, scope, c.Size, c.Offset)
			if err != nil {
				return err
			}
			if c.JSON {
				return writeProto(std.out, x.Proto())
			}
			return writeExplanation(std.out, x)
		}
		answer, err := engine.Get(ctx, c.Project, metrics.Query{Scope: scope, Names: c.Names, GroupBy: c.By, MaxGroups: c.Groups, Compare: c.Compare})
		if err != nil {
			return err
		}
		if c.JSON {
			return writeProto(std.out, answer.Proto())
		}
		return writeAnswer(std.out, answer, c.Compare)
	})
}

func listMetrics(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i := range metrics.Definitions {
		d := &metrics.Definitions[i]
		fmt.Fprintf(table, "%s\t%s\t%s\n", d.Name, d.Source, d.Formula)
	}
	return table.Flush()
}

func writeProto(out io.Writer, m proto.Message) error {
	text, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return err
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil { // protojson varies its spaces
		return err
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(plain)
}

func writeAnswer(out io.Writer, a *metrics.Answer, compare bool) error {
	fmt.Fprintf(out, "%s to %s UTC\n\n", a.From.Format(time.DateTime), a.To.Format(time.DateTime))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	write := func(list []metrics.Value) {
		for i := range list {
			v := &list[i]
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t\n", v.Name, shown(metrics.Find(v.Name), v.Value), parts(v), interval(v), change(v, compare))
		}
	}
	write(a.Values)
	for _, g := range a.Groups {
		name := oneLine(g.Value)
		switch {
		case g.Other:
			name = fmt.Sprintf("(%d others)", a.OtherGroups)
		case g.Value == "":
			name = "(none)"
		}
		fmt.Fprintf(table, "\t\t\t\t\t\n%s: %s\t\t\t\t\t\n", name, counted(g.Conversations, "conversation"))
		write(g.Values)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return writeUncounted(out, a)
}

// writeUncounted says why metrics have no number that count whole days.
func writeUncounted(out io.Writer, a *metrics.Answer) error {
	var names []string
	for i := range a.Values {
		if metrics.Find(a.Values[i].Name).WholeDays {
			names = append(names, a.Values[i].Name)
		}
	}
	if len(names) == 0 || a.WholeDays() {
		return nil
	}
	_, err := fmt.Fprintf(out, "\nUnknown, as they count UTC days and the window is not of whole ones: %s.\n", strings.Join(names, ", "))
	return err
}

// shown is a value in its unit, for people.
func shown(d *metrics.Definition, value *float64) string {
	switch {
	case value == nil:
		return "unknown"
	case d.Unit == "share":
		return fmt.Sprintf("%.1f %%", 100**value)
	case d.Unit == "ms":
		return time.Duration(*value * 1e6).Round(time.Millisecond).String()
	case *value == float64(int64(*value)):
		return fmt.Sprintf("%d %s", int64(*value), d.Unit)
	}
	return fmt.Sprintf("%.4g %s", *value, d.Unit)
}

func parts(v *metrics.Value) string {
	if s := v.Distribution; s != nil {
		if s.N == 0 {
			return "n 0"
		}
		d := metrics.Find(v.Name)
		return fmt.Sprintf("n %d, p90 %s, p95 %s, p99 %s", s.N, shown(d, s.P90), shown(d, s.P95), shown(d, s.P99))
	}
	if metrics.Find(v.Name).Kind == metrics.Count {
		return ""
	}
	return fmt.Sprintf("%s / %s", number(v.Numerator), number(v.Denominator))
}

// number is a whole number, or another with six digits that count.
func number(x float64) string {
	if x != math.Trunc(x) {
		x, _ = strconv.ParseFloat(strconv.FormatFloat(x, 'g', 6, 64), 64) // it was just written
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}

func interval(v *metrics.Value) string {
	if v.Interval == nil {
		return ""
	}
	return fmt.Sprintf("%.1f to %.1f %%", 100*v.Interval[0], 100*v.Interval[1])
}

func change(v *metrics.Value, compare bool) string {
	switch {
	case !compare:
		return ""
	case v.Change == nil:
		return "unknown before"
	case metrics.Find(v.Name).Kind == metrics.Rate:
		return fmt.Sprintf("%+.1f pp", *v.Change)
	}
	return fmt.Sprintf("%+.1f %%", *v.Change)
}

func writeExplanation(out io.Writer, x *metrics.Explanation) error {
	d := x.Definition
	fmt.Fprintf(out, "%s (%s, version %d): %s\n%s\n", d.Title, d.Name, d.Version, d.Source, d.Formula)
	if d.Excludes != "" {
		fmt.Fprintf(out, "Without %s.\n", d.Excludes)
	}
	fmt.Fprintf(out, "\n%s to %s UTC: %s, of %s / %s\nBy its SQL: %s, of %s / %s\n", x.Scope.From.Format(time.DateTime), x.Scope.To.Format(time.DateTime),
		shown(d, x.Value.Value), number(x.Value.Numerator), number(x.Value.Denominator), shown(d, x.BySQL.Value), number(x.BySQL.Numerator), number(x.BySQL.Denominator))
	if p := x.Export; p != nil {
		if p.Missing != "" {
			fmt.Fprintf(out, "By the daily files: no proof, as %s\n", p.Missing)
		} else {
			same := "the same"
			if !p.Equal {
				same = fmt.Sprintf("not the same: files stay as of when they were made, and tell of %s again that went on", counted(p.Again, "conversation"))
			}
			fmt.Fprintf(out, "By the daily files: %s, of %s / %s; %s\n", shown(d, p.Value.Value), number(p.Value.Numerator), number(p.Value.Denominator), same)
		}
	}
	fmt.Fprintf(out, "\n%s\n\nwith", x.SQL)
	names := make([]string, 0, len(x.Parameters))
	for name := range x.Parameters {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(out, " :%s = %s", name, oneLine(fmt.Sprintf("%#v", x.Parameters[name])))
	}
	fmt.Fprintln(out)
	for _, l := range x.LeftOut {
		fmt.Fprintf(out, "\nleft out, %s: %s", l.Reason, counted(l.Conversations, "conversation"))
	}
	if d.Statement == "" {
		fmt.Fprintf(out, "\n\nin the numerator, %d: %s\nin the denominator alone, %d: %s", x.NumeratorCount, ids(x.Numerator, x.NumeratorCount),
			x.DenominatorCount, ids(x.Denominator, x.DenominatorCount))
	}
	_, err := fmt.Fprintln(out)
	return err
}

func ids(list []string, all int) string {
	text := oneLine(strings.Join(list, " "))
	if len(list) < all {
		text += " …"
	}
	return text
}
