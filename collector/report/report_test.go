package report_test

import (
	"errors"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/internal/worlds"
	"github.com/openalign/align/collector/metrics"
	"github.com/openalign/align/collector/report"
)

var (
	tags       = regexp.MustCompile(`<(/?)([a-zA-Z!][a-zA-Z0-9]*)([^>]*)>`)
	attributes = regexp.MustCompile(`\s([a-zA-Z:-]+)="([^"]*)"`)
)

// loads are the addresses that a page names, where a browser would go for something on its own, and links.
func addresses(html string) (loads, links []string) {
	for _, tag := range tags.FindAllStringSubmatch(html, -1) {
		for _, attribute := range attributes.FindAllStringSubmatch(tag[3], -1) {
			switch name, value := attribute[1], attribute[2]; {
			case name == "href" && tag[2] == "a":
				links = append(links, value)
			case slices.Contains([]string{"href", "src", "srcset", "data", "poster", "action", "background", "xlink:href", "formaction", "ping", "manifest"}, name):
				loads = append(loads, value)
			case name == "style" || strings.HasPrefix(name, "on"):
				loads = append(loads, name)
			}
		}
	}
	return loads, links
}

func TestReportIsOneFileThatAsksForNothing(t *testing.T) {
	store, engine := stored(t, madeUp(t, 600))
	opts := options()
	r, html, markdown := written(t, store, engine, opts)
	if len(r.Worst) == 0 || len(r.Moved)+len(r.Still) == 0 {
		t.Fatalf("a report with nothing in it: %d worst, %d moved, %d still", len(r.Worst), len(r.Moved), len(r.Still))
	}
	loads, links := addresses(html)
	if !slices.Equal(loads, []string{"data:,"}) {
		t.Errorf("the page loads %q", loads)
	}
	for _, link := range links {
		if !strings.HasPrefix(link, "#") || !strings.Contains(html, `id="`+link[1:]+`"`) {
			t.Errorf("the page links to %q", link)
		}
	}
	for _, never := range []string{"<script", "<img", "<iframe", "<object", "@import", "url(", "http:", "https:", "<base"} {
		if strings.Contains(html, never) {
			t.Errorf("the page has %s", never)
		}
	}
	if strings.Contains(markdown, "](") || strings.Contains(markdown, "<") || strings.Contains(markdown, "http") {
		t.Errorf("the text has links: %s", markdown)
	}
	if strings.Count(html, "<svg viewBox=\"0 0 440") != 4 {
		t.Error("the pictures are not in it")
	}

	opts.Link = "https://align.example.com/base/"
	r, html, markdown = written(t, store, engine, opts)
	_, links = addresses(html)
	asked := 0
	for _, link := range links {
		if strings.HasPrefix(link, "#") {
			continue
		}
		if asked++; !strings.HasPrefix(link, "https://align.example.com/base/dashboard/conversation?id=w5-") || !strings.HasSuffix(link, "&amp;project=shop") {
			t.Errorf("the page links to %q", link)
		}
	}
	if asked != len(r.Worst) || strings.Count(markdown, "](https://align.example.com/base/dashboard/conversation?id=") != len(r.Worst) {
		t.Errorf("%d links in the page, for %d conversations", asked, len(r.Worst))
	}
}

const secret = "my secret wish"

func TestReportHasNoContentUnlessAsked(t *testing.T) {
	w := new(teller)
	for i := range 30 {
		w.conversation(worlds.Start.AddDate(0, 0, 15+i%20), "s"+string(rune('A'+i)), "bot", secret)
	}
	store, engine := stored(t, w.facts)
	r, html, markdown := written(t, store, engine, options())
	for _, one := range r.Worst {
		if one.Title != "" || one.Said != nil {
			t.Errorf("%s has content", one.ID)
		}
	}
	for _, text := range []string{html, markdown} {
		if strings.Contains(text, "secret") || strings.Contains(text, "user of") {
			t.Error("there is content in it")
		}
		if !strings.Contains(text, "thumbs down, vote against the whole, failed answer") {
			t.Error("the worst conversations are missing")
		}
	}
	opts := options()
	opts.Content, opts.Worst = true, 3
	_, html, markdown = written(t, store, engine, opts)
	for _, text := range []string{html, markdown} {
		if n := strings.Count(text, secret); n != 3*5 { // title, two messages, two comments
			t.Errorf("there are %d texts", n)
		}
		if strings.Contains(text, "user of") {
			t.Error("it names users")
		}
	}
}

func TestContentIsBounded(t *testing.T) {
	w := new(teller)
	long := strings.Repeat("very ", 200)
	for i := range 60 {
		at, id := worlds.Start.AddDate(0, 0, 20+i%14).Add(time.Hour), "long-"+string(rune('A'+i))
		w.conversation(at, id, "bot", long)
		for index := range int32(60) {
			w.said(at.Add(time.Duration(10+index)*time.Second), &messageProperties{SessionId: id, MessageIndexHint: 3 + index, MessageRole: roleUser, MessageContent: long})
		}
	}
	store, engine := stored(t, w.facts)
	opts := options()
	opts.Content, opts.Worst = true, 60
	r, html, markdown := written(t, store, engine, opts)
	if len(r.Worst) != 60 || len(html) > 1<<20 || len(markdown) > 1<<20 {
		t.Errorf("%d conversations in %d and %d bytes", len(r.Worst), len(html), len(markdown))
	}
	if first := r.Worst[0]; len(first.Said) > 42 || !first.More || !first.Said[0].Cut || len(first.Said[0].Text) != 800 {
		t.Errorf("of the first: %d messages, more: %v", len(first.Said), first.More)
	}
	if last := r.Worst[59]; !last.More || strings.Count(html, "More was said.") != 60 {
		t.Errorf("the last does not say that there is more")
	}
}

// hostile are texts that try to be anything but text.
var hostile = []string{
	`<script>alert(1)</script><img src=x onerror="alert(2)"><svg/onload=alert(3)>`,
	`"><a href="javascript:alert(4)">here</a>' onmouseover='alert(5)`,
	"</title></style></bdi></td></table><!-- {{.Project}} ]]>",
	"![x](http://evil.example/x.png) [click](javascript:alert(6)) <http://evil.example> www.evil.example http://evil.example",
	"a|b|c\n\n# Heading\n- item\n```\ncode\n```\n---\n| x | y |",
	"`tick` **bold** _it_ ~~gone~~ $x^2$ &lt;b&gt; \\| \\",
	"\u202edlrow olleh \u2066\u2067isolated",
	"A\x01\x02\x07\x1b[31mred\x7f\u0085\u2028line\u2029paragraph",
	strings.Repeat("W", 100_000),
	strings.Repeat(`"&<>'|`, 20_000),
}

func TestHostileTextsStayTexts(t *testing.T) {
	w := new(teller)
	for day := 15; day < 30; day++ {
		for i, text := range hostile {
			at := worlds.Start.AddDate(0, 0, day).Add(time.Duration(i) * time.Minute)
			id := string(rune('a'+day)) + string(rune('a'+i)) + text
			w.conversation(at, id[:min(len(id), 250)], text[:min(len(text), 200)], text)
		}
	}
	store, engine := stored(t, w.facts)
	opts := options()
	opts.Content, opts.Worst, opts.Link = true, 50, "https://align.example.com"
	_, html, markdown := written(t, store, engine, opts)
	known := strings.Fields("!doctype html head meta link title style body a header p svg rect path text h1 h2 h3 bdi span time nav ul ol li main section b dl div dt dd figure figcaption table thead tbody tr th td code")
	for _, tag := range tags.FindAllStringSubmatch(html, -1) {
		if !slices.Contains(known, tag[2]) {
			t.Errorf("the page has an element %.60s", tag[0])
		}
	}
	loads, links := addresses(html)
	if !slices.Equal(loads, []string{"data:,"}) {
		t.Errorf("the page loads %.200q", loads)
	}
	for _, link := range links {
		if !strings.HasPrefix(link, "#") && !strings.HasPrefix(link, "https://align.example.com/dashboard/conversation?id=") {
			t.Errorf("the page links to %.100q", link)
		}
	}
	if len(html) > 2<<20 || len(markdown) > 2<<20 {
		t.Errorf("%d and %d bytes", len(html), len(markdown))
	}

	pipes := regexp.MustCompile(`(^|[^\\])(\\\\)*\|`)
	columns := 0
	for line := range strings.Lines(markdown) {
		if strings.ContainsAny(line, "<\x1b\u202e\u2066") || strings.Contains(line, "![") || strings.HasPrefix(line, "```") {
			t.Errorf("the text has a line %.100q", line)
		}
		for _, address := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatchIndex(line, -1) {
			if escaped := line[address[0]-1] == '\\'; !escaped && !strings.HasPrefix(line[address[2]:], "https://align.example.com/") {
				t.Errorf("the text has a link in %.200q", line[address[0]:])
			}
		}
		shown := regexp.MustCompile(`\]\(https://align[^)]*\)`).ReplaceAllString(line, "]")
		if regexp.MustCompile(`(?i)www\.|https?://`).MatchString(shown) {
			t.Errorf("an address is a link in %.200q", line)
		}
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := len(pipes.FindAllString(line, -1))
		if columns == 0 {
			columns = n
		}
		if n != columns {
			t.Errorf("a row of %d cells in a table of %d: %.200q", n-1, columns-1, line)
		}
	}
}

func TestReportOfNothingSaysSo(t *testing.T) {
	store, engine := stored(t, nil)
	r, html, markdown := written(t, store, engine, options())
	if r.Conversations != 0 || !strings.Contains(html, "There is no data for these days") || !strings.Contains(markdown, "There is no data for these days") {
		t.Errorf("%d conversations: %s", r.Conversations, markdown)
	}
	for _, f := range slices.Concat(r.Headline, r.Outcomes) {
		if f.Verdict != report.NotEnough || f.Tone != report.Neutral {
			t.Errorf("%s: %s %s", f.Name, f.Verdict, f.Tone)
		}
	}
	for _, text := range []string{html, markdown} {
		if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") || strings.Contains(text, string(report.Beyond)+"</span>") {
			t.Error("numbers that are none")
		}
	}
	// A first week has nothing before it.
	store, engine = stored(t, madeUp(t, 300))
	opts := options()
	opts.From, opts.To = worlds.Start, worlds.Start.AddDate(0, 0, 7)
	r, _, markdown = written(t, store, engine, opts)
	if r.Conversations == 0 || r.ConversationsWas != 0 || !strings.Contains(markdown, "nothing in the period before to compare with") || len(r.Short()) > 0 {
		t.Errorf("%d conversations, %d before: %s", r.Conversations, r.ConversationsWas, markdown)
	}
}

func TestNumbersAreThoseOfMetrics(t *testing.T) {
	store, engine := stored(t, madeUp(t, 900))
	opts := options()
	r, html, markdown := written(t, store, engine, opts)
	answer, err := engine.Get(t.Context(), project, metrics.Query{Scope: metrics.Scope{From: opts.From, To: opts.To}, Compare: true})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*metrics.Value{}
	for i := range answer.Values {
		byName[answer.Values[i].Name] = &answer.Values[i]
	}
	got := map[string]report.Figure{}
	for _, f := range slices.Concat(r.Headline, r.Outcomes) {
		got[f.Name] = f
	}
	for name, metric := range map[string]string{"Sessions": "total_conversations", "Users": "active_users", "Thumbs-up rate": "thumbs_up_rate", "Latency, median": "response_latency",
		"Containment": "containment_rate", "Resolution, confirmed": "confirmed_resolution_rate", "Bot handled rate": "bot_handled_rate", "Escalation rate": "escalation_rate",
		"Failed escalation rate": "failed_escalation_rate", "Abandoned": "abandonment_rate", "Errors": "error_rate", "Messages understood": "messages_understood_rate"} {
		d, v := metrics.Find(metric), byName[metric]
		f, ok := got[name]
		if !ok || f.Value != figures.Written(d, v.Value) || f.Was != figures.Written(d, v.Before) || f.Value == "–" {
			t.Errorf("%s: %q, before %q; want %q and %q", name, f.Value, f.Was, figures.Written(d, v.Value), figures.Written(d, v.Before))
		}
		if !strings.Contains(html, f.Value) || !strings.Contains(markdown, f.Value) {
			t.Errorf("%s is not shown", name)
		}
	}
	spread := byName["response_latency"].Distribution
	took := metrics.Find("response_latency")
	if got["Latency, p95"].Value != figures.Written(took, spread.P95) || got["Latency, p99"].Value != figures.Written(took, spread.P99) {
		t.Errorf("p95 %q, p99 %q", got["Latency, p95"].Value, got["Latency, p99"].Value)
	}
	if f := got["Messages"]; f.Value != figures.Whole(byName["messages_per_session"].Numerator) {
		t.Errorf("messages: %q", f.Value)
	}
	if f := got["Thumbs-up rate"]; !strings.Contains(f.Detail, figures.Interval(byName["thumbs_up_rate"])) || !strings.HasSuffix(f.Detail, "n = "+figures.Whole(byName["thumbs_up_rate"].Denominator)) {
		t.Errorf("thumbs: %q", f.Detail)
	}
	byDay, err := engine.Get(t.Context(), project, metrics.Query{Scope: metrics.Scope{From: opts.From, To: opts.To}, GroupBy: "day",
		Names: []string{"total_conversations", "thumbs_up_rate", "response_latency"}})
	if err != nil {
		t.Fatal(err)
	}
	rows := r.Table()
	if len(rows) != 14 || len(byDay.Groups) != 14 {
		t.Fatalf("%d rows, %d days", len(rows), len(byDay.Groups))
	}
	for i, day := range byDay.Groups {
		var up *metrics.Value
		var spread *metrics.Spread
		row := rows[i]
		for _, v := range day.Values {
			switch v.Name {
			case "thumbs_up_rate":
				up = &v
			case "response_latency":
				spread = v.Distribution
			}
		}
		if row.Day.Format(time.DateOnly) != day.Value || row.Sessions != figures.Count(day.Conversations) || row.Thumbs != figures.Written(metrics.Find("thumbs_up_rate"), up.Value) ||
			row.Votes != figures.Whole(up.Denominator) || row.Median != figures.Written(took, spread.P50) || row.P99 != figures.Written(took, spread.P99) {
			t.Errorf("%s: %+v", day.Value, row)
		}
	}
	for _, d := range r.Definitions {
		if !strings.Contains(html, ">"+d.Name+"<") || !strings.Contains(markdown, "(`"+d.Name+"`, version ") || !strings.Contains(markdown, d.Formula) {
			t.Errorf("the definition of %s is missing", d.Name)
		}
	}
	for name := range got {
		if d := metrics.Find(got[name].Metric); !slices.Contains(r.Definitions, d) {
			t.Errorf("%s is not defined", name)
		}
	}
	for _, m := range slices.Concat(r.Moved, r.Still) {
		if v := byName[m.Definition.Name]; math.Abs(*m.Now.Value-*v.Value) > 1e-12 || len(m.Movers) == 0 {
			t.Errorf("%s: %v, want %v", m.Definition.Name, *m.Now.Value, *v.Value)
		}
	}
}

// The order in which facts came changes nothing, and neither does a report made before.
func TestSameDataGiveTheSameBytes(t *testing.T) {
	facts := madeUp(t, 400)
	opts := options()
	opts.Content, opts.Link = true, "https://align.example.com"
	var first [2]string
	for i := range 3 {
		if i == 2 {
			slices.Reverse(facts)
		}
		store, engine := stored(t, facts)
		for range 2 {
			_, html, markdown := written(t, store, engine, opts)
			if first[0] == "" {
				first = [2]string{html, markdown}
			}
			if html != first[0] || markdown != first[1] {
				t.Fatalf("world %d: another report", i)
			}
		}
	}
}

func TestReportSaysWhatHadNotEnded(t *testing.T) {
	store, engine := stored(t, madeUp(t, 900))
	opts := options()
	r, err := report.Make(t.Context(), store, engine.AsOf(opts.To.Add(time.Minute)), opts)
	if err != nil {
		t.Fatal(err)
	}
	if r.Open == 0 || !slices.ContainsFunc(r.Notes, func(note string) bool { return strings.Contains(note, "had not ended when this was made") }) {
		t.Errorf("%d open: %q", r.Open, r.Notes)
	}
}

func TestOptionsThatNothingCanBeMadeOf(t *testing.T) {
	store, engine := stored(t, nil)
	for name, change := range map[string]func(*report.Options){
		"no window":        func(o *report.Options) { o.From, o.To = time.Time{}, time.Time{} },
		"part of a day":    func(o *report.Options) { o.To = o.To.Add(-time.Hour) },
		"backwards":        func(o *report.Options) { o.From, o.To = o.To, o.From },
		"too long":         func(o *report.Options) { o.From = o.To.AddDate(0, 0, -figures.MaxDays-1) },
		"too many":         func(o *report.Options) { o.Worst = report.MaxWorst + 1 },
		"a link elsewhere": func(o *report.Options) { o.Link = "javascript:alert(1)" },
		"a link with user": func(o *report.Options) { o.Link = "https://me:secret@align.example.com" },
		"a relative link":  func(o *report.Options) { o.Link = "/dashboard" },
	} {
		opts := options()
		change(&opts)
		if _, err := report.Make(t.Context(), store, engine, opts); !errors.Is(err, report.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStepsAreAsManyAsPromised(t *testing.T) {
	store, engine := stored(t, madeUp(t, 100))
	opts, steps := options(), 0
	opts.Step = func() { steps++ }
	written(t, store, engine, opts)
	if steps != opts.Steps() {
		t.Errorf("%d steps, want %d", steps, opts.Steps())
	}
}
