package report

import (
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/metrics"
)

// Markdown with tables, and pictures of block characters: every viewer shows those, while most refuse pictures in data
// addresses, and a file that says "image" where the pictures were is worse than none.

// Markdown writes the report in Markdown, with GitHub's tables.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	line := func(parts ...string) {
		for _, part := range parts {
			b.WriteString(part)
		}
		b.WriteByte('\n')
	}
	row := func(cells ...string) { line("| ", strings.Join(cells, " | "), " |") }
	head := func(cells ...string) { // a colon behind a name puts its column to the right
		rule := make([]string, len(cells))
		for i := range cells {
			rule[i] = "---"
			if name, right := strings.CutSuffix(cells[i], ":"); right {
				cells[i], rule[i] = name, "---:"
			}
		}
		row(cells...)
		row(rule...)
	}
	line("# ", plain(bounded(r.Project)), ", ", r.Days(), "\n")
	line(r.From.Format("2006-01-02"), " to ", r.To.Format("2006-01-02"), ", 00:00 UTC. Changes are against ", r.DaysBefore(), ", as many days. A session counts on the day it began.\n")
	line("## In short\n")
	short := r.Short()
	switch {
	case r.Conversations == 0:
		line("**There is no data for these days**: no session began in them.\n")
	case r.ConversationsWas == 0:
		line("There is nothing in the period before to compare with.\n")
	case len(short) == 0:
		line("Nothing moved beyond noise.\n")
	default:
		for _, f := range short {
			text := f.Name + ": " + f.Was + " → **" + f.Value + "**, " + f.Change
			if f.Tone != Neutral {
				text += ", " + string(f.Tone)
			}
			line("- ", text)
		}
		line()
	}
	head("Figure", "Value:", "Of", "Change:", "Before:", "95 % of the change", "Verdict")
	for _, f := range r.Headline {
		row(f.Name, "**"+f.Value+"**", f.Detail, f.Change, f.Was, f.Range, f.verdict())
	}
	line("\nBeyond noise: the 95 % interval of the difference does not hold 0. The interval is Newcombe's for rates, Student's over pairs of days for\n" +
		"counts and costs, and that of ranks for percentiles. It takes at least 30 things counted on each side, 5 days, or enough answers for the ranks.\n")
	line("## Day by day\n")
	head("Figure", "Day by day, from 0", "Least:", "Most:")
	for _, s := range r.sparks() {
		row(s...)
	}
	line()
	head("Day", "Sessions:", "Users:", "Messages:", "Thumbs up:", "Votes:", "Median:", "p95:", "p99:")
	for _, d := range r.Table() {
		row(d.Day.Format("Mon 2 Jan"), d.Sessions, d.Users, d.Messages, d.Thumbs, d.Votes, d.Median, d.P95, d.P99)
	}
	line("\n## Outcomes\n")
	head("What became of them", "How many:", "Share:", "", "Change:", "95 % of the change", "Verdict")
	for _, f := range r.Outcomes {
		row(f.Name, f.Detail, f.Value, bar(f.Share), f.Change, f.Range, f.verdict())
	}
	line("\n## What moved\n")
	mover := func(g *Mover) []string {
		return []string{g.Dimension + " " + g.name(), figures.Signed(100*g.By) + " points", rate(g.Before) + " → " + rate(g.Now), counts(g.Now),
			percent(g.PartBefore) + " → " + percent(g.PartNow), g.verdict()}
	}
	for _, m := range r.Moved {
		line("### ", m.Definition.Title, ": ", rate(m.Before), " → ", rate(m.Now), ", ", string(m.Verdict), "\n")
		head("Group", "Moved the rate by:", "Its own rate:", "Of:", "Part of all:", "Its change")
		for i := range m.Movers {
			row(mover(&m.Movers[i])...)
		}
		line()
	}
	if len(r.Still) > 0 {
		line("### Within noise: the group that moved each rate most\n")
		head("Rate", "Before → now:", "Group", "Moved the rate by:", "Its own rate:", "Of:", "Part of all:", "Its change")
		for _, m := range r.Still {
			row(append([]string{m.Definition.Title, rate(m.Before) + " → " + rate(m.Now)}, mover(&m.Movers[0])...)...)
		}
		line()
	}
	if len(r.Moved)+len(r.Still) == 0 {
		line("No group moved a rate by a tenth of a point, of those with enough data in both periods.")
	} else {
		line(MoversRule)
	}
	r.markWorst(line, row, head)
	line("\n## The data\n")
	for _, note := range r.Notes {
		line("- ", note)
	}
	if len(r.Notes) == 0 {
		line("Nothing is odd about it.")
	}
	line("\n## Definitions\n")
	for _, d := range r.Definitions {
		line("- **", d.Title, "** (`", d.Name, "`, version ", strconv.Itoa(d.Version), ", ", string(d.Kind), "): ", d.Formula, ".", excluded(d))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) markWorst(line func(...string), row, head func(...string)) {
	line("\n## Worst conversations\n")
	switch {
	case r.WorstOf == 0:
		line("There are none: no vote against, no failed answer, nobody handed on, nothing that was not understood.")
		return
	case len(r.Worst) == 0:
		line("None are listed, of ", figures.Count(r.WorstOf), " that have anything against them.")
		return
	case len(r.Worst) < r.WorstOf:
		line("The first ", figures.Count(len(r.Worst)), " of ", figures.Count(r.WorstOf), " that have anything against them.\n")
	}
	if !r.Content {
		head("Conversation", "Began", "Points:", "What is against it", "Assistant", "Channel")
	}
	for _, c := range r.Worst {
		id := plain(bounded(c.ID))
		if c.Link != "" {
			id = "[" + id + "](" + strings.NewReplacer("(", "%28", ")", "%29").Replace(c.Link) + ")"
		}
		if !r.Content {
			row(id, c.Start.Format("2 Jan, 15:04"), strconv.Itoa(c.Points), strings.Join(c.Reasons, ", "), plain(bounded(c.Assistant)), plain(bounded(c.Channel)))
			continue
		}
		line("### ", id, "\n")
		line(c.Start.Format("Mon 2 Jan 2006, 15:04"), ", ", strconv.Itoa(c.Points), " points: ", strings.Join(c.Reasons, ", "), "\n")
		if c.Title != "" {
			line("**", plain(c.Title), "**\n")
		}
		for _, s := range c.Said {
			text := plain(s.Text)
			if s.Cut {
				text += "…"
			}
			line("- *", plain(bounded(s.Role)), "*: ", text, voted(s))
		}
		switch {
		case c.Gone:
			line("It was erased meanwhile.")
		case c.More:
			line("- More was said.")
		}
		line()
	}
	line("\n", Rule)
}

func voted(s Said) string {
	if s.Vote == "" {
		return ""
	}
	return " (" + plain(s.Vote) + ")"
}

func excluded(d *metrics.Definition) string {
	if d.Excludes == "" {
		return ""
	}
	return " Without " + d.Excludes + "."
}

func (f *Figure) verdict() string {
	if f.Tone != Neutral {
		return string(f.Verdict) + ", " + string(f.Tone)
	}
	return string(f.Verdict)
}

func (g *Mover) verdict() string {
	switch {
	case g.Before == nil:
		return "new"
	case g.Now == nil:
		return "gone"
	}
	return string(g.Verdict)
}

func (g *Mover) name() string {
	switch {
	case g.Other:
		return "all others"
	case g.Group == "":
		return "none"
	}
	return plain(bounded(g.Group))
}

// sparks are rows of pictures: what was on each day, and the least and most of it.
func (r *Report) sparks() (rows [][]string) {
	took := metrics.Find(figures.Latency)
	number := func(metric string) func(map[string]*metrics.Value) float64 {
		return func(day map[string]*metrics.Value) float64 { return day[metric].Numerator }
	}
	for _, s := range []struct {
		name   string
		values []float64
		write  func(float64) string
	}{
		{"Sessions", byDay(r.now, 0, number(figures.Conversations)), figures.Whole},
		{"Users", byDay(r.now, 0, number(figures.Users)), figures.Whole},
		{"Messages", byDay(r.now, 0, number(figures.Messages)), figures.Whole},
		{"Thumbs-up rate", byDay(r.now, math.NaN(), func(day map[string]*metrics.Value) float64 { return figures.Known(day[figures.Thumbs].Value) }), figures.Percent},
		{"Latency, median", byDay(r.now, math.NaN(), func(day map[string]*metrics.Value) float64 {
			return figures.Known(day[figures.Latency].Distribution.P50)
		}),
			func(v float64) string { return figures.Written(took, &v) }},
		{"Latency, p95", byDay(r.now, math.NaN(), func(day map[string]*metrics.Value) float64 {
			return figures.Known(day[figures.Latency].Distribution.P95)
		}),
			func(v float64) string { return figures.Written(took, &v) }},
	} {
		least, most := math.Inf(1), math.Inf(-1)
		for _, v := range s.values {
			if !math.IsNaN(v) {
				least, most = min(least, v), max(most, v)
			}
		}
		if most < least {
			rows = append(rows, []string{s.name, "–", "–", "–"})
			continue
		}
		rows = append(rows, []string{s.name, spark(s.values, most), s.write(least), s.write(most)})
	}
	return rows
}

// spark draws values from 0 to most, one character each; a dot is a day of which nothing is known.
func spark(values []float64, most float64) string {
	blocks := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			b.WriteRune('·')
		case most <= 0:
			b.WriteRune(blocks[0])
		default:
			b.WriteRune(blocks[int(math.Round(min(1, max(0, v/most))*float64(len(blocks)-1)))])
		}
	}
	return b.String()
}

// bar draws a share over ten characters.
func bar(share float64) string {
	if math.IsNaN(share) {
		return ""
	}
	full := int(math.Round(10 * min(1, max(0, share))))
	return strings.Repeat("█", full) + strings.Repeat("░", 10-full)
}

// plain is text on one line that Markdown shows as it is, wherever in a line it stands but at its beginning: whatever could
// be taken for a sign stands behind a backslash or is an entity, addresses are no links, and what would change the direction of
// what follows is gone.
func plain(text string) string {
	var b strings.Builder
	for _, r := range strings.Join(strings.Fields(text), " ") {
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case strings.ContainsRune("\\`*_{}[]()#+!|~:@=^$", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsControl(r) || '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069':
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(r)
		}
	}
	return www.ReplaceAllString(b.String(), `${1}\.`)
}

// www is how an address begins that GitHub makes a link of.
var www = regexp.MustCompile(`(?i)(www)\.`)
