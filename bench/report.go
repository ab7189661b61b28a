package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"
)

// report collects what was measured, in the order of the plan.
type report struct {
	options options
	results []*result
	byCell  map[cell]*result
}

// result is one cell with all its rounds.
type result struct {
	Cell   cell
	Rounds []*measurement
}

func newReport(o options) *report { return &report{options: o, byCell: map[cell]*result{}} }

func (r *report) add(c cell, m *measurement) {
	if r.byCell[c] == nil {
		r.byCell[c] = &result{Cell: c}
		r.results = append(r.results, r.byCell[c])
	}
	r.byCell[c].Rounds = append(r.byCell[c].Rounds, m)
}

// over is a figure of every round.
func (r *result) over(figure func(*measurement) float64) spread {
	var values []float64
	for _, m := range r.Rounds {
		values = append(values, figure(m))
	}
	return spreadOf(values)
}

// The figures that peers are compared by. An event that was not delivered is no event.
func cpuAnEvent(m *measurement) float64  { return per(float64(m.CPU)/1e3, m.Delivered) }      // µs
func timeAnEvent(m *measurement) float64 { return per(float64(m.Delivery)/1e3, m.Delivered) } // µs
func wireAnEvent(m *measurement) float64 { return per(float64(m.Wire), m.Delivered) }
func p50(m *measurement) float64         { return float64(m.P50) / 1e3 } // µs
func p99(m *measurement) float64         { return float64(m.P99) / 1e3 } // µs

func peak(m *measurement) float64   { return memory(m.Peak) / (1 << 20) }   // MiB
func opened(m *measurement) float64 { return memory(m.Opened) / (1 << 10) } // KiB
func idle(m *measurement) float64   { return memory(m.Idle) / (1 << 10) }   // KiB

// memory is not known on every system.
func memory(bytes int64) float64 {
	if resident("VmRSS") == 0 {
		return math.NaN()
	}
	return float64(bytes)
}

func per(total float64, events int) float64 {
	if events == 0 {
		return math.NaN()
	}
	return total / float64(events)
}

// complete reports whether nothing was lost in any round.
func (r *result) complete() bool {
	for _, m := range r.Rounds {
		if m.Delivered != m.Sent {
			return false
		}
	}
	return true
}

func (r *result) lossPercent() float64 {
	return r.over(func(m *measurement) float64 { return 100 * (1 - float64(m.Delivered)/float64(m.Sent)) }).Median
}

func (r *result) isPeer() bool { return r.Cell.Peer != alignPeer.name && r.Cell.Peer != loopPeer.name }

// group returns the results of one table.
func (r *report) group(name string) (g []*result) {
	for _, res := range r.results {
		if res.Cell.group() == name {
			g = append(g, res)
		}
	}
	return g
}

// groups returns the names of the tables, in order.
func (r *report) groups() (names []string) {
	for _, res := range r.results {
		if name := res.Cell.group(); len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}

// best is the lowest median among the peers that deliver everything, ours not among them; NaN if there is none.
func best(g []*result, figure func(*measurement) float64) float64 {
	lowest := math.NaN()
	for _, r := range g {
		if v := r.over(figure).Median; r.isPeer() && r.complete() && !(v >= lowest) {
			lowest = v
		}
	}
	return lowest
}

// lowest is best among all peers, whatever they lose: a call is a call.
func lowest(g []*result, figure func(*measurement) float64) float64 {
	low := math.NaN()
	for _, r := range g {
		if v := r.over(figure).Median; r.isPeer() && !(v >= low) {
			low = v
		}
	}
	return low
}

// write prints Markdown that reads well in a terminal, too.
func (r *report) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s/%s, %d CPUs, %s. Medians (min–max).\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), plural(r.options.rounds, "round"))
	if r.options.events < defaultEvents/2 {
		b.WriteString("A small run: it shows that everything works, and only roughly how well.\n")
	}
	for _, name := range r.groups() {
		g := r.group(name)
		fmt.Fprintf(&b, "\n## %s\n\n", name)
		switch g[0].Cell.Scenario {
		case "growth":
			growthTable(&b, g)
		case "resident":
			residentTable(&b, g)
		default:
			mainTable(&b, g)
		}
	}
	r.writeBars(&b)
	r.writeNotes(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func mainTable(b *strings.Builder, g []*result) {
	t := table{{"peer", "call p50 µs", "p99 µs", "p99.9 µs", "allocs/call (all)", "B/call (all)", "delivered/accepted/sent",
		"delivered in s", "events/s", "× best", "CPU µs/event", "× best", "wire B/event", "conns", "peak MiB"}}
	bestCPU, bestTime := best(g, cpuAnEvent), best(g, timeAnEvent)
	for _, r := range g {
		median := func(figure func(*measurement) float64) float64 { return r.over(figure).Median }
		row := []string{
			r.Cell.name(),
			r.over(p50).text(),
			r.over(p99).text(),
			number(median(func(m *measurement) float64 { return float64(m.P999) / 1e3 })),
			number(median(func(m *measurement) float64 { return m.Allocs })) + " (" +
				number(median(func(m *measurement) float64 { return m.AllAllocs })) + ")",
			number(median(func(m *measurement) float64 { return m.Bytes })) + " (" +
				number(median(func(m *measurement) float64 { return m.AllBytes })) + ")",
		}
		cpu := r.over(cpuAnEvent)
		if r.Cell.Peer == loopPeer.name {
			cpu = r.over(func(m *measurement) float64 { return per(float64(m.CPU)/1e3, m.Sent) })
			row = append(row, "–", "–", "–", "–", cpu.text(), "–", "–", "–")
		} else {
			row = append(row,
				r.fate(),
				r.over(func(m *measurement) float64 { return m.Delivery.Seconds() }).text(),
				thousands(1e6/median(timeAnEvent)),
				ratio(median(timeAnEvent), bestTime),
				cpu.text(),
				ratio(cpu.Median, bestCPU),
				number(median(wireAnEvent)),
				number(median(func(m *measurement) float64 { return float64(m.Conns) })),
			)
		}
		t = append(t, append(row, number(median(peak))))
	}
	t.write(b)
}

// fate is delivered / accepted / sent of the median round, and what should never be.
func (r *result) fate() string {
	count := func(figure func(*measurement) int) int {
		return int(r.over(func(m *measurement) float64 { return float64(figure(m)) }).Median)
	}
	text := thousands(float64(count(func(m *measurement) int { return m.Delivered }))) + " / " +
		thousands(float64(count(func(m *measurement) int { return m.Accepted }))) + " / " +
		thousands(float64(count(func(m *measurement) int { return m.Sent })))
	for _, odd := range []struct {
		name  string
		count int
	}{
		{"twice", count(func(m *measurement) int { return m.Duplicates })},
		{"damaged", count(func(m *measurement) int { return m.Damaged })},
		{"out of order", count(func(m *measurement) int { return m.Disordered })},
	} {
		if odd.count > 0 {
			text += fmt.Sprintf(", %s %s", thousands(float64(odd.count)), odd.name)
		}
	}
	return text
}

func growthTable(b *strings.Builder, g []*result) {
	t := table{{"events", "CPU µs/event", "against the middle", "events/s", "allocs/call (all)", "peak MiB"}}
	middle := growthMiddle(g)
	for _, r := range g {
		cpu := r.over(cpuAnEvent)
		t = append(t, []string{
			thousands(float64(r.Cell.Events)),
			cpu.text(),
			fmt.Sprintf("%+.0f %%", 100*(cpu.Median/middle-1)),
			thousands(1e6 / r.over(timeAnEvent).Median),
			number(r.over(func(m *measurement) float64 { return m.AllAllocs }).Median),
			number(r.over(peak).Median),
		})
	}
	t.write(b)
}

// growthMiddle lies half-way between the cheapest and the dearest size.
func growthMiddle(g []*result) float64 {
	var values []float64
	for _, r := range g {
		values = append(values, r.over(cpuAnEvent).Median)
	}
	s := spreadOf(values)
	return (s.Min + s.Max) / 2
}

func residentTable(b *strings.Builder, g []*result) {
	t := table{{"peer", "opened, KiB", "at rest, all delivered, KiB", "at most in the firehose, MiB"}}
	for _, r := range g {
		t = append(t, []string{
			r.Cell.Peer,
			r.over(opened).text(),
			r.over(idle).text(),
			r.over(peak).text(),
		})
	}
	t.write(b)
}

// bar is a promise and what came of it.
type bar struct {
	Where, What     string
	Measured, Limit float64
	AtLeast         bool // else at most
}

func (b bar) holds() bool {
	if b.AtLeast {
		return b.Measured >= b.Limit
	}
	return b.Measured <= b.Limit
}

// bars compares ours with what it promises. Ratios are to the best peer that delivers everything; where there is none,
// there is nothing to compare with.
func (r *report) bars() (bars []bar) {
	for _, name := range r.groups() {
		g := r.group(name)
		us := g[0]
		if us.Cell.Peer != alignPeer.name {
			continue
		}
		check := func(what string, measured, limit float64) {
			if !math.IsNaN(measured) {
				bars = append(bars, bar{Where: name, What: what, Measured: measured, Limit: limit})
			}
		}
		ours := func(figure func(*measurement) float64) float64 { return us.over(figure).Median }
		lost := us.over(func(m *measurement) float64 { return float64(m.Sent - m.Delivered) }).Max
		disordered := us.over(func(m *measurement) float64 { return float64(m.Disordered) }).Max
		switch us.Cell.Scenario {
		case "firehose":
			limit := 1.0 / 4
			if us.Cell.Gzip {
				limit = 1.0 / 2
				check("bytes against the best peer's", ours(wireAnEvent)/best(g, wireAnEvent), 1.3)
			}
			check("CPU an event against the best peer's", ours(cpuAnEvent)/best(g, cpuAnEvent), limit)
			check("time to full delivery against the best peer's", ours(timeAnEvent)/best(g, timeAnEvent), 1.0/3)
			check("events lost", lost, 0)
			check("resident MiB over the program's own", ours(peak), 64)
		case "paced", "burst":
			check("call p50 against the lowest peer's", ours(p50)/lowest(g, p50), 1.3)
			check("call p99 against the lowest peer's", ours(p99)/lowest(g, p99), 1)
			check("allocations a call", ours(func(m *measurement) float64 { return m.Allocs }), 2)
			check("bytes allocated a call", ours(func(m *measurement) float64 { return m.Bytes }), 512)
			check("events lost", lost, 0)
		case "latency":
			bars = append(bars, bar{Where: name, What: "events/s delivered", Measured: 1e6 / ours(timeAnEvent), Limit: 200_000, AtLeast: true})
			check("events out of order in their session", disordered, 0)
			check("events lost", lost, 0)
		case "spool":
			spooled := g[1]
			check("CPU an event with the spool against without", spooled.over(cpuAnEvent).Median/ours(cpuAnEvent), 1.5)
			check("events lost", spooled.over(func(m *measurement) float64 { return float64(m.Sent - m.Delivered) }).Max, 0)
		case "growth":
			middle := growthMiddle(g)
			widest := 0.0
			for _, size := range g {
				widest = max(widest, math.Abs(size.over(cpuAnEvent).Median/middle-1))
			}
			check("CPU an event: % off the middle", 100*widest, 15)
		case "resident":
			check("opened, KiB", ours(opened), 1024)
			check("at rest, KiB", ours(idle), 1024)
		}
	}
	return bars
}

// writeBars prints, of every promise, where it is furthest from being kept.
func (r *report) writeBars(b *strings.Builder) {
	type promise struct {
		what  string
		limit float64
	}
	var order []promise
	worst := map[promise]bar{}
	for _, x := range r.bars() {
		p := promise{x.What, x.Limit}
		w, known := worst[p]
		if !known {
			order = append(order, p)
		}
		if !known || (x.Measured > w.Measured) != x.AtLeast {
			worst[p] = x
		}
	}
	if len(order) == 0 {
		return
	}
	b.WriteString("\n## what is promised, and where it is worst\n\n")
	t := table{{"what", "promised", "measured", "holds", "where"}}
	for _, p := range order {
		x := worst[p]
		limit, holds := "≤ ", "no"
		if x.AtLeast {
			limit = "≥ "
		}
		if x.holds() {
			holds = "yes"
		}
		t = append(t, []string{x.What, limit + number(x.Limit), number(x.Measured), holds, x.Where})
	}
	t.write(b)
}

// writeNotes says how to read the tables and how each peer was set up.
func (r *report) writeNotes(b *strings.Builder) {
	b.WriteString("\n## how it was measured\n\n" +
		"Every client records the same messages: ~200 bytes of text, session, index, role, three properties; its own kind of event is\n" +
		"made of them inside the call. Outside of it the text has just been read, as an app has read what it received. A call is timed\n" +
		"one in so many, 50,000 or so a run, at most one in three. Allocations are those of the whole process, the argument a caller\n" +
		"makes included, until the last call returned (in brackets: until everything was sent). Delivered is what the server decoded\n" +
		"and found unchanged; accepted, calls without an error; CPU, user and system time of the client's process for each delivered\n" +
		"event, from opening to closed; peak, resident memory over the program's own.\n" +
		"× best compares with the best peer that delivers everything, by event.\n\n")
	t := table{{"peer", "version", "default", "tuned"}}
	for _, p := range peers {
		if contains(r.results, p.name) {
			t = append(t, []string{p.name, version(p.module), p.defaults, p.tuned})
		}
	}
	t.write(b)
}

func contains(results []*result, peer string) bool {
	for _, r := range results {
		if r.Cell.Peer == peer {
			return true
		}
	}
	return false
}

// version is what this program was built with.
func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok && module != "" {
		for _, dep := range info.Deps {
			if dep.Path == module {
				return dep.Version
			}
		}
	}
	return "–"
}

// writeJSON prints everything that was measured; durations are nanoseconds.
func (r *report) writeJSON(w io.Writer) error {
	type jsonBar struct {
		bar
		Holds bool
	}
	out := struct {
		Time    time.Time
		Go      string
		OS      string
		Arch    string
		CPUs    int
		Peers   map[string]string
		Results []*result
		Bars    []jsonBar
	}{
		Time: time.Now().UTC(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(),
		Peers: map[string]string{}, Results: r.results,
	}
	for _, p := range peers {
		if p.module != "" {
			out.Peers[p.module] = version(p.module)
		}
	}
	for _, b := range r.bars() {
		out.Bars = append(out.Bars, jsonBar{b, b.holds()})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "\t")
	return enc.Encode(out)
}

// text is the median, with its range where there is one.
func (s spread) text() string {
	median, low, high := number(s.Median), number(s.Min), number(s.Max)
	if low == high {
		return median
	}
	return median + " (" + low + "–" + high + ")"
}

// number keeps three digits, or all before the point.
func number(v float64) string {
	switch abs := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case abs >= 1000:
		return thousands(v)
	case abs >= 100:
		return fmt.Sprintf("%.0f", v)
	case abs >= 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	case v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// thousands groups digits.
func thousands(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func ratio(v, best float64) string {
	if math.IsNaN(v / best) {
		return "–"
	}
	return fmt.Sprintf("%.2f", v/best)
}

// table is rows of text, the header first.
type table [][]string

// write prints Markdown with aligned columns, numbers to the right.
func (t table) write(b *strings.Builder) {
	widths := make([]int, len(t[0]))
	for _, row := range t {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	for n, row := range t {
		b.WriteByte('|')
		for i, text := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
			if t.isText(i) {
				fmt.Fprintf(b, " %s%s |", text, space)
			} else {
				fmt.Fprintf(b, " %s%s |", space, text)
			}
		}
		b.WriteByte('\n')
		if n > 0 {
			continue
		}
		b.WriteByte('|')
		for i, width := range widths {
			rule := strings.Repeat("-", width)
			if t.isText(i) {
				fmt.Fprintf(b, ":%s-|", rule)
			} else {
				fmt.Fprintf(b, "-%s:|", rule)
			}
		}
		b.WriteByte('\n')
	}
}

// isText reports whether a column holds words: one that begins with a letter.
func (t table) isText(column int) bool {
	for _, row := range t[1:] {
		if text := row[column]; text != "" && (text[0] >= 'a' && text[0] <= 'z' || text[0] == '(') {
			return true
		}
	}
	return false
}
